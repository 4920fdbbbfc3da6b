/* SPDX-License-Identifier: MIT
 *
 * A precompiled_charsmap and a text that it normalises, in both of the ways in which it is applied.
 * The length of the map comes first.
 */
#include <string.h>

#include "base/utf8.h"
#include "token/run.h"
#include "tokens.h"

static void normalize(otimes_charsmap *map, otimes_step_kind kind, const char *text, int64_t length)
{
    otimes_step step = {.kind = kind,
                        .charsmap = map,
                        .prepend = OTIMES_PREPEND_ALWAYS,
                        .trim_blanks = length % 2,
                        .escape_blanks = true};
    const otimes_steps steps = {&step, 1, 1};
    otimes_scratch scratch = {0};
    otimes_flow flow;
    otimes_err err;
    int rc = otimes_flow_clean(&flow, text, length, &scratch.clean, &err);
    if (rc == 0) {
        rc = otimes_normalize(&steps, &scratch, &flow, &err);
    }
    FUZZ_REQUIRE(rc != 0 || otimes_utf8_valid(flow.text, flow.length) == flow.length);
    for (int64_t i = 0; rc == 0 && flow.origin && i < flow.length; i++) {
        FUZZ_REQUIRE(flow.origin[i].begin >= 0 && flow.origin[i].end <= length);
    }
    otimes_scratch_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    otimes_charsmap *map;
    otimes_err err;
    if (size == 0) {
        return 0;
    }
    const size_t bytes = data[0] < size - 1 ? data[0] : size - 1;
    const char *text = (const char *)data + 1 + bytes;
    const int64_t length = (int64_t)(size - 1 - bytes);
    fuzz_begin(FUZZ_GROWTH * size);
    if (otimes_charsmap_new(&map, data + 1, (int64_t)bytes, "map", &err) == 0) {
        normalize(map, OTIMES_STEP_CHARSMAP, text, length);
        normalize(map, OTIMES_STEP_SENTENCEPIECE, text, length);
    } else {
        FUZZ_REQUIRE(!map && err.code && err.msg[0]);
    }
    otimes_charsmap_free(map);
    fuzz_end();
    return 0;
}
