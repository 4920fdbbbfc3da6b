/* SPDX-License-Identifier: MIT
 *
 * Operators against their Kronecker products: random sums of random chains of every kind of factor,
 * each held as one dense double matrix K [n_out d_out, n_in d_in], K[(i,a),(j,b)] = sum A[i,j] B[a,b].
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/operator.h>

/* ---- dense references ---- */

typedef struct dense {
    int64_t rows, columns;
    double *value, *modulus; /* modulus: the same of |.|, which bounds what is rounded */
} dense;

static uint64_t seed = 1;

static int64_t below(int64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((seed >> 33) % (uint64_t)n);
}

static float uniform(void)
{
    return (float)below(20001) / 10000.0f - 1.0f;
}

static dense new_dense(int64_t rows, int64_t columns)
{
    dense m = {rows, columns, calloc((size_t)(rows * columns), sizeof(double)),
               calloc((size_t)(rows * columns), sizeof(double))};
    return m;
}

static void free_dense(dense *m)
{
    free(m->value);
    free(m->modulus);
}

static void set(dense *m, int64_t i, int64_t j, double value)
{
    m->value[i * m->columns + j] = value;
    m->modulus[i * m->columns + j] = fabs(value);
}

static dense times(const dense *a, const dense *b)
{
    dense m = new_dense(a->rows, b->columns);
    assert_int_equal(a->columns, b->rows);
    for (int64_t i = 0; i < m.rows; i++) {
        for (int64_t j = 0; j < m.columns; j++) {
            for (int64_t k = 0; k < a->columns; k++) {
                const int64_t at = i * m.columns + j;
                m.value[at] += a->value[i * a->columns + k] * b->value[k * b->columns + j];
                m.modulus[at] += a->modulus[i * a->columns + k] * b->modulus[k * b->columns + j];
            }
        }
    }
    return m;
}

static dense transposed(const dense *a)
{
    dense m = new_dense(a->columns, a->rows);
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t j = 0; j < a->columns; j++) {
            m.value[j * a->rows + i] = a->value[i * a->columns + j];
            m.modulus[j * a->rows + i] = a->modulus[i * a->columns + j];
        }
    }
    return m;
}

/* K += scale a ⊗ b. */
static void add_kronecker(dense *K, double scale, const dense *a, const dense *b)
{
    for (int64_t i = 0; i < K->rows * K->columns; i++) {
        const int64_t row = i / K->columns, column = i % K->columns;
        const int64_t in_a = row / b->rows * a->columns + column / b->columns;
        const int64_t in_b = row % b->rows * b->columns + column % b->columns;
        K->value[i] += scale * a->value[in_a] * b->value[in_b];
        K->modulus[i] += fabs(scale) * a->modulus[in_a] * b->modulus[in_b];
    }
}

/* Chains of a dozen matrices with at most 5 entries in each sum. */
#define ALLOWED_F32 (100 * 1.2e-7)
#define ALLOWED_F64 (100 * 2.3e-16)

static void assert_near(const char *what, double got, double expected, double modulus,
                        double allowed)
{
    if (!(fabs(got - expected) <= allowed * modulus + 1e-300)) {
        fail_msg("%s: got %.17g, expected %.17g, of size %g", what, got, expected, modulus);
    }
}

/* ---- random factors ---- */

/* What factors show; freed at the end of a test. */
static float *block[4096];
static int blocks;

static float *numbers(int64_t count)
{
    float *x = malloc((size_t)count * sizeof *x);
    assert_true(blocks < 4096);
    for (int64_t i = 0; i < count; i++) {
        x[i] = uniform() + (uniform() < 0 ? -0.5f : 0.5f); /* away from 0, to divide by */
    }
    return block[blocks++] = x;
}

static void free_numbers(void)
{
    while (blocks > 0) {
        free(block[--blocks]);
    }
}

