/* SPDX-License-Identifier: MIT
 *
 * Central moments up to the fourth of a stream of float32, in double.
 */
#ifndef OTIMES_NUM_MOMENTS_H
#define OTIMES_NUM_MOMENTS_H

#include "base/err.h"

/* Of a row that arrives in pieces; a zeroed one is empty. */
typedef struct otimes_moments {
    int64_t count;
    double mean;
    double square, cube, fourth; /* sums of (x - mean)^2, ^3, ^4 */
} otimes_moments;

void otimes_moments_add(otimes_moments *a, const float *values, int64_t count);

/* Population moments. Skew is m3 / m2^(3/2), the excess kurtosis m4 / m2^2 - 3 (0 for a Gaussian);
 * both NaN where all values are one. NaN of nothing. */
double otimes_moments_mean(const otimes_moments *moments);
double otimes_moments_variance(const otimes_moments *moments);
double otimes_moments_skew(const otimes_moments *moments);
double otimes_moments_kurtosis(const otimes_moments *moments);

#endif
