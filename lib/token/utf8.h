/* SPDX-License-Identifier: MIT
 *
 * UTF-8 and the byte alphabet of GPT-2.
 */
#ifndef OTIMES_TOKEN_UTF8_H
#define OTIMES_TOKEN_UTF8_H

#include <stdbool.h>

#include "base/utf8.h"

enum { OTIMES_UTF8_MOST = 4, OTIMES_REPLACEMENT = 0xfffd };

/* Length of the well-formed character at the start of text (RFC 3629: no overlong forms, no
 * surrogates, nothing beyond U+10FFFF), or 0; *part is then the length of the maximal part of a
 * character that stands there, at least 1. length > 0. */
int otimes_utf8_check(const char *text, int64_t length, int *part);

static inline bool otimes_utf8_continues(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

/* The following take well-formed text. */

static inline int otimes_utf8_size(char first)
{
    const unsigned char byte = (unsigned char)first;
    return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

static inline uint32_t otimes_utf8_get(const char *text, int *length)
{
    const unsigned char *byte = (const unsigned char *)text;
    *length = otimes_utf8_size(text[0]);
    switch (*length) {
    case 1:
        return byte[0];
    case 2:
        return (byte[0] & 0x1fu) << 6 | (byte[1] & 0x3fu);
    case 3:
        return (byte[0] & 0x0fu) << 12 | (byte[1] & 0x3fu) << 6 | (byte[2] & 0x3fu);
    default:
        return (byte[0] & 0x07u) << 18 | (byte[1] & 0x3fu) << 12 | (byte[2] & 0x3fu) << 6 |
               (byte[3] & 0x3fu);
    }
}

/* The character that ends at text[end - 1]; end > 0. */
uint32_t otimes_utf8_before(const char *text, int64_t end, int *length);

/* Writes a character, returns its length. */
int otimes_utf8_put(char out[OTIMES_UTF8_MOST], uint32_t code);

/* GPT-2's bytes_to_unicode (openai/gpt-2, src/encoder.py): printable bytes of Latin-1 stand for
 * themselves, the others take the code points from U+0100 in order. */
uint32_t otimes_byte_to_code(unsigned char byte);
/* -1: the character stands for no byte. */
int otimes_code_to_byte(uint32_t code);

/* Bytes for which a text in that alphabet stands, at most length of them, or -1 when a character
 * stands for none. */
int64_t otimes_alphabet_decode(const char *text, int64_t length, char *bytes);

#endif
