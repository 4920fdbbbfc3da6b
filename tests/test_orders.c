/* SPDX-License-Identifier: MIT
 *
 * Losses by order and by layer against the procedure of A Mathematical Framework, done literally:
 * one pass saves patterns; each next one forces them and writes what the heads of the pass before
 * would have written. On every golden, the bundled model and those of ../shared/weights.
 */
#include "forwarding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/orders.h>

#include "model/model.h"
#include "run/forward.h"
#include "run/frozen.h"

/* ---- the literal procedure ---- */

typedef struct literal {
    const otimes_model *model;
    const otimes_model_info *info;
    otimes_forward *forward;
    otimes_frozen frozen;
    const otimes_orders_settings *settings;
    int64_t n;
    bool record;     /* the first pass */
    float **mlp;     /* [n_layers] what MLPs wrote; NULL where they are links */
    float **nothing; /* [n_layers] z of heads that read a stream of zeros */
    float **write;   /* [n_layers] what takes the place of z; NULL: as computed */
    float **saved;   /* [n_layers] z as this pass computes it */
} literal;

static float *floats(int64_t count)
{
    float *p = calloc((size_t)count, sizeof *p);
    assert_non_null(p);
    return p;
}

static float **tables(int64_t layers, int64_t count)
{
    float **p = calloc((size_t)layers, sizeof *p);
    assert_non_null(p);
    for (int64_t l = 0; count > 0 && l < layers; l++) {
        p[l] = floats(count);
    }
    return p;
}

static void free_tables(float **p, int64_t layers)
{
    for (int64_t l = 0; l < layers; l++) {
        free(p[l]);
    }
    free(p);
}

static void take(const otimes_activation *a, float *to)
{
    for (int64_t i = 0; to && i < a->rows; i++) {
        memcpy(to + (a->first + i) * a->columns, a->data + i * a->stride,
               (size_t)a->columns * sizeof *to);
    }
}

static void put(const otimes_activation *a, const float *from)
{
    for (int64_t i = 0; from && i < a->rows; i++) {
        memcpy(a->data + i * a->stride, from + (a->first + i) * a->columns,
               (size_t)a->columns * sizeof *from);
    }
}

static int visit(void *context, const otimes_activation *a, otimes_err *err)
{
    literal *p = context;
    if (a->hook == OTIMES_HOOK_Z) {
        take(a, p->saved[a->layer]);
        put(a, p->record ? NULL : p->write[a->layer]);
        return 0;
    }
    if (a->hook == OTIMES_HOOK_MLP_OUT) {
        if (p->record) {
            take(a, p->mlp[a->layer]);
        } else {
            put(a, p->mlp[a->layer]);
        }
        return 0;
    }
    const bool own = !p->record && p->settings->recompute_norm;
    return own && a->hook == OTIMES_HOOK_LN_FINAL_SCALE ? 0
                                                        : otimes_frozen_visit(&p->frozen, a, err);
}

/* Mean loss of a pass, and the largest logit. */
static double run_literal(literal *p, const otimes_sequences *text, double *largest)
{
    otimes_err err = {0};
    const int64_t vocab = p->info->d_vocab_out, first = p->settings->first;
    const otimes_hooks hooks = {p->frozen.points | OTIMES_HOOK_BIT(Z) | OTIMES_HOOK_BIT(MLP_OUT),
                                visit, p};
    float *logit = floats(p->n * vocab);
    double loss = 0;
    assert_ok(otimes_forward_run(p->forward, text, &hooks, &err), &err);
    assert_ok(otimes_forward_logits(p->forward, 0, p->n, logit, &err), &err);
    for (int64_t i = first; i + 1 < p->n; i++) {
        const float *row = logit + i * vocab;
        double most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < vocab; j++) {
            most = fmax(most, (double)row[j]);
            *largest = fmax(*largest, fabs((double)row[j]));
        }
        for (int64_t j = 0; j < vocab; j++) {
            sum += exp((double)row[j] - most);
        }
        loss += most + log(sum) - (double)row[text->id[0][i + 1]];
    }
    free(logit);
    return loss / (double)(p->n - 1 - first);
}

