/* SPDX-License-Identifier: MIT
 *
 * The tokenizer that a GGUF file carries in its metadata.
 */
#ifndef OTIMES_TOKEN_GGUF_H
#define OTIMES_TOKEN_GGUF_H

#include "format/json.h"
#include "token/tokenizer.h"

/* From a GGUF file's metadata as JSON (a key with dots is a path). `path` is for the errors:
 * OTIMES_ERR_FORMAT, OTIMES_ERR_UNSUPPORTED (a model or a pre-tokenizer that is not known, named,
 * or no tokenizer at all), OTIMES_ERR_MEMORY. NULL on error; otherwise closed by the caller. */
int otimes_tokenizer_from_gguf(otimes_tokenizer **tokenizer, const json_t *config, const char *path,
                               otimes_err *err);

/* How a byte-level BPE of llama.cpp cuts texts: tokenizer.ggml.pre names it. */
typedef struct otimes_gguf_pre {
    const char *names;      /* "|a|b|" */
    const char *pattern[5]; /* each cuts what those before it left, NULL ends */
    bool ignore_merges, adds_bos;
} otimes_gguf_pre;

/* By name, or NULL. */
const otimes_gguf_pre *otimes_gguf_pre_find(const char *name);

#endif
