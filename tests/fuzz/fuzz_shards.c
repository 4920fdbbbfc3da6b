/* SPDX-License-Identifier: MIT
 *
 * A folder with an index of shards. The input is the index; what stands behind its first NUL, if there
 * is one, is the file c.safetensors. Two more shards are as they should be, and so is the model that
 * all three make when c.safetensors is the third of them.
 */
#include <stdlib.h>
#include <string.h>

#include "compose.h"
#include "fuzz.h"

#define TENSOR(name, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static const char a[] =
    "{" TENSOR("wte.weight", "[3,2]", "0", "24") "," TENSOR("wpe.weight", "[2,2]", "24", "40") "}";
static const char b[] =
    "{" TENSOR("ln_f.weight", "[2]", "0", "8") "," TENSOR("ln_f.bias", "[2]", "8", "16") "}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *index;
    void *c, *files[2];
    size_t c_bytes, file_bytes[2];
    fuzz_split(data, bytes, &index, &c, &c_bytes);
    files[0] = fuzz_safetensors(a, sizeof a - 1, &file_bytes[0]);
    files[1] = fuzz_safetensors(b, sizeof b - 1, &file_bytes[1]);
    fuzz_begin(bytes);
    fuzz_file("model.safetensors.index.json", index, strlen(index));
    fuzz_file("a.safetensors", files[0], file_bytes[0]);
    fuzz_file("b.safetensors", files[1], file_bytes[1]);
    fuzz_file("c.safetensors", c, c_bytes);
    fuzz_gpt2_config();
    fuzz_open(FUZZ_FOLDER);
    fuzz_end();
    free(index);
    free(c);
    free(files[0]);
    free(files[1]);
    return 0;
}
