/* SPDX-License-Identifier: MIT
 *
 * What measures of likeness give for random subspaces and maps: the value to hold a measured one
 * against. Random is Haar: every rotation of R^d is as likely as every other.
 */
#ifndef OTIMES_NUM_HAAR_H
#define OTIMES_NUM_HAAR_H

#include <stdbool.h>

#include "base/err.h"

/* Mean and variance of one random draw. Where they are not defined (no such subspace; the variance
 * at d = 1) NaN. */
typedef struct otimes_moments {
    double mean, variance;
} otimes_moments;

/* What is needed of a positive semidefinite matrix: its trace and that of its square, the sums of
 * its eigenvalues and of their squares. */
typedef struct otimes_spectrum_sums {
    double trace, squares;
} otimes_spectrum_sums;

/* Of the Gram M M^T of a map with these singular values. */
otimes_spectrum_sums otimes_gram_sums(int64_t count, const double *singular);

/* Projection kernel |U^T V|_F^2 = sum cos^2 of the principal angles of random p- and q-dimensional
 * subspaces of R^d: mean p q / d, variance 2 p q (d-p) (d-q) / (d^2 (d-1) (d+2)). */
otimes_moments otimes_haar_kernel(int64_t d, int64_t p, int64_t q);

/* tr(A Q B Q^T) of fixed symmetric A, B [d, d], Q Haar: mean tr A tr B / d, variance
 * 2 |A'|^2 |B'|^2 / ((d-1) (d+2)) with |A'|^2 = tr A^2 - (tr A)^2 / d. (Collins and Śniady 2006,
 * "Integration with respect to the Haar measure on unitary, orthogonal and symplectic group": the
 * traceless symmetric matrices are an irreducible space of (d-1) (d+2) / 2 dimensions.) */
otimes_moments otimes_haar_trace(int64_t d, otimes_spectrum_sums a, otimes_spectrum_sums b);

/* Linear CKA tr(A B) / (|A|_F |B|_F) of the Grams A, B of two maps, one rotated at random. NaN for
 * a zero map. Rows that are centred live in d - 1 dimensions: pass that. */
otimes_moments otimes_haar_cka(int64_t d, otimes_spectrum_sums a, otimes_spectrum_sums b);

/* Frobenius cosine <M, P N Q> / (|M| |N|) of maps [rows, columns] with P and Q Haar and
 * independent: mean 0, variance 1 / (rows columns) whatever the spectra, since the mean of
 * P_ij P_kl is 1 / rows for equal pairs and 0 else, and Q's likewise. */
otimes_moments otimes_haar_cosine(int64_t rows, int64_t columns);

/* Standard deviations of x above the mean; NaN where the variance is not above 0. */
double otimes_haar_z(otimes_moments moments, double x);

/* Probability of a standard normal above z: erfc(z / sqrt 2) / 2. As a p-value of the measures above an
 * approximation that is good where many dimensions take part; a kernel of one dimension with
 * another is Beta(1/2, (d-1)/2) and has a heavier tail. */
double otimes_upper_tail(double z);

/* ---- what has no closed form: seeded sampling, the same numbers for the same arguments ---- */

/* Over samples: their mean and variance, and the standard error of that mean, sqrt(variance /
 * samples); with one sample variance and error are NaN. */
typedef struct otimes_estimate {
    double mean, variance, error;
} otimes_estimate;

/* Cosines of the min(p, q) principal angles of random p- and q-dimensional subspaces of R^d:
 * `largest` of them, `average` of all, and by falling size the mean of each into cosine
 * [min(p, q)]; each may be NULL.
 *
 * Their squares are a Jacobi ensemble (MANOVA), drawn as the bidiagonal matrix of 2 min(p, q) - 1
 * beta variates that has these singular values (Edelman and Sutton 2008, "The beta-Jacobi matrix
 * model, the CS decomposition, and generalized singular value problems"), so that no matrix of d
 * rows is made. Where p + q > d, p + q - d cosines are 1 and the others are those of the
 * complements. Cost: about 30 min(p, q)^2 operations a sample.
 * OTIMES_ERR_ARGUMENT: p or q outside 1 .. d, samples below 1. OTIMES_ERR_MEMORY,
 * OTIMES_ERR_CONVERGENCE. */
int otimes_haar_angles(int64_t d, int64_t p, int64_t q, int64_t samples, uint64_t seed,
                       otimes_estimate *largest, otimes_estimate *average, double *cosine,
                       otimes_err *err);

/* Nuclear norm of diag(a) U^T V diag(b), U [d, p] and V [d, q] Haar with orthonormal columns: the
 * numerator of the Procrustes similarity of maps with singular values a [p] and b [q]. Divided by
 * |a| |b| (a similarity of 1 for maps that are alike up to rotation) when `normalised`.
 *
 * U^T V is the upper part of the Q of a Gaussian [d, q]; of its lower d - p rows only R is drawn,
 * by chi variates (Bartlett 1933). Cost: QR of [p + q, q] and singular values of [p, q] a sample.
 * OTIMES_ERR_ARGUMENT: p or q outside 1 .. d, samples below 1. OTIMES_ERR_MEMORY,
 * OTIMES_ERR_CONVERGENCE. */
int otimes_haar_procrustes(int64_t d, int64_t p, const double *a, int64_t q, const double *b,
                           bool normalised, int64_t samples, uint64_t seed,
                           otimes_estimate *estimate, otimes_err *err);

#endif
