/* SPDX-License-Identifier: MIT
 *
 * The logit lens: the final norm, with the statistics of the point, and the unembedding.
 */
#include "analysis/decompose_job.h"

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "run/readout.h"

typedef struct lens {
    decompose_batch *batch;
    int64_t point, from, to;
    const float *stream; /* of chosen row 0 */
} lens;

/* Values of a few rows; leaves them normalised in batch->normal. */
static int value_rows(void *context, int64_t block, int worker, otimes_err *err)
{
    const lens *w = context;
    decompose_batch *batch = w->batch;
    const decompose_job *job = batch->job;
    const int64_t d = job->info->d_model, first = w->from + block * OTIMES_DECOMPOSE_ROWS;
    const int64_t end =
        w->to - first < OTIMES_DECOMPOSE_ROWS ? w->to : first + OTIMES_DECOMPOSE_ROWS;
    (void)worker, (void)err;
    for (int64_t i = first; i < end; i++) {
        for (int64_t t = 0; t < job->target_count; t++) {
            const int64_t p = otimes_decompose_direction_at(batch, i, t);
            batch->lens[(i * job->target_count + t) * job->point_count + w->point] =
                (float)otimes_dot(w->stream + i * d, batch->direction + p * d, d);
        }
    }
    otimes_final_norm(job->model, &job->layers.unembed, end - first, w->stream + first * d,
                      batch->normal + first * d, batch->scale + first);
    for (int64_t i = first; i < end; i++) {
        for (int64_t t = 0; t < job->target_count; t++) {
            const double offset = batch->offset[otimes_decompose_direction_at(batch, i, t)];
            float *value = &batch->lens[(i * job->target_count + t) * job->point_count + w->point];
            *value = (float)((double)*value / (double)batch->scale[i] + offset);
        }
    }
    return OTIMES_OK;
}

/* Rank and log-probability of one target of each row. */
static int rank_rows(const lens *w, int64_t t, otimes_err *err)
{
    decompose_batch *batch = w->batch;
    decompose_job *job = batch->job;
    const int64_t d = job->info->d_model, count = w->to - w->from;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    int64_t *target = otimes_pool_new(&pool, count, sizeof *target, &rc, err);
    int64_t *rank = otimes_pool_new(&pool, count, sizeof *rank, &rc, err);
    float *logit = otimes_pool_new(&pool, count, sizeof *logit, &rc, err);
    double *logsumexp = otimes_pool_new(&pool, count, sizeof *logsumexp, &rc, err);
    const otimes_readout ask = {
        .logsumexp = logsumexp, .target = target, .target_logit = logit, .target_rank = rank};
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        target[i] = batch->target_id[(w->from + i) * job->target_count + t];
    }
    if (rc == OTIMES_OK) {
        rc = otimes_readout_run(&job->layers, count, batch->normal + w->from * d, &ask, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        const int64_t at = ((w->from + i) * job->target_count + t) * job->point_count + w->point;
        batch->rank[at] = rank[i];
        batch->log_prob[at] = (float)((double)logit[i] - logsumexp[i]);
    }
    otimes_pool_free(&pool);
    return rc;
}

int otimes_decompose_lens(decompose_batch *batch, int64_t point, int64_t from, int64_t to,
                          const float *stream, otimes_err *err)
{
    lens w = {batch, point, from, to, stream};
    if (from == to) {
        return OTIMES_OK;
    }
    int rc = otimes_par_for(otimes_decompose_blocks(to - from), batch->job->model->threads,
                            value_rows, &w, err);
    for (int64_t t = 0; rc == OTIMES_OK && batch->rank && t < batch->job->target_count; t++) {
        rc = rank_rows(&w, t, err);
    }
    return rc;
}

int otimes_decompose_predict(decompose_batch *batch, otimes_err *err)
{
    decompose_job *job = batch->job;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    const otimes_readout ask = {
        .top = 1,
        .top_value = otimes_pool_new(&pool, batch->count, sizeof(float), &rc, err),
        .top_id = otimes_pool_new(&pool, batch->count, sizeof(int32_t), &rc, err)};
    if (rc == OTIMES_OK) {
        otimes_final_norm(job->model, &job->layers.unembed, batch->count, batch->total,
                          batch->normal, batch->scale);
        rc = otimes_readout_run(&job->layers, batch->count, batch->normal, &ask, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < batch->count; i++) {
        batch->target_id[i] = ask.top_id[i];
    }
    otimes_pool_free(&pool);
    return rc;
}
