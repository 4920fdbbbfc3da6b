/* SPDX-License-Identifier: MIT
 *
 * Blocks of the arrays of `circuit`, and which of them an interrupted run wrote.
 */
#include "analysis/circuit_arrays.h"
#include "base/dtype.h"
#include "base/sink.h"

static const int of_rows[] = {TOP_VALUE, TOP_ID,         BOTTOM_VALUE,  BOTTOM_ID,
                              ROW_MEAN,  ROW_STD,        ROW_LOGSUMEXP, ROW_MAX,
                              ROW_MIN,   DIAGONAL_VALUE, DIAGONAL_RANK, TABLE};
static const int of_columns[] = {COLUMN_TOP_VALUE, COLUMN_TOP_ID, COLUMN_BOTTOM_VALUE,
                                 COLUMN_BOTTOM_ID};

/* Along the axes behind the head's, `count` entries of the first from `first` on and all of the rest. */
static void block_of(const otimes_array *array, int64_t at, int64_t first, int64_t count,
                     int64_t start[OTIMES_MAX_DIMS], int64_t extent[OTIMES_MAX_DIMS])
{
    for (int i = 0; i < array->ndim; i++) {
        start[i] = i == 0 ? at : i == 1 ? first : 0;
        extent[i] = i == 0 ? 1 : i == 1 ? count : array->axis[i]->length;
    }
}

/* Arrays that are not wanted lack nothing. */
static bool has(const circuit_job *job, int which, int64_t at, int64_t first, int64_t count)
{
    const circuit_writer *w = job->writer;
    int64_t start[OTIMES_MAX_DIMS] = {0}, extent[OTIMES_MAX_DIMS] = {0};
    block_of(&w->array[which], at, first, count, start, extent);
    return w->id[which] < 0 || otimes_sink_has(job->sink, w->id[which], start, extent);
}

static int put(const circuit_job *job, int which, int64_t at, int64_t first, int64_t count,
               const void *data, otimes_err *err)
{
    const circuit_writer *w = job->writer;
    int64_t start[OTIMES_MAX_DIMS] = {0}, extent[OTIMES_MAX_DIMS] = {0};
    if (w->id[which] < 0) {
        return OTIMES_OK;
    }
    block_of(&w->array[which], at, first, count, start, extent);
    return job->sink->ops->write(job->sink, w->id[which], start, extent, data, err);
}

bool otimes_circuit_has(const circuit_job *job, int64_t at, circuit_side side, int64_t first,
                        int64_t count)
{
    const bool rows = side == CIRCUIT_ROWS;
    const int *list = rows ? of_rows : of_columns;
    const size_t arrays =
        rows ? sizeof of_rows / sizeof *of_rows : sizeof of_columns / sizeof *of_columns;
    bool all = true;
    for (size_t i = 0; all && i < arrays; i++) {
        all = has(job, list[i], at, first, count);
    }
    return all;
}

bool otimes_circuit_has_histogram(const circuit_job *job, int64_t at)
{
    return has(job, HISTOGRAM, at, 0, job->settings->bins) && has(job, HISTOGRAM_BELOW, at, 0, 0) &&
           has(job, HISTOGRAM_ABOVE, at, 0, 0);
}

bool otimes_circuit_has_strongest(const circuit_job *job, int64_t at, bool smallest)
{
    const int first = smallest ? SMALLEST_VALUE : LARGEST_VALUE;
    const int64_t count = job->settings->largest;
    return has(job, first, at, 0, count) && has(job, first + 1, at, 0, count) &&
           has(job, first + 2, at, 0, count);
}

static void set_ids(const int64_t *ids, int64_t count, int32_t *index)
{
    for (int64_t i = 0; ids && i < count; i++) {
        index[i] = index[i] < 0 ? -1 : (int32_t)ids[index[i]];
    }
}

int otimes_circuit_put(const circuit_job *job, int64_t at, circuit_side side,
                       const otimes_table_sheet *sheet, const otimes_table_rows *statistics,
                       otimes_err *err)
{
    const bool rows = side == CIRCUIT_ROWS;
    const int64_t *ids = rows ? job->settings->columns : job->settings->rows;
    const int64_t first = sheet->first_row, count = sheet->rows;
    const struct {
        int which;
        const void *data;
    } list[] = {
        {rows ? TOP_VALUE : COLUMN_TOP_VALUE, sheet->top_value},
        {rows ? TOP_ID : COLUMN_TOP_ID, sheet->top_column},
        {rows ? BOTTOM_VALUE : COLUMN_BOTTOM_VALUE, sheet->bottom_value},
        {rows ? BOTTOM_ID : COLUMN_BOTTOM_ID, sheet->bottom_column},
        {ROW_MEAN, statistics ? statistics->mean : NULL},
        {ROW_STD, statistics ? statistics->std : NULL},
        {ROW_LOGSUMEXP, statistics ? statistics->logsumexp : NULL},
        {ROW_MAX, statistics ? statistics->max : NULL},
        {ROW_MIN, statistics ? statistics->min : NULL},
        {DIAGONAL_VALUE, statistics ? statistics->own_value : NULL},
        {DIAGONAL_RANK, statistics ? statistics->own_rank : NULL},
    };
    const size_t arrays = statistics ? sizeof list / sizeof *list : 4;
    int rc = OTIMES_OK;
    if (job->listed[side]) {
        set_ids(ids, count * job->top, sheet->top_column);
        set_ids(ids, count * job->bottom, sheet->bottom_column);
    }
    for (size_t i = 0; rc == OTIMES_OK && i < arrays; i++) {
        rc = put(job, list[i].which, at, first, count, list[i].data, err);
    }
    return rc;
}

