/* SPDX-License-Identifier: MIT */
#include "run/strongest.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/par.h"
#include "model/model.h"
#include "num/factored.h"
#include "num/la.h"
#include "run/vocab.h"

/* Tiles of the table; fixed, so that what is examined does not depend on the number of threads. */
enum { TILE_ROWS = 128, TILE_COLUMNS = 256, STRIP_ROWS = 256 };

/* ---- the entries kept: a heap with the worst at its root ---- */

typedef struct heap {
    int64_t capacity, count;
    otimes_strongest_entry *entry;
} heap;

static bool worse(const otimes_strongest_entry *a, const otimes_strongest_entry *b)
{
    if (a->value != b->value) {
        return a->value < b->value;
    }
    return a->row != b->row ? a->row > b->row : a->column > b->column;
}

static void swap(otimes_strongest_entry *a, otimes_strongest_entry *b)
{
    const otimes_strongest_entry kept = *a;
    *a = *b;
    *b = kept;
}

static void sift_down(heap *h, int64_t count)
{
    for (int64_t at = 0;;) {
        int64_t worst = at;
        for (int64_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            worst = worse(&h->entry[child], &h->entry[worst]) ? child : worst;
        }
        if (worst == at) {
            return;
        }
        swap(&h->entry[at], &h->entry[worst]);
        at = worst;
    }
}

static void keep(heap *h, otimes_strongest_entry e)
{
    if (h->count == h->capacity) {
        if (h->capacity > 0 && worse(&h->entry[0], &e)) {
            h->entry[0] = e;
            sift_down(h, h->count);
        }
        return;
    }
    int64_t at = h->count++;
    h->entry[at] = e;
    for (; at > 0 && worse(&h->entry[at], &h->entry[(at - 1) / 2]); at = (at - 1) / 2) {
        swap(&h->entry[at], &h->entry[(at - 1) / 2]);
    }
}

/* What an entry must reach to be kept, or to tie with the worst. */
static double least(const heap *h)
{
    return h->count < h->capacity ? -INFINITY : h->entry[0].value;
}

static void finish(heap *h, double sign)
{
    for (int64_t last = h->count - 1; last > 0; last--) {
        swap(&h->entry[0], &h->entry[last]);
        sift_down(h, last);
    }
    for (int64_t i = 0; i < h->capacity; i++) {
        if (i < h->count) {
            h->entry[i].value *= sign;
        } else {
            h->entry[i] = (otimes_strongest_entry){NAN, -1, -1};
        }
    }
}

/* ---- one side of the table ---- */

typedef struct ranked {
    double norm;
    int32_t place; /* among the tokens of the side */
} ranked;

typedef struct side {
    const otimes_vocab_end *end;
    int64_t count, rank;
    double *exact;  /* [count, rank] projections by place */
    float *narrow;  /* the same by falling norm, over the largest norm */
    ranked *ranked; /* [count] by falling norm */
} side;

static int32_t token_of(const side *s, int64_t at)
{
    const int32_t place = s->ranked[at].place;
    return s->end->tokens ? (int32_t)s->end->tokens[place] : place;
}

static void free_side(side *s)
{
    otimes_free(s->exact);
    otimes_free(s->narrow);
    otimes_free(s->ranked);
}

static int by_falling_norm(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    if (a->norm != b->norm) {
        return a->norm > b->norm ? -1 : 1;
    }
    return a->place < b->place ? -1 : a->place > b->place;
}

/* A tile of the vocabulary on its way through the factor. */
typedef struct projection {
    side *s;
    const double *factor; /* [rank, d_model] */
    const float *tile;
    double *wide; /* a worker's [STRIP_ROWS, d_model] */
    int64_t d_model, first, rows;
} projection;

