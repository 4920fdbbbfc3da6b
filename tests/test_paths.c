/* SPDX-License-Identifier: MIT
 *
 * paths against itself and against the forward pass, on every golden, raw and processed, with MLPs as
 * sources and as links: whatever is summed comes to the same logit.
 */
#include "accuracy.h"
#include "found_paths.h"
#include "seeded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sums ---- */

static double sum_of(const double *x, int64_t count, double *size)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += x[i];
        *size += fabs(x[i]);
    }
    return sum;
}

/* Sums of listed paths by order and by the set of their layers are the totals. */
static void check_groups(const fixture *f, const values *value, int64_t first, int64_t rows,
                         const double *orders, int64_t order_count, const double *sets, double size)
{
    const values order = get(f, "path_order"), layer = get(f, "path_layer");
    const values head = get(f, "path_head"), set = get(f, "set_total");
    const int64_t links = layer.array->axis[1]->length, set_count = set.array->axis[1]->length;
    double by_order[16] = {0}, *by_set = calloc((size_t)set_count, sizeof *by_set);
    for (int64_t i = first; i < first + rows; i++) {
        char label[64] = "";
        int64_t at = 0;
        for (int64_t k = 0; k < links; k++) {
            if (head.x[i * links + k] >= 0) {
                at += snprintf(label + at, sizeof label - (size_t)at, "%sL%.0f", at ? " " : "",
                               layer.x[i * links + k]);
            }
        }
        int64_t s = 0;
        while (strcmp(set.array->axis[1]->text[s], at ? label : "{}") != 0) {
            s++;
        }
        by_set[s] += value->x[i];
        by_order[(int)order.x[i]] += value->x[i];
    }
    for (int64_t k = 0; k < order_count; k++) {
        assert_true(is_near(f, "order total", orders[k], by_order[k], size));
    }
    for (int64_t s = 0; s < set_count; s++) {
        assert_true(is_near(f, set.array->axis[1]->text[s], sets[s], by_set[s], size));
    }
    free(by_set);
    free(order.x);
    free(layer.x);
    free(head.x);
    free(set.x);
}

/* What is said of each path agrees with the others and with what carries it. */
static void check_rows(const fixture *f, const values *value, int64_t first, int64_t rows,
                       double frozen, double size)
{
    const values share = get(f, "path_share"), running = get(f, "path_running");
    const values left = get(f, "path_left"), source = get(f, "path_source");
    const values carried = get(f, "carrier_value"), where = get(f, "carrier_position");
    const int64_t each = carried.array->axis[1]->length;
    double sum = 0;
    for (int64_t i = first; i < first + rows; i++) {
        double brought = 0;
        sum += value->x[i];
        assert_true(i == first || fabs(value->x[i]) <= fabs(value->x[i - 1]) * (1 + 1e-12));
        assert_true(is_near(f, "running", running.x[i], sum, 1e-6 * size));
        assert_true(is_near(f, "left", left.x[i], frozen - sum, 1e-6 * size));
        assert_true(is_near(f, "share", share.x[i] * frozen, value->x[i], 1e-6 * size));
        for (int64_t k = i * each; k < (i + 1) * each && where.x[k] >= 0; k++) {
            brought += carried.x[k];
            assert_true(k == i * each || fabs(carried.x[k]) <= fabs(carried.x[k - 1]));
        }
        assert_true(source.x[i] < 0 || is_near(f, "carried", brought, value->x[i], size));
    }
    free(share.x);
    free(running.x);
    free(left.x);
    free(source.x);
    free(carried.x);
    free(where.x);
}

static double bias_of(const fixture *f, const values *value, int64_t first, int64_t rows)
{
    const values source = get(f, "path_source");
    double bias = 0;
    for (int64_t i = first; i < first + rows; i++) {
        bias = source.x[i] < 0 ? value->x[i] : bias;
    }
    free(source.x);
    return bias;
}

/* Sources flow into the target; what flows through a head goes straight on or through later ones. */
static void check_flows(const fixture *f, int64_t c, double bias, double frozen, double size)
{
    const values source = get(f, "source_flow"), through = get(f, "head_flow");
    const values direct = get(f, "head_direct"), edge = get(f, "head_edge");
    const int64_t heads = f->info->n_layers * f->info->n_heads, way = heads * heads;
    const int64_t sources = source.array->axis[1]->length, n = source.array->axis[2]->length;
    double sum = bias;
    for (int64_t i = c * sources * n; i < (c + 1) * sources * n; i++) {
        sum += source.x[i];
    }
    assert_true(is_near(f, "sources", sum, frozen, size));
    for (int64_t h = 0; h < heads && f->settings.mlp == 0; h++) {
        double on = direct.x[c * heads + h];
        for (int64_t later = 0; later < heads; later++) {
            const double v = edge.x[(c * 3 + 2) * way + later * heads + h];
            assert_true(isnan(v) == (later / f->info->n_heads <= h / f->info->n_heads));
            on += isnan(v) ? 0 : v;
        }
        assert_true(is_near(f, "through a head", on, through.x[c * heads + h], size));
    }
    free(source.x);
    free(through.x);
    free(direct.x);
    free(edge.x);
}

