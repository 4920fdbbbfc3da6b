/* SPDX-License-Identifier: MIT
 *
 * A pattern of attention that a user wrote down, as lines. fopen is replaced: the file lies in memory.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "pattern_file.h"
#include "parts.h"

static const char name[] = "pattern.tsv";
static const uint8_t *file;
static size_t file_size;

FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode)
{
    return path == name ? fmemopen((void *)(uintptr_t)file, file_size, mode)
                        : __real_fopen64(path, mode);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    otimes_pattern_entry *entries;
    int64_t count;
    otimes_err err;
    if (size == 0) {
        return 0;
    }
    file = data;
    file_size = size;
    if (pattern_file_read(name, &entries, &count, &err) == 0) {
        FUZZ_REQUIRE(count > 0);
        for (int64_t i = 0; i < count; i++) {
            const otimes_pattern_entry *e = &entries[i];
            FUZZ_REQUIRE(e->query >= 0 && e->key >= 0 && isfinite(e->weight));
            FUZZ_REQUIRE(i == 0 || e[-1].query < e->query ||
                         (e[-1].query == e->query && e[-1].key < e->key));
        }
    } else {
        FUZZ_REQUIRE(!entries && count == 0 && err.code && err.msg[0]);
    }
    free(entries);
    return 0;
}