static int project_strip(void *context, int64_t strip, int worker, otimes_err *err)
{
    const projection *p = context;
    const int64_t d = p->d_model, from = strip * STRIP_ROWS, rank = p->s->rank;
    const int64_t rows = p->rows - from < STRIP_ROWS ? p->rows - from : STRIP_ROWS;
    double *wide = p->wide + worker * STRIP_ROWS * d;
    double *out = p->s->exact + (p->first + from) * rank;
    (void)err;
    for (int64_t i = 0; i < rows * d; i++) {
        wide[i] = (double)p->tile[from * d + i];
    }
    otimes_la_default->dgemm(false, true, rows, rank, d, 1.0, wide, d, p->factor, d, 0.0, out,
                             rank);
    for (int64_t i = 0; i < rows; i++) {
        p->s->ranked[p->first + from + i] = (ranked){
            otimes_norm_of_singular_values(out + i * rank, rank), (int32_t)(p->first + from + i)};
    }
    return OTIMES_OK;
}

/* Projections and norms of all tokens of the side. */
static int project(const otimes_model *model, side *s, const double *factor, otimes_err *err)
{
    const int64_t d = otimes_model_describe(model)->d_model;
    const int64_t tile_rows = otimes_vocab_tile_rows(d, s->count);
    const int64_t strips = (tile_rows + STRIP_ROWS - 1) / STRIP_ROWS;
    projection p = {.s = s, .factor = factor, .d_model = d};
    float *tile = NULL;
    int rc = OTIMES_NEW(&tile, tile_rows * d, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&p.wide, otimes_par_workers(strips, model->threads) * STRIP_ROWS * d, err);
    }
    p.tile = tile;
    for (p.first = 0; rc == OTIMES_OK && p.first < s->count; p.first += tile_rows) {
        p.rows = s->count - p.first < tile_rows ? s->count - p.first : tile_rows;
        rc = otimes_vocab_rows(model, s->end->unembed, s->end->tokens, p.first, p.rows, tile, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for((p.rows + STRIP_ROWS - 1) / STRIP_ROWS, model->threads,
                                project_strip, &p, err);
        }
    }
    otimes_free(tile);
    otimes_free(p.wide);
    return rc;
}

static int make_side(const otimes_model *model, const otimes_vocab_end *end, int64_t rank,
                     const double *factor, side *s, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t all = end->unembed ? info->d_vocab_out : info->d_vocab;
    *s = (side){.end = end, .count = end->tokens ? end->token_count : all, .rank = rank};
    int rc = OTIMES_NEW(&s->exact, s->count * rank, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&s->narrow, s->count * rank, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&s->ranked, s->count, err);
    }
    if (rc == OTIMES_OK) {
        rc = project(model, s, factor, err);
    }
    if (rc != OTIMES_OK || s->count == 0) {
        return rc;
    }
    qsort(s->ranked, (size_t)s->count, sizeof *s->ranked, by_falling_norm);
    const double unit = s->ranked[0].norm > 0 ? s->ranked[0].norm : 1;
    for (int64_t i = 0; i < s->count; i++) {
        const double *row = s->exact + s->ranked[i].place * rank;
        for (int64_t k = 0; k < rank; k++) {
            s->narrow[i * rank + k] = (float)(row[k] / unit);
        }
    }
    return OTIMES_OK;
}

/* ---- the search ---- */

typedef struct search {
    side row, column;
    double unit;                /* product of the largest norms: what float32 products are over */
    heap kept;                  /* of all */
    heap *own;                  /* a worker's */
    float *products;            /* a worker's tile */
    int64_t column_at, columns; /* of the wave */
    int64_t examined;
} search;

/* Norms say more than the rounding of their own. */
#define SLACK (1 + 1e-12)

static double bound(const search *s, int64_t row_at, int64_t column_at)
{
    return s->row.ranked[row_at].norm * s->column.ranked[column_at].norm * SLACK;
}

/* The entry in double, if it can be kept. */
static void consider(const search *s, heap *own, int64_t row_at, int64_t column_at)
{
    const int64_t rank = s->row.rank;
    const double *x = s->row.exact + s->row.ranked[row_at].place * rank;
    const double *y = s->column.exact + s->column.ranked[column_at].place * rank;
    double sum = 0;
    for (int64_t k = 0; k < rank; k++) {
        sum += x[k] * y[k];
    }
    if (sum >= least(&s->kept)) {
        keep(own, (otimes_strongest_entry){sum, token_of(&s->row, row_at),
                                           token_of(&s->column, column_at)});
    }
}

