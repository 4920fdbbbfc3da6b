/* SPDX-License-Identifier: MIT
 *
 * What dense MLPs and experts share.
 */
#ifndef OTIMES_RUN_MLP_H
#define OTIMES_RUN_MLP_H

#include "run/space.h"

/* The reading half of an MLP; W_gate's data is NULL in a plain one. */
typedef struct otimes_mlp_weights {
    const otimes_tensor *W_in, *W_gate, *b_in, *b_gate;
    int64_t layer;
    bool seen; /* by the hooks of a layer's one MLP */
} otimes_mlp_weights;

/* inner [rows, d_mlp] := act(read W_gate + b_gate) (read W_in + b_in), or act(read W_in + b_in).
 * rows at most OTIMES_MLP_ROWS; the gate is in the workspace. */
int otimes_mlp_neurons(otimes_pass *pass, const otimes_mlp_weights *mlp, int64_t first,
                       int64_t rows, const float *read, float *inner, otimes_err *err);

/* out [rows, d_model] := the experts of a layer, and the one that all tokens share. */
int otimes_pass_experts(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first_row,
                        int64_t rows, const float *read, float *out, otimes_err *err);

#endif
