/* SPDX-License-Identifier: MIT
 *
 * The columns of a table as its screen sees them. A vector y is multiplied by a power of two, mixed
 * (num/mix.h) and freed of the columns' common part: c = R D^-1 y - mean, which shifts a row's entries
 * by x . mean, the same for all. c is kept in 16 bits, and in 8 bits by panels of columns that share
 * their step, sorted by their largest entry.
 */
#ifndef OTIMES_RUN_TABLE_COLUMNS_H
#define OTIMES_RUN_TABLE_COLUMNS_H

#include "num/mix.h"
#include "num/screen.h"
#include "run/table.h"

/* A column c in 16 bits against a row a in its own, s q:
 * |T - shift - s step (q . integers)| <= |a - s q| norm + max(|a|, |s q|) error, rounding of T included. */
typedef struct otimes_table_column {
    double step, norm, error;
} otimes_table_column;

/* A panel's columns against a row a in its 8 bits s q:
 * |a . c - s step (q . q_c)| <= |a - s q| norm + max(|a|, |s q|) error. */
typedef struct otimes_table_panel {
    double step, norm, error;
} otimes_table_panel;

typedef struct otimes_table_columns {
    int64_t count, rank, steps, panel_count;
    int exponent; /* vectors were multiplied by 2^-exponent */
    otimes_mix mix;
    float *mean;                 /* [rank] */
    int64_t wide;                /* rank rounded up to OTIMES_SCREEN_WIDE */
    int32_t levels;              /* of 16 bits */
    int16_t *integers;           /* [count, wide]: c over step, zeros behind it */
    otimes_table_column *column; /* [count] */
    uint8_t *panels;           /* [panel_count, steps, OTIMES_SCREEN_COLUMNS, OTIMES_SCREEN_STEP] */
    otimes_table_panel *panel; /* [panel_count] */
    int32_t *order;            /* [panel_count, OTIMES_SCREEN_COLUMNS]; -1: none */
    otimes_pool pool;
} otimes_table_columns;

/* What every bound has besides, over the row's norm: numbers that vanish below float32. */
double otimes_table_least_error(int64_t rank);

int otimes_table_columns_make(const otimes_table *table, otimes_table_columns *columns,
                              otimes_err *err);
void otimes_table_columns_free(otimes_table_columns *columns);

/* x := 2^-exponent x for the exponent that brings the largest of its entries into [1/2, 1), which is
 * returned; 0 for a vector of zeros, which stays. */
int otimes_table_normalise(int64_t count, float *x);

/* The largest modulus. */
float otimes_table_largest(int64_t count, const float *x);

#endif
