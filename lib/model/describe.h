/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_MODEL_DESCRIBE_H
#define OTIMES_MODEL_DESCRIBE_H

#include "model/model.h"

/* Names of what the tensors hold, "W_Q, W_K, W_V", for otimes_model_tensor. */
int otimes_part_texts(otimes_model *model, otimes_err *err);
void otimes_part_texts_free(otimes_model *model);

#endif
