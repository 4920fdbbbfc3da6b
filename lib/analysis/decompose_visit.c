/* SPDX-License-Identifier: MIT
 *
 * Which activations are looked at, and parts that are vectors already when they are seen.
 */
#include "analysis/decompose_job.h"

#include <math.h>
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "num/product.h"

uint64_t otimes_decompose_points(const decompose_job *job)
{
    uint64_t points = OTIMES_HOOK_BIT(RESID_PRE) | OTIMES_HOOK_BIT(RESID_MID);
    if (job->splits_embedding) {
        points |= OTIMES_HOOK_BIT(EMBED) | OTIMES_HOOK_BIT(POS_EMBED);
    }
    points |= job->by_heads ? OTIMES_HOOK_BIT(Z) : OTIMES_HOOK_BIT(ATTN_OUT);
    if (job->settings->sources) {
        points |= OTIMES_HOOK_BIT(V) | OTIMES_HOOK_BIT(PATTERN);
    }
    points |= OTIMES_HOOK_BIT(MLP_OUT);
    if (job->by_neurons) {
        points |= OTIMES_HOOK_BIT(MLP_POST) | OTIMES_HOOK_BIT(EXPERT_WEIGHTS) |
                  OTIMES_HOOK_BIT(EXPERT_POST) | OTIMES_HOOK_BIT(SHARED_POST);
    }
    return points;
}

/* p with a post-norm's weight before it, [count, d_model]. */
static const float *weighted(decompose_batch *batch, const float *direction, int64_t count,
                             const otimes_tensor *w)
{
    const int64_t d = batch->job->info->d_model;
    if (!w->data) {
        return direction;
    }
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < d; j++) {
            batch->weighted[i * d + j] = direction[i * d + j] * w->data[j];
        }
    }
    return batch->weighted;
}

void otimes_decompose_project(decompose_batch *batch, const float *direction, int64_t count,
                              const otimes_tensor *w, const float *W, int64_t columns,
                              float *projected)
{
    const int64_t d = batch->job->info->d_model;
    otimes_product(batch->job->model->threads, true, count, columns, d,
                   weighted(batch, direction, count, w), d, W, d, NULL, false, projected, columns);
}

double otimes_decompose_post(const decompose_batch *batch, otimes_hook hook, int64_t layer,
                             int64_t row)
{
    const float *scale = otimes_frozen_at(&batch->frozen, hook, layer);
    return scale ? 1 / (double)scale[row] : 1;
}

void otimes_decompose_norms(decompose_batch *batch, int64_t chosen, int64_t component,
                            const float *part, double factor)
{
    const int64_t d = batch->job->info->d_model, at = chosen * batch->job->component_count;
    const float *total = batch->total + chosen * d;
    const double norm = sqrt(otimes_dot(part, part, d));
    const double whole = sqrt(otimes_dot(total, total, d));
    batch->norm[at + component] = (float)(norm * fabs(factor));
    batch->cosine[at + component] =
        norm > 0 && whole > 0 ? (float)(otimes_dot(part, total, d) / (norm * whole)) : NAN;
}

/* ---- parts as they were written ---- */

typedef struct whole {
    decompose_batch *batch;
    const otimes_activation *seen;
    int64_t component, from, to;
} whole;

static int whole_rows(void *context, int64_t block, int worker, otimes_err *err)
{
    const whole *w = context;
    decompose_batch *batch = w->batch;
    const decompose_job *job = batch->job;
    const int64_t d = job->info->d_model, first = w->from + block * OTIMES_DECOMPOSE_ROWS;
    const int64_t end =
        w->to - first < OTIMES_DECOMPOSE_ROWS ? w->to : first + OTIMES_DECOMPOSE_ROWS;
    (void)worker, (void)err;
    for (int64_t i = first; i < end; i++) {
        const float *part = w->seen->data + (batch->chosen[i] - w->seen->first) * w->seen->stride;
        for (int64_t t = 0; t < job->target_count; t++) {
            const int64_t p = otimes_decompose_direction_at(batch, i, t);
            batch->attribution[(i * job->target_count + t) * job->component_count + w->component] =
                (float)otimes_dot(part, batch->direction + p * d, d);
        }
        if (batch->norm) {
            otimes_decompose_norms(batch, i, w->component, part, 1);
        }
    }
    return OTIMES_OK;
}

int otimes_decompose_whole(decompose_batch *batch, int64_t component, const otimes_activation *a,
                           otimes_err *err)
{
    whole w = {.batch = batch,
               .seen = a,
               .component = component,
               .from = batch->before[a->first],
               .to = batch->before[a->first + a->rows]};
    return otimes_par_for(otimes_decompose_blocks(w.to - w.from), batch->job->model->threads,
                          whole_rows, &w, err);
}

/* ---- hooks ---- */

/* The stream at a point of the lens; half a layer on, it may be the point itself. */
static int see_stream(decompose_batch *batch, int64_t point, const otimes_activation *a,
                      otimes_err *err)
{
    const decompose_job *job = batch->job;
    const int64_t d = job->info->d_model;
    const int64_t from = batch->before[a->first], to = batch->before[a->first + a->rows];
    const bool last =
        a->hook == OTIMES_HOOK_RESID_MID && job->settings->mid && a->layer == job->settings->layer;
    if (!last && (point < 0 || batch->first_pass)) {
        return OTIMES_OK;
    }
    float *rows = last ? batch->total : batch->normal;
    for (int64_t i = from; i < to; i++) {
        memcpy(rows + i * d, a->data + (batch->chosen[i] - a->first) * a->stride,
               (size_t)d * sizeof *rows);
    }
    return last ? OTIMES_OK : otimes_decompose_lens(batch, point, from, to, rows, err);
}

int otimes_decompose_visit(void *context, const otimes_activation *a, otimes_err *err)
{
    decompose_batch *batch = context;
    const decompose_job *job = batch->job;
    const decompose_layer *layer = a->layer >= 0 ? &job->layer[a->layer] : NULL;
    switch ((int)a->hook) {
    case OTIMES_HOOK_EMBED:
        return otimes_decompose_whole(batch, job->embed, a, err);
    case OTIMES_HOOK_POS_EMBED:
        return otimes_decompose_whole(batch, job->pos_embed, a, err);
    case OTIMES_HOOK_RESID_PRE:
        return see_stream(batch, layer->pre, a, err);
    case OTIMES_HOOK_RESID_MID:
        return see_stream(batch, layer->mid, a, err);
    case OTIMES_HOOK_V:
        return otimes_decompose_values(batch, a, err);
    case OTIMES_HOOK_PATTERN:
        otimes_decompose_pattern(batch, a);
        return OTIMES_OK;
    case OTIMES_HOOK_Z:
        return otimes_decompose_heads(batch, a, err);
    case OTIMES_HOOK_ATTN_OUT:
        return otimes_decompose_whole(batch, layer->attention, a, err);
    case OTIMES_HOOK_MLP_OUT:
        return layer->mlp < 0 ? OTIMES_OK : otimes_decompose_whole(batch, layer->mlp, a, err);
    default:
        return layer->mlp < 0 ? OTIMES_OK : otimes_decompose_neurons(batch, a, err);
    }
}

int otimes_decompose_visit_first(void *context, const otimes_activation *a, otimes_err *err)
{
    decompose_batch *batch = context;
    return a->hook == OTIMES_HOOK_RESID_MID
               ? see_stream(batch, batch->job->layer[a->layer].mid, a, err)
               : otimes_frozen_visit(&batch->frozen, a, err);
}
