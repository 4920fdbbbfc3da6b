/* SPDX-License-Identifier: MIT
 *
 * The four forms of every pair against dense products in double, on every golden, and the induction
 * pairs that are known of trained models.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/qk.h>

#include "run/rope.h"

enum { FORMS = OTIMES_QK_FORMS };

static otimes_memory_sink *run(const otimes_model *model, const otimes_qk_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_qk(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

static const void *array(const otimes_memory_sink *memory, const char *name)
{
    const void *data = NULL;
    if (!otimes_memory_sink_array(memory, name, &data)) {
        fail_msg("%s is not written", name);
    }
    return data;
}

static void *zeros(int64_t count)
{
    void *memory = calloc((size_t)count, sizeof(double));
    assert_non_null(memory);
    return memory;
}

/* ---- dense ---- */

/* C [m, n] = A [m, k] B [k, n]. */
static void multiply(int64_t m, int64_t n, int64_t k, const double *A, const double *B, double *C)
{
    memset(C, 0, (size_t)(m * n) * sizeof *C);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t l = 0; l < k; l++) {
            for (int64_t j = 0; j < n; j++) {
                C[i * n + j] += A[i * k + l] * B[l * n + j];
            }
        }
    }
}

static void transpose(int64_t m, int64_t n, const double *A, double *B)
{
    for (int64_t i = 0; i < m * n; i++) {
        B[i % n * m + i / n] = A[i];
    }
}

static double norm_of(const double *A, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += A[i] * A[i];
    }
    return sqrt(sum);
}

/* Rows of X [d, e] as queries or keys at a position. */
static void rotate(const otimes_model *model, int64_t layer, double position, int64_t d, int64_t e,
                   double *X)
{
    const otimes_rope *rope = otimes_layer_rope(model, layer);
    double *angle = zeros(e);
    otimes_err err = {0};
    if (rope) {
        assert_ok(otimes_rope_frequencies(model, rope, angle, &err), &err);
    }
    for (int64_t i = 0; rope && i < rope->dim / 2; i++) {
        const int64_t p = rope->adjacent ? 2 * i : i,
                      q = rope->adjacent ? p + 1 : i + rope->dim / 2;
        const double c = rope->magnitude * cos(position * angle[i]);
        const double s = rope->magnitude * sin(position * angle[i]);
        for (int64_t row = 0; row < d; row++) {
            double *x = X + row * e, a = x[p], b = x[q];
            x[p] = a * c - b * s;
            x[q] = b * c + a * s;
        }
    }
    free(angle);
}

static void widen(const float *source, int64_t count, double *out)
{
    for (int64_t i = 0; i < count; i++) {
        out[i] = (double)source[i];
    }
}

/* W_QK at an offset / attn_scale, and W_OV, [d, d] each. */
static void dense_head(const otimes_model *model, int64_t layer_at, int64_t head, double offset,
                       double *QK, double *OV)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, e = info->d_head;
    const int64_t kv = head / (info->n_heads / info->n_kv_heads);
    otimes_layer layer;
    otimes_err err = {0};
    double *Q = zeros(4 * d * e), *K = Q + d * e, *V = K + d * e, *O = V + d * e;
    double *KT = zeros(d * e);
    assert_ok(otimes_layer_load(model, layer_at, OTIMES_PART_ATTENTION, &layer, &err), &err);
    widen(layer.W_Q.data + head * d * e, d * e, Q);
    widen(layer.W_K.data + kv * d * e, d * e, K);
    widen(layer.W_V.data + kv * d * e, d * e, V);
    widen(layer.W_O.data + head * d * e, d * e, O);
    rotate(model, layer_at, 40, d, e, Q);
    rotate(model, layer_at, 40 - offset, d, e, K);
    transpose(d, e, K, KT);
    multiply(d, d, e, Q, KT, QK);
    multiply(d, d, e, V, O, OV);
    for (int64_t i = 0; i < d * d; i++) {
        QK[i] /= info->attn_scale;
    }
    otimes_layer_free(&layer);
    free(KT);
    free(Q);
}

/* The form of a pair, [d, d]. */
static void dense_form(const otimes_model *model, const int64_t pair[4], int form, double offset,
                       double *M)
{
    const int64_t d = otimes_model_describe(model)->d_model;
    double *QK = zeros(5 * d * d), *OV = QK + d * d, *unused = OV + d * d, *T = unused + d * d;
    dense_head(model, pair[0], pair[1], 0, unused, OV);
    dense_head(model, pair[2], pair[3], offset, QK, unused);
    transpose(d, d, OV, T);
    if (form == OTIMES_QK_Q || form == OTIMES_QK_BOTH) {
        multiply(d, d, d, OV, QK, unused);
        memcpy(QK, unused, (size_t)(d * d) * sizeof *QK);
    }
    if (form == OTIMES_QK_K || form == OTIMES_QK_BOTH) {
        multiply(d, d, d, QK, T, unused);
        memcpy(QK, unused, (size_t)(d * d) * sizeof *QK);
    }
    memcpy(M, QK, (size_t)(d * d) * sizeof *M);
    free(QK);
}

