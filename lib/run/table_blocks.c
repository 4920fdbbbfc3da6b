/* SPDX-License-Identifier: MIT
 *
 * A sheet by blocks of columns: a float32 product for each strip of rows while the block is in cache, what
 * is to be kept found in it, then the consumer. Shapes do not depend on the number of threads, so neither
 * does what the consumer sees.
 */
#include <stdbool.h>

#include "base/par.h"
#include "num/la.h"
#include "run/table_job.h"
#include "run/table_keep.h"

/* Columns that a worker reads at once. */
enum { PIECE = 128, PIECES = OTIMES_TABLE_BLOCK / PIECE };

typedef struct blocks {
    otimes_table_job *job;
    bool held;       /* the products of the whole sheet, for ask->every->block */
    float *columns;  /* [OTIMES_TABLE_BLOCK, rank] */
    float *products; /* a worker's strip, or with `held` the sheet's, strip by strip */
    double *piece_norm;
    otimes_table_block block;
    otimes_table_keeper *keepers; /* [sheet rows] */
    float *scratch_value;         /* a worker's [scratch] */
    int32_t *scratch_index;
    int64_t scratch;
    otimes_table_entries *beyond; /* [strips] */
    int64_t strips, entries;      /* room of the sheet's */
    otimes_pool pool;
} blocks;

static int64_t strips_of(int64_t rows)
{
    return (rows + OTIMES_TABLE_STRIP - 1) / OTIMES_TABLE_STRIP;
}

static void close_blocks(void *state)
{
    blocks *b = state;
    if (!b) {
        return;
    }
    for (int64_t i = 0; b->beyond && i < b->strips; i++) {
        otimes_free(b->beyond[i].entry);
    }
    otimes_free(b->job->sheet.entry_row);
    otimes_free(b->job->sheet.entry_column);
    otimes_free(b->job->sheet.entry_value);
    otimes_pool_free(&b->pool);
    otimes_free(b);
}

static int open_blocks(otimes_table_job *job, void **state, otimes_err *err)
{
    const otimes_table_ask *ask = job->ask;
    const int64_t rank = job->table->rank, rows = otimes_table_sheet_rows(job->table);
    const int64_t workers = otimes_par_workers(strips_of(rows), job->table->threads);
    blocks *b = NULL;
    int rc = OTIMES_NEW(&b, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    *state = b;
    b->job = job;
    b->held = ask->every && ask->every->block;
    b->strips = strips_of(rows);
    b->scratch = ask->top > ask->bottom ? ask->top : ask->bottom;
    b->scratch = b->scratch < OTIMES_TABLE_BLOCK ? b->scratch : OTIMES_TABLE_BLOCK;
    b->columns = otimes_pool_new(&b->pool, OTIMES_TABLE_BLOCK * rank, sizeof(float), &rc, err);
    b->products = otimes_pool_new(&b->pool, b->held ? rows : workers * OTIMES_TABLE_STRIP,
                                  OTIMES_TABLE_BLOCK * sizeof(float), &rc, err);
    b->piece_norm = otimes_pool_new(&b->pool, PIECES, sizeof(double), &rc, err);
    b->keepers = otimes_pool_new(&b->pool, rows, sizeof *b->keepers, &rc, err);
    b->scratch_value = otimes_pool_new(&b->pool, workers * b->scratch, sizeof(float), &rc, err);
    b->scratch_index = otimes_pool_new(&b->pool, workers * b->scratch, sizeof(int32_t), &rc, err);
    b->beyond = otimes_pool_new(&b->pool, b->strips, sizeof *b->beyond, &rc, err);
    return rc;
}

/* ---- a block ---- */

static int read_piece(void *context, int64_t piece, int worker, otimes_err *err)
{
    const blocks *b = context;
    const otimes_table_side *side = &b->job->table->column;
    const int64_t rank = b->block.rank, first = piece * PIECE, left = b->block.count - first;
    const int64_t count = left < PIECE ? left : PIECE;
    float *vectors = b->columns + first * rank;
    (void)worker;
    const int rc = otimes_table_read(side, rank, NULL, b->block.first + first, count, vectors, err);
    double largest = 0;
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        const double norm = otimes_table_norm(vectors + i * rank, rank);
        largest = norm <= largest ? largest : norm; /* a NaN stays */
    }
    b->piece_norm[piece] = largest;
    return rc;
}

