/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_MODEL_KINDS_H
#define OTIMES_MODEL_KINDS_H

#include "format/json.h"
#include "model/model.h"

/* After the tensors are matched: norm, positions, MLP, attention scale, rotary frequencies, and
 * what differs from layer to layer. */
int otimes_config_kinds(otimes_model *model, const json_t *config, const char *where,
                        otimes_err *err);

/* The part of it for TransformerLens' configurations, which say what rows of the table say for
 * other families: norm, positions, MLP. */
int otimes_config_lens_kinds(otimes_model *model, const json_t *config, const char *where,
                             otimes_err *err);

/* The part of it that is about layers: windows, and which of them rotate. */
int otimes_config_layers(otimes_model *model, const json_t *config, const char *where,
                         otimes_err *err);

#endif
