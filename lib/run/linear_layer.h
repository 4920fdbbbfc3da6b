/* SPDX-License-Identifier: MIT
 *
 * A layer's affine map in two halves: its operators (run/linear.h) and what it adds to them.
 */
#ifndef OTIMES_RUN_LINEAR_LAYER_H
#define OTIMES_RUN_LINEAR_LAYER_H

#include "run/linear.h"

/* out [n, d_model] := what attention, or an MLP that is a link, makes of a stream of zeros. */
int otimes_linear_attention_bias(otimes_linear *linear, const otimes_ready_layer *layer, float *out,
                                 otimes_err *err);
int otimes_linear_mlp_bias(otimes_linear *linear, const otimes_ready_layer *layer, float *out,
                           otimes_err *err);

/* A norm with frozen scales [n] (NULL: there is none, rows are copied) and weight w (may be NULL):
 * out := diag(1/s) x N, or its adjoint. Rows stand at positions (first + i) mod n. */
void otimes_linear_scale_rows(const otimes_linear *linear, const float *w, const float *scale,
                              bool adjoint, int64_t first, int64_t rows, const float *x,
                              float *out);

#endif
