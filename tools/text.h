/* SPDX-License-Identifier: MIT
 *
 * Texts of the command line, and the token ids they come to.
 */
#ifndef TEXT_H
#define TEXT_H

#include <otimes/forward.h>
#include <otimes/parse.h>
#include <otimes/tokenizer.h>

#include "opts.h"

/* What --text or --text-file holds; nothing where neither is given. */
typedef struct texts {
    const char **text; /* not terminated */
    int64_t *bytes, count;
    const char *path;       /* of the file; NULL: --text */
    otimes_index_list *ids; /* [count] of JSON lines that hold ids: index is not NULL; else NULL */
    char *memory;           /* a file's bytes, which text shows */
} texts;

/* --text is one text; of --text-file each line is one, without its newline, or is read as JSON; "-"
 * is standard input. A zeroed `out` is released with texts_free in any case. OTIMES_ERR_ARGUMENT
 * (both given; lines of ids), OTIMES_ERR_FORMAT, OTIMES_ERR_IO, OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int texts_read(texts *out, const common_options *options, otimes_err *err);

/* The same with lines of ids. */
OTIMES_MUST_CHECK int texts_read_lines(texts *out, const common_options *options, otimes_err *err);
void texts_free(texts *all);

/* Names text number i in errors: "--text", "--text-file: FILE:LINE". */
typedef struct text_place {
    char name[512];
} text_place;
text_place text_place_of(const texts *all, int64_t i);

void text_free_lists(otimes_index_list *list, int64_t count);

/* --bos, --no-bos or neither. */
otimes_bos text_bos(const common_options *options);

/* The tokenizer of MODEL: of its folder, or of the file itself where weights hold one. */
OTIMES_MUST_CHECK int text_tokenizer(otimes_tokenizer **tokenizer, const common_options *options,
                                     otimes_err *err);

/* What is wrong with a text, with `where` in front: bytes that are not UTF-8 (`code`), the tokenizer's own
 * errors, ids not below `limit` (OTIMES_ERR_UNSUPPORTED). */
OTIMES_MUST_CHECK int text_check_utf8(const char *text, int64_t bytes, int code, const char *where,
                                      otimes_err *err);
OTIMES_MUST_CHECK int text_encode(otimes_encoding *out, const otimes_tokenizer *tokenizer,
                                  const char *text, int64_t bytes, otimes_bos bos,
                                  const char *where, otimes_err *err);
OTIMES_MUST_CHECK int text_check_ids(const int64_t *id, int64_t count, int64_t limit,
                                     const char *where, otimes_err *err);

/* "5,7-9,5" into ids below limit, in the order written; text NULL leaves *list empty. Released with
 * otimes_index_list_free. OTIMES_ERR_ARGUMENT, OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int text_ids(const char *text, const char *option, int64_t limit,
                               otimes_index_list *list, otimes_err *err);

/* Sequences of token ids, one a text, or the one of --tokens. */
typedef struct sequences {
    otimes_encoding *of; /* [count]; without ranges where ids were given */
    int64_t count;
    otimes_index_list *given; /* [count] of --tokens or JSON lines, shown by `of`; may be NULL */
    int64_t *length;          /* [count] and */
    const int64_t **id;       /* [count] of the view */
} sequences;

/* What the options say a model is run on: one token at least, each id below `limit`, the model's
 * vocabulary; at most n_ctx tokens (0: any number), which --truncate cuts to. The tokenizer is that
 * of MODEL: of its folder, or of the file itself where weights hold one; it is opened where there
 * are texts to encode. Ids that were given stand as they are, without BOS. A zeroed `out` is
 * released with sequences_free in any case. OTIMES_ERR_ARGUMENT (neither or both of texts and
 * --tokens; too few or too many tokens), OTIMES_ERR_FORMAT (not UTF-8), errors of the above and of
 * the tokenizer; what is wrong with a text names its line. */
OTIMES_MUST_CHECK int sequences_read(sequences *out, const common_options *options, int64_t limit,
                                     int64_t n_ctx, otimes_err *err);
void sequences_free(sequences *all);

/* The same as the library's analyses take it, valid until sequences_free. OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int sequences_view(sequences *all, otimes_sequences *view, otimes_err *err);

/* "0,-2,-1" or "last" into positions within the longest of them, negative ones from a text's end; text
 * NULL leaves *positions empty. Released with otimes_index_list_free. */
OTIMES_MUST_CHECK int sequences_positions(const char *text, const otimes_sequences *view,
                                          otimes_index_list *positions, otimes_err *err);

/* The id of one output token that `option` names: its text (" Mary"), what the tokenizer makes of
 * that text where it is one token, "#123", or a number that is no token's text. The lowest id of
 * those with one text. OTIMES_ERR_ARGUMENT shows the pieces that the text is cut into. */
OTIMES_MUST_CHECK int token_by_text(const otimes_model *model, const common_options *options,
                                    const char *text, const char *option, int64_t *id,
                                    otimes_err *err);

/* The same of an input token. */
OTIMES_MUST_CHECK int input_token_by_text(const otimes_model *model, const common_options *options,
                                          const char *text, const char *option, int64_t *id,
                                          otimes_err *err);

/* What --tokens or the distinct tokens of the texts restrict a vocabulary to, ascending; neither
 * leaves *list empty: no restriction. Released with otimes_index_list_free. */
OTIMES_MUST_CHECK int text_vocabulary(const common_options *options, int64_t limit,
                                      otimes_index_list *list, otimes_err *err);

#endif
