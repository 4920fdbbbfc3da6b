/* SPDX-License-Identifier: MIT */
#include "token/shown.h"

#include "token/utf8.h"

/* Bytes from the start that are characters other than NUL, at most about 2^30: the precision of a
 * format is an int. */
static int plain_run(const char *text, int64_t bytes)
{
    int run = 0, part;
    while (run < bytes && run < 1 << 30 && text[run] != '\0') {
        const int length = otimes_utf8_check(text + run, bytes - run, &part);
        if (length == 0) {
            break;
        }
        run += length;
    }
    return run;
}

int otimes_shown_add(otimes_text *to, const char *text, int64_t bytes, otimes_err *err)
{
    int rc = otimes_text_add(to, err, "%s", "");
    for (int64_t at = 0; rc == OTIMES_OK && at < bytes;) {
        const int run = plain_run(text + at, bytes - at);
        int part = 1;
        if (run > 0) {
            part = run;
            rc = otimes_text_add(to, err, "%.*s", part, text + at);
        } else if (text[at] == '\0') {
            rc = otimes_text_add(to, err, "<0x00>");
        } else {
            (void)otimes_utf8_check(text + at, bytes - at, &part);
            rc = otimes_text_add(to, err, "\xef\xbf\xbd");
        }
        at += part;
    }
    return rc;
}
