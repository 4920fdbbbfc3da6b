/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_TOKEN_QUOTE_H
#define OTIMES_TOKEN_QUOTE_H

#include <stdint.h>

/* A text of a file or a caller as an error line can show it: in quotes, cut short with "...",
 * controls and what is no UTF-8 as <0xHH>. */
typedef struct otimes_quote {
    char text[136];
} otimes_quote;

/* Of `length` bytes, or all up to a NUL when negative. */
otimes_quote otimes_quoted(const char *text, int64_t length);

#endif
