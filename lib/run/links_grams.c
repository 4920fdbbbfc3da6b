/* SPDX-License-Identifier: MIT
 *
 * Links by Grams. The upper triangle of every G' = G - I/D is walked in blocks of BLOCK_ROWS rows and up
 * to BLOCK_COLUMNS columns; off the diagonal squares entries count twice, so they are taken times
 * sqrt(2). A block of all ends is a matrix [ends, rows * columns], and tiles of writers against tiles of
 * readers are products of it. The squares on the diagonal are taken whole: BLOCK_ROWS / d more work
 * than the triangle.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "num/la.h"
#include "run/links_job.h"

enum { BLOCK_ROWS = 64, BLOCK_COLUMNS = 256, OFF_POWER = 16 };

/* Writers and readers of a tile. Larger ones are packed for the product less often, and hold more pairs
 * that do not exist. */
static const int64_t tile_sizes[][2] = {{48, 144}, {64, 128}, {128, 256}, {128, 1024}, {256, 512}};
enum {
    TILE_SIZES = 5,
    PACKING = 32 /* flops of a product in the time that one number is packed */
};

typedef struct grams_job {
    const otimes_links *links;
    double dimension;
    int64_t ends, row, rows, column, columns; /* the block */
    int64_t row_size, block_size;             /* floats of one end in each buffer */
    float *part;                              /* [ends, rows, rank] B[:, rows]^T core */
    float *block;                             /* [ends, rows, columns] */
    const int64_t *size;                      /* of a tile, one of tile_sizes */
    int64_t *tile;                            /* [tiles, 2] first writer, first reader */
    int64_t tiles;
    float *product; /* [workers, size[0], size[1]] */
    double *square;
} grams_job;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static const otimes_link_end *end_of(const otimes_links *links, int64_t at)
{
    return at < links->writers ? &links->writer[at] : &links->reader[at - links->writers];
}

static int make_part(void *context, int64_t at, int worker, otimes_err *err)
{
    const grams_job *job = context;
    const otimes_link_end *e = end_of(job->links, at);
    const int64_t d = job->links->d_model;
    (void)worker;
    (void)err;
    if (e->root && e->basis) {
        otimes_la_default->sgemm(true, false, job->rows, e->rank, e->rank, 1.0F,
                                 e->basis + job->row, d, e->core, e->rank, 0.0F,
                                 job->part + at * job->row_size, e->rank);
    }
    return OTIMES_OK;
}

/* out = scale G[rows, first .. first+count-1], rows of out job->columns apart. */
static void form_columns(const grams_job *job, const otimes_link_end *e, const float *part,
                         int64_t first, int64_t count, float scale, float *out)
{
    const int64_t d = job->links->d_model;
    if (e->basis) {
        otimes_la_default->sgemm(false, false, job->rows, count, e->rank, scale, part, e->rank,
                                 e->basis + first, d, 0.0F, out, job->columns);
        return;
    }
    for (int64_t i = 0; i < job->rows; i++) {
        for (int64_t j = 0; j < count; j++) {
            out[i * job->columns + j] = scale * e->core[(job->row + i) * d + first + j];
        }
    }
}

/* I/D goes from what lies on the diagonal. */
static void take_trace(const grams_job *job, float *out)
{
    for (int64_t i = 0; job->row == job->column && i < job->rows; i++) {
        out[i * job->columns + i] -= (float)(1 / job->dimension);
    }
}

static int make_block(void *context, int64_t at, int worker, otimes_err *err)
{
    const grams_job *job = context;
    const otimes_link_end *e = end_of(job->links, at);
    const float *part = job->part + at * job->row_size;
    float *out = job->block + at * job->block_size;
    const int64_t last = job->column + job->columns;
    const int64_t after = job->row + job->rows; /* the square on the diagonal ends here */
    const int64_t cut = job->column < after ? (after < last ? after : last) : job->column;
    (void)worker;
    (void)err;
    if (!e->root) {
        memset(out, 0, (size_t)job->block_size * sizeof *out);
        return OTIMES_OK;
    }
    if (cut > job->column) {
        form_columns(job, e, part, job->column, cut - job->column, 1.0F, out);
        take_trace(job, out);
    }
    if (cut < last) {
        form_columns(job, e, part, cut, last - cut, 1.41421356F, out + (cut - job->column));
    }
    return OTIMES_OK;
}

static int add_tile(void *context, int64_t item, int worker, otimes_err *err)
{
    const grams_job *job = context;
    const otimes_links *links = job->links;
    const int64_t i0 = job->tile[2 * item], j0 = job->tile[2 * item + 1];
    const int64_t m = least(links->writers - i0, job->size[0]);
    const int64_t n = least(links->readers - j0, job->size[1]);
    const int64_t k = job->rows * job->columns;
    float *product = job->product + worker * job->size[0] * job->size[1];
    (void)err;
    otimes_la_default->sgemm(false, true, m, n, k, 1.0F, job->block + i0 * job->block_size,
                             job->block_size, job->block + (links->writers + j0) * job->block_size,
                             job->block_size, 0.0F, product, n);
    for (int64_t i = 0; i < m; i++) {
        double *out = job->square + (i0 + i) * links->readers + j0;
        for (int64_t j = 0; j < n; j++) {
            out[j] += (double)product[i * n + j];
        }
    }
    return OTIMES_OK;
}

