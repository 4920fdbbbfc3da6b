/* SPDX-License-Identifier: MIT
 *
 * The table over CBLAS and LAPACKE. LAPACK is called column-major: a row-major A [m,n] is, without
 * a byte moved, a column-major A^T [n,m], and each routine here is chosen for that transpose.
 * LAPACKE's row-major entries would allocate and transpose behind our back; its *_work entries take
 * our workspace.
 */
#include "num/la.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include <cblas.h>
#include <lapacke.h>

#include "base/mem.h"
#include "num/la_order.h"

/* Whether all of up to six sizes can be told to a library with 32-bit integers. */
static bool fits(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f)
{
    const int64_t all[] = {a, b, c, d, e, f};
    for (int i = 0; i < 6; i++) {
        if (all[i] < 0 || all[i] > INT_MAX) {
            return false;
        }
    }
    return true;
}

/* A leading dimension that the libraries accept: they want 1 at least, for no columns too. */
static lapack_int leading(int64_t ld)
{
    return ld > 0 ? (lapack_int)ld : 1;
}

/* The routines answer a workspace query with a size in a double. NULL also for a size beyond
 * lapack_int. */
static double *workspace(double answer, lapack_int *lwork)
{
    if (!(answer < INT_MAX)) {
        return NULL;
    }
    *lwork = answer > 1 ? (lapack_int)ceil(answer) : 1;
    return otimes_alloc(*lwork, sizeof(double));
}

/* Sizes beyond 32 bits go to the reference: slow, but a product has no way to fail. */
static void sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                  int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (!fits(m, n, k, lda, ldb, ldc)) { /* unreached: takes 2^31 rows */
        otimes_la_reference.sgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    } else if (m > 0 && n > 0) {
        cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
                    (int)m, (int)n, (int)k, alpha, a, leading(lda), b, leading(ldb), beta, c,
                    leading(ldc));
    }
}

static void dgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                  int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc)
{
    if (!fits(m, n, k, lda, ldb, ldc)) {
        otimes_la_reference.dgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    } else if (m > 0 && n > 0) {
        cblas_dgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
                    (int)m, (int)n, (int)k, alpha, a, leading(lda), b, leading(ldb), beta, c,
                    leading(ldc));
    }
}

static void dsyrk(int64_t m, int64_t n, const double *a, int64_t lda, double *c, int64_t ldc)
{
    if (!fits(m, n, lda, ldc, 0, 0)) { /* unreached: takes 2^31 rows */
        otimes_la_reference.dsyrk(m, n, a, lda, c, ldc);
    } else if (m > 0 && n > 0) {
        cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)n, (int)m, 1, a, leading(lda), 1, c,
                    leading(ldc));
    }
}

/* A^T = L P gives A = P^T L^T: with LQ of the transpose both factors lie in row-major order where
 * they are wanted. */
static int dqr(int64_t m, int64_t n, double *a, int64_t lda, double *q, int64_t ldq, double *r,
               int64_t ldr)
{
    if (!fits(m, n, lda, ldq, ldr, 0)) {
        return OTIMES_ERR_ARGUMENT;
    }
    if (m == 0 || n == 0) {
        return OTIMES_OK;
    }
    const lapack_int rows = (lapack_int)n, columns = (lapack_int)m, ld = leading(lda);
    const lapack_int rank = rows < columns ? rows : columns;
    double answer[2] = {0}, *work = NULL;
    lapack_int lwork = 0;
    int rc = OTIMES_ERR_MEMORY;
    double *tau = otimes_alloc(rank, sizeof *tau);
    LAPACKE_dgelqf_work(LAPACK_COL_MAJOR, rows, columns, a, ld, tau, &answer[0], -1);
    if (q) {
        LAPACKE_dorglq_work(LAPACK_COL_MAJOR, rank, columns, rank, a, ld, tau, &answer[1], -1);
    }
    work = workspace(fmax(answer[0], answer[1]), &lwork);
    if (!tau || !work) {
        goto done;
    }
    LAPACKE_dgelqf_work(LAPACK_COL_MAJOR, rows, columns, a, ld, tau, work, lwork);
    for (int64_t i = 0; i < rank; i++) {
        for (int64_t j = 0; j < n; j++) {
            r[i * ldr + j] = j < i ? 0 : a[i * lda + j];
        }
    }
    if (q) {
        LAPACKE_dorglq_work(LAPACK_COL_MAJOR, rank, columns, rank, a, ld, tau, work, lwork);
        for (int64_t i = 0; i < m; i++) {
            for (int64_t j = 0; j < rank; j++) {
                q[i * ldq + j] = a[i * lda + j];
            }
        }
    }
    rc = OTIMES_OK;
done:
    otimes_free(tau);
    otimes_free(work);
    return rc;
}

/* One SVD as LAPACK sees it: A^T [rows,columns] = V S U^T, column-major. */
typedef struct svd_call {
    lapack_int rows, columns, rank, lda, ldu;
    char job;
    double *a, *s, *u, *v; /* u is row-major U itself; v [rank][rows] is V^T */
} svd_call;

