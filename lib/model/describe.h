/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_MODEL_DESCRIBE_H
#define OTIMES_MODEL_DESCRIBE_H

#include "model/model.h"

/* Names of what the tensors hold, "W_Q, W_K, W_V", for otimes_model_tensor. */
int otimes_part_texts(otimes_model *model, otimes_err *err);
void otimes_part_texts_free(otimes_model *model);

/* Labels of an axis of `count` input (or output) tokens with those ids (NULL: 0 .. count-1). The
 * texts belong to the model, the array to the caller; *labels is NULL when no vocabulary is known.
 */
int otimes_token_labels(const otimes_model *model, bool output, const int64_t *ids, int64_t count,
                        const char ***labels, otimes_err *err);

#endif
