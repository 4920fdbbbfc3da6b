/* SPDX-License-Identifier: MIT */
#include "comparing.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accuracy.h"
#include "model/model.h"
#include "num/la.h"

static const char *const side_names[SIDES] = {"Q", "K", "V", "O"};
static const char *const circuit_names[CIRCUITS] = {"OV", "QK"};
static const int left_of[CIRCUITS] = {SIDE_V, SIDE_Q}, right_of[CIRCUITS] = {SIDE_O, SIDE_K};

static double *numbers(int64_t count)
{
    double *x = calloc((size_t)(count ? count : 1), sizeof *x);
    assert_non_null(x);
    return x;
}

double dense_dot(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

double *dense_cross(int64_t n, int64_t p, int64_t q, const double *a, const double *b)
{
    double *product = numbers(p * q);
    for (int64_t k = 0; k < n; k++) {
        for (int64_t i = 0; i < p; i++) {
            for (int64_t j = 0; j < q; j++) {
                product[i * q + j] += a[k * p + i] * b[k * q + j];
            }
        }
    }
    return product;
}

/* ---- weights ---- */

/* What the stream receives of a column of W_O^T behind a norm. */
static void pass_norm(const otimes_model_info *info, const float *w, int64_t e, double *x)
{
    for (int64_t j = 0; w && j < e; j++) {
        double mean = 0;
        for (int64_t i = 0; info->norm == OTIMES_NORM_LN && i < info->d_model; i++) {
            mean += x[i * e + j] / (double)info->d_model;
        }
        for (int64_t i = 0; i < info->d_model; i++) {
            x[i * e + j] = (x[i * e + j] - mean) * (double)w[i];
        }
    }
}

static void read_layer(dense_model *dense, int64_t l)
{
    const otimes_model_info *info = otimes_model_describe(dense->model);
    const int64_t d = info->d_model, e = info->d_head, group = info->n_heads / info->n_kv_heads;
    otimes_layer layer;
    otimes_err err = {0};
    assert_ok(otimes_layer_load(dense->model, l, OTIMES_PART_ATTENTION, &layer, &err), &err);
    for (int64_t h = 0; h < info->n_heads; h++) {
        const float *from[SIDES] = {layer.W_Q.data + h * d * e, layer.W_K.data + h / group * d * e,
                                    layer.W_V.data + h / group * d * e, layer.W_O.data + h * d * e};
        for (int64_t k = 0; k < d * e; k++) {
            for (int x = 0; x < SIDES; x++) { /* W_O is [d_head, d_model] */
                const int64_t at = x == SIDE_O ? k % e * d + k / e : k;
                dense->side[x][(l * info->n_heads + h) * d * e + k] = (double)from[x][at];
            }
        }
        pass_norm(info, layer.ln1_post_w.data, e,
                  dense->side[SIDE_O] + (l * info->n_heads + h) * d * e);
    }
    otimes_layer_free(&layer);
}

double *dense_centred_end(const otimes_model *model, bool out)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t tokens = out ? info->d_vocab_out : info->d_vocab, d = info->d_model;
    float *rows = calloc((size_t)(tokens * d), sizeof *rows);
    double *wide = numbers(tokens * d);
    otimes_unembed unembed = {0};
    otimes_err err = {0};
    assert_non_null(rows);
    if (out) {
        assert_ok(otimes_unembed_open(model, &unembed, &err), &err);
        assert_ok(otimes_unembed_rows(&unembed, 0, tokens, rows, &err), &err);
        otimes_unembed_free(&unembed);
    } else {
        assert_ok(otimes_embed_rows(model, 0, tokens, rows, &err), &err);
    }
    for (int64_t j = 0; j < d; j++) {
        double mean = 0;
        for (int64_t i = 0; i < tokens; i++) {
            mean += (double)rows[i * d + j] / (double)tokens;
        }
        for (int64_t i = 0; i < tokens; i++) {
            wide[i * d + j] = (double)rows[i * d + j] - mean;
        }
    }
    free(rows);
    return wide;
}

