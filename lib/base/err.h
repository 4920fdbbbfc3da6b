/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_BASE_ERR_H
#define OTIMES_BASE_ERR_H

#include <otimes/common.h>

/* Writes code and formatted text into err (NULL is fine) and returns code, so that a failure is
 * one statement: return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: ...", path, ...); */
int otimes_fail(otimes_err *err, int code, const char *format, ...) OTIMES_PRINTF(3, 4);

#endif
