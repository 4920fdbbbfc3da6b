/* SPDX-License-Identifier: MIT
 *
 * The average token: at every position stands the mean row of W_E, with the position's row of W_pos
 * where there is one, over the norm's scale that tokens have there in the root of the mean square;
 * shortformer models add W_pos behind the norm. Its pattern is exact in content-free heads of layer 0.
 */
#ifndef OTIMES_RUN_AVERAGE_TOKEN_H
#define OTIMES_RUN_AVERAGE_TOKEN_H

#include <otimes/model.h>

#include "base/mem.h"
#include "num/factored.h"

typedef struct otimes_average_token {
    const otimes_model *model;
    const char *untold; /* why no pattern of it can be told; NULL where it can */
    int64_t positions;  /* of its pattern; 0: none is told */
    double square;      /* mean square that the first norm meets; 1 without a norm */
    double *mean;       /* [d_model] mean row of W_E */
    double *rows;       /* [positions, d_model] what layers read at each position */
    otimes_pool pool;
} otimes_average_token;

/* Why scores of this model's heads are not told by the form W_QK alone: what stands in them, or
 * between W_E and what heads read. NULL where they are. */
const char *otimes_scores_untold(const otimes_model_info *info);

/* One pass over W_E. A zeroed one may be freed. */
int otimes_average_token_make(const otimes_model *model, otimes_average_token *average,
                              otimes_err *err);
void otimes_average_token_free(otimes_average_token *average);

/* Mean over positions q >= 1 of the weight that a head of the layer, whose sides of W_QK these are,
 * gives q - 1 in the pattern of the average token; NaN where it is not told. */
int otimes_average_token_previous(const otimes_average_token *average, const otimes_layer *layer,
                                  int64_t head, const otimes_side *query, const otimes_side *key,
                                  double *previous, otimes_err *err);

#endif
