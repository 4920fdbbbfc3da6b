/* SPDX-License-Identifier: MIT
 *
 * Directions of the residual stream read in the vocabulary.
 */
#ifndef OTIMES_RUN_DIRECTIONS_H
#define OTIMES_RUN_DIRECTIONS_H

#include <otimes/model.h>

#include "base/err.h"

/* For each of `count` directions [count, d_model] the `top` tokens with the largest and those with
 * the smallest product with it, over W_E (unembed NULL: W_E x) or W_U (x^T W_U): value and id are
 * [count, 2, top], end 0 descending, end 1 ascending, ties by lower id. tokens restricts the
 * vocabulary (ascending, NULL: all). What is beyond its size is NaN and -1. Exact, as run/table.h. */
int otimes_directions_read(const otimes_model *model, const otimes_unembed *unembed,
                           const int64_t *tokens, int64_t token_count, int64_t count,
                           const float *directions, int64_t top, int threads, float *value,
                           int32_t *id, otimes_err *err);

#endif
