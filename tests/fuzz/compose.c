/* SPDX-License-Identifier: MIT */
#include "compose.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

enum { MOST_DATA = 4096, SMALL = 0x3c /* repeated: a small number of every floating-point type */ };

static void *memory(size_t bytes)
{
    void *block = malloc(bytes ? bytes : 1);
    if (!block) {
        fuzz_fail("no memory for %zu bytes of a file", bytes);
    }
    return block;
}

/* The number after the comma of "data_offsets":[a,b], 0 when there is none or it is too large. */
static size_t end_of(const char *text, const char *end)
{
    const char *comma = memchr(text, ',', (size_t)(end - text));
    size_t number = 0;
    for (const char *at = comma ? comma + 1 : end; at < end && number <= MOST_DATA; at++) {
        if (*at < '0' || *at > '9') {
            break;
        }
        number = 10 * number + (size_t)(*at - '0');
    }
    return number <= MOST_DATA ? number : 0;
}

void *fuzz_safetensors(const char *header, size_t length, size_t *bytes)
{
    static const char key[] = "data_offsets\"";
    const char *end = header + length;
    size_t data = 0;
    for (const char *at = header; (at = memmem(at, (size_t)(end - at), key, sizeof key - 1));) {
        at += sizeof key - 1;
        const size_t furthest = end_of(at, end);
        data = furthest > data ? furthest : data;
    }
    *bytes = 8 + length + data;
    unsigned char *file = memory(*bytes);
    for (int i = 0; i < 8; i++) {
        file[i] = (unsigned char)((uint64_t)length >> 8 * i);
    }
    memcpy(file + 8, header, length);
    memset(file + 8 + length, SMALL, data);
    return file;
}

void fuzz_split(const void *data, size_t bytes, char **first, void **second, size_t *second_bytes)
{
    const char *nul = bytes > 0 ? memchr(data, '\0', bytes) : NULL;
    const size_t length = nul ? (size_t)(nul - (const char *)data) : bytes;
    *first = memory(length + 1);
    memcpy(*first, data, length);
    (*first)[length] = '\0';
    *second_bytes = nul ? bytes - length - 1 : 0;
    *second = memory(*second_bytes);
    memcpy(*second, (const char *)data + bytes - *second_bytes, *second_bytes);
}
