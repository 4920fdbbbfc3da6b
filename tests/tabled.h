/* SPDX-License-Identifier: MIT
 *
 * Tables whose every entry is there, and what the engine finds in them held against it.
 */
#ifndef OTIMES_TESTS_TABLED_H
#define OTIMES_TESTS_TABLED_H

#include <stdbool.h>
#include <stdint.h>

#include "run/table.h"

/* [rows, rank] and [columns, rank], and entry [rows, columns]: (float)otimes_dot of their vectors. */
typedef struct tabled {
    int64_t rows, columns, rank;
    float *x, *y, *entry;
} tabled;

/* Zeroed vectors, entries not yet there. */
tabled tabled_new(int64_t rows, int64_t columns, int64_t rank);
void tabled_multiply(tabled *t);
void tabled_free(tabled *t);

/* What is asked of a table. */
typedef struct tabled_ask {
    int64_t top, bottom;
    double threshold;
    otimes_table_way way;
    int threads;
    bool transposed;
} tabled_ask;

const char *tabled_way(otimes_table_way way);

/* Whether everything that the engine finds is, to the bit, what sorting the entries gives. If not, why[]
 * says where. */
enum { TABLED_WHY = 256 };
bool tabled_holds(const tabled *t, const tabled_ask *ask, char why[TABLED_WHY]);

/* The same of a sheet that begins with row first_row of T, or of T^T: for callbacks. */
bool tabled_sheet_holds(const tabled *t, const tabled_ask *ask, const otimes_table_sheet *sheet,
                        char why[TABLED_WHY]);

/* Fails the test where tabled_holds is false: the table is cut down for as long as it stays so, and what is
 * left is printed. */
void tabled_hold(const tabled *t, const tabled_ask *ask, const char *what);

/* Fails the test unless the engine refuses with OTIMES_ERR_ARGUMENT and a text. */
void tabled_refused(const tabled *t, const tabled_ask *ask);

/* Places among the best k of each row, and in how many the BLAS' float32 product of the same vectors has
 * another column. */
typedef struct tabled_moved {
    int64_t places, moved, rows_not_finite;
} tabled_moved;

/* Fails unless every entry of that product is within the rounding of a float32 sum in any order of the table's,
 * and every column that moved within that rounding of the one whose place it has; with `whole`, unless both
 * are the same. Adds to *moved. Rows in which the product overflows are left out. */
void tabled_beside_product(const tabled *t, int64_t k, bool whole, const char *what,
                           tabled_moved *moved);

/* The table of two sides in memory. */
typedef struct tabled_sides {
    otimes_table_vectors x, y;
    otimes_table table;
} tabled_sides;
void tabled_open(tabled_sides *sides, const tabled *t, const tabled_ask *ask);

#endif