/* Rows, columns or neither together, with gaps. */
static otimes_factor random_dense(int64_t rows, int64_t columns, dense *value)
{
    static const char *const name[] = {"M", "N", "P"};
    const int layout = (int)below(3);
    const int64_t gap = below(3);
    const int64_t row_stride = layout == 0 ? columns + gap : layout == 1 ? 1 : 2;
    const int64_t column_stride = layout == 0 ? 1 : layout == 1 ? rows + gap : 2 * rows + gap;
    const float *x = numbers(rows * row_stride + columns * column_stride);
    *value = new_dense(rows, columns);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            set(value, i, j, x[i * row_stride + j * column_stride]);
        }
    }
    return otimes_factor_dense(name[layout], x, rows, columns, row_stride, column_stride);
}

static otimes_factor random_pair(int64_t rows, int64_t columns, dense *value)
{
    dense l, r;
    const int64_t rank = 1 + below(4);
    const otimes_factor left = random_dense(rows, rank, &l),
                        right = random_dense(rank, columns, &r);
    *value = times(&l, &r);
    free_dense(&l);
    free_dense(&r);
    return otimes_factor_pair("LR", &left, &right);
}

static otimes_factor random_square(int64_t n, dense *value)
{
    const int64_t kind = below(3);
    const float *v = numbers(n);
    *value = new_dense(n, n);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            const double one = i == j;
            set(value, i, j,
                kind == 0   ? one * (double)v[i]
                : kind == 1 ? one / (double)v[i]
                            : one - 1.0 / (double)n);
            if (kind == 2) { /* a mean is taken first, and taken away then */
                value->modulus[i * n + j] = one + 1.0 / (double)n;
            }
        }
    }
    return kind == 0   ? otimes_factor_diagonal("D", v, n)
           : kind == 1 ? otimes_factor_inverse_diagonal("1/D", v, n)
                       : otimes_factor_centring("C", n);
}

static otimes_factor random_factor(int64_t rows, int64_t columns, dense *value)
{
    const bool flip = below(2);
    const int64_t r = flip ? columns : rows, c = flip ? rows : columns;
    otimes_factor f;
    dense m;
    if (r == 1 && below(2)) {
        const int64_t q = below(c);
        m = new_dense(1, c);
        set(&m, 0, q, 1);
        f = otimes_factor_selection("e", q, c);
    } else if (r == c && below(2)) {
        f = random_square(r, &m);
    } else {
        f = below(2) ? random_dense(r, c, &m) : random_pair(r, c, &m);
    }
    *value = m;
    if (flip) {
        *value = transposed(&m);
        free_dense(&m);
        f = otimes_factor_transpose(f);
    }
    return f;
}

/* A chain [rows, columns] of at most 4 factors; returns how many. */
static int64_t random_chain(int64_t rows, int64_t columns, otimes_factor *factor, dense *value)
{
    const int64_t count = rows == columns ? below(5) : 1 + below(4);
    int64_t from = rows;
    *value = new_dense(rows, rows);
    for (int64_t i = 0; i < rows; i++) {
        set(value, i, i, 1);
    }
    for (int64_t k = 0; k < count; k++) {
        const int64_t to = k + 1 == count ? columns : below(3) ? from : 1 + below(5);
        dense own;
        factor[k] = random_factor(from, to, &own);
        const dense product = times(value, &own);
        free_dense(value);
        free_dense(&own);
        *value = product;
        from = to;
    }
    return count;
}

typedef struct known {
    otimes_operator *op;
    dense K;
} known;

static void add_random(known *k, int64_t n_out, int64_t n_in, int64_t d_out, int64_t d_in)
{
    otimes_err err = {0};
    otimes_factor over[4], through[4];
    dense a, b;
    const double scale = below(3) ? (double)uniform() : 1;
    const int64_t over_count = random_chain(n_out, n_in, over, &a);
    const int64_t through_count = random_chain(d_out, d_in, through, &b);
    assert_ok(
        otimes_operator_add_term(k->op, scale, over, over_count, through, through_count, &err),
        &err);
    add_kronecker(&k->K, scale, &a, &b);
    free_dense(&a);
    free_dense(&b);
}

