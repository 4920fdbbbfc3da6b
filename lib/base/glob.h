/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_BASE_GLOB_H
#define OTIMES_BASE_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the whole of a name matches a pattern of `length` bytes: * stands for any run of
 * characters, ? for one. Time is at most the product of the lengths. */
bool otimes_glob(const char *pattern, size_t length, const char *name);

/* Whether a name matches any of the patterns, which commas part. */
bool otimes_glob_list(const char *patterns, const char *name);

#endif
