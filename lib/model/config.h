/* SPDX-License-Identifier: MIT
 *
 * What a configuration says, before the weights are asked.
 */
#ifndef OTIMES_MODEL_CONFIG_H
#define OTIMES_MODEL_CONFIG_H

#include "format/json.h"
#include "model/model.h"

/* Chooses the architecture (by model_type, GGUF's general.architecture, a key or a tensor that only
 * one row has) and, in a nested checkpoint, the dictionary of weights: `state_dict`, or the one
 * that has most of the row's names. */
int otimes_config_arch(otimes_model *model, const json_t *config, const char *state_dict,
                       const char *where, otimes_err *err);

/* Reads dimensions and numbers into the model; what stays open is 0. config may be NULL for rows
 * that can do without. */
int otimes_config_numbers(otimes_model *model, const json_t *config, const char *where,
                          otimes_err *err);

/* Settles derived dimensions and checks that they make sense together. */
int otimes_config_settle(otimes_model *model, const json_t *config, const char *where,
                         otimes_err *err);

/* A flag; absent gives fallback. Numbers count as flags, as Python would have it. */
bool otimes_config_flag(const json_t *config, const char *names, bool fallback);

/* A member that must be of a kind: the error names it. */
int otimes_config_wrong(const char *where, const char *names, const char *expected,
                        otimes_err *err);

#endif
