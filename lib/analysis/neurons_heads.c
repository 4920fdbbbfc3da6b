/* SPDX-License-Identifier: MIT
 *
 * Neurons and heads. A head's matrix is B_1^T M B_2 with orthonormal rows B, so |w B_1^T M| is all there
 * is to know: for each head M^T B_1 over |M| is made once for a layer, so that a strip of neurons costs
 * one product with all heads of the layer and sums of d_head squares.
 */
#include <math.h>

#include "analysis/neurons_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/la.h"
#include "num/topk.h"
#include "run/head_bases.h"

/* One layer of heads before, or behind, the unit at hand. */
typedef struct pass {
    neurons_job *job;
    const otimes_head_bases *bases;
    bool later;           /* the heads read what neurons write */
    neurons_way from, to; /* ways from .. to - 1; a table's number is way - from */
} pass;

bool otimes_neurons_reads_heads_of(const neurons_job *job, int64_t head_layer, int64_t layer)
{
    return head_layer < layer || (head_layer == layer && !job->info->parallel);
}

/* The vector of a neuron that a way begins or ends at. */
static neurons_side side_of(neurons_way way)
{
    return way == WAY_IN ? SIDE_IN : way == WAY_GATE ? SIDE_GATE : SIDE_OUT;
}

/* Ways before and behind look into one reader each but for Q, K and V. */
static int64_t reader_of(const pass *p, neurons_way way)
{
    return p->later ? (int64_t)way : 0;
}

int otimes_neurons_heads_begin(neurons_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const int64_t columns = info->n_heads * job->head_rank;
    int rc = OTIMES_OK;
    for (int i = 0; i < 3; i++) {
        job->reader[i] =
            otimes_pool_new(&job->pool, columns * info->d_model, sizeof(float), &rc, err);
        job->table[i] =
            otimes_pool_new(&job->pool, job->room * info->n_heads, sizeof(float), &rc, err);
    }
    job->silent = otimes_pool_new(&job->pool, 3 * info->n_heads, sizeof *job->silent, &rc, err);
    job->strongest =
        otimes_pool_new(&job->pool, WAYS * job->room, sizeof *job->strongest, &rc, err);
    for (int way = 0; way < WAYS; way++) {
        if (job->has[side_of((neurons_way)way)]) {
            job->score[way] =
                otimes_pool_new(&job->pool, job->room * job->kept, sizeof(float), &rc, err);
            job->head[way] =
                otimes_pool_new(&job->pool, job->room * job->kept, sizeof(int32_t), &rc, err);
        }
    }
    return rc;
}

/* ---- what a side is multiplied by ---- */

/* Rows (R_far R_near^T) B_near / |R_far R_near^T| of a head: what |w W| needs to know of a matrix W whose
 * near side w meets. */
static int put_reader(const pass *p, int64_t reader, int64_t head, int near, int far,
                      otimes_err *err)
{
    const neurons_job *job = p->job;
    const otimes_head_bases *b = p->bases;
    const int64_t heads = job->info->n_heads, r = b->rank, d = b->d_model, e = b->d_head;
    const int64_t near_head = head / (heads / b->heads[near]);
    const int64_t far_head = head / (heads / b->heads[far]);
    double *core, squares = 0;
    float *narrow = NULL;
    int rc = OTIMES_NEW(&core, r * r, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&narrow, r * r, err);
    }
    if (rc == OTIMES_OK) {
        otimes_la_default->dgemm(false, true, r, r, e, 1.0, otimes_head_factor(b, far, 0, far_head),
                                 e, otimes_head_factor(b, near, 0, near_head), e, 0.0, core, r);
        for (int64_t i = 0; i < r * r; i++) {
            squares += core[i] * core[i];
        }
        const double scale = squares > 0 ? 1 / sqrt(squares) : 0;
        for (int64_t i = 0; i < r * r; i++) {
            narrow[i] = (float)(core[i] * scale);
        }
        job->silent[reader * heads + head] = scale == 0;
        otimes_la_default->sgemm(false, false, r, d, r, 1.0f, narrow, r,
                                 otimes_head_basis(b, near, 0, near_head), d, 0.0f,
                                 job->reader[reader] + head * r * d, d);
    }
    otimes_free(core);
    otimes_free(narrow);
    return rc;
}

static int read_head(void *context, int64_t head, int worker, otimes_err *err)
{
    const pass *p = context;
    (void)worker;
    if (!p->later) {
        return put_reader(p, 0, head, OTIMES_SIDE_O, OTIMES_SIDE_V, err);
    }
    int rc = put_reader(p, WAY_Q, head, OTIMES_SIDE_Q, OTIMES_SIDE_K, err);
    if (rc == OTIMES_OK) {
        rc = put_reader(p, WAY_K, head, OTIMES_SIDE_K, OTIMES_SIDE_Q, err);
    }
    return rc == OTIMES_OK ? put_reader(p, WAY_V, head, OTIMES_SIDE_V, OTIMES_SIDE_O, err) : rc;
}

/* ---- scores ---- */

