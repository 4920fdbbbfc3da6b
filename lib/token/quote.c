/* SPDX-License-Identifier: MIT */
#include "token/quote.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

otimes_quote otimes_quoted(const char *text, int64_t length)
{
    otimes_quote quote = {"'"};
    const int64_t room = sizeof quote.text - sizeof "<0xHH>...'";
    int64_t used = 1, at = 0;
    length = length < 0 ? (int64_t)strlen(text) : length;
    while (at < length && used < room) {
        const unsigned char byte = (unsigned char)text[at];
        const int step = otimes_utf8_length(text + at, length - at);
        if (step == 0 || byte < 0x20 || byte == 0x7f) {
            used += snprintf(quote.text + used, 7, "<0x%02X>", byte);
            at++;
        } else {
            memcpy(quote.text + used, text + at, (size_t)step);
            used += step;
            at += step;
        }
    }
    snprintf(quote.text + used, sizeof quote.text - (size_t)used, "%s'", at < length ? "..." : "");
    return quote;
}
