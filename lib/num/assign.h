/* SPDX-License-Identifier: MIT
 *
 * The assignment problem: rows matched to columns so that the sum of the entries chosen is least.
 */
#ifndef OTIMES_NUM_ASSIGN_H
#define OTIMES_NUM_ASSIGN_H

#include <stdbool.h>

#include "base/err.h"

/* A matching of min(rows, columns) pairs, no row and no column twice, of the least (largest) sum of
 * value [rows, columns], row-major with ld >= columns, into column_of [rows]; -1: no partner, which
 * happens where rows > columns. *total, where not NULL: the sum, in order of rows.
 *
 * An entry of +INFINITY (largest: -INFINITY) is forbidden. row_price [rows] and column_price
 * [columns], where not NULL, prove the matching optimal: value(i, j) - row_price(i) -
 * column_price(j) is 0 at the pairs and not negative (largest: not positive) elsewhere, and the
 * price of what has no partner is 0, no other of its side above (largest: below) it; all to
 * rounding.
 *
 * Of several optima it is the one that this order of work meets first: rows ascending (of more rows
 * than columns, columns), the lower of columns that cost a row the same, free ones before taken
 * ones. The matching depends on the values alone, and equal values give the diagonal.
 *
 * Row reduction, augmenting row reduction and shortest augmenting paths: Jonker and Volgenant 1987,
 * "A shortest augmenting path algorithm for dense and sparse linear assignment problems"; for
 * rectangles as Crouse 2016, "On implementing 2D rectangular assignment algorithms", without column
 * reduction, which would give a price to columns that stay free.
 * Cost: at most min^2 max operations, in practice far fewer; memory 8 rows * columns bytes.
 * OTIMES_ERR_ARGUMENT: NaN, an infinity that is not the forbidden one, or so many forbidden entries
 * that some rows (columns) have fewer partners together than they are. OTIMES_ERR_MEMORY. */
int otimes_assign(int64_t rows, int64_t columns, const double *value, int64_t ld, bool largest,
                  int64_t *column_of, double *row_price, double *column_price, double *total,
                  otimes_err *err);

#endif
