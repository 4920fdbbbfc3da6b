/* SPDX-License-Identifier: MIT
 *
 * SentencePiece's precompiled_charsmap: a double-array trie (the layout of s-yata/darts-clone) from
 * texts to what replaces them, a pool of NUL-terminated strings. Four bytes of trie size come
 * first, all little-endian.
 */
#ifndef OTIMES_TOKEN_CHARSMAP_H
#define OTIMES_TOKEN_CHARSMAP_H

#include "base/err.h"

typedef struct otimes_charsmap {
    uint32_t *unit;
    int64_t units;
    char *pool; /* ends with a NUL */
    int64_t pool_length;
} otimes_charsmap;

/* From the bytes of the map, which are copied. OTIMES_ERR_FORMAT. */
int otimes_charsmap_new(otimes_charsmap **map, const void *bytes, int64_t length, const char *where,
                        otimes_err *err);
/* From base64 (RFC 4648), as tokenizer.json has it. */
int otimes_charsmap_from_base64(otimes_charsmap **map, const char *text, const char *where,
                                otimes_err *err);
void otimes_charsmap_free(otimes_charsmap *map);

/* What replaces the shortest or the longest beginning of a text that the map knows, NULL when it
 * knows none; *used is the length of that beginning. */
const char *otimes_charsmap_find(const otimes_charsmap *map, const char *text, int64_t length,
                                 int longest, int64_t *used);

#endif
