/* SPDX-License-Identifier: MIT
 *
 * A model of llama2.c. A file of the wrong length is refused with the right one; where that is small
 * the file is made so and opened again, so that any sizes lead to weights.
 */
#include <stdlib.h>
#include <string.h>

#include "format/open.h"
#include "fuzz.h"

enum { LARGEST = 1 << 14 };

/* The length that the sizes of the header make, 0 when something else is wrong. */
static size_t right_length(const uint8_t *data, size_t bytes)
{
    static const char words[] = "truncated or too long: expected ";
    otimes_store store;
    otimes_err err = {0};
    fuzz_begin(bytes);
    fuzz_file("model.bin", data, bytes);
    const bool opened = fuzz_ok(otimes_store_open(&store, fuzz_path("model.bin"), &err), &err);
    otimes_store_close(&store);
    fuzz_end();
    const char *refused = opened ? NULL : strstr(err.msg, words);
    return refused ? strtoul(refused + sizeof words - 1, NULL, 10) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const size_t right = right_length(data, bytes);
    const size_t length = right > 0 && right <= LARGEST ? right : bytes;
    uint8_t *file = calloc(length ? length : 1, 1);
    if (!file) {
        fuzz_fail("no memory for a file");
    }
    memcpy(file, data, bytes < length ? bytes : length);
    fuzz_begin(length);
    fuzz_file("model.bin", file, length);
    fuzz_open(fuzz_path("model.bin"));
    fuzz_end();
    free(file);
    return 0;
}
