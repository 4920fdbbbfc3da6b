/* SPDX-License-Identifier: MIT */
#include "num/product.h"

#include <string.h>

#include "base/par.h"
#include "num/la.h"

/* A BLAS packs both operands of each tile, which costs as much as about 100 rows or columns of
 * products: tiles are as large as leaves work for many threads. */
enum { SMALLEST = 256, LARGEST = 1024, ENOUGH = 16 };

typedef struct product {
    bool tb, add;
    int64_t m, n, k, lda, ldb, ldc;
    const float *a, *b, *bias;
    float *c;
    int64_t tile_m, tile_n, across;
} product;

static int64_t pieces(int64_t length, int64_t tile)
{
    return (length + tile - 1) / tile;
}

static int run_tile(void *context, int64_t item, int worker, otimes_err *err)
{
    const product *p = context;
    const int64_t i = item / p->across * p->tile_m, j = item % p->across * p->tile_n;
    const int64_t m = p->m - i < p->tile_m ? p->m - i : p->tile_m;
    const int64_t n = p->n - j < p->tile_n ? p->n - j : p->tile_n;
    float *c = p->c + i * p->ldc + j;
    const float *b = p->b + (p->tb ? j * p->ldb : j);
    (void)worker, (void)err;
    for (int64_t row = 0; p->bias && row < m; row++) {
        float *to = c + row * p->ldc;
        for (int64_t column = 0; p->add && column < n; column++) {
            to[column] += p->bias[j + column];
        }
        if (!p->add) {
            memcpy(to, p->bias + j, (size_t)n * sizeof *to);
        }
    }
    otimes_la_default->sgemm(false, p->tb, m, n, p->k, 1.0f, p->a + i * p->lda, p->lda, b, p->ldb,
                             p->add || p->bias ? 1.0f : 0.0f, c, p->ldc);
    return OTIMES_OK;
}

void otimes_product(int threads, bool tb, int64_t m, int64_t n, int64_t k, const float *a,
                    int64_t lda, const float *b, int64_t ldb, const float *bias, bool add, float *c,
                    int64_t ldc)
{
    product p = {.tb = tb,
                 .add = add,
                 .m = m,
                 .n = n,
                 .k = k,
                 .lda = lda,
                 .ldb = ldb,
                 .ldc = ldc,
                 .a = a,
                 .b = b,
                 .bias = bias,
                 .c = c,
                 .tile_m = LARGEST,
                 .tile_n = LARGEST};
    while (pieces(m, p.tile_m) * pieces(n, p.tile_n) < ENOUGH &&
           (p.tile_m > SMALLEST || p.tile_n > SMALLEST)) {
        int64_t *larger =
            (p.tile_m < m ? p.tile_m : m) > (p.tile_n < n ? p.tile_n : n) && p.tile_m > SMALLEST
                ? &p.tile_m
                : &p.tile_n;
        larger = *larger > SMALLEST ? larger : &p.tile_m;
        *larger /= 2;
    }
    p.across = pieces(n, p.tile_n);
    const double operations = 0.03 * (double)m * (double)n * (double)k;
    /* A tile has no way to fail. */
    (void)otimes_par_for(pieces(m, p.tile_m) * p.across, otimes_par_worth(threads, operations),
                         run_tile, &p, NULL);
}

/* ---- sums ---- */

enum { ADD_RUN = 1 << 16 }; /* entries that a thread adds at a time */

typedef struct sum {
    int64_t count;
    const float *x;
    float *y;
} sum;

static int add_run(void *context, int64_t item, int worker, otimes_err *err)
{
    const sum *s = context;
    const int64_t first = item * ADD_RUN;
    const int64_t end = s->count - first < ADD_RUN ? s->count : first + ADD_RUN;
    (void)worker, (void)err;
    for (int64_t i = first; i < end; i++) {
        s->y[i] += s->x[i];
    }
    return OTIMES_OK;
}

void otimes_add(int threads, int64_t count, const float *x, float *y)
{
    sum s = {count, x, y};
    (void)otimes_par_for((count + ADD_RUN - 1) / ADD_RUN,
                         otimes_par_worth(threads, 0.3 * (double)count), add_run, &s, NULL);
}
