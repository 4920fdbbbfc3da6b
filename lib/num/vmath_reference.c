/* SPDX-License-Identifier: MIT
 *
 * The table over libm, an entry at a time.
 */
#include "num/vmath_table.h"

#include <math.h>

static void exp_each(int64_t count, float *x)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = expf(x[i]);
    }
}

static void tanh_each(int64_t count, float *x)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = tanhf(x[i]);
    }
}

static void erf_each(int64_t count, float *x)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = erff(x[i]);
    }
}

const otimes_vmath otimes_vmath_reference = {"plain C", exp_each, tanh_each, erf_each};
