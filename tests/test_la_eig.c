/* SPDX-License-Identifier: MIT
 *
 * Eigenvalues of general matrices: both tables against known spectra, traces and backward errors.
 */
#include "la_matrix.h"

#include "num/la_order.h"

enum { MOST = 200 };

typedef struct spectrum {
    int64_t n;
    double re[MOST], im[MOST];
} spectrum;

static spectrum eigenvalues(const otimes_la *la, const matrix *a)
{
    spectrum e = {.n = a->n};
    matrix spent = copy_of(a), re = constant_d(1, a->n, NAN), im = constant_d(1, a->n, NAN);
    assert_int_equal(la->deig(a->n, spent.d, spent.ld, re.d, im.d), 0);
    memcpy(e.re, re.d, (size_t)a->n * sizeof(double));
    memcpy(e.im, im.d, (size_t)a->n * sizeof(double));
    for (int64_t i = 1; i < a->n; i++) {
        assert_false(otimes_eigenvalue_before(e.re[i], e.im[i], e.re[i - 1], e.im[i - 1]));
    }
    for (int64_t i = 0; i < a->n; i++) {
        assert_true(e.im[i] <= 0 || (i + 1 < a->n && e.re[i + 1] == e.re[i]));
    }
    drop(&spent);
    drop(&re);
    drop(&im);
    return e;
}

/* Largest distance when each value of a takes the nearest one of b that is left: rounding may order
 * values of like modulus differently. */
static double distance(const spectrum *a, const spectrum *b)
{
    bool taken[MOST] = {false};
    double most = 0;
    for (int64_t i = 0; i < a->n; i++) {
        int64_t best = -1;
        double least = INFINITY;
        for (int64_t j = 0; j < b->n; j++) {
            const double gap = hypot(a->re[i] - b->re[j], a->im[i] - b->im[j]);
            if (!taken[j] && gap < least) {
                least = gap;
                best = j;
            }
        }
        if (best >= 0) {
            taken[best] = true;
        }
        most = fmax(most, least);
    }
    return most;
}

/* The smallest singular value of A - lambda I: how far A is from a matrix with this eigenvalue
 * exactly. Of the complex matrix X + iY as the real one [X, -Y; Y, X], in units of scale. */
static double backward_error(const matrix *a, double re, double im, double scale)
{
    const int64_t n = a->n;
    matrix big = constant_d(2 * n, 2 * n, 0), s = constant_d(1, 2 * n, 0);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            const double x = (at(a, i, j) - (i == j ? re : 0)) / scale;
            put(&big, i, j, x);
            put(&big, n + i, n + j, x);
        }
        put(&big, i, n + i, im / scale);
        put(&big, n + i, i, -im / scale);
    }
    assert_int_equal(otimes_la_reference.dsvd(2 * n, 2 * n, big.d, big.ld, s.d, NULL, 0, NULL, 0),
                     0);
    const double smallest = s.d[2 * n - 1];
    drop(&big);
    drop(&s);
    return smallest;
}

/* Trace of A and of A^2 against the sums of powers, each eigenvalue by its backward error. */
static spectrum check_eig(const otimes_la *la, const matrix *a)
{
    const int64_t n = a->n;
    const spectrum e = eigenvalues(la, a);
    const double scale = largest(a) > 0 ? largest(a) : 1, size = norm(a) / scale;
    double trace = 0, trace2 = 0, sum_re = 0, sum_im = 0, sum2 = 0;
    for (int64_t i = 0; i < n; i++) {
        const double re = e.re[i] / scale, im = e.im[i] / scale;
        trace += at(a, i, i) / scale;
        for (int64_t j = 0; j < n; j++) {
            trace2 += at(a, i, j) / scale * (at(a, j, i) / scale);
        }
        sum_re += re;
        sum_im += im;
        sum2 += re * re - im * im;
    }
    const double eps = (double)(n + 1) * (DBL_EPSILON * size + smallest_step / scale);
    assert_at_most(fabs(sum_im), 4 * eps);
    assert_at_most(fabs(sum_re - trace), 10 * eps * sqrt((double)n));
    assert_at_most(fabs(sum2 - trace2), 10 * eps * size * sqrt((double)n));
    for (int64_t i = 0; i < n && n <= 20; i++) {
        assert_at_most(backward_error(a, e.re[i], e.im[i], scale), 4 * eps);
    }
    return e;
}

