/* SPDX-License-Identifier: MIT
 *
 * What is said of one circuit, whichever it is: OV or QK, in the residual stream or over the
 * vocabulary.
 */
#ifndef OTIMES_RUN_SPECTRUM_H
#define OTIMES_RUN_SPECTRUM_H

#include "num/factored.h"

typedef struct otimes_spectrum {
    double norm;           /* Frobenius */
    double trace;          /* sum of eigenvalues */
    double positivity;     /* Re(sum lambda) / sum |lambda| */
    double effective_rank; /* exp(entropy(sigma / sum sigma)) */
} otimes_spectrum;

/* Spectrum of M = A B^T / scale. values [rank of the sides] receives the singular values, padded
 * with the zeros that M has beyond the sides' rows. */
int otimes_spectrum_singular(otimes_factored m, double scale, otimes_spectrum *spectrum,
                             double *values, otimes_err *err);

/* Eigenvalues of inner / scale, re and im [rank] by falling modulus; inner is destroyed. */
int otimes_spectrum_eigen(int64_t rank, double *inner, double scale, otimes_spectrum *spectrum,
                          double *re, double *im, otimes_err *err);

#endif