/* Biases of values come through the pattern whatever is read. */
static void fill_nothing(literal *p, int64_t l)
{
    otimes_err err = {0};
    const otimes_model_info *info = p->info;
    const otimes_ready_layer *layer;
    const int64_t e = info->d_head, d = info->d_model, group = info->n_heads / info->n_kv_heads;
    const int64_t v = (info->n_heads + info->n_kv_heads) * e, wide = v + info->n_kv_heads * e;
    assert_ok(otimes_layers_get(otimes_forward_layers(p->forward), l, &layer, &err), &err);
    const float *pattern = otimes_frozen_at(&p->frozen, OTIMES_HOOK_PATTERN, l);
    const float *ln_b = layer->rest.ln1_b.data;
    for (int64_t h = 0; h < info->n_heads; h++) {
        for (int64_t k = 0; k < e; k++) {
            const int64_t column = v + h / group * e + k;
            double bias = layer->b_QKV ? (double)layer->b_QKV[column] : 0;
            for (int64_t i = 0; ln_b && i < d; i++) {
                bias += (double)ln_b[i] * (double)layer->W_QKV[i * wide + column];
            }
            for (int64_t q = 0; bias != 0 && q < p->n; q++) {
                double sum = 0;
                for (int64_t j = 0; j < p->n; j++) {
                    sum += (double)pattern[(h * p->n + q) * p->n + j];
                }
                p->nothing[l][q * info->n_heads * e + h * e + k] = (float)(bias * sum);
            }
        }
    }
}

static void literal_begin(literal *p, const otimes_model *model,
                          const otimes_orders_settings *settings)
{
    otimes_err err = {0};
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t layers = info->n_layers, n = settings->sequences.length[0];
    const int64_t wide = n * info->n_heads * info->d_head;
    double unused = 0;
    *p = (literal){.model = model,
                   .info = info,
                   .settings = settings,
                   .n = n,
                   .record = true,
                   .mlp = tables(layers, 0),
                   .nothing = tables(layers, wide),
                   .write = calloc((size_t)layers, sizeof *p->write),
                   .saved = tables(layers, wide)};
    for (int64_t l = 0; l < layers; l++) {
        if (!settings->mlp_links || otimes_layer_has_experts(model, l)) {
            p->mlp[l] = floats(n * info->d_model);
        }
    }
    assert_ok(otimes_forward_open(&p->forward, model, NULL, &err), &err);
    assert_ok(otimes_frozen_init(&p->frozen, model, &settings->sequences, OTIMES_FREEZE_ALL, &err),
              &err);
    run_literal(p, &settings->sequences, &unused);
    p->record = false;
    p->frozen.replay = true;
    for (int64_t l = 0; l < layers; l++) {
        fill_nothing(p, l);
    }
}

static void literal_end(literal *p)
{
    free_tables(p->mlp, p->info->n_layers);
    free_tables(p->nothing, p->info->n_layers);
    free_tables(p->saved, p->info->n_layers);
    free(p->write);
    otimes_frozen_free(&p->frozen);
    otimes_forward_close(&p->forward);
}

/* ---- held against it ---- */

static double worst;

static void hold(const char *name, const char *what, int64_t i, double got, double expected,
                 double scale)
{
    const double gap = fabs(got - expected) / fmax(scale, 1);
    if (!(gap <= 1e-5)) {
        fail_msg("%s: %s %lld: expected %.9g, got %.9g (logits up to %g)", name, what, (long long)i,
                 expected, got, scale);
    }
    worst = fmax(worst, gap);
}

/* n_layers + 1 passes, each writing what the one before it saved. */
static double hold_orders(literal *p, const char *name, const double *loss)
{
    const int64_t layers = p->info->n_layers;
    const size_t bytes = (size_t)(p->n * p->info->n_heads * p->info->d_head) * sizeof(float);
    float **before = tables(layers, p->n * p->info->n_heads * p->info->d_head);
    double largest = 0;
    for (int64_t k = 0; k <= layers; k++) {
        largest = 0;
        for (int64_t l = 0; l < layers; l++) {
            memcpy(before[l], k ? p->saved[l] : p->nothing[l], bytes);
            p->write[l] = before[l];
        }
        hold(name, "order", k, loss[k], run_literal(p, &p->settings->sequences, &largest), largest);
    }
    free_tables(before, layers);
    return largest;
}

