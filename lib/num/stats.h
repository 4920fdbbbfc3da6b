/* SPDX-License-Identifier: MIT
 *
 * Statistics of streams of float32, accumulated in double.
 */
#ifndef OTIMES_NUM_STATS_H
#define OTIMES_NUM_STATS_H

#include "base/err.h"

/* In a fixed order of 16 sums side by side. Of nothing 0, -INFINITY and INFINITY. */
double otimes_sum(const float *values, int64_t count);
double otimes_sum_square_deviations(const float *values, int64_t count, double mean);
float otimes_max(const float *values, int64_t count);
float otimes_min(const float *values, int64_t count);

/* Mean, spread and logsumexp of a row that arrives in pieces; a zeroed one is empty. */
typedef struct otimes_row_stats {
    int64_t count;
    double mean;
    double square_deviations; /* sum (x - mean)^2 */
    double max;               /* of all pieces, the shift of exp_sum */
    double exp_sum;           /* sum exp(x - max) */
} otimes_row_stats;

void otimes_row_stats_add(otimes_row_stats *stats, const float *values, int64_t count);
double otimes_row_stats_std(const otimes_row_stats *stats); /* population */
double otimes_row_stats_logsumexp(const otimes_row_stats *stats);

/* sum exp(values[i] - shift) for values[i] <= shift. Relative error below 3e-7 where the shift is
 * the largest value; a term alone errs by the rounding of values[i] - shift to float32 besides. */
double otimes_sum_exp(const float *values, int64_t count, float shift);

/* How many values are larger than threshold. */
int64_t otimes_count_above(const float *values, int64_t count, float threshold);

/* exp(entropy(v / sum v)) of non-negative numbers: how many of them matter. 0 when all are 0. */
double otimes_effective_count(const double *values, int64_t count);

/* Subtracts its mean from each row [rows, columns]. */
void otimes_center_rows(float *values, int64_t rows, int64_t columns);

/* Subtracts from each column its mean over the rows. */
void otimes_center_columns(float *values, int64_t rows, int64_t columns, double *scratch);

#endif
