/* SPDX-License-Identifier: MIT
 *
 * Heads. What head h writes is z_h W_O[h], so to a direction p it is worth z_h . (W_O[h] p): W_O
 * takes the direction once and is not met again by the positions. By source the same holds of the
 * values: v_k . (W_O[h] p), times the pattern.
 */
#include "analysis/decompose_job.h"

#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "num/la.h"

static int ready_layer(decompose_batch *batch, int64_t l, const otimes_ready_layer **layer,
                       otimes_err *err)
{
    return otimes_layers_get(&batch->job->layers, l, layer, err);
}

/* W_O[h] p of these chosen rows, or of all targets, once for a layer. */
static void project(decompose_batch *batch, const otimes_ready_layer *layer, int64_t from,
                    int64_t to)
{
    const decompose_job *job = batch->job;
    const otimes_model_info *info = job->info;
    const bool varying = job->varying;
    if (batch->projected_layer == layer->layer &&
        (!varying || (batch->projected_from == from && batch->projected_to == to))) {
        return;
    }
    otimes_decompose_project(batch, batch->direction + (varying ? from * info->d_model : 0),
                             varying ? to - from : job->target_count, &layer->rest.ln1_post_w,
                             layer->rest.W_O.data, info->n_heads * info->d_head, batch->projected);
    batch->projected_layer = layer->layer;
    batch->projected_from = from;
    batch->projected_to = to;
}

/* [n_heads * d_head] of a chosen row's target. */
static const float *projected_at(const decompose_batch *batch, int64_t chosen, int64_t target)
{
    const otimes_model_info *info = batch->job->info;
    const int64_t place = batch->job->varying ? chosen - batch->projected_from : target;
    return batch->projected + place * info->n_heads * info->d_head;
}

/* ---- heads ---- */

typedef struct heads {
    decompose_batch *batch;
    const otimes_ready_layer *layer;
    const otimes_activation *seen;
    int64_t from, to;
    const float *bias; /* b_O as the stream receives it, but for a scale; NULL without */
} heads;

static void attribute(const heads *w, int64_t i, const float *z, double post)
{
    decompose_batch *batch = w->batch;
    const decompose_job *job = batch->job;
    const otimes_model_info *info = job->info;
    const decompose_layer *at = &job->layer[w->layer->layer];
    for (int64_t t = 0; t < job->target_count; t++) {
        float *to = batch->attribution + (i * job->target_count + t) * job->component_count;
        const float *p = projected_at(batch, i, t);
        for (int64_t h = 0; h < info->n_heads; h++) {
            const int64_t e = h * info->d_head;
            to[at->attention + h] = (float)(otimes_dot(z + e, p + e, info->d_head) * post);
        }
        if (at->attention_bias >= 0) {
            const int64_t d = info->d_model;
            const float *own = batch->direction + otimes_decompose_direction_at(batch, i, t) * d;
            to[at->attention_bias] = (float)(otimes_dot(w->bias, own, d) * post);
        }
    }
}

/* z_h W_O[h] of a few rows at a time, for the norms alone. */
static void measure(const heads *w, int64_t first, int64_t count, float *scratch)
{
    decompose_batch *batch = w->batch;
    const otimes_model_info *info = batch->job->info;
    const decompose_layer *at = &batch->job->layer[w->layer->layer];
    const int64_t d = info->d_model, e = info->d_head, width = info->n_heads * e;
    const float *post_w = w->layer->rest.ln1_post_w.data;
    float *z = scratch, *result = scratch + OTIMES_DECOMPOSE_ROWS * width;
    for (int64_t i = 0; i < count; i++) {
        memcpy(z + i * width,
               w->seen->data + (batch->chosen[first + i] - w->seen->first) * w->seen->stride,
               (size_t)width * sizeof *z);
    }
    for (int64_t h = 0; h < info->n_heads; h++) {
        otimes_la_default->sgemm(false, false, count, d, e, 1.0f, z + h * e, width,
                                 w->layer->rest.W_O.data + h * e * d, d, 0.0f, result, d);
        for (int64_t i = 0; i < count; i++) {
            float *part = result + i * d;
            for (int64_t j = 0; post_w && j < d; j++) {
                part[j] *= post_w[j];
            }
            otimes_decompose_norms(batch, first + i, at->attention + h, part,
                                   otimes_decompose_post(batch, OTIMES_HOOK_LN1_POST_SCALE,
                                                         w->layer->layer,
                                                         batch->chosen[first + i]));
        }
    }
}

