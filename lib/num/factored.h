/* SPDX-License-Identifier: MIT
 *
 * Factored matrices: M = A B^T with A [rows, rank], B [cols, rank], rank far below both. Everything
 * is computed from the thin QR of the two sides and a rank x rank core; M itself is formed only on
 * request. A side is kept apart because heads share them: grouped query heads share one key and one
 * value side, and a circuit at another rotary offset changes only the core.
 */
#ifndef OTIMES_NUM_FACTORED_H
#define OTIMES_NUM_FACTORED_H

#include <stdbool.h>

#include "base/err.h"

/* X [rows, rank], and once factorised X = Q R with Q [rows, r], R [r, rank], r = min(rows, rank). A
 * zeroed side is empty and may be freed. */
typedef struct otimes_side {
    int64_t rows, rank, r_rows;
    double *x;
    double *q; /* NULL unless kept */
    double *r; /* NULL until factorised */
} otimes_side;

/* X[i, j] = source[i * row_stride + j * column_stride], copied to double. */
int otimes_side_init(otimes_side *side, int64_t rows, int64_t rank, const float *source,
                     int64_t row_stride, int64_t column_stride, otimes_err *err);

/* X with one more row, `last` [rank]; zeros when last is NULL. */
int otimes_side_append_row(otimes_side *side, const float *last, otimes_err *err);

/* A new side F X for F [rows, side->rows]: the same circuit seen from another space. */
int otimes_side_map(otimes_side *mapped, int64_t rows, const double *f, const otimes_side *side,
                    otimes_err *err);

/* Computes R, and Q when it is kept. */
int otimes_side_factorise(otimes_side *side, bool keep_q, otimes_err *err);

void otimes_side_free(otimes_side *side);

typedef struct otimes_factored {
    const otimes_side *a, *b; /* of one rank */
} otimes_factored;

/* M^T: the sides change places. */
otimes_factored otimes_factored_transpose(otimes_factored m);

/* Number of singular values that are computed, min over both r_rows. */
int64_t otimes_factored_rank(otimes_factored m);

/* Singular values, descending, [otimes_factored_rank]. When u and v are not NULL also the leading
 * `components` singular vectors as rows, u [components, a->rows], v [components, b->rows]; both
 * sides must have kept Q. The entry of u of largest modulus (the first, if several) is positive.
 * OTIMES_ERR_MEMORY, OTIMES_ERR_CONVERGENCE. */
int otimes_factored_svd(otimes_factored m, double *values, int64_t components, double *u, double *v,
                        otimes_err *err);

/* Frobenius norm alone, from the core. Both sides factorised. OTIMES_ERR_MEMORY. */
int otimes_factored_norm(otimes_factored m, double *norm, otimes_err *err);

/* Small product B^T A [rank, rank]: it has the non-zero eigenvalues of the square matrix A B^T. */
void otimes_factored_inner(otimes_factored m, double *inner);

/* Eigenvalues of inner [rank, rank] (destroyed) by falling modulus, and their sum from the
 * diagonal. */
int otimes_inner_eigenvalues(int64_t rank, double *inner, double *re, double *im, double *trace,
                             otimes_err *err);

/* sqrt(sum s^2). */
double otimes_norm_of_singular_values(const double *values, int64_t count);

/* Re(sum lambda) / sum |lambda|, in [-1, 1]; NaN when all are 0. */
double otimes_positivity(const double *re, const double *im, int64_t count);

/* M's first n rows and columns into out [n, n]; n at most both. */
void otimes_factored_corner(otimes_factored m, int64_t n, double *out);

/* All of M into out [a->rows, b->rows]. */
void otimes_factored_product(otimes_factored m, double *out);

/* y [count, b->rows] = x [count, a->rows] M, through the rank; scratch [count, rank]. */
void otimes_factored_apply(otimes_factored m, int64_t count, const double *x, double *scratch,
                           double *y);

/* The product first second = A1 (B1^T A2) B2^T: a new left side A1 (B1^T A2) for second's B. */
int otimes_factored_compose(otimes_side *left, otimes_factored first, otimes_factored second,
                            otimes_err *err);

#endif
