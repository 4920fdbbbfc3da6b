/* SPDX-License-Identifier: MIT
 *
 * A model for comparison: its heads' sides as orthonormal bases in the stream or over the vocabulary,
 * their ranks, and the cores of both circuits.
 */
#include <math.h>
#include <string.h>

#include "analysis/compare_job.h"
#include "base/par.h"
#include "model/model.h"
#include "num/la.h"
#include "num/multiply.h"
#include "num/orthonormal.h"
#include "run/circuit.h"

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static const otimes_vocab_frame *frame_of(const compare_model *m, int side)
{
    return &m->frame[side == OTIMES_SIDE_O];
}

/* ---- which heads ---- */

static int choose(const compare_job *job, compare_model *m, otimes_err *err)
{
    const otimes_compare_settings *s = job->settings;
    const int64_t group = m->info->n_heads / m->info->n_kv_heads;
    int rc = OTIMES_OK;
    m->layers = s->layers ? s->layer_count : m->info->n_layers;
    m->heads = s->heads ? s->head_count : m->info->n_heads;
    m->nodes = m->layers * m->heads;
    int64_t *layer = otimes_pool_new(&m->pool, m->layers, sizeof *layer, &rc, err);
    int64_t *head = otimes_pool_new(&m->pool, m->heads, sizeof *head, &rc, err);
    m->kv_head = otimes_pool_new(&m->pool, m->heads, sizeof *m->kv_head, &rc, err);
    m->kv_of = otimes_pool_new(&m->pool, m->heads, sizeof *m->kv_of, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < m->layers; i++) {
        layer[i] = s->layers ? s->layers[i] : i;
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < m->heads; i++) {
        head[i] = s->heads ? s->heads[i] : i;
        const int64_t kv = head[i] / group;
        if (m->kv_heads == 0 || m->kv_head[m->kv_heads - 1] != kv) {
            m->kv_head[m->kv_heads++] = kv;
        }
        m->kv_of[i] = m->kv_heads - 1;
    }
    m->layer = layer;
    m->head = head;
    return rc;
}

static int new_sides(const compare_job *job, compare_model *m, otimes_err *err)
{
    const int64_t d_head = m->info->d_head;
    int rc = OTIMES_OK;
    for (int x = 0; x < OTIMES_SIDES; x++) {
        compare_side *s = &m->side[x];
        s->heads = compare_shared(x) ? m->kv_heads : m->heads;
        s->width = job->vocab ? frame_of(m, x)->rank : m->info->d_model;
        s->rows = smaller(s->width, d_head);
        const int64_t rows = m->layers * s->heads * s->rows;
        s->basis = otimes_pool_new(&m->pool, rows * s->width, sizeof *s->basis, &rc, err);
        s->factor = otimes_pool_new(&m->pool, rows * d_head, sizeof *s->factor, &rc, err);
        s->rank = otimes_pool_new(&m->pool, m->layers * s->heads, sizeof *s->rank, &rc, err);
    }
    for (int c = 0; c < COMPARE_CIRCUITS; c++) {
        compare_circuit *w = &m->circuit[c];
        const int64_t rows = m->side[compare_left[c]].rows * m->side[compare_right[c]].rows;
        w->core = otimes_pool_new(&m->pool, m->nodes * rows, sizeof *w->core, &rc, err);
        w->norm = otimes_pool_new(&m->pool, m->nodes, sizeof *w->norm, &rc, err);
        w->squares = otimes_pool_new(&m->pool, m->nodes, sizeof *w->squares, &rc, err);
    }
    return rc;
}

/* ---- one side of one head ---- */

static int factorise(int64_t e, int64_t d_head, const double *R, double *copy, double *values,
                     double *u, double *v, otimes_err *err)
{
    memcpy(copy, R, (size_t)(e * d_head) * sizeof *copy);
    const int rc = otimes_la_default->dsvd(e, d_head, copy, d_head, values, u, e, v, e);
    return rc == OTIMES_OK ? rc : otimes_fail(err, rc, "SVD: %s", otimes_strerror(rc));
}

