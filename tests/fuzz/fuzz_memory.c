/* SPDX-License-Identifier: MIT
 *
 * A model in the caller's memory, of any shapes, strides, types and names. The input up to its first
 * NUL is the configuration; what follows says tensor by tensor what is lent.
 */
#include <stdlib.h>
#include <string.h>

#include "compose.h"
#include "fuzz.h"

enum { MOST_TENSORS = 24, LENT = 4096, LONGEST_NAME = 32 };

static const char *const names[] = {
    "wte.weight",
    "wpe.weight",
    "ln_f.weight",
    "ln_f.bias",
    "h.0.ln_1.weight",
    "h.0.ln_1.bias",
    "h.0.attn.c_attn.weight",
    "h.0.attn.c_attn.bias",
    "h.0.attn.c_proj.weight",
    "h.0.attn.c_proj.bias",
    "h.0.ln_2.weight",
    "h.0.ln_2.bias",
    "h.0.mlp.c_fc.weight",
    "h.0.mlp.c_fc.bias",
    "h.0.mlp.c_proj.weight",
    "h.0.mlp.c_proj.bias",
    "lm_head.weight",
    "h.1.mlp.c_proj.bias",
    "x_blocks",
    "x_scales",
};
static const char *const types[] = {"F32", "F16", "BF16", "F64",  "F8_E4M3", "F8_E5M2",
                                    "I64", "U8",  "BOOL", "Q4_0", "",        NULL};

enum { NAMES = sizeof names / sizeof names[0], TYPES = sizeof types / sizeof types[0] };

/* What is left of the input; zeros at its end. */
typedef struct reader {
    const unsigned char *at, *end;
} reader;

static unsigned take(reader *r)
{
    return r->at < r->end ? *r->at++ : 0;
}

/* A byte, or, after one that no size of these is, 64 bits. */
static int64_t take_size(reader *r)
{
    const unsigned first = take(r);
    uint64_t value = first;
    if (first == UINT8_MAX) {
        for (int i = 0; i < 8; i++) {
            value = value << 8 | take(r);
        }
    }
    return (int64_t)value;
}

/* One of the known names, or the next bytes of the input. */
static const char *take_name(reader *r, char own[LONGEST_NAME])
{
    const unsigned which = take(r);
    if (which < NAMES) {
        return names[which];
    }
    const unsigned length = which % LONGEST_NAME;
    for (unsigned i = 0; i < length; i++) {
        own[i] = (char)take(r);
    }
    own[length] = '\0';
    return own;
}

/* Whether there are no more elements than bytes lent: axes of stride 0 make any number of few, and
 * reading them is what a caller that lends such asks for. */
static bool is_small(const otimes_memory_tensor *tensor)
{
    int64_t elements = 1;
    for (int i = 0; i < tensor->ndim && i < OTIMES_MAX_DIMS; i++) {
        if (__builtin_mul_overflow(elements, tensor->dim[i], &elements)) {
            return false;
        }
    }
    return elements <= LENT;
}

static void take_tensor(reader *r, const void *lent, char own[LONGEST_NAME],
                        otimes_memory_tensor *tensor)
{
    tensor->name = take_name(r, own);
    tensor->dtype = types[take(r) % TYPES];
    tensor->ndim = (int)(take(r) % (OTIMES_MAX_DIMS + 3)) - 1;
    for (int i = 0; i < tensor->ndim && i < OTIMES_MAX_DIMS; i++) {
        tensor->dim[i] = take_size(r);
        tensor->stride[i] = take_size(r);
    }
    const unsigned from = take(r);
    tensor->data = from == UINT8_MAX ? NULL : (const char *)lent + from;
    tensor->bytes = LENT - (int64_t)from;
}

/* Numbers that are all finite, whatever type they are read as. */
static void *lend(void)
{
    static void *lent;
    if (!lent && (lent = malloc(LENT))) {
        memset(lent, 0x3c, LENT);
    }
    return lent;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char own[MOST_TENSORS][LONGEST_NAME], *config, *digest = NULL;
    static const char *const texts[] = {"a", NULL, "\xff", ""};
    otimes_memory_tensor tensor[MOST_TENSORS] = {0};
    otimes_memory_model source = {.tensor = tensor};
    otimes_model_settings settings;
    otimes_model *model;
    otimes_err err = {0};
    void *rest;
    size_t rest_bytes;
    fuzz_split(data, bytes, &config, &rest, &rest_bytes);
    reader r = {rest, (const unsigned char *)rest + rest_bytes};
    bool small = true;
    for (int64_t i = 0; i < MOST_TENSORS && r.at < r.end; i++, source.tensor_count = i) {
        take_tensor(&r, lend(), own[i], &tensor[i]);
        small = small && is_small(&tensor[i]);
    }
    source.config = config[0] ? config : NULL;
    source.token = bytes % 2 ? texts : NULL;
    source.token_count = 4;
    otimes_model_settings_default(&settings);
    settings.threads = 1;
    settings.token_text = small;
    fuzz_begin(bytes + LENT);
    if (fuzz_ok(otimes_model_open_memory(&model, &source, &settings, &err), &err) && small) {
        fuzz_read_model(model);
        (void)fuzz_ok(otimes_model_sha256(model, &digest, &err), &err);
        otimes_text_release(&digest);
    }
    otimes_model_close(&model);
    fuzz_end();
    free(config);
    free(rest);
    return 0;
}
