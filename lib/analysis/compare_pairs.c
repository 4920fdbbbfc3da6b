/* SPDX-License-Identifier: MIT
 *
 * All pairs of heads of two models. The cross Gram of a head's side with that of a whole layer is one
 * product; what is shared by a group of query heads is computed once for the group. A model beside
 * itself is done for pairs i <= j and mirrored.
 */
#include <math.h>
#include <string.h>

#include "analysis/compare_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "num/la.h"

typedef struct work {
    compare_job *job;
    const compare_model *a, *b;
    const compare_bridge *bridge;
    bool need[OTIMES_SIDES]; /* cross Grams that some measure asks for */
    int64_t layer;           /* of a, by place */
    int64_t first;           /* item of a part */
    int64_t cross_size[OTIMES_SIDES];
    float *cross;    /* [workers, sides after one another] a head's side by a layer's */
    double *scratch; /* [workers, scratch_size] */
    int64_t cross_total, scratch_size;
} work;

/* What one worker has before it. */
typedef struct bench {
    float *cross[OTIMES_SIDES]; /* [rows of a, heads of b's layer, rows of b] */
    double *scratch;
} bench;

static int64_t per_layer(const compare_model *m, int side)
{
    return m->side[side].heads;
}

/* ---- where results go ---- */

static int64_t columns_of(const compare_pairs *p, bool shared)
{
    return p->layers * (shared ? p->kv_heads : p->heads);
}

/* Index of a pair; rows by node of its kind, columns by layer and head. */
static int64_t cell_of(const compare_pairs *p, bool shared, int64_t row, int64_t layer,
                       int64_t head)
{
    const int64_t heads = shared ? p->kv_heads : p->heads;
    return row * p->layers * heads + layer * heads + head;
}

/* A pair, and the cell of the same two in the other order. */
typedef struct cells {
    int64_t at, mirrored; /* mirrored -1: none */
} cells;

static cells cells_of(const work *w, bool shared, int64_t row, int64_t layer, int64_t head)
{
    const compare_pairs *p = &w->job->pairs;
    const int64_t heads = shared ? w->a->kv_heads : w->a->heads;
    return (cells){cell_of(p, shared, row, layer, head),
                   w->job->self ? cell_of(p, shared, layer * heads + head, row / heads, row % heads)
                                : -1};
}

static void put(const work *w, int array, cells where, double value)
{
    double *data = w->job->pairs.array[array];
    if (data) {
        data[where.at] = value;
        if (where.mirrored >= 0) {
            data[where.mirrored] = value;
        }
    }
}

/* ---- sides ---- */

/* T of a head's side with all heads of a layer of b. */
static void cross_gram(const work *w, int side, int64_t head, int64_t layer, bench *at)
{
    const compare_side *a = &w->a->side[side], *b = &w->bridge->side[side];
    const int64_t wide = b->heads * b->rows;
    if (w->need[side]) {
        otimes_la_default->sgemm(false, true, a->rows, wide, a->width, 1,
                                 a->basis + (w->layer * a->heads + head) * a->rows * a->width,
                                 a->width, b->basis + layer * wide * b->width, b->width, 0,
                                 at->cross[side], wide);
    }
}

static int put_angles(const work *w, int side, cells where, int64_t p, int64_t q, const float *T,
                      int64_t ld, double *scratch, otimes_err *err)
{
    const int64_t n = p < q ? p : q, all = w->job->pairs.components;
    double *values = scratch + p * q, sum = 0;
    for (int64_t i = 0; i < p; i++) {
        for (int64_t j = 0; j < q; j++) {
            scratch[i * q + j] = (double)T[i * ld + j];
        }
    }
    if (n == 0) {
        return OTIMES_OK;
    }
    const int rc = otimes_la_default->dsvd(p, q, scratch, q, values, NULL, n, NULL, n);
    if (rc != OTIMES_OK) {
        return otimes_fail(err, rc, "SVD of a cross Gram: %s", otimes_strerror(rc));
    }
    double *cosines = w->job->pairs.array[PAIR_COSINES + side];
    for (int64_t k = 0; k < n; k++) {
        values[k] = fmin(values[k], 1); /* above it by rounding alone */
        sum += values[k];
        if (cosines) {
            cosines[where.at * all + k] = values[k];
            if (where.mirrored >= 0) {
                cosines[where.mirrored * all + k] = values[k];
            }
        }
    }
    put(w, PAIR_LARGEST + side, where, values[0]);
    put(w, PAIR_MEAN + side, where, sum / (double)n);
    return OTIMES_OK;
}