/* One pass each, with nothing written by the heads of other layers, or of this one. */
static void hold_layers(literal *p, const char *name, const double *only, const double *without)
{
    const int64_t layers = p->info->n_layers;
    for (int way = 0; way < 2; way++) {
        for (int64_t at = 0; at < layers; at++) {
            double largest = 0;
            for (int64_t l = 0; l < layers; l++) {
                p->write[l] = (l == at) == (way == 1) ? p->nothing[l] : NULL;
            }
            const double loss = run_literal(p, &p->settings->sequences, &largest);
            hold(name, way ? "without layer" : "only layer", at, (way ? without : only)[at], loss,
                 largest);
        }
    }
}

/* Results of one text, as doubles. */
typedef struct measured {
    double *loss, *gain, *model, *only, *without, *marginal, *conditional, *predicted, *token;
    double uniform;
} measured;

static int measure(measured *m, const otimes_model *model, const otimes_orders_settings *settings,
                   otimes_err *err)
{
    const struct {
        const char *name;
        double **to;
    } arrays[] = {{"loss", &m->loss},
                  {"gain", &m->gain},
                  {"model_loss", &m->model},
                  {"loss_only", &m->only},
                  {"loss_without", &m->without},
                  {"marginal", &m->marginal},
                  {"conditional", &m->conditional},
                  {"predicted_tokens", &m->predicted},
                  {"token_loss", &m->token}};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, err), err);
    const int rc = otimes_orders(model, settings, otimes_memory_sink_sink(memory), err);
    *m = (measured){0};
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i].to = sink_values(memory, arrays[i].name, &(int64_t){0});
    }
    m->uniform = rc == OTIMES_OK ? otimes_memory_sink_attr(memory, "uniform_loss")->f64 : NAN;
    otimes_memory_sink_free(&memory);
    return rc;
}

static void forget(measured *m)
{
    double *const all[] = {m->loss,     m->gain,        m->model,     m->only, m->without,
                           m->marginal, m->conditional, m->predicted, m->token};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
    *m = (measured){0};
}

/* False where the model is refused, for a reason that is one. */
static bool hold_text(const otimes_model *model, const char *name,
                      const otimes_orders_settings *settings)
{
    otimes_err err = {0};
    const otimes_model_info *info = otimes_model_describe(model);
    measured m;
    literal p;
    const int rc = measure(&m, model, settings, &err);
    if (info->d_vocab != info->d_vocab_out || rc == OTIMES_ERR_UNSUPPORTED) {
        assert_int_equal(rc, OTIMES_ERR_UNSUPPORTED);
        assert_non_null(
            strstr(err.msg, info->d_vocab != info->d_vocab_out ? "vocabulary" : "clip_qkv"));
        return false;
    }
    assert_ok(rc, &err);
    literal_begin(&p, model, settings);
    const double largest = hold_orders(&p, name, m.loss);
    hold(name, "model, order", info->n_layers, m.loss[info->n_layers], m.model[0], largest);
    hold_layers(&p, name, m.only, m.without);
    assert_true(m.gain[0] == m.uniform - m.loss[0]);
    for (int64_t l = 0; l < info->n_layers; l++) {
        assert_true(m.gain[l + 1] == m.loss[l] - m.loss[l + 1]);
        assert_true(m.marginal[l] == m.loss[0] - m.only[l]);
        assert_true(m.conditional[l] == m.without[l] - m.loss[info->n_layers]);
    }
    literal_end(&p);
    forget(&m);
    return true;
}