static known random_operator(int64_t n_out, int64_t n_in, int64_t d_out, int64_t d_in)
{
    otimes_err err = {0};
    known k = {.K = new_dense(n_out * d_out, n_in * d_in)};
    assert_ok(otimes_operator_new(&k.op, n_out, n_in, d_out, d_in, &err), &err);
    for (int64_t t = below(4); t > 0; t--) {
        add_random(&k, n_out, n_in, d_out, d_in);
    }
    return k;
}

static void free_known(known *k)
{
    otimes_operator_free(&k->op);
    assert_null(k->op);
    free_dense(&k->K);
}

/* op x = K x for a random x, and the same bits at any number of threads. */
static void assert_applies(const char *what, const otimes_operator *op, const dense *K)
{
    otimes_err err = {0};
    float *y = malloc((size_t)K->rows * sizeof *y), *again = malloc((size_t)K->rows * sizeof *y);
    const float *x = numbers(K->columns);
    dense vector = new_dense(K->columns, 1);
    for (int64_t i = 0; i < K->columns; i++) {
        set(&vector, i, 0, x[i]);
    }
    dense expected = times(K, &vector);
    for (int64_t i = 0; i < K->rows; i++) {
        y[i] = again[i] = NAN; /* is overwritten */
    }
    assert_ok(otimes_operator_apply(op, 1, x, y, &err), &err);
    assert_ok(otimes_operator_apply(op, 3, x, again, &err), &err);
    assert_memory_equal(y, again, (size_t)K->rows * sizeof *y);
    for (int64_t i = 0; i < K->rows; i++) {
        assert_near(what, (double)y[i], expected.value[i], expected.modulus[i], ALLOWED_F32);
    }
    free(y);
    free(again);
    free_dense(&vector);
    free_dense(&expected);
}

enum { ROUNDS = 300 };

/* (A ⊗ B) x = A x B^T, whatever the order; sums and scales of them. */
static void applying(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        otimes_err err = {0};
        const int64_t n[2] = {1 + below(5), 1 + below(5)}, d[2] = {1 + below(5), 1 + below(5)};
        known k = random_operator(n[0], n[1], d[0], d[1]),
              other = random_operator(n[0], n[1], d[0], d[1]);
        assert_applies("apply", k.op, &k.K);
        const int64_t terms = otimes_operator_terms(k.op) + otimes_operator_terms(other.op);
        assert_ok(otimes_operator_add(k.op, -0.75, other.op, &err), &err);
        assert_int_equal(otimes_operator_terms(k.op), terms);
        assert_ok(otimes_operator_add(k.op, 2, k.op, &err), &err); /* itself */
        otimes_operator_scale(k.op, 0.5);
        for (int64_t i = 0; i < k.K.rows * k.K.columns; i++) {
            k.K.value[i] = 1.5 * (k.K.value[i] - 0.75 * other.K.value[i]);
            k.K.modulus[i] = 1.5 * (k.K.modulus[i] + 0.75 * other.K.modulus[i]);
        }
        assert_applies("a sum", k.op, &k.K);
        free_known(&k);
        free_known(&other);
        free_numbers();
    }
}

/* (A ⊗ B)(C ⊗ D) = AC ⊗ BD, over all pairs of terms; transposes. */
static void composing(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        otimes_err err = {0};
        int64_t n[3], d[3];
        for (int i = 0; i < 3; i++) {
            n[i] = 1 + below(4);
            d[i] = 1 + below(4);
        }
        known left = random_operator(n[0], n[1], d[0], d[1]);
        known right = random_operator(n[1], n[2], d[1], d[2]);
        otimes_operator *product, *back, *swapped;
        dense K = times(&left.K, &right.K), Kt = transposed(&K);
        assert_ok(otimes_operator_compose(&product, left.op, right.op, &err), &err);
        assert_int_equal(otimes_operator_terms(product),
                         otimes_operator_terms(left.op) * otimes_operator_terms(right.op));
        assert_applies("a product", product, &K);
        assert_ok(otimes_operator_transpose(&back, product, &err), &err);
        assert_applies("a transpose", back, &Kt);
        assert_ok(otimes_operator_transpose(&swapped, back, &err), &err);
        assert_applies("a transpose of a transpose", swapped, &K);
        otimes_operator_free(&product);
        otimes_operator_free(&back);
        otimes_operator_free(&swapped);
        free_known(&left);
        free_known(&right);
        free_dense(&K);
        free_dense(&Kt);
        free_numbers();
    }
}