static void to_vocabulary(dense_model *dense, int side)
{
    const otimes_model_info *info = otimes_model_describe(dense->model);
    const int64_t d = info->d_model, e = info->d_head;
    const int64_t tokens = side == SIDE_O ? info->d_vocab_out : info->d_vocab;
    double *end = dense_centred_end(dense->model, side == SIDE_O), *old = dense->side[side];
    double *all = numbers(dense->nodes * tokens * e);
    for (int64_t n = 0; n < dense->nodes; n++) {
        for (int64_t t = 0; t < tokens; t++) {
            for (int64_t k = 0; k < d * e; k++) {
                all[(n * tokens + t) * e + k % e] += end[t * d + k / e] * old[n * d * e + k];
            }
        }
    }
    dense->rows[side] = tokens;
    dense->side[side] = all;
    free(end);
    free(old);
}

void dense_make(dense_model *dense, const otimes_model *model, bool vocab)
{
    const otimes_model_info *info = otimes_model_describe(model);
    *dense = (dense_model){.model = model,
                           .layers = info->n_layers,
                           .heads = info->n_heads,
                           .kv_heads = info->n_kv_heads,
                           .nodes = info->n_layers * info->n_heads,
                           .d_head = info->d_head};
    for (int x = 0; x < SIDES; x++) {
        dense->rows[x] = info->d_model;
        dense->side[x] = numbers(dense->nodes * info->d_model * info->d_head);
    }
    for (int64_t l = 0; l < info->n_layers; l++) {
        read_layer(dense, l);
    }
    for (int x = 0; x < SIDES && vocab; x++) {
        to_vocabulary(dense, x);
    }
}

void dense_free(dense_model *dense)
{
    for (int x = 0; x < SIDES; x++) {
        free(dense->side[x]);
    }
    *dense = (dense_model){0};
}

double *dense_circuit(const dense_model *m, int circuit, int64_t node)
{
    const int l = left_of[circuit], r = right_of[circuit];
    const int64_t rows = m->rows[l], columns = m->rows[r], e = m->d_head;
    const double *a = m->side[l] + node * rows * e, *b = m->side[r] + node * columns * e;
    double *W = numbers(rows * columns);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            W[i * columns + j] = dense_dot(a + i * e, b + j * e, e);
        }
    }
    return W;
}

/* ---- measures ---- */

double dense_cosine(const dense_model *a, const dense_model *b, int circuit, int64_t node)
{
    const int64_t count = a->rows[0] * a->rows[0];
    double *W1 = dense_circuit(a, circuit, node), *W2 = dense_circuit(b, circuit, node);
    const double cosine =
        dense_dot(W1, W2, count) / sqrt(dense_dot(W1, W1, count) * dense_dot(W2, W2, count));
    free(W1);
    free(W2);
    return cosine;
}

double dense_k_composition(const dense_model *m, int64_t i, int64_t j)
{
    const int64_t d = m->rows[0];
    double *L = dense_circuit(m, CIRCUIT_OV, i), *R = dense_circuit(m, CIRCUIT_QK, j), sum = 0;
    for (int64_t x = 0; x < d; x++) {
        for (int64_t y = 0; y < d; y++) {
            const double entry = dense_dot(L + x * d, R + y * d, d);
            sum += entry * entry;
        }
    }
    const double score = sqrt(sum / (dense_dot(L, L, d * d) * dense_dot(R, R, d * d)));
    free(L);
    free(R);
    return score;
}

double dense_cka(const dense_model *a, const dense_model *b, int circuit, int64_t node)
{
    const int64_t n = a->rows[0];
    double *W1 = dense_circuit(a, circuit, node), *W2 = dense_circuit(b, circuit, node);
    double *P = dense_cross(n, n, n, W1, W2);
    double *G1 = dense_cross(n, n, n, W1, W1), *G2 = dense_cross(n, n, n, W2, W2);
    const double cka =
        dense_dot(P, P, n * n) / sqrt(dense_dot(G1, G1, n * n) * dense_dot(G2, G2, n * n));
    free(W1);
    free(W2);
    free(P);
    free(G1);
    free(G2);
    return cka;
}

