/* SPDX-License-Identifier: MIT
 *
 * Texts of tokens as labels: those in a tokenizer.json, those of a list, those of a caller's.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "format/json.h"
#include "format/vocab.h"
#include "parts.h"

enum { MODEL_TOKENS = 16, TEXTS = 4 };

static void look(otimes_vocab *vocab, int rc, const otimes_err *err)
{
    FUZZ_REQUIRE(rc == 0 || (err->code == rc && err->msg[0] && vocab->count == 0));
    for (int64_t i = 0; i < vocab->count; i++) {
        const int64_t length = (int64_t)strlen(vocab->text[i]);
        FUZZ_REQUIRE(otimes_utf8_valid(vocab->text[i], length) == length);
    }
    otimes_vocab_free(vocab);
}

static void from_json(const char *json, int64_t bytes)
{
    otimes_vocab vocab;
    otimes_err err;
    json_t *root;
    if (otimes_json_parse_tokens(&root, json, bytes, "tokenizer.json", &err) == 0) {
        int rc = otimes_vocab_from_json(&vocab, root, true, MODEL_TOKENS, "tokenizer.json", &err);
        look(&vocab, rc, &err);
        const json_t *list = json_object_get(root, "tokens");
        rc = otimes_vocab_from_json(&vocab, list, false, MODEL_TOKENS, "vocab.json", &err);
        look(&vocab, rc, &err);
        rc = otimes_vocab_from_list(&vocab, list, MODEL_TOKENS, "model.gguf: tokens", &err);
        look(&vocab, rc, &err);
    }
    json_decref(root);
}

static void from_texts(const uint8_t *data, size_t size)
{
    otimes_vocab vocab;
    otimes_err err;
    char *text[TEXTS];
    int64_t bytes;
    for (int i = 0; i < TEXTS; i++) {
        text[i] = fuzz_part(&data, &size, 0, &bytes);
    }
    const char *const given[TEXTS + 1] = {text[0], text[1], NULL, text[2], text[3]};
    const int rc = otimes_vocab_from_texts(&vocab, given, TEXTS + 1, MODEL_TOKENS, &err);
    look(&vocab, rc, &err);
    for (int i = 0; i < TEXTS; i++) {
        free(text[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t bytes;
    fuzz_begin(size);
    char *json = fuzz_part(&data, &size, 0, &bytes);
    from_texts((const uint8_t *)json, (size_t)bytes);
    from_texts(data, size);
    from_json(json, bytes);
    free(json);
    fuzz_end();
    return 0;
}
