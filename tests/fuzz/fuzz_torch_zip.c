/* SPDX-License-Identifier: MIT
 *
 * A file that torch.save wrote, as it is: an archive or the older pickles.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz_begin(bytes);
    fuzz_file("pytorch_model.bin", data, bytes);
    fuzz_gpt2_config();
    fuzz_open(fuzz_path("pytorch_model.bin"));
    fuzz_end();
    return 0;
}
