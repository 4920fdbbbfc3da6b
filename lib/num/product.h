/* SPDX-License-Identifier: MIT
 *
 * A matrix product shared among threads.
 */
#ifndef OTIMES_NUM_PRODUCT_H
#define OTIMES_NUM_PRODUCT_H

#include <stdbool.h>

#include "base/err.h"

/* C [m,n] = A [m,k] op(B) [k,n] (+ bias [n] in each row, where not NULL) (+ C, if `add`). Cut into
 * tiles by m and n alone, so that the bits do not depend on the number of threads. */
void otimes_product(int threads, bool tb, int64_t m, int64_t n, int64_t k, const float *a,
                    int64_t lda, const float *b, int64_t ldb, const float *bias, bool add, float *c,
                    int64_t ldc);

/* y += x over count entries, shared among threads. */
void otimes_add(int threads, int64_t count, const float *x, float *y);

#endif
