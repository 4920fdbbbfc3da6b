/* SPDX-License-Identifier: MIT
 *
 * Sheets one after another; what happens within one is the engines' (table_blocks.c, table_screen.c).
 */
#include "run/table.h"

#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "base/par.h"
#include "run/table_job.h"

/* A sheet's vectors fit in SHEET_BYTES; it has no more than MOST_ROWS, so that something is written every
 * few seconds, and a whole number of strips. */
enum { SHEET_BYTES = 1 << 27, MOST_ROWS = 7680, FEWEST_ROWS = 4 * OTIMES_TABLE_STRIP };

int64_t otimes_table_sheet_rows(const otimes_table *table)
{
    const int64_t rank = table->rank > 0 ? table->rank : 1;
    int64_t rows = SHEET_BYTES / (int64_t)sizeof(float) / rank;
    rows = rows < MOST_ROWS ? rows : MOST_ROWS;
    rows = rows > FEWEST_ROWS ? rows - rows % OTIMES_TABLE_STRIP : FEWEST_ROWS;
    return rows < table->row.count ? rows : table->row.count;
}

static int read_vectors(const void *context, const int64_t *ids, int64_t first, int64_t count,
                        float *out, otimes_err *err)
{
    const otimes_table_vectors *v = context;
    const size_t bytes = (size_t)v->rank * sizeof *out;
    (void)err;
    if (!ids) {
        memcpy(out, v->vectors + first * v->rank, (size_t)count * bytes);
    }
    for (int64_t i = 0; ids && i < count; i++) {
        memcpy(out + i * v->rank, v->vectors + ids[i] * v->rank, bytes);
    }
    return OTIMES_OK;
}

otimes_table_side otimes_table_side_in_memory(const otimes_table_vectors *vectors, int64_t count)
{
    return (otimes_table_side){.count = count, .read = read_vectors, .context = vectors};
}

int otimes_table_read(const otimes_table_side *side, int64_t rank, const int64_t *ids,
                      int64_t first, int64_t count, float *out, otimes_err *err)
{
    const int rc = side->read(side->context, ids, first, count, out, err);
    const int64_t bad = rc == OTIMES_OK ? otimes_first_nonfinite(out, count * rank) : -1;
    if (bad >= 0) {
        const int64_t place = bad / rank;
        return otimes_fail(err, OTIMES_ERR_VALUE,
                           "vectors of a table over the vocabulary: expected numbers that float32 "
                           "holds, got %f in the one at place %lld",
                           isnan(out[bad]) ? (double)NAN : (double)out[bad],
                           (long long)(ids ? ids[place] : first + place));
    }
    return rc;
}

otimes_table otimes_table_transposed(const otimes_table *table)
{
    otimes_table other = *table;
    other.row = table->column;
    other.column = table->row;
    return other;
}

int otimes_table_tick(otimes_table_job *job, double entries, otimes_err *err)
{
    job->done += entries;
    return job->ask->tick
               ? job->ask->tick(job->ask->context, job->total > 0 ? job->done / job->total : 1, err)
               : OTIMES_OK;
}

/* ---- reading the rows of a sheet, a strip an item ---- */

static int read_strip(void *context, int64_t strip, int worker, otimes_err *err)
{
    const otimes_table_job *job = context;
    const int64_t first = strip * OTIMES_TABLE_STRIP, left = job->sheet.rows - first;
    const otimes_table_side *side = &job->table->row;
    (void)worker;
    return otimes_table_read(side, job->table->rank, NULL, job->sheet.first_row + first,
                             left < OTIMES_TABLE_STRIP ? left : OTIMES_TABLE_STRIP,
                             job->vectors + first * job->table->rank, err);
}

static int run_sheet(otimes_table_job *job, const otimes_table_engine *engine, void *state,
                     otimes_err *err)
{
    const otimes_table_ask *ask = job->ask;
    otimes_table_sheet *sheet = &job->sheet;
    if (ask->skip && ask->skip(ask->context, sheet->first_row, sheet->rows)) {
        return otimes_table_tick(job, (double)sheet->rows * (double)job->table->column.count, err);
    }
    int rc = otimes_par_for((sheet->rows + OTIMES_TABLE_STRIP - 1) / OTIMES_TABLE_STRIP,
                            job->table->threads, read_strip, job, err);
    if (rc == OTIMES_OK && ask->begin) {
        rc = ask->begin(ask->context, sheet, err);
    }
    if (rc == OTIMES_OK) {
        rc = engine->run_sheet(job, state, err);
    }
    if (rc == OTIMES_OK && ask->finish) {
        rc = ask->finish(ask->context, sheet, err);
    }
    return rc;
}

static int new_sheet(otimes_table_job *job, int64_t rows, otimes_err *err)
{
    otimes_table_sheet *s = &job->sheet;
    otimes_pool *pool = &job->pool;
    int rc = OTIMES_OK;
    job->vectors = otimes_pool_new(pool, rows * job->table->rank, sizeof(float), &rc, err);
    s->top_value = otimes_pool_new(pool, rows * job->ask->top, sizeof(float), &rc, err);
    s->top_column = otimes_pool_new(pool, rows * job->ask->top, sizeof(int32_t), &rc, err);
    s->bottom_value = otimes_pool_new(pool, rows * job->ask->bottom, sizeof(float), &rc, err);
    s->bottom_column = otimes_pool_new(pool, rows * job->ask->bottom, sizeof(int32_t), &rc, err);
    s->vectors = job->vectors;
    return rc;
}

static int choose(const otimes_table *table, const otimes_table_ask *ask,
                  const otimes_table_engine **engine, otimes_err *err)
{
    if (ask->way == OTIMES_TABLE_SCREEN && ask->every) {
        return otimes_fail(
            err, OTIMES_ERR_ARGUMENT,
            "table: expected extremes alone from the screen, got a consumer of every "
            "entry");
    }
    *engine = ask->way == OTIMES_TABLE_SCREEN || (ask->way == OTIMES_TABLE_EITHER && !ask->every &&
                                                  otimes_table_screen_pays(table, ask))
                  ? &otimes_table_screen
                  : &otimes_table_blocks;
    return OTIMES_OK;
}

int otimes_table_run(const otimes_table *table, const otimes_table_ask *ask, otimes_err *err)
{
    const int64_t columns = table->column.count, rows = otimes_table_sheet_rows(table);
    const otimes_table_engine *engine = NULL;
    otimes_table_job job = {.table = table, .ask = ask};
    void *state = NULL;
    job.top = ask->top < columns ? ask->top : columns;
    job.bottom = ask->bottom < columns ? ask->bottom : columns;
    job.total = (double)table->row.count * (double)columns;
    int rc = choose(table, ask, &engine, err);
    if (rc == OTIMES_OK) {
        rc = new_sheet(&job, rows, err);
    }
    if (rc == OTIMES_OK) {
        rc = engine->open(&job, &state, err);
    }
    for (int64_t first = 0; rc == OTIMES_OK && first < table->row.count; first += rows) {
        const int64_t left = table->row.count - first;
        job.sheet.first_row = first;
        job.sheet.rows = left < rows ? left : rows;
        job.sheet.entry_count = 0;
        rc = run_sheet(&job, engine, state, err);
    }
    if (engine) {
        engine->close(state);
    }
    otimes_pool_free(&job.pool);
    return rc;
}
