/* SPDX-License-Identifier: MIT
 *
 * Heads as pairs of them are compared: each side of each circuit as an orthonormal basis and a core,
 *   W_Q = B_Q^T R_Q,  W_K = B_K^T R_K,  W_V = B_V^T R_V,  W_O^T = B_O^T R_O,   B B^T = I,
 * B [rank, d_model] float, R [rank, d_head] double. So
 *   W_OV = B_V^T M_OV B_O,  M_OV = R_V R_O^T;   W_QK = B_Q^T M_QK B_K,  M_QK = R_Q R_K^T,
 * and every product of two heads is a cross Gram B_1 B_2^T [rank, rank] between cores. Key and value
 * sides stand once for the query heads that share them.
 */
#ifndef OTIMES_RUN_HEAD_BASES_H
#define OTIMES_RUN_HEAD_BASES_H

#include <otimes/model.h>

#include "base/err.h"

enum { OTIMES_SIDE_Q, OTIMES_SIDE_K, OTIMES_SIDE_V, OTIMES_SIDE_O, OTIMES_SIDES };

/* Layers first .. first+count-1, all heads. A zeroed one is empty. */
typedef struct otimes_head_bases {
    int64_t d_model, d_head, rank; /* rank = min(d_model, d_head) */
    int64_t first, layers;
    int64_t heads[OTIMES_SIDES];  /* n_heads for Q and O, n_kv_heads for K and V */
    float *basis[OTIMES_SIDES];   /* [layers, heads, rank, d_model] orthonormal rows */
    double *factor[OTIMES_SIDES]; /* [layers, heads, rank, d_head], R above */
} otimes_head_bases;

/* Sides of a layer range, only those of the OTIMES_PART_Q | _K | _V | _O asked for. The output side is
 * what the stream receives: where a norm stands behind W_O, its rows centred (LayerNorm) and times that
 * norm's weight, which is the true write up to a positive factor at each position. By Cholesky QR, whose
 * basis is checked to be orthonormal to 1e-9; by Householder QR where it is not. A side of lower rank has
 * basis rows that mean nothing and rows of zeros (to rounding) in R.
 * Memory: 4 d_model + 8 d_head bytes for each of rank x heads rows, and a layer while it is read.
 * OTIMES_ERR_MEMORY, those of reading weights. */
int otimes_head_bases_load(const otimes_model *model, int64_t first, int64_t layers, int parts,
                           otimes_head_bases *bases, otimes_err *err);

/* Accepts zeroed. */
void otimes_head_bases_free(otimes_head_bases *bases);

/* Basis and R of one side; head counts within the side (kv heads for K and V), layer from 0 = first. */
static inline const float *otimes_head_basis(const otimes_head_bases *b, int side, int64_t layer,
                                             int64_t head)
{
    return b->basis[side] + (layer * b->heads[side] + head) * b->rank * b->d_model;
}

static inline const double *otimes_head_factor(const otimes_head_bases *b, int side, int64_t layer,
                                               int64_t head)
{
    return b->factor[side] + (layer * b->heads[side] + head) * b->rank * b->d_head;
}

#endif
