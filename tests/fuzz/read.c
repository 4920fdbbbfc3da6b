/* SPDX-License-Identifier: MIT
 *
 * Reading all that opened: wrong pointers, sizes and strides show when they are used.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include <otimes/info.h>

#include "base/dtype.h"
#include "base/mem.h"
#include "format/open.h"

enum { ROWS = 4, COLUMNS = 64, LAYERS = 3, EXPERTS = 2 };

int fuzz_ok(int rc, const otimes_err *err)
{
    if (rc > OTIMES_OK || (rc != OTIMES_OK && (err->code != rc || err->msg[0] == '\0'))) {
        fuzz_fail("error %d with code %d and text '%s'", rc, err->code, err->msg);
    }
    if (rc == OTIMES_ERR_MEMORY) {
        fuzz_fail("no memory: %s", err->msg);
    }
    return rc == OTIMES_OK;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* So that no reading is optimised away. */
static volatile double sink;

static void read_bytes(const unsigned char *data, int64_t bytes)
{
    unsigned sum = 0;
    for (int64_t i = 0; i < bytes; i++) {
        sum += data[i];
    }
    sink = sum;
}

/* A corner of the last two axes, and the last element of all. */
static void read_numbers(const otimes_entry *entry)
{
    float numbers[ROWS * COLUMNS];
    const otimes_source source = {entry->dtype, entry->data, entry->scales};
    const int last = entry->ndim - 1;
    const bool matrix = last >= 1;
    const int64_t columns = last >= 0 ? entry->dim[last] : 1,
                  rows = matrix ? entry->dim[last - 1] : 1;
    int64_t end = 0;
    for (int i = 0; i <= last; i++) {
        if (entry->dim[i] == 0) {
            return;
        }
        end += (entry->dim[i] - 1) * entry->stride[i];
    }
    otimes_dtype_gather(source, 0, least(rows, ROWS), least(columns, COLUMNS),
                        matrix ? entry->stride[last - 1] : 0, last >= 0 ? entry->stride[last] : 1,
                        numbers);
    sink = (double)numbers[0];
    otimes_dtype_gather(source, end, 1, 1, 0, 1, numbers);
    sink = (double)numbers[0];
}

void fuzz_read_store(const otimes_store *store)
{
    for (int64_t i = 0; i < store->entry_count; i++) {
        const otimes_entry *entry = &store->entries[i];
        const int64_t apart =
            entry->scales ? entry->bytes / (int64_t)(otimes_dtype_size(entry->dtype) + 1) : 0;
        read_bytes(entry->data, entry->bytes - apart);
        read_bytes(entry->scales, apart);
        if (otimes_dtype_is_weight(entry->dtype)) {
            read_numbers(entry);
        }
        if (!otimes_store_find(store, entry->name) &&
            strcmp(entry->group, store->entries[0].group) == 0) {
            fuzz_fail("%s: cannot be found by its name", entry->name);
        }
    }
}

static void read_tensor(const otimes_tensor *tensor)
{
    int64_t count = tensor->data ? 1 : 0;
    for (int i = 0; i < tensor->ndim; i++) {
        count *= tensor->dim[i];
    }
    float sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += tensor->data[i];
    }
    sink = (double)sum;
}

static void read_expert(const otimes_model *model, int64_t layer, int64_t number)
{
    otimes_err err = {0};
    otimes_expert expert = {0};
    if (fuzz_ok(otimes_expert_load(model, layer, number, &expert, &err), &err)) {
        read_tensor(&expert.W_in);
        read_tensor(&expert.W_gate);
        read_tensor(&expert.W_out);
        read_tensor(&expert.b_in);
        read_tensor(&expert.b_gate);
        read_tensor(&expert.b_out);
    }
    otimes_expert_free(&expert);
}

