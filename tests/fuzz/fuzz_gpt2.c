/* SPDX-License-Identifier: MIT
 *
 * GPT-2's files: vocab.json, merges.txt, the tokenizer_config.json beside them and a text to encode,
 * with a NUL between.
 */
#include <stdlib.h>

#include "token/formats.h"
#include "tokens.h"

enum { PARTS = 4 };

static int open_parts(otimes_tokenizer *t, char *const *part, const int64_t *bytes, otimes_err *err)
{
    json_t *vocab;
    int rc = otimes_json_parse_tokens(&vocab, part[0], bytes[0], "vocab.json", err);
    if (rc == 0) {
        rc = otimes_vocab_read(t, vocab, err);
    }
    if (rc == 0) {
        rc = otimes_tokenizer_from_merges(t, "merges.txt", part[1], bytes[1], err);
    }
    json_decref(vocab);
    json_t *json = NULL;
    if (rc == 0) {
        rc = otimes_json_parse_tokens(&json, part[2], bytes[2], "tokenizer_config.json", err);
    }
    otimes_token_settings settings = otimes_token_settings_of(json);
    if (rc == 0) {
        rc = otimes_token_settings_apply(t, &settings, err);
    }
    otimes_token_settings_free(&settings);
    return rc == 0 ? otimes_tokenizer_settle(t, err) : rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    otimes_err err;
    otimes_tokenizer *tokenizer;
    char *part[PARTS];
    int64_t bytes[PARTS];
    fuzz_begin(FUZZ_GROWTH * size);
    for (int i = 0; i < PARTS; i++) {
        part[i] = fuzz_part(&data, &size, i == PARTS - 1, &bytes[i]);
    }
    FUZZ_REQUIRE(otimes_tokenizer_new(&tokenizer, "vocab.json", &err) == 0);
    const int rc = open_parts(tokenizer, part, bytes, &err);
    if (rc == 0) {
        fuzz_use(tokenizer, part[PARTS - 1], bytes[PARTS - 1]);
    }
    FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0]));
    otimes_tokenizer_close(&tokenizer);
    fuzz_end();
    for (int i = 0; i < PARTS; i++) {
        free(part[i]);
    }
    return 0;
}
