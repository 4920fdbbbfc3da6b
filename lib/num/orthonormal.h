/* SPDX-License-Identifier: MIT
 *
 * Orthonormal bases of column spaces, fast where the columns are not nearly dependent.
 */
#ifndef OTIMES_NUM_ORTHONORMAL_H
#define OTIMES_NUM_ORTHONORMAL_H

#include "base/err.h"

/* X [rows, columns] = B^T R with r = min(rows, columns): b [r, rows] orthonormal rows rounded to float,
 * factor [r, columns]. By Cholesky QR (X^T X = L L^T, B = L^-1 X^T), kept if B B^T is I to 1e-9 in
 * double; else by Householder QR. Yamamoto et al., ETNA 44 (2015) for the bound eps cond(X)^2 that the check
 * stands for. x is left alone. OTIMES_ERR_MEMORY. */
int otimes_orthonormal_rows(int64_t rows, int64_t columns, const double *x, float *b,
                            double *factor, otimes_err *err);

#endif
