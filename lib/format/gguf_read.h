/* SPDX-License-Identifier: MIT
 *
 * A reading position in a GGUF file, little-endian. The first failure is kept in rc and err; from
 * then on every read gives 0 or NULL, so that a row of reads needs one check at its end.
 */
#ifndef OTIMES_FORMAT_GGUF_READ_H
#define OTIMES_FORMAT_GGUF_READ_H

#include "format/json.h"
#include "format/store.h"

typedef struct otimes_gguf_reader {
    const char *path;
    const unsigned char *data;
    int64_t at, bytes;
    uint32_t version;
    const char *where; /* what is being read, for errors */
    int rc;
    otimes_err *err;
} otimes_gguf_reader;

/* The next `count` bytes, or NULL when fewer are left. */
const unsigned char *otimes_gguf_take(otimes_gguf_reader *reader, uint64_t count);

/* An unsigned number of 1 to 8 bytes. */
uint64_t otimes_gguf_number(otimes_gguf_reader *reader, int width);

/* Width of counts, lengths and sizes: 4 bytes in version 1, 8 later. */
int otimes_gguf_count_width(const otimes_gguf_reader *reader);

/* A count of things that take at least `each` bytes: no more than the rest of the file holds. */
int64_t otimes_gguf_count(otimes_gguf_reader *reader, const char *of, int64_t each);

/* Bytes inside the file, or NULL. */
const char *otimes_gguf_string(otimes_gguf_reader *reader, int64_t *length);

/* A key or tensor name in new memory, or NULL: UTF-8, not empty, without control characters. */
char *otimes_gguf_name(otimes_gguf_reader *reader);

/* gguf_meta.c: `count` keys with values as nested objects (format/gguf.h), or NULL. */
json_t *otimes_gguf_metadata(otimes_gguf_reader *reader, int64_t count);

#endif
