/* SPDX-License-Identifier: MIT
 *
 * The four forms of every pair against dense products in double, on every golden, and the induction
 * pairs that are known of trained models.
 */
#include "accuracy.h"
#include "edited.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/qk.h>

#include "plain_heads.h"
#include "run/rope.h"
#include "spectra.h"

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

/* Eigenvalues of M G, G = E^T E: their powers, and the copying score that they come to. */
static void check_eigenvalues(double eps, int64_t d, int64_t e, const double *M, const double *G,
                              const double *re, const double *im, double copying)
{
    double *P = zeros(d * d), moduli;
    multiply(d, d, d, M, G, P);
    const double norm = norm_of(P, d * d), want = spectra_copying(d, P, &moduli);
    spectra_hold_powers(d, P, e, re, im, norm, eps * (double)d);
    for (int64_t c = 1; c < e; c++) {
        assert_true(hypot(re[c], im[c]) <= hypot(re[c - 1], im[c - 1]) * (1 + 1e-12));
    }
    accuracy("full_copying", "norm over the sum of moduli", copying, want, norm / moduli,
             eps * (double)d);
    free(P);
}

/* Every pair is there once. */
static void check_labels(const otimes_memory_sink *memory, const otimes_model_info *info,
                         int64_t pairs)
{
    static const char *const names[] = {"earlier_layer", "earlier_head", "later_layer",
                                        "later_head"};
    const int64_t sizes[] = {info->n_layers, info->n_heads, info->n_layers, info->n_heads};
    int64_t *seen = zeros(info->n_layers * info->n_heads * info->n_layers * info->n_heads);
    for (int64_t at = 0; at < pairs; at++) {
        int64_t place = 0;
        for (int k = 0; k < 4; k++) {
            place = place * sizes[k] + ((const int64_t *)array(memory, names[k]))[at];
        }
        seen[place]++;
        for (int k = 0; k < 4; k++) {
            accuracy_exact(names[k], (double)seen[place], 1);
        }
    }
    free(seen);
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
    static const char *const names[] = {"entry_value", "entry_destination_id", "entry_source_id"};
    const double norm = norm_of(T, v * v) + 1e-290;
    for (int64_t i = 0; i < n && row[i] >= 0; i++) {
        int64_t above = 0;
        for (int k = 0; k < 3; k++) {
            accuracy(names[k], "norm of the table", (double)value[i], T[row[i] * v + column[i]],
                     norm, 8 * (double)FLT_EPSILON);
        }
        for (int64_t at = 0; at < v * v; at++) {
            above += T[at] > T[row[i] * v + column[i]] + 1e-12 * norm;
        }
        assert_true(above <= i);
    }
}

/* Sums of what the form's factors and W_E^T W_E may come to. */
#define SIZE "norms of its factors and of W_E^T W_E"

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
    double *T = dense_table(c->model, c->E, M), diagonal = 0, mean = 0;
    for (int64_t i = 0; i < v * v; i++) {
        diagonal += i / v == i % v ? T[i] : 0;
        mean += T[i] / (V * V);
    }
    double parts = norm_of(QK, d * d);
    parts *= form == OTIMES_QK_Q || form == OTIMES_QK_BOTH ? norm_of(OV, d * d) : 1;
    parts *= form == OTIMES_QK_K || form == OTIMES_QK_BOTH ? norm_of(OV, d * d) : 1;
    const double size = parts * norm_of(c->G, d * d), share = c->eps * (double)d;
    const double norm = norm_of(M, d * d), full = norm_of(T, v * v);
