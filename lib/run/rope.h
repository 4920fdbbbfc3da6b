/* SPDX-License-Identifier: MIT
 *
 * Rotary positions. Row convention: a query at position p is q R(p), so that scores depend on
 * q R(p_q) R(p_k)^T k^T = q R(p_q - p_k) k^T, and the QK circuit at offset delta = p_q - p_k is
 * W_Q R(delta) W_K^T.
 */
#ifndef OTIMES_RUN_ROPE_H
#define OTIMES_RUN_ROPE_H

#include "model/model.h"

/* How a layer rotates; NULL when it does not. */
const otimes_rope *otimes_layer_rope(const otimes_model *model, int64_t layer);

/* Whether every layer's rotation can be computed: OTIMES_ERR_UNSUPPORTED for a scaling that is not
 * known. */
int otimes_rope_check(const otimes_model *model, otimes_err *err);

/* Angles per position of each rotated pair into frequency [rotary_dim / 2], theta^(-2i /
 * rotary_dim) with the configuration's scaling. OTIMES_ERR_UNSUPPORTED without rotary positions or
 * for a scaling that is not known. Scalings: Hugging Face transformers, modeling_rope_utils.py. */
int otimes_rope_frequencies(const otimes_model *model, const otimes_rope *rope, double *frequency,
                            otimes_err *err);

/* x [rows, d_head] := x R(delta)^T, in place: as the key side of W_Q R(delta) W_K^T. R grows what it
 * rotates by the scaling's magnitude on either side. */
void otimes_rope_rotate_key(const otimes_rope *rope, const double *frequency, double delta,
                            int64_t rows, int64_t d_head, double *x);

#endif
