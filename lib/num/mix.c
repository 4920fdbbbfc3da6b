/* SPDX-License-Identifier: MIT */
#include "num/mix.h"

#include <math.h>

/* Exponents of D stay within this, so that nothing overflows. */
#define MOST_EXPONENT 40

/* A bit of each place's own. */
static float random_sign(uint64_t place)
{
    uint64_t x = (place + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9u;
    return (x >> 40) & 1 ? -1.0f : 1.0f;
}

/* The power of two nearest to sqrt(right / left), by which left is multiplied; 1 where a side is 0. */
static float balance(double left, double right)
{
    if (!(left > 0) || !(right > 0)) {
        return 1;
    }
    const double exponent = round(0.5 * (log2(right) - log2(left)));
    return ldexpf(1, (int)fmax(-MOST_EXPONENT, fmin(MOST_EXPONENT, exponent)));
}

int otimes_mix_make(int64_t rank, const double *left_rms, const double *right_rms, otimes_mix *mix,
                    otimes_pool *pool, otimes_err *err)
{
    int rc = OTIMES_OK, transforms = 0;
    *mix = (otimes_mix){.rank = rank, .span = 1};
    mix->left = otimes_pool_new(pool, rank, sizeof(float), &rc, err);
    mix->right = otimes_pool_new(pool, rank, sizeof(float), &rc, err);
    mix->sign = otimes_pool_new(pool, rank, sizeof(float), &rc, err);
    for (int64_t k = 0; rc == OTIMES_OK && k < rank; k++) {
        const float d = balance(left_rms[k], right_rms[k]), sign = random_sign((uint64_t)k);
        mix->left[k] = sign * d;
        mix->right[k] = sign / d;
        mix->sign[k] = random_sign((uint64_t)(rank + k));
    }
    while (2 * mix->span <= rank) {
        mix->span *= 2;
        transforms++;
    }
    /* A stage of a transform rounds each entry once, what follows it twice (the scale, and the scale's
     * own rounding); either side, both transforms, and a little for squares of these. */
    mix->error = 2 * 2 * (transforms + 2) * 1.01 * 0x1p-24;
    return rc;
}

/* A stage pairs the halves of x and puts sum and difference side by side: after as many stages as the
 * index has bits every entry is back in its place, and all of them run at one speed. */
static void stage(int64_t half, const float *restrict x, float *restrict out)
{
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i], b = x[half + i];
        out[2 * i] = a + b;
        out[2 * i + 1] = a - b;
    }
}

static void transform(int64_t span, float *x, float *scratch)
{
    float *from = x, *to = scratch;
    const float scale = (float)(1 / sqrt((double)span));
    for (int64_t left = span; left > 1; left /= 2) {
        stage(span / 2, from, to);
        float *const swapped = from;
        from = to;
        to = swapped;
    }
    for (int64_t i = 0; i < span; i++) {
        x[i] = from[i] * scale;
    }
}

void otimes_mix_apply(const otimes_mix *mix, int side, float *x, float *scratch)
{
    const float *d = side ? mix->right : mix->left;
    for (int64_t k = 0; k < mix->rank; k++) {
        x[k] *= d[k];
    }
    transform(mix->span, x, scratch);
    if (mix->span < mix->rank) {
        for (int64_t k = 0; k < mix->rank; k++) {
            x[k] *= mix->sign[k];
        }
        transform(mix->span, x + mix->rank - mix->span, scratch);
    }
}
