/* SPDX-License-Identifier: MIT
 *
 * Every quantity of `heads` against dense float64, on every golden model, and what must hold
 * whatever the weights.
 */
#include "accuracy.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/heads.h>

static const int64_t offsets[] = {0, 1, 2, 8};

/* All of heads into memory. */
static otimes_memory_sink *run(const otimes_model *model, const otimes_heads_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_heads(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

static otimes_heads_settings everything(const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_heads_settings settings;
    otimes_heads_settings_default(&settings);
    settings.biases = 1;
    settings.top = 3;
    settings.components = 2;
    settings.matrices = OTIMES_HEADS_FACTORS | OTIMES_HEADS_PRODUCTS;
    if (info->positions == OTIMES_POSITIONS_LEARNED) {
        settings.matrices |= OTIMES_HEADS_POSITIONS;
    }
    if (info->positions == OTIMES_POSITIONS_ROPE) {
        settings.offsets = offsets;
        settings.offset_count = 4;
    }
    return settings;
}

/* What an error of eps in float32 weights does to a quantity: a norm moves by eps times itself, singular
 * values by eps times the largest; eigenvalues of these non-normal matrices by eps times their condition,
 * some tens here. */
typedef struct measured {
    const char *part, *to; /* of the name; of what the error is a share */
    bool by_head;          /* the largest of the head; else of the array, or the value itself */
    double eps;
} measured;

static const measured measures[] = {
    {"eigenvalues", "largest singular value", true, 32},
    {"singular_values", "largest singular value", true, 8},
    {"copying", "1", false, 32},
    {"positivity", "1", false, 32},
    {"trace", "norm", false, 16},
    {"effective_rank", "its value", false, 8},
    {"", "its value", false, 8}, /* norms */
};

/* What errors of one head's entry of an array are measured by: the array `of` has that size. */
static void hold(const golden *g, const otimes_memory_sink *memory, const char *name)
{
    const measured *m = measures;
    char size_name[96];
    int64_t count, expected_count, size_count = 0;
    while (!strstr(name, m->part)) {
        m++;
    }
    const double *expected = golden_values(g, name, &expected_count), *size = expected;
    double *got = sink_values(memory, name, &count);
    if (!got) {
        fail_msg("%s: %s is not written", g->name, name);
    }
    assert_int_equal(count, expected_count);
    if (strcmp(m->to, "norm") == 0 || m->by_head) {
        snprintf(size_name, sizeof size_name, "%.*s%s", (int)(strstr(name, m->part) - name), name,
                 m->by_head ? "singular_values" : "norm");
        size = golden_values(g, size_name, &size_count);
    }
    const int64_t each =
        m->by_head ? otimes_model_describe(g->model)->d_head : 1; /* components of a head */
    for (int64_t i = 0; i < count; i++) {
        const double scale = strcmp(m->to, "1") == 0 ? 1 : fabs(size[i / each * each]);
        accuracy(name, m->to, got[i], expected[i], scale, m->eps * (double)FLT_EPSILON);
    }
    free(got);
}

static void quantities_of_goldens(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        int checked = 0;
        golden_open(&g, golden_names[i], true);
        const otimes_heads_settings settings = everything(g.model);
        otimes_memory_sink *memory = run(g.model, &settings);
        for (int64_t e = 0; e < g.expected.entry_count; e++) {
            const char *name = g.expected.entries[e].name;
            if (strstr(name, "OV_") || strstr(name, "QK_")) {
                hold(&g, memory, name);
                checked++;
            }
        }
        assert_true(checked >= 20);
        otimes_memory_sink_free(&memory);
        golden_close(&g);
    }
}

/* Invariant 7: a grouped model and the same model with its key/value heads written out. */
static void grouped_equals_expanded(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, "llama", true);
    const otimes_model_info *info = otimes_model_describe(g.model);
    const int64_t group = info->n_heads / info->n_kv_heads, d = info->d_model, e = info->d_head;
    assert_true(group > 1);
    const otimes_heads_settings settings = everything(g.model);
    otimes_memory_sink *memory = run(g.model, &settings);
    const void *ov = NULL, *qk = NULL;
    assert_non_null(otimes_memory_sink_array(memory, "OV", &ov));
    assert_non_null(otimes_memory_sink_array(memory, "QK", &qk));
    for (int64_t l = 0; l < info->n_layers; l++) {
        otimes_layer layer;
        otimes_err err = {0};
        assert_ok(otimes_layer_load(g.model, l, OTIMES_PART_ATTENTION, &layer, &err), &err);
        for (int64_t h = 0; h < info->n_heads; h++) {
            const float *Q = layer.W_Q.data + h * d * e, *O = layer.W_O.data + h * d * e;
            const float *K = layer.W_K.data + h / group * d * e;
            const float *V = layer.W_V.data + h / group * d * e;
            for (int64_t a = 0; a < d; a++) {
                for (int64_t b = 0; b < d; b++) {
                    double want_ov = 0, want_qk = 0;
                    for (int64_t j = 0; j < e; j++) {
                        want_ov += (double)V[a * e + j] * (double)O[j * d + b];
                        want_qk += (double)Q[a * e + j] * (double)K[b * e + j];
                    }
                    const int64_t at = ((l * info->n_heads + h) * d + a) * d + b;
                    assert_true(fabs((double)((const float *)ov)[at] - want_ov) < 1e-5);
                    assert_true(fabs((double)((const float *)qk)[at] - want_qk) < 1e-5);
                }
            }
        }
        otimes_layer_free(&layer);
    }
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

/* Offset 0 is no rotation, and a rotation by the offset of one pair of positions is what attention
 * sees: checked through norms that the golden has; here that offset 0 equals the plain circuit. */
static void offset_zero_is_plain(void **state)
{
    (void)state;
    golden g;
    int64_t count;
    golden_open(&g, "llama_scaled", true);
    const otimes_heads_settings settings = everything(g.model);
    otimes_memory_sink *memory = run(g.model, &settings);
    double *plain = sink_values(memory, "QK_norm", &count);
    double *at_offsets = sink_values(memory, "QK_offset_norm", &count);
    bool differs = false;
    assert_non_null(plain);
    assert_non_null(at_offsets);
    for (int64_t i = 0; i < count / 4; i++) {
        assert_true(fabs(at_offsets[4 * i] - plain[i]) <= 1e-12 * plain[i]);
        differs |= fabs(at_offsets[4 * i + 3] - plain[i]) > 1e-3 * plain[i];
    }
    assert_true(differs);
    free(plain);
    free(at_offsets);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

/* Chosen layers and heads are the same numbers as in the whole. */
static void chosen_heads(void **state)
{
    (void)state;
    static const int64_t layers[] = {1}, heads[] = {1, 3};
    golden g;
    int64_t count, part_count;
    golden_open(&g, "llama", true);
    otimes_heads_settings settings = everything(g.model);
    otimes_memory_sink *whole = run(g.model, &settings);
    settings.layers = layers;
    settings.layer_count = 1;
    settings.heads = heads;
    settings.head_count = 2;
    otimes_memory_sink *part = run(g.model, &settings);
    double *all = sink_values(whole, "full_OV_norm", &count);
    double *some = sink_values(part, "full_OV_norm", &part_count);
    assert_int_equal(part_count, 2);
    assert_true(some[0] == all[4 + 1] && some[1] == all[4 + 3]);
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(part, "OV_norm", &data);
    assert_int_equal(array->axis[0]->number[0], 1);
    assert_int_equal(array->axis[1]->number[1], 3);
    free(all);
    free(some);
    otimes_memory_sink_free(&whole);
    otimes_memory_sink_free(&part);
    golden_close(&g);
}

/* Leading singular pair of M [d, d] by power iteration, with the documented sign. */
static void leading_pair(const float *M, int64_t d, double u[64], double v[64])
{
    u[0] = 1;
    for (int step = 0; step < 5000; step++) {
        double next[64] = {0}, norm_u = 0, norm_v = 0;
        memset(v, 0, 64 * sizeof *v);
        for (int64_t a = 0; a < d; a++) {
            for (int64_t b = 0; b < d; b++) {
                v[b] += u[a] * (double)M[a * d + b];
            }
        }
        for (int64_t a = 0; a < d; a++) {
            for (int64_t b = 0; b < d; b++) {
                next[a] += (double)M[a * d + b] * v[b];
            }
            norm_u += next[a] * next[a];
            norm_v += v[a] * v[a];
        }
        for (int64_t a = 0; a < d; a++) {
            u[a] = next[a] / sqrt(norm_u);
            v[a] /= sqrt(norm_v);
        }
    }
    int64_t largest = 0;
    for (int64_t a = 0; a < d; a++) {
        largest = fabs(u[a]) > fabs(u[largest]) ? a : largest;
    }
    const double sign = u[largest] < 0 ? -1 : 1;
    for (int64_t a = 0; a < d; a++) {
        u[a] *= sign;
        v[a] *= sign;
    }
}

/* The tokens at both ends of the first head's first direction, by a plain loop over the rows. */
static void check_ends(const otimes_memory_sink *memory, const char *name, const float *rows,
                       int64_t vocab, int64_t d, const double *direction)
{
    char id_name[64], value_name[64];
    int64_t count, best = 0, worst = 0;
    double at_best = -INFINITY, at_worst = INFINITY;
    snprintf(id_name, sizeof id_name, "%s_id", name);
    snprintf(value_name, sizeof value_name, "%s_value", name);
    double *ids = sink_values(memory, id_name, &count);
    double *values = sink_values(memory, value_name, &count);
    assert_non_null(ids);
    assert_non_null(values);
    for (int64_t t = 0; t < vocab; t++) {
        double dot = 0;
        for (int64_t a = 0; a < d; a++) {
            dot += (double)rows[t * d + a] * direction[a];
        }
        best = dot > at_best ? t : best;
        at_best = fmax(at_best, dot);
        worst = dot < at_worst ? t : worst;
        at_worst = fmin(at_worst, dot);
    }
    assert_int_equal(ids[0], best);
    assert_int_equal(ids[3], worst); /* end 1 begins after the top 3 */
    assert_true(fabs(values[0] - at_best) < 1e-5 * fabs(at_best));
    assert_true(fabs(values[3] - at_worst) < 1e-5 * fabs(at_worst));
    free(ids);
    free(values);
}

static void directions_by_hand(void **state)
{
    (void)state;
    golden g;
    otimes_err err = {0};
    otimes_unembed unembed;
    golden_open(&g, "transformer_lens", true);
    const otimes_model_info *info = otimes_model_describe(g.model);
    const int64_t d = info->d_model, vocab = info->d_vocab;
    const otimes_heads_settings settings = everything(g.model);
    otimes_memory_sink *memory = run(g.model, &settings);
    const void *ov = NULL, *qk = NULL;
    assert_non_null(otimes_memory_sink_array(memory, "OV", &ov));
    assert_non_null(otimes_memory_sink_array(memory, "QK", &qk));
    float *in = malloc((size_t)(vocab * d) * sizeof *in);
    float *out = malloc((size_t)(vocab * d) * sizeof *out);
    assert_non_null(in);
    assert_non_null(out);
    assert_ok(otimes_embed_rows(g.model, 0, vocab, in, &err), &err);
    assert_ok(otimes_unembed_open(g.model, &unembed, &err), &err);
    assert_ok(otimes_unembed_rows(&unembed, 0, vocab, out, &err), &err);
    double u[64] = {0}, v[64] = {0};
    leading_pair(ov, d, u, v);
    check_ends(memory, "OV_read", in, vocab, d, u);
    check_ends(memory, "OV_write", out, vocab, d, v);
    memset(u, 0, sizeof u);
    leading_pair(qk, d, u, v);
    check_ends(memory, "QK_query", in, vocab, d, u);
    check_ends(memory, "QK_key", in, vocab, d, v);
    otimes_unembed_free(&unembed);
    free(in);
    free(out);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

static void requests_that_cannot_be_met(void **state)
{
    (void)state;
    static const int64_t far[] = {7}, twice[] = {1, 1};
    golden g;
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_heads_settings settings;
    golden_open(&g, "gpt2", true);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    otimes_heads_settings_default(&settings);
    settings.offsets = offsets;
    settings.offset_count = 4;
    assert_int_equal(otimes_heads(g.model, &settings, sink, &err), OTIMES_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "expected rotary positions, got learned"));
    otimes_heads_settings_default(&settings);
    settings.layers = far;
    settings.layer_count = 1;
    assert_int_equal(otimes_heads(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    settings.layers = NULL;
    settings.heads = twice;
    settings.head_count = 2;
    assert_int_equal(otimes_heads(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    golden_close(&g);
    golden_open(&g, "llama", true);
    otimes_heads_settings_default(&settings);
    settings.matrices = OTIMES_HEADS_POSITIONS;
    assert_int_equal(otimes_heads(g.model, &settings, sink, &err), OTIMES_ERR_UNSUPPORTED);
    golden_close(&g);
    otimes_memory_sink_free(&memory);
}

/* Without the vocabulary the same of the circuits themselves, and nothing of the full ones. */
static void without_vocabulary(void **state)
{
    static const char *const kept[] = {"OV_norm", "QK_norm", "OV_singular_values",
                                       "QK_eigenvalues_real"};
    static const char *const gone[] = {"full_OV_norm", "full_QK_singular_values"};
    (void)state;
    golden g;
    golden_open(&g, "llama", true);
    otimes_heads_settings settings;
    otimes_heads_settings_default(&settings);
    otimes_memory_sink *all = run(g.model, &settings);
    settings.vocab = 0;
    otimes_memory_sink *some = run(g.model, &settings);
    for (int i = 0; i < 4; i++) {
        int64_t count, other;
        double *x = sink_values(all, kept[i], &count), *y = sink_values(some, kept[i], &other);
        assert_true(x && y && count == other);
        assert_memory_equal(x, y, (size_t)count * sizeof *x);
        free(x);
        free(y);
    }
    for (int i = 0; i < 2; i++) {
        const void *data;
        assert_non_null(otimes_memory_sink_array(all, gone[i], &data));
        assert_null(otimes_memory_sink_array(some, gone[i], &data));
    }
    otimes_memory_sink_free(&all);
    otimes_memory_sink_free(&some);
    golden_close(&g);
}

int main(void)
{
    accuracy_of("heads");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantities_of_goldens),       cmocka_unit_test(grouped_equals_expanded),
        cmocka_unit_test(offset_zero_is_plain),        cmocka_unit_test(chosen_heads),
        cmocka_unit_test(without_vocabulary),          cmocka_unit_test(directions_by_hand),
        cmocka_unit_test(requests_that_cannot_be_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
