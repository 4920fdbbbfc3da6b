/* SPDX-License-Identifier: MIT
 *
 * What this machine can do at best for a table over vocabulary: the bare product by the BLAS that the
 * library is built with, and its memory.
 *
 *     bench_table product ROWS COLUMNS RANK THREADS [TILE_ROWS TILE_COLUMNS SPLIT]
 *     bench_table memory THREADS
 *
 * The product X Y^T, X [rows, rank], Y [columns, rank], is computed tile by tile into memory that the
 * next tile overwrites; nothing looks at it. SPLIT 0: the BLAS divides each tile among its threads;
 * 1: each thread has tiles of its own. Without a tile all are tried on a corner of the table, and the
 * fastest computes the whole. One line of JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/par.h"
#include "num/la.h"

typedef struct tile {
    int64_t rows, columns;
    int split;
} tile;

typedef struct product {
    int64_t rows, columns, rank;
    int threads;
    const float *X, *Y; /* [rows, rank], [columns, rank] */
    float *C;           /* a tile a worker */
    tile tile;
} product;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(int rc, const otimes_err *err)
{
    if (rc) {
        fprintf(stderr, "bench_table: %s\n", err->msg);
        exit(1);
    }
}

static void *room(int64_t count, size_t size)
{
    void *block = malloc((size_t)count * size);
    if (!block) {
        fprintf(stderr, "bench_table: no memory\n");
        exit(1);
    }
    return block;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Numbers in [-1, 1) from a 64-bit linear congruential generator. */
static float *numbers(int64_t count)
{
    uint64_t state = 1;
    float *out = room(count, sizeof *out);
    for (int64_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = (float)(state >> 40) / 8388608.0f - 1;
    }
    return out;
}

/* All columns of one tile of rows. */
static int run_rows(void *context, int64_t item, int worker, otimes_err *err)
{
    const product *p = context;
    const int64_t first = item * p->tile.rows, rows = least(p->tile.rows, p->rows - first);
    (void)err;
    for (int64_t at = 0; at < p->columns; at += p->tile.columns) {
        const int64_t columns = least(p->tile.columns, p->columns - at);
        otimes_la_default->sgemm(false, true, rows, columns, p->rank, 1, p->X + first * p->rank,
                                 p->rank, p->Y + at * p->rank, p->rank, 0,
                                 p->C + worker * p->tile.rows * p->tile.columns, columns);
    }
    return 0;
}

static double run(product *p)
{
    otimes_err err = {0};
    const int64_t count = (p->rows + p->tile.rows - 1) / p->tile.rows;
    const int workers = p->tile.split ? p->threads : 1;
    otimes_set_blas_threads(p->tile.split ? 1 : p->threads);
    p->C = room(workers * p->tile.rows * p->tile.columns, sizeof(float));
    memset(p->C, 0, (size_t)(workers * p->tile.rows * p->tile.columns) * sizeof(float));
    const double start = now();
    if (p->tile.split) {
        check(otimes_par_for(count, p->threads, run_rows, p, &err), &err);
    } else {
        for (int64_t i = 0; i < count; i++) {
            check(run_rows(p, i, 0, &err), &err);
        }
    }
    const double seconds = now() - start;
    free(p->C);
    return seconds;
}

/* The fastest tile on a corner of some 30 GFLOP, enough rows for every thread to have two tiles. */
static tile best_tile(const product *whole)
{
    static const int64_t heights[] = {256, 512, 1024, 2048}, widths[] = {1024, 4096, 16384, 65536};
    tile best = {256, 1024, 0};
    double fastest = 0;
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 4; j++) {
            for (int split = 0; split < (whole->threads > 1 ? 2 : 1); split++) {
                product p = *whole;
                p.rows = least(p.rows, 2 * p.threads * heights[i]);
                p.columns = least(p.columns, 15000000000 / (p.rows * p.rank) + 1024);
                p.tile = (tile){heights[i], least(widths[j], p.columns), split};
                if (j > 0 && widths[j - 1] >= p.columns) {
                    continue; /* the same tile again */
                }
                const double seconds = run(&p), second = run(&p);
                const double rate =
                    (double)(p.rows * p.columns) / (seconds < second ? seconds : second);
                if (rate > fastest) {
                    fastest = rate;
                    best = (tile){heights[i], widths[j], split};
                }
            }
        }
    }
    best.columns = least(best.columns, whole->columns);
    return best;
}

