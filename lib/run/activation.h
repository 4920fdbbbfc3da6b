/* SPDX-License-Identifier: MIT
 *
 * Activation functions by the names that configurations use.
 */
#ifndef OTIMES_RUN_ACTIVATION_H
#define OTIMES_RUN_ACTIVATION_H

#include <otimes/model.h>

#include "base/err.h"

typedef enum otimes_activation_kind {
    OTIMES_ACT_RELU,
    OTIMES_ACT_SILU,
    OTIMES_ACT_GELU,          /* by erf */
    OTIMES_ACT_GELU_TANH,     /* sqrt(2 / pi); BLOOM's 0.79788456 is the same float32 */
    OTIMES_ACT_GELU_QUICK,    /* x sigmoid(1.702 x) */
    OTIMES_ACT_CLAMPED_SWIGLU /* of a gated MLP as a whole: see otimes_gate */
} otimes_activation_kind;

/* The model's. OTIMES_ERR_UNSUPPORTED names what is not known; without an MLP any will do. */
int otimes_activation_of(const otimes_model *model, otimes_activation_kind *kind, otimes_err *err);

/* x := act(x). */
void otimes_activate(otimes_activation_kind kind, int64_t count, float *x);

#endif
