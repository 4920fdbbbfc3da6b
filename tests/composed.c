/* SPDX-License-Identifier: MIT */
#include "composed.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accuracy.h"
#include "model/model.h"
#include "run/rope.h"

double *composed_matrix(int64_t count)
{
    double *x = calloc((size_t)count + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static double square_of(const double *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += x[i] * x[i];
    }
    return sum;
}

/* |G - I/D|^2 for the form G = X X^T / |X|^2 on the stream, X [d, n] by strides. */
static double spread_of(int64_t D, int64_t d, int64_t n, const double *X, int64_t row,
                        int64_t column)
{
    const double whole = square_of(X, d * n);
    double sum = 0;
    for (int64_t i = 0; i < d * d; i++) {
        double entry = 0;
        for (int64_t k = 0; k < n; k++) {
            entry += X[i / d * row + k * column] * X[i % d * row + k * column];
        }
        sum += entry * entry / (whole * whole);
    }
    return sum - 1 / (double)D;
}

composed_link composed_link_of(int64_t D, int64_t m, int64_t d, int64_t n, const double *A,
                               const double *B)
{
    const double a = square_of(A, m * d), b = square_of(B, d * n);
    double sum = 0, *row = composed_matrix(n);
    for (int64_t i = 0; i < m; i++) {
        memset(row, 0, (size_t)n * sizeof *row);
        for (int64_t k = 0; k < d; k++) {
            for (int64_t j = 0; j < n; j++) {
                row[j] += A[i * d + k] * B[k * n + j];
            }
        }
        sum += square_of(row, n);
    }
    free(row);
    if (a == 0 || b == 0) {
        return (composed_link){NAN, NAN, NAN};
    }
    const double left = spread_of(D, d, m, A, 1, d), right = spread_of(D, d, n, B, n, 1);
    const double scale = 2 * left * right / (((double)D - 1) * ((double)D + 2));
    const double unit = left > 0 && right > 0 ? 1 / sqrt(scale) : NAN;
    return (composed_link){sqrt(sum / (a * b)), (sum / (a * b) - 1 / (double)D) * unit, unit};
}

static void transpose(int64_t n, const double *x, double *out)
{
    for (int64_t i = 0; i < n * n; i++) {
        out[i % n * n + i / n] = x[i];
    }
}

/* What a norm behind a block makes of its output, but for its scale: columns of W [., d]. */
void composed_through_norm(const otimes_model_info *info, const float *w, int64_t rows, double *W)
{
    const int64_t d = info->d_model;
    for (int64_t i = 0; w && i < rows; i++) {
        double mean = 0;
        for (int64_t k = 0; info->norm == OTIMES_NORM_LN && k < d; k++) {
            mean += W[i * d + k] / (double)d;
        }
        for (int64_t k = 0; k < d; k++) {
            W[i * d + k] = (W[i * d + k] - mean) * (double)w[k];
        }
    }
}

/* out [d, d] = A [d, e] B [e, d], or B [d, e] transposed. */
static void outer(int64_t d, int64_t e, const float *A, const double *B, bool transposed,
                  double *out)
{
    memset(out, 0, (size_t)(d * d) * sizeof *out);
    for (int64_t i = 0; i < d * d; i++) {
        for (int64_t j = 0; j < e; j++) {
            out[i] += (double)A[i / d * e + j] * (transposed ? B[i % d * e + j] : B[j * d + i % d]);
        }
    }
}

double *composed_widen(const float *x, int64_t count)
{
    double *wide = composed_matrix(count);
    for (int64_t i = 0; i < count; i++) {
        wide[i] = (double)x[i];
    }
    return wide;
}

static void make_head(dense *m, const otimes_model *model, const otimes_layer *layer, int64_t l,
                      int64_t h, int64_t offset)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = m->d, e = m->e, kv = h / (info->n_heads / info->n_kv_heads);
    const int64_t at = (l * m->heads + h) * d * d;
    const otimes_rope *rope = otimes_layer_rope(model, l);
    double *O = composed_widen(layer->W_O.data + h * e * d, e * d), *frequency = composed_matrix(e);
    double *K = composed_widen(layer->W_K.data + kv * d * e, d * e);
    otimes_err err = {0};
    composed_through_norm(info, layer->ln1_post_w.data, e, O);
    outer(d, e, layer->W_V.data + kv * d * e, O, false, m->OV + at);
    if (offset && rope) {
        assert_ok(otimes_rope_frequencies(model, rope, frequency, &err), &err);
        otimes_rope_rotate_key(rope, frequency, (double)offset, d, e, K);
    }
    outer(d, e, layer->W_Q.data + h * d * e, K, true, m->QK + at);
    transpose(d, m->QK + at, m->KQ + at);
    free(O);
    free(K);
    free(frequency);
}

dense dense_of(const otimes_model *model, int64_t offset)
{
    const otimes_model_info *info = otimes_model_describe(model);
    dense m = {info->d_model, info->d_head, info->n_layers, info->n_heads, NULL, NULL, NULL};
    const int64_t all = m.layers * m.heads * m.d * m.d;
    m.OV = composed_matrix(all);
    m.QK = composed_matrix(all);
    m.KQ = composed_matrix(all);
    for (int64_t l = 0; l < m.layers; l++) {
        otimes_layer layer;
        otimes_err err = {0};
        assert_ok(otimes_layer_load(model, l, OTIMES_PART_ATTENTION, &layer, &err), &err);
        for (int64_t h = 0; h < m.heads; h++) {
            make_head(&m, model, &layer, l, h, offset);
        }
        otimes_layer_free(&layer);
    }
    return m;
}

void dense_free(dense *m)
{
    free(m->OV);
    free(m->QK);
    free(m->KQ);
}

otimes_memory_sink *composed(const otimes_model *model, const otimes_compose_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_compose(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

const void *composed_array(const otimes_memory_sink *memory, const char *name)
{
    const void *data = NULL;
    if (!otimes_memory_sink_array(memory, name, &data)) {
        fail_msg("%s is not written", name);
    }
    return data;
}

int64_t composed_dimension(const otimes_memory_sink *memory)
{
    return otimes_memory_sink_attr(memory, "baseline_dimension")->i64;
}

/* Bases and roots are rounded to float and products summed in it: some eps of the score, and of 1, below
 * which weights of float32 have no digits. z is the square of that over its deviation; a spectrum that is
 * flat but for rounding has a deviation that is nothing else. */
void composed_hold(const char *prefix, double score, double z, const composed_link *want)
{
    static const composed_link none = {NAN, NAN, NAN};
    const composed_link w = want ? *want : none;
    char name[64];
    snprintf(name, sizeof name, "%sscore", prefix);
    accuracy(name, "its value, 0.1 at least", score, w.score, fmax(w.score, 0.1),
             24 * (double)FLT_EPSILON);
    snprintf(name, sizeof name, "%sz", prefix);
    if (isnan(w.score) || w.unit < 1e3) {
        accuracy(name, "z of a square of 1", z, w.z, w.unit, 8 * (double)FLT_EPSILON);
    }
}
