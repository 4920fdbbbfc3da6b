/* SPDX-License-Identifier: MIT */
#include "num/stats.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 }; /* independent sums, so that the order is fixed and vectors are full */

double otimes_sum(const float *values, int64_t count)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lane[j] += (double)values[i + j];
        }
    }
    double total = 0;
    for (; i < count; i++) {
        total += (double)values[i];
    }
    for (int j = 0; j < LANES; j++) {
        total += lane[j];
    }
    return total;
}

double otimes_sum_square_deviations(const float *values, int64_t count, double mean)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            const double deviation = (double)values[i + j] - mean;
            lane[j] += deviation * deviation;
        }
    }
    double total = 0;
    for (; i < count; i++) {
        total += ((double)values[i] - mean) * ((double)values[i] - mean);
    }
    for (int j = 0; j < LANES; j++) {
        total += lane[j];
    }
    return total;
}

float otimes_max(const float *values, int64_t count)
{
    float lane[LANES];
    for (int j = 0; j < LANES; j++) {
        lane[j] = -INFINITY;
    }
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lane[j] = values[i + j] > lane[j] ? values[i + j] : lane[j];
        }
    }
    float largest = -INFINITY;
    for (; i < count; i++) {
        largest = values[i] > largest ? values[i] : largest;
    }
    for (int j = 0; j < LANES; j++) {
        largest = lane[j] > largest ? lane[j] : largest;
    }
    return largest;
}

float otimes_min(const float *values, int64_t count)
{
    float lane[LANES];
    for (int j = 0; j < LANES; j++) {
        lane[j] = INFINITY;
    }
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lane[j] = values[i + j] < lane[j] ? values[i + j] : lane[j];
        }
    }
    float smallest = INFINITY;
    for (; i < count; i++) {
        smallest = values[i] < smallest ? values[i] : smallest;
    }
    for (int j = 0; j < LANES; j++) {
        smallest = lane[j] < smallest ? lane[j] : smallest;
    }
    return smallest;
}

/* exp(x) for x <= 0 without a call, so that a loop over it is vectorised: x = n log 2 + r with
 * |r| <= log(2)/2, exp(r) by its Taylor polynomial of degree 6 (remainder 1.2e-7 relative at the
 * ends), 2^n by its bits. Below the smallest normal number it gives 0. */
static float exp_nonpositive(float x)
{
    const float clipped = x > -87.0f ? x : -87.0f;
    const float shifted = clipped * 1.44269504f + 12582912.0f; /* rounds to an integer */
    const float n = shifted - 12582912.0f;
    const float r = (clipped - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const uint32_t bits = (uint32_t)((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return x > -87.0f ? p * scale : 0.0f;
}

double otimes_sum_exp(const float *values, int64_t count, float shift)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        float e[LANES];
        for (int j = 0; j < LANES; j++) {
            e[j] = exp_nonpositive(values[i + j] - shift);
        }
        for (int j = 0; j < LANES; j++) {
            lane[j] += (double)e[j];
        }
    }
    double total = 0;
    for (; i < count; i++) {
        total += (double)exp_nonpositive(values[i] - shift);
    }
    for (int j = 0; j < LANES; j++) {
        total += lane[j];
    }
    return total;
}

int64_t otimes_count_above(const float *values, int64_t count, float threshold)
{
    int64_t above = 0;
    for (int64_t i = 0; i < count; i++) {
        above += values[i] > threshold;
    }
    return above;
}

void otimes_row_stats_add(otimes_row_stats *stats, const float *values, int64_t count)
{
    if (count == 0) {
        return;
    }
    /* Two passes over the piece while it is in cache, pieces joined by Chan's update: a running sum
     * of squares would lose the spread of rows whose mean is large. */
    const double n = (double)count, before = (double)stats->count;
    const double mean = otimes_sum(values, count) / n;
    const double deviations = otimes_sum_square_deviations(values, count, mean);
    const double shift = mean - stats->mean;
    stats->square_deviations += deviations + shift * shift * before * n / (before + n);
    stats->mean += shift * n / (before + n);

    const float piece_max = otimes_max(values, count);
    if (stats->count == 0) {
        stats->max = (double)piece_max;
    } else if ((double)piece_max > stats->max) {
        stats->exp_sum *= exp(stats->max - (double)piece_max);
        stats->max = (double)piece_max;
    }
    stats->exp_sum += otimes_sum_exp(values, count, (float)stats->max);
    stats->count += count;
}

double otimes_row_stats_std(const otimes_row_stats *stats)
{
    return stats->count ? sqrt(stats->square_deviations / (double)stats->count) : NAN;
}

double otimes_row_stats_logsumexp(const otimes_row_stats *stats)
{
    return stats->count ? stats->max + log(stats->exp_sum) : -INFINITY;
}

double otimes_effective_count(const double *values, int64_t count)
{
    double total = 0, entropy = 0;
    for (int64_t i = 0; i < count; i++) {
        total += values[i];
    }
    if (total <= 0) {
        return 0;
    }
    for (int64_t i = 0; i < count; i++) {
        const double share = values[i] / total;
        entropy -= share > 0 ? share * log(share) : 0;
    }
    return exp(entropy);
}

void otimes_center_rows(float *values, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++) {
        float *row = values + i * columns;
        const double mean = columns ? otimes_sum(row, columns) / (double)columns : 0;
        for (int64_t j = 0; j < columns; j++) {
            row[j] = (float)((double)row[j] - mean);
        }
    }
}

void otimes_center_columns(float *values, int64_t rows, int64_t columns, double *scratch)
{
    memset(scratch, 0, (size_t)columns * sizeof *scratch);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            scratch[j] += (double)values[i * columns + j];
        }
    }
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            values[i * columns + j] =
                (float)((double)values[i * columns + j] - scratch[j] / (double)rows);
        }
    }
}
