/* SPDX-License-Identifier: MIT
 *
 * Every head, layer by layer.
 */
#include "analysis/qk_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"

typedef struct layer_work {
    qk_job *job;
    const otimes_layer *layer;
    int64_t layer_at;
} layer_work;

static int make_head(void *context, int64_t item, int worker, otimes_err *err)
{
    const layer_work *work = context;
    qk_job *job = work->job;
    (void)worker;
    return otimes_head_sides_make(&job->space, work->layer, job->heads[item],
                                  &job->node[work->layer_at * job->head_count + item], err);
}

int otimes_qk_heads(qk_job *job, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < job->layer_count; at++) {
        otimes_layer layer;
        layer_work work = {job, &layer, at};
        rc = otimes_layer_load(job->model, job->layers[at], OTIMES_PART_ATTENTION, &layer, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(job->head_count, job->model->threads, make_head, &work, err);
        }
        otimes_layer_free(&layer);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, 1 + (double)(at + 1) / (double)job->layer_count, 4,
                                      err);
        }
    }
    return rc;
}

void otimes_qk_heads_free(qk_job *job)
{
    for (int64_t i = 0; job->node && i < job->nodes; i++) {
        otimes_head_sides_free(&job->node[i]);
    }
}
