/* SPDX-License-Identifier: MIT
 *
 * Singular values by one-sided Jacobi rotations on the triangular factor of a QR: short, accurate
 * to the last bits for every singular value that the scaling of the rows determines, and without
 * the corner cases of bidiagonal QR. After J. Demmel, K. Veselic, "Jacobi's method is more accurate
 * than QR", SIAM J. Matrix Anal. Appl. 13 (1992) 1204, and Z. Drmac, K. Veselic, "New fast and
 * accurate Jacobi SVD algorithm I", ibid. 29 (2008) 1322.
 */
#include "num/la_reference.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "num/la_order.h"

enum { SWEEPS = 60 };

/* Rows whose squared norm is below this (the largest entry of the matrix is near 1) are set to
 * zero: their squares would lose bits to underflow, and no backward error bound can see them. */
static const double negligible = 1e-280;

static double dot(int64_t n, const double *x, const double *y)
{
    double lane[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (int l = 0; l < 4; l++) {
            lane[l] += x[i + l] * y[i + l];
        }
    }
    for (; i < n; i++) {
        lane[0] += x[i] * y[i];
    }
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

static double norm2_or_zero(int64_t n, double *x)
{
    const double norm2 = dot(n, x, x);
    if (norm2 > negligible) {
        return norm2;
    }
    memset(x, 0, (size_t)n * sizeof *x);
    return 0;
}

/* (x, y) = (c x - s y, s x + c y) */
static void rotate(int64_t n, double c, double s, double *restrict x, double *restrict y)
{
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (int l = 0; l < 4; l++) {
            const double a = x[i + l], b = y[i + l];
            x[i + l] = c * a - s * b;
            y[i + l] = s * a + c * b;
        }
    }
    for (; i < n; i++) {
        const double a = x[i], b = y[i];
        x[i] = c * a - s * b;
        y[i] = s * a + c * b;
    }
}

static void swap_rows(int64_t n, double *restrict x, double *restrict y)
{
    for (int64_t i = 0; i < n; i++) {
        const double a = x[i];
        x[i] = y[i];
        y[i] = a;
    }
}

/* Makes rows p and q of W orthogonal unless they are already, the longer one at p; g, when not
 * NULL, takes the same rotation. Returns whether anything changed: an exchange counts, since after
 * it the sweep misses pairs. */
static bool orthogonalise(int64_t n, double *w, double *g, double *norm2, int64_t p, int64_t q)
{
    double *x = w + p * n, *y = w + q * n;
    const bool exchange = norm2[p] < norm2[q];
    if (exchange) {
        swap_rows(n, x, y);
        if (g) {
            swap_rows(n, g + p * n, g + q * n);
        }
        const double other = norm2[p];
        norm2[p] = norm2[q];
        norm2[q] = other;
    }
    if (norm2[q] == 0) {
        return exchange;
    }
    const double product = dot(n, x, y);
    if (fabs(product) <= DBL_EPSILON * sqrt((double)n) * sqrt(norm2[p]) * sqrt(norm2[q])) {
        return exchange;
    }
    /* The smaller root of t^2 + 2 zeta t = 1: the rotation by at most 45 degrees. For rows
     * of very different length zeta^2 would overflow and t vanish, while t x still matters to y. */
    const double zeta = (norm2[q] - norm2[p]) / (2 * product);
    const double t =
        fabs(zeta) > 1e100 ? 0.5 / zeta : copysign(1, zeta) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    const double c = 1 / sqrt(1 + t * t);
    rotate(n, c, c * t, x, y);
    if (g) {
        rotate(n, c, c * t, g + p * n, g + q * n);
    }
    norm2[p] = norm2_or_zero(n, x);
    norm2[q] = norm2_or_zero(n, y);
    return true;
}

/* Rotates the rows of W [n,n] until they are orthogonal: W becomes diag(norms) V^T. Rows of R and
 * not columns: R's rows fall in length, and on R^T the sweeps converge faster than on R. */
static int jacobi(int64_t n, double *w, double *g, double *norm2)
{
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        for (int64_t i = 0; i < n; i++) {
            norm2[i] = norm2_or_zero(n, w + i * n);
        }
        bool turned = false;
        for (int64_t p = 0; p + 1 < n; p++) {
            for (int64_t q = p + 1; q < n; q++) {
                turned |= orthogonalise(n, w, g, norm2, p, q);
            }
        }
        if (!turned) {
            return OTIMES_OK;
        }
    }
    return OTIMES_ERR_CONVERGENCE;
}

