/* SPDX-License-Identifier: MIT
 *
 * The sections of tokenizer.json that are steps.
 */
#ifndef OTIMES_TOKEN_JSON_STEPS_H
#define OTIMES_TOKEN_JSON_STEPS_H

#include "format/json.h"
#include "token/tokenizer.h"

/* NULL and null sections are empty. OTIMES_ERR_UNSUPPORTED names a type that is not known. */
int otimes_json_normalizer(otimes_tokenizer *tokenizer, const json_t *json, otimes_err *err);
int otimes_json_splitter(otimes_tokenizer *tokenizer, const json_t *json, otimes_err *err);
int otimes_json_decoder(otimes_tokenizer *tokenizer, const json_t *json, otimes_err *err);
int otimes_json_post(otimes_tokenizer *tokenizer, const json_t *json, otimes_err *err);

/* Members of an object with type checks: absent or null leaves *value. `where` is the section. */
int otimes_member_bool(const json_t *json, const char *key, bool *value, const char *where,
                       otimes_err *err);
int otimes_member_i64(const json_t *json, const char *key, int64_t *value, const char *where,
                      otimes_err *err);
int otimes_member_text(const json_t *json, const char *key, const char **value, const char *where,
                       otimes_err *err);

#endif
