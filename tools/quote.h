/* SPDX-License-Identifier: MIT */
#ifndef QUOTE_H
#define QUOTE_H

#include <stdint.h>
#include <stdio.h>

/* Bytes of the UTF-8 character that text begins with, *code what it is; 0: none. */
int quote_character(const char *text, uint32_t *code);

/* Whether a character would not show itself but do something: move a cursor, set a terminal, end a line, or
 * turn the direction in which what follows is read. */
int quote_hides(uint32_t code);

/* Such a character, or a byte that is none, as \xHH or \uHHHH; true if text begins with one. *length: its
 * bytes, or those of the plain character that it begins with. */
int quote_escape(const char *text, char *escape, size_t size, int *length);

/* Text on a terminal: what hides is spelt out, but for the characters of `kept`. */
void put_shown(FILE *to, const char *text, const char *kept);

/* The same without any kept, filled up with blanks where text has fewer than `width` bytes. */
void put_column(FILE *to, const char *text, int width);

/* Text in quotes, so that blanks at its ends show; what hides is spelt out. */
void put_quoted(FILE *to, const char *text);

/* How many characters that is, for columns below each other. */
int quoted_width(const char *text);

#endif