static int read_block(blocks *b, int64_t first, otimes_err *err)
{
    const int64_t left = b->job->table->column.count - first;
    b->block = (otimes_table_block){
        .rank = b->job->table->rank,
        .first = first,
        .count = left < OTIMES_TABLE_BLOCK ? left : OTIMES_TABLE_BLOCK,
        .vectors = b->columns,
        .threshold = b->job->ask->threshold,
    };
    const int64_t pieces = (b->block.count + PIECE - 1) / PIECE;
    const int rc = otimes_par_for(pieces, b->job->table->threads, read_piece, b, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < pieces; i++) {
        const double norm = b->piece_norm[i];
        b->block.norm = norm <= b->block.norm ? b->block.norm : norm;
    }
    return rc;
}

static int run_strip(void *context, int64_t strip, int worker, otimes_err *err)
{
    const blocks *b = context;
    const otimes_table_job *job = b->job;
    const otimes_table_consumer *every = job->ask->every;
    const otimes_table_block *block = &b->block;
    const int64_t first = strip * OTIMES_TABLE_STRIP, left = job->sheet.rows - first;
    const int64_t rows = left < OTIMES_TABLE_STRIP ? left : OTIMES_TABLE_STRIP;
    float *products = b->held
                          ? b->products + first * block->count
                          : b->products + (int64_t)worker * OTIMES_TABLE_STRIP * OTIMES_TABLE_BLOCK;
    int rc = OTIMES_OK;
    otimes_la_default->sgemm(false, true, rows, block->count, block->rank, 1.0f,
                             job->sheet.vectors + first * block->rank, block->rank, block->vectors,
                             block->rank, 0.0f, products, block->count);
    for (int64_t i = 0; rc == OTIMES_OK && i < rows; i++) {
        rc = otimes_table_keep(&b->keepers[first + i], block, products + i * block->count,
                               b->scratch_value + worker * b->scratch,
                               b->scratch_index + worker * b->scratch, &b->beyond[strip], err);
    }
    if (rc == OTIMES_OK && every && every->strip) {
        const otimes_table_values values = {job->sheet.first_row + first,
                                            rows,
                                            block->first,
                                            block->count,
                                            products,
                                            block->vectors,
                                            block->norm};
        every->strip(job->ask->context, &values);
    }
    return rc;
}

static int run_block(blocks *b, int64_t first, otimes_err *err)
{
    const otimes_table_job *job = b->job;
    int rc = read_block(b, first, err);
    if (rc == OTIMES_OK) {
        rc = otimes_par_for(strips_of(job->sheet.rows), job->table->threads, run_strip, b, err);
    }
    if (rc == OTIMES_OK && b->held) {
        const otimes_table_values values = {job->sheet.first_row, job->sheet.rows, b->block.first,
                                            b->block.count,       b->products,     b->columns,
                                            b->block.norm};
        rc = job->ask->every->block(job->ask->context, &values, err);
    }
    return rc == OTIMES_OK
               ? otimes_table_tick(b->job, (double)job->sheet.rows * (double)b->block.count, err)
               : rc;
}

/* ---- a sheet ---- */