/* Projection kernel and principal angles of one side of a head with that of another. */
static int measure_side(const work *w, int side, int64_t head, int64_t layer, int64_t other,
                        const bench *at, otimes_err *err)
{
    const compare_side *a = &w->a->side[side], *b = &w->bridge->side[side];
    const int64_t ld = b->heads * b->rows, row = w->layer * a->heads + head;
    const int64_t p = a->rank[row], q = b->rank[layer * b->heads + other], n = p < q ? p : q;
    const float *T = at->cross[side] + other * b->rows;
    const cells where = cells_of(w, compare_shared(side), row, layer, other);
    if (w->job->measures & OTIMES_COMPARE_KERNEL) {
        const int64_t d = (int64_t)w->bridge->dimension[side];
        double sum = 0, z = NAN;
        for (int64_t i = 0; i < p; i++) {
            for (int64_t j = 0; j < q; j++) {
                sum += (double)T[i * ld + j] * (double)T[i * ld + j];
            }
        }
        if (n > 0 && w->bridge->haar && p <= d && q <= d) {
            z = otimes_haar_z(otimes_haar_kernel(d, p, q), sum);
        }
        put(w, PAIR_KERNEL + side, where, n > 0 ? sum / (double)n : NAN);
        put(w, PAIR_KERNEL_Z + side, where, z);
    }
    return w->job->measures & OTIMES_COMPARE_ANGLES
               ? put_angles(w, side, where, p, q, T, ld, at->scratch, err)
               : OTIMES_OK;
}

static bool mirrored_later(const work *w, bool shared, int64_t head, int64_t layer, int64_t other)
{
    const int64_t heads = shared ? w->a->kv_heads : w->a->heads;
    return w->job->self && layer * heads + other < w->layer * heads + head;
}

static int measure_sides(const work *w, int side, int64_t head, int64_t layer, const bench *at,
                         otimes_err *err)
{
    int rc = OTIMES_OK;
    if (!(w->job->measures & (OTIMES_COMPARE_KERNEL | OTIMES_COMPARE_ANGLES))) {
        return rc;
    }
    for (int64_t j = 0; rc == OTIMES_OK && j < per_layer(w->b, side); j++) {
        if (!mirrored_later(w, compare_shared(side), head, layer, j)) {
            rc = measure_side(w, side, head, layer, j, at, err);
        }
    }
    return rc;
}

/* ---- circuits ---- */

static void put_cka(const work *w, int c, cells where, const compare_pair *p, double cka)
{
    const double d = w->bridge->dimension[compare_left[c]];
    const double n1 = p->one->norm[p->i], n2 = p->two->norm[p->j];
    const double s1 = p->one->squares[p->i], s2 = p->two->squares[p->j];
    const otimes_spectrum_sums one = {n1 * n1, s1 * s1}, two = {n2 * n2, s2 * s2};
    const bool known = s1 > 0 && s2 > 0;
    put(w, PAIR_CKA + c, where, cka);
    put(w, PAIR_CKA_EXPECTED + c, where, known ? one.trace * two.trace / (d * s1 * s2) : NAN);
    put(w, PAIR_CKA_Z + c, where,
        known && w->bridge->haar ? otimes_haar_z(otimes_haar_cka((int64_t)d, one, two), cka) : NAN);
}

