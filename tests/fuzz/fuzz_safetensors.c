/* SPDX-License-Identifier: MIT
 *
 * A safetensors file. Input that begins with a brace is a header alone, which gets its length and as
 * many bytes of data as it speaks of: so that a change of the text meets what stands behind the checks
 * of lengths. Any other input is the file as it is.
 */
#include <stdlib.h>

#include "compose.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const bool header = bytes > 0 && data[0] == '{';
    size_t length = bytes;
    void *composed = header ? fuzz_safetensors((const char *)data, bytes, &length) : NULL;
    fuzz_begin(length);
    fuzz_file("model.safetensors", header ? composed : data, length);
    fuzz_gpt2_config();
    fuzz_open(fuzz_path("model.safetensors"));
    fuzz_end();
    free(composed);
    return 0;
}
