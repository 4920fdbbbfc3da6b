/* SPDX-License-Identifier: MIT
 *
 * SentencePiece's .model. A protobuf message in which one length is wrong ends there, so that random
 * changes reach little: of an input that begins with an even byte a message is made whose lengths
 * are right. Each record of the input is the number of a field, a length and that many bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "token/formats.h"
#include "tokens.h"

typedef struct message {
    unsigned char *data;
    size_t size;
} message;

static void put(message *to, const void *data, size_t size)
{
    if (size) {
        memcpy(to->data + to->size, data, size);
    }
    to->size += size;
}

static void put_varint(message *to, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) {
        to->data[to->size++] = (unsigned char)(value | 0x80);
    }
    to->data[to->size++] = (unsigned char)value;
}

static void put_bytes(message *to, uint64_t number, const void *data, size_t size)
{
    put_varint(to, number << 3 | 2);
    put_varint(to, size);
    put(to, data, size);
}

/* A piece: its type, its score in whole numbers, its text. */
static void put_piece(message *to, const uint8_t *data, size_t size)
{
    unsigned char inner[300];
    message piece = {inner, 0};
    const float score = size > 1 ? (float)(signed char)data[1] : 0;
    put_bytes(&piece, 1, data + (size > 1 ? 2 : size), size > 1 ? size - 2 : 0);
    put_varint(&piece, 2 << 3 | 5);
    put(&piece, &score, sizeof score);
    put_varint(&piece, 3 << 3);
    put_varint(&piece, size ? data[0] : 0);
    put_bytes(to, 1, piece.data, piece.size);
}

/* A record of two bytes makes a piece of 16. */
static message make(const uint8_t *data, size_t size)
{
    message made = {malloc(16 * size + 16), 0};
    FUZZ_REQUIRE(made.data);
    while (size >= 2) {
        const size_t length = data[1] < size - 2 ? data[1] : size - 2;
        if (data[0] % 4 < 2) {
            put_piece(&made, data + 2, length);
        } else {
            put_bytes(&made, data[0] % 4, data + 2, length);
        }
        data += 2 + length;
        size -= 2 + length;
    }
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    otimes_err err;
    otimes_tokenizer *tokenizer;
    if (size < 2) {
        return 0;
    }
    const size_t text = data[1] < size - 2 ? data[1] : size - 2;
    const uint8_t *body = data + 2 + text;
    const message made = data[0] % 2 ? (message){0} : make(body, size - 2 - text);
    const otimes_map map = made.data
                               ? (otimes_map){.data = made.data, .bytes = (int64_t)made.size}
                               : (otimes_map){.data = body, .bytes = (int64_t)(size - 2 - text)};
    fuzz_begin(FUZZ_GROWTH * (size + (size_t)map.bytes));
    int rc = otimes_tokenizer_new(&tokenizer, "tokenizer.model", &err);
    FUZZ_REQUIRE(rc == 0);
    rc = otimes_tokenizer_from_sentencepiece(tokenizer, &map, &err);
    FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0]));
    fuzz_settle(tokenizer, rc, (const char *)data + 2, (int64_t)text);
    fuzz_end();
    free(made.data);
    return 0;
}
