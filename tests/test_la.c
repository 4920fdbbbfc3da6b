/* SPDX-License-Identifier: MIT
 *
 * The dense kernels but for eigenvalues (test_la_eig.c): each table against what its results must
 * fulfil, and the table this build computes with against the plain-C one. With --bench
 * [BLAS threads] the program prints the speed of both instead.
 */
#include "la_matrix.h"

#include <stdio.h>
#include <time.h>

/* ---- products ---- */

typedef struct product {
    bool ta, tb;
    double alpha, beta;
    matrix a, b, c;
} product;

static product random_product(size_t size, int64_t m, int64_t n, int64_t k)
{
    static const double factors[] = {0, 1, -1, 0.75, -2.5};
    product p = {.ta = below(2), .tb = below(2), .alpha = factors[below(5)]};
    p.beta = factors[below(5)];
    const double shift = size == sizeof(float) ? 1e15 : 1e150;
    const double scale = below(4) == 0 ? shift : 1;
    p.a = p.ta ? make(k, m, size) : make(m, k, size);
    p.b = p.tb ? make(n, k, size) : make(k, n, size);
    p.c = make(m, n, size);
    matrix *all[] = {&p.a, &p.b, &p.c};
    const double scales[] = {scale, 1 / scale, 1};
    for (int x = 0; x < 3; x++) {
        for (int64_t i = 0; i < all[x]->m; i++) {
            for (int64_t j = 0; j < all[x]->n; j++) {
                put(all[x], i, j, x == 2 && p.beta == 0 ? NAN : scales[x] * normal());
            }
        }
    }
    return p;
}

static void multiply(const otimes_la *la, const product *p, matrix *c)
{
    const int64_t k = p->ta ? p->a.m : p->a.n;
    if (c->f) {
        la->sgemm(p->ta, p->tb, c->m, c->n, k, (float)p->alpha, p->a.f, p->a.ld, p->b.f, p->b.ld,
                  (float)p->beta, c->f, c->ld);
    } else {
        la->dgemm(p->ta, p->tb, c->m, c->n, k, p->alpha, p->a.d, p->a.ld, p->b.d, p->b.ld, p->beta,
                  c->d, c->ld);
    }
}

/* Any order of summation errs by at most about (k + 3) eps times the sum of moduli. */
static void check_product(const product *p, const matrix *c)
{
    const int64_t k = p->ta ? p->a.m : p->a.n;
    const double eps = c->f ? FLT_EPSILON : DBL_EPSILON;
    const double underflow = c->f ? FLT_MIN : DBL_MIN;
    for (int64_t i = 0; i < c->m; i++) {
        for (int64_t j = 0; j < c->n; j++) {
            long double sum = 0, moduli = 0;
            for (int64_t x = 0; x < k; x++) {
                const long double term = (long double)(p->ta ? at(&p->a, x, i) : at(&p->a, i, x)) *
                                         (p->tb ? at(&p->b, j, x) : at(&p->b, x, j));
                sum += (long double)p->alpha * term;
                moduli += fabsl((long double)p->alpha * term);
            }
            if (p->beta != 0) {
                sum += (long double)p->beta * at(&p->c, i, j);
                moduli += fabsl((long double)p->beta * at(&p->c, i, j));
            }
            assert_at_most((double)fabsl(at(c, i, j) - sum),
                           (double)(k + 4) * (eps * (double)moduli + underflow));
        }
    }
}

static void products_of(size_t size)
{
    for (int round = 0; round < 400; round++) {
        product p = random_product(size, random_size(), random_size(), random_size());
        for (int t = 0; t < 2; t++) {
            matrix c = copy_of(&p.c);
            multiply(table(t), &p, &c);
            check_product(&p, &c);
            drop(&c);
        }
        drop(&p.a);
        drop(&p.b);
        drop(&p.c);
    }
    /* Beyond one block of either implementation in each direction. */
    product p = random_product(size, 131, 300, 150);
    for (int t = 0; t < 2; t++) {
        for (int flags = 0; flags < 4; flags++) {
            product turned = p;
            turned.ta = flags & 1;
            turned.tb = flags & 2;
            turned.alpha = 1;
            turned.a = turned.ta ? make(150, 131, size) : make(131, 150, size);
            turned.b = turned.tb ? make(300, 150, size) : make(150, 300, size);
            for (int64_t i = 0; i < 131 * 150; i++) {
                put(&turned.a, i / turned.a.n, i % turned.a.n, normal());
            }
            for (int64_t i = 0; i < 300 * 150; i++) {
                put(&turned.b, i / turned.b.n, i % turned.b.n, normal());
            }
            matrix c = copy_of(&p.c);
            multiply(table(t), &turned, &c);
            check_product(&turned, &c);
            drop(&turned.a);
            drop(&turned.b);
            drop(&c);
        }
    }
    drop(&p.a);
    drop(&p.b);
    drop(&p.c);
}

