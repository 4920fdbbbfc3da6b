/* SPDX-License-Identifier: MIT
 *
 * The formats that a tokenizer is read from. Each makes a settled one, or NULL with err filled.
 */
#ifndef OTIMES_TOKEN_FORMATS_H
#define OTIMES_TOKEN_FORMATS_H

#include "format/json.h"
#include "format/map.h"
#include "token/tokenizer.h"

/* What tokenizer_config.json beside a tokenizer says; all may be absent. */
typedef struct otimes_token_settings {
    json_t *json; /* owner of the strings, or NULL */
    const char *bos, *eos, *unknown;
    int adds_bos, adds_eos; /* -1: says nothing */
} otimes_token_settings;

/* Reads tokenizer_config.json in the folder of `path`; zeroed and saying nothing when there is
 * none. OTIMES_ERR_FORMAT, OTIMES_ERR_IO, OTIMES_ERR_MEMORY. */
int otimes_token_settings_read(otimes_token_settings *settings, const char *path, otimes_err *err);
/* What such a file says; takes `json` over. */
otimes_token_settings otimes_token_settings_of(json_t *json);
void otimes_token_settings_free(otimes_token_settings *settings);

/* Ids of the special tokens that the settings name, and BOS and EOS at the ends where the file
 * itself did not decide. */
int otimes_token_settings_apply(otimes_tokenizer *tokenizer, const otimes_token_settings *settings,
                                otimes_err *err);

/* Each fills in a new tokenizer; the caller settles it. */
int otimes_tokenizer_from_json(otimes_tokenizer *tokenizer, const json_t *root, otimes_err *err);
int otimes_tokenizer_from_gpt2(otimes_tokenizer *tokenizer, const json_t *vocab, const char *path,
                               otimes_err *err);
/* The same once the vocabulary is read, of the text of the merges; `where` names it in errors. */
int otimes_tokenizer_from_merges(otimes_tokenizer *tokenizer, const char *where, const char *text,
                                 int64_t bytes, otimes_err *err);
int otimes_tokenizer_from_sentencepiece(otimes_tokenizer *tokenizer, const otimes_map *map,
                                        otimes_err *err);
int otimes_tokenizer_from_llama2c(otimes_tokenizer *tokenizer, const otimes_map *map,
                                  otimes_err *err);

/* {"piece": id, ...} into the pieces. */
int otimes_vocab_read(otimes_tokenizer *tokenizer, const json_t *vocab, otimes_err *err);

/* The merge of two pieces into the piece that joins them, less the prefix of pieces within a word.
 * `where` is for the errors. */
int otimes_merge_read(otimes_tokenizer *tokenizer, const char *where, const char *left,
                      int64_t left_length, const char *right, int64_t right_length, int64_t rank,
                      otimes_err *err);
/* "left right". */
int otimes_merge_line(otimes_tokenizer *tokenizer, const char *where, const char *line,
                      int64_t length, int64_t rank, otimes_err *err);

/* Merges by score: any two neighbours whose joint is a piece, the highest score first. score and
 * merges are [pieces.count], merges says which pieces take part. With `characters`, those that
 * stand in pieces but are none get ids behind info.vocab_size, which it sets, and merge too. */
int otimes_merges_from_scores(otimes_tokenizer *tokenizer, const float *score, const bool *merges,
                              bool characters, otimes_err *err);

/* GPT-2's pattern. */
int otimes_gpt2_split(otimes_tokenizer *tokenizer, otimes_err *err);

#endif
