/* SPDX-License-Identifier: MIT */
#ifndef QUOTE_H
#define QUOTE_H

#include <stdio.h>

/* Text in quotes, so that blanks at its ends show; what would move a cursor is spelt out. */
void put_quoted(FILE *to, const char *text);

/* How many characters that is, for columns below each other. */
int quoted_width(const char *text);

#endif
