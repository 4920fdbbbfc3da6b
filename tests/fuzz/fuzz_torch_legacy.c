/* SPDX-License-Identifier: MIT
 *
 * What torch.save wrote before it made archives: the input is what follows the three pickles that are
 * the same in all files, so that no execution ends at them.
 */
#include <stdlib.h>

#include "../torch_bytes.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes file = {0};
    put_legacy_header(&file);
    put(&file, data, size);
    void *exact = realloc(file.data, file.length);
    fuzz_begin(file.length);
    fuzz_file("pytorch_model.bin", exact, file.length);
    fuzz_gpt2_config();
    fuzz_open(fuzz_path("pytorch_model.bin"));
    fuzz_end();
    free(exact);
    return 0;
}