/* A row of a tile: entries that float32 cannot exclude. Its products are off by at most
 * (rank + 4) eps times both norms, and by what underflows. */
static void scan(const search *s, heap *own, int64_t row_at, const float *values)
{
    enum { RUN = 64 };
    const double margin = (double)(s->row.rank + 4) * FLT_EPSILON * bound(s, row_at, s->column_at) +
                          s->unit * (double)s->row.rank * 1e-37;
    for (int64_t at = 0; at < s->columns; at += RUN) {
        const int64_t end = s->columns - at < RUN ? s->columns : at + RUN;
        const double floor_ = fmax(least(&s->kept), least(own)) - margin;
        const float limit = nextafterf((float)(floor_ / s->unit), -INFINITY);
        int enters = 0;
        for (int64_t j = at; j < end; j++) {
            enters |= values[j] >= limit;
        }
        for (int64_t j = at; enters && j < end; j++) {
            if (values[j] >= limit) {
                consider(s, own, row_at, s->column_at + j);
            }
        }
    }
}

static int multiply_tile(void *context, int64_t tile, int worker, otimes_err *err)
{
    search *s = context;
    const int64_t rank = s->row.rank, first = tile * TILE_ROWS;
    const int64_t rows = s->row.count - first < TILE_ROWS ? s->row.count - first : TILE_ROWS;
    float *products = s->products + (int64_t)worker * TILE_ROWS * TILE_COLUMNS;
    (void)err;
    otimes_la_default->sgemm(
        false, true, rows, s->columns, rank, 1.0f, s->row.narrow + first * rank, rank,
        s->column.narrow + s->column_at * rank, rank, 0.0f, products, s->columns);
    for (int64_t i = 0; i < rows; i++) {
        scan(s, &s->own[worker], first + i, products + i * s->columns);
    }
    return OTIMES_OK;
}

/* Row tiles that can reach what is kept with the columns at hand: those in front. */
static int64_t reaching_tiles(const search *s)
{
    const double needed = least(&s->kept);
    int64_t tiles = 0;
    while (tiles * TILE_ROWS < s->row.count &&
           bound(s, tiles * TILE_ROWS, s->column_at) >= needed) {
        tiles++;
    }
    return tiles;
}

static void merge(search *s, int workers)
{
    for (int w = 0; w < workers; w++) {
        for (int64_t i = 0; i < s->own[w].count; i++) {
            keep(&s->kept, s->own[w].entry[i]);
        }
        s->own[w].count = 0;
    }
}

/* Columns by falling norm, a block a wave; what the wave found raises the bar for the next. */
static int run_waves(const otimes_strongest_ask *ask, search *s, int threads, int workers,
                     otimes_err *err)
{
    int rc = OTIMES_OK;
    for (s->column_at = 0; rc == OTIMES_OK && s->column_at < s->column.count;
         s->column_at += TILE_COLUMNS) {
        const int64_t left = s->column.count - s->column_at;
        s->columns = left < TILE_COLUMNS ? left : TILE_COLUMNS;
        const int64_t tiles = reaching_tiles(s);
        if (tiles == 0) {
            break;
        }
        const int64_t rows = tiles * TILE_ROWS < s->row.count ? tiles * TILE_ROWS : s->row.count;
        rc = otimes_par_for(tiles, threads, multiply_tile, s, err);
        merge(s, workers);
        s->examined += rows * s->columns;
        if (rc == OTIMES_OK && ask->tick) {
            rc = ask->tick(ask->context, (double)s->column_at / (double)s->column.count, err);
        }
    }
    return rc;
}