static void check_case(const fixture *f, int64_t c, double expected)
{
    const values frozen = get(f, "frozen_value"), order = get(f, "order_total");
    const values set = get(f, "set_total"), value = get(f, "path_value");
    const values residue = get(f, "order_residue"), count = get(f, "path_count");
    const int64_t orders = order.array->axis[1]->length, sets = set.array->axis[1]->length;
    const int64_t each = value.count / frozen.count, first = c * each;
    const int64_t rows = (int64_t)count.x[c];
    double size = 0, other = 0;
    const double sum = sum_of(value.x + first, rows, &size);
    assert_true(is_near(f, "frozen value", frozen.x[c], expected, size + 1));
    assert_true(is_near(f, "paths", sum, frozen.x[c], size));
    const double by_order = sum_of(order.x + c * orders, orders, &other);
    assert_true(is_near(f, "orders", by_order, frozen.x[c], size));
    assert_true(is_near(f, "residue", residue.x[c], frozen.x[c] - by_order, 1e-6 * size));
    assert_true(is_near(f, "sets", sum_of(set.x + c * sets, sets, &other), frozen.x[c], size));
    assert_true(rows == each || (rows == each - 1 && isnan(value.x[first + rows])));
    check_groups(f, &value, first, rows, order.x + c * orders, orders, set.x + c * sets, size);
    check_rows(f, &value, first, rows, frozen.x[c], size);
    if (f->settings.flows) {
        check_flows(f, c, bias_of(f, &value, first, rows), frozen.x[c], size);
    }
    free(frozen.x);
    free(order.x);
    free(set.x);
    free(value.x);
    free(residue.x);
    free(count.x);
}

static double uncapped(const fixture *f, float logit)
{
    const double cap = f->info->final_softcap;
    return cap > 0 ? cap * atanh((double)logit / cap) : (double)logit;
}

static void sums_of(fixture *f)
{
    static const int64_t positions[] = {-1, 1};
    otimes_err err = {0};
    float *logits = forward_logits(f->model, NULL, &f->batch, NULL, f->name);
    f->settings.positions = positions;
    f->settings.position_count = 2;
    for (int differs = f->settings.mlp; differs < 2; differs++) {
        f->settings.against = differs ? 0 : -1;
        const int rc = run(f, &err);
        if (rc == OTIMES_ERR_UNSUPPORTED && f->info->clip_qkv > 0) {
            assert_non_null(strstr(err.msg, "clip"));
            continue;
        }
        assert_ok(rc, &err);
        for (int64_t c = 0; c < 2; c++) {
            const float *row = logits + (c ? 1 : f->n - 1) * f->info->d_vocab_out;
            check_case(f, c, uncapped(f, row[1]) - (differs ? uncapped(f, row[0]) : 0));
        }
    }
    free(logits);
}

static void sums(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        if (golden_left_out(i)) {
            continue;
        }
        for (int way = 0; way < 4; way++) {
            fixture f = {0};
            golden_open(&f.g, golden_names[i], way & 1);
            set_up(&f, golden_names[i], f.g.model);
            f.settings.mlp = way >> 1;
            sums_of(&f);
            otimes_memory_sink_free(&f.memory);
            golden_close(&f.g);
        }
    }
}

/* ---- the loss ---- */

static void losses(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        if (golden_left_out(i)) {
            continue;
        }
        fixture f = {0};
        otimes_err err = {0};
        golden_open(&f.g, golden_names[i], true);
        set_up(&f, golden_names[i], f.g.model);
        f.settings.loss = 1;
        f.settings.flows = 0;
        f.settings.whose = OTIMES_PATHS_NEXT;
        if (f.info->clip_qkv > 0 || f.info->d_vocab != f.info->d_vocab_out) {
            golden_close(&f.g);
            continue;
        }
        assert_ok(run(&f, &err), &err);
        const values at = get(&f, "case_position"), loss = get(&f, "model_value");
        const values frozen = get(&f, "frozen_value"), entropy = get(&f, "entropy");
        float *logits = forward_logits(f.model, NULL, &f.batch, NULL, f.name);
        const float *row = logits + (f.n - 2) * f.info->d_vocab_out;
        double sum = 0, mean = 0;
        for (int64_t j = 0; j < f.info->d_vocab_out; j++) {
            sum += exp((double)row[j]);
            mean += exp((double)row[j]) * (double)row[j];
        }
        const double own = log(sum) - (double)row[f.batch.ids[0][f.n - 1]];
        assert_int_equal((int64_t)at.x[0], f.n - 2);
        assert_true(is_near(&f, "loss", loss.x[0], own, fabs(own) + 1));
        accuracy("entropy", "1 + the loss", entropy.x[0], log(sum) - mean / sum, fabs(own) + 1,
                 1e-6);
        assert_true(f.info->final_softcap > 0 ||
                    is_near(&f, "frozen loss", frozen.x[0] + entropy.x[0], own, fabs(own) + 1));
        free(at.x);
        free(loss.x);
        free(frozen.x);
        free(entropy.x);
        free(logits);
        otimes_memory_sink_free(&f.memory);
        golden_close(&f.g);
    }
}

