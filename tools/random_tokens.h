/* SPDX-License-Identifier: MIT
 *
 * What random tokens written twice are made of.
 */
#ifndef RANDOM_TOKENS_H
#define RANDOM_TOKENS_H

#include <stddef.h>

#include <otimes/model.h>
#include <otimes/parse.h>

#include "opts.h"

/* Options of a command's table, after its own --repeated: fields count, seed and random_tokens. */
#define RANDOM_TOKENS_OPTS(options)                                                                \
    {.name = "count",                                                                              \
     .argument = "N",                                                                              \
     .help = "how many such sequences (default: 16)",                                              \
     .kind = OPT_NUMBER,                                                                           \
     .offset = offsetof(options, count),                                                           \
     .low = 1,                                                                                     \
     .high = INT32_MAX},                                                                           \
        {.name = "seed",                                                                           \
         .argument = "S",                                                                          \
         .help = "of their tokens (default: 0)",                                                   \
         .kind = OPT_NUMBER,                                                                       \
         .offset = offsetof(options, seed),                                                        \
         .low = 0,                                                                                 \
         .high = INT64_MAX},                                                                       \
    {                                                                                              \
        .name = "random-tokens", .argument = "LIST",                                               \
        .help = "ids they are drawn from (default: all but the tokenizer's BOS, EOS and unknown)", \
        .kind = OPT_TEXT, .offset = offsetof(options, random_tokens)                               \
    }

/* *from: what `option` lists, or without one every id but the tokenizer's BOS, EOS and unknown; left
 * empty, which is all, where there is no tokenizer. *bos: the id before each sequence, as --bos and
 * the tokenizer say; -1: none. Released with otimes_index_list_free. OTIMES_ERR_ARGUMENT,
 * OTIMES_ERR_UNSUPPORTED (--bos without one), OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int random_tokens_read(const common_options *options,
                                         const otimes_model_info *info, const char *text,
                                         const char *option, otimes_index_list *from, int64_t *bos,
                                         otimes_err *err);

#endif