static void test_deig(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        const int64_t n = round % 4 ? below(20) : random_size();
        matrix a = specimen(round % KINDS, n, n);
        const spectrum e0 = check_eig(table(0), &a), e1 = check_eig(table(1), &a);
        /* Eigenvalues of a random matrix are conditioned like n; the others may be defective. */
        if (round % KINDS <= TINY_SCALE) {
            assert_at_most(distance(&e0, &e1), threshold(100, &a));
        }
        drop(&a);
    }
}

/* Q A Q^T with a random orthogonal Q. */
static matrix rotated(const matrix *a)
{
    const int64_t n = a->n;
    matrix q = random_orthogonal(n, n), t = make_d(n, n), b = make_d(n, n);
    otimes_la_reference.dgemm(false, false, n, n, n, 1, q.d, q.ld, a->d, a->ld, 0, t.d, t.ld);
    otimes_la_reference.dgemm(false, true, n, n, n, 1, t.d, t.ld, q.d, q.ld, 0, b.d, b.ld);
    drop(&q);
    drop(&t);
    return b;
}

static void expect(const matrix *a, const spectrum *known, double bound)
{
    for (int t = 0; t < 2; t++) {
        const spectrum e = check_eig(table(t), a);
        assert_at_most(distance(&e, known), bound);
    }
}

static void test_deig_companion(void **state)
{
    (void)state;
    /* (x-1)(x-2)(x-3)(x-4)(x-5) and x^6 - 1; the condition of the first's roots is below 1e5. */
    const double wilkinson[] = {15, -85, 225, -274, 120}, unity[] = {0, 0, 0, 0, 0, 1};
    matrix a = constant_d(5, 5, 0), b = constant_d(6, 6, 0);
    spectrum known = {.n = 5, .re = {5, 4, 3, 2, 1}}, roots = {.n = 6};
    for (int64_t j = 0; j < 5; j++) {
        put(&a, 0, j, wilkinson[j]);
        put(&a, j + 1 < 5 ? j + 1 : 0, j, j + 1 < 5 ? 1 : wilkinson[j]);
    }
    for (int64_t j = 0; j < 6; j++) {
        put(&b, 0, j, unity[j]);
        put(&b, j + 1 < 6 ? j + 1 : 0, j, 1);
        roots.re[j] = cos(3.141592653589793 / 3 * (double)j);
        roots.im[j] = sin(3.141592653589793 / 3 * (double)j);
    }
    expect(&a, &known, 1e5 * DBL_EPSILON * norm(&a));
    expect(&b, &roots, threshold(4, &b));
    drop(&a);
    drop(&b);
}

static void test_deig_rotations(void **state)
{
    (void)state;
    matrix a = constant_d(9, 9, 0);
    spectrum known = {.n = 9};
    for (int64_t k = 0; k < 4; k++) {
        const double re = (double)k - 1.5, im = 0.5 * (double)(k + 1);
        put(&a, 2 * k, 2 * k, re);
        put(&a, 2 * k + 1, 2 * k + 1, re);
        put(&a, 2 * k, 2 * k + 1, im);
        put(&a, 2 * k + 1, 2 * k, -im);
        known.re[2 * k] = known.re[2 * k + 1] = re;
        known.im[2 * k] = im;
        known.im[2 * k + 1] = -im;
    }
    put(&a, 8, 8, known.re[8] = -0.25);
    matrix b = rotated(&a);
    expect(&a, &known, threshold(2, &a));
    expect(&b, &known, threshold(8, &b)); /* normal: every eigenvalue has condition 1 */
    drop(&a);
    drop(&b);
}

static void test_deig_triangular(void **state)
{
    (void)state;
    matrix upper = random_d(12, 12, 1), lower = random_d(12, 12, 0.1);
    spectrum up = {.n = 12}, low = {.n = 12};
    for (int64_t i = 0; i < 12; i++) {
        for (int64_t j = 0; j < 12; j++) {
            if (j < i) {
                put(&upper, i, j, 0);
                put(&lower, j, i, 0);
            }
        }
        up.re[i] = at(&upper, i, i);
        put(&lower, i, i, low.re[i] = (double)(i - 5));
    }
    expect(&upper, &up, 0);
    expect(&lower, &low, threshold(20, &lower));
    drop(&upper);
    drop(&lower);
}

