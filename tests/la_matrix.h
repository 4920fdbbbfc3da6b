/* SPDX-License-Identifier: MIT
 *
 * Matrices for the tests of dense kernels: guarded memory, seeded contents of many kinds, measures
 * and thresholds.
 *
 * Every matrix lies in a block whose every other byte is its guard. Half the blocks take 0xff, as
 * numbers NaN, so that a kernel which reads beyond its matrix spoils its result; the others 0x2a,
 * tiny numbers, since a sum with NaN leaves the NaN's bits and would be an unseen write.
 */
#ifndef OTIMES_TESTS_LA_MATRIX_H
#define OTIMES_TESTS_LA_MATRIX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "num/la.h"

enum { GUARD_ROWS = 2 };

typedef struct matrix {
    int64_t m, n, ld;
    size_t size; /* of an element */
    unsigned char *block, guard;
    double *d; /* the first element, by type */
    float *f;
} matrix;

/* The two tables every test runs: the one this build computes with and the plain-C one. */
static inline const otimes_la *table(int t)
{
    return t == 0 ? otimes_la_default : &otimes_la_reference;
}

/* Distance of subnormal numbers: what a result among them loses whatever its size. */
static const double smallest_step = 0x1p-1074;

/* ---- random numbers: splitmix64, so that a failing case fails everywhere ---- */

static uint64_t random_state = 20240229;

static inline uint64_t random_bits(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline double uniform(void)
{
    return ((double)(random_bits() >> 11) + 0.5) * 0x1p-53;
}

static inline double normal(void)
{
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

static inline int64_t below(int64_t n)
{
    return (int64_t)(random_bits() % (uint64_t)n);
}

static inline int64_t random_size(void)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31, 33, 64, 65, 70};
    return sizes[below(sizeof sizes / sizeof sizes[0])];
}

/* ---- guarded matrices ---- */

static inline size_t block_size(const matrix *a)
{
    return (size_t)((a->m + 2 * GUARD_ROWS) * a->ld + 8) * a->size;
}

static inline matrix make(int64_t m, int64_t n, size_t size)
{
    matrix a = {.m = m, .n = n, .ld = n + 1 + below(6), .size = size};
    a.guard = below(2) ? 0xff : 0x2a;
    a.block = malloc(block_size(&a));
    assert_non_null(a.block);
    memset(a.block, a.guard, block_size(&a));
    void *start = a.block + (size_t)(GUARD_ROWS * a.ld + below(8)) * size;
    a.d = size == sizeof(double) ? start : NULL;
    a.f = size == sizeof(float) ? start : NULL;
    return a;
}

static inline matrix make_d(int64_t m, int64_t n)
{
    return make(m, n, sizeof(double));
}

static inline matrix random_d(int64_t m, int64_t n, double scale)
{
    matrix a = make_d(m, n);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            a.d[i * a.ld + j] = scale * normal();
        }
    }
    return a;
}

static inline matrix constant_d(int64_t m, int64_t n, double value)
{
    matrix a = make_d(m, n);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            a.d[i * a.ld + j] = value;
        }
    }
    return a;
}

static inline matrix copy_of(const matrix *a)
{
    matrix b = make(a->m, a->n, a->size);
    for (int64_t i = 0; i < a->m && a->n > 0; i++) {
        const unsigned char *from =
            a->d ? (unsigned char *)(a->d + i * a->ld) : (unsigned char *)(a->f + i * a->ld);
        unsigned char *to =
            b.d ? (unsigned char *)(b.d + i * b.ld) : (unsigned char *)(b.f + i * b.ld);
        memcpy(to, from, (size_t)a->n * a->size);
    }
    return b;
}

/* Element as a double; matrices of either type. */
static inline double at(const matrix *a, int64_t i, int64_t j)
{
    return a->d ? a->d[i * a->ld + j] : (double)a->f[i * a->ld + j];
}

static inline void put(matrix *a, int64_t i, int64_t j, double x)
{
    if (a->d) {
        a->d[i * a->ld + j] = x;
    } else {
        a->f[i * a->ld + j] = (float)x;
    }
}

/* Fails when a byte outside the matrix changed; releases it. */
static inline void drop(matrix *a)
{
    const unsigned char *start = a->d ? (unsigned char *)a->d : (unsigned char *)a->f;
    const size_t offset = (size_t)(start - a->block), pitch = (size_t)a->ld * a->size;
    const size_t width = (size_t)a->n * a->size, height = (size_t)a->m;
    for (size_t at_byte = 0; at_byte < block_size(a); at_byte++) {
        const bool inside = at_byte >= offset && (at_byte - offset) / pitch < height &&
                            (at_byte - offset) % pitch < width;
        if (!inside && a->block[at_byte] != a->guard) {
            fail_msg("byte %zu outside a matrix of %lld x %lld was written", at_byte,
                     (long long)a->m, (long long)a->n);
        }
    }
    free(a->block);
    a->block = NULL;
}

