/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_RUN_NORM_H
#define OTIMES_RUN_NORM_H

#include <otimes/model.h>

/* Each row x [d] becomes (x - mean) / sqrt(var + eps) (LayerNorm) or x / sqrt(mean x^2 + eps)
 * (RMSNorm), times w plus b where they are not NULL. NONE leaves x alone. Statistics in double. */
void otimes_norm_rows(otimes_norm norm, double eps, const float *w, const float *b, int64_t rows,
                      int64_t d, float *x);

/* The same in two steps, shared among threads: mean [rows] (0 for RMSNorm) and scale [rows], the
 * root; then out := (x - mean) / scale * w + b. Rows of x are stride_x apart, of out stride_out;
 * in place is fine. */
void otimes_norm_statistics(otimes_norm norm, double eps, int threads, int64_t rows, int64_t d,
                            const float *x, int64_t stride_x, double *mean, float *scale);
void otimes_norm_apply(int threads, int64_t rows, int64_t d, const float *x, int64_t stride_x,
                       const double *mean, const float *scale, const float *w, const float *b,
                       float *out, int64_t stride_out);

#endif