static double *dense_embedding(const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t count = info->d_vocab * info->d_model;
    otimes_err err = {0};
    float *rows = zeros(count);
    double *E = zeros(count);
    assert_ok(otimes_embed_rows(model, 0, info->d_vocab, rows, &err), &err);
    widen(rows, count, E);
    free(rows);
    return E;
}

/* T [vocab, vocab] = E M E^T. */
static double *dense_table(const otimes_model *model, const double *E, const double *M)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t v = info->d_vocab, d = info->d_model;
    double *half = zeros(v * d), *ET = zeros(v * d), *T = zeros(v * v);
    multiply(v, d, d, E, M, half);
    transpose(v, d, E, ET);
    multiply(v, v, d, half, ET, T);
    free(half);
    free(ET);
    return T;
}

/* ---- one form of one pair ---- */

static void near(const char *what, const char *name, double got, double want, double close)
{
    if (!(fabs(got - want) <= close)) {
        fail_msg("%s: %s: expected %.17g, got %.17g", name, what, want, got);
    }
}

/* Power sums of the eigenvalues are traces of powers: sum lambda^k = tr((M G)^k), G = E^T E. */
static void check_eigenvalues(const char *name, double eps, int64_t d, int64_t e, const double *M,
                              const double *G, const double *re, const double *im, double copying)
{
    double *P = zeros(3 * d * d), *power = P + d * d, *next = power + d * d;
    double scale = 1, moduli = 0, sum = 0, largest = 0;
    multiply(d, d, d, M, G, P);
    const double norm = norm_of(P, d * d);
    memcpy(power, P, (size_t)(d * d) * sizeof *P);
    for (int64_t c = 0; c < e; c++) {
        moduli += hypot(re[c], im[c]);
        sum += re[c];
        largest = fmax(largest, hypot(re[c], im[c]));
        assert_true(c == 0 || hypot(re[c], im[c]) <= hypot(re[c - 1], im[c - 1]) * (1 + 1e-12));
    }
    for (int k = 1; k <= 3; k++) {
        double trace = 0, powers = 0;
        scale *= norm;
        for (int64_t i = 0; i < d; i++) {
            trace += power[i * d + i];
        }
        for (int64_t c = 0; c < e; c++) {
            powers += k == 1   ? re[c]
                      : k == 2 ? re[c] * re[c] - im[c] * im[c]
                               : re[c] * (re[c] * re[c] - 3 * im[c] * im[c]);
        }
        near("a power sum of eigenvalues", name, powers, trace, eps * (double)d * scale);
        multiply(d, d, d, power, P, next);
        memcpy(power, next, (size_t)(d * d) * sizeof *P);
    }
    if (largest > 1e-9 * norm) {
        near("copying", name, copying, sum / moduli, 1e-9);
    }
    free(P);
}

typedef struct checked {
    const otimes_model *model;
    const otimes_memory_sink *memory;
    const char *name;
    const double *E, *G;
    double eps; /* of W_E: tied forms centre it in double, its rows are rounded to float32 after */
    int64_t offsets;
    const int64_t *offset;
} checked;

static void check_entries(const checked *c, int64_t listed, int form, const double *T)
{
    const int64_t v = otimes_model_describe(c->model)->d_vocab;
    const void *data;
    const otimes_array *values = otimes_memory_sink_array(c->memory, "entry_value", &data);
    const int64_t n = values->axis[2]->length;
    const float *value = (const float *)data + (listed * FORMS + form) * n;
    const int32_t *row =
        (const int32_t *)array(c->memory, "entry_destination_id") + (listed * FORMS + form) * n;
    const int32_t *column =
        (const int32_t *)array(c->memory, "entry_source_id") + (listed * FORMS + form) * n;
    const double close = 1e-6 * norm_of(T, v * v) + 1e-300;
    for (int64_t i = 0; i < n && row[i] >= 0; i++) {
        int64_t above = 0;
        near("an entry", c->name, (double)value[i], T[row[i] * v + column[i]], close);
        for (int64_t at = 0; at < v * v; at++) {
            above += T[at] > T[row[i] * v + column[i]] + 1e-12 * norm_of(T, v * v);
        }
        assert_true(above <= i);
    }
}