static int search_table(const otimes_model *model, const otimes_strongest_ask *ask, search *s,
                        otimes_strongest_entry *entry, otimes_err *err)
{
    const int64_t tiles = (s->row.count + TILE_ROWS - 1) / TILE_ROWS;
    const int workers = otimes_par_workers(tiles, model->threads);
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    int64_t cells;
    const int64_t most = otimes_mul_i64(s->row.count, s->column.count, &cells) && cells < ask->top
                             ? cells
                             : ask->top;
    s->kept = (heap){.capacity = most, .entry = entry};
    s->own = otimes_pool_new(&pool, workers, sizeof *s->own, &rc, err);
    s->products = otimes_pool_new(&pool, (int64_t)workers * TILE_ROWS * TILE_COLUMNS,
                                  sizeof *s->products, &rc, err);
    for (int w = 0; rc == OTIMES_OK && w < workers; w++) {
        s->own[w] = (heap){.capacity = most};
        s->own[w].entry = otimes_pool_new(&pool, most, sizeof *entry, &rc, err);
    }
    if (rc == OTIMES_OK && most > 0) {
        s->unit = s->row.ranked[0].norm * s->column.ranked[0].norm;
        s->unit = s->unit > 0 ? s->unit : 1;
        rc = run_waves(ask, s, model->threads, workers, err);
    }
    if (rc == OTIMES_OK) {
        s->kept.capacity = ask->top;
        finish(&s->kept, ask->smallest ? -1 : 1);
    }
    otimes_pool_free(&pool);
    return rc;
}

/* L R^T scale = (left)^T right with left, right [rank, d_model] of equal weight: sqrt(sigma) on
 * either side makes the norms of their rows say the most about products. */
typedef struct balanced {
    int64_t rank;
    double *left, *right, *values;
} balanced;

static void free_balanced(balanced *b)
{
    otimes_free(b->left);
    otimes_free(b->right);
    otimes_free(b->values);
}

static int wide_side(const double *x, int64_t rows, int64_t rank, otimes_side *out, otimes_err *err)
{
    *out = (otimes_side){.rows = rows, .rank = rank, .r_rows = rows < rank ? rows : rank};
    const int rc = OTIMES_NEW(&out->x, rows * rank, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < rows * rank; i++) {
        out->x[i] = x[i];
    }
    return rc == OTIMES_OK ? otimes_side_factorise(out, true, err) : rc;
}

static int balance(const otimes_strongest_ask *ask, int64_t d, balanced *b, otimes_err *err)
{
    const double scale = ask->smallest ? -ask->scale : ask->scale;
    otimes_side left = {0}, right = {0};
    int rc = wide_side(ask->left, d, ask->rank, &left, err);
    if (rc == OTIMES_OK) {
        rc = wide_side(ask->right, d, ask->rank, &right, err);
    }
    b->rank = left.r_rows;
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&b->left, b->rank * d, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&b->right, b->rank * d, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&b->values, b->rank, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_factored_svd((otimes_factored){&left, &right}, b->values, b->rank, b->left,
                                 b->right, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < b->rank * d; i++) {
        const double root = sqrt(b->values[i / d]);
        b->left[i] *= root * scale;
        b->right[i] *= root;
    }
    otimes_side_free(&left);
    otimes_side_free(&right);
    return rc;
}

int otimes_strongest(const otimes_model *model, const otimes_strongest_ask *ask,
                     otimes_strongest_entry *entry, int64_t *examined, otimes_err *err)
{
    const int64_t d = otimes_model_describe(model)->d_model;
    balanced factors = {0};
    search s = {0};
    int rc = balance(ask, d, &factors, err);
    if (rc == OTIMES_OK) {
        rc = make_side(model, &ask->row, factors.rank, factors.left, &s.row, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_side(model, &ask->column, factors.rank, factors.right, &s.column, err);
    }
    if (rc == OTIMES_OK) {
        rc = search_table(model, ask, &s, entry, err);
    }
    if (examined) {
        *examined = s.examined;
    }
    free_side(&s.row);
    free_side(&s.column);
    free_balanced(&factors);
    return rc;
}
