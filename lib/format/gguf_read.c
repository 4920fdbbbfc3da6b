/* SPDX-License-Identifier: MIT */
#include "format/gguf_read.h"

#include "base/mem.h"
#include "base/utf8.h"

const unsigned char *otimes_gguf_take(otimes_gguf_reader *reader, uint64_t count)
{
    const int64_t left = reader->bytes - reader->at;
    if (reader->rc != OTIMES_OK) {
        return NULL;
    }
    if (count > (uint64_t)left) {
        reader->rc = otimes_fail(reader->err, OTIMES_ERR_FORMAT,
                                 "%s: %s: truncated: expected %llu bytes at byte %lld, got %lld",
                                 reader->path, reader->where, (unsigned long long)count,
                                 (long long)reader->at, (long long)left);
        return NULL;
    }
    const unsigned char *bytes = reader->data + reader->at;
    reader->at += (int64_t)count;
    return bytes;
}

uint64_t otimes_gguf_number(otimes_gguf_reader *reader, int width)
{
    const unsigned char *bytes = otimes_gguf_take(reader, (uint64_t)width);
    uint64_t value = 0;
    for (int i = width - 1; bytes && i >= 0; i--) {
        value = value << 8 | bytes[i];
    }
    return value;
}

int otimes_gguf_count_width(const otimes_gguf_reader *reader)
{
    return reader->version == 1 ? 4 : 8;
}

int64_t otimes_gguf_count(otimes_gguf_reader *reader, const char *of, int64_t each)
{
    const uint64_t count = otimes_gguf_number(reader, otimes_gguf_count_width(reader));
    const int64_t most = (reader->bytes - reader->at) / each;
    if (reader->rc == OTIMES_OK && count > (uint64_t)most) {
        reader->rc = otimes_fail(reader->err, OTIMES_ERR_FORMAT,
                                 "%s: %s: %s: expected at most %lld in the rest of the file, "
                                 "got %llu",
                                 reader->path, reader->where, of, (long long)most,
                                 (unsigned long long)count);
    }
    return reader->rc == OTIMES_OK ? (int64_t)count : 0;
}

const char *otimes_gguf_string(otimes_gguf_reader *reader, int64_t *length)
{
    const uint64_t bytes = otimes_gguf_number(reader, otimes_gguf_count_width(reader));
    const unsigned char *text = otimes_gguf_take(reader, bytes);
    *length = text ? (int64_t)bytes : 0;
    return (const char *)text;
}

static bool is_name(const char *text, int64_t length)
{
    for (int64_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            return false;
        }
    }
    return length > 0 && otimes_utf8_valid(text, length) == length;
}

char *otimes_gguf_name(otimes_gguf_reader *reader)
{
    int64_t length;
    const char *text = otimes_gguf_string(reader, &length);
    char *name = NULL;
    if (text && !is_name(text, length)) {
        reader->rc = otimes_fail(reader->err, OTIMES_ERR_FORMAT,
                                 "%s: %s: name: expected UTF-8 text without control characters, "
                                 "got %lld other bytes",
                                 reader->path, reader->where, (long long)length);
    } else if (text && !(name = otimes_strndup(text, (size_t)length))) {
        reader->rc = otimes_fail(reader->err, OTIMES_ERR_MEMORY, "out of memory: name");
    }
    return name;
}