static void test_sgemm(void **state)
{
    (void)state;
    products_of(sizeof(float));
}

static void test_dgemm(void **state)
{
    (void)state;
    products_of(sizeof(double));
}

/* The strict lower triangle is the same afterwards, bit for bit. */
static void check_syrk(const otimes_la *la, int64_t m, int64_t n, double scale)
{
    matrix a = random_d(m, n, scale), before = random_d(n, n, scale * scale);
    matrix c = copy_of(&before);
    la->dsyrk(m, n, a.d, a.ld, c.d, c.ld);
    for (int64_t i = 0; i < n; i++) {
        assert_memory_equal(c.d + i * c.ld, before.d + i * before.ld, (size_t)i * sizeof(double));
        for (int64_t j = i; j < n; j++) {
            long double sum = at(&before, i, j), moduli = fabsl(sum);
            for (int64_t k = 0; k < m; k++) {
                const long double term = (long double)at(&a, k, i) * at(&a, k, j);
                sum += term;
                moduli += fabsl(term);
            }
            assert_at_most((double)fabsl(at(&c, i, j) - sum),
                           (double)(m + 4) * (DBL_EPSILON * (double)moduli + DBL_MIN));
        }
    }
    drop(&a);
    drop(&before);
    drop(&c);
}

static void test_dsyrk(void **state)
{
    (void)state;
    for (int t = 0; t < 2; t++) {
        for (int round = 0; round < 100; round++) {
            check_syrk(table(t), random_size(), random_size(), 1);
        }
        check_syrk(table(t), 200, 193, 1);
        check_syrk(table(t), 20, 33, 1e150);
        check_syrk(table(t), 20, 33, 1e-150);
    }
}

/* ---- QR ---- */

static void check_qr(const otimes_la *la, const matrix *a, matrix *r_out)
{
    const int64_t rank = a->m < a->n ? a->m : a->n;
    matrix spent = copy_of(a), again = copy_of(a);
    matrix q = make_d(a->m, rank), r = make_d(rank, a->n), r_alone = make_d(rank, a->n);
    assert_int_equal(la->dqr(a->m, a->n, spent.d, spent.ld, q.d, q.ld, r.d, r.ld), 0);
    assert_int_equal(la->dqr(a->m, a->n, again.d, again.ld, NULL, 0, r_alone.d, r_alone.ld), 0);
    for (int64_t i = 0; i < rank; i++) {
        assert_memory_equal(r.d + i * r.ld, r_alone.d + i * r_alone.ld,
                            (size_t)a->n * sizeof(double));
        for (int64_t j = 0; j < i; j++) {
            assert_true(at(&r, i, j) == 0);
        }
    }
    assert_at_most(unorthogonality(&q), 4 * (double)(a->m + rank) * DBL_EPSILON);
    assert_at_most(residual(a, &q, NULL, &r, false), threshold(2, a));
    drop(&spent);
    drop(&again);
    drop(&q);
    drop(&r_alone);
    if (r_out) {
        *r_out = r;
    } else {
        drop(&r);
    }
}

static void test_dqr(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        matrix a = specimen(round % KINDS, random_size(), random_size());
        for (int t = 0; t < 2; t++) {
            check_qr(table(t), &a, NULL);
        }
        drop(&a);
    }
}

