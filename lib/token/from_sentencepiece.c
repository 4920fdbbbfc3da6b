/* SPDX-License-Identifier: MIT */
#include "token/formats.h"

int otimes_tokenizer_from_sentencepiece(otimes_tokenizer *t, const otimes_map *map, otimes_err *err)
{
    (void)map;
    return otimes_fail(err, OTIMES_ERR_UNSUPPORTED, "%s: SentencePiece is not read yet", t->path);
}

int otimes_tokenizer_from_llama2c(otimes_tokenizer *t, const otimes_map *map, otimes_err *err)
{
    (void)map;
    return otimes_fail(err, OTIMES_ERR_UNSUPPORTED, "%s: llama2.c is not read yet", t->path);
}
