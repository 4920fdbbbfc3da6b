/* SPDX-License-Identifier: MIT
 *
 * A pattern that a user wrote down.
 */
#ifndef PATTERN_FILE_H
#define PATTERN_FILE_H

#include <otimes/patterns.h>

/* Lines "query <tab> key" or "query <tab> key <tab> weight": positions from 0, a weight of 1 where
 * there is none. Empty lines and what begins with # are passed over. Entries come by ascending
 * query, then key; *entries is released with free. OTIMES_ERR_ARGUMENT (a line that is none, a pair
 * given twice, no entry at all; file and line named), OTIMES_ERR_IO, OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int pattern_file_read(const char *path, otimes_pattern_entry **entries,
                                        int64_t *count, otimes_err *err);

#endif
