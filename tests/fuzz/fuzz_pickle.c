/* SPDX-License-Identifier: MIT
 *
 * A pickle: by the bare machine, one after the other to the end of the input; and as the pickle of an
 * archive with storages "0" to "3" of 64 bytes each.
 */
#include <stdlib.h>

#include "../torch_bytes.h"
#include "format/pickle.h"
#include "fuzz.h"

static void run_machine(const uint8_t *data, size_t size)
{
    otimes_pickle machine = {.path = "input", .data = data, .bytes = (int64_t)size};
    otimes_pickle_value *value;
    otimes_err err = {0};
    fuzz_begin(size);
    while (machine.at < machine.bytes &&
           fuzz_ok(otimes_pickle_load(&machine, &value, &err), &err)) {
        (void)otimes_pickle_member(value, "little_endian");
    }
    otimes_pickle_free(&machine);
    fuzz_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { STORAGES = 4 };
    const struct bytes pickle = {(unsigned char *)data, size, size};
    struct bytes file = {0};
    run_machine(data, size);
    put_zip_of(&file, &pickle, STORAGES);
    void *exact = realloc(file.data, file.length);
    fuzz_begin(file.length);
    fuzz_file("pytorch_model.bin", exact, file.length);
    fuzz_gpt2_config();
    fuzz_open(fuzz_path("pytorch_model.bin"));
    fuzz_end();
    free(exact);
    return 0;
}