static bool has_pair(const otimes_links *links, int64_t i, int64_t m, int64_t j, int64_t n)
{
    for (int64_t a = i; a < i + m; a++) {
        for (int64_t b = j; b < j + n; b++) {
            if (otimes_link_exists(&links->writer[a], &links->reader[b])) {
                return true;
            }
        }
    }
    return false;
}

/* Tiles with a pair in them; tile NULL counts them. *cost: products of numbers that they take for one
 * entry of each form, packing counted. */
static int64_t list_tiles(const otimes_links *links, const int64_t *size, int64_t *tile,
                          double *cost)
{
    int64_t count = 0;
    *cost = 0;
    for (int64_t i = 0; i < links->writers; i += size[0]) {
        const int64_t m = least(links->writers - i, size[0]);
        int64_t first = 0; /* reader with a pair: tiles begin there */
        while (first < links->readers && !has_pair(links, i, m, first, 1)) {
            first++;
        }
        for (int64_t j = first; j < links->readers; j += size[1]) {
            const int64_t n = least(links->readers - j, size[1]);
            if (!has_pair(links, i, m, j, n)) { /* unreached: readers come by layer */
                continue;
            }
            if (tile) {
                tile[2 * count] = i;
                tile[2 * count + 1] = j;
            }
            count++;
            *cost += (double)(m * n + PACKING * (m + n));
        }
    }
    return count;
}

static const int64_t *choose_tiles(const otimes_links *links, int64_t *tiles, double *cost)
{
    const int64_t *best = NULL;
    *cost = INFINITY;
    for (int s = 0; s < TILE_SIZES; s++) {
        double own = 0;
        const int64_t count = list_tiles(links, tile_sizes[s], NULL, &own);
        if (own < *cost) {
            best = tile_sizes[s];
            *tiles = count;
            *cost = own;
        }
    }
    return best;
}

double otimes_links_gram_flops(const otimes_links *links)
{
    const double d = (double)links->d_model;
    const double area = d * d + d * BLOCK_ROWS; /* twice the entries kept */
    int64_t tiles;
    double flops;
    choose_tiles(links, &tiles, &flops);
    flops *= area;
    for (int64_t i = 0; i < links->writers + links->readers; i++) {
        const otimes_link_end *e = end_of(links, i);
        flops += e->basis ? area * (double)e->rank + 2 * d * (double)(e->rank * e->rank) : area;
    }
    return flops;
}

static int run_block(grams_job *job, otimes_err *err)
{
    const int threads = job->links->threads;
    const int rc = otimes_par_for(job->ends, threads, make_block, job, err);
    return rc == OTIMES_OK ? otimes_par_for(job->tiles, threads, add_tile, job, err) : rc;
}

static int run_blocks(grams_job *job, otimes_err *err)
{
    const otimes_links *links = job->links;
    const int64_t d = links->d_model;
    int rc = OTIMES_OK;
    for (job->row = 0; rc == OTIMES_OK && job->row < d; job->row += BLOCK_ROWS) {
        job->rows = d - job->row < BLOCK_ROWS ? d - job->row : BLOCK_ROWS;
        rc = otimes_par_for(job->ends, links->threads, make_part, job, err);
        for (job->column = job->row; rc == OTIMES_OK && job->column < d;
             job->column += BLOCK_COLUMNS) {
            job->columns = d - job->column < BLOCK_COLUMNS ? d - job->column : BLOCK_COLUMNS;
            rc = run_block(job, err);
        }
        if (rc == OTIMES_OK && links->tick) {
            const double left = (double)(d - job->row - job->rows) / (double)d;
            rc = links->tick(links->context, 1 - left * left, err);
        }
    }
    return rc;
}

int otimes_links_by_grams(const otimes_links *links, double *square, otimes_err *err)
{
    grams_job job = {.links = links,
                     .dimension = otimes_links_dimension(links),
                     .ends = links->writers + links->readers,
                     .square = square};
    double cost;
    job.size = choose_tiles(links, &job.tiles, &cost);
    const int64_t d = links->d_model;
    const int64_t rows = d < BLOCK_ROWS ? d : BLOCK_ROWS;
    const int64_t columns = d < BLOCK_COLUMNS ? d : BLOCK_COLUMNS;
    const int workers = otimes_par_workers(job.tiles, links->threads);
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    for (int64_t i = 0; i < job.ends; i++) {
        const otimes_link_end *e = end_of(links, i);
        const int64_t size = e->basis ? rows * e->rank : 0;
        job.row_size = size > job.row_size ? size : job.row_size;
    }
    job.block_size = rows * columns + OFF_POWER; /* rows a power of two apart share cache lines */
    job.part = otimes_pool_new(&pool, job.ends * job.row_size, sizeof(float), &rc, err);
    job.block = otimes_pool_new(&pool, job.ends * job.block_size, sizeof(float), &rc, err);
    job.tile = otimes_pool_new(&pool, 2 * job.tiles, sizeof *job.tile, &rc, err);
    job.product =
        otimes_pool_new(&pool, workers * job.size[0] * job.size[1], sizeof(float), &rc, err);
    if (rc == OTIMES_OK) {
        list_tiles(links, job.size, job.tile, &cost);
        /* <G, H> of trace 1 from <G - I/D, H - I/D>, which has 2/D less and tr(I)/D^2 more. */
        const double taken = (2 - (double)d / job.dimension) / job.dimension;
        for (int64_t i = 0; i < links->writers * links->readers; i++) {
            square[i] = taken;
        }
        rc = run_blocks(&job, err);
    }
    otimes_pool_free(&pool);
    return rc;
}
