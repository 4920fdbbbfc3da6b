/* SPDX-License-Identifier: MIT
 *
 * What tests of `compose` share: dense W_OV and W_QK in double, and scores from their definition.
 */
#ifndef TESTS_COMPOSED_H
#define TESTS_COMPOSED_H

#include "support.h"

#include <otimes/compose.h>

/* W_OV and W_QK of all heads, at an offset where the layer rotates. */
typedef struct dense {
    int64_t d, e, layers, heads;
    double *OV, *QK, *KQ; /* [layers, heads, d, d] */
} dense;

dense dense_of(const otimes_model *model, int64_t offset);
void dense_free(dense *m);

/* Zeros, freed with free(); the same numbers in double. */
double *composed_matrix(int64_t count);
double *composed_widen(const float *x, int64_t count);

/* |A B| / (|A| |B|) for A [m, d], B [d, n]; NaN where one of them is 0. */
double composed_score(int64_t m, int64_t d, int64_t n, const double *A, const double *B);

/* What a norm with weight w behind a block makes of rows of W [rows, d], but for its scale. */
void composed_through_norm(const otimes_model_info *info, const float *w, int64_t rows, double *W);

/* Runs it; fails the test on error. */
otimes_memory_sink *composed(const otimes_model *model, const otimes_compose_settings *settings);

/* Data of an array that must be there. */
const void *composed_array(const otimes_memory_sink *memory, const char *name);

/* Bases and roots are rounded to float (6e-8 of entries at most 1) and products summed in float: 1e-5 of
 * the score, or of what has no digits in weights of float32. NaN must be NaN. */
void assert_score(const char *what, double got, double want);

#endif
