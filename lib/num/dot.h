/* SPDX-License-Identifier: MIT
 *
 * Products of float32 vectors, summed in double. Inline: what is multiplied is often short.
 */
#ifndef OTIMES_NUM_DOT_H
#define OTIMES_NUM_DOT_H

#include <stdint.h>

/* sum_i a[i] b[i]. Eight sums side by side, which compilers keep in vectors, in a fixed order. */
static inline double otimes_dot(const float *a, const float *b, int64_t count)
{
    enum { LANES = 8 };
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lane[j] += (double)a[i + j] * (double)b[i + j];
        }
    }
    for (int j = 0; i < count; i++, j++) {
        lane[j] += (double)a[i] * (double)b[i];
    }
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) +
           ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

#endif