/* One eigenvalue with a chain of k vectors moves by about eps^(1/k). */
static void test_deig_jordan(void **state)
{
    (void)state;
    for (int64_t k = 2; k <= 5; k++) {
        matrix a = constant_d(k, k, 0);
        spectrum known = {.n = k};
        for (int64_t i = 0; i < k; i++) {
            put(&a, i, i, known.re[i] = 2);
            if (i > 0) {
                put(&a, i - 1, i, 1);
            }
        }
        matrix b = rotated(&a);
        expect(&a, &known, 0);
        expect(&b, &known, 4 * pow(DBL_EPSILON, 1 / (double)k));
        drop(&a);
        drop(&b);
    }
}

/* Matrices on which unshifted or badly scaled iterations stall: a cyclic shift (all moduli equal),
 * a symmetric one with an exact tie, one whose rows differ in scale by 1e12. */
static void test_deig_hard(void **state)
{
    (void)state;
    const double pi = 3.141592653589793;
    matrix cycle = constant_d(16, 16, 0), ones = constant_d(10, 10, 1), skew = constant_d(3, 3, 0);
    spectrum roots = {.n = 16}, tie = {.n = 10, .re = {10}}, known = {.n = 3, .re = {3, 2, 1}};
    for (int64_t j = 0; j < 16; j++) {
        put(&cycle, (j + 1) % 16, j, 1);
        roots.re[j] = cos(pi / 8 * (double)j);
        roots.im[j] = sin(pi / 8 * (double)j);
    }
    expect(&cycle, &roots, threshold(4, &cycle));
    expect(&ones, &tie, threshold(4, &ones));
    /* D T D^-1 with T symmetric, spectrum 1, 2, 3: balancing finds D again. */
    const double d[3] = {0x1p40, 1, 0x1p-40},
                 t[3][3] = {{2, M_SQRT1_2, 0}, {M_SQRT1_2, 2, M_SQRT1_2}, {0, M_SQRT1_2, 2}};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) {
            put(&skew, i, j, t[i][j] * d[i] / d[j]);
        }
    }
    for (int k = 0; k < 2; k++) {
        const spectrum e = eigenvalues(table(k), &skew);
        assert_at_most(distance(&e, &known), 40 * DBL_EPSILON);
    }
    drop(&cycle);
    drop(&ones);
    drop(&skew);
}

/* Twin columns of falling size, 37 directions in all: nearly all eigenvalues are zero, and the QR
 * iteration meets large blocks of nothing but rounding. */
static void test_deig_null_space(void **state)
{
    (void)state;
    for (int64_t n = 120; n <= MOST; n += 70) {
        matrix a = random_d(n, n, 1);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < n; j++) {
                const double fall = pow(0.3, (double)j) * pow(0.6, (double)i);
                put(&a, i, j, j < 37 ? at(&a, i, j) * fall : at(&a, i, j - 37) * pow(0.3, 37));
            }
        }
        for (int t = 0; t < 2; t++) {
            check_eig(table(t), &a);
        }
        drop(&a);
    }
}

static void test_order(void **state)
{
    (void)state;
    double re[] = {0, 3, -5, 0, 3, 5, 0, -5, 4}, im[] = {0, -4, 0, -5, 4, 0, 5, 0, -3};
    const double sorted_re[] = {5, 4, 3, 3, 0, 0, -5, -5, 0};
    const double sorted_im[] = {0, -3, 4, -4, 5, -5, 0, 0, 0};
    otimes_eigenvalue_sort(9, re, im);
    assert_memory_equal(re, sorted_re, sizeof re);
    assert_memory_equal(im, sorted_im, sizeof im);
    otimes_eigenvalue_sort(0, NULL, NULL);
    double many_re[200], many_im[200];
    for (int i = 0; i < 200; i++) {
        many_re[i] = (double)below(7) - 3;
        many_im[i] = (double)below(7) - 3;
    }
    otimes_eigenvalue_sort(200, many_re, many_im);
    for (int i = 1; i < 200; i++) {
        assert_false(
            otimes_eigenvalue_before(many_re[i], many_im[i], many_re[i - 1], many_im[i - 1]));
    }
}

int main(void)
{
    otimes_set_blas_threads(1); /* waiting threads spin: slow on a machine that others use */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deig),
        cmocka_unit_test(test_deig_companion),
        cmocka_unit_test(test_deig_rotations),
        cmocka_unit_test(test_deig_triangular),
        cmocka_unit_test(test_deig_jordan),
        cmocka_unit_test(test_deig_hard),
        cmocka_unit_test(test_deig_null_space),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
