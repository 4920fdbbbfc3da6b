/* SPDX-License-Identifier: MIT */
#include "token/utf8.h"

#include <stddef.h>

int otimes_utf8_check(const char *text, int64_t length, int *part)
{
    /* Table 3-7 of the Unicode Standard: bytes 3 and 4 are 80..BF always. */
    static const struct {
        unsigned char first_low, first_high, second_low, second_high;
        int length;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    const unsigned char *byte = (const unsigned char *)text;
    *part = 1;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (byte[0] < forms[i].first_low || byte[0] > forms[i].first_high) {
            continue;
        }
        for (int j = 1; j < forms[i].length; j++) {
            const unsigned char low = j == 1 ? forms[i].second_low : 0x80;
            const unsigned char high = j == 1 ? forms[i].second_high : 0xbf;
            if (j >= length || byte[j] < low || byte[j] > high) {
                return 0;
            }
            *part = j + 1;
        }
        return forms[i].length;
    }
    return 0;
}

uint32_t otimes_utf8_before(const char *text, int64_t end, int *length)
{
    int64_t start = end - 1;
    while (start > 0 && otimes_utf8_continues(text[start])) {
        start--;
    }
    return otimes_utf8_get(text + start, length);
}

int otimes_utf8_put(char out[OTIMES_UTF8_MOST], uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    const int length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)(lead[length] | code);
    return length;
}

uint32_t otimes_byte_to_code(unsigned char byte)
{
    if (byte <= 0x20) {
        return 0x100u + byte;
    }
    if (byte >= 0x7f && byte <= 0xa0) {
        return 0x100u + 33 + byte - 0x7f;
    }
    return byte == 0xad ? 0x100u + 67 : byte;
}

int otimes_code_to_byte(uint32_t code)
{
    if ((code >= '!' && code <= '~') || (code >= 0xa1 && code <= 0xac) ||
        (code >= 0xae && code <= 0xff)) {
        return (int)code;
    }
    if (code < 0x100 || code >= 0x100 + 68) {
        return -1;
    }
    const int rank = (int)code - 0x100; /* among 00-20, 7f-a0, ad */
    return rank < 33 ? rank : rank < 67 ? 0x7f + rank - 33 : 0xad;
}

int64_t otimes_alphabet_decode(const char *text, int64_t length, char *bytes)
{
    int64_t count = 0;
    int step;
    for (int64_t at = 0; at < length; at += step) {
        const int byte = otimes_code_to_byte(otimes_utf8_get(text + at, &step));
        if (byte < 0) {
            return -1;
        }
        bytes[count++] = (char)byte;
    }
    return count;
}
