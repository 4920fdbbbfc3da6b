/* SPDX-License-Identifier: MIT
 *
 * Random subspaces, drawn: principal angles, and what of Procrustes has no closed form.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "num/haar.h"

#include "base/mem.h"
#include "num/la.h"
#include "num/sample.h"

/* ---- variates; each sample has a stream of its own ---- */

typedef struct stream {
    uint64_t seed, sample, drawn;
} stream;

static double uniform(stream *s)
{
    return otimes_uniform_of(s->seed, s->sample, s->drawn++);
}

/* Box and Muller 1958; 1 - u is never 0. */
static double normal(stream *s)
{
    const double radius = sqrt(-2 * log(1 - uniform(s)));
    return radius * cos(6.283185307179586 * uniform(s));
}

/* Chi squared of k > 0 degrees of freedom. Marsaglia and Tsang 2000, "A simple method for
 * generating gamma variables", takes a shape k / 2 of at least 1; below that it is a square. */
static double chi_squared(stream *s, int64_t k)
{
    if (k == 1) {
        const double x = normal(s);
        return x * x;
    }
    const double d = (double)k / 2 - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        const double x = normal(s), root = 1 + c * x, v = root * root * root;
        if (v > 0 && log(1 - uniform(s)) < x * x / 2 + d - d * v + d * log(v)) {
            return 2 * d * v;
        }
    }
}

/* Cosine and sine of an angle with cos^2 from Beta(a / 2, b / 2), a and b whole. */
static void beta_angle(stream *s, int64_t a, int64_t b, double *cosine, double *sine)
{
    const double x = chi_squared(s, a), y = chi_squared(s, b);
    *cosine = sqrt(x / (x + y));
    *sine = sqrt(y / (x + y));
}

/* ---- means ---- */

/* Welford 1962; a zeroed one is empty. */
typedef struct tally {
    int64_t count;
    double mean, squares;
} tally;

static void add(tally *t, double x)
{
    const double from_mean = x - t->mean;
    t->mean += from_mean / (double)++t->count;
    t->squares += from_mean * (x - t->mean);
}

static void finish(const tally *t, otimes_estimate *estimate)
{
    if (estimate) {
        estimate->mean = t->mean;
        estimate->variance = t->count > 1 ? t->squares / (double)(t->count - 1) : NAN;
        estimate->error = sqrt(estimate->variance / (double)t->count);
    }
}

static int check(int64_t d, int64_t p, int64_t q, int64_t samples, otimes_err *err)
{
    if (p < 1 || p > d || q < 1 || q > d) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "random subspaces: expected 1 to %lld dimensions, got %lld and %lld",
                           (long long)d, (long long)p, (long long)q);
    }
    return samples < 1 ? otimes_fail(err, OTIMES_ERR_ARGUMENT,
                                     "random subspaces: samples: expected at least 1, got %lld",
                                     (long long)samples)
                       : OTIMES_OK;
}

/* ---- principal angles ---- */

/* The tridiagonal B^T B of the bidiagonal B [m, m] of Edelman and Sutton for angles of subspaces of
 * m and m + a dimensions in 2 m + a + b, in which i counts down:
 *     B diagonal  c_m, c_(m-1) s'_(m-1), ..., c_1 s'_1
 *     above it   -s_m c'_(m-1), ..., -s_2 c'_1
 * with c_i^2 from Beta((a + i) / 2, (b + i) / 2) and c'_i^2 from Beta(i / 2, (a + b + 1 + i) / 2). */
static void draw_jacobi(stream *s, int64_t m, int64_t a, int64_t b, double *diagonal, double *off)
{
    double above = 0, turn = 1; /* of this column: the entry over the diagonal, and s' */
    for (int64_t column = 0; column < m; column++) {
        const int64_t i = m - column;
        double cosine, sine, next;
        beta_angle(s, a + i, b + i, &cosine, &sine);
        const double entry = cosine * turn;
        diagonal[column] = entry * entry + above * above;
        if (i > 1) {
            beta_angle(s, i - 1, a + b + i, &next, &turn);
            above = -sine * next;
            off[column] = entry * above;
        }
    }
}

