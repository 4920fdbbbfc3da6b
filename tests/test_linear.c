/* SPDX-License-Identifier: MIT
 *
 * A pass made linear, on every golden: its operators and sources rebuild the pass, adjoints are
 * adjoint, targets are the pass' logits and the gradient of its loss.
 */
#include "forwarding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "num/dot.h"
#include "num/sample.h"
#include "run/forward.h"
#include "run/linear.h"
#include "run/readout.h"
#include "run/target.h"

typedef struct made {
    golden g;
    otimes_forward *forward;
    made_batch batch;
    otimes_linear linear;
    int64_t n, d;
} made;

/* False where values of this text are clipped. */
static bool begin(made *m, const char *name, bool processed, otimes_mlp_role role, int64_t length)
{
    otimes_err err = {0};
    memset(m, 0, sizeof *m);
    golden_open(&m->g, name, processed);
    const otimes_model_info *info = otimes_model_describe(m->g.model);
    batch_random(&m->batch, m->g.model, &length, 1, 11);
    assert_ok(otimes_forward_open(&m->forward, m->g.model, NULL, &err), &err);
    const int rc = otimes_linear_init(&m->linear, otimes_forward_layers(m->forward),
                                      &m->batch.sequences, role, OTIMES_LINEAR_Z, NULL, &err);
    if (rc == OTIMES_ERR_UNSUPPORTED) {
        assert_true(info->clip_qkv > 0);
        assert_non_null(strstr(err.msg, "clip_qkv"));
        return false;
    }
    assert_ok(rc, &err);
    m->n = m->linear.n;
    m->d = info->d_model;
    return true;
}

static void end(made *m)
{
    otimes_linear_free(&m->linear);
    otimes_forward_close(&m->forward);
    golden_close(&m->g);
}

static float *rows_of(int64_t count)
{
    float *rows = calloc((size_t)count, sizeof *rows);
    assert_non_null(rows);
    return rows;
}

static void add(int64_t count, const float *x, float *y)
{
    for (int64_t i = 0; i < count; i++) {
        y[i] += x[i];
    }
}

/* Sources that come in between two layers, or before the MLP of one. */
static void add_sources(const made *m, int64_t layer, bool mlp, float *stream)
{
    for (int64_t s = 0; s < m->linear.source_count; s++) {
        const otimes_linear_source *source = &m->linear.source[s];
        const bool early = source->layer >= 0 && source->mlp_layer == source->layer;
        if (source->layer == layer && early == mlp) {
            add(m->n * m->d, source->rows, stream);
        }
    }
}

/* From its sources and operators alone. */
static void rebuild(made *m, float *stream)
{
    otimes_err err = {0};
    const int64_t count = m->n * m->d;
    const otimes_model_info *info = m->linear.info;
    float *out = rows_of(count), *before = rows_of(count);
    float *z = rows_of(m->n * info->n_heads * info->d_head);
    add_sources(m, -1, false, stream);
    for (int64_t l = 0; l < info->n_layers; l++) {
        const otimes_ready_layer *layer;
        assert_ok(otimes_layers_get(m->linear.layers, l, &layer, &err), &err);
        memcpy(before, stream, (size_t)count * sizeof *before);
        assert_ok(otimes_linear_attention(&m->linear, layer, 1, before, NULL, z, out, &err), &err);
        add(count, out, stream);
        add_sources(m, l, true, stream);
        if (!info->parallel) {
            memcpy(before, stream, (size_t)count * sizeof *before);
        }
        assert_ok(otimes_linear_mlp(&m->linear, layer, 1, before, out, &err), &err);
        add(count, out, stream);
        add_sources(m, l, false, stream);
    }
    free(z);
    free(before);
    free(out);
}