/* ---- what is asked for ---- */

static void restricted(void **state)
{
    static const int64_t upper[] = {1};
    fixture f = {0};
    otimes_err err = {0};
    (void)state;
    open_bundled(&f);
    f.settings.layers = upper;
    f.settings.layer_count = 1;
    assert_ok(run(&f, &err), &err);
    const values order = get(&f, "order_total"), set = get(&f, "set_total");
    const values value = get(&f, "path_value");
    assert_int_equal(order.count, 2);
    assert_int_equal(set.count, 2);
    assert_string_equal(set.array->axis[1]->text[0], "{}");
    assert_string_equal(set.array->axis[1]->text[1], "L1");
    double size = 0;
    const double sum = sum_of(value.x, value.count, &size);
    assert_true(is_near(&f, "layer 1", order.x[0] + order.x[1], sum, size));
    assert_true(is_near(&f, "none", set.x[0], order.x[0], size));
    assert_true(is_near(&f, "layer 1", set.x[1], order.x[1], size));
    free(order.x);
    free(set.x);
    free(value.x);

    /* 4 sources of 4 heads each and the bias; embed, pos_embed and two biases of attention */
    f.settings.layers = NULL;
    f.settings.order = 1;
    f.settings.top = 5;
    f.settings.carriers = 0;
    f.settings.subsets = 1;
    f.settings.flows = 0;
    assert_ok(run(&f, &err), &err);
    const values few = get(&f, "path_value"), links = get(&f, "path_layer");
    const values sets = get(&f, "set_total"), total = get(&f, "path_total");
    const values complete = get(&f, "path_complete");
    char words[128];
    assert_int_equal(few.count, 5);
    assert_int_equal(links.count, 5);
    assert_int_equal(sets.count, 3);
    assert_int_equal((int64_t)complete.x[0], 1);
    snprintf(words, sizeof words, "exact: the 5 largest of %.0f paths through at most 1 head ",
             total.x[0]);
    if (strncmp(text_at(&f, "certificate", 0), words, strlen(words)) != 0) {
        fail_msg("%s, expected %s", text_at(&f, "certificate", 0), words);
    }
    const void *none;
    assert_null(otimes_memory_sink_array(f.memory, "carrier_value", &none));
    assert_null(otimes_memory_sink_array(f.memory, "head_flow", &none));
    free(few.x);
    free(links.x);
    free(sets.x);
    free(total.x);
    free(complete.x);
    close_model(&f);
}

static void named(void **state)
{
    fixture f = {0};
    otimes_err err = {0};
    int arrows = 0;
    (void)state;
    open_bundled(&f);
    assert_ok(run(&f, &err), &err);
    const values order = get(&f, "path_order"), layer = get(&f, "path_layer");
    const values head = get(&f, "path_head");
    for (int64_t i = 0; i < order.count; i++) {
        char expected[160];
        const char *label = text_at(&f, "path_label", i);
        if (order.x[i] < 2 || strncmp(label, "embed", 5) != 0) {
            continue;
        }
        const double *l = layer.x + 2 * i, *h = head.x + 2 * i;
        snprintf(expected, sizeof expected, "embed → L%.0fH%.0f → L%.0fH%.0f", l[0], h[0], l[1],
                 h[1]);
        assert_string_equal(label, expected);
        snprintf(expected, sizeof expected,
                 "A[%.0f.%.0f]·A[%.0f.%.0f] ⊗ W_U·OV[%.0f.%.0f]·OV[%.0f.%.0f]·W_E", l[1], h[1],
                 l[0], h[0], l[1], h[1], l[0], h[0]);
        assert_string_equal(text_at(&f, "path_formula", i), expected);
        arrows++;
    }
    assert_int_equal(arrows, 16);
    assert_string_equal(text_at(&f, "certificate", 0), "exact: all 57 paths");
    free(order.x);
    free(layer.x);
    free(head.x);
    close_model(&f);
}

typedef struct mistake {
    const char *says;
    int64_t target, against, order, top, limit, subsets, position, layer;
    int loss;
    otimes_paths_target whose;
} mistake;

