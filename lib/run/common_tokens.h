/* SPDX-License-Identifier: MIT
 *
 * Tokens that are in both vocabularies, where output tokens are not the input tokens: those of one
 * text. A head copies what it can copy.
 */
#ifndef OTIMES_RUN_COMMON_TOKENS_H
#define OTIMES_RUN_COMMON_TOKENS_H

#include <otimes/model.h>

#include "base/mem.h"

/* input_of [d_vocab_out]: the input token that each output token is; -1: none. Its own id where the
 * vocabularies are of one size. */
int otimes_common_inputs(const otimes_model *model, int64_t *input_of, otimes_err *err);

/* sum [d_model, d_model] += W_U W_E over these tokens; *count of them. */
int otimes_common_form(const otimes_model *model, const otimes_unembed *unembed, double *sum,
                       int64_t *count, otimes_err *err);

#endif