static void tracing(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        otimes_err err = {0};
        const int64_t n = 1 + below(5), d = 1 + below(5), m = 1 + below(5);
        known k = random_operator(n, n, d, d);
        double trace = NAN, expected = 0, modulus = 0;
        for (int64_t i = 0; i < n * d; i++) {
            expected += k.K.value[i * n * d + i];
            modulus += k.K.modulus[i * n * d + i];
        }
        /* Around a cycle more is summed than stands on the diagonal. */
        for (int64_t i = 0; i < n * d * n * d; i++) {
            modulus += k.K.modulus[i];
        }
        assert_ok(otimes_operator_trace(k.op, 2, &trace, &err), &err);
        assert_near("trace", trace, expected, modulus, ALLOWED_F64);
        known a = random_operator(n, m, d, m), b = random_operator(n, m, d, m);
        double inner = NAN, norm = NAN, square = 0, product = 0, square_modulus = 0, both = 0;
        for (int64_t i = 0; i < a.K.rows * a.K.columns; i++) {
            square += a.K.value[i] * a.K.value[i];
            square_modulus += a.K.modulus[i] * a.K.modulus[i];
            product += a.K.value[i] * b.K.value[i];
            both += a.K.modulus[i] * b.K.modulus[i];
        }
        assert_ok(otimes_operator_inner(a.op, b.op, 1, &inner, &err), &err);
        assert_near("inner product", inner, product, both, ALLOWED_F64);
        assert_ok(otimes_operator_norm(a.op, 1, &norm, &err), &err);
        assert_near("norm, squared", norm * norm, square, square_modulus, ALLOWED_F64);
        free_known(&k);
        free_known(&a);
        free_known(&b);
        free_numbers();
    }
}

/* ---- orders ---- */

/* An operator of one term, its flops, and it is gone. */
static double cost_of(int64_t n_out, int64_t n_in, int64_t d_out, int64_t d_in,
                      const otimes_factor *over, int64_t over_count, const otimes_factor *through,
                      int64_t through_count)
{
    otimes_operator *op;
    otimes_err err = {0};
    double flops = NAN;
    assert_ok(otimes_operator_new(&op, n_out, n_in, d_out, d_in, &err), &err);
    assert_ok(otimes_operator_add_term(op, 1, over, over_count, through, through_count, &err),
              &err);
    assert_ok(otimes_operator_cost(op, &flops, &err), &err);
    otimes_operator_free(&op);
    return flops;
}

