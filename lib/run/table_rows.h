/* SPDX-License-Identifier: MIT
 *
 * A consumer of every entry (run/table.h): statistics of each row, place of its own entry, and how many
 * entries of a sheet lie where.
 */
#ifndef OTIMES_RUN_TABLE_ROWS_H
#define OTIMES_RUN_TABLE_ROWS_H

#include "base/mem.h"
#include "run/table.h"

typedef struct otimes_table_rows_ask {
    /* The column of a row's own entry (the diagonal), or -1; ascending over the rows that have one. NULL:
     * none has. */
    int64_t (*own)(const void *context, int64_t row);
    const void *context;
    /* A histogram of `bins` equal bins [low, high), the last one with high; 0: none. */
    int64_t bins;
    double low, high;
} otimes_table_rows_ask;

/* Of the sheet at hand. Statistics are of the values that the consumer was given, so to the rounding of
 * the BLAS; accumulated in double. */
typedef struct otimes_table_rows {
    float *
        own_value; /* [rows] exact, from begin on; the caller may change it before the first strip, as
                            it changes the values. NaN: none */
    int64_t *own_rank;  /* [rows] other entries larger than own_value; -1: none */
    double *mean, *std; /* [rows]; population */
    double *logsumexp;  /* [rows] */
    float *max, *min;   /* [rows] */
    int64_t *counts;    /* [bins + 2]: below, the bins, above; NaN is in none */
    double *edge;       /* [bins + 1] */

    const otimes_table *table; /* the rest is its own */
    otimes_table_rows_ask ask;
    struct otimes_table_row *state;
    int64_t *strip_counts; /* [strips, bins + 2] */
    float *vectors;        /* a worker's [OTIMES_TABLE_STRIP, rank] */
    int64_t first_row, rows;
    otimes_pool pool;
} otimes_table_rows;

/* Memory for the sheets of a table, which must outlive it. OTIMES_ERR_MEMORY. */
int otimes_table_rows_new(otimes_table_rows *rows, const otimes_table *table,
                          const otimes_table_rows_ask *ask, otimes_err *err);

/* From ask->begin: computes the own entries of the sheet. Errors of reading the columns. */
int otimes_table_rows_begin(otimes_table_rows *rows, const otimes_table_sheet *sheet,
                            otimes_err *err);

/* From every->strip. */
void otimes_table_rows_strip(otimes_table_rows *rows, const otimes_table_values *strip);

/* From ask->finish: fills the results. */
void otimes_table_rows_finish(otimes_table_rows *rows);

/* Accepts zeroed. */
void otimes_table_rows_free(otimes_table_rows *rows);

#endif
