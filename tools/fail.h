/* SPDX-License-Identifier: MIT
 *
 * One statement for a failure, as inside the library.
 */
#ifndef FAIL_H
#define FAIL_H

#include <otimes/common.h>

/* Writes code and formatted text into err (NULL is fine) and returns code. */
int fail(otimes_err *err, int code, const char *format, ...) OTIMES_PRINTF(3, 4);

/* "<path>: <what>: <text of errno>", OTIMES_ERR_IO. */
int fail_errno(otimes_err *err, const char *path, const char *what);

/* The same for memory: every failed allocation of the program says which file or option it was
 * about. */
int fail_memory(otimes_err *err, const char *what);

#endif
