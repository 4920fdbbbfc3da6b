/* SPDX-License-Identifier: MIT */
#include "run/table_rows.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/par.h"
#include "num/dot.h"
#include "num/stats.h"
#include "run/table_job.h"
#include "run/table_keep.h"

typedef struct otimes_table_row {
    otimes_row_stats stats;
    float min;
    int64_t own;         /* its column; -1: none */
    float exact;         /* its entry, before the caller changed it */
    const float *vector; /* of the row, with an own entry */
    double norm;
    int64_t above; /* entries larger than the own one */
} row_state;

static int64_t strips_of(int64_t rows)
{
    return (rows + OTIMES_TABLE_STRIP - 1) / OTIMES_TABLE_STRIP;
}

int otimes_table_rows_new(otimes_table_rows *rows, const otimes_table *table,
                          const otimes_table_rows_ask *ask, otimes_err *err)
{
    const int64_t most = otimes_table_sheet_rows(table), cells = ask->bins ? ask->bins + 2 : 0;
    const int64_t workers = otimes_par_workers(strips_of(most), table->threads);
    int rc = OTIMES_OK;
    *rows = (otimes_table_rows){.table = table, .ask = *ask};
    otimes_pool *pool = &rows->pool;
    rows->own_value = otimes_pool_new(pool, most, sizeof *rows->own_value, &rc, err);
    rows->own_rank = otimes_pool_new(pool, most, sizeof *rows->own_rank, &rc, err);
    rows->mean = otimes_pool_new(pool, most, sizeof *rows->mean, &rc, err);
    rows->std = otimes_pool_new(pool, most, sizeof *rows->std, &rc, err);
    rows->logsumexp = otimes_pool_new(pool, most, sizeof *rows->logsumexp, &rc, err);
    rows->max = otimes_pool_new(pool, most, sizeof *rows->max, &rc, err);
    rows->min = otimes_pool_new(pool, most, sizeof *rows->min, &rc, err);
    rows->counts = otimes_pool_new(pool, cells, sizeof *rows->counts, &rc, err);
    rows->edge = otimes_pool_new(pool, ask->bins + 1, sizeof *rows->edge, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i <= ask->bins; i++) {
        const double share = ask->bins ? (double)i / (double)ask->bins : 0;
        rows->edge[i] = i == ask->bins ? ask->high : ask->low + (ask->high - ask->low) * share;
    }
    rows->state = otimes_pool_new(pool, most, sizeof *rows->state, &rc, err);
    rows->strip_counts =
        otimes_pool_new(pool, strips_of(most) * cells, sizeof *rows->strip_counts, &rc, err);
    if (ask->own) {
        rows->vectors = otimes_pool_new(pool, workers * OTIMES_TABLE_STRIP * table->rank,
                                        sizeof *rows->vectors, &rc, err);
    }
    return rc;
}

void otimes_table_rows_free(otimes_table_rows *rows)
{
    otimes_pool_free(&rows->pool);
    *rows = (otimes_table_rows){0};
}

/* ---- a sheet begins ---- */

typedef struct beginning {
    otimes_table_rows *rows;
    const otimes_table_sheet *sheet;
} beginning;

static int begin_strip(void *context, int64_t strip, int worker, otimes_err *err)
{
    const beginning *b = context;
    otimes_table_rows *r = b->rows;
    const otimes_table_side *side = &r->table->column;
    const int64_t rank = r->table->rank, first = strip * OTIMES_TABLE_STRIP;
    const int64_t left = r->rows - first;
    const int64_t end = first + (left < OTIMES_TABLE_STRIP ? left : OTIMES_TABLE_STRIP);
    int64_t columns[OTIMES_TABLE_STRIP], count = 0;
    for (int64_t i = first; i < end; i++) {
        const int64_t own = r->ask.own ? r->ask.own(r->ask.context, r->first_row + i) : -1;
        r->state[i] = (row_state){.min = INFINITY, .own = own};
        r->own_value[i] = NAN;
        if (own >= 0) {
            columns[count++] = own;
        }
    }
    float *vectors = r->vectors + worker * OTIMES_TABLE_STRIP * rank;
    const int rc =
        count > 0 ? otimes_table_read(side, rank, columns, 0, count, vectors, err) : OTIMES_OK;
    for (int64_t i = first, at = 0; rc == OTIMES_OK && i < end; i++) {
        if (r->state[i].own >= 0) {
            row_state *state = &r->state[i];
            state->vector = b->sheet->vectors + i * rank;
            state->norm = otimes_table_norm(state->vector, rank);
            state->exact = (float)otimes_dot(state->vector, vectors + at++ * rank, rank);
            r->own_value[i] = state->exact;
        }
    }
    return rc;
}