static void check_form(const checked *c, int64_t at, const int64_t pair[4], int form, int64_t o)
{
    const otimes_model_info *info = otimes_model_describe(c->model);
    const int64_t d = info->d_model, v = info->d_vocab, e = info->d_head;
    const int64_t place = (at * FORMS + form) * c->offsets + o;
    const double V = (double)v;
    double *M = zeros(4 * d * d), *QK = M + d * d, *OV = QK + d * d, *unused = OV + d * d;
    dense_form(c->model, pair, form, (double)c->offset[o], M);
    dense_head(c->model, pair[0], pair[1], 0, unused, OV);
    dense_head(c->model, pair[2], pair[3], (double)c->offset[o], QK, unused);
    double *T = dense_table(c->model, c->E, M), trace = 0, mean = 0;
    for (int64_t i = 0; i < v * v; i++) {
        trace += i / v == i % v ? T[i] : 0;
        mean += T[i] / (V * V);
    }
    double parts = norm_of(QK, d * d);
    parts *= form == OTIMES_QK_Q || form == OTIMES_QK_BOTH ? norm_of(OV, d * d) : 1;
    parts *= form == OTIMES_QK_K || form == OTIMES_QK_BOTH ? norm_of(OV, d * d) : 1;
    const double close = 1e-12 * (double)d * parts,
                 wide = c->eps * (double)d * parts * norm_of(c->G, d * d);
    const double norm = norm_of(M, d * d), full = norm_of(T, v * v);
#define AT(name) (((const double *)array(c->memory, name))[place])
    near("norm", c->name, AT("norm"), norm, close);
    near("score", c->name, AT("score") * parts, norm, close);
    /* |A|^2 of the roots is exact to eps |G|, and the norm is a root itself. */
    near("full_norm squared", c->name, AT("full_norm") * AT("full_norm"), full * full,
         wide * norm_of(c->G, d * d) * parts);
    near("full_trace", c->name, AT("full_trace"), trace, wide);
    near("diagonal_mean", c->name, AT("diagonal_mean"), trace / V, wide);
    near("entry_mean", c->name, AT("entry_mean"), mean, wide);
    const double deviation = sqrt(fmax(full * full / (V * V) - mean * mean, 0));
    if (deviation > 1e-6 * full / V && full > 1e6 * 1e-12 * parts) {
        near("diagonal_excess", c->name, AT("diagonal_excess"), (trace / V - mean) / deviation,
             V * (1e-6 + 3 * wide / full));
    }
    check_eigenvalues(c->name, c->eps, d, e, M, c->G,
                      (const double *)array(c->memory, "full_eigenvalues_real") + place * e,
                      (const double *)array(c->memory, "full_eigenvalues_imag") + place * e,
                      AT("full_copying"));
#undef AT
    if (o == 0 && at < 2) {
        check_entries(c, at, form, T);
    }
    free(T);
    free(M);
}

static void check_golden(const golden *g, bool processed)
{
    static const int64_t far[] = {3, 0, -2};
    const otimes_model_info *info = otimes_model_describe(g->model);
    const bool rotary = info->positions == OTIMES_POSITIONS_ROPE;
    otimes_qk_settings settings;
    otimes_qk_settings_default(&settings);
    settings.top = 2;
    settings.entries = 4;
    settings.offsets = rotary ? far : NULL;
    settings.offset_count = rotary ? 3 : 0;
    otimes_memory_sink *memory = run(g->model, &settings);
    const void *data;
    const otimes_array *norm = otimes_memory_sink_array(memory, "norm", &data);
    const int64_t d = info->d_model, v = info->d_vocab, pairs = norm->axis[0]->length;
    static const int64_t none = 0;
    double *E = dense_embedding(g->model), *ET = zeros(v * d), *G = zeros(d * d);
    transpose(v, d, E, ET);
    multiply(d, d, v, ET, E, G);
    const checked c = {g->model,
                       memory,
                       g->name,
                       E,
                       G,
                       processed ? 2e-8 : 1e-12,
                       norm->axis[2]->length,
                       rotary ? far : &none};
    assert_int_equal(pairs,
                     info->n_layers * (info->n_layers - 1) / 2 * info->n_heads * info->n_heads);
    for (int64_t at = 0; at < pairs; at += at < 2 ? 1 : 7) {
        const int64_t pair[4] = {((const int64_t *)array(memory, "earlier_layer"))[at],
                                 ((const int64_t *)array(memory, "earlier_head"))[at],
                                 ((const int64_t *)array(memory, "later_layer"))[at],
                                 ((const int64_t *)array(memory, "later_head"))[at]};
        assert_true(pair[0] < pair[2]);
        for (int form = 0; form < FORMS; form++) {
            for (int64_t o = 0; o < c.offsets; o++) {
                check_form(&c, at, pair, form, o);
            }
        }
    }
    otimes_memory_sink_free(&memory);
    free(E);
    free(ET);
    free(G);
}