static void on_goldens(void **state)
{
    (void)state;
    int held = 0, refused = 0;
    worst = 0;
    for (int i = 0; golden_names[i]; i++) {
        for (int way = 0; way < 8; way++) {
            golden g;
            made_batch batch;
            otimes_orders_settings settings;
            golden_open(&g, golden_names[i], way & 1);
            batch_random(&batch, g.model, &(int64_t){way & 1 ? 9 : 14}, 1, 7);
            otimes_orders_settings_default(&settings);
            settings.sequences = batch.sequences;
            settings.mlp_links = (way & 2) > 0;
            settings.recompute_norm = (way & 4) > 0;
            if (hold_text(g.model, g.name, &settings)) {
                held++;
            } else {
                refused++;
            }
            golden_close(&g);
        }
    }
    assert_true(held > 400);
    print_message("%d runs held, %d refused, at most %.1e\n", held, refused, worst);
}

/* So long that streams go through layers in groups. */
static void long_texts(void **state)
{
    static const char *const names[] = {"llama", "gptj", "gemma2", "falcon"};
    enum { LENGTH = 1500 };
    static int64_t ids[LENGTH];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        golden g;
        otimes_orders_settings settings;
        const int64_t length = LENGTH, *const id = ids;
        golden_open(&g, names[i], true);
        for (int64_t k = 0; k < LENGTH; k++) {
            ids[k] = (k * k + 3 * k) % otimes_model_describe(g.model)->d_vocab;
        }
        otimes_orders_settings_default(&settings);
        settings.sequences = (otimes_sequences){1, &length, &id};
        settings.mlp_links = 1;
        assert_true(hold_text(g.model, g.name, &settings));
        golden_close(&g);
    }
}

/* ---- trained models ---- */

static bool hold_trained(const char *path, int64_t length)
{
    otimes_err err = {0};
    otimes_model *model = NULL;
    made_batch batch;
    bool held = true;
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    const int64_t n_ctx = otimes_model_describe(model)->n_ctx;
    batch_random(&batch, model, &(int64_t){length < n_ctx ? length : n_ctx}, 1, 3);
    for (int way = 0; way < 4; way++) {
        otimes_orders_settings settings;
        otimes_orders_settings_default(&settings);
        settings.sequences = batch.sequences;
        settings.mlp_links = way & 1;
        settings.recompute_norm = way >> 1;
        held = hold_text(model, path, &settings) && held;
    }
    otimes_model_close(&model);
    return held;
}

static void bundled(void **state)
{
    (void)state;
    assert_true(hold_trained(source_path("notebooks-data/induction-2l"), 100));
}

static void shared(void **state)
{
    static const char *const names[] = {"gpt_nano_sort",
                                        "grokking_induction/induction_head_finite.tl.safetensors",
                                        "grokking_induction/induction_head_infinite.tl.safetensors",
                                        "stories260K/stories260K.bin",
                                        "tinystories656k",
                                        "arena_sorted_list",
                                        "tracr_induction"};
    (void)state;
    if (!shared_path("")) {
        skip();
    }
    worst = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const bool held = hold_trained(shared_path(names[i]), 100);
        assert_true(held == !strstr(names[i], "tracr")); /* whose outputs are other tokens */
    }
    print_message("at most %.1e\n", worst);
}

/* ---- several texts, and what is asked of them ---- */