/* The cheaper side goes first, and a pair goes through its rank. */
static void cheapest_order(void **state)
{
    (void)state;
    const float x = 0;
    const otimes_factor A = otimes_factor_dense("A", &x, 8, 8, 8, 1);
    const otimes_factor up = otimes_factor_dense("up", &x, 1000, 10, 10, 1);
    const otimes_factor down = otimes_factor_transpose(up);
    const otimes_factor pair = otimes_factor_pair("OV", &up, &down);
    const otimes_factor query[] = {otimes_factor_selection("e", 3, 8), A};
    /* A x first, as B is wide at its end; B first, where it is narrow there. */
    assert_true(cost_of(8, 8, 1000, 10, &A, 1, &up, 1) == 2.0 * 8 * 8 * 10 + 2.0 * 8 * 10 * 1000);
    assert_true(cost_of(8, 8, 10, 1000, &A, 1, &down, 1) == 2.0 * 8 * 1000 * 10 + 2.0 * 8 * 8 * 10);
    /* A goes where the stream is as narrow as the rank. */
    assert_true(cost_of(8, 8, 1000, 1000, &A, 1, &pair, 1) ==
                2.0 * 8 * 1000 * 10 + 2.0 * 8 * 8 * 10 + 2.0 * 8 * 10 * 1000);
    /* One query: a row of A, then never more than that row. */
    assert_true(cost_of(1, 8, 1000, 1000, query, 2, &pair, 1) ==
                8 + 2.0 * 8 * 1000 + 2.0 * 1000 * 10 + 2.0 * 10 * 1000);
    /* Nothing at all. */
    assert_true(cost_of(8, 8, 4, 4, NULL, 0, NULL, 0) == 0);
}

/* What would have 4 10^12 entries is not formed; tr(L R) = tr(R L), and the norm's square is
 * tr(L^T L R R^T). */
static void never_formed(void **state)
{
    (void)state;
    otimes_err err = {0};
    enum { D = 2000000 };
    float *l = calloc(2 * D, sizeof *l), *r = calloc(2 * D, sizeof *r);
    l[0] = 3;
    l[2 * 7] = 4;
    l[2 * 9 + 1] = 2; /* L [D, 2] = (3 e_0 + 4 e_7, 2 e_9) */
    r[7] = 1;
    r[D + 9] = -5; /* R [2, D] = (e_7^T, -5 e_9^T) */
    const otimes_factor left = otimes_factor_dense("L", l, D, 2, 2, 1);
    const otimes_factor right = otimes_factor_dense("R", r, 2, D, D, 1);
    const otimes_factor through[] = {otimes_factor_centring("C", D),
                                     otimes_factor_pair("LR", &left, &right)};
    otimes_operator *op, *plain;
    double trace = NAN, norm = NAN;
    assert_ok(otimes_operator_new(&op, 1, 1, D, D, &err), &err);
    assert_ok(otimes_operator_new(&plain, 1, 1, D, D, &err), &err);
    assert_ok(otimes_operator_add_term(op, 1, NULL, 0, through, 2, &err), &err);
    assert_ok(otimes_operator_add_term(plain, 1, NULL, 0, through + 1, 1, &err), &err);
    assert_ok(otimes_operator_trace(plain, 0, &trace, &err), &err);
    assert_near("tr LR", trace, 4 - 10, 14, ALLOWED_F64);
    assert_ok(otimes_operator_norm(plain, 0, &norm, &err), &err);
    assert_near("norm of LR, squared", norm * norm, 25 + 100, 125, ALLOWED_F64);
    /* tr(C L R) = tr(L R) - 1^T L R 1 / D */
    assert_ok(otimes_operator_trace(op, 0, &trace, &err), &err);
    assert_near("tr C LR", trace, -6 - (7.0 - 10.0) / D, 14, ALLOWED_F64);
    /* C takes (1^T L r)^2 / D from the square, row by row of R */
    assert_ok(otimes_operator_norm(op, 0, &norm, &err), &err);
    assert_near("norm of C LR, squared", norm * norm, 125 - (49.0 + 100.0) / D, 125, ALLOWED_F64);
    otimes_operator_free(&op);
    otimes_operator_free(&plain);
    free(l);
    free(r);
}

