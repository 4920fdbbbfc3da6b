/* SPDX-License-Identifier: MIT
 *
 * tokenizer.json, and behind a NUL a text to encode.
 */
#include <stdlib.h>

#include "token/formats.h"
#include "tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    otimes_err err;
    otimes_tokenizer *tokenizer = NULL;
    json_t *root;
    int64_t bytes, length;
    char *json = fuzz_part(&data, &size, 0, &bytes), *text = fuzz_part(&data, &size, 1, &length);
    fuzz_begin(FUZZ_GROWTH * (size_t)(bytes + length));
    if (otimes_json_parse_tokens(&root, json, bytes, "tokenizer.json", &err) == 0) {
        int rc = otimes_tokenizer_new(&tokenizer, "tokenizer.json", &err);
        FUZZ_REQUIRE(rc == 0);
        rc = otimes_tokenizer_from_json(tokenizer, root, &err);
        FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0]));
        fuzz_settle(tokenizer, rc, text, length);
    }
    json_decref(root);
    fuzz_end();
    free(json);
    free(text);
    return 0;
}
