/* SPDX-License-Identifier: MIT
 *
 * How large a product of a row with any row of another set can be, without the products. By
 * Cauchy-Schwarz in two inner products: the plain one, and that in which the other set is round,
 * a . b = (a L) . (L^-1 b) with L L^T its second moments. Queries and outputs lie along few
 * directions, which the second one knows; few of them stand far out, which the first one bears.
 */
#include <math.h>
#include <string.h>

#include "analysis/trigrams_job.h"
#include "base/par.h"
#include "num/la.h"
#include "run/rope.h"

enum { ROWS = 64 };

/* Norms of the rows of x map. */
typedef struct norms {
    const float *x;
    int64_t rows, e;
    const double *map; /* [e, e]; NULL: as they are */
    double *space;     /* [workers, 2 ROWS e] */
    double *norm;      /* [rows] */
} norms;

static int norms_of_tile(void *context, int64_t item, int worker, otimes_err *err)
{
    const norms *n = context;
    const int64_t e = n->e, first = item * ROWS;
    const int64_t rows = n->rows - first < ROWS ? n->rows - first : ROWS;
    double *wide = n->space + worker * 2 * ROWS * e, *mapped = wide + ROWS * e;
    (void)err;
    for (int64_t i = 0; i < rows * e; i++) {
        wide[i] = (double)n->x[first * e + i];
    }
    if (n->map) {
        otimes_la_default->dgemm(false, false, rows, e, e, 1, wide, e, n->map, e, 0, mapped, e);
    }
    const double *from = n->map ? mapped : wide;
    for (int64_t i = 0; i < rows; i++) {
        double square = 0;
        for (int64_t j = 0; j < e; j++) {
            square += from[i * e + j] * from[i * e + j];
        }
        n->norm[first + i] = sqrt(square);
    }
    return OTIMES_OK;
}

static int row_norms(const norms *n, int threads, otimes_err *err)
{
    return otimes_par_for((n->rows + ROWS - 1) / ROWS, threads, norms_of_tile, (void *)n, err);
}

static double largest(const double *x, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, x[i]);
    }
    return most;
}

/* Second moments of the rows, and so much of their mean on the diagonal that L^-1 is tame: any L
 * that has an inverse gives a bound. */
static void second_moments(const float *x, int64_t rows, int64_t e, double *wide, double *moments)
{
    double trace = 0;
    memset(moments, 0, (size_t)(e * e) * sizeof *moments);
    for (int64_t first = 0; first < rows; first += ROWS) {
        const int64_t count = rows - first < ROWS ? rows - first : ROWS;
        for (int64_t i = 0; i < count * e; i++) {
            wide[i] = (double)x[first * e + i];
        }
        otimes_la_default->dsyrk(count, e, wide, e, moments, e);
    }
    for (int64_t j = 0; j < e; j++) {
        trace += moments[j * e + j];
    }
    for (int64_t j = 0; j < e; j++) {
        moments[j * e + j] += 1e-3 * trace / (double)e;
    }
}

/* Upper triangle of G into L with L L^T = G; false where G is not positive. */
static bool factor(int64_t e, const double *g, double *l)
{
    memset(l, 0, (size_t)(e * e) * sizeof *l);
    for (int64_t j = 0; j < e; j++) {
        for (int64_t i = j; i < e; i++) {
            double sum = g[j * e + i];
            for (int64_t k = 0; k < j; k++) {
                sum -= l[i * e + k] * l[j * e + k];
            }
            if (i == j && !(sum > 0)) {
                return false;
            }
            l[i * e + j] = i == j ? sqrt(sum) : sum / l[j * e + j];
        }
    }
    return true;
}

/* L^-T, the map of rows b to (L^-1 b^T)^T. */
static void invert(int64_t e, const double *l, double *inverse)
{
    memset(inverse, 0, (size_t)(e * e) * sizeof *inverse);
    for (int64_t column = 0; column < e; column++) {
        double *x = inverse + column * e; /* row of the transpose: column of L^-1 */
        for (int64_t i = column; i < e; i++) {
            double sum = i == column;
            for (int64_t k = column; k < i; k++) {
                sum -= l[i * e + k] * x[k];
            }
            x[i] = sum / l[i * e + i];
        }
    }
}

/* Rows turned by an offset before they are mapped by L: R L, and by how much turning can grow. */
static double turn(const trigrams_turn *t, int64_t e, double *l)
{
    if (!t) {
        return 1;
    }
    /* Turning acts on rows x R; R L has the columns of L as rows turned the other way. */
    for (int64_t i = 0; i < e; i++) {
        for (int64_t j = i + 1; j < e; j++) {
            const double kept = l[i * e + j];
            l[i * e + j] = l[j * e + i];
            l[j * e + i] = kept;
        }
    }
    otimes_rope_rotate_key(t->rope, t->frequency, -t->delta, e, e, l);
    for (int64_t i = 0; i < e; i++) {
        for (int64_t j = i + 1; j < e; j++) {
            const double kept = l[i * e + j];
            l[i * e + j] = l[j * e + i];
            l[j * e + i] = kept;
        }
    }
    return fmax(1, t->rope->magnitude * t->rope->magnitude);
}

typedef struct room {
    double *space, *other, *moments, *l, *inverse;
    otimes_pool pool;
} room;

static int new_room(room *r, int64_t rows, int64_t others, int64_t e, int threads, otimes_err *err)
{
    const int64_t most = rows > others ? rows : others;
    const int workers = otimes_par_workers((most + ROWS - 1) / ROWS, threads);
    const size_t size = sizeof(double);
    int rc = OTIMES_OK;
    r->space = otimes_pool_new(&r->pool, workers * 2 * ROWS * e, size, &rc, err);
    r->other = otimes_pool_new(&r->pool, most, size, &rc, err);
    r->moments = otimes_pool_new(&r->pool, e * e, size, &rc, err);
    r->l = otimes_pool_new(&r->pool, e * e, size, &rc, err);
    r->inverse = otimes_pool_new(&r->pool, e * e, size, &rc, err);
    return rc;
}

int otimes_trigrams_bound(const float *rows, int64_t count, const float *others,
                          int64_t other_count, int64_t e, const trigrams_turn *turned, int threads,
                          double *bound, otimes_err *err)
{
    room r = {.pool = {0}};
    int rc = new_room(&r, count, other_count, e, threads, err);
    norms a = {rows, count, e, NULL, r.space, bound};
    norms b = {others, other_count, e, NULL, r.space, r.other};
    if (rc == OTIMES_OK) {
        rc = row_norms(&b, threads, err);
    }
    if (rc == OTIMES_OK) {
        rc = row_norms(&a, threads, err);
    }
    if (rc != OTIMES_OK) {
        otimes_pool_free(&r.pool);
        return rc;
    }
    const double plain = largest(r.other, other_count);
    second_moments(others, other_count, e, r.space, r.moments);
    const bool round = factor(e, r.moments, r.l);
    if (round) {
        invert(e, r.l, r.inverse);
        b.map = r.inverse;
        rc = row_norms(&b, threads, err);
    }
    const double rounded = round ? largest(r.other, other_count) : 0;
    const double grown = turn(turned, e, r.l);
    a.map = r.l;
    a.norm = r.other;
    if (rc == OTIMES_OK && round) {
        rc = row_norms(&a, threads, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        bound[i] *= grown * plain;
        bound[i] = round ? fmin(bound[i], r.other[i] * rounded) : bound[i];
    }
    otimes_pool_free(&r.pool);
    return rc;
}
