/* SPDX-License-Identifier: MIT */
#include "run/table_columns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/par.h"
#include "run/table_keep.h"

enum {
    PIECE = 128,   /* columns that a worker takes at a time */
    SAMPLE = 1024, /* vectors of either side from which a basis is made */
    HEADROOM = 30  /* bits that a vector may exceed those of the sample by */
};

#define UNIT 0x1p-24 /* of float32's rounding */

double otimes_table_least_error(int64_t rank)
{
    return (double)rank * 0x1p-100;
}

float otimes_table_largest(int64_t count, const float *x)
{
    float most = 0;
    for (int64_t k = 0; k < count; k++) {
        const float size = fabsf(x[k]);
        most = size > most ? size : most;
    }
    return most;
}

/* In two steps, each of which has a float32 for a factor. */
static void scale(int64_t count, int exponent, float *x)
{
    const float first = ldexpf(1, exponent / 2), second = ldexpf(1, exponent - exponent / 2);
    for (int64_t k = 0; k < count; k++) {
        x[k] = x[k] * first * second;
    }
}

int otimes_table_normalise(int64_t count, float *x)
{
    int exponent = 0;
    frexpf(otimes_table_largest(count, x), &exponent);
    scale(count, -exponent, x);
    return exponent;
}

/* ---- the basis ---- */

/* Vectors at places spread evenly over a side: [*count, rank]. */
static int read_sample(const otimes_table_side *side, int64_t rank, int64_t *count, float *out,
                       otimes_err *err)
{
    int rc = OTIMES_OK;
    *count = side->count < SAMPLE ? side->count : SAMPLE;
    for (int64_t i = 0; rc == OTIMES_OK && i < *count; i++) {
        rc = otimes_table_read(side, rank, NULL, i * side->count / *count, 1, out + i * rank, err);
    }
    return rc;
}

static void root_mean_squares(int64_t count, int64_t rank, const float *x, double *out)
{
    memset(out, 0, (size_t)rank * sizeof *out);
    for (int64_t i = 0; i < count; i++) {
        for (int64_t k = 0; k < rank; k++) {
            out[k] += (double)x[i * rank + k] * (double)x[i * rank + k];
        }
    }
    for (int64_t k = 0; k < rank; k++) {
        out[k] = count > 0 ? sqrt(out[k] / (double)count) : 0;
    }
}

