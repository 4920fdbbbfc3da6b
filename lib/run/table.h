/* SPDX-License-Identifier: MIT
 *
 * The one engine for tables over vocabulary: T = X Y^T, X [rows, rank] and Y [columns, rank], of
 * d_vocab^2 entries that are never there. Rows are taken by sheets, a sheet by strips, one a worker,
 * and each strip goes through all columns.
 *
 * T[i, j] is the float32 next to the sum of X[i, k] Y[j, k] in double (otimes_dot): what is found does
 * not depend on the BLAS, the shapes of tiles, the way or the number of threads. Two ways find it:
 *   - by blocks (table_blocks.c): float32 products of blocks that stay in cache, seen by the consumer;
 *     what rounding could put among the best is computed again in double;
 *   - by a screen (table_screen.c): products of 8-bit integers with a bound on their error exclude
 *     nearly all entries, of 16-bit ones nearly all of the rest, and what is left is computed in
 *     double. For those who want the extremes alone.
 */
#ifndef OTIMES_RUN_TABLE_H
#define OTIMES_RUN_TABLE_H

#include "base/err.h"

/* The vectors along one side of a table. */
typedef struct otimes_table_side {
    int64_t count;
    /* Vectors at places ids[0 .. count-1], ascending, or with ids NULL first .. first+count-1, into out
     * [count, rank]. Called from several threads at once. */
    int (*read)(const void *context, const int64_t *ids, int64_t first, int64_t count, float *out,
                otimes_err *err);
    const void *context;
} otimes_table_side;

typedef struct otimes_table {
    int64_t rank;
    otimes_table_side row, column;
    int threads;
} otimes_table;

/* A side whose vectors are in memory [count, rank], the caller's. */
typedef struct otimes_table_vectors {
    int64_t rank;
    const float *vectors;
} otimes_table_vectors;
otimes_table_side otimes_table_side_in_memory(const otimes_table_vectors *vectors, int64_t count);

/* A side's read for vectors of `rank`, and OTIMES_ERR_VALUE where one of them holds what is no number:
 * what has left float32 on its way there has no order. */
int otimes_table_read(const otimes_table_side *side, int64_t rank, const int64_t *ids,
                      int64_t first, int64_t count, float *out, otimes_err *err);

/* T^T: its rows are the columns of the table. */
otimes_table otimes_table_transposed(const otimes_table *table);

/* Values of rows first_row .. times columns first_column .., as the BLAS rounds them: those that the
 * results hold are nearer to the sum. */
typedef struct otimes_table_values {
    int64_t first_row, rows, first_column, columns;
    float *values;        /* [rows, columns]; the consumer may change them */
    const float *vectors; /* [columns, rank] along the column side */
    double norm;          /* the largest of theirs */
} otimes_table_values;

/* Consecutive rows with all that was found in them; results are ordered, the best first and equal values
 * by index; what is beyond the size of the table is NaN and -1. */
typedef struct otimes_table_sheet {
    int64_t first_row, rows;
    const float *vectors;   /* [rows, rank] */
    float *top_value;       /* [rows, top], descending */
    int32_t *top_column;    /* [rows, top] */
    float *bottom_value;    /* [rows, bottom], ascending */
    int32_t *bottom_column; /* [rows, bottom] */
    int64_t entry_count;    /* entries beyond the threshold, by row, then column */
    int64_t *entry_row;     /* [entry_count], counted from the table's first row */
    int32_t *entry_column;  /* [entry_count] */
    float *entry_value;     /* [entry_count] */
} otimes_table_sheet;

/* Sees every entry once; with one, tables go by blocks. */
typedef struct otimes_table_consumer {
    /* On a worker's thread, columns ascending; no two strips of the same rows at once. NULL: none. */
    void (*strip)(void *context, const otimes_table_values *strip);
    /* On the caller's thread, once all strips have been through `strip`: all rows of the sheet times
     * a block of columns, to be written. NULL: none. */
    int (*block)(void *context, const otimes_table_values *block, otimes_err *err);
} otimes_table_consumer;

typedef enum otimes_table_way {
    OTIMES_TABLE_EITHER, /* the faster one that can: the default */
    OTIMES_TABLE_BLOCKS,
    OTIMES_TABLE_SCREEN /* also where no kernel makes it fast; a consumer is refused */
} otimes_table_way;

typedef struct otimes_table_ask {
    int64_t top, bottom; /* entries kept of each row; 0: none */
    double
        threshold; /* positive: entries of at least it; negative: of at most it; 0: none wanted */
    otimes_table_way way;
    const otimes_table_consumer *every; /* NULL: nothing has to see every entry */
    /* The callbacks, on the caller's thread, may be NULL. */
    int (*skip)(void *context, int64_t first_row, int64_t rows); /* 1: the sheet is done already */
    int (*begin)(void *context, const otimes_table_sheet *sheet,
                 otimes_err *err); /* vectors are there */
    int (*finish)(void *context, const otimes_table_sheet *sheet, otimes_err *err);
    /* Share of the table that is done; not OTIMES_OK (OTIMES_ERR_CANCELLED, err filled by it) stops. */
    int (*tick)(void *context, double share, otimes_err *err);
    void *context;
} otimes_table_ask;

/* Rows of a sheet: of rank and size of the table alone, so that a resumed run meets the same ones. The
 * last sheet may have fewer. */
int64_t otimes_table_sheet_rows(const otimes_table *table);

/* All sheets in order. Errors: OTIMES_ERR_MEMORY, OTIMES_ERR_ARGUMENT (the screen is asked for, and a
 * consumer as well, or the rank is 0 or above 66,000), those of reading the sides, of the callbacks.
 * Cost: 2 rows columns rank flops by blocks, as many integer operations by the screen; memory beside the
 * sheet: 3 bytes times columns times rank for the screen, tiles by blocks. */
int otimes_table_run(const otimes_table *table, const otimes_table_ask *ask, otimes_err *err);

#endif