/* W_OV or W_QK of a head of a and one of b. */
static int measure_circuit(const work *w, int c, int64_t head, int64_t layer, int64_t other,
                           const bench *at, otimes_err *err)
{
    const int measures = w->job->measures, l = compare_left[c], r = compare_right[c];
    const compare_side *al = &w->a->side[l], *ar = &w->a->side[r];
    const compare_side *bl = &w->bridge->side[l], *br = &w->bridge->side[r];
    const int64_t left = compare_shared(l) ? w->b->kv_of[other] : other;
    const int64_t right = compare_shared(r) ? w->b->kv_of[other] : other;
    const compare_pair p = {.one = &w->a->circuit[c],
                            .two = &w->b->circuit[c],
                            .i = w->layer * w->a->heads + head,
                            .j = layer * w->b->heads + other,
                            .rows_left = {al->rows, bl->rows},
                            .rows_right = {ar->rows, br->rows},
                            .left = at->cross[l] + left * bl->rows,
                            .right = at->cross[r] + right * br->rows,
                            .ld_left = bl->heads * bl->rows,
                            .ld_right = br->heads * br->rows};
    const cells where = cells_of(w, false, p.i, layer, other);
    int rc = OTIMES_OK;
    otimes_compare_product(&p, at->scratch);
    if (measures & OTIMES_COMPARE_COSINE) {
        const double cosine = otimes_compare_cosine(&p, at->scratch);
        put(w, PAIR_COSINE + c, where, cosine);
        put(w, PAIR_COSINE_Z + c, where,
            cosine * sqrt(w->bridge->dimension[l] * w->bridge->dimension[r]));
    }
    if (measures & OTIMES_COMPARE_CKA) {
        put_cka(w, c, where, &p, otimes_compare_cka(&p, at->scratch));
    }
    if (measures & OTIMES_COMPARE_PROCRUSTES) {
        double s;
        rc = otimes_compare_procrustes(&p, at->scratch, &s, err);
        if (rc == OTIMES_OK) {
            put(w, PAIR_PROCRUSTES + c, where, s);
            put(w, PAIR_DISTANCE + c, where, isnan(s) ? NAN : sqrt(fmax(0, 2 - 2 * s)));
        }
    }
    return rc;
}

static int measure_head(const work *w, int64_t head, int64_t layer, bench *at, otimes_err *err)
{
    const int circuits = OTIMES_COMPARE_COSINE | OTIMES_COMPARE_CKA | OTIMES_COMPARE_PROCRUSTES;
    int rc = OTIMES_OK;
    for (int side = 0; rc == OTIMES_OK && side < OTIMES_SIDES; side++) {
        if (!compare_shared(side)) {
            cross_gram(w, side, head, layer, at);
            rc = measure_sides(w, side, head, layer, at, err);
        }
    }
    for (int64_t j = 0; rc == OTIMES_OK && (w->job->measures & circuits) && j < w->b->heads; j++) {
        for (int c = 0; rc == OTIMES_OK && c < COMPARE_CIRCUITS; c++) {
            if (!mirrored_later(w, false, head, layer, j)) {
                rc = measure_circuit(w, c, head, layer, j, at, err);
            }
        }
    }
    return rc;
}

/* Item: a group of a's query heads in the layer at hand, and a layer of b. */
static int measure_group(void *context, int64_t at_part, int worker, otimes_err *err)
{
    const work *w = context;
    const int64_t item = w->first + at_part;
    const int64_t group = item / w->b->layers, layer = item % w->b->layers;
    bench at = {.scratch = w->scratch + worker * w->scratch_size};
    float *cross = w->cross + worker * w->cross_total;
    int rc = OTIMES_OK;
    if (w->job->self && layer < w->layer) {
        return rc;
    }
    for (int side = 0; side < OTIMES_SIDES; side++) {
        at.cross[side] = cross;
        cross += w->cross_size[side];
    }
    for (int side = 0; rc == OTIMES_OK && side < OTIMES_SIDES; side++) {
        if (compare_shared(side)) {
            cross_gram(w, side, group, layer, &at);
            rc = measure_sides(w, side, group, layer, &at, err);
        }
    }
    for (int64_t head = 0; rc == OTIMES_OK && head < w->a->heads; head++) {
        if (w->a->kv_of[head] == group) {
            rc = measure_head(w, head, layer, &at, err);
        }
    }
    return rc;
}

/* ---- all ---- */

static void clear(compare_pairs *p, const compare_model *a)
{
    for (int i = 0; i < PAIR_ARRAYS; i++) {
        const bool sides = (i >= PAIR_KERNEL && i < PAIR_SIMILARITY);
        const bool shared = sides && compare_shared((i - PAIR_KERNEL) % OTIMES_SIDES);
        const int64_t rows = a->layers * (shared ? a->kv_heads : a->heads);
        const int64_t each = i >= PAIR_COSINES && i < PAIR_SIMILARITY ? p->components : 1;
        for (int64_t k = 0; p->array[i] && k < rows * columns_of(p, shared) * each; k++) {
            p->array[i][k] = NAN;
        }
    }
}

