/* SPDX-License-Identifier: MIT
 *
 * Strict parsing of numbers, selections and text, for command lines and bindings.
 */
#ifndef OTIMES_PARSE_H
#define OTIMES_PARSE_H

#include <otimes/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Parses the whole of `text` as a decimal integer in [low, high]. `what` names the value in the
 * error text. OTIMES_ERR_ARGUMENT when text is empty, has other characters or is out of range. */
OTIMES_API OTIMES_MUST_CHECK int otimes_parse_i64(const char *text, const char *what, int64_t low,
                                                  int64_t high, int64_t *value, otimes_err *err);

/* Number of bytes at the start of text that are well-formed UTF-8 (RFC 3629): `bytes` when all
 * are. */
OTIMES_API int64_t otimes_utf8_valid(const char *text, int64_t bytes);

/* A set of indices as the user wrote it ("0,3-5"): ascending, unique. */
typedef struct otimes_index_list {
    int64_t *index; /* owned; NULL when count is 0 */
    int64_t count;
} otimes_index_list;

/* Parses "0,3-5,9" into ascending unique indices below `limit`. NULL text gives 0 .. limit-1.
 * The caller releases the list with otimes_index_list_free. Errors: OTIMES_ERR_ARGUMENT for
 * malformed text or an index out of range (named with the valid range), OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_parse_indices(const char *text, const char *what,
                                                      int64_t limit, otimes_index_list *list,
                                                      otimes_err *err);

/* Releases the list and zeroes it; a zeroed list or NULL is fine. */
OTIMES_API void otimes_index_list_free(otimes_index_list *list);

#ifdef __cplusplus
}
#endif

#endif