static int begin_strip(void *context, int64_t strip, int worker, otimes_err *err)
{
    const blocks *b = context;
    const otimes_table_sheet *sheet = &b->job->sheet;
    const int64_t rank = b->job->table->rank, top = b->job->ask->top, bottom = b->job->ask->bottom;
    const int64_t first = strip * OTIMES_TABLE_STRIP, end = first + OTIMES_TABLE_STRIP;
    (void)worker;
    (void)err;
    for (int64_t i = first; i < end && i < sheet->rows; i++) {
        b->keepers[i] = (otimes_table_keeper){
            .top = {.capacity = top,
                    .sign = 1,
                    .value = sheet->top_value + i * top,
                    .index = sheet->top_column + i * top},
            .bottom = {.capacity = bottom,
                       .sign = -1,
                       .value = sheet->bottom_value + i * bottom,
                       .index = sheet->bottom_column + i * bottom},
            .norm = otimes_table_norm(sheet->vectors + i * rank, rank),
            .vector = sheet->vectors + i * rank,
            .row = sheet->first_row + i,
        };
    }
    b->beyond[strip].count = 0;
    return OTIMES_OK;
}

/* Puts the strip's entries, which came block by block, in the order of rows; `at` is where its first one
 * goes. */
static void order_entries(const blocks *b, int64_t strip, int64_t at)
{
    otimes_table_sheet *sheet = &b->job->sheet;
    const otimes_table_entries *beyond = &b->beyond[strip];
    const int64_t first = sheet->first_row + strip * OTIMES_TABLE_STRIP;
    int64_t place[OTIMES_TABLE_STRIP + 1] = {at};
    for (int64_t i = 0; i < beyond->count; i++) {
        place[beyond->entry[i].row - first + 1]++;
    }
    for (int i = 0; i < OTIMES_TABLE_STRIP; i++) {
        place[i + 1] += place[i];
    }
    for (int64_t i = 0; i < beyond->count; i++) {
        const otimes_table_entry *e = &beyond->entry[i];
        const int64_t to = place[e->row - first]++;
        sheet->entry_row[to] = e->row;
        sheet->entry_column[to] = e->column;
        sheet->entry_value[to] = e->value;
    }
}

static int gather_entries(blocks *b, otimes_err *err)
{
    otimes_table_sheet *sheet = &b->job->sheet;
    const int64_t strips = strips_of(sheet->rows);
    int rc = OTIMES_OK;
    sheet->entry_count = 0;
    for (int64_t i = 0; i < strips; i++) {
        sheet->entry_count += b->beyond[i].count;
    }
    if (sheet->entry_count > b->entries) {
        otimes_free(sheet->entry_row);
        otimes_free(sheet->entry_column);
        otimes_free(sheet->entry_value);
        sheet->entry_column = NULL;
        sheet->entry_value = NULL;
        b->entries = sheet->entry_count;
        rc = OTIMES_NEW(&sheet->entry_row, b->entries, err);
        if (rc == OTIMES_OK) {
            rc = OTIMES_NEW(&sheet->entry_column, b->entries, err);
        }
        if (rc == OTIMES_OK) {
            rc = OTIMES_NEW(&sheet->entry_value, b->entries, err);
        }
    }
    int64_t at = 0;
    for (int64_t i = 0; rc == OTIMES_OK && i < strips; i++) {
        order_entries(b, i, at);
        at += b->beyond[i].count;
    }
    return rc;
}

static int run_sheet(otimes_table_job *job, void *state, otimes_err *err)
{
    blocks *b = state;
    const otimes_table_ask *ask = job->ask;
    const int64_t columns = job->table->column.count;
    if (!ask->every && ask->top == 0 && ask->bottom == 0 && ask->threshold == 0) {
        return otimes_table_tick(job, (double)job->sheet.rows * (double)columns, err);
    }
    int rc = otimes_par_for(strips_of(job->sheet.rows), job->table->threads, begin_strip, b, err);
    for (int64_t first = 0; rc == OTIMES_OK && first < columns; first += OTIMES_TABLE_BLOCK) {
        rc = run_block(b, first, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < job->sheet.rows; i++) {
        otimes_topk_finish(&b->keepers[i].top);
        otimes_topk_finish(&b->keepers[i].bottom);
    }
    return rc == OTIMES_OK ? gather_entries(b, err) : rc;
}

const otimes_table_engine otimes_table_blocks = {open_blocks, run_sheet, close_blocks};
