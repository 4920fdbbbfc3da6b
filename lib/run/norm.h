/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_RUN_NORM_H
#define OTIMES_RUN_NORM_H

#include <otimes/model.h>

/* Each row x [d] becomes (x - mean) / sqrt(var + eps) (LayerNorm) or x / sqrt(mean x^2 + eps)
 * (RMSNorm), times w plus b where they are not NULL. NONE leaves x alone. Statistics in double. */
void otimes_norm_rows(otimes_norm norm, double eps, const float *w, const float *b, int64_t rows,
                      int64_t d, float *x);

#endif
