/* SPDX-License-Identifier: MIT */
#include "spectra.h"

#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "accuracy.h"
#include "num/la.h"

static double *zeros(int64_t count)
{
    double *x = calloc((size_t)count, sizeof *x);
    assert_non_null(x);
    return x;
}

spectrum spectra_svd(int64_t d, const double *W)
{
    spectrum s = {zeros(d), zeros(d * d), zeros(d * d)};
    double *copy = zeros(d * d);
    memcpy(copy, W, (size_t)(d * d) * sizeof *copy);
    assert_int_equal(otimes_la_reference.dsvd(d, d, copy, d, s.sigma, s.u, d, s.v, d), OTIMES_OK);
    free(copy);
    return s;
}

void spectra_free(spectrum *s)
{
    free(s->sigma);
    free(s->u);
    free(s->v);
}

double spectra_turning(const spectrum *s, int64_t d, int64_t k)
{
    const double above = k > 0 ? s->sigma[k - 1] - s->sigma[k] : INFINITY;
    const double below = k + 1 < d ? s->sigma[k] - s->sigma[k + 1] : s->sigma[k];
    return s->sigma[0] / fmin(above, below);
}

double spectra_copying(int64_t n, const double *A, double *moduli)
{
    double *copy = calloc((size_t)(3 * n * n), sizeof *copy), *re = copy + n * n, *im = re + n;
    double sum = 0;
    memcpy(copy, A, (size_t)(n * n) * sizeof *copy);
    assert_int_equal(otimes_la_reference.deig(n, copy, n, re, im), OTIMES_OK);
    *moduli = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += re[i];
        *moduli += hypot(re[i], im[i]);
    }
    free(copy);
    return sum / *moduli;
}

static void multiply(int64_t n, const double *A, const double *B, double *C)
{
    memset(C, 0, (size_t)(n * n) * sizeof *C);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < n; k++) {
            for (int64_t j = 0; j < n; j++) {
                C[i * n + j] += A[i * n + k] * B[k * n + j];
            }
        }
    }
}

void spectra_hold_powers(int64_t n, const double *A, int64_t count, const double *re,
                         const double *im, double norm, double close)
{
    static const char to[] = "norm to the power, of sums of powers";
    double *power = calloc((size_t)(2 * n * n), sizeof *power), *next = power + n * n;
    memcpy(power, A, (size_t)(n * n) * sizeof *power);
    for (int k = 1; k <= 3; k++) {
        double diagonal = 0, sum = 0;
        for (int64_t i = 0; i < n; i++) {
            diagonal += power[i * n + i];
        }
        for (int64_t c = 0; c < count; c++) {
            sum += k == 1   ? re[c]
                   : k == 2 ? re[c] * re[c] - im[c] * im[c]
                            : re[c] * (re[c] * re[c] - 3 * im[c] * im[c]);
        }
        accuracy("full_eigenvalues_real", to, sum, diagonal, pow(norm, k), close);
        accuracy("full_eigenvalues_imag", to, sum, diagonal, pow(norm, k), close);
        multiply(n, power, A, next);
        memcpy(power, next, (size_t)(n * n) * sizeof *power);
    }
    free(power);
}
