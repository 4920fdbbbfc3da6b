/* SPDX-License-Identifier: MIT
 *
 * The operators of a layer and their adjoints.
 */
#include "run/linear_layer.h"

#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/la.h"
#include "num/product.h"
#include "num/stats.h"

enum {
    ROWS = 32,  /* of a norm that a thread takes at a time */
    STRIP = 128 /* queries, or in the adjoint keys, of one product with a pattern */
};

/* ---- norms ---- */

typedef struct norm_job {
    const float *w, *scale, *x;
    float *out;
    bool centre, adjoint;
    int64_t n, first, rows, d;
} norm_job;

static void scale_row(const norm_job *j, double factor, const float *x, float *out)
{
    const double mean = j->centre ? otimes_sum(x, j->d) / (double)j->d : 0;
    for (int64_t i = 0; i < j->d; i++) {
        out[i] = (float)(((double)x[i] - mean) * factor * (j->w ? (double)j->w[i] : 1));
    }
}

static void scale_row_back(const norm_job *j, double factor, const float *g, float *out)
{
    double mean = 0;
    for (int64_t i = 0; i < j->d; i++) {
        const double y = (double)g[i] * factor * (j->w ? (double)j->w[i] : 1);
        out[i] = (float)y;
        mean += y;
    }
    mean = j->centre ? mean / (double)j->d : 0;
    for (int64_t i = 0; i < j->d; i++) {
        out[i] = (float)((double)out[i] - mean);
    }
}

static int norm_item(void *context, int64_t item, int worker, otimes_err *err)
{
    const norm_job *j = context;
    (void)worker, (void)err;
    for (int64_t i = item * ROWS; i < j->rows && i < (item + 1) * ROWS; i++) {
        const double factor = 1 / (double)j->scale[(j->first + i) % j->n];
        (j->adjoint ? scale_row_back : scale_row)(j, factor, j->x + i * j->d, j->out + i * j->d);
    }
    return OTIMES_OK;
}

void otimes_linear_scale_rows(const otimes_linear *linear, const float *w, const float *scale,
                              bool adjoint, int64_t first, int64_t rows, const float *x, float *out)
{
    const int64_t d = linear->info->d_model;
    norm_job j = {.w = w,
                  .scale = scale,
                  .x = x,
                  .out = out,
                  .centre = linear->info->norm == OTIMES_NORM_LN,
                  .adjoint = adjoint,
                  .n = linear->n,
                  .first = first,
                  .rows = rows,
                  .d = d};
    if (scale) {
        (void)otimes_par_for((rows + ROWS - 1) / ROWS,
                             otimes_par_worth(linear->model->threads, (double)(rows * d)),
                             norm_item, &j, NULL);
    } else if (out != x) {
        memcpy(out, x, (size_t)(rows * d) * sizeof *out);
    }
}

static void read_through(const otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                         bool adjoint, int64_t first, int64_t rows, const float *x, float *out)
{
    const otimes_hook hook = mlp ? OTIMES_HOOK_LN2_SCALE : OTIMES_HOOK_LN1_SCALE;
    const float *w = mlp ? layer->rest.ln2_w.data : layer->rest.ln1_w.data;
    otimes_linear_scale_rows(linear, w, otimes_frozen_at(&linear->frozen, hook, layer->layer),
                             adjoint, first, rows, x, out);
}

void otimes_linear_norm(const otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                        int64_t first, int64_t rows, const float *x, float *out)
{
    read_through(linear, layer, mlp, false, first, rows, x, out);
}

void otimes_linear_norm_back(const otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                             int64_t first, int64_t rows, const float *g, float *out)
{
    read_through(linear, layer, mlp, true, first, rows, g, out);
}

static void write_through(const otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                          bool adjoint, int64_t first, int64_t rows, const float *x, float *out)
{
    const otimes_hook hook = mlp ? OTIMES_HOOK_LN2_POST_SCALE : OTIMES_HOOK_LN1_POST_SCALE;
    const float *w = mlp ? layer->rest.ln2_post_w.data : layer->rest.ln1_post_w.data;
    otimes_linear_scale_rows(linear, w, otimes_frozen_at(&linear->frozen, hook, layer->layer),
                             adjoint, first, rows, x, out);
}