static void several_texts(void **state)
{
    (void)state;
    otimes_err err = {0};
    golden g;
    golden_open(&g, "gpt2", true);
    const int64_t layers = otimes_model_describe(g.model)->n_layers;
    static const int64_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const int64_t length[] = {5, 1, 8, 3}, *const id[] = {ids, ids, ids, ids + 2};
    const double predicted[] = {2, 0, 5, 0};
    otimes_orders_settings settings;
    otimes_orders_settings_default(&settings);
    settings.full = 1;
    settings.first = 2;
    settings.sequences = (otimes_sequences){4, length, id};
    measured all, one;
    assert_ok(measure(&all, g.model, &settings, &err), &err);
    for (int64_t t = 0; t < 4; t++) {
        assert_true(all.predicted[t] == predicted[t]);
        settings.sequences = (otimes_sequences){1, length + t, id + t};
        assert_ok(measure(&one, g.model, &settings, &err), &err);
        for (int64_t k = 0; k <= layers; k++) {
            const double loss = all.loss[t * (layers + 1) + k];
            double sum = 0;
            for (int64_t p = 0; p < 8; p++) {
                const double token = all.token[(t * (layers + 1) + k) * 8 + p];
                const bool there = p >= settings.first && p + 1 < length[t];
                assert_true(there == !isnan(token));
                sum += there ? token : 0;
            }
            if (predicted[t] > 0) {
                assert_true(one.loss[k] == loss);
                assert_true(fabs(sum / predicted[t] - loss) <= 1e-6 * fabs(loss));
            } else {
                assert_true(isnan(loss) && isnan(one.loss[k]) && isnan(all.model[t]));
                assert_true(isnan(all.marginal[t * layers]));
            }
        }
        forget(&one);
    }
    settings.sequences = (otimes_sequences){4, length, id};
    settings.first = 0;
    assert_ok(measure(&one, g.model, &settings, &err), &err);
    for (int64_t i = 0; i < 4 * (layers + 1) * 8; i++) {
        assert_true(isnan(all.token[i]) || fabs(all.token[i] - one.token[i]) <= 1e-4);
    }
    forget(&one);
    forget(&all);
    settings.shares = settings.full = 0;
    assert_ok(measure(&one, g.model, &settings, &err), &err);
    assert_true(one.loss && one.model && !one.marginal && !one.only && !one.token);
    forget(&one);
    golden_close(&g);
}

/* The same bits, whatever the threads and however weights are kept. */
static void same_bits(void **state)
{
    (void)state;
    measured first = {0}, other;
    for (int way = 0; way < 4; way++) {
        otimes_err err = {0};
        golden g;
        made_batch batch;
        otimes_orders_settings settings;
        golden_open_on(way & 1 ? 3 : 1, &g, "llama", true);
        const int64_t layers = otimes_model_describe(g.model)->n_layers;
        batch_random(&batch, g.model, &(int64_t){200}, 1, 5);
        otimes_orders_settings_default(&settings);
        settings.sequences = batch.sequences;
        settings.mlp_links = 1;
        settings.forward.resident = way >> 1;
        assert_ok(measure(way ? &other : &first, g.model, &settings, &err), &err);
        if (way) {
            assert_memory_equal(first.loss, other.loss, (size_t)(layers + 1) * sizeof(double));
            assert_memory_equal(first.without, other.without, (size_t)layers * sizeof(double));
            forget(&other);
        }
        golden_close(&g);
    }
    forget(&first);
}

static void expect_error(const otimes_model *model, const otimes_orders_settings *settings,
                         const char *part)
{
    otimes_err err = {0};
    measured m;
    assert_int_equal(measure(&m, model, settings, &err), OTIMES_ERR_ARGUMENT);
    if (!strstr(err.msg, part)) {
        fail_msg("expected '%s', got '%s'", part, err.msg);
    }
}

static void bad(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, "gpt2", true);
    static const int64_t ids[] = {1, 2, 3}, wrong[] = {1, INT32_MAX};
    const int64_t length[] = {3}, two[] = {2}, *const id[] = {ids}, *const out[] = {wrong};
    otimes_orders_settings settings;
    otimes_orders_settings_default(&settings);
    settings.sequences = (otimes_sequences){1, length, id};
    settings.first = -1;
    expect_error(g.model, &settings, "first: expected at least 0, got -1");
    settings.first = 0;
    const int64_t bytes = otimes_orders_bytes(g.model, &settings);
    settings.forward.memory = bytes - 1;
    expect_error(g.model, &settings, "memory: expected at least");
    settings.forward.memory = bytes;
    measured m;
    assert_ok(measure(&m, g.model, &settings, &(otimes_err){0}), &(otimes_err){0});
    forget(&m);
    settings.forward.memory = 0;
    settings.sequences.count = 0;
    expect_error(g.model, &settings, "expected");
    settings.sequences = (otimes_sequences){1, two, out};
    expect_error(g.model, &settings, "2147483647");
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_goldens), cmocka_unit_test(long_texts),    cmocka_unit_test(bundled),
        cmocka_unit_test(shared),     cmocka_unit_test(several_texts), cmocka_unit_test(same_bits),
        cmocka_unit_test(bad),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
