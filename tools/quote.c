/* SPDX-License-Identifier: MIT */
#include "quote.h"

void put_quoted(FILE *to, const char *text)
{
    putc('"', to);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        switch (*c) {
        case '\n':
            fputs("\\n", to);
            break;
        case '\r':
            fputs("\\r", to);
            break;
        case '\t':
            fputs("\\t", to);
            break;
        case '"':
        case '\\':
            fprintf(to, "\\%c", *c);
            break;
        default:
            if (*c < 0x20 || *c == 0x7f) {
                fprintf(to, "\\x%02X", *c);
            } else {
                putc(*c, to);
            }
        }
    }
    putc('"', to);
}

int quoted_width(const char *text)
{
    int width = 2;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        const int pair = *c == '\n' || *c == '\r' || *c == '\t' || *c == '"' || *c == '\\';
        const int follows = (*c & 0xc0) == 0x80; /* a byte of a character that has been counted */
        width += pair ? 2 : *c < 0x20 || *c == 0x7f ? 4 : !follows;
    }
    return width;
}