static void read_layer(const otimes_model *model, int64_t number)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_err err = {0};
    otimes_layer layer = {0};
    otimes_layer_info facts = {0};
    (void)fuzz_ok(otimes_layer_describe(model, number, &facts, &err), &err);
    if (fuzz_ok(otimes_layer_load(model, number, OTIMES_PART_ALL, &layer, &err), &err)) {
        const otimes_tensor *const tensors[] = {
            &layer.W_Q,
            &layer.W_K,
            &layer.W_V,
            &layer.W_O,
            &layer.b_Q,
            &layer.b_K,
            &layer.b_V,
            &layer.b_O,
            &layer.W_in,
            &layer.W_gate,
            &layer.W_out,
            &layer.b_in,
            &layer.b_gate,
            &layer.b_out,
            &layer.ln1_w,
            &layer.ln1_b,
            &layer.ln2_w,
            &layer.ln2_b,
            &layer.ln1_post_w,
            &layer.ln2_post_w,
            &layer.q_norm_w,
            &layer.k_norm_w,
            &layer.sinks,
            &layer.W_router,
            &layer.b_router,
            &layer.shared_W_in,
            &layer.shared_W_gate,
            &layer.shared_W_out,
            &layer.shared_W_router,
        };
        for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
            read_tensor(tensors[i]);
        }
    }
    otimes_layer_free(&layer);
    for (int64_t i = 0; facts.experts && i < least(info->n_experts, EXPERTS); i++) {
        read_expert(model, number, i);
    }
}

/* The last of `count` rows is where a size too large shows. */
static void read_rows(int (*read)(const otimes_model *model, int64_t first, int64_t count,
                                  float *out, otimes_err *err),
                      const otimes_model *model, int64_t count, float *row)
{
    otimes_err err = {0};
    (void)fuzz_ok(read(model, 0, 1, row, &err), &err);
    err = (otimes_err){0};
    (void)fuzz_ok(read(model, count - 1, 1, row, &err), &err);
}

static void read_unembedding(const otimes_model *model, float *row)
{
    otimes_err err = {0};
    otimes_unembed unembed = {0};
    if (fuzz_ok(otimes_unembed_open(model, &unembed, &err), &err)) {
        const int64_t count = otimes_model_describe(model)->d_vocab_out;
        (void)fuzz_ok(otimes_unembed_rows(&unembed, count - 1, 1, row, &err), &err);
    }
    otimes_unembed_free(&unembed);
}

static void read_names(const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    size_t length = strlen(info->architecture) + strlen(info->dtype) + strlen(info->activation);
    for (int64_t i = 0; i < info->tensor_count; i++) {
        otimes_err err = {0};
        otimes_tensor_info tensor;
        if (!fuzz_ok(otimes_model_tensor(model, i, &tensor, &err), &err)) {
            fuzz_fail("tensor %lld: %s", (long long)i, err.msg);
        }
        length += strlen(tensor.name) + (tensor.part ? strlen(tensor.part) : 0);
    }
    for (int64_t id = -1; id <= info->d_vocab; id += info->d_vocab / ROWS + 1) {
        const char *text = otimes_model_token(model, id);
        length += text ? strlen(text) : 0;
    }
    sink = (double)length;
}

/* What `otimes info` writes. */
static void read_info(const otimes_model *model)
{
    otimes_memory_sink *memory;
    otimes_info_settings settings;
    otimes_err err = {0};
    otimes_info_settings_default(&settings);
    if (fuzz_ok(otimes_memory_sink_new(&memory, &err), &err) &&
        fuzz_ok(otimes_model_attributes(model, otimes_memory_sink_sink(memory), &err), &err)) {
        (void)fuzz_ok(otimes_info(model, &settings, otimes_memory_sink_sink(memory), &err), &err);
    }
    otimes_memory_sink_free(&memory);
}

void fuzz_read_model(const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_err err = {0};
    float *row, *bias;
    read_names(model);
    read_info(model);
    for (int64_t layer = 0; layer < least(info->n_layers, LAYERS); layer++) {
        read_layer(model, layer);
    }
    if (!fuzz_ok(OTIMES_NEW(&row, info->d_model, &err), &err) ||
        !fuzz_ok(OTIMES_NEW(&bias, info->d_model, &err), &err)) {
        return;
    }
    read_rows(otimes_embed_rows, model, info->d_vocab, row);
    read_rows(otimes_position_rows, model, info->n_ctx, row);
    (void)fuzz_ok(otimes_embed_norm(model, row, bias, &err), &err);
    read_unembedding(model, row);
    otimes_free(bias);
    otimes_free(row);
}

void fuzz_open(const char *path)
{
    otimes_err err = {0};
    otimes_store store;
    otimes_model *model;
    otimes_model_settings settings;
    const bool opened = fuzz_ok(otimes_store_open(&store, path, &err), &err);
    if (!opened) {
        return;
    }
    fuzz_read_store(&store);
    otimes_store_close(&store);
    otimes_model_settings_default(&settings);
    settings.threads = 1;
    if (fuzz_ok(otimes_model_open(&model, path, &settings, &err), &err)) {
        fuzz_read_model(model);
    }
    otimes_model_close(&model);
}
