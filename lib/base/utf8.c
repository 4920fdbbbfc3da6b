/* SPDX-License-Identifier: MIT */
#include "base/utf8.h"

int otimes_utf8_length(const char *text, int64_t bytes)
{
    const unsigned char *at = (const unsigned char *)text;
    if (bytes <= 0) {
        return 0;
    }
    if (at[0] < 0x80) {
        return 1;
    }
    const int length = at[0] < 0xc2   ? 0
                       : at[0] < 0xe0 ? 2
                       : at[0] < 0xf0 ? 3
                       : at[0] < 0xf5 ? 4
                                      : 0;
    if (length == 0 || length > bytes) {
        return 0;
    }
    for (int i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* The second byte rules out what a shorter form says, surrogates and what is beyond. */
    const int least = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : 0x80;
    const int most = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : 0xbf;
    return at[1] >= least && at[1] <= most ? length : 0;
}

int64_t otimes_utf8_valid(const char *text, int64_t bytes)
{
    int64_t at = 0;
    for (int step; (step = otimes_utf8_length(text + at, bytes - at)) > 0;) {
        at += step;
    }
    return at;
}
