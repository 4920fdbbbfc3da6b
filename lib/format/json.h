/* SPDX-License-Identifier: MIT
 *
 * JSON through jansson, with errors that name file and key.
 */
#ifndef OTIMES_FORMAT_JSON_H
#define OTIMES_FORMAT_JSON_H

#include <stdbool.h>

#include <jansson.h>

#include "base/err.h"

/* Parses text of `bytes` bytes; `name` says where it is from. Duplicate keys are an error. */
int otimes_json_parse(json_t **json, const void *text, int64_t bytes, const char *name,
                      otimes_err *err);

/* Parses a file, which must hold an object. */
int otimes_json_load(json_t **json, const char *path, otimes_err *err);

/* The same of vocabularies, which hold what no text is: escapes of NUL and of half a surrogate pair, refused
 * elsewhere, become <U+0000>, <U+D800>. */
int otimes_json_parse_tokens(json_t **json, const void *text, int64_t bytes, const char *name,
                             otimes_err *err);
int otimes_json_load_tokens(json_t **json, const char *path, otimes_err *err);

/* The text of an object in new memory, keys in order. */
int otimes_json_text(const json_t *json, char **text, otimes_err *err);

/* Of tokenizer_config.json, all numbers as reals: it gives 10^30 for "no limit". */
int otimes_json_load_wide(json_t **json, const char *path, otimes_err *err);

/* A member by the first of '|'-separated names that is present and not null; NULL if none is. A
 * name with dots is a path ("rope_parameters.rope_theta"), "" names none. object may be NULL. */
json_t *otimes_json_member(const json_t *object, const char *names);

#endif
