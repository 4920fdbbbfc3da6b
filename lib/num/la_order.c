/* SPDX-License-Identifier: MIT */
#include "num/la_order.h"

#include <math.h>

bool otimes_eigenvalue_before(double a_re, double a_im, double b_re, double b_im)
{
    const double a = hypot(a_re, a_im), b = hypot(b_re, b_im);
    if (a != b) {
        return a > b;
    }
    if (a_re != b_re) {
        return a_re > b_re;
    }
    return a_im > b_im;
}

/* Shell's sort with halved gaps rather than qsort(): two arrays move together without scratch
 * memory, and n is some thousands at most. */
void otimes_eigenvalue_sort(int64_t n, double *re, double *im)
{
    for (int64_t gap = n / 2; gap > 0; gap /= 2) {
        for (int64_t i = gap; i < n; i++) {
            const double x = re[i], y = im[i];
            int64_t j = i;
            while (j >= gap && otimes_eigenvalue_before(x, y, re[j - gap], im[j - gap])) {
                re[j] = re[j - gap];
                im[j] = im[j - gap];
                j -= gap;
            }
            re[j] = x;
            im[j] = y;
        }
    }
}

bool otimes_matrix_is_finite(int64_t m, int64_t n, const double *a, int64_t lda)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            if (!isfinite(a[i * lda + j])) {
                return false;
            }
        }
    }
    return true;
}
