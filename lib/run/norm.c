/* SPDX-License-Identifier: MIT */
#include "run/norm.h"

#include <math.h>

static void norm_row(double mean, double eps, const float *w, const float *b, int64_t d, float *x)
{
    double squares = 0;
    for (int64_t i = 0; i < d; i++) {
        const double centred = (double)x[i] - mean;
        squares += centred * centred;
    }
    const double scale = 1 / sqrt(squares / (double)d + eps);
    for (int64_t i = 0; i < d; i++) {
        const double y = ((double)x[i] - mean) * scale;
        x[i] = (float)(y * (w ? (double)w[i] : 1) + (b ? (double)b[i] : 0));
    }
}

void otimes_norm_rows(otimes_norm norm, double eps, const float *w, const float *b, int64_t rows,
                      int64_t d, float *x)
{
    for (int64_t row = 0; norm != OTIMES_NORM_NONE && row < rows; row++) {
        double sum = 0;
        for (int64_t i = 0; norm == OTIMES_NORM_LN && i < d; i++) {
            sum += (double)x[row * d + i];
        }
        norm_row(sum / (double)d, eps, w, b, d, x + row * d);
    }
}