static void mistakes(void **state)
{
    static const mistake all[] = {
        {.says = "target: expected an output token from 0 to 1023, got 1024", .target = 1024},
        {.says = "target: expected an output token", .target = -1},
        {.says = "against: expected an output token", .against = 2000},
        {.says = "order: expected at least -1, got -2", .order = -2},
        {.says = "top: expected at least 0, got -1", .top = -1},
        {.says = "order: expected at most 10 paths to list, got 57", .limit = 10},
        {.says = "subsets: expected at least -1, got -2", .subsets = -2},
        {.says = "text 0: position: expected one from 0 to 5, got 6", .position = 6},
        {.says = "text 0: position: expected one from 0 to 5, got -7", .position = -7},
        {.says = "a token follows, got 5", .position = 5, .whose = OTIMES_PATHS_NEXT},
        {.says = "layers: expected 0 to 1, got 2", .layer = 2},
        {.says = "loss: expected a target", .loss = 1, .whose = OTIMES_PATHS_PREDICTED},
        {.says = "against: expected none with the loss", .loss = 1, .against = 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const mistake *m = &all[i];
        fixture f = {0};
        otimes_err err = {0};
        open_bundled(&f);
        otimes_paths_settings *s = &f.settings;
        s->target = m->target;
        s->against = m->against ? m->against : -1;
        s->order = m->order ? m->order : -1;
        s->top = m->top;
        s->limit = m->limit ? m->limit : s->limit;
        s->subsets = m->subsets ? m->subsets : -1;
        s->positions = m->position ? &m->position : NULL;
        s->position_count = 1;
        s->layers = m->layer ? &m->layer : NULL;
        s->layer_count = 1;
        s->loss = m->loss;
        s->whose = m->whose == OTIMES_PATHS_NEXT ? OTIMES_PATHS_NEXT
                   : m->loss && m->whose == OTIMES_PATHS_PREDICTED && !m->against
                       ? OTIMES_PATHS_PREDICTED
                       : OTIMES_PATHS_GIVEN;
        assert_int_equal(run(&f, &err), OTIMES_ERR_ARGUMENT);
        if (!strstr(err.msg, m->says)) {
            fail_msg("expected '%s', got '%s'", m->says, err.msg);
        }
        close_model(&f);
    }
}

/* More paths than one counts, and more sets of layers than one lists. */
static void many_layers(void **state)
{
    static const recipe deep = {
        "deep",
        "{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":4,"
        "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"num_hidden_layers\":24,"
        "\"vocab_size\":20,\"max_position_embeddings\":64,\"hidden_act\":\"silu\","
        "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_embeddings\":false}",
        24,
        0,
        {{"lm_head.weight", 20, 8},
         {"model.embed_tokens.weight", 20, 8},
         {"model.norm.weight", 8, 0},
         {"model.layers.%d.input_layernorm.weight", 8, 0},
         {"model.layers.%d.post_attention_layernorm.weight", 8, 0},
         {"model.layers.%d.self_attn.q_proj.weight", 8, 8},
         {"model.layers.%d.self_attn.k_proj.weight", 8, 8},
         {"model.layers.%d.self_attn.v_proj.weight", 8, 8},
         {"model.layers.%d.self_attn.o_proj.weight", 8, 8},
         {"model.layers.%d.mlp.gate_proj.weight", 4, 8},
         {"model.layers.%d.mlp.up_proj.weight", 4, 8},
         {"model.layers.%d.mlp.down_proj.weight", 8, 4}}};
    otimes_err err = {0};
    fixture f = {0};
    char total[40];
    double paths = pow(5, 24); /* from the embedding; an MLP's begin behind its layer */
    (void)state;
    for (int layer = 0; layer < 24; layer++) {
        paths += pow(5, 23 - layer);
    }
    set_up(&f, "deep", seeded_model(&deep, 1));
    f.settings.top = 3;
    f.settings.budget = 5;
    f.settings.flows = 0;
    f.settings.subsets = 1;
    assert_ok(run(&f, &err), &err);
    snprintf(total, sizeof total, "of %.3g paths", paths);
    if (!strstr(text_at(&f, "certificate", 0), total)) {
        fail_msg("expected '%s' in '%s'", total, text_at(&f, "certificate", 0));
    }
    f.settings.subsets = 12;
    assert_int_equal(run(&f, &err), OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "subsets: expected at most 1000000 sets of layers, got 9740686 "
                                    "sets of up to 12"));
    close_model(&f);
}

int main(void)
{
    accuracy_of("paths");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums),       cmocka_unit_test(losses),
        cmocka_unit_test(restricted), cmocka_unit_test(named),
        cmocka_unit_test(mistakes),   cmocka_unit_test_teardown(many_layers, empty_folder),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
