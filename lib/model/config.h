/* SPDX-License-Identifier: MIT
 *
 * What a configuration file says, before the weights are asked.
 */
#ifndef OTIMES_MODEL_CONFIG_H
#define OTIMES_MODEL_CONFIG_H

#include "format/json.h"
#include "model/model.h"

/* Chooses the architecture: by model_type, or by a tensor that only one row has. */
int otimes_config_arch(otimes_model *model, const json_t *config, const char *where,
                       otimes_err *err);

/* Reads dimensions, eps and rotary base into the model; what stays open is 0. config may be NULL
 * for rows that can do without. */
int otimes_config_numbers(otimes_model *model, const json_t *config, const char *where,
                          otimes_err *err);

/* After the tensors are matched: norm, positions, MLP, attention scale, rotary scaling. */
int otimes_config_kinds(otimes_model *model, const json_t *config, const char *where,
                        otimes_err *err);

/* Settles derived dimensions and checks that they make sense together. */
int otimes_config_settle(otimes_model *model, const char *where, otimes_err *err);

#endif