/* Where a chain of couplings from `from` on ends: the first that is nothing. */
static int64_t chain_end(int64_t m, int64_t from, const double *off, double nothing)
{
    while (from + 1 < m && fabs(off[from]) > nothing) {
        from++;
    }
    return from;
}

/* One implicit QL step with Wilkinson's shift on places l .. end (Bowdler, Martin, Reinsch and
 * Wilkinson 1968, "The QR and QL algorithms for symmetric matrices", tql1). */
static void ql_step(int64_t l, int64_t end, double *diagonal, double *off)
{
    const double half = (diagonal[l + 1] - diagonal[l]) / (2 * off[l]);
    double g =
        diagonal[end] - diagonal[l] + off[l] / (half + copysign(sqrt(half * half + 1), half));
    double sine = 1, cosine = 1, shift = 0;
    for (int64_t i = end - 1; i >= l; i--) {
        const double f = sine * off[i], b = cosine * off[i], r = sqrt(f * f + g * g);
        off[i + 1] = r;
        if (r == 0) { /* unreached: it falls apart here, both sides 0 to the last bit */
            diagonal[i + 1] -= shift;
            off[end] = 0;
            return;
        }
        sine = f / r;
        cosine = g / r;
        g = diagonal[i + 1] - shift;
        const double turned = (diagonal[i] - g) * sine + 2 * cosine * b;
        shift = sine * turned;
        diagonal[i + 1] = g + shift;
        g = cosine * turned - b;
    }
    diagonal[l] -= shift;
    off[l] = g;
    off[end] = 0;
}

/* Eigenvalues of a symmetric tridiagonal matrix in place of its diagonal; off [m], the last is room.
 * To eps times the largest of them: a dense routine would take m^3. */
static bool tridiagonal_eigenvalues(int64_t m, double *diagonal, double *off)
{
    enum { MOST_STEPS = 60 };
    double largest = 0;
    for (int64_t i = 0; i < m; i++) {
        largest = fmax(largest, diagonal[i]);
    }
    for (int64_t l = 0; l < m; l++) {
        int64_t end;
        for (int step = 0; (end = chain_end(m, l, off, DBL_EPSILON * largest)) != l; step++) {
            if (step == MOST_STEPS) {
                return false;
            }
            ql_step(l, end, diagonal, off);
        }
    }
    return true;
}

static int falling(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a < b) - (a > b);
}

/* All cosines of one draw, by falling size: `ones` of 1 and then those of the ensemble. */
static int draw_cosines(stream *s, int64_t ones, int64_t m, int64_t a, int64_t b, double *cosine,
                        double *off, otimes_err *err)
{
    double *others = cosine + ones;
    for (int64_t i = 0; i < ones; i++) {
        cosine[i] = 1;
    }
    draw_jacobi(s, m, a, b, others, off);
    if (!tridiagonal_eigenvalues(m, others, off)) { /* unreached: QL converges */
        return otimes_fail(err, OTIMES_ERR_CONVERGENCE,
                           "random subspaces: eigenvalues of a tridiagonal matrix of %lld rows did "
                           "not converge",
                           (long long)m);
    }
    for (int64_t i = 0; i < m; i++) {
        others[i] = sqrt(fmin(1, fmax(0, others[i])));
    }
    qsort(others, (size_t)m, sizeof *others, falling);
    return OTIMES_OK;
}