static void sums(void **state)
{
    (void)state;
    double worst = 0;
    int compared = 0;
    for (int i = 0; golden_names[i]; i++) {
        for (int way = 0; way < 8; way++) {
            made m;
            if (begin(&m, golden_names[i], way & 1, way & 2 ? OTIMES_MLP_AS_LINK : 0,
                      way & 4 ? 150 : 7)) {
                float *stream = rows_of(m.n * m.d);
                rebuild(&m, stream);
                const double gap = gap_of(stream, m.linear.stream, m.n * m.d);
                if (!(gap <= 1e-5)) {
                    fail_msg("%s: way %d: the sum of all paths is off by %g", m.g.name, way, gap);
                }
                worst = gap > worst ? gap : worst;
                compared++;
                free(stream);
            }
            end(&m);
        }
    }
    assert_true(compared > 400);
    print_message("%d passes, at most %.1e of the largest entry\n", compared, worst);
}

/* ---- adjoints ---- */

static void fill(uint64_t stream, int64_t count, float *x)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = (float)(otimes_uniform_of(5, stream, (uint64_t)i) - 0.5);
    }
}

static void hold_adjoint(const char *name, const char *what, double a, double b, double size)
{
    if (!(fabs(a - b) <= 1e-5 * size)) {
        fail_msg("%s: %s: <g, L x> is %.9g, <L* g, x> %.9g", name, what, a, b);
    }
}

/* Two streams, and one head left out. */
static void adjoint_of_layer(made *m, const otimes_ready_layer *layer)
{
    enum { STREAMS = 2 };
    otimes_err err = {0};
    const otimes_model_info *info = m->linear.info;
    const int64_t count = STREAMS * m->n * m->d;
    const int64_t wide = STREAMS * m->n * info->n_heads * info->d_head;
    float *x = rows_of(count), *g = rows_of(count), *y = rows_of(count), *back = rows_of(count);
    float *z = rows_of(wide), *u = rows_of(wide);
    bool heads[64];
    for (int64_t h = 0; h < info->n_heads; h++) {
        heads[h] = h != 1;
    }
    fill(1, count, x);
    fill(2, count, g);
    for (int some = 0; some < 2; some++) {
        const bool *which = some ? heads : NULL;
        assert_ok(otimes_linear_attention(&m->linear, layer, STREAMS, x, which, z, y, &err), &err);
        assert_ok(otimes_linear_attention_back(&m->linear, layer, STREAMS, g, which, u, back, &err),
                  &err);
        hold_adjoint(m->g.name, "attention", otimes_dot(g, y, count), otimes_dot(back, x, count),
                     sqrt(otimes_dot(g, g, count) * otimes_dot(y, y, count)));
    }
    assert_ok(otimes_linear_mlp(&m->linear, layer, STREAMS, x, y, &err), &err);
    assert_ok(otimes_linear_mlp_back(&m->linear, layer, STREAMS, g, back, &err), &err);
    hold_adjoint(m->g.name, "mlp", otimes_dot(g, y, count), otimes_dot(back, x, count),
                 sqrt(otimes_dot(g, g, count) * otimes_dot(y, y, count)));
    free(u);
    free(z);
    free(back);
    free(y);
    free(g);
    free(x);
}

static void adjoints(void **state)
{
    (void)state;
    otimes_err err = {0};
    for (int i = 0; golden_names[i]; i++) {
        for (int way = 0; way < 4; way++) {
            made m;
            const bool usable =
                begin(&m, golden_names[i], way & 1, OTIMES_MLP_AS_LINK, way & 2 ? 140 : 6);
            for (int64_t l = 0; usable && l < m.linear.info->n_layers; l++) {
                const otimes_ready_layer *layer;
                assert_ok(otimes_layers_get(m.linear.layers, l, &layer, &err), &err);
                adjoint_of_layer(&m, layer);
            }
            end(&m);
        }
    }
}

/* ---- targets ---- */

static float *logits_of(made *m, int64_t streams, int64_t biased, const float *x)
{
    otimes_err err = {0};
    const int64_t rows = streams * m->n, vocab = m->linear.info->d_vocab_out;
    float *normal = rows_of(rows * m->d), *logits = rows_of(rows * vocab);
    const otimes_readout readout = {.logits = logits};
    otimes_linear_final(&m->linear, streams, biased, x, normal);
    assert_ok(otimes_readout_run(m->linear.layers, rows, normal, &readout, &err), &err);
    free(normal);
    return logits;
}

