/* SPDX-License-Identifier: MIT
 *
 * One head's table through the engine: by rows, transposed by rows for its columns, and its strongest
 * entries by a search of their own, which norms let leave out most of it.
 */
#include <stdlib.h>

#include "analysis/circuit_job.h"
#include "base/sink.h"

_Static_assert((int)OTIMES_CIRCUIT_FASTEST == OTIMES_TABLE_EITHER &&
                   (int)OTIMES_CIRCUIT_BLOCKS == OTIMES_TABLE_BLOCKS &&
                   (int)OTIMES_CIRCUIT_SCREEN == OTIMES_TABLE_SCREEN,
               "ways are numbered alike");

/* One way through a table. */
typedef struct walk {
    circuit_job *job;
    int64_t at; /* place of the head */
    circuit_side side;
    bool again; /* sheets that are there are gone through as well: something is summed over all */
    otimes_table_rows *rows; /* NULL: no statistics, no histogram */
    int64_t *counts;         /* [bins + 2] of the whole table */
    double done, entries;    /* before it, and its own, for progress */
} walk;

static int tick(void *context, double share, otimes_err *err)
{
    const walk *w = context;
    return otimes_sink_progress(w->job->sink, w->done + share * w->entries, w->job->total, err);
}

static int skip(void *context, int64_t first, int64_t count)
{
    const walk *w = context;
    return !w->again && otimes_circuit_has(w->job, w->at, w->side, first, count);
}

static int begin_sheet(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    const walk *w = context;
    return w->rows ? otimes_table_rows_begin(w->rows, sheet, err) : OTIMES_OK;
}

static void see_strip(void *context, const otimes_table_values *strip)
{
    const walk *w = context;
    otimes_table_rows_strip(w->rows, strip);
}

static int see_block(void *context, const otimes_table_values *block, otimes_err *err)
{
    const walk *w = context;
    return otimes_circuit_put_block(w->job, w->at, block, err);
}

/* ---- entries beyond the threshold ---- */

static int grow_entries(circuit_job *job, int64_t count, otimes_err *err)
{
    int64_t capacity = job->entry_capacity > 0 ? job->entry_capacity : 1024;
    while (capacity < count) {
        capacity *= 2;
    }
    if (capacity == job->entry_capacity) {
        return OTIMES_OK;
    }
    circuit_entry *grown = otimes_realloc(job->entry, capacity, sizeof *grown);
    if (!grown) {
        return otimes_fail(err, OTIMES_ERR_MEMORY,
                           "threshold: no memory for more than %lld entries beyond it",
                           (long long)job->entry_count);
    }
    job->entry = grown;
    job->entry_capacity = capacity;
    return OTIMES_OK;
}

static int32_t id_of(const int64_t *ids, int64_t place)
{
    return (int32_t)(ids ? ids[place] : place);
}

static int add_entries(circuit_job *job, int64_t at, const otimes_table_sheet *sheet,
                       otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    const int64_t count = job->entry_count + sheet->entry_count;
    if (count > INT32_MAX) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MEMORY,
                           "threshold: expected at most %lld entries beyond %g, got more",
                           (long long)INT32_MAX, s->threshold);
    }
    const int rc = grow_entries(job, count, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < sheet->entry_count; i++) {
        job->entry[job->entry_count++] =
            (circuit_entry){(int32_t)at, id_of(s->rows, sheet->entry_row[i]),
                            id_of(s->columns, sheet->entry_column[i]), sheet->entry_value[i]};
    }
    return rc;
}

/* ---- a table ---- */

static int finish_sheet(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    walk *w = context;
    const otimes_circuit_settings *s = w->job->settings;
    const bool statistics = w->side == CIRCUIT_ROWS && s->statistics;
    if (w->rows) {
        otimes_table_rows_finish(w->rows);
    }
    for (int64_t i = 0; w->counts && i < s->bins + 2; i++) {
        w->counts[i] += w->rows->counts[i];
    }
    int rc = OTIMES_OK;
    if (w->side == CIRCUIT_ROWS && s->threshold != 0) {
        rc = add_entries(w->job, w->at, sheet, err);
    }
    return rc == OTIMES_OK
               ? otimes_circuit_put(w->job, w->at, w->side, sheet, statistics ? w->rows : NULL, err)
               : rc;
}

