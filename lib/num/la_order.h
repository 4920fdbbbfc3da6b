/* SPDX-License-Identifier: MIT
 *
 * What every implementation of the table shares: the order of eigenvalues that la.h promises, and what
 * its iterations may be given.
 */
#ifndef OTIMES_NUM_LA_ORDER_H
#define OTIMES_NUM_LA_ORDER_H

#include <stdbool.h>
#include <stdint.h>

/* Whether eigenvalue a stands before b: larger modulus first, then larger real part, then larger
 * imaginary part. Exact comparisons: the order is total, and a conjugate pair is (+, -). */
bool otimes_eigenvalue_before(double a_re, double a_im, double b_re, double b_im);

/* Sorts n eigenvalues in place. A pair that occurs k times over, to the last bit, is k times + and
 * then k times -. */
void otimes_eigenvalue_sort(int64_t n, double *re, double *im);

/* Whether every entry of A [m,n] is a number: of others iterations do not end, or end anywhere. */
bool otimes_matrix_is_finite(int64_t m, int64_t n, const double *a, int64_t lda);

#endif
