/* SPDX-License-Identifier: MIT
 *
 * A GGUF file, with the tokenizer that its metadata may hold.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz_begin(bytes);
    fuzz_file("model.gguf", data, bytes);
    fuzz_open(fuzz_path("model.gguf"));
    fuzz_end();
    return 0;
}
