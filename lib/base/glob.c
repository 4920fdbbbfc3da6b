/* SPDX-License-Identifier: MIT */
#include "base/glob.h"

#include <string.h>

/* After a mismatch only the last * needs to take one character more: what an earlier one took was
 * enough to reach it, so nothing is tried twice. */
bool otimes_glob(const char *pattern, size_t length, const char *name)
{
    const char *end = pattern + length, *star = NULL, *resume = NULL;
    while (*name) {
        if (pattern < end && *pattern == '*') {
            star = pattern++;
            resume = name;
        } else if (pattern < end && (*pattern == '?' || *pattern == *name)) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (pattern < end && *pattern == '*') {
        pattern++;
    }
    return pattern == end;
}

bool otimes_glob_list(const char *patterns, const char *name)
{
    for (;;) {
        const size_t length = strcspn(patterns, ",");
        if (otimes_glob(patterns, length, name)) {
            return true;
        }
        if (!patterns[length]) {
            return false;
        }
        patterns += length + 1;
    }
}
