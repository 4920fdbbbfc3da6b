/* SPDX-License-Identifier: MIT */
#include "num/orthonormal.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "num/la.h"

/* R with R^T R = G, upper, over the upper triangle of g [n, n]; false when a pivot is not positive. */
static bool cholesky(int64_t n, double *g)
{
    for (int64_t k = 0; k < n; k++) {
        double *row = g + k * n;
        if (!(row[k] > 0)) {
            return false;
        }
        const double pivot = sqrt(row[k]);
        for (int64_t j = k; j < n; j++) {
            row[j] /= pivot;
        }
        for (int64_t i = k + 1; i < n; i++) {
            for (int64_t j = i; j < n; j++) {
                g[i * n + j] -= row[i] * row[j];
            }
        }
    }
    return true;
}

/* out = R^-1 for upper R [n, n], by rows from the last. */
static void invert_upper(int64_t n, const double *r, double *out)
{
    memset(out, 0, (size_t)(n * n) * sizeof *out);
    for (int64_t i = n - 1; i >= 0; i--) {
        double *row = out + i * n;
        row[i] = 1;
        for (int64_t k = i + 1; k < n; k++) {
            for (int64_t j = k; j < n; j++) {
                row[j] -= r[i * n + k] * out[k * n + j];
            }
        }
        for (int64_t j = i; j < n; j++) {
            row[j] /= r[i * n + i];
        }
    }
}

/* Whether Q [rows, n] has orthonormal columns, to 1e-9 in every entry of Q^T Q. */
static bool is_orthonormal(int64_t rows, int64_t n, const double *q, double *gram)
{
    memset(gram, 0, (size_t)(n * n) * sizeof *gram);
    otimes_la_default->dsyrk(rows, n, q, n, gram, n);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i; j < n; j++) {
            if (!(fabs(gram[i * n + j] - (i == j)) <= 1e-9)) {
                return false;
            }
        }
    }
    return true;
}

/* q [rows, n] and r [n, n]; scratch [2, n, n]. False where the columns are too nearly dependent. */
static bool by_cholesky(int64_t rows, int64_t n, const double *x, double *q, double *r,
                        double *scratch)
{
    double *inverse = scratch, *gram = scratch + n * n;
    memset(r, 0, (size_t)(n * n) * sizeof *r);
    otimes_la_default->dsyrk(rows, n, x, n, r, n);
    if (!cholesky(n, r)) {
        return false;
    }
    invert_upper(n, r, inverse);
    otimes_la_default->dgemm(false, false, rows, n, n, 1.0, x, n, inverse, n, 0.0, q, n);
    return is_orthonormal(rows, n, q, gram);
}

/* The same where columns depend on one another; r [min(rows, n), n], q [rows, min(rows, n)]. */
static int by_householder(int64_t rows, int64_t n, const double *x, double *q, double *r,
                          otimes_err *err)
{
    double *copy;
    int rc = OTIMES_NEW(&copy, rows * n, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    memcpy(copy, x, (size_t)(rows * n) * sizeof *copy);
    rc = otimes_la_default->dqr(rows, n, copy, n, q, rows < n ? rows : n, r, n);
    otimes_free(copy);
    return rc == OTIMES_OK ? rc : otimes_fail(err, rc, "QR: %s", otimes_strerror(rc));
}

int otimes_orthonormal_rows(int64_t rows, int64_t columns, const double *x, float *b,
                            double *factor, otimes_err *err)
{
    const int64_t n = columns, r = rows < columns ? rows : columns;
    double *q;
    int rc = OTIMES_NEW(&q, rows * n + 2 * n * n, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (rows < n || !by_cholesky(rows, n, x, q, factor, q + rows * n)) {
        rc = by_householder(rows, n, x, q, factor, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < r; i++) {
        for (int64_t k = 0; k < rows; k++) {
            b[i * rows + k] = (float)q[k * r + i];
        }
    }
    otimes_free(q);
    return rc;
}