static int by_id(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The column of a row's own token, where both range over one vocabulary. */
static int64_t own_column(const void *context, int64_t row)
{
    const circuit_job *job = context;
    const otimes_circuit_settings *s = job->settings;
    const int64_t token = s->rows ? s->rows[row] : row;
    if (job->to_output && job->info->d_vocab != job->info->d_vocab_out) {
        return -1;
    }
    if (!s->columns) {
        return token;
    }
    const int64_t *found =
        bsearch(&token, s->columns, (size_t)s->column_count, sizeof *s->columns, by_id);
    return found ? found - s->columns : -1;
}

static int run_walk(walk *w, const otimes_table *table, otimes_err *err)
{
    const circuit_job *job = w->job;
    const otimes_circuit_settings *s = job->settings;
    const bool rows = w->side == CIRCUIT_ROWS;
    const bool full = rows && s->full != OTIMES_CIRCUIT_FULL_NONE;
    const otimes_table_consumer every = {w->rows ? see_strip : NULL, full ? see_block : NULL};
    const otimes_table_ask ask = {
        .top = job->listed[w->side] ? job->top : 0,
        .bottom = job->listed[w->side] ? job->bottom : 0,
        .threshold = rows ? s->threshold : 0,
        .way = (otimes_table_way)s->way,
        .every = every.strip || every.block ? &every : NULL,
        .skip = skip,
        .begin = begin_sheet,
        .finish = finish_sheet,
        .tick = tick,
        .context = w,
    };
    return otimes_table_run(table, &ask, err);
}

static int walk_rows(walk *w, const otimes_table *table, otimes_err *err)
{
    circuit_job *job = w->job;
    const otimes_circuit_settings *s = job->settings;
    otimes_table_rows rows = {0};
    int rc = OTIMES_OK;
    const bool counted = s->bins > 0 && !otimes_circuit_has_histogram(job, w->at);
    w->again = counted || s->threshold != 0;
    if (s->statistics || s->bins > 0) {
        const otimes_table_rows_ask ask = {.own = s->statistics ? own_column : NULL,
                                           .context = job,
                                           .bins = s->bins,
                                           .low = s->low,
                                           .high = s->high};
        rc = otimes_table_rows_new(&rows, table, &ask, err);
        w->rows = &rows;
    }
    if (rc == OTIMES_OK && s->bins > 0) {
        rc = OTIMES_NEW(&w->counts, s->bins + 2, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_walk(w, table, err);
    }
    if (rc == OTIMES_OK && counted) {
        rc = otimes_circuit_put_histogram(job, w->at, w->counts, err);
    }
    otimes_free(w->counts);
    otimes_table_rows_free(&rows);
    w->rows = NULL;
    return rc;
}

/* ---- the strongest ---- */

/* A factor as the search takes it, [d_model, rank]. */
static void transpose(const circuit_job *job, const double *factor, double *out)
{
    const int64_t d = job->info->d_model, rank = job->rank;
    for (int64_t i = 0; i < d; i++) {
        for (int64_t k = 0; k < rank; k++) {
            out[i * rank + k] = factor[k * d + i];
        }
    }
}

static int find_strongest(walk *w, const circuit_sides *sides, int64_t member, bool smallest,
                          otimes_err *err)
{
    circuit_job *job = w->job;
    const otimes_circuit_settings *s = job->settings;
    const int64_t size = job->info->d_model * job->rank;
    if (otimes_circuit_has_strongest(job, w->at, smallest)) {
        return OTIMES_OK;
    }
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    double *ends = otimes_pool_new(&pool, 2 * size, sizeof *ends, &rc, err);
    otimes_strongest_entry *entry = otimes_pool_new(&pool, s->largest, sizeof *entry, &rc, err);
    if (rc == OTIMES_OK) {
        const otimes_strongest_ask ask = {
            .row = {NULL, s->rows, s->row_count},
            .column = {job->to_output ? &job->unembed : NULL, s->columns, s->column_count},
            .left = ends,
            .right = ends + size,
            .rank = job->rank,
            .scale = 1,
            .smallest = smallest,
            .top = s->largest,
            .tick = tick,
            .context = w,
        };
        transpose(job, otimes_circuit_factor(sides, member, CIRCUIT_ROWS), ends);
        transpose(job, otimes_circuit_factor(sides, member, CIRCUIT_COLUMNS), ends + size);
        rc = otimes_strongest(job->model, &ask, entry, NULL, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_circuit_put_strongest(job, w->at, smallest, entry, err);
    }
    otimes_pool_free(&pool);
    return rc;
}

int otimes_circuit_tables(circuit_job *job, const circuit_sides *sides, int64_t member, int64_t at,
                          otimes_err *err)
{
    const int64_t rank = job->rank;
    const otimes_table_vectors row = {rank, sides->row + member * job->row_count * rank};
    const otimes_table_vectors column = {rank, sides->column + member * job->column_count * rank};
    const otimes_table table = {rank, otimes_table_side_in_memory(&row, job->row_count),
                                otimes_table_side_in_memory(&column, job->column_count),
                                job->model->threads};
    const otimes_table transposed = otimes_table_transposed(&table);
    walk w = {.job = job,
              .at = at,
              .side = CIRCUIT_ROWS,
              .done = job->done,
              .entries = (double)job->row_count * (double)job->column_count};
    int rc = job->wanted[CIRCUIT_ROWS] ? walk_rows(&w, &table, err) : OTIMES_OK;
    w.done += job->wanted[CIRCUIT_ROWS] ? w.entries : 0;
    if (rc == OTIMES_OK && job->wanted[CIRCUIT_COLUMNS]) {
        walk columns = {
            .job = job, .at = at, .side = CIRCUIT_COLUMNS, .done = w.done, .entries = w.entries};
        rc = run_walk(&columns, &transposed, err);
        w.done += w.entries;
    }
    for (int smallest = 0; rc == OTIMES_OK && job->settings->largest > 0 && smallest < 2;
         smallest++) {
        rc = find_strongest(&w, sides, member, smallest, err);
        w.done += w.entries;
    }
    return rc;
}
