/* SPDX-License-Identifier: MIT
 *
 * tokenizer.bin of llama2.c, which has at least 259 tokens. An even byte in front: those are given,
 * the rest of the input are records of a score, a length and a text that become tokens behind them;
 * an odd one: the input is the file.
 */
#include <stdlib.h>
#include <string.h>

#include "token/formats.h"
#include "tokens.h"

enum { FIRST = 259, FIRST_BYTES = 4 + FIRST * 8 };

typedef struct file {
    unsigned char *data;
    size_t size;
} file;

static void put_token(file *to, float score, const void *text, size_t length)
{
    const uint32_t bytes = (uint32_t)length;
    memcpy(to->data + to->size, &score, 4);
    memcpy(to->data + to->size + 4, &bytes, 4);
    if (length) {
        memcpy(to->data + to->size + 8, text, length);
    }
    to->size += 8 + length;
}

static file make(const uint8_t *data, size_t size)
{
    file made = {malloc(FIRST_BYTES + 8 * size + 16), 4};
    FUZZ_REQUIRE(made.data);
    memcpy(made.data, "\377\0\0", 4); /* the longest token */
    for (int i = 0; i < FIRST; i++) {
        put_token(&made, 0, NULL, 0);
    }
    while (size >= 2) {
        const size_t length = data[1] < size - 2 ? data[1] : size - 2;
        put_token(&made, (float)(signed char)data[0], data + 2, length);
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
    const size_t rest = size - 2 - text;
    if (data[0] % 2 && rest < 4) { /* what is so short is taken for no such file */
        return 0;
    }
    const file made = data[0] % 2 ? (file){0} : make(body, rest);
    const otimes_map map = made.data ? (otimes_map){.data = made.data, .bytes = (int64_t)made.size}
                                     : (otimes_map){.data = body, .bytes = (int64_t)rest};
    fuzz_begin(FUZZ_GROWTH * (size + (size_t)map.bytes));
    int rc = otimes_tokenizer_new(&tokenizer, "tokenizer.bin", &err);
    FUZZ_REQUIRE(rc == 0);
    rc = otimes_tokenizer_from_llama2c(tokenizer, &map, &err);
    FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0]));
    fuzz_settle(tokenizer, rc, (const char *)data + 2, (int64_t)text);
    fuzz_end();
    free(made.data);
    return 0;
}
