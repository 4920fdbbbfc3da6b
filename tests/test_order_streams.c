/* SPDX-License-Identifier: MIT
 *
 * Streams by the number of heads gone through, and values by the layers gone through, against one
 * stream for each set of layers led through the operators alone.
 */
#include "linearised.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "num/dot.h"
#include "run/order_streams.h"

enum { SETS = 64, LAYERS = 6, TEXT = 9 };

/* What has gone through one head of each layer of the set (bits) and no other, at the end. */
static void lead(linearised *m, unsigned set, float *x)
{
    otimes_err err = {0};
    const otimes_model_info *info = m->info;
    const int64_t count = m->n * m->d;
    float *heads = floats(count), *mlp = floats(count),
          *z = floats(m->n * info->n_heads * info->d_head);
    bool begun = false; /* sources come in no longer */
    memset(x, 0, (size_t)count * sizeof *x);
    for (int64_t l = 0; l < info->n_layers; l++) {
        const otimes_ready_layer *layer;
        const bool taken = set >> l & 1;
        assert_ok(otimes_layers_get(m->linear.layers, l, &layer, &err), &err);
        if (!begun) {
            add_new_sources(m, l, false, x);
        }
        if (taken) {
            assert_ok(otimes_linear_attention(&m->linear, layer, 1, x, NULL, z, heads, &err), &err);
            begun = true;
        } else if (!begun && !info->parallel) {
            add_new_sources(m, l, true, x);
        }
        if (taken && !info->parallel) {
            memcpy(x, heads, (size_t)count * sizeof *x);
        }
        assert_ok(otimes_linear_mlp(&m->linear, layer, 1, x, mlp, &err), &err);
        add_floats(count, mlp, x);
        if (taken && info->parallel) {
            memcpy(x, heads, (size_t)count * sizeof *x);
        }
    }
    if (!begun) {
        add_new_sources(m, info->n_layers, false, x);
    }
    free(heads);
    free(mlp);
    free(z);
}

static int members_of(unsigned set)
{
    return __builtin_popcount(set);
}

/* Each entry within `relative` of the largest entry of the pass' stream. */
static void hold(const linearised *m, const char *what, const float *got, const double *expected)
{
    double largest = 0;
    for (int64_t i = 0; i < m->n * m->d; i++) {
        largest = fmax(largest, fabs((double)m->linear.stream[i]));
        largest = fmax(largest, fabs(expected[i]));
    }
    for (int64_t i = 0; i < m->n * m->d; i++) {
        if (!(fabs((double)got[i] - expected[i]) <= 1e-5 * largest)) {
            fail_msg("%s: %s: position %d is %.9g, expected %.9g", m->name, what, (int)(i / m->d),
                     (double)got[i], expected[i]);
        }
    }
}

/* Streams of order 0 .. orders, heads of `layers` (bits) alone, against sums of sets. */
static void hold_streams(linearised *m, float *const *by_set, int64_t orders, unsigned layers)
{
    otimes_err err = {0};
    const int64_t count = m->n * m->d, n_layers = m->info->n_layers;
    bool part[LAYERS];
    float *streams = floats((orders + 1) * count);
    double *expected = calloc((size_t)count, sizeof *expected);
    const unsigned all = (1U << n_layers) - 1;
    for (int64_t l = 0; l < n_layers; l++) {
        part[l] = layers >> l & 1;
    }
    assert_ok(otimes_order_streams(&m->linear, orders, layers == all ? NULL : part, streams, &err),
              &err);
    for (int64_t k = 0; k <= orders; k++) {
        memset(expected, 0, (size_t)count * sizeof *expected);
        for (unsigned set = 0; set <= all; set++) {
            for (int64_t i = 0; members_of(set) == k && !(set & ~layers) && i < count; i++) {
                expected[i] += (double)by_set[set][i];
            }
        }
        hold(m, "order stream", streams + k * count, expected);
    }
    free(expected);
    free(streams);
}

/* The streams of all orders are the pass' own. */
static void hold_sum(linearised *m, double *worst)
{
    otimes_err err = {0};
    const int64_t count = m->n * m->d, orders = m->info->n_layers;
    float *streams = floats((orders + 1) * count);
    assert_ok(otimes_order_streams(&m->linear, orders, NULL, streams, &err), &err);
    for (int64_t k = 1; k <= orders; k++) {
        add_floats(count, streams + k * count, streams);
    }
    const double gap = gap_of(streams, m->linear.stream, count);
    if (!(gap <= 1e-5)) {
        fail_msg("%s: orders sum to %g off the pass", m->name, gap);
    }
    *worst = fmax(*worst, gap);
    free(streams);
}

typedef struct seen {
    const linearised *m;
    float *const *by_set;
    int64_t visits;
    double total;
    unsigned last;
} seen;

static double value_at_end(const linearised *m, const float *stream, bool offset)
{
    return otimes_dot(m->target.direction, stream + m->q * m->d, m->d) +
           (offset ? m->target.offset : 0);
}

