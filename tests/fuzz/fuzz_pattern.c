/* SPDX-License-Identifier: MIT
 *
 * A regular expression of a pre-tokenizer, and behind a NUL the text that it cuts.
 */
#include <stdlib.h>

#include "token/pattern.h"
#include "token/utf8.h"
#include "tokens.h"

static void match_all(const otimes_pattern *pattern, const char *text, int64_t length)
{
    otimes_matcher matcher = {0};
    otimes_err err;
    bool found = true;
    for (int64_t from = 0; found && from <= length;) {
        int64_t begin, end;
        const int rc =
            otimes_pattern_match(pattern, &matcher, text, length, from, &found, &begin, &end, &err);
        if (rc != 0 || !found) {
            FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0]));
            break;
        }
        FUZZ_REQUIRE(begin >= from && begin <= end && end <= length);
        from = end > begin ? end : end < length ? end + otimes_utf8_size(text[end]) : end + 1;
    }
    otimes_matcher_free(&matcher);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    otimes_err err;
    otimes_pattern *pattern = NULL;
    int64_t bytes, length;
    char *source = fuzz_part(&data, &size, 0, &bytes), *text = fuzz_part(&data, &size, 1, &length);
    fuzz_begin(FUZZ_GROWTH * (size_t)(bytes + length));
    if (otimes_utf8_valid(source, bytes) == bytes && otimes_utf8_valid(text, length) == length) {
        const int rc = otimes_pattern_new(&pattern, source, bytes, "tokenizer.json", &err);
        if (rc == 0) {
            match_all(pattern, text, length);
        }
        FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0] && !pattern));
    }
    otimes_pattern_free(pattern);
    fuzz_end();
    free(source);
    free(text);
    return 0;
}