void otimes_linear_post(const otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                        int64_t first, int64_t rows, const float *x, float *out)
{
    write_through(linear, layer, mlp, false, first, rows, x, out);
}

void otimes_linear_post_back(const otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                             int64_t first, int64_t rows, const float *g, float *out)
{
    write_through(linear, layer, mlp, true, first, rows, g, out);
}

/* ---- room ---- */

static int need(otimes_linear *linear, int64_t rows, otimes_err *err)
{
    const otimes_model_info *info = linear->info;
    const bool links = linear->role == OTIMES_MLP_AS_LINK && info->mlp != OTIMES_MLP_NONE;
    int rc = otimes_pulse_beat(linear->layers->pulse, err);
    if (rc != OTIMES_OK || rows <= linear->room) {
        return rc;
    }
    linear->room = 0;
    otimes_pool_free(&linear->space);
    linear->read = otimes_pool_new(&linear->space, rows * info->d_model, sizeof(float), &rc, err);
    linear->values = otimes_pool_new(&linear->space, rows * info->n_kv_heads * info->d_head,
                                     sizeof(float), &rc, err);
    linear->wide = otimes_pool_new(&linear->space, rows * info->n_heads * info->d_head,
                                   sizeof(float), &rc, err);
    linear->inner =
        otimes_pool_new(&linear->space, links ? rows * info->d_mlp : 0, sizeof(float), &rc, err);
    linear->room = rc == OTIMES_OK ? rows : 0;
    return rc;
}

/* ---- patterns ---- */

/* z = A v or u = A^T y for every stream and head; rows are streams * n. */
typedef struct mix_job {
    const otimes_linear *linear;
    const float *pattern; /* [n_heads][n][n] */
    const bool *heads;
    bool adjoint;
    const float *from;
    int64_t from_stride, group; /* heads that share a column block of `from` */
    float *to;
    int64_t strips;
} mix_job;

static int mix(void *context, int64_t item, int worker, otimes_err *err)
{
    const mix_job *j = context;
    const otimes_model_info *info = j->linear->info;
    const int64_t n = j->linear->n, e = info->d_head, wide = info->n_heads * e;
    const int64_t stream = item / (j->strips * info->n_heads);
    const int64_t h = item / j->strips % info->n_heads, first = item % j->strips * STRIP;
    const int64_t rows = n - first < STRIP ? n - first : STRIP;
    const float *pattern = j->pattern + h * n * n;
    const float *from = j->from + stream * n * j->from_stride + h / j->group * e;
    float *to = j->to + (stream * n + first) * wide + h * e;
    (void)worker, (void)err;
    if (j->heads && !j->heads[h]) {
        for (int64_t i = 0; i < rows; i++) {
            memset(to + i * wide, 0, (size_t)e * sizeof *to);
        }
    } else if (j->adjoint) {
        const int64_t q =
            info->bidirectional ? 0 : first; /* the first query that sees these keys */
        otimes_la_default->sgemm(true, false, rows, e, n - q, 1, pattern + q * n + first, n,
                                 from + q * j->from_stride, j->from_stride, 0, to, wide);
    } else {
        const int64_t keys = info->bidirectional ? n : first + rows;
        otimes_la_default->sgemm(false, false, rows, e, keys, 1, pattern + first * n, n, from,
                                 j->from_stride, 0, to, wide);
    }
    return OTIMES_OK;
}

static void mix_heads(const otimes_linear *linear, int64_t layer, int64_t streams, bool adjoint,
                      const bool *heads, const float *from, int64_t group, float *to)
{
    const otimes_model_info *info = linear->info;
    const int64_t n = linear->n, wide = info->n_heads * info->d_head;
    mix_job j = {.linear = linear,
                 .pattern = otimes_frozen_at(&linear->frozen, OTIMES_HOOK_PATTERN, layer),
                 .heads = heads,
                 .adjoint = adjoint,
                 .from = from,
                 .from_stride = wide / group,
                 .group = group,
                 .to = to,
                 .strips = (n + STRIP - 1) / STRIP};
    (void)otimes_par_for(
        streams * info->n_heads * j.strips,
        otimes_par_worth(linear->model->threads, 0.05 * (double)(streams * n * n * wide)), mix, &j,
        NULL);
}

