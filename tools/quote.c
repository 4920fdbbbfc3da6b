/* SPDX-License-Identifier: MIT */
#include "quote.h"

#include <inttypes.h>
#include <string.h>

#include <otimes/parse.h>

enum { ESCAPE_MAX = 16 };

int quote_character(const char *text, uint32_t *code)
{
    static const unsigned char mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80) {
        *code = at[0];
        return 1;
    }
    const int length = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    /* Not beyond the NUL behind the text. */
    const int64_t there = (int64_t)strnlen(text, (size_t)length);
    if (there < length || otimes_utf8_valid(text, length) < length) {
        *code = 0;
        return 0;
    }
    *code = at[0] & mask[length];
    for (int i = 1; i < length; i++) {
        *code = *code << 6 | (at[i] & 0x3fU);
    }
    return length;
}

int quote_hides(uint32_t code)
{
    static const uint32_t ranges[][2] = {{0x00, 0x1f},     {0x7f, 0x9f},     {0x061c, 0x061c},
                                         {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069},
                                         {0xfeff, 0xfeff}, {0xfff9, 0xfffb}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (code >= ranges[i][0] && code <= ranges[i][1]) {
            return 1;
        }
    }
    return 0;
}

int quote_escape(const char *text, char *escape, size_t size, int *length)
{
    uint32_t code;
    *length = quote_character(text, &code);
    if (*length && !quote_hides(code)) {
        return 0;
    }
    if (*length > 1) {
        snprintf(escape, size, "\\u%04" PRIX32, code);
        return 1;
    }
    *length = 1;
    switch (*text) {
    case '\n':
        snprintf(escape, size, "\\n");
        break;
    case '\r':
        snprintf(escape, size, "\\r");
        break;
    case '\t':
        snprintf(escape, size, "\\t");
        break;
    default:
        snprintf(escape, size, "\\x%02X", (unsigned char)*text);
    }
    return 1;
}

void put_shown(FILE *to, const char *text, const char *kept)
{
    char escape[ESCAPE_MAX];
    for (int length; *text; text += length) {
        if (quote_escape(text, escape, sizeof escape, &length) && !strchr(kept, *text)) {
            fputs(escape, to);
        } else {
            fwrite(text, 1, (size_t)length, to);
        }
    }
}

void put_column(FILE *to, const char *text, int width)
{
    const int length = (int)strnlen(text, (size_t)width);
    put_shown(to, text, "");
    fprintf(to, "%*s", width - length, "");
}

void put_quoted(FILE *to, const char *text)
{
    char escape[ESCAPE_MAX];
    putc('"', to);
    for (int length; *text; text += length) {
        if (quote_escape(text, escape, sizeof escape, &length)) {
            fputs(escape, to);
        } else {
            fputs(*text == '"' || *text == '\\' ? "\\" : "", to);
            fwrite(text, 1, (size_t)length, to);
        }
    }
    putc('"', to);
}

int quoted_width(const char *text)
{
    char escape[ESCAPE_MAX];
    int width = 2;
    for (int length; *text; text += length) {
        width += quote_escape(text, escape, sizeof escape, &length) ? (int)strlen(escape)
                 : *text == '"' || *text == '\\'                    ? 2
                                                                    : 1;
    }
    return width;
}
