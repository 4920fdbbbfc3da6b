/* SPDX-License-Identifier: MIT
 *
 * Texts of token ids, for labels. Encoding text is another matter.
 */
#ifndef OTIMES_FORMAT_VOCAB_H
#define OTIMES_FORMAT_VOCAB_H

#include <stdbool.h>

#include <jansson.h>

#include "base/err.h"

typedef struct otimes_vocab {
    int64_t count; /* 0: no vocabulary is known */
    char **text;   /* [count], none NULL; ids that the files do not name read "[id]" */
} otimes_vocab;

/* Reads tokenizer.json, or else vocab.json, of a folder for ids 0 .. count-1; leaves vocab empty
 * when there is neither. Byte-level tokens are decoded to the text they stand for, the metaspace to
 * a blank; a byte that is no character, and NUL, reads <0xHH>.
 * OTIMES_ERR_FORMAT, OTIMES_ERR_IO, OTIMES_ERR_MEMORY. */
int otimes_vocab_load(otimes_vocab *vocab, const char *directory, int64_t count, otimes_err *err);

/* From what such a file holds, a tokenizer.json or a vocab.json; `path` is for the errors. Empty
 * after an error. */
int otimes_vocab_from_json(otimes_vocab *vocab, const json_t *root, bool is_tokenizer,
                           int64_t count, const char *path, otimes_err *err);

/* From a JSON array of strings; `name` says where it stands. Empty when list is NULL. */
int otimes_vocab_from_list(otimes_vocab *vocab, const json_t *list, int64_t count, const char *name,
                           otimes_err *err);

/* From texts of the caller's, `given` of them; NULL and what lacks reads "[id]", bytes that form no
 * character read <0xHH>. Empty when texts is NULL. */
int otimes_vocab_from_texts(otimes_vocab *vocab, const char *const *texts, int64_t given,
                            int64_t count, otimes_err *err);

/* Accepts zeroed. */
void otimes_vocab_free(otimes_vocab *vocab);

#endif