static void bench_product(product *p)
{
    float *X = numbers(p->rows * p->rank), *Y = numbers(p->columns * p->rank);
    p->X = X;
    p->Y = Y;
    if (p->tile.rows == 0) {
        p->tile = best_tile(p);
    }
    const double seconds = run(p),
                 flops = 2.0 * (double)p->rows * (double)p->columns * (double)p->rank;
    printf("{\"seconds\": %.6f, \"gflops\": %.2f, \"rows\": %lld, \"tile\": [%lld, %lld, %d], "
           "\"blas\": \"%s\"}\n",
           seconds, 1e-9 * flops / seconds, (long long)p->rows, (long long)p->tile.rows,
           (long long)p->tile.columns, p->tile.split, otimes_la_default->name);
    free(X);
    free(Y);
}

/* Far beyond any cache, as STREAM (McCalpin 1995) asks for. */
enum { WORDS = 1 << 26, BEST_OF = 5 };

typedef struct memory {
    uint64_t *from, *to; /* [WORDS] */
    int threads, copy;
    uint64_t sum[64];
} memory;

static int touch(void *context, int64_t item, int worker, otimes_err *err)
{
    memory *m = context;
    const int64_t first = item * WORDS / m->threads, end = (item + 1) * WORDS / m->threads;
    (void)worker;
    (void)err;
    if (m->copy) {
        memcpy(m->to + first, m->from + first, (size_t)(end - first) * sizeof *m->from);
        return 0;
    }
    uint64_t sum = 0;
    for (int64_t i = first; i < end; i++) {
        sum += m->from[i];
    }
    m->sum[item] = sum;
    return 0;
}

static double fastest_touch(memory *m)
{
    otimes_err err = {0};
    double fastest = 1e300;
    for (int i = 0; i < BEST_OF; i++) {
        const double start = now();
        check(otimes_par_for(m->threads, m->threads, touch, m, &err), &err);
        const double seconds = now() - start;
        fastest = seconds < fastest ? seconds : fastest;
    }
    return fastest;
}

/* GB/s: bytes read, and bytes read and written by a copy, counted as STREAM does. */
static void bench_memory(int threads)
{
    const double bytes = (double)WORDS * sizeof(uint64_t);
    memory m = {.from = room(WORDS, sizeof(uint64_t)), .to = room(WORDS, sizeof(uint64_t))};
    m.threads = threads;
    memset(m.from, 1, WORDS * sizeof *m.from);
    memset(m.to, 0, WORDS * sizeof *m.to);
    const double read = fastest_touch(&m);
    m.copy = 1;
    const double copy = fastest_touch(&m);
    printf("{\"read\": %.2f, \"copy\": %.2f, \"sum\": %llu}\n", 1e-9 * bytes / read,
           2e-9 * bytes / copy, (unsigned long long)m.sum[0]);
    free(m.from);
    free(m.to);
}

int main(int argc, char **argv)
{
    int64_t number[7] = {0};
    for (int i = 2; i < argc && i < 9; i++) {
        number[i - 2] = atoll(argv[i]);
    }
    if (argc == 3 && strcmp(argv[1], "memory") == 0 && number[0] > 0 && number[0] <= 64) {
        bench_memory((int)number[0]);
        return 0;
    }
    if ((argc != 6 && argc != 9) || strcmp(argv[1], "product") != 0 || number[0] < 1 ||
        number[1] < 1 || number[2] < 1 || number[3] < 1) {
        fprintf(stderr, "usage: bench_table product ROWS COLUMNS RANK THREADS [TILE_ROWS "
                        "TILE_COLUMNS SPLIT]\n       bench_table memory THREADS\n");
        return 2;
    }
    product p = {.rows = number[0],
                 .columns = number[1],
                 .rank = number[2],
                 .threads = (int)number[3],
                 .tile = {number[4], number[5], (int)number[6]}};
    bench_product(&p);
    return 0;
}
