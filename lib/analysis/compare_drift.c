/* SPDX-License-Identifier: MIT
 *
 * Checkpoints in order: each head beside itself in the one before, the first and the last.
 */
#include <math.h>

#include "analysis/compare_job.h"
#include "base/par.h"
#include "num/la.h"
#include "run/circuit.h"
#include "run/links.h"

typedef struct work {
    compare_drift *drift;
    const compare_model *then, *now;
    const compare_bridge *bridge; /* sides of `now` in the space of `then` */
    int reference;
} work;

/* T of a head's side with the same side of the same head. */
static void cross_gram(const work *w, int side, int64_t node, float *T)
{
    const compare_side *a = &w->then->side[side], *b = &w->bridge->side[side];
    const int64_t layer = node / w->then->heads, head = node % w->then->heads;
    const int64_t at = layer * a->heads + (compare_shared(side) ? w->then->kv_of[head] : head);
    otimes_la_default->sgemm(false, true, a->rows, b->rows, a->width, 1,
                             a->basis + at * a->rows * a->width, a->width,
                             b->basis + at * b->rows * b->width, b->width, 0, T, b->rows);
}

/* Item: a head. */
static int drift_head(void *context, int64_t node, int worker, otimes_err *err)
{
    const work *w = context;
    int64_t most = 0;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    (void)worker;
    for (int x = 0; x < OTIMES_SIDES; x++) {
        most = w->then->side[x].rows > most ? w->then->side[x].rows : most;
        most = w->bridge->side[x].rows > most ? w->bridge->side[x].rows : most;
    }
    float *left = otimes_pool_new(&pool, most * most, sizeof *left, &rc, err);
    float *right = otimes_pool_new(&pool, most * most, sizeof *right, &rc, err);
    double *scratch =
        otimes_pool_new(&pool, otimes_compare_scratch(most), sizeof *scratch, &rc, err);
    for (int c = 0; rc == OTIMES_OK && c < COMPARE_CIRCUITS; c++) {
        const int l = compare_left[c], r = compare_right[c];
        const compare_pair p = {.one = &w->then->circuit[c],
                                .two = &w->now->circuit[c],
                                .i = node,
                                .j = node,
                                .rows_left = {w->then->side[l].rows, w->bridge->side[l].rows},
                                .rows_right = {w->then->side[r].rows, w->bridge->side[r].rows},
                                .left = left,
                                .right = right,
                                .ld_left = w->bridge->side[l].rows,
                                .ld_right = w->bridge->side[r].rows};
        cross_gram(w, l, node, left);
        cross_gram(w, r, node, right);
        otimes_compare_product(&p, scratch);
        w->drift->cosine[c][w->reference][node] = otimes_compare_cosine(&p, scratch);
        w->drift->cka[c][w->reference][node] = otimes_compare_cka(&p, scratch);
    }
    otimes_pool_free(&pool);
    return rc;
}

/* One reference; NULL: there is none, and all is undefined. */
static int drift_from(compare_job *job, const compare_model *then, const compare_model *now,
                      int reference, otimes_err *err)
{
    compare_drift *d = &job->drift;
    compare_bridge bridge = {0};
    work w = {d, then, now, &bridge, reference};
    int rc = OTIMES_OK;
    if (then) {
        rc = otimes_compare_bridge(job, then, now, &bridge, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(now->nodes, job->threads, drift_head, &w, err);
        }
        otimes_compare_bridge_free(&bridge);
        return rc;
    }
    for (int c = 0; c < COMPARE_CIRCUITS; c++) {
        for (int64_t i = 0; i < now->nodes; i++) {
            d->cosine[c][reference][i] = d->cka[c][reference][i] = NAN;
        }
    }
    return rc;
}

/* ---- K-composition ---- */

static void transpose(int64_t rows, int64_t columns, const double *from, double *to)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            to[j * rows + i] = from[i * columns + j];
        }
    }
}

/* A circuit as an end of a link: M^T on the side that it writes with (OV) or is read by (QK: keys). */
static int make_end(const compare_model *m, int c, int64_t node, double *turned, float *root,
                    otimes_link_end *end, otimes_err *err)
{
    const int64_t left = m->side[compare_left[c]].rows, layer = node / m->heads;
    const int64_t head = node % m->heads;
    const compare_side *s = &m->side[compare_right[c]];
    const int64_t at =
        layer * s->heads + (compare_shared(compare_right[c]) ? m->kv_of[head] : head);
    double norm;
    transpose(left, s->rows, m->circuit[c].core + node * left * s->rows, turned);
    const int rc = otimes_link_end_make(s->rows, left, turned, otimes_link_dimension(m->info), root,
                                        NULL, end, &norm, err);
    end->basis = s->basis + at * s->rows * s->width;
    end->place = (double)layer;
    return rc;
}

static int k_composition(const compare_job *job, const compare_model *m, double *score,
                         otimes_err *err)
{
    const int64_t rows = m->side[OTIMES_SIDE_O].rows, n = m->nodes; /* the same of every side */
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    double *turned = otimes_pool_new(&pool, rows * rows, sizeof *turned, &rc, err);
    float *root = otimes_pool_new(&pool, 2 * n * rows * rows, sizeof *root, &rc, err);
    otimes_link_end *end = otimes_pool_new(&pool, 2 * n, sizeof *end, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < 2 * n; i++) {
        rc = make_end(m, i < n ? COMPARE_OV : COMPARE_QK, i % n, turned, root + i * rows * rows,
                      &end[i], err);
    }
    if (rc == OTIMES_OK) {
        const otimes_links links = {.d_model = m->info->d_model,
                                    .centred = otimes_link_dimension(m->info) < m->info->d_model,
                                    .writer = end,
                                    .reader = end + n,
                                    .writers = n,
                                    .readers = n,
                                    .route = OTIMES_LINKS_BY_CORES,
                                    .threads = job->threads};
        rc = otimes_links_compute(&links, score, err);
    }
    for (int64_t k = 0; rc == OTIMES_OK && k < n * n; k++) {
        score[k] = sqrt(score[k]);
    }
    otimes_pool_free(&pool);
    return rc;
}

int otimes_compare_drift(compare_job *job, int64_t at, otimes_err *err)
{
    const compare_model *now = &job->model[at], *previous = at ? now - 1 : NULL;
    int rc = drift_from(job, previous, now, DRIFT_PREVIOUS, err);
    if (rc == OTIMES_OK) {
        rc = drift_from(job, &job->model[0], now, DRIFT_FIRST, err);
    }
    if (rc == OTIMES_OK) {
        rc = drift_from(job, &job->model[job->count - 1], now, DRIFT_LAST, err);
    }
    for (int c = 0; c < COMPARE_CIRCUITS; c++) {
        for (int64_t i = 0; i < now->nodes; i++) {
            const double before = previous ? previous->circuit[c].norm[i] : NAN;
            job->drift.norm_ratio[c][i] = before > 0 ? now->circuit[c].norm[i] / before : NAN;
        }
    }
    return rc == OTIMES_OK && job->drift.k_composition
               ? k_composition(job, now, job->drift.k_composition, err)
               : rc;
}
