/* SPDX-License-Identifier: MIT */
#include "num/haar.h"

#include <math.h>

otimes_spectrum_sums otimes_gram_sums(int64_t count, const double *singular)
{
    otimes_spectrum_sums sums = {0};
    for (int64_t i = 0; i < count; i++) {
        const double square = singular[i] * singular[i];
        sums.trace += square;
        sums.squares += square * square;
    }
    return sums;
}

/* |A - (tr A / d) I|_F^2; not below 0, where rounding could take it for A near a multiple of I. */
static double traceless(double d, otimes_spectrum_sums a)
{
    return fmax(0, a.squares - a.trace * a.trace / d);
}

otimes_moments otimes_haar_trace(int64_t dimension, otimes_spectrum_sums a, otimes_spectrum_sums b)
{
    const double d = (double)dimension;
    if (dimension < 1) {
        return (otimes_moments){NAN, NAN};
    }
    const double variance = 2 * traceless(d, a) * traceless(d, b) / ((d - 1) * (d + 2));
    return (otimes_moments){a.trace * b.trace / d, dimension > 1 ? variance : NAN};
}

otimes_moments otimes_haar_kernel(int64_t d, int64_t p, int64_t q)
{
    if (p < 0 || q < 0 || p > d || q > d) {
        return (otimes_moments){NAN, NAN};
    }
    const otimes_spectrum_sums a = {(double)p, (double)p}, b = {(double)q, (double)q};
    otimes_moments moments = otimes_haar_trace(d, a, b);
    if (d > 1) { /* the same without its difference of near numbers */
        const double left = (double)p * (double)(d - p) / (double)d,
                     right = (double)q * (double)(d - q) / (double)d;
        moments.variance = 2 * left * right / ((double)(d - 1) * (double)(d + 2));
    }
    return moments;
}

otimes_moments otimes_haar_cka(int64_t d, otimes_spectrum_sums a, otimes_spectrum_sums b)
{
    otimes_moments moments = otimes_haar_trace(d, a, b);
    const double squares = a.squares * b.squares;
    moments.mean /= sqrt(squares);
    moments.variance /= squares;
    return moments;
}

otimes_moments otimes_haar_cosine(int64_t rows, int64_t columns)
{
    if (rows < 1 || columns < 1) {
        return (otimes_moments){NAN, NAN};
    }
    return (otimes_moments){0, 1 / ((double)rows * (double)columns)};
}

double otimes_haar_z(otimes_moments moments, double x)
{
    return moments.variance > 0 ? (x - moments.mean) / sqrt(moments.variance) : NAN;
}

double otimes_upper_tail(double z)
{
    return erfc(z / sqrt(2.0)) / 2;
}
