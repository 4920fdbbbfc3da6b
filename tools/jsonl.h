/* SPDX-License-Identifier: MIT
 *
 * Texts as JSON lines (jsonlines.org): one JSON value in each line of a file.
 */
#ifndef JSONL_H
#define JSONL_H

#include <otimes/common.h>
#include <otimes/parse.h>

/* One line: a text, or token ids. */
typedef struct jsonl_line {
    int64_t bytes;         /* of the text, which stands where the line stood; it may hold NUL */
    otimes_index_list ids; /* index is NULL where it is a text */
} jsonl_line;

/* Whether a file of this name holds JSON lines: .jsonl, .ndjson. */
int jsonl_is_name(const char *path);

/* Reads a line of `bytes` bytes in place: a string; or an object whose member `field` is a string
 * or an array of ids, or, where it has no such member, whose "tokens" are an array of ids. What is
 * not negative is an id. `where` names the line in errors. ids is released with
 * otimes_index_list_free, also after an error.
 * OTIMES_ERR_FORMAT, OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int jsonl_read(jsonl_line *out, char *line, int64_t bytes, const char *field,
                                 const char *where, otimes_err *err);

#endif