/* Before the soft cap. */
static double uncapped(const otimes_model_info *info, float logit)
{
    const double cap = info->final_softcap;
    return cap > 0 ? cap * atanh((double)logit / cap) : (double)logit;
}

static void targets(void **state)
{
    (void)state;
    otimes_err err = {0};
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2; processed++) {
            made m;
            if (!begin(&m, golden_names[i], processed, OTIMES_MLP_AS_SOURCE, 6)) {
                end(&m);
                continue;
            }
            const otimes_model_info *info = m.linear.info;
            const int64_t q = m.n - 1, vocab = info->d_vocab_out;
            float *logits = logits_of(&m, 1, 0, m.linear.stream), *direction = rows_of(m.d);
            const float *row = logits + q * vocab;
            float *plain = forward_logits(m.g.model, NULL, &m.batch, NULL, m.g.name);
            assert_true(gap_of(logits, plain, m.n * vocab) <= 1e-5);
            otimes_linear_target target = {.direction = direction};
            double most = 0, expected_loss = 0, total = 0;
            for (int64_t j = 0; j < vocab; j++) {
                most = fmax(most, fabs(uncapped(info, row[j])));
                total += exp((double)row[j]);
            }
            assert_ok(otimes_linear_target_logit(&m.linear, q, 2, -1, &target, &err), &err);
            assert_true(fabs(otimes_linear_target_value(&m.linear, &target) -
                             uncapped(info, row[2])) <= 2e-5 * most);
            assert_ok(otimes_linear_target_logit(&m.linear, q, 2, 1, &target, &err), &err);
            assert_true(fabs(otimes_linear_target_value(&m.linear, &target) -
                             (uncapped(info, row[2]) - uncapped(info, row[1]))) <= 2e-5 * most);
            for (int64_t j = 0; j < vocab; j++) {
                const double cap = info->final_softcap, y = (double)row[j];
                const double slope = cap > 0 ? 1 - y * y / (cap * cap) : 1;
                expected_loss += (exp(y) / total - (j == 2)) * slope * uncapped(info, row[j]);
            }
            assert_ok(otimes_linear_target_loss(&m.linear, q, 2, &target, &err), &err);
            if (!(fabs(otimes_linear_target_value(&m.linear, &target) - expected_loss) <=
                  2e-5 * most)) {
                fail_msg("%s: loss term %g, expected %g", m.g.name,
                         otimes_linear_target_value(&m.linear, &target), expected_loss);
            }
            assert_int_equal(otimes_linear_target_logit(&m.linear, m.n, 0, -1, &target, &err),
                             OTIMES_ERR_ARGUMENT);
            assert_int_equal(otimes_linear_target_logit(&m.linear, 0, vocab, -1, &target, &err),
                             OTIMES_ERR_ARGUMENT);
            free(plain);
            free(direction);
            free(logits);
            end(&m);
        }
    }
}

static void refused(void **state)
{
    static const int64_t ids[] = {1, 2}, lengths[] = {2, 0};
    static const int64_t *const id[] = {ids, ids};
    (void)state;
    golden g;
    otimes_forward *forward;
    otimes_err err = {0};
    golden_open(&g, "gpt2", true);
    assert_ok(otimes_forward_open(&forward, g.model, NULL, &err), &err);
    for (int64_t count = 0; count <= 2; count++) { /* none, an empty one, two */
        otimes_linear linear;
        const otimes_sequences sequences = {count, count == 1 ? lengths + 1 : lengths, id};
        assert_int_equal(otimes_linear_init(&linear, otimes_forward_layers(forward), &sequences,
                                            OTIMES_MLP_AS_LINK, 0, NULL, &err),
                         OTIMES_ERR_ARGUMENT);
        assert_non_null(strstr(err.msg, "sequence: expected one of at least one token"));
        otimes_linear_free(&linear);
    }
    otimes_forward_close(&forward);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums),
        cmocka_unit_test(adjoints),
        cmocka_unit_test(targets),
        cmocka_unit_test(refused),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
