/* SPDX-License-Identifier: MIT
 *
 * The singular value decomposition where divide and conquer gives up, which LAPACK does on rare
 * matrices and the linker makes it do here on all: plain QR iteration starts again from A.
 */
#include "la_matrix.h"

#include <lapacke.h>

lapack_int __real_LAPACKE_dgesdd_work(int layout, char job, lapack_int m, lapack_int n, double *a,
                                      lapack_int lda, double *s, double *u, lapack_int ldu,
                                      double *vt, lapack_int ldvt, double *work, lapack_int lwork,
                                      lapack_int *iwork);
lapack_int __wrap_LAPACKE_dgesdd_work(int layout, char job, lapack_int m, lapack_int n, double *a,
                                      lapack_int lda, double *s, double *u, lapack_int ldu,
                                      double *vt, lapack_int ldvt, double *work, lapack_int lwork,
                                      lapack_int *iwork);

static int gave_up;

/* Spoils A too, as the real one does. */
lapack_int __wrap_LAPACKE_dgesdd_work(int layout, char job, lapack_int m, lapack_int n, double *a,
                                      lapack_int lda, double *s, double *u, lapack_int ldu,
                                      double *vt, lapack_int ldvt, double *work, lapack_int lwork,
                                      lapack_int *iwork)
{
    const lapack_int info = __real_LAPACKE_dgesdd_work(layout, job, m, n, a, lda, s, u, ldu, vt,
                                                       ldvt, work, lwork, iwork);
    gave_up += lwork != -1;
    return lwork == -1 ? info : 1;
}

static void starts_again(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        matrix a = specimen(round % KINDS, 1 + below(30), 1 + below(30));
        const int64_t rank = a.m < a.n ? a.m : a.n;
        matrix u = make_d(a.m, rank), v = make_d(a.n, rank), spent = copy_of(&a);
        double s[30], expected[30];
        gave_up = 0;
        assert_int_equal(
            otimes_la_default->dsvd(a.m, a.n, spent.d, spent.ld, s, u.d, u.ld, v.d, v.ld),
            OTIMES_OK);
        assert_int_equal(gave_up, 1);
        drop(&spent);
        spent = copy_of(&a);
        assert_int_equal(
            otimes_la_reference.dsvd(a.m, a.n, spent.d, spent.ld, expected, NULL, 0, NULL, 0),
            OTIMES_OK);
        for (int64_t k = 0; k < rank; k++) {
            assert_at_most(fabs(s[k] - expected[k]), threshold(16, &a));
        }
        assert_at_most(unorthogonality(&u), 8 * (double)(a.m + rank) * DBL_EPSILON);
        assert_at_most(unorthogonality(&v), 8 * (double)(a.n + rank) * DBL_EPSILON);
        assert_at_most(residual(&a, &u, s, &v, true), threshold(16, &a));
        drop(&spent);
        drop(&u);
        drop(&v);
        drop(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
