/* SPDX-License-Identifier: MIT
 *
 * The system's allocator, apart from mem.c so that the linker can put another in its place
 * (tests/test_oom.c): calls from within one object cannot be replaced.
 */
#include "base/mem.h"

#include <stdlib.h>

void *otimes_alloc(int64_t count, size_t size)
{
    int64_t bytes;
    if (!otimes_mul_i64(count, (int64_t)size, &bytes)) {
        return NULL;
    }
    return calloc(1, bytes ? (size_t)bytes : 1);
}

void *otimes_realloc(void *block, int64_t count, size_t size)
{
    int64_t bytes;
    if (!otimes_mul_i64(count, (int64_t)size, &bytes)) {
        return NULL;
    }
    return realloc(block, bytes ? (size_t)bytes : 1);
}

void otimes_free(void *block)
{
    free(block);
}
