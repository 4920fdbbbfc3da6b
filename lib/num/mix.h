/* SPDX-License-Identifier: MIT
 *
 * A change of basis that leaves products alone: x D R and y D^-1 R have the product x . y. D holds powers
 * of two that make both sides' spreads alike, R is orthogonal and spreads what is left of a large
 * entry over all (random signs and Walsh-Hadamard transforms over the first and over the last
 * 2^p >= rank / 2 entries; Ailon and Chazelle 2009), so that few bits a number lose little.
 */
#ifndef OTIMES_NUM_MIX_H
#define OTIMES_NUM_MIX_H

#include "base/mem.h"

typedef struct otimes_mix {
    int64_t rank, span;  /* span = 2^p <= rank */
    float *left, *right; /* [rank] D and D^-1 with the signs in front of the first transform */
    float *sign;         /* [rank] those in front of the second */
    double error; /* products of mixed vectors are those of the vectors to this times their norms */
} otimes_mix;

/* From root mean squares of the entries of both sides [rank]. Memory is the pool's. */
int otimes_mix_make(int64_t rank, const double *left_rms, const double *right_rms, otimes_mix *mix,
                    otimes_pool *pool, otimes_err *err);

/* In place; entries of at most 1 cannot overflow. side 0: left, 1: right. scratch [rank]. */
void otimes_mix_apply(const otimes_mix *mix, int side, float *x, float *scratch);

#endif
