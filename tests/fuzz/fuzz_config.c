/* SPDX-License-Identifier: MIT
 *
 * The configuration of a model: the input's first byte chooses a golden model, whose tensors are lent;
 * the rest is the text of its config.json.
 */
#include <stdlib.h>
#include <string.h>

#include "../support.h"
#include "format/open.h"
#include "fuzz.h"

enum { MOST_MODELS = 256 };

static struct {
    otimes_store store;
    otimes_memory_tensor *tensor;
} goldens[MOST_MODELS];

static int golden_count;

static void open_golden(const char *name)
{
    char relative[256];
    otimes_err err = {0};
    otimes_store *store = &goldens[golden_count].store;
    snprintf(relative, sizeof relative, "tests/golden/%s", name);
    if (!fuzz_ok(otimes_store_open(store, source_path(relative), &err), &err)) {
        fuzz_fail("%s", err.msg);
    }
    otimes_memory_tensor *tensor = calloc((size_t)store->entry_count, sizeof *tensor);
    for (int64_t i = 0; tensor && i < store->entry_count; i++) {
        const otimes_entry *entry = &store->entries[i];
        tensor[i] = (otimes_memory_tensor){
            .name = entry->name,
            .dtype = otimes_dtype_name(entry->dtype),
            .ndim = entry->ndim,
            .data = entry->data,
            .bytes = entry->bytes,
        };
        memcpy(tensor[i].dim, entry->dim, sizeof entry->dim);
        memcpy(tensor[i].stride, entry->stride, sizeof entry->stride);
    }
    goldens[golden_count++].tensor = tensor;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    otimes_model *model;
    otimes_model_settings settings;
    otimes_err err = {0};
    for (int i = 0; golden_count == i && golden_names[i]; i++) {
        open_golden(golden_names[i]);
    }
    if (bytes == 0) {
        return -1;
    }
    const int chosen = data[0] % golden_count;
    char *text = strndup((const char *)data + 1, bytes - 1);
    const otimes_memory_model source = {
        .name = "model",
        .tensor = goldens[chosen].tensor,
        .tensor_count = goldens[chosen].store.entry_count,
        .config = bytes > 1 ? text : NULL,
    };
    otimes_model_settings_default(&settings);
    settings.threads = 1;
    fuzz_begin(bytes + (size_t)otimes_store_bytes(&goldens[chosen].store));
    if (fuzz_ok(otimes_model_open_memory(&model, &source, &settings, &err), &err)) {
        fuzz_read_model(model);
    }
    otimes_model_close(&model);
    fuzz_end();
    free(text);
    return 0;
}