static void goldens(void **state)
{
    (void)state;
    int refused = 0, checked_count = 0;
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            golden_open(&g, golden_names[i], processed);
            if (otimes_model_describe(g.model)->n_layers > 1) {
                check_golden(&g, processed != 0);
                checked_count++;
            } else {
                otimes_memory_sink *memory;
                otimes_err err = {0};
                assert_ok(otimes_memory_sink_new(&memory, &err), &err);
                assert_int_equal(otimes_qk(g.model, NULL, otimes_memory_sink_sink(memory), &err),
                                 OTIMES_ERR_UNSUPPORTED);
                assert_non_null(strstr(err.msg, "expected at least 2 layers, got 1"));
                otimes_memory_sink_free(&memory);
                refused++;
            }
            golden_close(&g);
        }
    }
    print_message("%d goldens checked, %d refused for one layer\n", checked_count, refused);
}

/* ---- known pairs ---- */

/* Exactly these pairs are called induction pairs, and they come first. */
static void expect_pairs(const char *path, const char *const *pairs)
{
    otimes_model *model;
    otimes_err err = {0};
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    otimes_memory_sink *memory = run(model, NULL);
    const void *data;
    const otimes_array *labels = otimes_memory_sink_array(memory, "is_induction", &data);
    const int32_t *is = data;
    const double *product = array(memory, "induction");
    int64_t count = 0;
    while (pairs[count]) {
        count++;
    }
    for (int64_t i = 0; i < labels->axis[0]->length; i++) {
        bool known = false;
        for (int64_t k = 0; k < count; k++) {
            known |= strcmp(labels->axis[0]->text[i], pairs[k]) == 0;
        }
        if (known != (i < count) || (is[i] == 1) != known) {
            fail_msg("%s: pair %lld, %s: label %d", path, (long long)i, labels->axis[0]->text[i],
                     (int)is[i]);
        }
        assert_true(i == 0 || product[i] <= product[i - 1]);
    }
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

/* Its README: previous-token head 0.2; induction heads 1.0, 1.1, 1.3 (0.96, 0.97, 0.69). */
static void bundled(void **state)
{
    static const char *const pairs[] = {"L0H2 L1H1", "L0H2 L1H0", "L0H2 L1H3", NULL};
    (void)state;
    expect_pairs(source_path("notebooks-data/induction-2l"), pairs);
}

/* Heads by their patterns, in NOTES.md of the folder. */
static void trained(void **state)
{
    static const char *const infinite[] = {"L0H2 L1H1", "L0H2 L1H2", "L0H2 L1H3", NULL};
    static const char *const finite[] = {"L0H0 L1H2", NULL};
    static const char folder[] = "grokking_induction/induction_head_";
    char name[96];
    (void)state;
    if (!shared_path("grokking_induction")) {
        print_message("[ SKIPPED ] ../shared/weights is absent\n");
        skip();
    }
    snprintf(name, sizeof name, "%sinfinite.tl.safetensors", folder);
    expect_pairs(shared_path(name), infinite);
    snprintf(name, sizeof name, "%sfinite.tl.safetensors", folder);
    expect_pairs(shared_path(name), finite);
}

/* The compiled model: one pair, K-composition .348155, Q-composition exactly 0. */
static void compiled(void **state)
{
    static const char *const pairs[] = {"L0H0 L1H0", NULL};
    (void)state;
    if (!shared_path("tracr_induction")) {
        print_message("[ SKIPPED ] ../shared/weights is absent\n");
        skip();
    }
    expect_pairs(shared_path("tracr_induction"), pairs);
    otimes_model *model;
    otimes_err err = {0};
    assert_ok(otimes_model_open(&model, shared_path("tracr_induction"), NULL, &err), &err);
    otimes_memory_sink *memory = run(model, NULL);
    const double *score = array(memory, "score");
    assert_true(fabs(score[OTIMES_QK_K] - .348155) < 5e-7 && score[OTIMES_QK_Q] == 0);
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens),
        cmocka_unit_test(bundled),
        cmocka_unit_test(trained),
        cmocka_unit_test(compiled),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
