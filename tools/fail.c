/* SPDX-License-Identifier: MIT */
#include "fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fail(otimes_err *err, int code, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = code;
        vsnprintf(err->msg, sizeof err->msg, format, args);
        va_end(args);
    }
    return code;
}

int fail_errno(otimes_err *err, const char *path, const char *what)
{
    return fail(err, OTIMES_ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

int fail_memory(otimes_err *err, const char *what)
{
    return fail(err, OTIMES_ERR_MEMORY, "%s: %s", what, otimes_strerror(OTIMES_ERR_MEMORY));
}