/* B := U^T B, R := U^T R with R = U S V^T: the side's principal directions come first. */
static int turn(compare_side *s, int64_t at, int64_t d_head, otimes_err *err)
{
    const int64_t e = s->rows, n = s->width;
    const otimes_la *la = otimes_la_default;
    float *basis = s->basis + at * e * n;
    double *R = s->factor + at * e * d_head;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    double *copy = otimes_pool_new(&pool, e * d_head, sizeof *copy, &rc, err);
    double *values = otimes_pool_new(&pool, e, sizeof *values, &rc, err);
    double *u = otimes_pool_new(&pool, e * e, sizeof *u, &rc, err);
    double *v = otimes_pool_new(&pool, d_head * e, sizeof *v, &rc, err);
    double *wide = otimes_pool_new(&pool, e * n, sizeof *wide, &rc, err);
    double *turned = otimes_pool_new(&pool, e * n, sizeof *turned, &rc, err);
    if (rc == OTIMES_OK) {
        rc = factorise(e, d_head, R, copy, values, u, v, err);
    }
    if (rc == OTIMES_OK) {
        for (int64_t k = 0; k < e * n; k++) {
            wide[k] = (double)basis[k];
        }
        la->dgemm(true, false, e, n, e, 1, u, e, wide, n, 0, turned, n);
        for (int64_t k = 0; k < e * n; k++) {
            basis[k] = (float)turned[k];
        }
        memcpy(copy, R, (size_t)(e * d_head) * sizeof *copy);
        la->dgemm(true, false, e, d_head, e, 1, u, e, copy, d_head, 0, R, d_head);
    }
    otimes_pool_free(&pool);
    return rc;
}

/* Where the rank is less than the rows the basis is turned, so that the leading rows span the side; of
 * full rank any basis does, and it is left as it is. */
static int find_rank(compare_side *s, int64_t at, int64_t d_head, otimes_err *err)
{
    const int64_t e = s->rows;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    double *copy = otimes_pool_new(&pool, e * d_head, sizeof *copy, &rc, err);
    double *values = otimes_pool_new(&pool, e, sizeof *values, &rc, err);
    if (rc == OTIMES_OK) {
        rc = factorise(e, d_head, s->factor + at * e * d_head, copy, values, NULL, NULL, err);
    }
    int64_t rank = 0;
    while (rc == OTIMES_OK && rank < e && values[rank] > OTIMES_COMPARE_RANK_SHARE * values[0]) {
        rank++;
    }
    otimes_pool_free(&pool);
    s->rank[at] = rank;
    return rc == OTIMES_OK && rank < e ? turn(s, at, d_head, err) : rc;
}

/* B^T R of the stream as F B^T R over the vocabulary, a basis and a factor anew. */
static int to_vocabulary(const otimes_vocab_frame *frame, int64_t rows, int64_t d_head,
                         const float *basis, const double *factor, float *out_basis,
                         double *out_factor, otimes_err *err)
{
    const int64_t d = frame->d_model, n = frame->rank;
    const otimes_la *la = otimes_la_default;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    double *wide = otimes_pool_new(&pool, rows * d, sizeof *wide, &rc, err);
    double *half = otimes_pool_new(&pool, n * rows, sizeof *half, &rc, err);
    double *side = otimes_pool_new(&pool, n * d_head, sizeof *side, &rc, err);
    if (rc == OTIMES_OK) {
        for (int64_t k = 0; k < rows * d; k++) {
            wide[k] = (double)basis[k];
        }
        la->dgemm(false, true, n, rows, d, 1, frame->coordinates, d, wide, d, 0, half, rows);
        la->dgemm(false, false, n, d_head, rows, 1, half, rows, factor, d_head, 0, side, d_head);
        rc = otimes_orthonormal_rows(n, d_head, side, out_basis, out_factor, err);
    }
    otimes_pool_free(&pool);
    return rc;
}

typedef struct taking {
    const compare_job *job;
    compare_model *model;
    const otimes_head_bases *bases; /* of one layer */
    int64_t layer_at;
} taking;

