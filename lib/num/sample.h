/* SPDX-License-Identifier: MIT
 *
 * Drawing a token from logits.
 */
#ifndef OTIMES_NUM_SAMPLE_H
#define OTIMES_NUM_SAMPLE_H

#include "base/err.h"

/* A number in [0, 1) that depends on its arguments alone: SplitMix64 (Steele, Lea and Flood 2014,
 * "Fast splittable pseudorandom number generators"), its state advanced by a and then by b. */
double otimes_uniform_of(uint64_t seed, uint64_t a, uint64_t b);

typedef struct otimes_candidate {
    float value;
    int32_t id;
} otimes_candidate;

/* The index whose share of [0, 1) holds `uniform`. Shares are softmax(values / temperature) over
 * the top_k largest (0: all), of those over the fewest that have top_p of it together, laid out by
 * falling value, ties by lower index. scratch [count]; count at least 1, temperature above 0. */
int32_t otimes_sample(const float *values, int64_t count, double temperature, int64_t top_k,
                      double top_p, double uniform, otimes_candidate *scratch);

#endif
