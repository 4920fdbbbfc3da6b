/* SPDX-License-Identifier: MIT */
#include "parts.h"

#include <stdlib.h>
#include <string.h>

char *fuzz_part(const uint8_t **data, size_t *size, int last, int64_t *length)
{
    const uint8_t *nul = last || !*size ? NULL : memchr(*data, '\0', *size);
    const size_t bytes = nul ? (size_t)(nul - *data) : *size;
    char *part = malloc(bytes + 1);
    FUZZ_REQUIRE(part);
    if (bytes) {
        memcpy(part, *data, bytes);
    }
    part[bytes] = '\0';
    *length = (int64_t)bytes;
    *data += bytes + (nul != NULL);
    *size -= bytes + (nul != NULL);
    return part;
}

size_t fuzz_damage(unsigned char *file, size_t bytes, size_t most, const uint8_t *data, size_t size)
{
    for (; size >= 4 && bytes > 0; data += 4, size -= 4) {
        const size_t at = (data[1] | (size_t)data[2] << 8) % bytes;
        const size_t run = data[3] < bytes - at ? data[3] : bytes - at;
        switch (data[0] % 4) {
        case 0:
            file[at] ^= data[3];
            break;
        case 1:
            bytes = at;
            break;
        case 2: /* a hole */
            memmove(file + at, file + at + run, bytes - at - run);
            bytes -= run;
            break;
        default: /* the same again */
            if (bytes + run <= most) {
                memmove(file + at + run, file + at, bytes - at);
                bytes += run;
            }
            break;
        }
    }
    return bytes;
}
