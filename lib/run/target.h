/* SPDX-License-Identifier: MIT
 *
 * Directions of the residual stream that an output is read along. Behind the final norm with its
 * scale s frozen, a stream x is worth
 *   <p, x> / s + offset,   p = w_f (W_U[:, token] - W_U[:, against]), centred under LayerNorm
 * and offset what b_U and the norm's bias add.
 */
#ifndef OTIMES_RUN_TARGET_H
#define OTIMES_RUN_TARGET_H

#include <otimes/model.h>

#include "base/err.h"

/* direction [d_model] := p, and the offset, of output token `token` minus `against` (-1: none). Errors
 * of otimes_unembed_rows, OTIMES_ERR_MEMORY. */
int otimes_target_direction(const otimes_model *model, const otimes_unembed *unembed, int64_t token,
                            int64_t against, float *direction, double *offset, otimes_err *err);

/* From a sum over W_U's columns in `direction` and over b_U in *offset to p and its offset: the final
 * norm's bias and weight, and its centring. */
void otimes_target_through_norm(const otimes_model *model, const otimes_unembed *unembed,
                                float *direction, double *offset);

#endif