static int svd_by_dgesdd(const svd_call *call)
{
    double answer = 0;
    lapack_int lwork = 0, info = -1;
    lapack_int *iwork = otimes_alloc(8 * (int64_t)call->rank, sizeof *iwork);
    LAPACKE_dgesdd_work(LAPACK_COL_MAJOR, call->job, call->rows, call->columns, call->a, call->lda,
                        call->s, call->v, call->rows, call->u, call->ldu, &answer, -1, iwork);
    double *work = workspace(answer, &lwork);
    if (iwork && work) {
        info = LAPACKE_dgesdd_work(LAPACK_COL_MAJOR, call->job, call->rows, call->columns, call->a,
                                   call->lda, call->s, call->v, call->rows, call->u, call->ldu,
                                   work, lwork, iwork);
    }
    const int rc = !iwork || !work ? OTIMES_ERR_MEMORY : info ? OTIMES_ERR_CONVERGENCE : OTIMES_OK;
    otimes_free(iwork);
    otimes_free(work);
    return rc;
}

static int svd_by_dgesvd(const svd_call *call)
{
    double answer = 0;
    lapack_int lwork = 0, info = -1;
    LAPACKE_dgesvd_work(LAPACK_COL_MAJOR, call->job, call->job, call->rows, call->columns, call->a,
                        call->lda, call->s, call->v, call->rows, call->u, call->ldu, &answer, -1);
    double *work = workspace(answer, &lwork);
    if (!work) {
        return OTIMES_ERR_MEMORY;
    }
    info = LAPACKE_dgesvd_work(LAPACK_COL_MAJOR, call->job, call->job, call->rows, call->columns,
                               call->a, call->lda, call->s, call->v, call->rows, call->u, call->ldu,
                               work, lwork);
    otimes_free(work);
    return info ? OTIMES_ERR_CONVERGENCE : OTIMES_OK;
}

static double *alloc_product(int64_t a, int64_t b)
{
    int64_t count;
    return otimes_mul_i64(a, b, &count) ? otimes_alloc(count, sizeof(double)) : NULL;
}

/* Divide and conquer works on a copy: on the rare inputs where it gives up, plain QR iteration
 * starts again from A. */
static int svd_either(svd_call *call, int64_t m, int64_t n, double *a, int64_t lda)
{
    double *copy = alloc_product(m, n);
    if (!copy) {
        return OTIMES_ERR_MEMORY;
    }
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            copy[i * n + j] = a[i * lda + j];
        }
    }
    call->a = copy;
    call->lda = (lapack_int)n;
    int rc = svd_by_dgesdd(call);
    otimes_free(copy);
    if (rc == OTIMES_ERR_CONVERGENCE) {
        call->a = a;
        call->lda = leading(lda);
        rc = svd_by_dgesvd(call);
    }
    return rc;
}

static int dsvd(int64_t m, int64_t n, double *a, int64_t lda, double *s, double *u, int64_t ldu,
                double *v, int64_t ldv)
{
    if (!fits(m, n, lda, ldu, ldv, 0)) {
        return OTIMES_ERR_ARGUMENT;
    }
    if (m == 0 || n == 0) {
        return OTIMES_OK;
    }
    if (!otimes_matrix_is_finite(m, n, a, lda)) {
        return OTIMES_ERR_VALUE;
    }
    const int64_t rank = m < n ? m : n;
    svd_call call = {.rows = (lapack_int)n,
                     .columns = (lapack_int)m,
                     .rank = (lapack_int)rank,
                     .job = u || v ? 'S' : 'N',
                     .s = s,
                     .u = u,
                     .ldu = u ? leading(ldu) : (lapack_int)rank};
    double *unwanted = NULL, *turned = NULL;
    int rc = OTIMES_ERR_MEMORY;
    if (v || u) {
        call.v = turned = alloc_product(rank, n);
    }
    if (v && !u) {
        call.u = unwanted = alloc_product(m, rank);
    }
    if (call.job == 'S' && (!call.u || !call.v)) {
        goto done;
    }
    rc = svd_either(&call, m, n, a, lda);
    for (int64_t i = 0; i < n && v && rc == OTIMES_OK; i++) {
        for (int64_t j = 0; j < rank; j++) {
            v[i * ldv + j] = turned[j * n + i];
        }
    }
done:
    otimes_free(unwanted);
    otimes_free(turned);
    return rc;
}

