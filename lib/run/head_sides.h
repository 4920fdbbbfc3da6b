/* SPDX-License-Identifier: MIT
 *
 * Heads as pairs of them need them: their sides in the residual stream and over the vocabulary, and
 * what each does on its own: how much it attends to the previous token, how much its OV copies.
 */
#ifndef OTIMES_RUN_HEAD_SIDES_H
#define OTIMES_RUN_HEAD_SIDES_H

#include "num/factored.h"
#include "run/average_token.h"
#include "run/vocab.h"

/* What all heads are seen from. */
typedef struct otimes_head_space {
    const otimes_model *model;
    const otimes_model_info *info;
    otimes_unembed unembed;
    otimes_vocab_forms forms;
    otimes_average_token average;
    const double
        *common; /* [d_model, d_model] W_U W_E over tokens in both vocabularies; NULL: none */
    int64_t common_tokens; /* how many those are */
    otimes_pool pool;
} otimes_head_space;

/* `tick` as in otimes_vocab_forms_compute. A zeroed space may be closed. */
int otimes_head_space_open(const otimes_model *model,
                           int (*tick)(void *context, double share, otimes_err *err), void *context,
                           otimes_head_space *space, otimes_err *err);
void otimes_head_space_close(otimes_head_space *space);

typedef struct otimes_head_sides {
    int64_t layer, head;
    otimes_side query, key, value, output;        /* [d_model, d_head] */
    otimes_side full_query, full_key, full_value; /* E times these, E^T E = W_E^T W_E */
    double *mean_query, *mean_key, *mean_value;   /* [d_head] mean row of W_E times these */
    double ov_norm;                               /* |W_OV| */
    double previous, copying;                     /* NaN where they cannot be told */
} otimes_head_sides;

/* A query head of a loaded layer. A zeroed one may be freed. */
int otimes_head_sides_make(const otimes_head_space *space, const otimes_layer *layer, int64_t head,
                           otimes_head_sides *sides, otimes_err *err);
void otimes_head_sides_free(otimes_head_sides *sides);

#endif
