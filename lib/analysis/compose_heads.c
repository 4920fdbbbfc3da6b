/* SPDX-License-Identifier: MIT
 *
 * A panel of layers: heads as writers and readers.
 */
#include <math.h>
#include <string.h>

#include "analysis/compose_job.h"
#include "base/par.h"
#include "model/model.h"
#include "num/la.h"
#include "run/rope.h"

typedef struct layer_work {
    compose_job *job;
    compose_panel *panel;
    int64_t at; /* of the layer in the panel */
    const otimes_rope *rope;
    const double *frequency;
} layer_work;

/* Writer, three readers, two readers at each offset. */
static int64_t ends_of_head(const compose_job *job)
{
    return 1 + COMPOSE_CIRCUITS + 2 * job->settings->offset_count;
}

int64_t otimes_compose_layer_bytes(const compose_job *job)
{
    const otimes_model_info *info = job->info;
    const int64_t e = info->d_head, sides = 2 * (info->n_heads + info->n_kv_heads);
    const int64_t ends = job->head_count * ends_of_head(job);
    const int64_t blocks = 64 * 4 * (256 + e); /* of the Gram route */
    return sides * e * 4 * info->d_model + ends * (8 * e * e + blocks);
}

/* The head's side in its layer: a key/value head for K and V. */
static int64_t head_in(const compose_job *job, int side, int64_t head)
{
    const bool shared = side == OTIMES_SIDE_K || side == OTIMES_SIDE_V;
    return shared ? head / (job->info->n_heads / job->info->n_kv_heads) : head;
}

