/* SPDX-License-Identifier: MIT */
#include "tokens.h"

#include <string.h>

#include "base/utf8.h"
#include "token/formats.h"

static void decode(const otimes_tokenizer *t, const otimes_encoding *encoding, int skip_special)
{
    otimes_err err;
    char *text;
    int64_t bytes;
    if (otimes_decode(t, encoding->id, encoding->count, skip_special, &text, &bytes, &err) == 0) {
        FUZZ_REQUIRE(text[bytes] == '\0');
        FUZZ_REQUIRE(otimes_utf8_valid(text, bytes) == bytes);
    } else {
        FUZZ_REQUIRE(!text && err.code && err.msg[0]);
    }
    otimes_text_release(&text);
}

static void encode(const otimes_tokenizer *t, const char *text, int64_t bytes, otimes_bos bos)
{
    const otimes_tokenizer_info *info = otimes_tokenizer_describe(t);
    otimes_encoding encoding;
    otimes_err err;
    if (otimes_encode(t, text, bytes, bos, &encoding, &err) == 0) {
        for (int64_t i = 0; i < encoding.count; i++) {
            FUZZ_REQUIRE(encoding.id[i] >= 0 && encoding.id[i] < info->vocab_size);
            FUZZ_REQUIRE(encoding.begin[i] >= 0 && encoding.begin[i] <= encoding.end[i]);
            FUZZ_REQUIRE(encoding.end[i] <= bytes);
        }
        FUZZ_REQUIRE(bos != OTIMES_BOS_ALWAYS || encoding.id[0] == info->bos);
        decode(t, &encoding, bos == OTIMES_BOS_NEVER);
    } else {
        FUZZ_REQUIRE(!encoding.memory && err.code && err.msg[0]);
    }
    otimes_encoding_free(&encoding);
}

void fuzz_use(const otimes_tokenizer *t, const char *text, int64_t bytes)
{
    static const char usual[] = " Hello, w\xc3\xb6rld's  12 \xe2\x96\x81 </s>\n"
                                "e\xcc\x81\xff\xe4\xb8\xad<s>ab aab";
    const otimes_tokenizer_info *info = otimes_tokenizer_describe(t);
    FUZZ_REQUIRE(info->vocab_size > 0 && info->kind && info->path);
    FUZZ_REQUIRE(info->bos < info->vocab_size && info->eos < info->vocab_size);
    FUZZ_REQUIRE(info->unknown < info->vocab_size);
    for (int64_t id = 0; id < info->vocab_size; id++) {
        const char *label = otimes_token_text(t, id);
        const int64_t length = (int64_t)strlen(label);
        FUZZ_REQUIRE(otimes_utf8_valid(label, length) == length);
    }
    encode(t, usual, (int64_t)sizeof usual - 1, OTIMES_BOS_AS_TRAINED);
    encode(t, text, bytes, OTIMES_BOS_NEVER);
    encode(t, text, bytes, OTIMES_BOS_ALWAYS);
}

void fuzz_settle(otimes_tokenizer *tokenizer, int rc, const char *text, int64_t bytes)
{
    const otimes_token_settings none = {.adds_bos = -1, .adds_eos = -1};
    otimes_err err;
    if (rc == 0) {
        rc = otimes_token_settings_apply(tokenizer, &none, &err);
    }
    if (rc == 0) {
        rc = otimes_tokenizer_settle(tokenizer, &err);
    }
    if (rc == 0) {
        fuzz_use(tokenizer, text, bytes);
    }
    otimes_tokenizer_close(&tokenizer);
}
