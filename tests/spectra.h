/* SPDX-License-Identifier: MIT
 *
 * Singular values and eigenvalues of whole matrices in double.
 */
#ifndef OTIMES_TESTS_SPECTRA_H
#define OTIMES_TESTS_SPECTRA_H

#include <stdint.h>

/* Of W [d, d]: singular values, and vectors in the columns of u and v. */
typedef struct spectrum {
    double *sigma, *u, *v;
} spectrum;

spectrum spectra_svd(int64_t d, const double *W);
void spectra_free(spectrum *s);

/* How far direction k turns when eps is rounded off the matrix, in eps: the largest singular value over the
 * distance to the nearest other one. */
double spectra_turning(const spectrum *s, int64_t d, int64_t k);

/* Re(sum lambda) / sum |lambda| of A [n, n]; *moduli is the lower sum. */
double spectra_copying(int64_t n, const double *A, double *moduli);

/* full_eigenvalues_real and _imag, `count` non-zero ones of A [n, n]: their sums of powers are traces of powers
 * of A, to `close` of norm, norm^2 and norm^3. */
void spectra_hold_powers(int64_t n, const double *A, int64_t count, const double *re,
                         const double *im, double norm, double close);

#endif
