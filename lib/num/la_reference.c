/* SPDX-License-Identifier: MIT
 *
 * The plain-C table: products, Gram matrices and the semidefinite square root here, the
 * factorisations in la_reference_{qr,svd,eig}.c. Written to be checked against, to run under
 * sanitizers and to be a fair fallback; the fast table is la_blas.c.
 */
#include "num/la.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"
#include "num/la_reference.h"

static void sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                  int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* Block sizes of the product in terms of the element type it is instantiated for. */
#define GEMM_K 64
#define GEMM_N (512 / (int)sizeof(REAL))
#define GEMM_LANES (64 / (int)sizeof(REAL))

#define REAL float
#define GEMM sgemm
#define GEMM_STEP sgemm_step
#define GEMM_ROWS sgemm_rows
#include "num/la_reference_gemm.inc"
#undef REAL
#undef GEMM
#undef GEMM_STEP
#undef GEMM_ROWS

#define REAL double
#define GEMM otimes_reference_dgemm
#define GEMM_STEP dgemm_step
#define GEMM_ROWS dgemm_rows
#include "num/la_reference_gemm.inc"

enum { SYRK_TILE = 64 };

/* Tiles of rows of C: the part right of the diagonal tile is an ordinary product, and the diagonal
 * tile is formed whole in scratch, half of it for nothing, because the fast product has no way to
 * leave out a triangle. */
static void dsyrk(int64_t m, int64_t n, const double *a, int64_t lda, double *c, int64_t ldc)
{
    double tile[SYRK_TILE * SYRK_TILE];
    for (int64_t i = 0; i < n; i += SYRK_TILE) {
        const int64_t rows = n - i < SYRK_TILE ? n - i : SYRK_TILE;
        const int64_t next = i + rows;
        otimes_reference_dgemm(true, false, rows, rows, m, 1, a + i, lda, a + i, lda, 0, tile,
                               SYRK_TILE);
        for (int64_t x = 0; x < rows; x++) {
            for (int64_t y = x; y < rows; y++) {
                c[(i + x) * ldc + i + y] += tile[x * SYRK_TILE + y];
            }
        }
        if (next < n) {
            otimes_reference_dgemm(true, false, rows, n - next, m, 1, a + i, lda, a + next, lda, 1,
                                   c + i * ldc + next, ldc);
        }
    }
}

/* Row k of F from row p of G: (G[p] - sum over earlier rows l of F[l,p] F[l]) / F[k,p]. Columns
 * whose pivot is used up (negative in left) are zero. */
static void psqrt_row(int64_t n, const double *g, int64_t ldg, double *f, int64_t ldf, int64_t k,
                      int64_t p, double *left)
{
    double *restrict row = f + k * ldf;
    for (int64_t j = 0; j < n; j++) {
        row[j] = j < p ? g[j * ldg + p] : g[p * ldg + j];
    }
    otimes_reference_dgemm(true, false, 1, n, k, -1, f + p, ldf, f, ldf, 1, row, ldf);
    const double root = sqrt(left[p]);
    left[p] = -1;
    for (int64_t j = 0; j < n; j++) {
        row[j] = left[j] < 0 ? 0 : row[j] / root;
    }
    row[p] = root;
    for (int64_t j = 0; j < n; j++) {
        if (left[j] >= 0) {
            left[j] = fmax(left[j] - row[j] * row[j], 0);
        }
    }
}

/* Cholesky with diagonal pivots in its row-by-row (left-looking) form: it reads one row of G a step
 * and updates nothing but the diagonal, n rank^2 operations for a matrix of low rank where the
 * usual update of the trailing matrix takes n^2 rank; and since F's columns stay in the order of
 * G's, nothing is swapped. */
static int dpsqrt(int64_t n, double *g, int64_t ldg, double *f, int64_t ldf, int64_t *rank)
{
    *rank = 0;
    double *left = otimes_alloc(n, sizeof *left);
    if (!left) {
        return OTIMES_ERR_MEMORY;
    }
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        left[i] = fmax(g[i * ldg + i], 0);
        largest = fmax(largest, left[i]);
    }
    const double stop = (double)n * DBL_EPSILON * largest;
    for (int64_t k = 0; k < n; k++) {
        int64_t p = 0;
        for (int64_t j = 1; j < n; j++) {
            if (left[j] > left[p]) {
                p = j;
            }
        }
        if (!(left[p] > stop)) {
            break;
        }
        psqrt_row(n, g, ldg, f, ldf, k, p, left);
        *rank = k + 1;
    }
    otimes_free(left);
    return OTIMES_OK;
}

const otimes_la otimes_la_reference = {
    .name = "reference",
    .sgemm = sgemm,
    .dgemm = otimes_reference_dgemm,
    .dsyrk = dsyrk,
    .dqr = otimes_reference_dqr,
    .dsvd = otimes_reference_dsvd,
    .deig = otimes_reference_deig,
    .dpsqrt = dpsqrt,
};
