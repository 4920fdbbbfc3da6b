/* SPDX-License-Identifier: MIT
 *
 * The operator algebra that otimes is named for. With patterns and norm scales frozen, what a
 * transformer does to a residual stream x [n_in, d_in] (rows are positions, columns are features)
 * is a sum of terms
 *     scale (A ⊗ B),      (A ⊗ B) x = A x B^T,
 * A [n_out, n_in] acting between positions and B [d_out, d_in] between features. Each of the two is
 * a product of factors, read as matrices act on columns: the rightmost acts first. A head is
 * A^h ⊗ OV^h with OV^h = W_O[h]^T W_V[h]^T; frozen LayerNorm is diag(1/s) ⊗ C.
 *     order is free:       A (x B^T) = (A x) B^T
 *     the mixed product:   (A ⊗ B)(C ⊗ D) = AC ⊗ BD
 * Nothing is multiplied out until an operator is applied, and then in the cheapest order: A's
 * factors, x and B's factors are one chain of matrices, associated by dynamic programming.
 *
 * Numbers stay the caller's: a factor is a named view of them, which must outlive every operator
 * that it is a part of. Notation: A Mathematical Framework for Transformer Circuits
 * (transformer-circuits.pub, 2021).
 *
 * The logits of a one-layer transformer, as one operator on its embedding x [n, d]:
 *
 *     T = (diag(1/s_f) ⊗ W_U·C) (Id ⊗ Id + sum_h A^h·diag(1/s) ⊗ OV^h·C)
 *
 *     otimes_operator *layer = NULL, *end = NULL, *T = NULL;
 *     int rc = otimes_operator_new(&layer, n, n, d, d, &err);
 *     if (!rc) rc = otimes_operator_add_term(layer, 1, NULL, 0, NULL, 0, &err);
 *     for (int64_t h = 0; !rc && h < n_heads; h++) {
 *         const otimes_factor over[] = {otimes_factor_pattern(0, h, pattern + h * n * n, n),
 *                                       otimes_factor_inverse_diagonal("diag(1/s[0])", s, n)};
 *         const otimes_factor through[] = {otimes_factor_ov(&weights, h),
 *                                          otimes_factor_centring("C", d)};
 *         rc = otimes_operator_add_term(layer, 1, over, 2, through, 2, &err);
 *     }
 *     const otimes_factor scale[] = {otimes_factor_inverse_diagonal("diag(1/s[f])", s_f, n)};
 *     const otimes_factor out[] = {otimes_factor_dense("W_U", W_U, d_vocab, d, d, 1),
 *                                  otimes_factor_centring("C", d)};
 *     if (!rc) rc = otimes_operator_new(&end, n, n, d_vocab, d, &err);
 *     if (!rc) rc = otimes_operator_add_term(end, 1, scale, 1, out, 2, &err);
 *     if (!rc) rc = otimes_operator_compose(&T, end, layer, &err);
 *     if (!rc) rc = otimes_operator_apply(T, 0, x, logits, &err);    // [n, d_vocab], less b_U
 *     otimes_operator_print(T, text, sizeof text);
 *         // diag(1/s[f]) ⊗ W_U·C + diag(1/s[f])·A[0.0]·diag(1/s[0]) ⊗ W_U·C·OV[0.0]·C + …
 *     otimes_operator_free(&T); otimes_operator_free(&end); otimes_operator_free(&layer);
 */
#ifndef OTIMES_OPERATOR_H
#define OTIMES_OPERATOR_H

#include <otimes/common.h>
#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- factors ---- */

typedef enum otimes_factor_kind {
    OTIMES_FACTOR_NONE,     /* nothing: what a constructor gives that could not make one */
    OTIMES_FACTOR_DENSE,    /* any matrix: a pattern, a weight */
    OTIMES_FACTOR_PAIR,     /* left [rows, rank] times right [rank, columns], never formed */
    OTIMES_FACTOR_DIAGONAL, /* diag(v) */
    OTIMES_FACTOR_INVERSE_DIAGONAL, /* diag(1/v) */
    OTIMES_FACTOR_CENTRING,         /* C = I - 1 1^T / n: takes the mean away */
    OTIMES_FACTOR_SELECTION /* e_q^T [1, columns]: row q of what follows; or its transpose */
} otimes_factor_kind;

