/* SPDX-License-Identifier: MIT */
#include "num/sample.h"

#include <math.h>
#include <stdlib.h>

#define GOLDEN_GAMMA 0x9e3779b97f4a7c15u

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double otimes_uniform_of(uint64_t seed, uint64_t a, uint64_t b)
{
    const uint64_t state = mix(seed + (a + 1) * GOLDEN_GAMMA);
    return (double)(mix(state + (b + 1) * GOLDEN_GAMMA) >> 11) * 0x1p-53;
}

static int by_falling_value(const void *left, const void *right)
{
    const otimes_candidate *a = left, *b = right;
    return a->value != b->value ? (a->value < b->value) - (a->value > b->value)
                                : (a->id > b->id) - (a->id < b->id);
}

/* Probability of a candidate in units of the first one's. */
static double share(const otimes_candidate *c, int64_t i, double temperature)
{
    return exp(((double)c[i].value - (double)c[0].value) / temperature);
}

static double total_of(const otimes_candidate *c, int64_t count, double temperature)
{
    double total = 0;
    for (int64_t i = 0; i < count; i++) {
        total += share(c, i, temperature);
    }
    return total;
}

/* How many from the first on have top_p of the whole together. */
static int64_t nucleus(const otimes_candidate *c, int64_t count, double temperature, double top_p)
{
    const double wanted = top_p * total_of(c, count, temperature);
    double sum = 0;
    int64_t kept = 0;
    while (kept < count && (kept == 0 || sum < wanted)) {
        sum += share(c, kept++, temperature);
    }
    return kept;
}

int32_t otimes_sample(const float *values, int64_t count, double temperature, int64_t top_k,
                      double top_p, double uniform, otimes_candidate *scratch)
{
    int64_t kept = top_k > 0 && top_k < count ? top_k : count, at = 0;
    for (int64_t i = 0; i < count; i++) {
        scratch[i] = (otimes_candidate){values[i], (int32_t)i};
    }
    qsort(scratch, (size_t)count, sizeof *scratch, by_falling_value);
    if (top_p < 1) {
        kept = nucleus(scratch, kept, temperature, top_p);
    }
    double left = uniform * total_of(scratch, kept, temperature);
    while (at + 1 < kept && (left -= share(scratch, at, temperature)) >= 0) {
        at++;
    }
    return scratch[at].id;
}