/* Item: one side of one chosen head of the layer, sides after one another. */
static int take_side(void *context, int64_t item, int worker, otimes_err *err)
{
    const taking *t = context;
    compare_model *m = t->model;
    int x = 0;
    int64_t head_at = item;
    (void)worker;
    while (head_at >= m->side[x].heads) {
        head_at -= m->side[x++].heads;
    }
    compare_side *s = &m->side[x];
    const int64_t head = compare_shared(x) ? m->kv_head[head_at] : m->head[head_at];
    const int64_t at = t->layer_at * s->heads + head_at, d_head = m->info->d_head;
    const float *basis = otimes_head_basis(t->bases, x, 0, head);
    const double *factor = otimes_head_factor(t->bases, x, 0, head);
    float *to_basis = s->basis + at * s->rows * s->width;
    double *to_factor = s->factor + at * s->rows * d_head;
    int rc = OTIMES_OK;
    if (t->job->vocab) {
        rc = to_vocabulary(frame_of(m, x), t->bases->rank, d_head, basis, factor, to_basis,
                           to_factor, err);
    } else {
        memcpy(to_basis, basis, (size_t)(s->rows * s->width) * sizeof *basis);
        memcpy(to_factor, factor, (size_t)(s->rows * d_head) * sizeof *factor);
    }
    return rc == OTIMES_OK ? find_rank(s, at, d_head, err) : rc;
}

/* ---- circuits ---- */

static double norm_of(const double *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum);
}

/* Item: a node. M = R_left R_right^T, and the norms of W and of W^T W. */
static int make_cores(void *context, int64_t node, int worker, otimes_err *err)
{
    compare_model *m = context;
    const int64_t d_head = m->info->d_head, layer = node / m->heads, head = node % m->heads;
    int rc = OTIMES_OK;
    (void)worker;
    for (int c = 0; rc == OTIMES_OK && c < COMPARE_CIRCUITS; c++) {
        const double *R[2];
        int64_t rows[2];
        for (int end = 0; end < 2; end++) {
            const int x = end ? compare_right[c] : compare_left[c];
            const compare_side *s = &m->side[x];
            const int64_t at = layer * s->heads + (compare_shared(x) ? m->kv_of[head] : head);
            rows[end] = s->rows;
            R[end] = s->factor + at * s->rows * d_head;
        }
        compare_circuit *w = &m->circuit[c];
        double *core = w->core + node * rows[0] * rows[1], *gram;
        rc = OTIMES_NEW(&gram, rows[1] * rows[1], err);
        if (rc == OTIMES_OK) {
            const otimes_la *la = otimes_la_default;
            la->dgemm(false, true, rows[0], rows[1], d_head, 1, R[0], d_head, R[1], d_head, 0, core,
                      rows[1]);
            la->dgemm(true, false, rows[1], rows[1], rows[0], 1, core, rows[1], core, rows[1], 0,
                      gram, rows[1]);
            w->norm[node] = norm_of(core, rows[0] * rows[1]);
            w->squares[node] = norm_of(gram, rows[1] * rows[1]);
        }
        otimes_free(gram);
    }
    return rc;
}

