/* SPDX-License-Identifier: MIT
 *
 * Texts of the command line, and the token ids they come to.
 */
#ifndef TEXT_H
#define TEXT_H

#include <otimes/parse.h>
#include <otimes/tokenizer.h>

#include "opts.h"

/* What --text or --text-file holds; nothing where neither is given. */
typedef struct texts {
    const char **text; /* not terminated */
    int64_t *bytes, count;
    char *memory; /* a file's bytes, which text shows */
} texts;

/* --text is one text; of --text-file each line is one, without its newline, "-" is standard input.
 * A zeroed `out` is released with texts_free in any case. OTIMES_ERR_ARGUMENT (both given),
 * OTIMES_ERR_IO, OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int texts_read(texts *out, const common_options *options, otimes_err *err);
void texts_free(texts *all);

/* --bos, --no-bos or neither. */
otimes_bos text_bos(const common_options *options);

/* "5,7-9,5" into ids below limit, in the order written; text NULL leaves *list empty. Released with
 * otimes_index_list_free. OTIMES_ERR_ARGUMENT, OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int text_ids(const char *text, const char *option, int64_t limit,
                               otimes_index_list *list, otimes_err *err);

/* Sequences of token ids, one a text, or the one of --tokens. */
typedef struct sequences {
    otimes_encoding *of; /* [count] of --tokens without ranges */
    int64_t count;
    int64_t *ids; /* memory of --tokens */
} sequences;

/* What the options say a model is run on; each id is below `limit`, the model's vocabulary. The
 * tokenizer is that of MODEL: of its folder, or of the file itself where weights hold one. A
 * zeroed `out` is released with sequences_free in any case. OTIMES_ERR_ARGUMENT (neither or both of
 * texts and --tokens), errors of the above and of the tokenizer. */
OTIMES_MUST_CHECK int sequences_read(sequences *out, const common_options *options, int64_t limit,
                                     otimes_err *err);
void sequences_free(sequences *all);

/* What --tokens or the distinct tokens of the texts restrict a vocabulary to, ascending; neither
 * leaves *list empty: no restriction. Released with otimes_index_list_free. */
OTIMES_MUST_CHECK int text_vocabulary(const common_options *options, int64_t limit,
                                      otimes_index_list *list, otimes_err *err);

#endif
