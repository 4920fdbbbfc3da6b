/* SPDX-License-Identifier: MIT
 *
 * The k largest (or smallest) of a stream of numbers.
 */
#ifndef OTIMES_NUM_TOPK_H
#define OTIMES_NUM_TOPK_H

#include "base/err.h"

/* Order: the better value first, equal values by lower index. Storage is the caller's. A zeroed
 * count starts anew. */
typedef struct otimes_topk {
    int64_t capacity; /* k */
    int64_t count;    /* kept so far */
    float sign;       /* 1: largest, -1: smallest */
    float *value;     /* [capacity] */
    int32_t *index;   /* [capacity] */
} otimes_topk;

/* Considers values[0 .. count-1] with indices first_index ... Indices must ascend over the calls,
 * which makes the order of equal values that of their indices. A NaN is never kept. */
void otimes_topk_scan(otimes_topk *top, const float *values, int64_t count, int32_t first_index);

/* Sorts what was kept into its order; entries beyond count become NaN and -1. */
void otimes_topk_finish(otimes_topk *top);

#endif