/* The transpose that LAPACK sees has the same eigenvalues. */
static int deig(int64_t n, double *a, int64_t lda, double *re, double *im)
{
    if (!fits(n, lda, 0, 0, 0, 0)) {
        return OTIMES_ERR_ARGUMENT;
    }
    if (n == 0) {
        return OTIMES_OK;
    }
    if (!otimes_matrix_is_finite(n, n, a, lda)) {
        return OTIMES_ERR_VALUE;
    }
    double answer = 0;
    lapack_int lwork = 0;
    LAPACKE_dgeev_work(LAPACK_COL_MAJOR, 'N', 'N', (lapack_int)n, a, leading(lda), re, im, NULL, 1,
                       NULL, 1, &answer, -1);
    double *work = workspace(answer, &lwork);
    if (!work) {
        return OTIMES_ERR_MEMORY;
    }
    const lapack_int info = LAPACKE_dgeev_work(LAPACK_COL_MAJOR, 'N', 'N', (lapack_int)n, a,
                                               leading(lda), re, im, NULL, 1, NULL, 1, work, lwork);
    otimes_free(work);
    if (info) {
        return OTIMES_ERR_CONVERGENCE;
    }
    otimes_eigenvalue_sort(n, re, im);
    return OTIMES_OK;
}

/* dpstrf on the lower triangle of the transpose leaves, read row-major, U with P^T G P = U^T U; F
 * is U with its columns put back. Its own stopping rule takes half our epsilon, so ours is given.
 */
static int dpsqrt(int64_t n, double *g, int64_t ldg, double *f, int64_t ldf, int64_t *rank)
{
    *rank = 0;
    if (!fits(n, ldg, ldf, 0, 0, 0)) {
        return OTIMES_ERR_ARGUMENT;
    }
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, g[i * ldg + i]);
    }
    if (largest == 0) {
        return OTIMES_OK;
    }
    const double stop = (double)n * DBL_EPSILON * largest;
    lapack_int found = 0;
    lapack_int *pivot = otimes_alloc(n, sizeof *pivot);
    double *work = otimes_alloc(2 * n, sizeof *work);
    int rc = OTIMES_ERR_MEMORY;
    if (!pivot || !work) {
        goto done;
    }
    LAPACKE_dpstrf_work(LAPACK_COL_MAJOR, 'L', (lapack_int)n, g, leading(ldg), pivot, &found, stop,
                        work);
    for (int64_t k = 0; k < found; k++) {
        for (int64_t j = 0; j < n; j++) {
            f[k * ldf + pivot[j] - 1] = j < k ? 0 : g[k * ldg + j];
        }
    }
    *rank = found;
    rc = OTIMES_OK;
done:
    otimes_free(pivot);
    otimes_free(work);
    return rc;
}

const otimes_la otimes_la_blas = {
    .name = "blas",
    .sgemm = sgemm,
    .dgemm = dgemm,
    .dsyrk = dsyrk,
    .dqr = dqr,
    .dsvd = dsvd,
    .deig = deig,
    .dpsqrt = dpsqrt,
};

const otimes_la *const otimes_la_default = &otimes_la_blas;

/* The version is the header's: openblas_get_config() rewrites a static buffer at every call, which
 * threads must not read meanwhile. The macro's text starts with a space. */
const char *otimes_build_blas(void)
{
    const char *text = OPENBLAS_VERSION "of unknown threading";
    switch (openblas_get_parallel()) {
    case OPENBLAS_SEQUENTIAL: /* unreached: the other builds of the library */
        text = OPENBLAS_VERSION "sequential";
        break;
    case OPENBLAS_THREAD: /* unreached: the other builds of the library */
        text = OPENBLAS_VERSION "pthreads";
        break;
    case OPENBLAS_OPENMP:
        text = OPENBLAS_VERSION "openmp";
        break;
    }
    return text + strspn(text, " ");
}

/* OpenBLAS' own, which no header of it has: the block that a product works in, kept for the next one when
 * it is let go. Absent from other libraries behind the same interface. */
void *blas_memory_alloc(int position) __attribute__((weak));
void blas_memory_free(void *block) __attribute__((weak));

/* The largest that OpenBLAS has for any x86-64; where a block cannot be had it tries again for ever. */
#define BLOCK_BYTES ((int64_t)128 << 20)

int otimes_la_reserve(int threads, otimes_err *err)
{
    const int most = openblas_get_num_procs(), count = threads < most ? threads : most;
    void **block;
    if (!blas_memory_alloc || !blas_memory_free) {
        return OTIMES_OK;
    }
    int held = 0, rc = OTIMES_NEW(&block, count, err);
    while (rc == OTIMES_OK && held < count) {
        void *room = otimes_alloc(BLOCK_BYTES, 1);
        otimes_free(room);
        if (room) {
            block[held++] = blas_memory_alloc(0);
        } else {
            rc = otimes_fail(err, OTIMES_ERR_MEMORY,
                             "out of memory: OpenBLAS takes %lld MB of addresses for each of %d "
                             "threads; fewer may do",
                             (long long)(BLOCK_BYTES >> 20), count);
        }
    }
    while (held > 0) {
        blas_memory_free(block[--held]);
    }
    otimes_free(block);
    return rc;
}

void otimes_set_blas_threads(int threads)
{
    openblas_set_num_threads(threads);
}