#define OTIMES_FACTOR_NAME 32

/* A view of the caller's numbers with a name (cut at OTIMES_FACTOR_NAME - 1 bytes) for formulas and
 * errors. Made by the functions below, passed by value. */
typedef struct otimes_factor {
    otimes_factor_kind kind;
    int transposed; /* the name is written with ^T */
    char name[OTIMES_FACTOR_NAME];
    int64_t rows, columns;
    int64_t rank;                       /* of a pair */
    int64_t index;                      /* q of a selection */
    const float *data, *right;          /* right: of a pair */
    int64_t stride[2], right_stride[2]; /* in elements, of rows and of columns */
} otimes_factor;

/* Element (i, j) lies at data[i * row_stride + j * column_stride]: W^T is W with strides swapped. */
OTIMES_API otimes_factor otimes_factor_dense(const char *name, const float *data, int64_t rows,
                                             int64_t columns, int64_t row_stride,
                                             int64_t column_stride);

/* left and right are dense factors [rows, rank] and [rank, columns]; their names are not kept. */
OTIMES_API otimes_factor otimes_factor_pair(const char *name, const otimes_factor *left,
                                            const otimes_factor *right);

/* diag(v) and diag(1/v) of v [n]; of norm scales, which are never 0, the latter. */
OTIMES_API otimes_factor otimes_factor_diagonal(const char *name, const float *v, int64_t n);
OTIMES_API otimes_factor otimes_factor_inverse_diagonal(const char *name, const float *v,
                                                        int64_t n);

/* I - 1 1^T / n. */
OTIMES_API otimes_factor otimes_factor_centring(const char *name, int64_t n);

/* e_q^T [1, n], q below n. */
OTIMES_API otimes_factor otimes_factor_selection(const char *name, int64_t q, int64_t n);

/* "A[layer.head]": the head's pattern [n, n], row = destination, rows one after another. */
OTIMES_API otimes_factor otimes_factor_pattern(int64_t layer, int64_t head, const float *pattern,
                                               int64_t n);

/* Of a loaded layer and one of its query heads (which reads key/value head
 * head / (n_heads / n_kv_heads)), as pairs of rank d_head, [d_model, d_model]:
 *     "OV[layer.head]"  W_O[h]^T W_V[h]^T   x -> x W_V W_O; before any post-norm
 *     "QK[layer.head]"  W_Q[h] W_K[h]^T     row = destination; no attn_scale, biases, rotation */
OTIMES_API otimes_factor otimes_factor_ov(const otimes_layer *layer, int64_t head);
OTIMES_API otimes_factor otimes_factor_qk(const otimes_layer *layer, int64_t head);

/* One side, acting on columns: part is OTIMES_PART_Q of a query head, _K or _V of a key/value head
 * ("W_Q[layer.head]": W_Q[h]^T [d_head, d_model], x -> x W_Q), or _O of a query head
 * (W_O[h]^T [d_model, d_head]). */
OTIMES_API otimes_factor otimes_factor_side(const otimes_layer *layer, int part, int64_t head);

OTIMES_API otimes_factor otimes_factor_transpose(otimes_factor factor);

/* ---- operators ---- */

typedef struct otimes_operator otimes_operator;

/* The operator 0 from [n_in, d_in] to [n_out, d_out], all at least 1. Owned by the caller, released
 * with otimes_operator_free; NULL on error, as of every call that makes one. OTIMES_ERR_ARGUMENT,
 * OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_operator_new(otimes_operator **op, int64_t n_out,
                                                     int64_t n_in, int64_t d_out, int64_t d_in,
                                                     otimes_err *err);

/* Releases an operator, not the numbers behind its factors, and sets *op to NULL; NULL is fine. */
OTIMES_API void otimes_operator_free(otimes_operator **op);