/* The mean of the measure chosen, over circuits or sides. */
static void put_similarity(compare_job *job, const compare_model *a, const compare_model *b)
{
    static const int first[] = {[OTIMES_COMPARE_BY_CKA] = PAIR_CKA,
                                [OTIMES_COMPARE_BY_COSINE] = PAIR_COSINE,
                                [OTIMES_COMPARE_BY_PROCRUSTES] = PAIR_PROCRUSTES,
                                [OTIMES_COMPARE_BY_KERNEL] = PAIR_KERNEL};
    const compare_pairs *p = &job->pairs;
    const otimes_compare_similarity by = job->settings->similarity;
    const int count = by == OTIMES_COMPARE_BY_KERNEL ? OTIMES_SIDES : COMPARE_CIRCUITS;
    for (int64_t i = 0; i < a->nodes; i++) {
        for (int64_t j = 0; j < b->nodes; j++) {
            const int64_t layer = j / b->heads, head = j % b->heads;
            double sum = 0;
            for (int k = 0; k < count; k++) {
                const bool shared = by == OTIMES_COMPARE_BY_KERNEL && compare_shared(k);
                const int64_t row =
                    shared ? i / a->heads * a->kv_heads + a->kv_of[i % a->heads] : i;
                sum += p->array[first[by] + k]
                               [cell_of(p, shared, row, layer, shared ? b->kv_of[head] : head)];
            }
            p->array[PAIR_SIMILARITY][cell_of(p, false, i, layer, head)] = sum / count;
        }
    }
}

static int64_t most_rows(const compare_model *a, const compare_model *b)
{
    int64_t most = 0;
    for (int side = 0; side < OTIMES_SIDES; side++) {
        most = a->side[side].rows > most ? a->side[side].rows : most;
        most = b->side[side].rows > most ? b->side[side].rows : most;
    }
    return most;
}

int otimes_compare_pairs(compare_job *job, const compare_model *a, const compare_model *b,
                         const compare_bridge *bridge, double done, double share, otimes_err *err)
{
    const int left = OTIMES_COMPARE_CKA | OTIMES_COMPARE_PROCRUSTES | OTIMES_COMPARE_COSINE;
    const int every = OTIMES_COMPARE_COSINE | OTIMES_COMPARE_KERNEL | OTIMES_COMPARE_ANGLES;
    enum { PART = 32 }; /* items between two words about progress */
    const int64_t items = a->kv_heads * b->layers;
    const int workers = otimes_par_workers(items, job->threads);
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    work w = {.job = job, .a = a, .b = b, .bridge = bridge};
    for (int side = 0; side < OTIMES_SIDES; side++) {
        const bool is_left = side == OTIMES_SIDE_Q || side == OTIMES_SIDE_V;
        w.need[side] = job->measures & (is_left ? left | every : every);
        w.cross_size[side] =
            a->side[side].rows * bridge->side[side].heads * bridge->side[side].rows;
        w.cross_total += w.cross_size[side];
    }
    w.scratch_size = otimes_compare_scratch(most_rows(a, b));
    w.cross = otimes_pool_new(&pool, workers * w.cross_total, sizeof *w.cross, &rc, err);
    w.scratch = otimes_pool_new(&pool, workers * w.scratch_size, sizeof *w.scratch, &rc, err);
    clear(&job->pairs, a);
    for (; rc == OTIMES_OK && w.layer < a->layers; w.layer++) {
        for (w.first = 0; rc == OTIMES_OK && w.first < items; w.first += PART) {
            const int64_t count = items - w.first < PART ? items - w.first : PART;
            rc = otimes_par_for(count, job->threads, measure_group, &w, err);
            if (rc == OTIMES_OK) {
                const double within = (double)(w.first + count) / (double)items;
                const double part = ((double)w.layer + within) / (double)a->layers;
                rc = otimes_pulse_say(job->pulse,
                                      done + share * (job->self ? part * (2 - part) : part), err);
            }
        }
    }
    if (rc == OTIMES_OK) {
        put_similarity(job, a, b);
    }
    otimes_pool_free(&pool);
    return rc;
}