int otimes_table_rows_begin(otimes_table_rows *rows, const otimes_table_sheet *sheet,
                            otimes_err *err)
{
    const int64_t strips = strips_of(sheet->rows), cells = rows->ask.bins ? rows->ask.bins + 2 : 0;
    beginning b = {rows, sheet};
    rows->first_row = sheet->first_row;
    rows->rows = sheet->rows;
    memset(rows->strip_counts, 0, (size_t)(strips * cells) * sizeof *rows->strip_counts);
    return otimes_par_for(strips, rows->table->threads, begin_strip, &b, err);
}

/* ---- the entries ---- */

/* Division finds the bin, the edges themselves decide. */
static void count_bins(const otimes_table_rows *rows, const float *values, int64_t count,
                       int64_t *cells)
{
    const otimes_table_rows_ask *ask = &rows->ask;
    const double *edge = rows->edge;
    const double per_unit = (double)ask->bins / (ask->high - ask->low);
    for (int64_t i = 0; i < count; i++) {
        const double value = (double)values[i];
        if (!(value >= ask->low && value <= ask->high)) {
            cells[0] += value < ask->low;
            cells[ask->bins + 1] += value > ask->high;
            continue;
        }
        int64_t bin = (int64_t)((value - ask->low) * per_unit);
        bin = bin < ask->bins ? bin : ask->bins - 1;
        if (value < edge[bin]) {
            bin--;
        } else if (bin + 1 < ask->bins && value >= edge[bin + 1]) {
            bin++;
        }
        cells[bin + 1]++;
    }
}

/* Entries of a row that are larger than its own. What is no further from it than the rounding of products
 * is computed again, as the own one was: of equal columns none is larger. */
static int64_t count_larger(const otimes_table_rows *rows, int64_t row,
                            const otimes_table_values *strip, const float *values)
{
    const row_state *state = &rows->state[row];
    const int64_t rank = rows->table->rank, count = strip->columns;
    const double own = (double)rows->own_value[row];
    const double margin = 2 * otimes_table_margin(rank, state->norm * strip->norm) +
                          4 * (double)FLT_EPSILON * fabs(own); /* what the caller did to it */
    const float high = (float)(own + margin), low = (float)(own - margin);
    int64_t above = otimes_count_above(values, count, high);
    if (otimes_count_above(values, count, low) == above) {
        return above;
    }
    for (int64_t j = 0; j < count; j++) {
        if (values[j] > low && values[j] <= high && strip->first_column + j != state->own) {
            const float *column = strip->vectors + j * rank;
            above += (float)otimes_dot(state->vector, column, rank) > state->exact;
        }
    }
    return above;
}

void otimes_table_rows_strip(otimes_table_rows *rows, const otimes_table_values *strip)
{
    const int64_t first = strip->first_row - rows->first_row, count = strip->columns;
    for (int64_t i = 0; i < strip->rows; i++) {
        row_state *state = &rows->state[first + i];
        const float *values = strip->values + i * count;
        otimes_row_stats_add(&state->stats, values, count);
        const float least = otimes_min(values, count);
        state->min = least < state->min ? least : state->min;
        if (state->own >= 0) {
            state->above += count_larger(rows, first + i, strip, values);
        }
        if (rows->ask.bins > 0) {
            const int64_t cells = first / OTIMES_TABLE_STRIP * (rows->ask.bins + 2);
            count_bins(rows, values, count, rows->strip_counts + cells);
        }
    }
}

void otimes_table_rows_finish(otimes_table_rows *rows)
{
    const int64_t cells = rows->ask.bins ? rows->ask.bins + 2 : 0;
    for (int64_t i = 0; i < rows->rows; i++) {
        const row_state *state = &rows->state[i];
        const bool any = state->stats.count > 0;
        rows->mean[i] = any ? state->stats.mean : NAN;
        rows->std[i] = otimes_row_stats_std(&state->stats);
        rows->logsumexp[i] = otimes_row_stats_logsumexp(&state->stats);
        rows->max[i] = any ? (float)state->stats.max : NAN;
        rows->min[i] = any ? state->min : NAN;
        rows->own_rank[i] = state->own >= 0 ? state->above : -1;
    }
    memset(rows->counts, 0, (size_t)cells * sizeof *rows->counts);
    for (int64_t s = 0; s < strips_of(rows->rows); s++) {
        for (int64_t i = 0; i < cells; i++) {
            rows->counts[i] += rows->strip_counts[s * cells + i];
        }
    }
}
