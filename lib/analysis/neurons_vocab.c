/* SPDX-License-Identifier: MIT
 *
 * Neurons over the vocabulary: rows of w W_U or W_E w by strips and blocks, each consumed while it is
 * in cache, so that no row is ever whole.
 */
#include <math.h>
#include <string.h>

#include "analysis/neurons_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/la.h"
#include "num/moments.h"
#include "num/topk.h"
#include "run/vocab.h"

/* Running state of one row. */
struct neurons_vocab_row {
    otimes_moments moments;
    otimes_topk top, bottom;
};

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
    job->columns = otimes_pool_new(&job->pool, BLOCK_COLUMNS * d, sizeof(float), &rc, err);
    job->vocab_rows =
        otimes_pool_new(&job->pool, SIDES * job->tile_rows, sizeof *job->vocab_rows, &rc, err);
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

/* The sides that one end of the vocabulary is multiplied by. */
typedef struct pass {
    const neurons_job *job;
    neurons_side from, to; /* sides from .. to - 1 */
    int64_t strips;        /* of a side */
    int64_t first, count;  /* tokens of the block */
} pass;

static int run_strip(void *context, int64_t item, int worker, otimes_err *err)
{
    const pass *p = context;
    const neurons_job *job = p->job;
    const int64_t side = p->from + item / p->strips, at = item % p->strips * STRIP_ROWS;
    const int64_t rows = job->rows - at < STRIP_ROWS ? job->rows - at : STRIP_ROWS;
    const int64_t d = job->info->d_model;
    float *product = job->strips + worker * STRIP_ROWS * job->strip_columns;
    struct neurons_vocab_row *state = job->vocab_rows + side * job->tile_rows + at;
    (void)err;
    otimes_la_default->sgemm(false, true, rows, p->count, d, 1.0f, job->row[side] + at * d, d,
                             job->columns, d, 0.0f, product, p->count);
    for (int64_t i = 0; i < rows; i++) {
        const float *values = product + i * p->count;
        otimes_moments_add(&state[i].moments, values, p->count);
        otimes_topk_scan(&state[i].top, values, p->count, (int32_t)p->first);
        otimes_topk_scan(&state[i].bottom, values, p->count, (int32_t)p->first);
    }
    return OTIMES_OK;
}

static void begin_rows(const neurons_job *job, int64_t side)
{
    const neurons_found *f = &job->found[side];
    const int64_t kept = job->kept;
    struct neurons_vocab_row *state = job->vocab_rows + side * job->tile_rows;
    for (int64_t i = 0; i < job->rows; i++) {
        const int64_t at = (job->tile_first + i) * kept;
        state[i] = (struct neurons_vocab_row){
            .top = {.capacity = kept,
                    .sign = 1,
                    .value = f->top_value + at,
                    .index = f->top_id + at},
            .bottom = {.capacity = kept,
                       .sign = -1,
                       .value = f->bottom_value + at,
                       .index = f->bottom_id + at},
        };
    }
}

static void finish_rows(const neurons_job *job, int64_t side)
{
    const neurons_found *f = &job->found[side];
    struct neurons_vocab_row *state = job->vocab_rows + side * job->tile_rows;
    for (int64_t i = 0; i < job->rows; i++) {
        const int64_t at = job->tile_first + i;
        otimes_topk_finish(&state[i].top);
        otimes_topk_finish(&state[i].bottom);
        f->mean[at] = otimes_moments_mean(&state[i].moments);
        f->variance[at] = otimes_moments_variance(&state[i].moments);
        f->skew[at] = otimes_moments_skew(&state[i].moments);
        f->kurtosis[at] = otimes_moments_kurtosis(&state[i].moments);
        f->max[at] = (double)state[i].top.value[0];
        f->min[at] = (double)state[i].bottom.value[0];
    }
}

/* Sides from .. to - 1 over W_U's columns, or W_E's rows. */
static int run_end(neurons_job *job, const otimes_unembed *unembed, neurons_side from,
                   neurons_side to, otimes_err *err)
{
    const int64_t total = unembed ? job->info->d_vocab_out : job->info->d_vocab;
    pass p = {job, from, to, (job->rows + STRIP_ROWS - 1) / STRIP_ROWS, 0, 0};
    int rc = OTIMES_OK;
    for (int side = (int)from; side < (int)to; side++) {
        begin_rows(job, side);
    }
    for (; rc == OTIMES_OK && p.first < total; p.first += BLOCK_COLUMNS) {
        p.count = total - p.first < BLOCK_COLUMNS ? total - p.first : BLOCK_COLUMNS;
        rc = otimes_vocab_rows(job->model, unembed, NULL, p.first, p.count, job->columns, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(p.strips * (int64_t)(to - from), job->model->threads, run_strip, &p,
                                err);
        }
        if (rc == OTIMES_OK) {
            job->done += (double)(job->rows * p.count) * (double)(to - from) / (double)total;
            rc = otimes_sink_progress(job->sink, job->done, job->total, err);
        }
    }
    for (int side = (int)from; rc == OTIMES_OK && side < (int)to; side++) {
        finish_rows(job, side);
    }
    return rc;
}

int otimes_neurons_vocab(neurons_job *job, otimes_err *err)
{
    int rc = OTIMES_OK;
    if (job->seen[SIDE_OUT]) {
        rc = run_end(job, &job->unembed, SIDE_OUT, SIDE_IN, err);
    }
    if (rc == OTIMES_OK && job->seen[SIDE_IN]) {
        rc = run_end(job, NULL, SIDE_IN, job->seen[SIDE_GATE] ? SIDES : SIDE_GATE, err);
    }
    return rc;
}