/* op += scale (A ⊗ B) with A = over[0]·over[1]·…, B = through[0]·through[1]·…, as written; no
 * factors: the identity. The arrays are copied. OTIMES_ERR_ARGUMENT for shapes that do not follow
 * one another, both named, and for factors that could not be made; OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_operator_add_term(otimes_operator *op, double scale,
                                                          const otimes_factor *over,
                                                          int64_t over_count,
                                                          const otimes_factor *through,
                                                          int64_t through_count, otimes_err *err);

/* op += scale other, which may be op itself. Equal terms are not looked for. Unchanged on error:
 * OTIMES_ERR_ARGUMENT for another shape, OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_operator_add(otimes_operator *op, double scale,
                                                     const otimes_operator *other, otimes_err *err);

OTIMES_API void otimes_operator_scale(otimes_operator *op, double scale);

/* *product = left right, right acting first: each term of one with each of the other by the mixed
 * product, left's outermost. To apply a product once, apply right and then left: that costs the sum
 * of their terms and not the product. Errors as otimes_operator_add. */
OTIMES_API OTIMES_MUST_CHECK int otimes_operator_compose(otimes_operator **product,
                                                         const otimes_operator *left,
                                                         const otimes_operator *right,
                                                         otimes_err *err);

/* *transpose = op^T, from [n_out, d_out] to [n_in, d_in]: <y, op x> = <op^T y, x>. A gradient is
 * swept back with it. OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int
otimes_operator_transpose(otimes_operator **transpose, const otimes_operator *op, otimes_err *err);

/* y [n_out, d_out] = op x [n_in, d_in], rows one after another, in float32; y is not x. `threads`
 * 0: all; the bits do not depend on them where BLAS has one of its own (otimes_set_blas_threads).
 * Cost: otimes_operator_cost, and what its intermediate products take. OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_operator_apply(const otimes_operator *op, int threads,
                                                       const float *x, float *y, otimes_err *err);

/* Floating-point operations of one application, in the order it takes: 2 m k n for each product of
 * dense matrices. OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_operator_cost(const otimes_operator *op, double *flops,
                                                      otimes_err *err);

/* Sum over terms of scale tr A tr B, in double. Each trace is taken around its cycle of factors,
 * from the cut where that costs least: no [d_out, d_in] matrix is formed where a smaller dimension
 * stands between. OTIMES_ERR_ARGUMENT unless n_out = n_in and d_out = d_in; OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_operator_trace(const otimes_operator *op, int threads,
                                                       double *trace, otimes_err *err);

/* <left, right> = tr(left^T right) = sum over pairs of terms of scales tr(A_i^T A_j) tr(B_i^T B_j),
 * likewise. Its error is of the size of the largest pair's rounding, 1e-16 of that. Errors as
 * otimes_operator_add. */
OTIMES_API OTIMES_MUST_CHECK int otimes_operator_inner(const otimes_operator *left,
                                                       const otimes_operator *right, int threads,
                                                       double *inner, otimes_err *err);

/* Frobenius norm sqrt(<op, op>); where terms cancel, only to 1e-8 of what they would sum to.
 * OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_operator_norm(const otimes_operator *op, int threads,
                                                      double *norm, otimes_err *err);

/* Number of terms. */
OTIMES_API int64_t otimes_operator_terms(const otimes_operator *op);

/* The formula as UTF-8 into text of `size` bytes, cut where it does not fit and always ended by
 * NUL; text may be NULL when size is 0. Returns its whole length without the NUL:
 *     A[1.5]·A[0.3] ⊗ W_U·OV[1.5]·OV[0.3]·W_E + 0.5 Id ⊗ W_U
 * An operator without terms is "0". */
OTIMES_API int64_t otimes_operator_print(const otimes_operator *op, char *text, size_t size);

#ifdef __cplusplus
}
#endif

#endif