static int make_end(const layer_work *work, int64_t head_at, int64_t end_at, int side,
                    const double *left, const double *right, otimes_link_end *end, double *norm,
                    otimes_err *err)
{
    const compose_job *job = work->job;
    const otimes_head_bases *b = &work->panel->bases[work->at];
    const int64_t r = b->rank, e = b->d_head, square = r * r;
    const int64_t place = (work->at * job->head_count + head_at) * ends_of_head(job) + end_at;
    float *numbers = work->panel->numbers + place * 2 * square;
    double *exact;
    int rc = OTIMES_NEW(&exact, square, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_la_default->dgemm(false, true, r, r, e, 1.0, left, e, right, e, 0.0, exact, r);
    *end = (otimes_link_end){
        .basis = otimes_head_basis(b, side, 0, head_in(job, side, job->heads[head_at])),
        .place = 2 * (double)b->first};
    rc = otimes_link_end_make(r, r, exact, job->dimension, numbers, numbers + square, end, norm,
                              err);
    otimes_free(exact);
    return rc;
}

/* Readers Q and K at an offset: W_Q R(offset) W_K^T. */
static int make_rotated(const layer_work *work, int64_t head_at, int64_t o, const double *query,
                        const double *key, otimes_err *err)
{
    const compose_job *job = work->job;
    const compose_panel *panel = work->panel;
    const int64_t r = panel->bases->rank, e = panel->bases->d_head, heads = job->head_count;
    otimes_link_end *reader =
        panel->reader +
        (panel->count * COMPOSE_CIRCUITS + (o * panel->count + work->at) * 2) * heads;
    double *turned, norm;
    int rc = OTIMES_NEW(&turned, r * e, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    memcpy(turned, key, (size_t)(r * e) * sizeof *turned);
    if (work->rope) {
        otimes_rope_rotate_key(work->rope, work->frequency, (double)job->settings->offsets[o], r, e,
                               turned);
    }
    const int64_t end = 1 + COMPOSE_CIRCUITS + 2 * o;
    rc = make_end(work, head_at, end, OTIMES_SIDE_Q, query, turned, reader + head_at, &norm, err);
    if (rc == OTIMES_OK) {
        rc = make_end(work, head_at, end + 1, OTIMES_SIDE_K, turned, query,
                      reader + heads + head_at, &norm, err);
    }
    otimes_free(turned);
    return rc;
}

/* Leading singular directions of left^T .. right in the stream: rows of U^T B and Y^T B. */
static int make_directions(const layer_work *work, int64_t head_at, int circuit, int left_side,
                           int right_side, otimes_err *err)
{
    const compose_job *job = work->job;
    const compose_panel *panel = work->panel;
    const otimes_head_bases *b = &panel->bases[work->at];
    const int64_t r = b->rank, e = b->d_head, d = b->d_model, k = job->settings->components;
    const int64_t head = job->heads[head_at], place = work->at * job->head_count + head_at;
    const int64_t left = head_in(job, left_side, head), right = head_in(job, right_side, head);
    double *memory;
    int rc = OTIMES_NEW(&memory, 3 * r * r + r + r * d, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    double *core = memory, *u = core + r * r, *v = u + r * r, *sigma = v + r * r;
    double *wide = sigma + r;
    otimes_la_default->dgemm(false, true, r, r, e, 1.0, otimes_head_factor(b, left_side, 0, left),
                             e, otimes_head_factor(b, right_side, 0, right), e, 0.0, core, r);
    rc = otimes_la_default->dsvd(r, r, core, r, sigma, u, r, v, r);
    if (rc != OTIMES_OK) {
        rc = otimes_fail(err, rc, "layer %lld head %lld: SVD: %s", (long long)b->first,
                         (long long)head, otimes_strerror(rc));
    }
    double norm = 0;
    for (int64_t i = 0; rc == OTIMES_OK && i < r; i++) {
        norm += sigma[i] * sigma[i];
    }
    for (int turn = 0; rc == OTIMES_OK && turn < 2; turn++) {
        const int side = turn ? right_side : left_side;
        const float *basis = otimes_head_basis(b, side, 0, turn ? right : left);
        for (int64_t i = 0; i < r * d; i++) {
            wide[i] = (double)basis[i];
        }
        otimes_la_default->dgemm(true, false, k, d, r, 1.0, turn ? v : u, r, wide, d, 0.0,
                                 panel->vectors[side] + place * k * d, d);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < k; i++) {
        panel->share[circuit][place * k + i] = norm > 0 ? sigma[i] / sqrt(norm) : NAN;
    }
    otimes_free(memory);
    return rc;
}

static int make_head(void *context, int64_t head_at, int worker, otimes_err *err)
{
    const layer_work *work = context;
    const compose_job *job = work->job;
    compose_panel *panel = work->panel;
    const otimes_head_bases *b = &panel->bases[work->at];
    const int64_t heads = job->head_count, place = work->at * heads + head_at;
    const double *factor[OTIMES_SIDES];
    double norm;
    (void)worker;
    for (int side = 0; side < OTIMES_SIDES; side++) {
        factor[side] = otimes_head_factor(b, side, 0, head_in(job, side, job->heads[head_at]));
    }
    const double *q = factor[OTIMES_SIDE_Q], *k = factor[OTIMES_SIDE_K];
    const double *v = factor[OTIMES_SIDE_V], *o = factor[OTIMES_SIDE_O];
    otimes_link_end *reader = panel->reader + work->at * COMPOSE_CIRCUITS * heads + head_at;
    int rc = make_end(work, head_at, 0, OTIMES_SIDE_O, o, v, &panel->writer[place],
                      &panel->ov_norm[place], err);
    if (rc == OTIMES_OK) {
        rc = make_end(work, head_at, 1 + COMPOSE_Q, OTIMES_SIDE_Q, q, k, reader + COMPOSE_Q * heads,
                      &panel->qk_norm[place], err);
    }
    if (rc == OTIMES_OK) {
        rc = make_end(work, head_at, 1 + COMPOSE_K, OTIMES_SIDE_K, k, q, reader + COMPOSE_K * heads,
                      &norm, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_end(work, head_at, 1 + COMPOSE_V, OTIMES_SIDE_V, v, o, reader + COMPOSE_V * heads,
                      &norm, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < job->settings->offset_count; i++) {
        rc = make_rotated(work, head_at, i, q, k, err);
    }
    if (rc == OTIMES_OK && job->settings->components > 0) {
        rc = make_directions(work, head_at, 0, OTIMES_SIDE_V, OTIMES_SIDE_O, err);
    }
    if (rc == OTIMES_OK && job->settings->components > 0) {
        rc = make_directions(work, head_at, 1, OTIMES_SIDE_Q, OTIMES_SIDE_K, err);
    }
    return rc;
}

static int new_panel(const compose_job *job, compose_panel *panel, otimes_err *err)
{
    const int64_t r =
        job->info->d_head < job->info->d_model ? job->info->d_head : job->info->d_model;
    const int64_t heads = panel->count * job->head_count, k = job->settings->components;
    const int64_t ends = ends_of_head(job);
    int rc = OTIMES_NEW(&panel->bases, panel->count, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&panel->writer, heads, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&panel->reader, heads * (ends - 1), err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&panel->numbers, heads * ends * 2 * r * r, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&panel->ov_norm, heads, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&panel->qk_norm, heads, err);
    }
    for (int side = 0; rc == OTIMES_OK && k > 0 && side < OTIMES_SIDES; side++) {
        rc = OTIMES_NEW(&panel->vectors[side], heads * k * job->info->d_model, err);
    }
    for (int i = 0; rc == OTIMES_OK && k > 0 && i < 2; i++) {
        rc = OTIMES_NEW(&panel->share[i], heads * k, err);
    }
    return rc;
}

int otimes_compose_panel_load(compose_job *job, int64_t first, int64_t count, compose_panel *panel,
                              otimes_err *err)
{
    double *frequency = NULL;
    *panel = (compose_panel){.first = first, .count = count};
    int rc = new_panel(job, panel, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&frequency, job->info->d_head, err);
    }
    for (int64_t at = 0; rc == OTIMES_OK && at < count; at++) {
        const int64_t layer = job->layers[first + at];
        layer_work work = {job, panel, at, otimes_layer_rope(job->model, layer), frequency};
        rc = otimes_head_bases_load(job->model, layer, 1, OTIMES_PART_ATTENTION, &panel->bases[at],
                                    err);
        if (rc == OTIMES_OK && work.rope && job->settings->offset_count > 0) {
            rc = otimes_rope_frequencies(job->model, work.rope, frequency, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(job->head_count, job->model->threads, make_head, &work, err);
        }
        for (int side = 0; side < OTIMES_SIDES; side++) { /* they are in the ends now */
            otimes_free(panel->bases[at].factor[side]);
            panel->bases[at].factor[side] = NULL;
        }
    }
    otimes_free(frequency);
    return rc;
}

void otimes_compose_panel_free(compose_panel *panel)
{
    for (int64_t i = 0; panel->bases && i < panel->count; i++) {
        otimes_head_bases_free(&panel->bases[i]);
    }
    otimes_free(panel->bases);
    otimes_free(panel->writer);
    otimes_free(panel->reader);
    otimes_free(panel->numbers);
    otimes_free(panel->ov_norm);
    otimes_free(panel->qk_norm);
    for (int side = 0; side < OTIMES_SIDES; side++) {
        otimes_free(panel->vectors[side]);
    }
    otimes_free(panel->share[0]);
    otimes_free(panel->share[1]);
    *panel = (compose_panel){0};
}
