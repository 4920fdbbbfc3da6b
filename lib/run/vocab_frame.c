/* SPDX-License-Identifier: MIT */
#include "run/vocab_frame.h"

#include <math.h>

#include "base/mem.h"
#include "model/model.h"
#include "num/la.h"
#include "num/multiply.h"
#include "run/vocab.h"

static int64_t width_of(otimes_vocab_end end)
{
    return otimes_model_describe(end.model)->d_model;
}

static int64_t tokens_of(otimes_vocab_end end)
{
    const otimes_model_info *info = otimes_model_describe(end.model);
    return end.unembed ? info->d_vocab_out : info->d_vocab;
}

static void add_rows(const float *rows, int64_t count, int64_t d, double *sum)
{
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < d; j++) {
            sum[j] += (double)rows[i * d + j];
        }
    }
}

/* product [d_a, d_b] = sum over tokens (a - mean a)^T (b - mean b), in double by tiles. */
static int centred_product(otimes_vocab_end a, otimes_vocab_end b, double *product, otimes_err *err)
{
    const int64_t d_a = width_of(a), d_b = width_of(b), tokens = tokens_of(a);
    const int64_t rows = otimes_vocab_tile_rows(d_a > d_b ? d_a : d_b, tokens);
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    float *tile_a = otimes_pool_new(&pool, rows * d_a, sizeof(float), &rc, err);
    float *tile_b = otimes_pool_new(&pool, rows * d_b, sizeof(float), &rc, err);
    double *sum_a = otimes_pool_new(&pool, d_a, sizeof(double), &rc, err);
    double *sum_b = otimes_pool_new(&pool, d_b, sizeof(double), &rc, err);
    for (int64_t first = 0; rc == OTIMES_OK && first < tokens; first += rows) {
        const int64_t count = tokens - first < rows ? tokens - first : rows;
        rc = otimes_vocab_rows(a.model, a.unembed, NULL, first, count, tile_a, err);
        if (rc == OTIMES_OK) {
            rc = otimes_vocab_rows(b.model, b.unembed, NULL, first, count, tile_b, err);
        }
        if (rc == OTIMES_OK) {
            const otimes_view left = {d_a, count, 1, d_a, tile_a, NULL};
            const otimes_view right = {count, d_b, d_b, 1, tile_b, NULL};
            add_rows(tile_a, count, d_a, sum_a);
            add_rows(tile_b, count, d_b, sum_b);
            rc = otimes_multiply(a.model->threads, &left, &right, 1, first > 0, true, product, err);
        }
        rc = rc == OTIMES_OK ? otimes_pulse_beat(a.pulse, err) : rc;
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < d_a; i++) {
        for (int64_t j = 0; j < d_b; j++) {
            product[i * d_b + j] -= sum_a[i] * sum_b[j] / (double)tokens;
        }
    }
    otimes_pool_free(&pool);
    return rc;
}

/* G = V S^2 V^T by its SVD; rows of V^T over and under S into the frame. */
static int split(int64_t d, double *G, double *values, double *u, double *v,
                 otimes_vocab_frame *frame, otimes_err *err)
{
    const int code = otimes_la_default->dsvd(d, d, G, d, values, u, d, v, d);
    if (code != OTIMES_OK) {
        return otimes_fail(err, code, "SVD of the vocabulary's Gram: %s", otimes_strerror(code));
    }
    const double share = OTIMES_VOCAB_FRAME_SHARE * OTIMES_VOCAB_FRAME_SHARE;
    while (frame->rank < d && values[frame->rank] > share * values[0]) {
        frame->rank++;
    }
    int rc = OTIMES_NEW(&frame->coordinates, frame->rank * d, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&frame->inverse, frame->rank * d, err);
    }
    for (int64_t k = 0; rc == OTIMES_OK && k < frame->rank; k++) {
        const double s = sqrt(values[k]);
        for (int64_t i = 0; i < d; i++) {
            frame->coordinates[k * d + i] = s * v[i * d + k];
            frame->inverse[k * d + i] = v[i * d + k] / s;
        }
    }
    return rc;
}

int otimes_vocab_frame_make(otimes_vocab_end end, otimes_vocab_frame *frame, otimes_err *err)
{
    const int64_t d = width_of(end);
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    *frame = (otimes_vocab_frame){.d_model = d};
    double *G = otimes_pool_new(&pool, d * d, sizeof(double), &rc, err);
    double *u = otimes_pool_new(&pool, d * d, sizeof(double), &rc, err);
    double *v = otimes_pool_new(&pool, d * d, sizeof(double), &rc, err);
    double *values = otimes_pool_new(&pool, d, sizeof(double), &rc, err);
    if (rc == OTIMES_OK) {
        rc = centred_product(end, end, G, err);
    }
    if (rc == OTIMES_OK) {
        rc = split(d, G, values, u, v, frame, err);
    }
    otimes_pool_free(&pool);
    if (rc != OTIMES_OK) {
        otimes_vocab_frame_free(frame);
    }
    return rc;
}

void otimes_vocab_frame_free(otimes_vocab_frame *frame)
{
    otimes_free(frame->coordinates);
    otimes_free(frame->inverse);
    *frame = (otimes_vocab_frame){0};
}

int otimes_vocab_frame_cross(otimes_vocab_end end_a, const otimes_vocab_frame *a,
                             otimes_vocab_end end_b, const otimes_vocab_frame *b, double *cross,
                             otimes_err *err)
{
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    double *product = otimes_pool_new(&pool, a->d_model * b->d_model, sizeof(double), &rc, err);
    double *half = otimes_pool_new(&pool, a->rank * b->d_model, sizeof(double), &rc, err);
    if (rc == OTIMES_OK) {
        rc = centred_product(end_a, end_b, product, err);
    }
    if (rc == OTIMES_OK) {
        const otimes_la *la = otimes_la_default;
        la->dgemm(false, false, a->rank, b->d_model, a->d_model, 1, a->inverse, a->d_model, product,
                  b->d_model, 0, half, b->d_model);
        la->dgemm(false, true, a->rank, b->rank, b->d_model, 1, half, b->d_model, b->inverse,
                  b->d_model, 0, cross, b->rank);
    }
    otimes_pool_free(&pool);
    return rc;
}
