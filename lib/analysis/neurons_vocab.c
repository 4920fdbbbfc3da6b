/* SPDX-License-Identifier: MIT
 *
 * Neurons over the vocabulary: w W_U and W_E w as rows of a table, none of which is ever whole.
 */
#include <string.h>

#include "analysis/neurons_job.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/la.h"
#include "num/moments.h"
#include "run/vocab.h"
#include "run/vocab_side.h"

/* ---- small singular directions of W_U ---- */

static int tick(void *context, double share, otimes_err *err)
{
    const neurons_job *job = context;
    (void)share;
    return otimes_sink_progress(job->sink, 0, job->total, err);
}

/* Right singular vectors of U with U^T U = W_U W_U^T, the last ones. U is filled up with rows of
 * zeros, so that directions which W_U does not have at all are among them. */
static int find_null_rows(neurons_job *job, otimes_err *err)
{
    const int64_t d = job->info->d_model, count = job->settings->null_directions;
    otimes_vocab_forms forms;
    double *u = NULL, *v = NULL, *root = NULL;
    int rc = otimes_vocab_forms_compute(job->model, &job->unembed, tick, job, &forms, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    rc = OTIMES_NEW(&root, d * d, err);
    if (rc == OTIMES_OK) {
        memcpy(root, forms.unembed_root, (size_t)(forms.unembed_rank * d) * sizeof *root);
        rc = OTIMES_NEW(&u, d * d, err);
    }
    otimes_vocab_forms_free(&forms);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&v, d * d, err);
    }
    if (rc == OTIMES_OK) {
        const int code = otimes_la_default->dsvd(d, d, root, d, job->singular_values, u, d, v, d);
        rc = code == OTIMES_OK ? code
                               : otimes_fail(err, code, "SVD of W_U: %s", otimes_strerror(code));
    }
    for (int64_t k = 0; rc == OTIMES_OK && k < count; k++) {
        for (int64_t j = 0; j < d; j++) {
            job->null_rows[k * d + j] = (float)v[j * d + d - 1 - k];
        }
    }
    otimes_free(root);
    otimes_free(u);
    otimes_free(v);
    return rc;
}

/* ---- buffers ---- */

static int new_found(neurons_job *job, neurons_side side, otimes_err *err)
{
    neurons_found *f = &job->found[side];
    double **const columns[] = {&f->mean, &f->variance, &f->skew, &f->kurtosis, &f->max, &f->min};
    const int64_t kept = job->room * job->kept;
    int rc = OTIMES_OK;
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        *columns[i] = otimes_pool_new(&job->pool, job->room, sizeof(double), &rc, err);
    }
    f->top_value = otimes_pool_new(&job->pool, kept, sizeof(float), &rc, err);
    f->bottom_value = otimes_pool_new(&job->pool, kept, sizeof(float), &rc, err);
    f->top_id = otimes_pool_new(&job->pool, kept, sizeof(int32_t), &rc, err);
    f->bottom_id = otimes_pool_new(&job->pool, kept, sizeof(int32_t), &rc, err);
    return rc;
}

int otimes_neurons_vocab_begin(neurons_job *job, otimes_err *err)
{
    const int64_t d = job->info->d_model, null = job->settings->null_directions;
    int rc = OTIMES_OK;
    for (int side = 0; rc == OTIMES_OK && side < SIDES; side++) {
        if (job->seen[side]) {
            rc = new_found(job, (neurons_side)side, err);
        }
    }
    job->moments = otimes_pool_new(&job->pool, job->tile_rows, sizeof *job->moments, &rc, err);
    if (rc == OTIMES_OK && (job->seen[SIDE_OUT] || null > 0)) {
        rc = otimes_unembed_open(job->model, &job->unembed, err);
    }
    if (rc == OTIMES_OK && null > 0) {
        job->null_rows = otimes_pool_new(&job->pool, null * d, sizeof(float), &rc, err);
        job->singular_values = otimes_pool_new(&job->pool, d, sizeof(double), &rc, err);
        rc = rc == OTIMES_OK ? find_null_rows(job, err) : rc;
    }
    return rc;
}

/* ---- the tile at hand ---- */

/* One side of the tile over one end of the vocabulary. */
typedef struct pass {
    neurons_job *job;
    neurons_side side;
    otimes_vocab_side vocab;
    double before; /* job->done */
} pass;

static void see_strip(void *context, const otimes_table_values *strip)
{
    const pass *p = context;
    for (int64_t i = 0; i < strip->rows; i++) {
        otimes_moments_add(&p->job->moments[strip->first_row + i],
                           strip->values + i * strip->columns, strip->columns);
    }
}

static int finish_rows(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    const pass *p = context;
    const neurons_job *job = p->job;
    const neurons_found *f = &job->found[p->side];
    const int64_t first = job->tile_first + sheet->first_row, kept = sheet->rows * job->kept;
    (void)err;
    memcpy(f->top_value + first * job->kept, sheet->top_value, (size_t)kept * sizeof(float));
    memcpy(f->top_id + first * job->kept, sheet->top_column, (size_t)kept * sizeof(int32_t));
    memcpy(f->bottom_value + first * job->kept, sheet->bottom_value, (size_t)kept * sizeof(float));
    memcpy(f->bottom_id + first * job->kept, sheet->bottom_column, (size_t)kept * sizeof(int32_t));
    for (int64_t i = 0; i < sheet->rows; i++) {
        const otimes_moments *moments = &job->moments[sheet->first_row + i];
        f->mean[first + i] = otimes_moments_mean(moments);
        f->variance[first + i] = otimes_moments_variance(moments);
        f->skew[first + i] = otimes_moments_skew(moments);
        f->kurtosis[first + i] = otimes_moments_kurtosis(moments);
        f->max[first + i] = (double)sheet->top_value[i * job->kept];
        f->min[first + i] = (double)sheet->bottom_value[i * job->kept];
    }
    return OTIMES_OK;
}

static int tick_rows(void *context, double share, otimes_err *err)
{
    const pass *p = context;
    p->job->done = p->before + share * (double)p->job->rows;
    return otimes_sink_progress(p->job->sink, p->job->done, p->job->total, err);
}

static int run_side(neurons_job *job, neurons_side side, otimes_err *err)
{
    static const otimes_table_consumer every = {.strip = see_strip};
    const otimes_model_info *info = job->info;
    pass p = {.job = job, .side = side, .vocab.model = job->model, .before = job->done};
    p.vocab.unembed = side == SIDE_OUT ? &job->unembed : NULL;
    const otimes_table_vectors rows = {info->d_model, job->row[side]};
    const otimes_table table = {
        .rank = info->d_model,
        .row = otimes_table_side_in_memory(&rows, job->rows),
        .column = otimes_vocab_side_of_table(&p.vocab,
                                             side == SIDE_OUT ? info->d_vocab_out : info->d_vocab),
        .threads = job->model->threads,
    };
    const otimes_table_ask ask = {.top = job->kept,
                                  .bottom = job->kept,
                                  .every = &every,
                                  .finish = finish_rows,
                                  .tick = tick_rows,
                                  .context = &p};
    memset(job->moments, 0, (size_t)job->rows * sizeof *job->moments);
    return otimes_table_run(&table, &ask, err);
}

int otimes_neurons_vocab(neurons_job *job, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int side = 0; rc == OTIMES_OK && side < SIDES; side++) {
        if (job->seen[side]) {
            rc = run_side(job, (neurons_side)side, err);
        }
    }
    return rc;
}