static int head_rows(void *context, int64_t block, int worker, otimes_err *err)
{
    const heads *w = context;
    decompose_batch *batch = w->batch;
    const int64_t first = w->from + block * OTIMES_DECOMPOSE_ROWS;
    const int64_t left = w->to - first;
    const int64_t count = left < OTIMES_DECOMPOSE_ROWS ? left : OTIMES_DECOMPOSE_ROWS;
    const int64_t bias = batch->job->layer[w->layer->layer].attention_bias;
    (void)err;
    for (int64_t i = first; i < first + count; i++) {
        const int64_t row = batch->chosen[i];
        const double post =
            otimes_decompose_post(batch, OTIMES_HOOK_LN1_POST_SCALE, w->layer->layer, row);
        attribute(w, i, w->seen->data + (row - w->seen->first) * w->seen->stride, post);
        if (batch->norm && bias >= 0) {
            otimes_decompose_norms(batch, i, bias, w->bias, post);
        }
    }
    if (batch->norm) {
        measure(w, first, count, batch->scratch + worker * batch->scratch_each);
    }
    return OTIMES_OK;
}

int otimes_decompose_heads(decompose_batch *batch, const otimes_activation *a, otimes_err *err)
{
    const int64_t d = batch->job->info->d_model;
    heads w = {.batch = batch,
               .seen = a,
               .from = batch->before[a->first],
               .to = batch->before[a->first + a->rows]};
    int rc = ready_layer(batch, a->layer, &w.layer, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    const otimes_tensor *b_O = &w.layer->rest.b_O, *post_w = &w.layer->rest.ln1_post_w;
    for (int64_t i = 0; b_O->data && i < d; i++) {
        batch->bias[i] = b_O->data[i] * (post_w->data ? post_w->data[i] : 1);
    }
    w.bias = batch->bias;
    project(batch, w.layer, w.from, w.to);
    return otimes_par_for(otimes_decompose_blocks(w.to - w.from), batch->job->model->threads,
                          head_rows, &w, err);
}

/* ---- sources ---- */

typedef struct values {
    decompose_batch *batch;
    const otimes_activation *seen;
} values;

/* v_k . (W_O[h] p) for each target and head of one row. */
static int value_row(void *context, int64_t item, int worker, otimes_err *err)
{
    const values *w = context;
    decompose_batch *batch = w->batch;
    const decompose_job *job = batch->job;
    const otimes_model_info *info = job->info;
    const int64_t n = info->n_heads, e = info->d_head, share = n / info->n_kv_heads;
    const float *v = w->seen->data + item * w->seen->stride;
    (void)worker, (void)err;
    if (job->varying) {
        memcpy(batch->values + item * info->n_kv_heads * e, v,
               (size_t)(info->n_kv_heads * e) * sizeof *v);
        return OTIMES_OK;
    }
    for (int64_t t = 0; t < job->target_count; t++) {
        const float *p = batch->projected + t * n * e;
        float *to = batch->values + (t * batch->values_rows + item) * n;
        for (int64_t h = 0; h < n; h++) {
            to[h] = (float)otimes_dot(v + h / share * e, p + h * e, e);
        }
    }
    return OTIMES_OK;
}

int otimes_decompose_values(decompose_batch *batch, const otimes_activation *a, otimes_err *err)
{
    const otimes_ready_layer *layer;
    values w = {batch, a};
    int rc = ready_layer(batch, a->layer, &layer, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    project(batch, layer, batch->before[a->first], batch->before[a->first + a->rows]);
    batch->values_first = a->first;
    batch->values_rows = a->rows;
    return otimes_par_for(a->rows, batch->job->model->threads, value_row, &w, err);
}

/* Worth of what one key holds to one target of one query, before the pattern. */
static double value_at(const decompose_batch *batch, int64_t chosen, int64_t target, int64_t head,
                       int64_t key_row)
{
    const otimes_model_info *info = batch->job->info;
    const int64_t e = info->d_head, row = key_row - batch->values_first;
    if (!batch->job->varying) {
        return (double)batch->values[(target * batch->values_rows + row) * info->n_heads + head];
    }
    const int64_t shared = head / (info->n_heads / info->n_kv_heads);
    return otimes_dot(batch->values + (row * info->n_kv_heads + shared) * e,
                      projected_at(batch, chosen, target) + head * e, e);
}

void otimes_decompose_pattern(decompose_batch *batch, const otimes_activation *a)
{
    const decompose_job *job = batch->job;
    const int64_t start = batch->rows.start[a->sequence];
    const int64_t length = batch->rows.start[a->sequence + 1] - start;
    const int64_t heads_of = job->info->n_heads, in_layer = a->layer * heads_of + a->head;
    for (int64_t q = 0; q < a->rows; q++) {
        const int64_t row = start + a->first + q, i = batch->before[row];
        if (batch->before[row + 1] == i) {
            continue;
        }
        const double post = otimes_decompose_post(batch, OTIMES_HOOK_LN1_POST_SCALE, a->layer, row);
        for (int64_t t = 0; t < job->target_count; t++) {
            float *to = batch->source + batch->source_at[i] +
                        (t * job->run_layers * heads_of + in_layer) * length;
            for (int64_t k = 0; k < a->columns; k++) {
                const double seen = (double)a->data[q * a->stride + k];
                to[k] = seen != 0 ? (float)(seen * value_at(batch, i, t, a->head, start + k) * post)
                                  : 0;
            }
        }
    }
}
