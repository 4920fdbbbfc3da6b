/* SPDX-License-Identifier: MIT */
#include "num/la_reference.h"

#include <math.h>

#include "base/mem.h"

/* 2^-e for the exponent e of largest, held to what a double can express. */
static double power_for(double largest)
{
    int e;
    frexp(largest, &e);
    return ldexp(1, e < -1000 ? 1000 : -e);
}

double otimes_reference_scale(int64_t m, int64_t n, double *a, int64_t lda)
{
    double largest = 0;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            largest = fmax(largest, fabs(a[i * lda + j]));
        }
    }
    if (largest == 0) {
        return 1;
    }
    const double power = power_for(largest);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            a[i * lda + j] *= power;
        }
    }
    return power;
}

/* v and tau come from the scaled vector and depend on its direction alone: H is orthogonal to
 * rounding even where x is subnormal or its squares overflow. */
double otimes_reference_reflector(int64_t n, const double *x, int64_t stride, double *v,
                                  double *tau)
{
    double largest = 0;
    for (int64_t i = 1; i < n; i++) {
        v[i] = x[i * stride];
        largest = fmax(largest, fabs(v[i]));
    }
    v[0] = 1;
    *tau = 0;
    if (largest == 0) {
        return x[0];
    }
    const double power = power_for(fmax(largest, fabs(x[0])));
    const double first = x[0] * power;
    double sum = first * first;
    for (int64_t i = 1; i < n; i++) {
        v[i] *= power;
        sum += v[i] * v[i];
    }
    const double image = -copysign(sqrt(sum), first);
    for (int64_t i = 1; i < n; i++) {
        v[i] /= first - image;
    }
    *tau = (image - first) / image;
    return image / power;
}

/* Two passes along rows (work = v^T A, then A -= tau v work) rather than one down each column: both
 * read memory in order. */
void otimes_reference_reflect(int64_t m, int64_t n, const double *v, double tau, double *a,
                              int64_t lda, double *work)
{
    if (tau == 0) {
        return;
    }
    otimes_reference_dgemm(false, false, 1, n, m, tau, v, m, a, lda, 0, work, n);
    for (int64_t i = 0; i < m; i++) {
        double *restrict row = a + i * lda;
        const double *restrict sum = work;
        const double factor = v[i];
        for (int64_t j = 0; j < n; j++) {
            row[j] -= factor * sum[j];
        }
    }
}

/* Q = H_0 H_1 ... applied to the first r columns of the identity, last reflector first, so that
 * each touches only the rows and columns that are not unit vectors any more. */
static void form_q(int64_t m, int64_t r, const double *a, int64_t lda, const double *tau, double *q,
                   int64_t ldq, double *v, double *work)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < r; j++) {
            q[i * ldq + j] = i == j;
        }
    }
    for (int64_t k = r - 1; k >= 0; k--) {
        v[0] = 1;
        for (int64_t i = k + 1; i < m; i++) {
            v[i - k] = a[i * lda + k];
        }
        otimes_reference_reflect(m - k, r - k, v, tau[k], q + k * ldq + k, ldq, work);
    }
}

/* Householder's reflectors: Gram-Schmidt loses the orthogonality of Q with the condition of A. */
int otimes_reference_dqr(int64_t m, int64_t n, double *a, int64_t lda, double *q, int64_t ldq,
                         double *r, int64_t ldr)
{
    const int64_t rank = m < n ? m : n;
    double *tau = otimes_alloc(rank, sizeof *tau);
    double *v = otimes_alloc(m, sizeof *v);
    double *work = otimes_alloc(n, sizeof *work);
    int rc = OTIMES_ERR_MEMORY;
    if (!tau || !v || !work) {
        goto done;
    }
    for (int64_t k = 0; k < rank; k++) {
        double *corner = a + k * lda + k;
        corner[0] = otimes_reference_reflector(m - k, corner, lda, v, &tau[k]);
        for (int64_t i = 1; i < m - k; i++) {
            corner[i * lda] = v[i];
        }
        otimes_reference_reflect(m - k, n - k - 1, v, tau[k], corner + 1, lda, work);
    }
    for (int64_t i = 0; i < rank; i++) {
        for (int64_t j = 0; j < n; j++) {
            r[i * ldr + j] = j < i ? 0 : a[i * lda + j];
        }
    }
    if (q) {
        form_q(m, rank, a, lda, tau, q, ldq, v, work);
    }
    rc = OTIMES_OK;
done:
    otimes_free(tau);
    otimes_free(v);
    otimes_free(work);
    return rc;
}
