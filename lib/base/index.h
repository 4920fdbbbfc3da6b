/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_BASE_INDEX_H
#define OTIMES_BASE_INDEX_H

#include "base/err.h"

/* Checks a caller's selection: NULL for all, or count ascending indices below limit.
 * OTIMES_ERR_ARGUMENT names `what`. */
int otimes_index_check(const char *what, const int64_t *index, int64_t count, int64_t limit,
                       otimes_err *err);

#endif
