/* SPDX-License-Identifier: MIT
 *
 * Products of many matrices, associated in the order that costs least, and traces of such products.
 * An operator's A, the stream it acts on and its B^T are one such chain.
 */
#ifndef OTIMES_RUN_OPERATOR_CHAIN_H
#define OTIMES_RUN_OPERATOR_CHAIN_H

#include <otimes/operator.h>

#include "base/mem.h"
#include "num/multiply.h"

/* A dense view, or a matrix that needs none: of a diagonal, view shows its entries down the rows.
 * Pairs are two matrices. */
typedef struct otimes_matrix {
    otimes_factor_kind kind; /* OTIMES_FACTOR_NONE: the identity */
    bool transposed;         /* of a selection */
    int64_t index;           /* of a selection */
    otimes_view view;
} otimes_matrix;

typedef struct otimes_chain {
    bool wide; /* double, else float */
    int threads;
    otimes_matrix *matrix;
    int64_t count, capacity;
    int64_t span;   /* of the tables: count, or twice that around a cycle */
    double *cost;   /* [span, span] flops of the product of matrices i .. j */
    int64_t *split; /* [span, span] where its last product is */
} otimes_chain;

/* Factors as further matrices, or with `transpose` those of the product's transpose.
 * OTIMES_ERR_MEMORY, as all below. */
int otimes_chain_add_factors(otimes_chain *chain, const otimes_factor *factor, int64_t count,
                             bool transpose, otimes_err *err);

/* A dense matrix, rows one after another. */
int otimes_chain_add_dense(otimes_chain *chain, const otimes_view *view, otimes_err *err);

/* Finds the order; *flops of it, which may be NULL. One matrix at least must be dense. Dynamic
 * programming over sub-chains, count^3 / 6 steps. */
int otimes_chain_plan(otimes_chain *chain, double *flops, otimes_err *err);

/* out = scale * product (+ out, if `add`), planned; rows one after another, double if `wide`. */
int otimes_chain_product(const otimes_chain *chain, double scale, bool add, void *out,
                         otimes_err *err);

/* Trace of a product [n, n], of no matrices too; in double, so `wide` must be set. */
int otimes_chain_trace(otimes_chain *chain, int64_t n, double *trace, otimes_err *err);

/* Forgets the matrices and keeps the room. */
static inline void otimes_chain_clear(otimes_chain *chain)
{
    chain->count = 0;
}

/* Accepts zeroed. */
void otimes_chain_free(otimes_chain *chain);

#endif
