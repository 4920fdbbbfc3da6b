/* SPDX-License-Identifier: MIT
 *
 * Which tensor of the file is which weight.
 */
#ifndef OTIMES_MODEL_BIND_H
#define OTIMES_MODEL_BIND_H

#include "model/model.h"

/* A tensor's name without the '|'-separated prefixes that it has. */
const char *otimes_bind_name(const char *name, const char *prefixes);

/* How many of `count` tensors from number `first` on the model's naming knows. */
int64_t otimes_bind_known(const otimes_model *model, int64_t first, int64_t count);

/* Matches every tensor with the naming's names, learns open dimensions (and the numbers of layers
 * and experts) from them. Tensors that match nothing are left unclaimed. */
int otimes_bind_match(otimes_model *model, otimes_err *err);

/* Whether a weight was matched, in any layer for those of layers. */
bool otimes_bind_has(const otimes_model *model, otimes_slot slot);

/* With all dimensions settled: strides, and one error that lists every absent, unexpected, wrongly
 * shaped and unreadable tensor. */
int otimes_bind_resolve(otimes_model *model, otimes_err *err);

#endif
