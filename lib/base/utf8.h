/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_BASE_UTF8_H
#define OTIMES_BASE_UTF8_H

#include <otimes/parse.h>

/* Length of the well-formed UTF-8 character at the start of text, 1 to 4 bytes, or 0 when there is
 * none (RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF). NUL is one too. */
int otimes_utf8_length(const char *text, int64_t bytes);

#endif
