/* SPDX-License-Identifier: MIT
 *
 * What the files of the plain-C table share. Nothing else includes this.
 */
#ifndef OTIMES_NUM_LA_REFERENCE_H
#define OTIMES_NUM_LA_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

/* The entries of otimes_la_reference; contracts in la.h. */
void otimes_reference_dgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha,
                            const double *a, int64_t lda, const double *b, int64_t ldb, double beta,
                            double *c, int64_t ldc);
int otimes_reference_dqr(int64_t m, int64_t n, double *a, int64_t lda, double *q, int64_t ldq,
                         double *r, int64_t ldr);
int otimes_reference_dsvd(int64_t m, int64_t n, double *a, int64_t lda, double *s, double *u,
                          int64_t ldu, double *v, int64_t ldv);
int otimes_reference_deig(int64_t n, double *a, int64_t lda, double *re, double *im);

/* Multiplies A by a power of two that brings its largest entry near 1 and returns that power; 1 for
 * a zero matrix. Products of entries then neither overflow nor vanish, and dividing by the power is
 * exact. */
double otimes_reference_scale(int64_t m, int64_t n, double *a, int64_t lda);

/* The Householder reflector H = I - tau v v^T, v[0] = 1, that maps x to (result, 0, ..., 0). n > 0.
 * An x that has this form already gives tau 0, so zeros that exist stay exact. */
double otimes_reference_reflector(int64_t n, const double *x, int64_t stride, double *v,
                                  double *tau);

/* A [m,n] = H A. work has n items. */
void otimes_reference_reflect(int64_t m, int64_t n, const double *v, double tau, double *a,
                              int64_t lda, double *work);

#endif
