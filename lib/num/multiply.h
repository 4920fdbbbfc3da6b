/* SPDX-License-Identifier: MIT
 *
 * Products of views: matrices of either precision and any strides, multiplied in one of the two.
 */
#ifndef OTIMES_NUM_MULTIPLY_H
#define OTIMES_NUM_MULTIPLY_H

#include <stdbool.h>

#include "base/err.h"

/* Element (i, j) lies at [i * row_stride + j * column_stride] of narrow or wide; the other is NULL. */
typedef struct otimes_view {
    int64_t rows, columns, row_stride, column_stride;
    const float *narrow;
    const double *wide;
} otimes_view;

static inline otimes_view otimes_view_transpose(otimes_view v)
{
    return (otimes_view){v.columns, v.rows, v.column_stride, v.row_stride, v.narrow, v.wide};
}

static inline double otimes_view_at(const otimes_view *v, int64_t i, int64_t j)
{
    const int64_t at = i * v->row_stride + j * v->column_stride;
    return v->wide ? v->wide[at] : (double)v->narrow[at];
}

/* C [a->rows, b->columns] = alpha A B (+ C, if `add`), rows of C one after another; C is double and
 * so are the sums if `wide`, else float. Cut into tiles by the shapes alone, so that the bits do not
 * depend on the number of threads. What a BLAS cannot read as it is, is packed a tile at a time.
 * OTIMES_ERR_MEMORY. */
int otimes_multiply(int threads, const otimes_view *a, const otimes_view *b, double alpha, bool add,
                    bool wide, void *c, otimes_err *err);

#endif
