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

/* Of A [m, d], B [d, n] whose spaces would be random in D dimensions: score = |A B| / (|A| |B|), its z
 * (NaN where one of the spectra is flat) and what z would be of a square of 1. All NaN where A or B is 0. */
typedef struct composed_link {
    double score, z, unit;
} composed_link;

composed_link composed_link_of(int64_t D, int64_t m, int64_t d, int64_t n, const double *A,
                               const double *B);

/* What a norm with weight w behind a block makes of rows of W [rows, d], but for its scale. */
void composed_through_norm(const otimes_model_info *info, const float *w, int64_t rows, double *W);

/* Runs it; fails the test on error. */
otimes_memory_sink *composed(const otimes_model *model, const otimes_compose_settings *settings);

/* Data of an array that must be there. */
const void *composed_array(const otimes_memory_sink *memory, const char *name);

/* Space of the run's random subspaces. */
int64_t composed_dimension(const otimes_memory_sink *memory);

/* Holds `<prefix>score` and `<prefix>z` against a link (NULL: there is none, both are NaN). */
void composed_hold(const char *prefix, double score, double z, const composed_link *want);

#endif
