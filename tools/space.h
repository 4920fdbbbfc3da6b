/* SPDX-License-Identifier: MIT
 *
 * Whether a disk can hold what a run is about to write.
 */
#ifndef SPACE_H
#define SPACE_H

#include <otimes/common.h>

/* What a run writes at most, in bytes. */
typedef struct space_need {
    int64_t result;
    int64_t journal; /* 0: none is kept */
} space_need;

/* Refuses, with both numbers, what is more than the disk of the file `path` has free. What the unfinished
 * files beside it hold already, of this run or of one that was interrupted, counts as free. A file system that does not say what
 * it has refuses nothing. OTIMES_ERR_IO. */
OTIMES_MUST_CHECK int space_check(const char *path, const space_need *need, otimes_err *err);

#endif