/* tr(D C E C) = sum_i d_i e_i (1 - 2/n) + sum_i d_i sum_j e_j / n^2, where no factor is dense. */
static void traces_of_nothing_dense(void **state)
{
    (void)state;
    static const int64_t size[] = {1, 63, 64, 65, 200};
    for (size_t s = 0; s < sizeof size / sizeof *size; s++) {
        otimes_err err = {0};
        const int64_t n = size[s];
        const float *d = numbers(n), *e = numbers(n);
        const otimes_factor over[] = {
            otimes_factor_diagonal("D", d, n), otimes_factor_centring("C", n),
            otimes_factor_diagonal("E", e, n), otimes_factor_centring("C", n)};
        double products = 0, sum_d = 0, sum_e = 0, modulus = 0, trace = NAN;
        otimes_operator *op;
        for (int64_t i = 0; i < n; i++) {
            products += (double)d[i] * (double)e[i];
            sum_d += (double)d[i];
            sum_e += (double)e[i];
            modulus += fabs((double)d[i] * (double)e[i]);
        }
        const double N = (double)n;
        const double expected = 3 * (products * (1 - 2 / N) + sum_d * sum_e / (N * N));
        assert_ok(otimes_operator_new(&op, n, n, 3, 3, &err), &err);
        assert_ok(otimes_operator_add_term(op, 1, over, 4, NULL, 0, &err), &err);
        assert_ok(otimes_operator_trace(op, 0, &trace, &err), &err);
        assert_near("tr D C E C", trace, expected, 12 * modulus, ALLOWED_F64);
        otimes_operator_free(&op);
        free_numbers();
    }
}

/* ---- formulas ---- */

static void assert_prints(const otimes_operator *op, const char *expected)
{
    char text[512], small[512];
    const int64_t length = otimes_operator_print(op, text, sizeof text);
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(expected));
    assert_int_equal(otimes_operator_print(op, NULL, 0), length);
    for (size_t size = 1; size < (size_t)length + 2; size++) {
        memset(small, '#', sizeof small);
        assert_int_equal(otimes_operator_print(op, small, size), length);
        assert_true(strlen(small) < size && !strncmp(small, text, strlen(small)));
        assert_int_equal(small[size], '#');
    }
    assert_string_equal(small, text);
}

static void printing(void **state)
{
    (void)state;
    otimes_err err = {0};
    const float x = 0;
    otimes_operator *op, *back;
    const otimes_factor over[] = {otimes_factor_pattern(1, 5, &x, 2),
                                  otimes_factor_pattern(0, 3, &x, 2)};
    const otimes_factor through[] = {otimes_factor_dense("W_U", &x, 3, 4, 4, 1),
                                     otimes_factor_dense("OV[1.5]", &x, 4, 4, 4, 1),
                                     otimes_factor_centring("C", 4)};
    assert_ok(otimes_operator_new(&op, 2, 2, 3, 4, &err), &err);
    assert_prints(op, "0");
    assert_ok(otimes_operator_add_term(op, 1, over, 2, through, 3, &err), &err);
    assert_prints(op, "A[1.5]·A[0.3] ⊗ W_U·OV[1.5]·C");
    assert_ok(otimes_operator_add_term(op, 0.5, NULL, 0, through, 1, &err), &err);
    assert_ok(otimes_operator_add_term(op, -1, over, 1, through, 1, &err), &err);
    assert_prints(op, "A[1.5]·A[0.3] ⊗ W_U·OV[1.5]·C + 0.5 Id ⊗ W_U - A[1.5] ⊗ W_U");
    assert_ok(otimes_operator_transpose(&back, op, &err), &err);
    otimes_operator_scale(back, -1);
    assert_prints(back, "-A[0.3]^T·A[1.5]^T ⊗ C·OV[1.5]^T·W_U^T - 0.5 Id ⊗ W_U^T"
                        " + A[1.5]^T ⊗ W_U^T");
    otimes_operator_free(&op);
    otimes_operator_free(&back);
    /* Names of any length are cut between characters. */
    const otimes_factor longest = otimes_factor_centring("123456789012345678901234567890⊗", 4);
    assert_string_equal(longest.name, "123456789012345678901234567890");
}

/* ---- refusals ---- */

static void refused(int rc, const otimes_err *err, const char *message)
{
    assert_int_equal(rc, OTIMES_ERR_ARGUMENT);
    assert_string_equal(err->msg, message);
}