static bool folded(otimes_step step)
{
    return step == OTIMES_STEP_APPLIED || step == OTIMES_STEP_DONE_IN_FILE;
}

void dense_dimensions(const otimes_model_info *info, double out[SIDES])
{
    const bool ln = info->norm == OTIMES_NORM_LN;
    for (int x = 0; x < SIDES; x++) {
        const bool less = x == SIDE_O ? folded(info->center_writing_weights) && !info->post_norm
                                      : folded(info->fold_ln);
        out[x] = (double)(info->d_model - (ln && less));
    }
}

double dense_close(const otimes_model_info *info)
{
    return 2 * (double)FLT_EPSILON * sqrt((double)info->d_model);
}

/* ---- singular values ---- */

/* Of A [m, n], which is destroyed; the caller's to free. */
static double *singular_values(int64_t m, int64_t n, double *a)
{
    const int64_t r = m < n ? m : n;
    double *values = numbers(r);
    assert_int_equal(otimes_la_reference.dsvd(m, n, a, n, values, NULL, r, NULL, r), OTIMES_OK);
    return values;
}

int64_t dense_basis(int64_t n, int64_t count, double *x)
{
    const int64_t r = n < count ? n : count;
    double *copy = numbers(n * count), *values = numbers(r), *u = numbers(n * r);
    double *v = numbers(count * r);
    int64_t rank = 0;
    memcpy(copy, x, (size_t)(n * count) * sizeof *x);
    assert_int_equal(otimes_la_reference.dsvd(n, count, copy, count, values, u, r, v, r),
                     OTIMES_OK);
    while (rank < r && values[rank] > OTIMES_COMPARE_RANK_SHARE * values[0]) {
        rank++;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < rank; k++) {
            x[i * rank + k] = u[i * r + k]; /* not before it is read: rank <= count */
        }
    }
    free(copy);
    free(values);
    free(u);
    free(v);
    return rank;
}

/* ---- results ---- */

