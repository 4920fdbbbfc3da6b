/* SPDX-License-Identifier: MIT
 *
 * Texts of tokens, for axes and for readers.
 */
#ifndef OTIMES_MODEL_LABELS_H
#define OTIMES_MODEL_LABELS_H

#include "format/json.h"
#include "model/model.h"

/* Reads them from the tokenizer beside the weights or in them, or from lists in the configuration;
 * leaves a model without any as it is. */
int otimes_labels_load(otimes_model *model, const json_t *config, const char *where,
                       otimes_err *err);

/* Takes those that a model in memory came with, else lists in the configuration. */
int otimes_labels_take(otimes_model *model, const otimes_memory_model *source, const json_t *config,
                       const char *where, otimes_err *err);

/* Labels of an axis of `count` input (or output) tokens with those ids (NULL: 0 .. count-1). The
 * texts belong to the model, the array to the caller; *labels is NULL when no vocabulary is known.
 */
int otimes_token_labels(const otimes_model *model, bool output, const int64_t *ids, int64_t count,
                        const char ***labels, otimes_err *err);

#endif