/* ---- measures ---- */

static inline double largest(const matrix *a)
{
    double most = 0;
    for (int64_t i = 0; i < a->m; i++) {
        for (int64_t j = 0; j < a->n; j++) {
            const double x = fabs(at(a, i, j));
            most = x <= most ? most : x; /* keeps a NaN */
        }
    }
    return most;
}

/* Frobenius norm, of any scale. */
static inline double norm(const matrix *a)
{
    const double most = largest(a);
    if (most == 0) {
        return 0;
    }
    double sum = 0;
    for (int64_t i = 0; i < a->m; i++) {
        for (int64_t j = 0; j < a->n; j++) {
            const double x = at(a, i, j) / most;
            sum += x * x;
        }
    }
    return most * sqrt(sum);
}

#define assert_at_most(x, bound) assert_at_most_((x), (bound), #x, __LINE__)

static inline void assert_at_most_(double x, double bound, const char *what, int line)
{
    if (!(x <= bound)) {
        fail_msg("line %d: %s is %.3e, expected at most %.3e", line, what, x, bound);
    }
}

/* Norm of A - B diag(s) C^T (s NULL: ones; turned false: C instead of C^T), by plain sums. */
static inline double residual(const matrix *a, const matrix *b, const double *s, const matrix *c,
                              bool turned)
{
    matrix rest = make_d(a->m, a->n);
    for (int64_t i = 0; i < a->m; i++) {
        for (int64_t j = 0; j < a->n; j++) {
            long double sum = at(a, i, j);
            for (int64_t k = 0; k < b->n; k++) {
                const double other = turned ? at(c, j, k) : at(c, k, j);
                sum -= (long double)at(b, i, k) * (s ? s[k] : 1) * other;
            }
            put(&rest, i, j, (double)sum);
        }
    }
    const double result = norm(&rest);
    drop(&rest);
    return result;
}

/* Norm of Q^T Q - I. */
static inline double unorthogonality(const matrix *q)
{
    matrix rest = make_d(q->n, q->n);
    for (int64_t i = 0; i < q->n; i++) {
        for (int64_t j = 0; j < q->n; j++) {
            long double sum = i == j ? -1 : 0;
            for (int64_t k = 0; k < q->m; k++) {
                sum += (long double)at(q, k, i) * at(q, k, j);
            }
            put(&rest, i, j, (double)sum);
        }
    }
    const double result = norm(&rest);
    drop(&rest);
    return result;
}

/* ---- matrices to factor ---- */

enum {
    PLAIN,
    HUGE_SCALE,
    TINY_SCALE,
    SUBNORMAL,
    ZERO,
    RANK_ONE,
    LOW_RANK,
    TWIN_COLUMNS,
    GRADED,
    SPARSE,
    KINDS
};

static inline matrix low_rank(int64_t m, int64_t n, int64_t rank)
{
    matrix x = random_d(m, rank, 1), y = random_d(rank, n, 1), a = make_d(m, n);
    otimes_la_reference.dgemm(false, false, m, n, rank, 1, x.d, x.ld, y.d, y.ld, 0, a.d, a.ld);
    drop(&x);
    drop(&y);
    return a;
}

static inline matrix specimen(int kind, int64_t m, int64_t n)
{
    static const double scale[KINDS] = {
        [PLAIN] = 1,     [HUGE_SCALE] = 1e150, [TINY_SCALE] = 1e-150, [SUBNORMAL] = 1e-312,
        [ZERO] = 0,      [RANK_ONE] = 1,       [LOW_RANK] = 1,        [TWIN_COLUMNS] = 1,
        [GRADED] = 1e10, [SPARSE] = 1};
    if (kind == RANK_ONE || kind == LOW_RANK) {
        return low_rank(m, n, kind == RANK_ONE ? 1 : 3);
    }
    matrix a = random_d(m, n, scale[kind]);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            if (kind == TWIN_COLUMNS && j % 2 == 1) {
                put(&a, i, j, at(&a, i, j - 1));
            } else if (kind == GRADED) {
                put(&a, i, j, at(&a, i, j) * pow(10, -3 * (double)(i + j)));
            } else if (kind == SPARSE && below(4) > 0) {
                put(&a, i, j, 0);
            }
        }
    }
    return a;
}

/* c (m + n) eps norm, and what a sum of subnormal numbers may lose. */
static inline double threshold(double c, const matrix *a)
{
    const double size = (double)(a->m + a->n + 1);
    return c * size * (DBL_EPSILON * norm(a) + smallest_step * size);
}

/* A random matrix with orthonormal columns. */
static inline matrix random_orthogonal(int64_t m, int64_t n)
{
    matrix a = random_d(m, n, 1), q = make_d(m, n), r = make_d(n, n);
    assert_int_equal(otimes_la_reference.dqr(m, n, a.d, a.ld, q.d, q.ld, r.d, r.ld), 0);
    drop(&a);
    drop(&r);
    return q;
}

#endif