/* ---- attention ---- */

/* x NULL: zeros, and the biases on the way. */
static int attention(otimes_linear *linear, const otimes_ready_layer *layer, int64_t streams,
                     const float *x, const bool *heads, float *z, float *out, otimes_err *err)
{
    const otimes_model_info *info = linear->info;
    const int64_t d = info->d_model, e = info->d_head, rows = streams * linear->n;
    const int64_t qk = (info->n_heads + info->n_kv_heads) * e, kv = info->n_kv_heads * e;
    const int threads = linear->model->threads;
    const float *ln_b = layer->rest.ln1_b.data;
    int rc = need(linear, rows, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (x) {
        otimes_linear_norm(linear, layer, false, 0, rows, x, linear->read);
    } else {
        for (int64_t i = 0; i < rows * d; i++) {
            linear->read[i] = ln_b ? ln_b[i % d] : 0;
        }
    }
    otimes_product(threads, false, rows, kv, d, linear->read, d, layer->W_QKV + qk, qk + kv,
                   x || !layer->b_QKV ? NULL : layer->b_QKV + qk, false, linear->values, kv);
    mix_heads(linear, layer->layer, streams, false, heads, linear->values,
              info->n_heads / info->n_kv_heads, z);
    otimes_product(threads, false, rows, d, info->n_heads * e, z, info->n_heads * e,
                   layer->rest.W_O.data, d, x ? NULL : layer->rest.b_O.data, false, out, d);
    otimes_linear_post(linear, layer, false, 0, rows, out, out);
    return OTIMES_OK;
}

int otimes_linear_attention(otimes_linear *linear, const otimes_ready_layer *layer, int64_t streams,
                            const float *x, const bool *heads, float *z, float *out,
                            otimes_err *err)
{
    return attention(linear, layer, streams, x, heads, z, out, err);
}

int otimes_linear_attention_bias(otimes_linear *linear, const otimes_ready_layer *layer, float *out,
                                 otimes_err *err)
{
    const int rc = need(linear, linear->n, err);
    return rc == OTIMES_OK ? attention(linear, layer, 1, NULL, NULL, linear->wide, out, err) : rc;
}

/* values := for each key/value head the sum of u over its group. */
static void sum_groups(const otimes_linear *linear, int64_t rows, const float *u, float *values)
{
    const otimes_model_info *info = linear->info;
    const int64_t e = info->d_head, group = info->n_heads / info->n_kv_heads;
    for (int64_t i = 0; i < rows * info->n_kv_heads; i++) { /* group after group, row after row */
        for (int64_t k = 0; k < e; k++) {
            float sum = 0;
            for (int64_t g = 0; g < group; g++) {
                sum += u[(i * group + g) * e + k];
            }
            values[i * e + k] = sum;
        }
    }
}

int otimes_linear_attention_back(otimes_linear *linear, const otimes_ready_layer *layer,
                                 int64_t streams, const float *g, const bool *heads, float *u,
                                 float *back, otimes_err *err)
{
    const otimes_model_info *info = linear->info;
    const int64_t d = info->d_model, e = info->d_head, rows = streams * linear->n;
    const int64_t qk = (info->n_heads + info->n_kv_heads) * e, kv = info->n_kv_heads * e;
    const int64_t wide = info->n_heads * e;
    const int threads = linear->model->threads;
    const float *values = u;
    int rc = need(linear, rows, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_linear_post_back(linear, layer, false, 0, rows, g, linear->read);
    otimes_product(threads, true, rows, wide, d, linear->read, d, layer->rest.W_O.data, d, NULL,
                   false, linear->wide, wide);
    mix_heads(linear, layer->layer, streams, true, heads, linear->wide, 1, u);
    if (!back) {
        return OTIMES_OK;
    }
    if (kv != wide) {
        sum_groups(linear, rows, u, linear->values);
        values = linear->values;
    }
    otimes_product(threads, true, rows, d, kv, values, kv, layer->W_QKV + qk, qk + kv, NULL, false,
                   back, d);
    otimes_linear_norm_back(linear, layer, false, 0, rows, back, back);
    return OTIMES_OK;
}

/* ---- MLPs with frozen gates ---- */

/* inner [rows, m] := gate ∘ inner. */
static void let_through(const otimes_linear *linear, int64_t layer, int64_t rows, float *inner)
{
    const int64_t m = linear->info->d_mlp, own = linear->n * m;
    const float *gate = otimes_frozen_at(&linear->frozen, OTIMES_HOOK_MLP_GATE, layer);
    for (int64_t at = 0; at < rows * m; at += own) {
        for (int64_t i = 0; i < own; i++) {
            inner[at + i] *= gate[i];
        }
    }
}

static int mlp(otimes_linear *linear, const otimes_ready_layer *layer, int64_t streams,
               const float *x, float *out, otimes_err *err)
{
    const otimes_layer *weights = &layer->rest;
    const int64_t d = linear->info->d_model, m = linear->info->d_mlp, rows = streams * linear->n;
    const int threads = linear->model->threads;
    const float *ln_b = weights->ln2_b.data;
    int rc = need(linear, rows, err);
    if (rc != OTIMES_OK || !otimes_linear_has_mlp(linear, layer->layer)) {
        memset(out, 0, (size_t)(rows * d) * sizeof *out);
        return rc;
    }
    if (x) {
        otimes_linear_norm(linear, layer, true, 0, rows, x, linear->read);
    } else {
        for (int64_t i = 0; i < rows * d; i++) {
            linear->read[i] = ln_b ? ln_b[i % d] : 0;
        }
    }
    otimes_product(threads, false, rows, m, d, linear->read, d, weights->W_in.data, m,
                   x ? NULL : weights->b_in.data, false, linear->inner, m);
    let_through(linear, layer->layer, rows, linear->inner);
    otimes_product(threads, false, rows, d, m, linear->inner, m, weights->W_out.data, d,
                   x ? NULL : weights->b_out.data, false, out, d);
    otimes_linear_post(linear, layer, true, 0, rows, out, out);
    return OTIMES_OK;
}

int otimes_linear_mlp(otimes_linear *linear, const otimes_ready_layer *layer, int64_t streams,
                      const float *x, float *out, otimes_err *err)
{
    return mlp(linear, layer, streams, x, out, err);
}

int otimes_linear_mlp_bias(otimes_linear *linear, const otimes_ready_layer *layer, float *out,
                           otimes_err *err)
{
    return mlp(linear, layer, 1, NULL, out, err);
}

int otimes_linear_mlp_back(otimes_linear *linear, const otimes_ready_layer *layer, int64_t streams,
                           const float *g, float *back, otimes_err *err)
{
    const otimes_layer *weights = &layer->rest;
    const int64_t d = linear->info->d_model, m = linear->info->d_mlp, rows = streams * linear->n;
    const int threads = linear->model->threads;
    int rc = need(linear, rows, err);
    if (rc != OTIMES_OK || !otimes_linear_has_mlp(linear, layer->layer)) {
        memset(back, 0, (size_t)(rows * d) * sizeof *back);
        return rc;
    }
    otimes_linear_post_back(linear, layer, true, 0, rows, g, linear->read);
    otimes_product(threads, true, rows, m, d, linear->read, d, weights->W_out.data, d, NULL, false,
                   linear->inner, m);
    let_through(linear, layer->layer, rows, linear->inner);
    otimes_product(threads, true, rows, d, m, linear->inner, m, weights->W_in.data, m, NULL, false,
                   back, d);
    otimes_linear_norm_back(linear, layer, true, 0, rows, back, back);
    return OTIMES_OK;
}