int otimes_circuit_put_block(const circuit_job *job, int64_t at, const otimes_table_values *block,
                             otimes_err *err)
{
    circuit_writer *w = job->writer;
    const int64_t start[OTIMES_MAX_DIMS] = {at, block->first_row, block->first_column};
    const int64_t count[OTIMES_MAX_DIMS] = {1, block->rows, block->columns};
    const int64_t entries = block->rows * block->columns;
    if (job->settings->full != OTIMES_CIRCUIT_FULL_F16) {
        return job->sink->ops->write(job->sink, w->id[TABLE], start, count, block->values, err);
    }
    if (entries > w->half_capacity) {
        otimes_free(w->halves);
        w->half_capacity = 0;
        const int rc = OTIMES_NEW(&w->halves, entries, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        w->half_capacity = entries;
    }
    otimes_f32_to_f16(block->values, entries, w->halves);
    return job->sink->ops->write(job->sink, w->id[TABLE], start, count, w->halves, err);
}

int otimes_circuit_put_histogram(const circuit_job *job, int64_t at, const int64_t *counts,
                                 otimes_err *err)
{
    const int64_t bins = job->settings->bins;
    int rc = put(job, HISTOGRAM, at, 0, bins, counts + 1, err);
    if (rc == OTIMES_OK) {
        rc = put(job, HISTOGRAM_BELOW, at, 0, 0, counts, err);
    }
    return rc == OTIMES_OK ? put(job, HISTOGRAM_ABOVE, at, 0, 0, counts + bins + 1, err) : rc;
}

int otimes_circuit_put_strongest(const circuit_job *job, int64_t at, bool smallest,
                                 const otimes_strongest_entry *entry, otimes_err *err)
{
    const circuit_writer *w = job->writer;
    const int first = smallest ? SMALLEST_VALUE : LARGEST_VALUE;
    const int64_t count = job->settings->largest;
    for (int64_t i = 0; i < count; i++) {
        w->value[i] = (float)entry[i].value;
        w->index[0][i] = entry[i].row;
        w->index[1][i] = entry[i].column;
    }
    int rc = put(job, first, at, 0, count, w->value, err);
    if (rc == OTIMES_OK) {
        rc = put(job, first + 1, at, 0, count, w->index[0], err);
    }
    return rc == OTIMES_OK ? put(job, first + 2, at, 0, count, w->index[1], err) : rc;
}

/* ---- the end ---- */

int otimes_circuit_put_entries(circuit_job *job, otimes_err *err)
{
    enum { ENTRY_HEAD, ENTRY_ROW, ENTRY_COLUMN, ENTRY_VALUE, PARTS };
    static const char *const names[PARTS][2] = {
        [ENTRY_HEAD] = {"entry_head", "head of an entry beyond the threshold"},
        [ENTRY_ROW] = {"entry_row", "its row"},
        [ENTRY_COLUMN] = {"entry_column", "its column"},
        [ENTRY_VALUE] = {"entry_value", "its value"}};
    const char *const labels_of[PARTS] = {"head", "token",
                                          job->to_output ? "output_token" : "token", NULL};
    circuit_writer *w = job->writer;
    float *value = NULL;
    int32_t *index = NULL;
    int rc = OTIMES_NEW(&value, job->entry_count, err);
    rc = rc == OTIMES_OK ? OTIMES_NEW(&index, job->entry_count, err) : rc;
    w->entry = (otimes_axis){"entry", job->entry_count, NULL, NULL, "entry, by head, row, column"};
    for (int part = 0; rc == OTIMES_OK && part < PARTS; part++) {
        const bool last = part == ENTRY_VALUE;
        for (int64_t i = 0; i < job->entry_count; i++) {
            const circuit_entry *e = &job->entry[i];
            value[i] = e->value;
            index[i] = part == ENTRY_HEAD ? e->head : part == ENTRY_ROW ? e->row : e->column;
        }
        const otimes_array array = {.name = names[part][0],
                                    .type = last ? OTIMES_F32 : OTIMES_I32,
                                    .ndim = 1,
                                    .axis = {&w->entry},
                                    .long_name = names[part][1],
                                    .formula = otimes_circuit_formula(job),
                                    .orientation =
                                        otimes_circuit_orientations[job->settings->which],
                                    .labels_of = labels_of[part]};
        rc = otimes_sink_whole(job->sink, &array, last ? (const void *)value : index, err);
    }
    otimes_free(value);
    otimes_free(index);
    return rc;
}
