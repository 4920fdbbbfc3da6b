/* SPDX-License-Identifier: MIT
 *
 * Dense linear algebra behind one table of functions, so that a build without BLAS, a sanitizer
 * run and a test of one implementation against the other are the same code above this line.
 *
 * Matrices are row-major; ld is the distance between rows in elements. Each call is safe from
 * several threads at once and, inside a parallel loop, runs on the calling thread alone. Where a
 * library counts in 32 bits, larger sizes go to the plain-C product, or are refused with
 * OTIMES_ERR_ARGUMENT by the calls that return a code.
 */
#ifndef OTIMES_NUM_LA_H
#define OTIMES_NUM_LA_H

#include <stdbool.h>

#include "base/err.h"

typedef struct otimes_la {
    const char *name;

    /* C [m,n] = alpha op(A) op(B) + beta C with op(A) [m,k], op(B) [k,n]; op transposes when its
     * flag is true. beta 0 overwrites C whatever it held. */
    void (*sgemm)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                  int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
    void (*dgemm)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                  int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

    /* Upper triangle of C [n,n] += A^T A with A [m,n]. The strict lower triangle is not touched. */
    void (*dsyrk)(int64_t m, int64_t n, const double *a, int64_t lda, double *c, int64_t ldc);

    /* Thin QR of A [m,n]: with r = min(m,n), R [r,n] is upper trapezoidal with zeros below the
     * diagonal. When q is not NULL it receives Q [m,r] with orthonormal columns. A is destroyed.
     * 0, OTIMES_ERR_MEMORY. Signs of R's diagonal are not normalised. */
    int (*dqr)(int64_t m, int64_t n, double *a, int64_t lda, double *q, int64_t ldq, double *r,
               int64_t ldr);

    /* SVD A [m,n] = U diag(s) V^T with r = min(m,n), s descending. u [m,r] and v [n,r] (columns are
     * the singular vectors) may both be NULL. A is destroyed. 0, OTIMES_ERR_MEMORY,
     * OTIMES_ERR_CONVERGENCE, OTIMES_ERR_VALUE (an entry is NaN or infinite). */
    int (*dsvd)(int64_t m, int64_t n, double *a, int64_t lda, double *s, double *u, int64_t ldu,
                double *v, int64_t ldv);

    /* Eigenvalues of a general A [n,n], ordered by falling modulus; ties: larger real part first,
     * then larger imaginary part, so that a conjugate pair is (+, -). A is destroyed.
     * 0, OTIMES_ERR_MEMORY, OTIMES_ERR_CONVERGENCE, OTIMES_ERR_VALUE as above. */
    int (*deig)(int64_t n, double *a, int64_t lda, double *re, double *im);

    /* Square root of a positive semidefinite G [n,n] (upper triangle read): F [rank,n] with
     * F^T F = G to rounding, by Cholesky with diagonal pivots, stopped where the largest remaining
     * pivot is below n eps max diag(G). f has room for n rows; G is destroyed.
     * 0, OTIMES_ERR_MEMORY. A zero matrix gives rank 0. */
    int (*dpsqrt)(int64_t n, double *g, int64_t ldg, double *f, int64_t ldf, int64_t *rank);
} otimes_la;

/* The table this build computes with. */
extern const otimes_la *const otimes_la_default;

/* Has it take what it keeps for each of so many threads that multiply. OTIMES_ERR_MEMORY. */
int otimes_la_reserve(int threads, otimes_err *err);

/* Plain C, always built; the twin that tests hold the other against. */
extern const otimes_la otimes_la_reference;

/* CBLAS and LAPACKE; only in builds with -Dblas=openblas. */
extern const otimes_la otimes_la_blas;

#endif
