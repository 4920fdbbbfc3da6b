/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_BASE_INDEX_H
#define OTIMES_BASE_INDEX_H

#include "base/mem.h"

/* Checks a caller's selection: NULL for all, or count ascending indices below limit.
 * OTIMES_ERR_ARGUMENT names `what`. */
int otimes_index_check(const char *what, const int64_t *index, int64_t count, int64_t limit,
                       otimes_err *err);

/* The selection, or 0, 1, 2 ... count-1 in the pool's memory where that is NULL. Does nothing when *rc
 * is an error already. */
const int64_t *otimes_index_chosen(otimes_pool *pool, const int64_t *index, int64_t count, int *rc,
                                   otimes_err *err);

#endif
