/* SPDX-License-Identifier: MIT
 *
 * The tokenizer in the metadata of a GGUF file, as JSON, and behind a NUL a text to encode.
 */
#include <stdlib.h>

#include "token/formats.h"
#include "token/gguf.h"
#include "tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    otimes_err err;
    otimes_tokenizer *tokenizer;
    json_t *config;
    int64_t bytes, length;
    char *json = fuzz_part(&data, &size, 0, &bytes), *text = fuzz_part(&data, &size, 1, &length);
    fuzz_begin(FUZZ_GROWTH * (size_t)(bytes + length));
    if (otimes_json_parse_tokens(&config, json, bytes, "model.gguf", &err) == 0) {
        const int rc = otimes_tokenizer_from_gguf(&tokenizer, config, "model.gguf", &err);
        if (rc == 0) {
            fuzz_use(tokenizer, text, length);
        }
        FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0] && !tokenizer));
        otimes_tokenizer_close(&tokenizer);
    }
    json_decref(config);
    fuzz_end();
    free(json);
    free(text);
    return 0;
}
