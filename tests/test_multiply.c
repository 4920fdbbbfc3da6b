/* SPDX-License-Identifier: MIT
 *
 * Products of views: every layout, both precisions, more than one tile, borders untouched.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "num/multiply.h"
#include "num/product.h"

enum { ROWS, COLUMNS, APART, REVERSED, LAYOUTS };

typedef struct sample {
    otimes_view view;
    float *narrow;
    double *wide;
} sample;

static sample make(int64_t rows, int64_t columns, int layout, bool wide)
{
    const int64_t room = 2 * rows * columns + 8;
    sample s = {{rows, columns, 0, 0, NULL, NULL}, NULL, NULL};
    int64_t first = 0;
    if (layout == ROWS) {
        s.view.row_stride = columns + 3;
        s.view.column_stride = 1;
    } else if (layout == COLUMNS) {
        s.view.row_stride = 1;
        s.view.column_stride = rows;
    } else if (layout == APART) {
        s.view.row_stride = 2;
        s.view.column_stride = 2 * rows;
    } else {
        s.view.row_stride = -columns;
        s.view.column_stride = 1;
        first = (rows - 1) * columns;
    }
    s.narrow = malloc((size_t)(room + 3 * rows) * sizeof *s.narrow);
    s.wide = malloc((size_t)(room + 3 * rows) * sizeof *s.wide);
    for (int64_t i = 0; i < room + 3 * rows; i++) {
        s.wide[i] = s.narrow[i] = (float)sin(1.3 * (double)i + (double)rows);
    }
    if (wide) {
        s.view.wide = s.wide + first;
    } else {
        s.view.narrow = s.narrow + first;
    }
    return s;
}

static void unmake(sample *s)
{
    free(s->narrow);
    free(s->wide);
}

static double element(bool wide, const void *c, int64_t i)
{
    return wide ? ((const double *)c)[i] : (double)((const float *)c)[i];
}

static void one(const sample *a, const sample *b, double alpha, bool add, bool wide)
{
    otimes_err err = {0};
    const int64_t m = a->view.rows, n = b->view.columns, k = a->view.columns;
    const size_t size = wide ? sizeof(double) : sizeof(float), bytes = (size_t)(m * n) * size;
    unsigned char *c = malloc(bytes + 16), *again = malloc(bytes + 16);
    memset(c, 0x3e, bytes + 16); /* 0.18... or 2e-8 in each, and marks behind */
    memset(again, 0x3e, bytes + 16);
    const double before = element(wide, c, 0);
    assert_ok(otimes_multiply(1, &a->view, &b->view, alpha, add, wide, c, &err), &err);
    assert_ok(otimes_multiply(4, &a->view, &b->view, alpha, add, wide, again, &err), &err);
    assert_memory_equal(c, again, bytes + 16);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(c[bytes + (size_t)i], 0x3e);
    }
    const int64_t stride = m * n > 20000 ? 37 : 1; /* of those that are held against the sum */
    for (int64_t at = 0; at < m * n; at += stride) {
        double sum = 0, modulus = 0;
        for (int64_t l = 0; l < k; l++) {
            const double x = otimes_view_at(&a->view, at / n, l);
            const double y = otimes_view_at(&b->view, l, at % n);
            sum += x * y;
            modulus += fabs(x * y);
        }
        const double expected = alpha * sum + (add ? before : 0);
        const double allowed =
            (fabs(alpha) * modulus + fabs(before)) * (double)(k + 4) * (wide ? 2.3e-16 : 1.2e-7);
        if (!(fabs(element(wide, c, at) - expected) <= allowed)) {
            fail_msg("[%lld, %lld, %lld], entry %lld: got %.9g, expected %.9g", (long long)m,
                     (long long)n, (long long)k, (long long)at, element(wide, c, at), expected);
        }
    }
    free(c);
    free(again);
}

static void layouts(void **state)
{
    static const int64_t shapes[][3] = {{1, 1, 1},     {3, 5, 2},       {1, 300, 7},
                                        {130, 1, 260}, {150, 140, 300}, {600, 700, 40}};
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (int variant = 0; variant < LAYOUTS * LAYOUTS * 8; variant++) {
            const bool wide_a = variant & 1, wide_b = variant & 2, wide = variant & 4;
            if (s >= 4 && (variant & 3) != 0) {
                continue; /* large ones of weights alone */
            }
            sample a = make(shapes[s][0], shapes[s][2], variant / 8 % LAYOUTS, wide_a);
            sample b = make(shapes[s][2], shapes[s][1], variant / 8 / LAYOUTS, wide_b);
            one(&a, &b, 1.0, false, wide);
            one(&a, &b, -0.5, true, wide);
            unmake(&a);
            unmake(&b);
        }
    }
}

/* A B and A B^T, with a bias in each row or without, over what is there or added to it. */
static void shared_products(void **state)
{
    enum { M = 70, N = 90, K = 33 };
    static float a[M * K], b[K * N], bias[N], c[M * N];
    (void)state;
    for (int i = 0; i < M * K; i++) {
        a[i] = (float)(i * 7 % 23 - 11);
    }
    for (int i = 0; i < K * N; i++) {
        b[i] = (float)(i * 5 % 19 - 9);
    }
    for (int j = 0; j < N; j++) {
        bias[j] = (float)(j % 13);
    }
    for (int way = 0; way < 8; way++) {
        const bool turned = way & 1, add = way & 2, biased = way & 4;
        for (int i = 0; i < M * N; i++) {
            c[i] = 3;
        }
        otimes_product(1 + way % 3, turned, M, N, K, a, K, b, turned ? K : N, biased ? bias : NULL,
                       add, c, N);
        for (int i = 0; i < M * N; i++) { /* whole numbers: without rounding */
            float expected = (add ? 3.0F : 0) + (biased ? bias[i % N] : 0);
            for (int k = 0; k < K; k++) {
                expected += a[i / N * K + k] * (turned ? b[i % N * K + k] : b[k * N + i % N]);
            }
            assert_true(c[i] == expected);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(layouts),
                                       cmocka_unit_test(shared_products)};
    otimes_set_blas_threads(1); /* then, the bits are the same on any number of ours */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
