/* SPDX-License-Identifier: MIT
 *
 * What random tokens written twice are made of.
 */
#ifndef RANDOM_TOKENS_H
#define RANDOM_TOKENS_H

#include <otimes/model.h>
#include <otimes/parse.h>

#include "opts.h"

/* *from: what `option` lists, or without one every id but the tokenizer's BOS, EOS and unknown; left
 * empty, which is all, where there is no tokenizer. *bos: the id before each sequence, as --bos and
 * the tokenizer say; -1: none. Released with otimes_index_list_free. OTIMES_ERR_ARGUMENT,
 * OTIMES_ERR_UNSUPPORTED (--bos without one), OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int random_tokens_read(const common_options *options,
                                         const otimes_model_info *info, const char *text,
                                         const char *option, otimes_index_list *from, int64_t *bos,
                                         otimes_err *err);

#endif