/* Of a well conditioned matrix R is unique but for the signs of its rows. */
static void test_dqr_twins(void **state)
{
    (void)state;
    for (int round = 0; round < 30; round++) {
        const int64_t n = random_size(), m = n + random_size();
        matrix a = random_d(m, n, 1 / sqrt((double)m + 1)), r[2];
        for (int64_t i = 0; i < n; i++) {
            put(&a, i, i, at(&a, i, i) + 4);
        }
        check_qr(table(0), &a, &r[0]);
        check_qr(table(1), &a, &r[1]);
        for (int64_t i = 0; i < n; i++) {
            const double sign = at(&r[0], i, i) * at(&r[1], i, i) < 0 ? -1 : 1;
            for (int64_t j = i; j < n; j++) {
                assert_at_most(fabs(at(&r[0], i, j) - sign * at(&r[1], i, j)), threshold(4, &a));
            }
        }
        drop(&a);
        drop(&r[0]);
        drop(&r[1]);
    }
}

/* ---- SVD ---- */

/* s receives the singular values of A, after every check on one table. */
static void check_svd(const otimes_la *la, const matrix *a, double *s)
{
    const int64_t rank = a->m < a->n ? a->m : a->n;
    matrix u = make_d(a->m, rank), v = make_d(a->n, rank), spent = copy_of(a);
    matrix sv = constant_d(1, rank, NAN);
    assert_int_equal(la->dsvd(a->m, a->n, spent.d, spent.ld, sv.d, u.d, u.ld, v.d, v.ld), 0);
    drop(&spent);
    memcpy(s, sv.d, (size_t)rank * sizeof *s);
    for (int64_t i = 0; i < rank; i++) {
        assert_true(s[i] >= 0 && (i == 0 || s[i] <= s[i - 1]));
    }
    assert_at_most(unorthogonality(&u), 8 * (double)(a->m + rank) * DBL_EPSILON);
    assert_at_most(unorthogonality(&v), 8 * (double)(a->n + rank) * DBL_EPSILON);
    assert_at_most(residual(a, &u, s, &v, true), threshold(16, a));
    assert_at_most(fabs(norm(&sv) - norm(a)), threshold(16, a));
    /* Neither or one of the factors: the same values. */
    for (int wanted = 0; wanted < 3; wanted++) {
        spent = copy_of(a);
        matrix part = constant_d(1, rank, NAN);
        assert_int_equal(la->dsvd(a->m, a->n, spent.d, spent.ld, part.d, wanted == 1 ? u.d : NULL,
                                  u.ld, wanted == 2 ? v.d : NULL, v.ld),
                         0);
        for (int64_t i = 0; i < rank; i++) {
            assert_at_most(fabs(part.d[i] - s[i]), threshold(16, a));
        }
        assert_at_most(unorthogonality(wanted == 1 ? &u : &v),
                       8 * (double)(a->m + a->n) * DBL_EPSILON);
        drop(&spent);
        drop(&part);
    }
    drop(&u);
    drop(&v);
    drop(&sv);
}

static void compare_svd(const matrix *a)
{
    double s[2][128];
    assert_true(a->m <= 128 && a->n <= 128);
    check_svd(table(0), a, s[0]);
    check_svd(table(1), a, s[1]);
    for (int64_t i = 0; i < a->m && i < a->n; i++) {
        assert_at_most(fabs(s[0][i] - s[1][i]), threshold(16, a));
    }
}

static void test_dsvd(void **state)
{
    (void)state;
    for (int round = 0; round < 1200; round++) {
        const bool small = round >= 200; /* where zeros and ties are most often exact */
        matrix a = specimen(round % KINDS, small ? below(7) : random_size(),
                            small ? below(7) : random_size());
        compare_svd(&a);
        drop(&a);
    }
}

static void test_dsvd_known(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        const int64_t n = 1 + below(20), m = n + below(20);
        matrix x = random_orthogonal(m, n), y = random_orthogonal(n, n), a = make_d(m, n);
        double known[32], s[32];
        for (int64_t k = 0; k < n; k++) {
            known[k] = k < n / 2 ? 3 : pow(0.1, (double)k); /* one value many times over */
            for (int64_t i = 0; i < m; i++) {
                put(&x, i, k, at(&x, i, k) * known[k]);
            }
        }
        otimes_la_reference.dgemm(false, true, m, n, n, 1, x.d, x.ld, y.d, y.ld, 0, a.d, a.ld);
        for (int t = 0; t < 2; t++) {
            check_svd(table(t), &a, s);
            for (int64_t k = 0; k < n; k++) {
                assert_at_most(fabs(s[k] - known[k]), threshold(16, &a));
            }
        }
        drop(&a);
        drop(&x);
        drop(&y);
    }
}