static int make_frames(const compare_job *job, compare_model *m, otimes_err *err)
{
    int rc = otimes_unembed_open(m->model, &m->unembed, err);
    if (rc == OTIMES_OK) {
        rc = otimes_vocab_frame_make((otimes_vocab_end){m->model, NULL, job->pulse}, &m->frame[0],
                                     err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_vocab_frame_make((otimes_vocab_end){m->model, &m->unembed, job->pulse},
                                     &m->frame[1], err);
    }
    return rc;
}

int otimes_compare_model_load(const compare_job *job, const otimes_model *model, compare_model *out,
                              otimes_err *err)
{
    *out = (compare_model){.model = model, .info = otimes_model_describe(model)};
    int rc = choose(job, out, err);
    if (rc == OTIMES_OK && job->vocab) {
        rc = make_frames(job, out, err);
    }
    if (rc == OTIMES_OK) {
        rc = new_sides(job, out, err);
    }
    const int64_t sides = 2 * (out->heads + out->kv_heads);
    for (int64_t at = 0; rc == OTIMES_OK && at < out->layers; at++) {
        otimes_head_bases bases = {0};
        taking t = {job, out, &bases, at};
        rc = otimes_head_bases_load(model, out->layer[at], 1, OTIMES_PART_ATTENTION, &bases, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(sides, job->threads, take_side, &t, err);
        }
        otimes_head_bases_free(&bases);
        rc = rc == OTIMES_OK ? otimes_pulse_beat(job->pulse, err) : rc;
    }
    return rc == OTIMES_OK ? otimes_par_for(out->nodes, job->threads, make_cores, out, err) : rc;
}

void otimes_compare_model_free(compare_model *model)
{
    otimes_unembed_free(&model->unembed);
    otimes_vocab_frame_free(&model->frame[0]);
    otimes_vocab_frame_free(&model->frame[1]);
    otimes_pool_free(&model->pool);
    *model = (compare_model){0};
}

/* ---- from one model to another ---- */

static bool done(otimes_step step)
{
    return step == OTIMES_STEP_APPLIED || step == OTIMES_STEP_DONE_IN_FILE;
}

/* Readers and writers of the stream lack the mean's direction once LayerNorm's centring is folded. */
static double stream_dimension(const otimes_model_info *info, int side)
{
    const bool centred =
        info->norm == OTIMES_NORM_LN && info->d_model > 1 &&
        (side == OTIMES_SIDE_O ? done(info->center_writing_weights) && !info->post_norm
                               : done(info->fold_ln));
    return (double)(info->d_model - centred);
}

/* Basis rows of b times K^T, K [a's width, b's width] = Y_a^T Y_b. */
static int carry(const compare_job *job, const compare_side *from, int64_t layers, int64_t width,
                 const double *K, compare_bridge *bridge, compare_side *to, otimes_err *err)
{
    const int64_t rows = layers * from->heads * from->rows;
    int rc = OTIMES_OK;
    *to = *from;
    to->width = width;
    to->basis = otimes_pool_new(&bridge->pool, rows * width, sizeof *to->basis, &rc, err);
    float *narrow = otimes_pool_new(&bridge->pool, width * from->width, sizeof *narrow, &rc, err);
    if (rc == OTIMES_OK) {
        for (int64_t i = 0; i < width * from->width; i++) {
            narrow[i] = (float)K[i];
        }
        const otimes_view left = {rows, from->width, from->width, 1, from->basis, NULL};
        const otimes_view right = {from->width, width, 1, from->width, narrow, NULL};
        rc = otimes_multiply(job->threads, &left, &right, 1, false, false, to->basis, err);
    }
    return rc;
}

static int cross_end(const compare_job *job, const compare_model *a, const compare_model *b,
                     int end, compare_bridge *bridge, otimes_err *err)
{
    const otimes_vocab_frame *of_a = &a->frame[end], *of_b = &b->frame[end];
    double *K;
    int rc = OTIMES_NEW(&K, of_a->rank * of_b->rank, err);
    if (rc == OTIMES_OK) {
        rc = otimes_vocab_frame_cross(
            (otimes_vocab_end){a->model, end ? &a->unembed : NULL, job->pulse}, of_a,
            (otimes_vocab_end){b->model, end ? &b->unembed : NULL, NULL}, of_b, K, err);
    }
    const double norm = rc == OTIMES_OK ? norm_of(K, of_a->rank * of_b->rank) : 1;
    for (int x = 0; rc == OTIMES_OK && x < OTIMES_SIDES; x++) {
        if ((x == OTIMES_SIDE_O) == end) {
            bridge->dimension[x] = (double)of_a->rank * (double)of_b->rank / (norm * norm);
            rc = carry(job, &b->side[x], b->layers, of_a->rank, K, bridge, &bridge->side[x], err);
        }
    }
    otimes_free(K);
    return rc;
}

int otimes_compare_bridge(const compare_job *job, const compare_model *a, const compare_model *b,
                          compare_bridge *bridge, otimes_err *err)
{
    const bool one = a->model == b->model;
    *bridge = (compare_bridge){.haar = !job->vocab || one};
    for (int x = 0; x < OTIMES_SIDES; x++) {
        bridge->side[x] = b->side[x];
        bridge->dimension[x] =
            job->vocab ? (double)frame_of(a, x)->rank : stream_dimension(a->info, x);
    }
    int rc = OTIMES_OK;
    for (int end = 0; rc == OTIMES_OK && !bridge->haar && end < 2; end++) {
        rc = cross_end(job, a, b, end, bridge, err);
    }
    return rc;
}

void otimes_compare_bridge_free(compare_bridge *bridge)
{
    otimes_pool_free(&bridge->pool);
    *bridge = (compare_bridge){0};
}
