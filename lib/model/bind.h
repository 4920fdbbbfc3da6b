/* SPDX-License-Identifier: MIT
 *
 * Which tensor of the file is which weight.
 */
#ifndef OTIMES_MODEL_BIND_H
#define OTIMES_MODEL_BIND_H

#include "model/model.h"

/* Matches every tensor with the row's names, learns open dimensions (and the number of layers) from
 * shapes. Tensors that match nothing are left unclaimed. */
int otimes_bind_match(otimes_model *model, otimes_err *err);

/* Whether a weight was matched, in layer 0 for those of layers. */
bool otimes_bind_has(const otimes_model *model, otimes_slot slot);

/* With all dimensions settled: strides, and one error that lists every absent, unexpected, wrongly
 * shaped and unreadable tensor. */
int otimes_bind_resolve(otimes_model *model, otimes_err *err);

#endif
