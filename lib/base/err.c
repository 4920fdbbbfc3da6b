/* SPDX-License-Identifier: MIT */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

const char *otimes_strerror(int code)
{
    switch (code) {
    case OTIMES_OK:
        return "no error";
#define ERROR_TEXT(name, value, text) \
    case OTIMES_ERR_##name:           \
        return text;
        OTIMES_ERRORS(ERROR_TEXT)
#undef ERROR_TEXT
    default:
        return "not an error code of otimes";
    }
}

#define STRINGIFY_VALUE(x) #x
#define STRINGIFY(x) STRINGIFY_VALUE(x)

const char *otimes_version(void)
{
    return STRINGIFY(OTIMES_VERSION_MAJOR) "." STRINGIFY(OTIMES_VERSION_MINOR) "." STRINGIFY(
        OTIMES_VERSION_PATCH);
}

int otimes_fail(otimes_err *err, int code, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = code;
        vsnprintf(err->msg, sizeof err->msg, format, args);
        va_end(args);
        /* Names come from files of strangers: an error stays one line whatever they hold. */
        for (char *c = err->msg; *c; c++) {
            *c = (unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c;
        }
    }
    return code;
}
