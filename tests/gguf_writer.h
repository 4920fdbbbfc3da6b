/* SPDX-License-Identifier: MIT
 *
 * GGUF files byte by byte, right and wrong.
 */
#ifndef OTIMES_TESTS_GGUF_WRITER_H
#define OTIMES_TESTS_GGUF_WRITER_H

#include <stdint.h>
#include <string.h>

#include "support.h"

enum gguf_value {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_TEXT,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

typedef struct gguf_writer {
    unsigned char bytes[1 << 16];
    size_t length;
    int version;
} gguf_writer;

static inline void gguf_put(gguf_writer *w, int width, uint64_t value)
{
    assert_true(w->length + 8 <= sizeof w->bytes);
    for (int i = 0; i < width; i++) {
        w->bytes[w->length++] = (unsigned char)(value >> 8 * i);
    }
}

/* Counts and lengths. */
static inline void gguf_put_count(gguf_writer *w, uint64_t value)
{
    gguf_put(w, w->version == 1 ? 4 : 8, value);
}

static inline void gguf_put_bytes(gguf_writer *w, const void *bytes, size_t length)
{
    assert_true(w->length + length <= sizeof w->bytes);
    memcpy(w->bytes + w->length, bytes, length);
    w->length += length;
}

static inline void gguf_put_text(gguf_writer *w, const char *text)
{
    gguf_put_count(w, strlen(text));
    gguf_put_bytes(w, text, strlen(text));
}

static inline void gguf_header(gguf_writer *w, int version, uint64_t tensors, uint64_t keys)
{
    w->length = 0;
    w->version = version;
    gguf_put_bytes(w, "GGUF", 4);
    gguf_put(w, 4, (uint64_t)version);
    gguf_put_count(w, tensors);
    gguf_put_count(w, keys);
}

static inline void gguf_key(gguf_writer *w, const char *key, uint64_t type)
{
    gguf_put_text(w, key);
    gguf_put(w, 4, type);
}

static inline void gguf_key_text(gguf_writer *w, const char *key, const char *value)
{
    gguf_key(w, key, GGUF_TEXT);
    gguf_put_text(w, value);
}

static inline void gguf_key_array(gguf_writer *w, const char *key, uint64_t type, uint64_t count)
{
    gguf_key(w, key, GGUF_ARRAY);
    gguf_put(w, 4, type);
    gguf_put_count(w, count);
}

/* dim[0] is the fastest. */
static inline void gguf_tensor(gguf_writer *w, const char *name, int ndim, const uint64_t *dim,
                               uint64_t type, uint64_t offset)
{
    gguf_put_text(w, name);
    gguf_put(w, 4, (uint64_t)ndim);
    for (int i = 0; i < ndim; i++) {
        gguf_put_count(w, dim[i]);
    }
    gguf_put(w, 4, type);
    gguf_put(w, 8, offset);
}

static inline void gguf_align(gguf_writer *w, size_t alignment)
{
    while (w->length % alignment != 0) {
        gguf_put(w, 1, 0xee);
    }
}

/* Bytes 0, 1, 2 ... */
static inline void gguf_data(gguf_writer *w, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        gguf_put(w, 1, i);
    }
}

#endif