/* Column k of V [n,.] := a unit vector orthogonal to the k columns before it: the coordinate vector
 * that these cover least (at most a part k/n of it), orthogonalised twice. */
static void complete(int64_t n, int64_t k, double *v, int64_t ldv)
{
    int64_t best = 0;
    double least = 2;
    for (int64_t i = 0; i < n; i++) {
        const double covered = dot(k, v + i * ldv, v + i * ldv);
        if (covered < least) {
            least = covered;
            best = i;
        }
    }
    for (int64_t i = 0; i < n; i++) {
        v[i * ldv + k] = i == best;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t j = 0; j < k; j++) {
            double sum = 0;
            for (int64_t i = 0; i < n; i++) {
                sum += v[i * ldv + j] * v[i * ldv + k];
            }
            for (int64_t i = 0; i < n; i++) {
                v[i * ldv + k] -= sum * v[i * ldv + j];
            }
        }
    }
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += v[i * ldv + k] * v[i * ldv + k];
    }
    for (int64_t i = 0; i < n; i++) {
        v[i * ldv + k] /= sqrt(sum);
    }
}

/* s and, when not NULL, v from the orthogonal rows of W, which the sweeps leave in falling order.
 */
static void finish(int64_t n, const double *w, const double *norm2, double *s, double *v,
                   int64_t ldv)
{
    for (int64_t k = 0; k < n; k++) {
        s[k] = sqrt(norm2[k]);
        if (!v) {
            continue;
        }
        if (s[k] == 0) {
            complete(n, k, v, ldv);
            continue;
        }
        for (int64_t i = 0; i < n; i++) {
            v[i * ldv + k] = w[k * n + i] / s[k];
        }
    }
}

/* m >= n. A = Q R, G R = W = diag(s) V^T, so that A = (Q G^T) diag(s) V^T. */
static int svd_tall(int64_t m, int64_t n, double *a, int64_t lda, double *s, double *u, int64_t ldu,
                    double *v, int64_t ldv)
{
    double *w = NULL, *norm2 = NULL, *q = NULL, *g = NULL;
    int64_t square, tall;
    int rc = OTIMES_ERR_MEMORY;
    if (!otimes_mul_i64(n, n, &square) ||
        !otimes_mul_i64(m, n, &tall)) { /* unreached: too many to hold */
        goto done;
    }
    w = otimes_alloc(square, sizeof *w);
    norm2 = otimes_alloc(n, sizeof *norm2);
    q = u ? otimes_alloc(tall, sizeof *q) : NULL;
    g = u ? otimes_alloc(square, sizeof *g) : NULL;
    if (!w || !norm2 || (u && (!q || !g))) {
        goto done;
    }
    const double power = otimes_reference_scale(m, n, a, lda);
    rc = otimes_reference_dqr(m, n, a, lda, q, n, w, n);
    if (rc) {
        goto done;
    }
    for (int64_t i = 0; i < n && g; i++) {
        g[i * n + i] = 1;
    }
    rc = jacobi(n, w, g, norm2);
    if (rc) { /* unreached: sweeps converge on what is finite */
        goto done;
    }
    finish(n, w, norm2, s, v, ldv);
    for (int64_t i = 0; i < n; i++) {
        s[i] /= power;
    }
    if (u) {
        otimes_reference_dgemm(false, true, m, n, n, 1, q, n, g, n, 0, u, ldu);
    }
done:
    otimes_free(w);
    otimes_free(norm2);
    otimes_free(q);
    otimes_free(g);
    return rc;
}

int otimes_reference_dsvd(int64_t m, int64_t n, double *a, int64_t lda, double *s, double *u,
                          int64_t ldu, double *v, int64_t ldv)
{
    if (!otimes_matrix_is_finite(m, n, a, lda)) {
        return OTIMES_ERR_VALUE;
    }
    if (m >= n) {
        return svd_tall(m, n, a, lda, s, u, ldu, v, ldv);
    }
    int64_t count;
    double *turned = otimes_mul_i64(m, n, &count) ? otimes_alloc(count, sizeof *turned) : NULL;
    if (!turned) {
        return OTIMES_ERR_MEMORY;
    }
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            turned[j * m + i] = a[i * lda + j];
        }
    }
    const int rc = svd_tall(n, m, turned, m, s, v, ldv, u, ldu);
    otimes_free(turned);
    return rc;
}
