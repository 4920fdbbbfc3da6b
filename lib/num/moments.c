/* SPDX-License-Identifier: MIT */
#include "num/moments.h"

#include <math.h>

#include "num/stats.h"

enum { LANES = 4 }; /* of three sums each: what the registers hold */

/* Two passes over the piece while it is in cache, as sums of plain powers would lose the spread of a
 * row whose mean is large. */
static otimes_moments of_piece(const float *values, int64_t count)
{
    otimes_moments m = {.count = count, .mean = otimes_sum(values, count) / (double)count};
    double square[LANES] = {0}, cube[LANES] = {0}, fourth[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            const double x = (double)values[i + j] - m.mean, xx = x * x;
            square[j] += xx;
            cube[j] += xx * x;
            fourth[j] += xx * xx;
        }
    }
    for (; i < count; i++) {
        const double x = (double)values[i] - m.mean, xx = x * x;
        square[0] += xx;
        cube[0] += xx * x;
        fourth[0] += xx * xx;
    }
    m.square = (square[0] + square[1]) + (square[2] + square[3]);
    m.cube = (cube[0] + cube[1]) + (cube[2] + cube[3]);
    m.fourth = (fourth[0] + fourth[1]) + (fourth[2] + fourth[3]);
    return m;
}

/* Pebay, Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
 * statistical moments, SAND2008-6212, (1.3) to (1.6). */
void otimes_moments_add(otimes_moments *a, const float *values, int64_t count)
{
    if (count == 0) {
        return;
    }
    const otimes_moments b = of_piece(values, count);
    if (a->count == 0) {
        *a = b;
        return;
    }
    const double na = (double)a->count, nb = (double)count, n = na + nb;
    const double shift = b.mean - a->mean, step = shift / n, product = na * nb * shift * step;
    a->fourth += b.fourth + product * step * step * (na * na - na * nb + nb * nb) +
                 6 * step * step * (na * na * b.square + nb * nb * a->square) +
                 4 * step * (na * b.cube - nb * a->cube);
    a->cube += b.cube + product * step * (na - nb) + 3 * step * (na * b.square - nb * a->square);
    a->square += b.square + product;
    a->mean += step * nb;
    a->count += count;
}

double otimes_moments_mean(const otimes_moments *m)
{
    return m->count ? m->mean : NAN;
}

double otimes_moments_variance(const otimes_moments *m)
{
    return m->count ? m->square / (double)m->count : NAN;
}

double otimes_moments_skew(const otimes_moments *m)
{
    return m->square > 0 ? sqrt((double)m->count) * m->cube / (m->square * sqrt(m->square)) : NAN;
}

double otimes_moments_kurtosis(const otimes_moments *m)
{
    return m->square > 0 ? (double)m->count * m->fourth / (m->square * m->square) - 3 : NAN;
}