static int see_set(void *context, int64_t members, const int64_t *layer, double value,
                   otimes_err *err)
{
    seen *s = context;
    unsigned set = 0;
    (void)err;
    for (int64_t i = 0; i < members; i++) {
        assert_true(layer[i] >= 0 && layer[i] < s->m->info->n_layers);
        assert_true(i == 0 || layer[i] > layer[i - 1]);
        set |= 1U << layer[i];
    }
    assert_true(s->visits == 0 ? set == 0 : set != s->last);
    s->last = set;
    s->visits++;
    s->total += value;
    if (s->by_set) {
        /* Terms of the product, each rounded, may cancel. */
        const float *stream = s->by_set[set] + s->m->q * s->m->d;
        double size = fabs(s->m->target.offset);
        for (int64_t i = 0; i < s->m->d; i++) {
            size += fabs((double)s->m->target.direction[i] * (double)stream[i]);
            size += 1e-2 * fabs((double)s->m->target.direction[i]) *
                    fabs((double)s->m->linear.stream[s->m->q * s->m->d + i]);
        }
        const double expected = value_at_end(s->m, s->by_set[set], set == 0);
        if (!(fabs(value - expected) <= 1e-5 * size)) {
            fail_msg("%s: set %x is worth %.9g, expected %.9g", s->m->name, set, value, expected);
        }
    }
    return OTIMES_OK;
}

static void hold_sets(linearised *m, float *const *by_set)
{
    otimes_err err = {0};
    const int64_t n_layers = m->info->n_layers;
    for (int64_t most = 0; most <= n_layers + 1; most++) {
        seen s = {m, by_set, 0, 0, 0};
        assert_ok(otimes_layer_sets(&m->linear, &m->target, most, see_set, &s, &err), &err);
        assert_true((double)s.visits == otimes_layer_sets_count(n_layers, most));
        const double expected = otimes_linear_target_value(&m->linear, &m->target);
        double size = fabs(m->target.offset);
        for (int64_t i = 0; i < m->d; i++) {
            size +=
                fabs((double)m->target.direction[i] * (double)m->linear.stream[m->q * m->d + i]);
        }
        if (most >= n_layers && !(fabs(s.total - expected) <= 1e-5 * size)) {
            fail_msg("%s: sets sum to %.9g, expected %.9g", m->name, s.total, expected);
        }
    }
}

static void sets_and_orders(void **state)
{
    int compared = 0, way = 0;
    double worst = 0;
    linearised m;
    (void)state;
    for (; linearised_begin(&m, way, TEXT, way % 3 == 0, NULL, NULL); way++) {
        const int64_t n_layers = m.n > 0 ? m.info->n_layers : 0;
        assert_true(n_layers <= LAYERS);
        const unsigned all = (1U << n_layers) - 1;
        float *by_set[SETS];
        for (unsigned set = 0; m.n > 0 && set <= all; set++) {
            by_set[set] = floats(m.n * m.d);
            lead(&m, set, by_set[set]);
        }
        if (m.n > 0) {
            hold_sum(&m, &worst);
            hold_streams(&m, by_set, n_layers, all);
            hold_streams(&m, by_set, n_layers > 0 ? n_layers - 1 : 0, all);
            hold_streams(&m, by_set, n_layers, all & 0x2a);
            hold_sets(&m, by_set);
            compared++;
        }
        for (unsigned set = 0; m.n > 0 && set <= all; set++) {
            free(by_set[set]);
        }
        linearised_end(&m);
    }
    print_message("%d of %d passes, at most %.1e of the largest entry\n", compared, way, worst);
    assert_true(compared > 220);
}

/* More streams than go through a layer together. */
static void groups(void **state)
{
    int way = 0, found = 0;
    linearised m;
    double worst = 0;
    (void)state;
    for (; linearised_begin(&m, way, 3, false, NULL, NULL); way++) {
        const char *path = "stories260K/stories260K.bin";
        if (m.n > 0 && strcmp(m.name, path) == 0) {
            linearised large = {0};
            otimes_model *model = NULL;
            otimes_err err = {0};
            assert_ok(otimes_model_open(&model, shared_path(path), NULL, &err), &err);
            linearised_open(&large, path, model, m.linear.role, MADE_TOKENS, false, NULL);
            hold_sum(&large, &worst);
            linearised_end(&large);
            found++;
        }
        linearised_end(&m);
    }
    if (found == 0) {
        skip();
    }
}

static int stop(void *context, int64_t members, const int64_t *layer, double value, otimes_err *err)
{
    int *left = context;
    (void)members, (void)layer, (void)value;
    return --*left > 0 ? OTIMES_OK : otimes_fail(err, OTIMES_ERR_CANCELLED, "enough");
}

/* What a visitor returns ends the walk. */
static void stopped(void **state)
{
    linearised m;
    (void)state;
    assert_true(linearised_begin(&m, 2, TEXT, false, NULL, NULL));
    for (int visits = 1; visits <= (1 << m.info->n_layers); visits++) {
        int left = visits;
        otimes_err err = {0};
        assert_int_equal(otimes_layer_sets(&m.linear, &m.target, LAYERS, stop, &left, &err),
                         OTIMES_ERR_CANCELLED);
        assert_int_equal(left, 0);
    }
    linearised_end(&m);
}

static void counts(void **state)
{
    (void)state;
    assert_true(otimes_layer_sets_count(0, 5) == 1);
    assert_true(otimes_layer_sets_count(12, 0) == 1);
    assert_true(otimes_layer_sets_count(12, 2) == 1 + 12 + 66);
    assert_true(otimes_layer_sets_count(12, 12) == 4096);
    assert_true(otimes_layer_sets_count(48, 99) == 281474976710656.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_and_orders),
        cmocka_unit_test(groups),
        cmocka_unit_test(stopped),
        cmocka_unit_test(counts),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