static void mismatches(void **state)
{
    (void)state;
    otimes_err err = {0};
    const float x = 0;
    double number;
    otimes_operator *op, *other, *made = (otimes_operator *)&number;
    const otimes_factor over[] = {otimes_factor_pattern(1, 5, &x, 8),
                                  otimes_factor_pattern(0, 3, &x, 9)};
    const otimes_factor W = otimes_factor_dense("W_U", &x, 5, 4, 4, 1);
    refused(otimes_operator_new(&made, 8, 8, 0, 4, &err), &err,
            "operator: from [8, 4] to [8, 0]: expected at least 1 of each");
    assert_null(made);
    assert_ok(otimes_operator_new(&op, 8, 8, 4, 4, &err), &err);
    assert_ok(otimes_operator_new(&other, 8, 8, 5, 4, &err), &err);
    refused(otimes_operator_add_term(op, 1, over, 2, NULL, 0, &err), &err,
            "operator: A[1.5] [8, 8] · A[0.3] [9, 9]: expected 8 rows of the second, got 9");
    refused(otimes_operator_add_term(op, 1, over + 1, 1, NULL, 0, &err), &err,
            "operator: A[0.3] [9, 9] gives 9 positions, expected 8");
    refused(otimes_operator_add_term(op, 1, over, 1, &W, 1, &err), &err,
            "operator: W_U [5, 4] gives 5 features, expected 4");
    refused(otimes_operator_add_term(other, 1, NULL, 0, NULL, 0, &err), &err,
            "operator: Id takes 5 features, expected 4");
    const otimes_factor narrow = otimes_factor_dense("W_E", &x, 5, 3, 3, 1);
    refused(otimes_operator_add_term(other, 1, NULL, 0, &narrow, 1, &err), &err,
            "operator: W_E takes 3 features, expected 4");
    const otimes_factor query = otimes_factor_selection("e_q", 8, 8);
    refused(
        otimes_operator_add_term(op, 1, &query, 1, NULL, 0, &err), &err,
        "operator: \"e_q\" is no matrix: expected weights that are loaded, an index in range and "
        "sizes above 0, got [1, 8]");
    const otimes_factor apart = otimes_factor_pair("pair", &W, &W);
    refused(
        otimes_operator_add_term(other, 1, NULL, 0, &apart, 1, &err), &err,
        "operator: \"pair\" is no matrix: expected weights that are loaded, an index in range and "
        "sizes above 0, got [5, 4]");
    refused(otimes_operator_add_term(op, 1, NULL, 2, NULL, 0, &err), &err,
            "operator: positions: expected an array of 0 or more factors, got 2 at NULL");
    refused(otimes_operator_add_term(op, 1, NULL, 0, &W, -1, &err), &err,
            "operator: features: expected an array of 0 or more factors, got -1");
    assert_int_equal(otimes_operator_terms(op) + otimes_operator_terms(other), 0);
    refused(otimes_operator_add(op, 1, other, &err), &err,
            "operator: a sum: expected from [8, 4] to [8, 4], got from [8, 4] to [8, 5]");
    refused(otimes_operator_compose(&made, op, other, &err), &err,
            "operator: a product: the left takes [8, 4], the right gives [8, 5]");
    assert_null(made);
    refused(otimes_operator_trace(other, 0, &number, &err), &err,
            "operator: a trace: expected a square one, got from [8, 4] to [8, 5]");
    refused(otimes_operator_inner(op, other, 0, &number, &err), &err,
            "operator: an inner product: expected both of one shape, got from [8, 4] to [8, 4] and "
            "from [8, 4] to [8, 5]");
    otimes_operator_free(&op);
    otimes_operator_free(&op);
    otimes_operator_free(NULL);
    otimes_operator_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applying),     cmocka_unit_test(composing),
        cmocka_unit_test(tracing),      cmocka_unit_test(cheapest_order),
        cmocka_unit_test(never_formed), cmocka_unit_test(traces_of_nothing_dense),
        cmocka_unit_test(printing),     cmocka_unit_test(mismatches),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