otimes_memory_sink *compare(const otimes_model *const *models, int64_t count,
                            const otimes_compare_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_compare(models, count, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

const double *compared(const otimes_memory_sink *memory, const char *name)
{
    const void *data = NULL;
    const otimes_array *array = otimes_memory_sink_array(memory, name, &data);
    if (!array || array->type != OTIMES_F64) {
        fail_msg("%s is not written", name);
    }
    return data;
}

const int64_t *compared_numbers(const otimes_memory_sink *memory, const char *name)
{
    const void *data = NULL;
    const otimes_array *array = otimes_memory_sink_array(memory, name, &data);
    if (!array || array->type != OTIMES_I64) {
        fail_msg("%s is not written", name);
    }
    return data;
}

/* Over the vocabulary the sides are rounded to float32 within their frames; in the stream they are the
 * weights, summed in double. */
static double norm_share(const dense_model *m)
{
    const bool stream = m->rows[SIDE_Q] == otimes_model_describe(m->model)->d_model;
    return stream ? 8 * (double)m->rows[SIDE_Q] * DBL_EPSILON : 8 * (double)FLT_EPSILON;
}

typedef struct check {
    const otimes_memory_sink *memory;
    const dense_model *a, *b;
    const double *dimension;
    bool haar;
    double close;
    int64_t other, i, j; /* query heads */
    bool shared;         /* the array stands by key and value heads */
} check;

/* Entry of a pair of nodes, first model by other, in an array whose columns may be padded. */
static double entry_of(const check *c, const char *name, int64_t component)
{
    const void *data = NULL;
    const otimes_array *array = otimes_memory_sink_array(c->memory, name, &data);
    if (!array) {
        fail_msg("%s is not written", name);
    }
    int64_t at[6] = {c->other,           c->i / c->a->heads, c->i % c->a->heads,
                     c->j / c->b->heads, c->j % c->b->heads, component};
    if (c->shared) {
        at[2] /= c->a->heads / c->a->kv_heads;
        at[4] /= c->b->heads / c->b->kv_heads;
    }
    int64_t index = 0;
    for (int k = 0; k < array->ndim; k++) {
        assert_true(at[k] < array->axis[k]->length);
        index = index * array->axis[k]->length + at[k];
    }
    return ((const double *)data)[index];
}

/* By what the error of a measure is divided: 1 for those that lie in [0, 1] or [-1, 1]. */
static void expect(const check *c, const char *prefix, const char *stem, double want, double scale,
                   const char *to)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%s", prefix, stem);
    accuracy(name, to, entry_of(c, name, 0), want, scale, c->close);
}

#define IN_ONE 1, "1"
#define DEVIATIONS(unit) fmax(unit, 1), "z of a measure of 1, 1 at least"

static void check_circuit(check *c, int which)
{
    const int l = left_of[which], r = right_of[which];
    const char *name = circuit_names[which];
    const int64_t rows = c->a->rows[l], p = c->a->rows[r], q = c->b->rows[r];
    double *W1 = dense_circuit(c->a, which, c->i), *W2 = dense_circuit(c->b, which, c->j);
    double *P = dense_cross(rows, p, q, W1, W2);
    double *G1 = dense_cross(rows, p, p, W1, W1), *G2 = dense_cross(rows, q, q, W2, W2);
    const double n1 = sqrt(dense_dot(W1, W1, rows * p)), n2 = sqrt(dense_dot(W2, W2, rows * q));
    const double s1 = sqrt(dense_dot(G1, G1, p * p)), s2 = sqrt(dense_dot(G2, G2, q * q));
    const bool there = n1 > 0 && n2 > 0;
    const double D = c->dimension[l], cka = dense_dot(P, P, p * q) / (s1 * s2);
    const double expected = n1 * n1 * n2 * n2 / (D * s1 * s2);
    double nuclear = 0;
    if (p == q) { /* across models of two widths only over a vocabulary: then it is so too */
        const double cosine = dense_dot(W1, W2, rows * p) / (n1 * n2);
        const double units = sqrt(D * c->dimension[r]);
        expect(c, name, "cosine", there ? cosine : NAN, IN_ONE);
        expect(c, name, "cosine_z", there ? cosine * units : NAN, DEVIATIONS(units));
    }
    expect(c, name, "cka", there ? cka : NAN, IN_ONE);
    expect(c, name, "cka_expected", there ? expected : NAN, IN_ONE);
    const double spread1 = s1 * s1 - pow(n1, 4) / D, spread2 = s2 * s2 - pow(n2, 4) / D;
    const double deviation = sqrt(2 * spread1 * spread2 / ((D - 1) * (D + 2))) / (s1 * s2);
    if (!there || !c->haar) {
        expect(c, name, "cka_z", NAN, DEVIATIONS(1));
    } else if (deviation > 1e-3) { /* of a nearly flat spectrum nothing but rounding is left */
        expect(c, name, "cka_z", (cka - expected) / deviation, DEVIATIONS(30 / deviation));
    }
    double *values = singular_values(p, q, P);
    for (int64_t k = 0; k < (p < q ? p : q); k++) {
        nuclear += values[k];
    }
    const double s = nuclear / (n1 * n2);
    expect(c, name, "procrustes", there ? s : NAN, IN_ONE);
    if (there) { /* the root of 2 - 2 s: near 0 that of a rounding error */
        const double distance = sqrt(fmax(2 - 2 * s, 0));
        expect(c, name, "procrustes_distance", distance, 2 / fmax(distance, sqrt(c->close)),
               "2 / the distance, at most 2 / root of the bound");
    }
    free(values);
    free(W1);
    free(W2);
    free(P);
    free(G1);
    free(G2);
}

static void check_side(check *c, int x)
{
    const int64_t rows = c->a->rows[x], e1 = c->a->d_head, e2 = c->b->d_head;
    const double D = c->dimension[x];
    double *X1 = numbers(rows * e1), *X2 = numbers(rows * e2), sum = 0;
    memcpy(X1, c->a->side[x] + c->i * rows * e1, (size_t)(rows * e1) * sizeof *X1);
    memcpy(X2, c->b->side[x] + c->j * rows * e2, (size_t)(rows * e2) * sizeof *X2);
    const int64_t p = dense_basis(rows, e1, X1), q = dense_basis(rows, e2, X2);
    const int64_t n = p < q ? p : q;
    double *T = dense_cross(rows, p, q, X1, X2);
    const double kernel = dense_dot(T, T, p * q);
    double *values = n > 0 ? singular_values(p, q, T) : numbers(1);
    for (int64_t k = 0; k < n; k++) {
        char name[32];
        snprintf(name, sizeof name, "%s_angle_cosines", side_names[x]);
        c->shared = x == SIDE_K || x == SIDE_V;
        const double got = entry_of(c, name, k);
        accuracy(name, "1", got, values[k], 1, c->close);
        assert_true(got <= 1);
        sum += values[k];
    }
    c->shared = x == SIDE_K || x == SIDE_V;
    expect(c, side_names[x], "kernel", n > 0 ? kernel / (double)n : NAN, IN_ONE);
    expect(c, side_names[x], "largest_cosine", n > 0 ? values[0] : NAN, IN_ONE);
    expect(c, side_names[x], "mean_cosine", n > 0 ? sum / (double)n : NAN, IN_ONE);
    const double dp = (double)p, dq = (double)q;
    const double variance = 2 * dp * dq * (D - dp) * (D - dq) / (D * D * (D - 1) * (D + 2));
    const bool known = n > 0 && c->haar && variance > 0;
    expect(c, side_names[x], "kernel_z", known ? (kernel - dp * dq / D) / sqrt(variance) : NAN,
           DEVIATIONS(known ? (double)n / sqrt(variance) : 1));
    c->shared = false;
    free(values);
    free(T);
    free(X1);
    free(X2);
}

void heads_are_dense(const otimes_memory_sink *memory, const char *prefix, const dense_model *m,
                     int64_t first)
{
    for (int64_t i = 0; i < m->nodes; i++) {
        for (int k = 0; k < CIRCUITS; k++) {
            const int64_t count = m->rows[left_of[k]] * m->rows[right_of[k]];
            double *W = dense_circuit(m, k, i);
            const double norm = sqrt(dense_dot(W, W, count));
            char name[32];
            snprintf(name, sizeof name, "%s%s_norm", prefix, circuit_names[k]);
            accuracy(name, "its value", compared(memory, name)[first + i], norm, norm,
                     norm_share(m));
            free(W);
        }
        for (int x = 0; x < SIDES; x++) {
            const int64_t count = m->rows[x] * m->d_head, group = m->heads / m->kv_heads;
            const bool shared = x == SIDE_K || x == SIDE_V;
            double *X = numbers(count);
            char name[32];
            memcpy(X, m->side[x] + i * count, (size_t)count * sizeof *X);
            snprintf(name, sizeof name, "%s%s_rank", prefix, side_names[x]);
            accuracy_exact(
                name,
                (double)compared_numbers(memory, name)[shared ? (first + i) / group : first + i],
                (double)dense_basis(m->rows[x], m->d_head, X));
            free(X);
        }
    }
}

void pairs_are_dense(const otimes_memory_sink *memory, int64_t other, const dense_model *a,
                     const dense_model *b, const double dimension[SIDES], bool haar, double close)
{
    accuracy_of("compare");
    heads_are_dense(memory, "", a, 0);
    check c = {.memory = memory,
               .a = a,
               .b = b,
               .dimension = dimension,
               .haar = haar,
               .close = close,
               .other = other};
    for (c.i = 0; c.i < a->nodes; c.i++) {
        for (c.j = a == b ? c.i : 0; c.j < b->nodes; c.j++) {
            for (int k = 0; k < CIRCUITS; k++) {
                check_circuit(&c, k);
            }
            for (int x = 0; x < SIDES; x++) {
                check_side(&c, x);
            }
        }
    }
}
