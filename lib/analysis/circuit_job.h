/* SPDX-License-Identifier: MIT
 *
 * What the files of the `circuit` analysis share: the request, the sides of a group of heads, the
 * arrays.
 */
#ifndef OTIMES_ANALYSIS_CIRCUIT_JOB_H
#define OTIMES_ANALYSIS_CIRCUIT_JOB_H

#include <stdbool.h>

#include <otimes/circuit.h>

#include "base/mem.h"
#include "model/model.h"
#include "run/strongest.h"
#include "run/table_rows.h"

/* The table of a head is gone through by rows, and transposed by rows again for its columns. */
typedef enum circuit_side { CIRCUIT_ROWS, CIRCUIT_COLUMNS, CIRCUIT_SIDES } circuit_side;

/* An entry beyond the threshold: place of the head, ids. */
typedef struct circuit_entry {
    int32_t head, row, column;
    float value;
} circuit_entry;

typedef struct circuit_writer circuit_writer;

typedef struct circuit_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_circuit_settings *settings;
    otimes_sink *sink;
    const otimes_circuit_head *heads;
    int64_t head_count;
    int64_t rank;                    /* of every table: d_head, or less in a narrower stream */
    int64_t row_count, column_count; /* chosen */
    bool to_output;                  /* columns are output tokens, not input tokens */
    int64_t top, bottom;             /* entries kept; no more than either side has */
    bool listed[CIRCUIT_SIDES];      /* extremes of its rows are kept */
    bool wanted[CIRCUIT_SIDES];      /* it is gone through at all */
    bool walked;                     /* either is */
    otimes_unembed unembed;          /* of columns that are output tokens */
    circuit_entry *entry; /* [entry_count], of all heads: how many there are is known at the end */
    int64_t entry_count, entry_capacity;
    circuit_writer *writer;
    double done, total; /* entries of all tables, for progress */
    otimes_pool pool;
} circuit_job;

/* ---- circuit_sides.c ---- */

/* T = X Y^T of a group of heads, X = W_E A, Y = W_E B or W_U^T B, A B^T the head's circuit in the stream. */
typedef struct circuit_sides {
    const circuit_job *job;
    int64_t capacity, count;                /* heads that fit the memory; heads at hand */
    double *factor;                         /* [2, count, rank, d_model]: A^T, B^T */
    double *earlier_value, *earlier_output; /* [d_model, d_head] of the earlier head */
    double *frequency;                      /* [d_head] */
    float *row, *column; /* [count, row_count, rank], [count, column_count, rank] */
    otimes_pool pool;
} circuit_sides;

/* A zeroed one may be closed. */
int otimes_circuit_sides_open(const circuit_job *job, circuit_sides *sides, otimes_err *err);
void otimes_circuit_sides_close(circuit_sides *sides);

/* Sides of `count` heads, at most capacity, from place `first` on: a pass over W_E and W_U. */
int otimes_circuit_sides_make(circuit_sides *sides, int64_t first, int64_t count, otimes_err *err);

/* A^T and B^T [rank, d_model] of a member of the group. */
const double *otimes_circuit_factor(const circuit_sides *sides, int64_t member, circuit_side side);

/* ---- circuit_tables.c ---- */

/* All that is asked of the head at place `at`, which is number `member` of the group. */
int otimes_circuit_tables(circuit_job *job, const circuit_sides *sides, int64_t member, int64_t at,
                          otimes_err *err);

/* ---- circuit_arrays.c ---- */

/* Facts, axes, all arrays but those of entries. The job must outlive the sink. */
int otimes_circuit_writer_new(circuit_job *job, otimes_err *err);
void otimes_circuit_writer_free(circuit_writer **writer); /* accepts NULL in *writer */

/* ---- circuit_write.c ---- */

/* Whether an interrupted run wrote all of these rows (or columns), the block of the table included. */
bool otimes_circuit_has(const circuit_job *job, int64_t at, circuit_side side, int64_t first,
                        int64_t count);
/* The same of what is written once of a head. */
bool otimes_circuit_has_histogram(const circuit_job *job, int64_t at);
bool otimes_circuit_has_strongest(const circuit_job *job, int64_t at, bool smallest);

/* Places in the sheet's lists become ids there; statistics NULL: none. */
int otimes_circuit_put(const circuit_job *job, int64_t at, circuit_side side,
                       const otimes_table_sheet *sheet, const otimes_table_rows *statistics,
                       otimes_err *err);
int otimes_circuit_put_block(const circuit_job *job, int64_t at, const otimes_table_values *block,
                             otimes_err *err);
/* counts [bins + 2]: below, the bins, above. */
int otimes_circuit_put_histogram(const circuit_job *job, int64_t at, const int64_t *counts,
                                 otimes_err *err);
int otimes_circuit_put_strongest(const circuit_job *job, int64_t at, bool smallest,
                                 const otimes_strongest_entry *entry, otimes_err *err);

/* The entries beyond the threshold, at the end. */
int otimes_circuit_put_entries(circuit_job *job, otimes_err *err);

#endif