/* Iterations are not begun with what is no number. */
static void test_not_finite(void **state)
{
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            double a[] = {1, 2, 3, bad[i]}, b[] = {bad[i], 1, 2, 3}, s[2], re[2], im[2];
            assert_int_equal(table(t)->dsvd(2, 2, a, 2, s, NULL, 2, NULL, 2), OTIMES_ERR_VALUE);
            assert_int_equal(table(t)->deig(2, b, 2, re, im), OTIMES_ERR_VALUE);
        }
        double padded[] = {1, 2, NAN, 3, 4, NAN},
               s[2]; /* what lies between rows is not looked at */
        assert_int_equal(table(t)->dsvd(2, 2, padded, 3, s, NULL, 2, NULL, 2), OTIMES_OK);
    }
}

/* Jacobi keeps what bidiagonalisation loses: values far below eps times the largest, to many
 * digits, where only the scale of rows or columns makes them small. */
static void test_dsvd_reference_graded(void **state)
{
    (void)state;
    matrix a = constant_d(6, 6, 0);
    double s[6];
    for (int64_t i = 0; i < 6; i++) {
        put(&a, i, i, pow(10, -20 * (double)i));
        if (i > 0) {
            put(&a, i - 1, i, pow(10, -20 * (double)i));
        }
    }
    assert_int_equal(otimes_la_reference.dsvd(6, 6, a.d, a.ld, s, NULL, 0, NULL, 0), 0);
    for (int i = 0; i < 6; i++) {
        assert_at_most(fabs(s[i] / pow(10, -20 * i) - 1), 100 * DBL_EPSILON);
    }
    drop(&a);
}

/* ---- semidefinite square root ---- */

/* G = B^T B scaled; the strict lower triangle NaN. */
static matrix gram(const matrix *b, double scale)
{
    matrix g = constant_d(b->n, b->n, 0);
    otimes_la_reference.dsyrk(b->m, b->n, b->d, b->ld, g.d, g.ld);
    for (int64_t i = 0; i < g.n; i++) {
        for (int64_t j = 0; j < g.n; j++) {
            put(&g, i, j, j < i ? NAN : at(&g, i, j) * scale);
        }
    }
    return g;
}

static int64_t check_psqrt(const otimes_la *la, const matrix *g)
{
    const int64_t n = g->n;
    matrix spent = copy_of(g), f = make_d(n, n);
    int64_t rank = -1;
    assert_int_equal(la->dpsqrt(n, spent.d, spent.ld, f.d, f.ld, &rank), 0);
    assert_in_range(rank, 0, n);
    double most = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, at(g, i, i));
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i; j < n; j++) {
            long double sum = -at(g, i, j);
            for (int64_t k = 0; k < rank; k++) {
                sum += (long double)at(&f, k, i) * at(&f, k, j);
            }
            worst = fmax(worst, (double)fabsl(sum));
        }
    }
    assert_at_most(worst, 2 * (double)n * DBL_EPSILON * most);
    drop(&spent);
    drop(&f);
    return rank;
}

static void test_dpsqrt(void **state)
{
    (void)state;
    static const double scales[] = {1, 1e150, 1e-150, 1e300, 1e-290};
    for (int round = 0; round < 100; round++) {
        const int64_t n = random_size(), m = random_size();
        matrix b = random_d(m, n, 1), g = gram(&b, scales[round % 5]);
        const int64_t rank0 = check_psqrt(table(0), &g), rank1 = check_psqrt(table(1), &g);
        assert_true(rank0 == rank1 || (m - n < 3 && n - m < 3));
        assert_true(rank0 <= m && rank0 <= n);
        assert_true(rank0 == (m < n ? m : n) || (m - n < 3 && n - m < 3));
        drop(&b);
        drop(&g);
    }
}