static void score_row(const pass *p, neurons_way way, int64_t i, const float *product)
{
    const neurons_job *job = p->job;
    const int64_t heads = job->info->n_heads, e = job->head_rank, at = job->tile_first + i;
    const double norm = job->found[side_of(way)].norm[at];
    const bool *silent = job->silent + reader_of(p, way) * heads;
    float *score = job->table[way - p->from] + at * heads;
    otimes_topk *top = &job->strongest[way * job->room + at];
    for (int64_t h = 0; h < heads; h++) {
        double squares = 0;
        for (int64_t k = h * e; k < (h + 1) * e; k++) {
            squares += (double)product[k] * (double)product[k];
        }
        score[h] = norm > 0 && !silent[h] ? (float)(sqrt(squares) / norm) : NAN;
        if (!isnan(score[h])) {
            otimes_topk_scan(top, &score[h], 1, (int32_t)(p->bases->first * heads + h));
        }
    }
}

static int score_strip(void *context, int64_t item, int worker, otimes_err *err)
{
    const pass *p = context;
    const neurons_job *job = p->job;
    const int64_t strips = (job->rows + STRIP_ROWS - 1) / STRIP_ROWS;
    const neurons_way way = (neurons_way)((int64_t)p->from + item / strips);
    const int64_t at = item % strips * STRIP_ROWS, d = job->info->d_model;
    const int64_t rows = job->rows - at < STRIP_ROWS ? job->rows - at : STRIP_ROWS;
    const int64_t columns = job->info->n_heads * job->head_rank;
    float *product = job->strips + worker * STRIP_ROWS * job->strip_columns;
    (void)err;
    otimes_la_default->sgemm(false, true, rows, columns, d, 1.0f, job->row[side_of(way)] + at * d,
                             d, job->reader[reader_of(p, way)], d, 0.0f, product, columns);
    for (int64_t i = 0; i < rows; i++) {
        score_row(p, way, at + i, product + i * columns);
    }
    return OTIMES_OK;
}

/* Every tile of the unit with the heads of one layer. */
static int score_unit(pass *p, otimes_err *err)
{
    neurons_job *job = p->job;
    const int64_t count = job->unit.count;
    int rc = OTIMES_OK;
    for (int64_t first = 0; rc == OTIMES_OK && first < count; first += job->tile_rows) {
        const int64_t rows = count - first < job->tile_rows ? count - first : job->tile_rows;
        const int64_t strips = (rows + STRIP_ROWS - 1) / STRIP_ROWS;
        rc = otimes_neurons_rows_gather(job, first, rows, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(strips * (int64_t)(p->to - p->from), job->model->threads,
                                score_strip, p, err);
        }
    }
    return rc;
}

static int with_layer(neurons_job *job, int64_t head_layer, const neurons_writer *writer,
                      otimes_err *err)
{
    const bool later = head_layer > job->unit.layer;
    const int parts = later ? OTIMES_PART_ATTENTION : OTIMES_PART_V | OTIMES_PART_O;
    otimes_head_bases bases;
    pass p = {.job = job,
              .bases = &bases,
              .later = later,
              .from = later ? WAY_Q : WAY_IN,
              .to = later                 ? WAY_IN
                    : job->has[SIDE_GATE] ? WAYS
                                          : WAY_GATE};
    int rc = otimes_head_bases_load(job->model, head_layer, 1, parts, &bases, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    rc = otimes_par_for(job->info->n_heads, job->model->threads, read_head, &p, err);
    if (rc == OTIMES_OK) {
        rc = score_unit(&p, err);
    }
    otimes_head_bases_free(&bases);
    if (rc == OTIMES_OK && job->settings->heads == OTIMES_NEURONS_HEADS_FULL) {
        rc = otimes_neurons_write_tables(writer, head_layer, p.from, p.to, err);
    }
    return rc;
}

int otimes_neurons_compose(neurons_job *job, const neurons_writer *writer, otimes_err *err)
{
    const int64_t layers = job->info->n_layers, here = job->unit.layer;
    int rc = OTIMES_OK;
    for (int way = 0; way < WAYS; way++) {
        for (int64_t i = 0; job->score[way] && i < job->unit.count; i++) {
            job->strongest[way * job->room + i] =
                (otimes_topk){.capacity = job->kept,
                              .sign = 1,
                              .value = job->score[way] + i * job->kept,
                              .index = job->head[way] + i * job->kept};
        }
    }
    for (int64_t m = 0; rc == OTIMES_OK && m < layers; m++) {
        if (m > here || otimes_neurons_reads_heads_of(job, m, here)) {
            rc = with_layer(job, m, writer, err);
        }
        if (rc == OTIMES_OK) {
            job->done += (double)job->unit.count / (double)layers;
            rc = otimes_sink_progress(job->sink, job->done, job->total, err);
        }
    }
    for (int way = 0; way < WAYS; way++) {
        for (int64_t i = 0; job->score[way] && i < job->unit.count; i++) {
            otimes_topk_finish(&job->strongest[way * job->room + i]);
        }
    }
    return rc;
}