int otimes_haar_angles(int64_t d, int64_t p, int64_t q, int64_t samples, uint64_t seed,
                       otimes_estimate *largest, otimes_estimate *average, double *cosine,
                       otimes_err *err)
{
    int rc = check(d, p, q, samples, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    const int64_t count = p < q ? p : q, ones = p > d - q ? p - (d - q) : 0, m = count - ones;
    const int64_t a = p < q ? q - p : p - q, b = ones > 0 ? ones : d - p - q;
    otimes_pool pool = {0};
    double *drawn = otimes_pool_new(&pool, count, sizeof *drawn, &rc, err);
    double *off = otimes_pool_new(&pool, count, sizeof *off, &rc, err);
    tally first = {0}, all = {0}, *each = otimes_pool_new(&pool, count, sizeof *each, &rc, err);
    for (int64_t k = 0; k < samples && rc == OTIMES_OK; k++) {
        stream s = {seed, (uint64_t)k, 0};
        double sum = 0;
        rc = draw_cosines(&s, ones, m, a, b, drawn, off, err);
        for (int64_t i = 0; i < count; i++) {
            add(&each[i], drawn[i]);
            sum += drawn[i];
        }
        add(&first, drawn[0]);
        add(&all, sum / (double)count);
    }
    if (rc == OTIMES_OK) {
        finish(&first, largest);
        finish(&all, average);
        for (int64_t i = 0; cosine && i < count; i++) {
            cosine[i] = each[i].mean;
        }
    }
    otimes_pool_free(&pool);
    return rc;
}

/* ---- Procrustes ---- */

typedef struct procrustes {
    int64_t d, p, q; /* p >= q */
    const double *a, *b;
    int64_t rows;      /* p and as many as the R of the rest has */
    double *gaussian;  /* [rows, q] */
    double *basis, *r; /* [rows, q], [q, q] */
    double *core;      /* [p, q] */
    double *singular;  /* [q] */
} procrustes;

static void draw_gaussian(stream *s, const procrustes *w)
{
    for (int64_t i = 0; i < w->rows; i++) {
        for (int64_t j = 0; j < w->q; j++) {
            const int64_t below = i - w->p; /* row of R, or negative */
            w->gaussian[i * w->q + j] = below > j    ? 0
                                        : below == j ? sqrt(chi_squared(s, w->d - w->p - below))
                                                     : normal(s);
        }
    }
}

static int draw_nuclear_norm(stream *s, const procrustes *w, double *sum, otimes_err *err)
{
    const int64_t q = w->q;
    draw_gaussian(s, w);
    int rc = otimes_la_default->dqr(w->rows, q, w->gaussian, q, w->basis, q, w->r, q);
    for (int64_t i = 0; i < w->p * q; i++) {
        w->core[i] = w->a[i / q] * w->basis[i] * w->b[i % q];
    }
    if (rc == OTIMES_OK) {
        rc = otimes_la_default->dsvd(w->p, q, w->core, q, w->singular, NULL, 0, NULL, 0);
    }
    *sum = 0;
    for (int64_t i = 0; i < q; i++) {
        *sum += w->singular[i];
    }
    return rc == OTIMES_OK
               ? rc
               : otimes_fail(err, rc, "random subspaces: singular values [%lld, %lld]: %s",
                             (long long)w->p, (long long)q, otimes_strerror(rc));
}

static double norm_of(int64_t count, const double *values)
{
    return sqrt(otimes_gram_sums(count, values).trace);
}

int otimes_haar_procrustes(int64_t d, int64_t p, const double *a, int64_t q, const double *b,
                           bool normalised, int64_t samples, uint64_t seed,
                           otimes_estimate *estimate, otimes_err *err)
{
    int rc = check(d, p, q, samples, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (p < q) { /* the same norm, and the cheaper QR */
        return otimes_haar_procrustes(d, q, b, p, a, normalised, samples, seed, estimate, err);
    }
    procrustes w = {.d = d, .p = p, .q = q, .a = a, .b = b};
    w.rows = p + (d - p < q ? d - p : q);
    otimes_pool pool = {0};
    w.gaussian = otimes_pool_new(&pool, w.rows * q, sizeof *w.gaussian, &rc, err);
    w.basis = otimes_pool_new(&pool, w.rows * q, sizeof *w.basis, &rc, err);
    w.r = otimes_pool_new(&pool, q * q, sizeof *w.r, &rc, err);
    w.core = otimes_pool_new(&pool, p * q, sizeof *w.core, &rc, err);
    w.singular = otimes_pool_new(&pool, q, sizeof *w.singular, &rc, err);
    const double size = normalised ? norm_of(p, a) * norm_of(q, b) : 1;
    tally all = {0};
    for (int64_t k = 0; k < samples && rc == OTIMES_OK; k++) {
        stream s = {seed, (uint64_t)k, 0};
        double sum;
        rc = draw_nuclear_norm(&s, &w, &sum, err);
        add(&all, sum / size);
    }
    if (rc == OTIMES_OK) {
        finish(&all, estimate);
    }
    otimes_pool_free(&pool);
    return rc;
}