static void test_dpsqrt_special(void **state)
{
    (void)state;
    for (int t = 0; t < 2; t++) {
        matrix zero = constant_d(7, 7, 0), ones = constant_d(7, 7, 1), big = random_d(150, 130, 1);
        matrix wide = low_rank(40, 200, 20), slight = constant_d(3, 3, 0);
        matrix g = gram(&big, 1), h = gram(&wide, 1);
        assert_int_equal(check_psqrt(table(t), &zero), 0);
        assert_int_equal(check_psqrt(table(t), &ones), 1);
        assert_int_equal(check_psqrt(table(t), &g), 130);
        assert_int_equal(check_psqrt(table(t), &h), 20);
        /* Not quite semidefinite, as a Gram matrix from rounded sums may be. */
        put(&slight, 0, 0, 1);
        put(&slight, 1, 1, -1e-17);
        assert_int_equal(check_psqrt(table(t), &slight), 1);
        matrix *all[] = {&zero, &ones, &big, &wide, &slight, &g, &h};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            drop(all[i]);
        }
    }
}

static void test_build_text(void **state)
{
    (void)state;
    assert_non_null(otimes_build_blas());
    assert_true(strlen(otimes_build_blas()) > 5 && otimes_build_blas()[0] != ' ');
    otimes_set_blas_threads(2);
    otimes_set_blas_threads(1);
    if (otimes_la_default != &otimes_la_reference) {
        const int64_t beyond = (int64_t)INT32_MAX + 1;
        int64_t rank;
        double x = 0;
        assert_int_equal(otimes_la_default->dqr(1, 1, &x, beyond, NULL, 0, &x, 1),
                         OTIMES_ERR_ARGUMENT);
        assert_int_equal(otimes_la_default->dsvd(1, 1, &x, beyond, &x, NULL, 0, NULL, 0),
                         OTIMES_ERR_ARGUMENT);
        assert_int_equal(otimes_la_default->deig(1, &x, beyond, &x, &x), OTIMES_ERR_ARGUMENT);
        assert_int_equal(otimes_la_default->dpsqrt(1, &x, beyond, &x, 1, &rank),
                         OTIMES_ERR_ARGUMENT);
        /* One row and such a distance to the next: a product still comes out. */
        double a = 3, b = 5, c = NAN;
        otimes_la_default->dgemm(false, false, 1, 1, 1, 2, &a, beyond, &b, 1, 0, &c, 1);
        assert_true(c == 30);
    }
}

/* ---- speed ---- */

enum { SGEMM, DGEMM, SYRK, QR, SVD, EIG, PSQRT };

typedef struct task {
    const char *what;
    int kind;
    bool tb;
    int64_t m, n, k;
    double flops;
} task;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one call, its input restored before and outside the clock. */
static double time_once(const otimes_la *la, const task *t, matrix *a, matrix *b, matrix *c,
                        matrix *d, const matrix *input)
{
    for (int64_t i = 0; i < input->m && input->d; i++) {
        memcpy(a->d + i * a->ld, input->d + i * input->ld, (size_t)input->n * sizeof(double));
    }
    int64_t rank;
    int rc = 0;
    const double start = now();
    switch (t->kind) {
    case SGEMM:
        la->sgemm(false, t->tb, t->m, t->n, t->k, 1, a->f, a->ld, b->f, b->ld, 0, c->f, c->ld);
        break;
    case DGEMM:
        la->dgemm(false, t->tb, t->m, t->n, t->k, 1, a->d, a->ld, b->d, b->ld, 0, c->d, c->ld);
        break;
    case SYRK:
        la->dsyrk(t->m, t->n, a->d, a->ld, c->d, c->ld);
        break;
    case QR:
        rc = la->dqr(t->m, t->n, a->d, a->ld, b->d, b->ld, c->d, c->ld);
        break;
    case SVD:
        rc = la->dsvd(t->m, t->n, a->d, a->ld, d->d, b->d, b->ld, c->d, c->ld);
        break;
    case EIG:
        rc = la->deig(t->n, a->d, a->ld, c->d, d->d);
        break;
    case PSQRT:
        rc = la->dpsqrt(t->n, a->d, a->ld, c->d, c->ld, &rank);
        break;
    }
    const double seconds = now() - start;
    if (rc) {
        fprintf(stderr, "%s: %s returned %d\n", la->name, t->what, rc);
        exit(1);
    }
    return seconds;
}