/* Any basis and any mean will do: a sample's are as good as those of all. */
static int make_basis(const otimes_table *table, otimes_table_columns *c, otimes_err *err)
{
    const int64_t rank = c->rank;
    int64_t rows = 0, columns = 0;
    float *sample = NULL, *of_columns = NULL;
    double *rms = NULL;
    int rc = OTIMES_NEW(&sample, SAMPLE * rank, err);
    rc = rc == OTIMES_OK ? OTIMES_NEW(&of_columns, SAMPLE * rank, err) : rc;
    rc = rc == OTIMES_OK ? OTIMES_NEW(&rms, 2 * rank, err) : rc;
    rc = rc == OTIMES_OK ? read_sample(&table->row, rank, &rows, sample, err) : rc;
    rc = rc == OTIMES_OK ? read_sample(&table->column, rank, &columns, of_columns, err) : rc;
    if (rc == OTIMES_OK) {
        for (int64_t i = 0; i < rows; i++) { /* each row counts alike */
            otimes_table_normalise(rank, sample + i * rank);
        }
        c->exponent = otimes_table_normalise(columns * rank, of_columns);
        root_mean_squares(rows, rank, sample, rms);
        root_mean_squares(columns, rank, of_columns, rms + rank);
        rc = otimes_mix_make(rank, rms, rms + rank, &c->mix, &c->pool, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < columns; i++) {
        otimes_mix_apply(&c->mix, 1, of_columns + i * rank, sample);
        for (int64_t k = 0; k < rank; k++) {
            c->mean[k] += of_columns[i * rank + k] / (float)columns;
        }
    }
    otimes_free(rms);
    otimes_free(of_columns);
    otimes_free(sample);
    return rc;
}

/* ---- 16 bits ---- */

/* A column on the way to its panel. */
typedef struct sized {
    float most; /* largest entry of c */
    int32_t place;
} sized;

typedef struct narrowing {
    const otimes_table *table;
    otimes_table_columns *c;
    sized *sized;   /* [count] */
    float *vectors; /* a worker's [PIECE + 1, rank] */
    int64_t pieces;
    int32_t *excess; /* [pieces] exponents beyond the sample's */
    double mean_norm;
} narrowing;

/* c of a mixed vector y. */
static void narrow(const narrowing *n, int64_t place, float *y)
{
    const otimes_table_columns *c = n->c;
    const int64_t rank = c->rank;
    const double raw = otimes_table_norm(y, rank) + n->mean_norm;
    for (int64_t k = 0; k < rank; k++) {
        y[k] -= c->mean[k];
    }
    const float most = otimes_table_largest(rank, y);
    const double step = most > 0 ? (double)most / (double)c->levels : 1;
    const double lost = otimes_screen_narrow(rank, y, step, c->integers + place * c->wide);
    /* The basis, T's own rounding, that of c, and the shift, which is summed in double. */
    const double besides = (c->mix.error + 3 * UNIT + (double)rank * 0x1p-50) * raw;
    c->column[place] = (otimes_table_column){
        .step = step, .norm = otimes_table_norm(y, rank), .error = lost + besides};
    n->sized[place] = (sized){.most = most, .place = (int32_t)place};
}

static int narrow_piece(void *context, int64_t piece, int worker, otimes_err *err)
{
    const narrowing *n = context;
    const otimes_table_side *side = &n->table->column;
    const int64_t rank = n->c->rank, first = piece * PIECE;
    const int64_t count = n->c->count - first < PIECE ? n->c->count - first : PIECE;
    float *vectors = n->vectors + worker * (PIECE + 1) * rank;
    int exponent = 0;
    const int rc = otimes_table_read(side, rank, NULL, first, count, vectors, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    frexpf(otimes_table_largest(count * rank, vectors), &exponent);
    n->excess[piece] = exponent - n->c->exponent;
    if (n->excess[piece] > HEADROOM) {
        return OTIMES_OK;
    }
    for (int64_t i = 0; i < count; i++) {
        float *y = vectors + i * rank;
        scale(rank, -n->c->exponent, y);
        otimes_mix_apply(&n->c->mix, 1, y, vectors + PIECE * rank);
        narrow(n, first + i, y);
    }
    return OTIMES_OK;
}

/* Again with a larger unit when the sample has missed vectors so much larger than its own. */
static int narrow_all(narrowing *n, otimes_err *err)
{
    for (;;) {
        int32_t most = 0;
        n->mean_norm = otimes_table_norm(n->c->mean, n->c->rank);
        const int rc = otimes_par_for(n->pieces, n->table->threads, narrow_piece, n, err);
        for (int64_t i = 0; i < n->pieces; i++) {
            most = n->excess[i] > most ? n->excess[i] : most;
        }
        if (rc != OTIMES_OK || most <= HEADROOM) {
            return rc;
        }
        n->c->exponent += most;
        scale(n->c->rank, -most, n->c->mean);
    }
}

/* ---- 8 bits ---- */

static int by_falling_size(const void *left, const void *right)
{
    const sized *a = left, *b = right;
    if (a->most != b->most) {
        return a->most > b->most ? -1 : 1;
    }
    return a->place < b->place ? -1 : a->place > b->place;
}

static int pack_panel(void *context, int64_t at, int worker, otimes_err *err)
{
    enum { COLUMNS = OTIMES_SCREEN_COLUMNS, STEP = OTIMES_SCREEN_STEP, LEVELS = 127, ZERO = 128 };
    const narrowing *n = context;
    const otimes_table_columns *c = n->c;
    const int64_t rank = c->rank, bytes = c->steps * COLUMNS * STEP;
    const sized *of = n->sized + at * COLUMNS;
    const int64_t left = c->count - at * COLUMNS;
    float *vector = n->vectors + worker * (PIECE + 1) * rank;
    int16_t *q = (void *)(vector + rank);
    uint8_t *out = c->panels + at * bytes;
    otimes_table_panel *panel = &c->panel[at];
    (void)err;
    *panel = (otimes_table_panel){.step = of[0].most > 0 ? (double)of[0].most / LEVELS : 1};
    memset(out, ZERO, (size_t)bytes);
    for (int j = 0; j < COLUMNS; j++) {
        c->order[at * COLUMNS + j] = j < left ? of[j].place : -1;
        if (j >= left) {
            continue;
        }
        const otimes_table_column *column = &c->column[of[j].place];
        const int16_t *integers = c->integers + of[j].place * c->wide;
        for (int64_t k = 0; k < rank; k++) {
            vector[k] = (float)((double)integers[k] * column->step);
        }
        const double lost = otimes_screen_narrow(rank, vector, panel->step, q);
        for (int64_t k = 0; k < rank; k++) {
            out[(k / STEP * COLUMNS + j) * STEP + k % STEP] = (uint8_t)(q[k] + ZERO);
        }
        /* `vector` is rounded once more. */
        panel->norm = fmax(panel->norm, column->norm);
        panel->error = fmax(panel->error, lost + column->error + UNIT * 2 * column->norm);
    }
    return OTIMES_OK;
}

static int new_columns(otimes_table_columns *c, otimes_err *err)
{
    const int64_t lanes = c->panel_count * OTIMES_SCREEN_COLUMNS;
    otimes_pool *pool = &c->pool;
    int rc = OTIMES_OK;
    c->mean = otimes_pool_new(pool, c->rank, sizeof(float), &rc, err);
    c->integers = otimes_pool_new(pool, c->count * c->wide, sizeof(int16_t), &rc, err);
    c->column = otimes_pool_new(pool, c->count, sizeof *c->column, &rc, err);
    c->panels =
        otimes_pool_new(pool, lanes * c->steps * OTIMES_SCREEN_STEP, sizeof(uint8_t), &rc, err);
    c->panel = otimes_pool_new(pool, c->panel_count, sizeof *c->panel, &rc, err);
    c->order = otimes_pool_new(pool, lanes, sizeof(int32_t), &rc, err);
    return rc;
}

int otimes_table_columns_make(const otimes_table *table, otimes_table_columns *columns,
                              otimes_err *err)
{
    const int64_t count = table->column.count, rank = table->rank;
    otimes_table_columns *c = columns;
    otimes_pool scratch = {0};
    narrowing n = {.table = table, .c = c, .pieces = (count + PIECE - 1) / PIECE};
    *c = (otimes_table_columns){
        .count = count,
        .rank = rank,
        .steps = (rank + OTIMES_SCREEN_STEP - 1) / OTIMES_SCREEN_STEP,
        .wide = (rank + OTIMES_SCREEN_WIDE - 1) / OTIMES_SCREEN_WIDE * OTIMES_SCREEN_WIDE,
        .panel_count = (count + OTIMES_SCREEN_COLUMNS - 1) / OTIMES_SCREEN_COLUMNS};
    c->levels = otimes_screen_wide_levels(c->wide);
    int rc = new_columns(c, err);
    n.sized = otimes_pool_new(&scratch, count, sizeof *n.sized, &rc, err);
    n.excess = otimes_pool_new(&scratch, n.pieces, sizeof *n.excess, &rc, err);
    n.vectors = otimes_pool_new(
        &scratch, otimes_par_workers(c->panel_count, table->threads) * (PIECE + 1) * rank,
        sizeof(float), &rc, err);
    if (rc == OTIMES_OK) {
        rc = make_basis(table, c, err);
    }
    if (rc == OTIMES_OK) {
        rc = narrow_all(&n, err);
    }
    if (rc == OTIMES_OK) {
        qsort(n.sized, (size_t)count, sizeof *n.sized, by_falling_size);
        rc = otimes_par_for(c->panel_count, table->threads, pack_panel, &n, err);
    }
    otimes_pool_free(&scratch);
    return rc;
}

void otimes_table_columns_free(otimes_table_columns *columns)
{
    otimes_pool_free(&columns->pool);
    *columns = (otimes_table_columns){0};
}