#define AT(name) (((const double *)array(c->memory, name))[place])
    accuracy("norm", "norms of its factors", AT("norm"), norm, parts, 1e-14 * (double)d);
    accuracy("score", "1", AT("score"), norm / parts, 1, 1e-14 * (double)d);
    /* |A|^2 of the roots is exact to eps |G|, and the norm is a root itself. */
    accuracy("full_norm", SIZE ", squared, of its square", AT("full_norm") * AT("full_norm"),
             full * full, size * size, share);
    accuracy("full_trace", SIZE, AT("full_trace"), diagonal, size, share);
    accuracy("diagonal_mean", SIZE, AT("diagonal_mean"), diagonal / V, size, share);
    accuracy("entry_mean", SIZE, AT("entry_mean"), mean, size, share);
    const double deviation = sqrt(fmax(full * full / (V * V) - mean * mean, 0));
    if (deviation > 1e-6 * full / V && full > 1e6 * 1e-12 * parts) {
        accuracy("diagonal_excess", "vocabulary times size over full_norm", AT("diagonal_excess"),
                 (diagonal / V - mean) / deviation, V * fmax(1, size / full), 1e-6 + 3 * share);
    }
    check_eigenvalues(c->eps, d, e, M, c->G,
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

static double at_offset(const checked *c, const char *name, int64_t pair, int64_t o)
{
    return ((const double *)array(c->memory, name))[(pair * FORMS + OTIMES_QK_K) * c->offsets + o];
}

/* What the induction test asks of a pair: previous_token, K_copying, OV_copying, K_ratio, match. */
enum { QUESTIONS = 5 };

/* By weights, and from what is held of the K-composed form. */
static void answer(const checked *c, plain_head *p, int64_t at, const int64_t pair[4],
                   double want[QUESTIONS])
{
    const double D = (double)otimes_memory_sink_attr(c->memory, "baseline_dimension")->i64;
    const bool told =
        strncmp(otimes_memory_sink_attr(c->memory, "previous_token_score")->text, "not", 3) != 0;
    otimes_layer layer;
    otimes_err err = {0};
    for (int later = 0; later < 2; later++) {
        assert_ok(otimes_layer_load(c->model, pair[2 * later], OTIMES_PART_ATTENTION, &layer, &err),
                  &err);
        plain_take(p, &layer, pair[2 * later + 1]);
        const bool turns = p->info->positions != OTIMES_POSITIONS_ROPE ||
                           otimes_layer_rope(c->model, p->layer) != NULL;
        want[2 * later] = later           ? plain_copying(p)
                          : told && turns ? plain_previous(p, &layer)
                                          : NAN;
        otimes_layer_free(&layer);
    }
    want[1] = want[3] = want[4] = 0;
    for (int64_t o = 0; o < c->offsets; o++) {
        const double n = (double)c->offsets;
        want[1] += at_offset(c, "full_copying", at, o) / n;
        want[3] += at_offset(c, "score", at, o) * sqrt(D) / n;
        want[4] += (at_offset(c, "diagonal_mean", at, o) - at_offset(c, "entry_mean", at, o)) /
                   (n * plain_square(p, -1));
    }
}

static void check_induction(const checked *c, plain_head *p, int64_t at, const int64_t pair[4])
{
    static const struct {
        const char *name;
        double least, close;
    } asked[QUESTIONS] = {{"previous_token", OTIMES_QK_LEAST_PREVIOUS, 1e-13},
                          {"K_copying", OTIMES_QK_LEAST_COPYING, 1e-14},
                          {"OV_copying", OTIMES_QK_LEAST_COPYING, 16 * FLT_EPSILON},
                          {"K_ratio", OTIMES_QK_LEAST_RATIO, 1e-14},
                          {"match", OTIMES_QK_LEAST_MATCH, 1e-13}};
    double want[QUESTIONS], product = 1;
    int is = 1;
    answer(c, p, at, pair, want);
    for (int i = 0; i < QUESTIONS; i++) {
        const double got = ((const double *)array(c->memory, asked[i].name))[at];
        accuracy(asked[i].name, "1, or its value", got, want[i], fmax(1, fabs(want[i])),
                 asked[i].close);
        product *= i == 3 || isnan(got) ? 1 : fmax(got, 0);
        is = got < asked[i].least || is == 0 ? 0 : isnan(got) ? -1 : is;
    }
    accuracy("induction", "its value", ((const double *)array(c->memory, "induction"))[at], product,
             product, 1e-14);
    accuracy_exact("is_induction", ((const int32_t *)array(c->memory, "is_induction"))[at], is);
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
    check_labels(memory, info, pairs);
    plain_head p = plain_open(g->model);
    for (int64_t at = 0; at < pairs; at += at < 2 ? 1 : 7) {
        const int64_t pair[4] = {((const int64_t *)array(memory, "earlier_layer"))[at],
                                 ((const int64_t *)array(memory, "earlier_head"))[at],
                                 ((const int64_t *)array(memory, "later_layer"))[at],
                                 ((const int64_t *)array(memory, "later_head"))[at]};
        assert_true(pair[0] < pair[2]);
        check_induction(&c, &p, at, pair);
        for (int form = 0; form < FORMS; form++) {
            for (int64_t o = 0; o < c.offsets; o++) {
                check_form(&c, at, pair, form, o);
            }
        }
    }
    plain_close(&p);
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

/* Positions that are added behind a norm are not among what it meets. */
static void positions_behind_a_norm(void **state)
{
    (void)state;
    otimes_layer layer;
    otimes_err err = {0};
    write_edited("transformer_lens_shortformer", "{\"normalization_type\": \"LNPre\"}", NULL);
    otimes_model *model = opens();
    otimes_memory_sink *memory = run(model, NULL);
    const int64_t *head = array(memory, "earlier_head");
    plain_head p = plain_open(model);
    assert_ok(otimes_layer_load(model, 0, OTIMES_PART_ATTENTION, &layer, &err), &err);
    for (int64_t at = 0; at < 9; at++) {
        plain_take(&p, &layer, head[at]);
        accuracy("previous_token", "1", ((const double *)array(memory, "previous_token"))[at],
                 plain_previous(&p, &layer), 1, 1e-13);
    }
    otimes_layer_free(&layer);
    plain_close(&p);
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
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
        cmocka_unit_test_teardown(positions_behind_a_norm, empty_folder),
        cmocka_unit_test(bundled),
        cmocka_unit_test(trained),
        cmocka_unit_test(compiled),
    };
    accuracy_of("qk");
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
