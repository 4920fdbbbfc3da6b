/* SPDX-License-Identifier: MIT
 *
 * A strip of rows against all columns of a screened table: the entries that can be among the best or beyond
 * the threshold, few more than there are.
 */
#ifndef OTIMES_RUN_TABLE_SEARCH_H
#define OTIMES_RUN_TABLE_SEARCH_H

#include <stdbool.h>

#include "run/table_columns.h"
#include "run/table_pick.h"

typedef enum otimes_table_kind {
    OTIMES_TABLE_TOP,
    OTIMES_TABLE_BOTTOM,
    OTIMES_TABLE_BEYOND,
    OTIMES_TABLE_KINDS
} otimes_table_kind;

typedef struct otimes_table_found {
    int32_t row; /* of the sheet */
    int32_t column;
    otimes_table_kind kind;
    float value; /* once it is settled */
} otimes_table_found;

/* Found entries, in memory that grows. */
typedef struct otimes_table_finds {
    otimes_table_found *found;
    int64_t count, capacity;
} otimes_table_finds;

typedef struct otimes_table_search {
    const otimes_table_columns *columns;
    const otimes_screen *screen;
    int64_t top, bottom;
    double threshold;
    int64_t strip_rows; /* at most; a multiple of OTIMES_SCREEN_ROWS */
    const int64_t
        *visits;   /* [panel_count] panels in an order that has nothing to do with their values */
    bool cautious; /* largest columns first and bars that are sure: where many rows were lost */
} otimes_table_search;

/* A worker's memory. */
typedef struct otimes_table_strip otimes_table_strip;

int64_t otimes_table_strip_rows(int64_t steps);
int otimes_table_strip_new(otimes_table_strip **strip, const otimes_table_search *search,
                           otimes_err *err);
void otimes_table_strip_free(otimes_table_strip **strip); /* accepts NULL in it */

/* Rows first .. first+rows-1 of the sheet, their vectors [rows, rank]. lost[i] of the strip's row i is set
 * where top and bottom are to be found in another way. */
int otimes_table_search_strip(const otimes_table_search *search, otimes_table_strip *strip,
                              int64_t first, int64_t rows, const float *vectors,
                              otimes_table_finds *finds, bool *lost, otimes_err *err);

#endif
