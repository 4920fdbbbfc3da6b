/* SPDX-License-Identifier: MIT */
#include "lent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is between elements must not be read. */
enum { GAP = 0xff, STEP = 3 };

/* Strides of the lent tensor; returns the bytes it spans. */
static int64_t set_strides(otimes_memory_tensor *t, lay how, int64_t size)
{
    int64_t step = how == LAY_ROWS ? 1 : STEP;
    for (int i = 0; i < t->ndim; i++) {
        const int axis = how == LAY_ROWS ? t->ndim - 1 - i : i;
        t->stride[axis] = step;
        step *= t->dim[axis];
    }
    return step * size;
}

/* Element by element, in row-major order. */
static void copy_elements(const otimes_memory_tensor *t, const otimes_entry *e, int64_t size,
                          unsigned char *to)
{
    int64_t count = 1;
    for (int i = 0; i < t->ndim; i++) {
        count *= t->dim[i];
    }
    for (int64_t n = 0; n < count; n++) {
        int64_t rest = n, from_at = 0, to_at = 0;
        for (int i = t->ndim - 1; i >= 0; i--) {
            from_at += rest % t->dim[i] * e->stride[i];
            to_at += rest % t->dim[i] * t->stride[i];
            rest /= t->dim[i];
        }
        memcpy(to + to_at * size, e->data + from_at * size, (size_t)size);
    }
}

static void add_tensor(lent *l, const otimes_entry *e, const char *name, const char *dtype, lay how)
{
    const int64_t n = l->source.tensor_count++, size = (int64_t)otimes_dtype_size(e->dtype);
    otimes_memory_tensor *t = &l->tensor[n];
    *t = (otimes_memory_tensor){.name = strdup(name), .dtype = dtype, .ndim = e->ndim};
    memcpy(t->dim, e->dim, sizeof t->dim);
    t->bytes = set_strides(t, how, size);
    l->bytes[n] = malloc((size_t)t->bytes + 1);
    l->kept[n] = malloc((size_t)t->bytes + 1);
    assert_true(t->name && l->bytes[n] && l->kept[n]);
    memset(l->bytes[n], GAP, (size_t)t->bytes);
    copy_elements(t, e, size, l->bytes[n]);
    memcpy(l->kept[n], l->bytes[n], (size_t)t->bytes);
    t->data = l->bytes[n];
}

/* Blocks and scales were two tensors: X_blocks U8 [..., k, 16], X_scales U8 [..., k]. */
static void add_pair(lent *l, const otimes_entry *joined)
{
    char name[256];
    otimes_entry e = *joined;
    e.dtype = OTIMES_DTYPE_U8;
    e.dim[e.ndim - 1] /= otimes_dtype_block(joined->dtype);
    otimes_entry scales = e;
    scales.data = joined->scales;
    otimes_entry_row_major(&scales);
    snprintf(name, sizeof name, "%.*s_scales", (int)(strlen(e.name) - strlen("_blocks")), e.name);
    add_tensor(l, &scales, name, "U8", LAY_ROWS);
    e.dim[e.ndim++] = (int64_t)otimes_dtype_size(joined->dtype);
    otimes_entry_row_major(&e);
    add_tensor(l, &e, e.name, "U8", LAY_ROWS);
}

/* The file's own words, else what the weights brought with them. */
static char *config_text(const otimes_model *model)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/config.json", model->store.directory);
    json_t *config = json_load_file(path, 0, NULL);
    char *text = json_dumps(config ? config : model->store.config, 0);
    assert_non_null(text);
    json_decref(config);
    return text;
}

void lent_make(lent *l, const otimes_model *model, lay how)
{
    const int64_t count = model->store.entry_count;
    *l = (lent){0};
    l->tensor = calloc((size_t)(2 * count), sizeof *l->tensor);
    l->bytes = calloc((size_t)(2 * count), sizeof *l->bytes);
    l->kept = calloc((size_t)(2 * count), sizeof *l->kept);
    assert_true(l->tensor && l->bytes && l->kept);
    for (int64_t i = count - 1; i >= 0; i--) {
        const otimes_entry *e = &model->store.entries[i];
        if (e->scales) {
            add_pair(l, e);
        } else {
            add_tensor(l, e, e->name, otimes_dtype_name(e->dtype), how);
        }
    }
    l->source.tensor = l->tensor;
    l->source.config = config_text(model);
    l->source.token = model->vocab.count ? (const char *const *)model->vocab.text : NULL;
    l->source.token_count = model->vocab.count;
    l->source.output_token =
        model->output_vocab.count ? (const char *const *)model->output_vocab.text : NULL;
    l->source.output_token_count = model->output_vocab.count;
}

otimes_memory_tensor *lent_find(const lent *l, const char *name)
{
    for (int64_t i = 0; i < l->source.tensor_count; i++) {
        if (strcmp(l->tensor[i].name, name) == 0) {
            return &l->tensor[i];
        }
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

void lent_is_untouched(const lent *l)
{
    for (int64_t i = 0; i < l->source.tensor_count; i++) {
        if (memcmp(l->bytes[i], l->kept[i], (size_t)l->tensor[i].bytes) != 0) {
            fail_msg("%s: the caller's memory was changed", l->tensor[i].name);
        }
    }
}

void lent_free(lent *l)
{
    for (int64_t i = 0; i < l->source.tensor_count; i++) {
        free((char *)l->tensor[i].name);
        free(l->bytes[i]);
        free(l->kept[i]);
    }
    free((char *)l->source.config);
    free(l->tensor);
    free(l->bytes);
    free(l->kept);
    *l = (lent){0};
}