static void bench_task(const task *t)
{
    const bool gemm = t->kind == SGEMM || t->kind == DGEMM;
    const size_t size = t->kind == SGEMM ? sizeof(float) : sizeof(double);
    matrix a = make(t->m, gemm ? t->k : t->n, size), input = {0};
    matrix b = gemm ? make(t->tb ? t->n : t->k, t->tb ? t->k : t->n, size) : make_d(t->m, t->n);
    matrix c = make(gemm ? t->m : t->n, t->n, size), d = constant_d(1, t->n, 0);
    matrix *all[] = {&a, &b, &c};
    for (int x = 0; x < 3; x++) {
        for (int64_t i = 0; i < all[x]->m; i++) {
            for (int64_t j = 0; j < all[x]->n; j++) {
                put(all[x], i, j, uniform() - 0.5);
            }
        }
    }
    if (t->kind == PSQRT) {
        matrix g = gram(&a, 1);
        drop(&a);
        a = g;
    }
    if (!gemm && t->kind != SYRK) {
        input = copy_of(&a);
    }
    double best[2] = {INFINITY, INFINITY};
    for (int x = 0; x < 2; x++) {
        const otimes_la *la = x ? otimes_la_default : &otimes_la_reference;
        const double start = now();
        for (int round = 0; round < 3 || (now() - start < 0.5 && round < 200); round++) {
            best[x] = fmin(best[x], time_once(la, t, &a, &b, &c, &d, &input));
        }
    }
    printf("%-28s %10.2f %10.2f %12.3f %12.3f %8.1f\n", t->what, t->flops / best[0] * 1e-9,
           t->flops / best[1] * 1e-9, best[0] * 1e3, best[1] * 1e3, best[0] / best[1]);
    for (int x = 0; x < 3; x++) {
        drop(all[x]);
    }
    drop(&d);
    if (input.block) {
        drop(&input);
    }
}

/* Operations as usually counted: SVD with vectors 22 n^3, eigenvalues alone 10 n^3, whatever the
 * algorithm really spends. */
static int bench(int threads)
{
    const double cube = 768.0 * 768 * 768, small = 64.0 * 64 * 64;
    const task tasks[] = {
        {"sgemm 768x768x768", SGEMM, false, 768, 768, 768, 2 * cube},
        {"sgemm 768x768x768 B^T", SGEMM, true, 768, 768, 768, 2 * cube},
        {"sgemm 512x5000x768 B^T", SGEMM, true, 512, 5000, 768, 2.0 * 512 * 5000 * 768},
        {"dgemm 768x768x768", DGEMM, false, 768, 768, 768, 2 * cube},
        {"dgemm 64x64x768 B^T", DGEMM, true, 64, 64, 768, 2.0 * 64 * 64 * 768},
        {"dsyrk 2048x768", SYRK, false, 2048, 768, 0, 2048.0 * 768 * 768},
        {"dqr 768x64", QR, false, 768, 64, 0, 4.0 * 768 * 64 * 64 - 4 * small / 3},
        {"dsvd 64x64", SVD, false, 64, 64, 0, 22 * small},
        {"deig 64x64", EIG, false, 64, 64, 0, 10 * small},
        {"dpsqrt 768", PSQRT, false, 768, 768, 0, cube / 3},
    };
    otimes_set_blas_threads(threads);
    printf("%s, %d thread%s\n", otimes_build_blas(), threads, threads == 1 ? "" : "s");
    printf("%-28s %10s %10s %12s %12s %8s\n", "", "GFlop/s", "GFlop/s", "ms", "ms", "");
    printf("%-28s %10s %10s %12s %12s %8s\n", "kernel", otimes_la_reference.name,
           otimes_la_default->name, otimes_la_reference.name, otimes_la_default->name, "ratio");
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) {
        bench_task(&tasks[i]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        return bench(argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1);
    }
    otimes_set_blas_threads(1); /* waiting threads spin: slow on a machine that others use */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sgemm),      cmocka_unit_test(test_dgemm),
        cmocka_unit_test(test_dsyrk),      cmocka_unit_test(test_dqr),
        cmocka_unit_test(test_dqr_twins),  cmocka_unit_test(test_dsvd),
        cmocka_unit_test(test_dsvd_known), cmocka_unit_test(test_dsvd_reference_graded),
        cmocka_unit_test(test_dpsqrt),     cmocka_unit_test(test_dpsqrt_special),
        cmocka_unit_test(test_build_text), cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
