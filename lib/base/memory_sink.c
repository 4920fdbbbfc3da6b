/* SPDX-License-Identifier: MIT */
#include <otimes/reader.h>

#include <string.h>

#include "base/mem.h"

/* What a sink was told to keep; every pointer inside is a copy of the sink's own. */
typedef struct kept_array {
    otimes_array array;
    otimes_axis axis[OTIMES_MAX_DIMS];
    unsigned char *data; /* for text: pointers to copies */
    int64_t count;
} kept_array;

struct otimes_memory_sink {
    otimes_sink sink;
    kept_array **arrays; /* by pointer: callers keep addresses inside */
    int64_t array_count, array_capacity;
    otimes_attr *attrs;
    int64_t attr_count, attr_capacity;
    char **texts; /* every copied string */
    int64_t text_count, text_capacity;
};

static int keep_text(otimes_memory_sink *memory, const char *text, const char **copy,
                     otimes_err *err)
{
    *copy = NULL;
    if (!text) {
        return OTIMES_OK;
    }
    const int rc = OTIMES_GROW(&memory->texts, memory->text_count, &memory->text_capacity, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    char *kept = otimes_strdup(text);
    if (!kept) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: memory sink text");
    }
    memory->texts[memory->text_count++] = kept;
    *copy = kept;
    return OTIMES_OK;
}

static int memory_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    otimes_memory_sink *memory = sink->state;
    int64_t at = 0;
    while (at < memory->attr_count && strcmp(memory->attrs[at].name, attr->name) != 0) {
        at++;
    }
    int rc = OTIMES_GROW(&memory->attrs, memory->attr_count, &memory->attr_capacity, err);
    otimes_attr kept = *attr;
    if (rc == OTIMES_OK) {
        rc = keep_text(memory, attr->name, &kept.name, err);
    }
    if (rc == OTIMES_OK) {
        rc = keep_text(memory, attr->text, &kept.text, err);
    }
    if (rc == OTIMES_OK) {
        memory->attrs[at] = kept;
        memory->attr_count += at == memory->attr_count;
    }
    return rc;
}

static int keep_axis(otimes_memory_sink *memory, const otimes_axis *axis, otimes_axis *kept,
                     otimes_err *err)
{
    *kept = (otimes_axis){.length = axis->length};
    int rc = keep_text(memory, axis->name, &kept->name, err);
    if (rc == OTIMES_OK) {
        rc = keep_text(memory, axis->long_name, &kept->long_name, err);
    }
    if (rc == OTIMES_OK && axis->number) {
        int64_t *number;
        rc = OTIMES_NEW(&number, axis->length, err);
        if (rc == OTIMES_OK) {
            memcpy(number, axis->number, (size_t)axis->length * sizeof *number);
            kept->number = number;
        }
    }
    if (rc == OTIMES_OK && axis->text) {
        const char **text;
        rc = OTIMES_NEW(&text, axis->length, err);
        if (rc == OTIMES_OK) {
            kept->text = text;
            for (int64_t i = 0; rc == OTIMES_OK && i < axis->length; i++) {
                rc = keep_text(memory, axis->text[i], &text[i], err);
            }
        }
    }
    return rc;
}

static void free_array(kept_array *kept)
{
    if (!kept) {
        return;
    }
    for (int i = 0; i < OTIMES_MAX_DIMS; i++) {
        otimes_free((void *)kept->axis[i].number);
        otimes_free((void *)kept->axis[i].text);
    }
    otimes_free(kept->data);
    otimes_free(kept);
}

/* Bytes that nothing was written to say so: NaN, or -1. */
static void fill_undefined(kept_array *kept)
{
    const size_t bytes = (size_t)kept->count * otimes_type_size(kept->array.type);
    if (kept->array.type != OTIMES_TEXT) {
        memset(kept->data, 0xff, bytes); /* all ones is a NaN in every float format */
    }
}

static int fill_array(otimes_memory_sink *memory, kept_array *kept, const otimes_array *array,
                      otimes_err *err)
{
    kept->array = *array;
    const char **texts[][2] = {
        {(const char **)&array->name, &kept->array.name},
        {(const char **)&array->long_name, &kept->array.long_name},
        {(const char **)&array->units, &kept->array.units},
        {(const char **)&array->formula, &kept->array.formula},
        {(const char **)&array->orientation, &kept->array.orientation},
        {(const char **)&array->labels_of, &kept->array.labels_of},
    };
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof texts / sizeof texts[0]; i++) {
        rc = keep_text(memory, *texts[i][0], texts[i][1], err);
    }
    kept->count = 1;
    for (int i = 0; rc == OTIMES_OK && i < array->ndim; i++) {
        rc = keep_axis(memory, array->axis[i], &kept->axis[i], err);
        kept->array.axis[i] = &kept->axis[i];
        if (!otimes_mul_i64(kept->count, array->axis[i]->length, &kept->count)) {
            rc = otimes_fail(err, OTIMES_ERR_MEMORY, "%s: too large for memory", array->name);
        }
    }
    if (rc == OTIMES_OK) {
        kept->data = otimes_alloc(kept->count, otimes_type_size(array->type));
        if (!kept->data) {
            return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: %s", array->name);
        }
        fill_undefined(kept);
    }
    return rc;
}

static int memory_declare(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    otimes_memory_sink *memory = sink->state;
    int rc = OTIMES_GROW(&memory->arrays, memory->array_count, &memory->array_capacity, err);
    kept_array *kept = NULL;
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&kept, 1, err);
    }
    if (rc == OTIMES_OK) {
        rc = fill_array(memory, kept, array, err);
    }
    if (rc != OTIMES_OK) {
        free_array(kept);
        return rc;
    }
    *id = (int)memory->array_count;
    memory->arrays[memory->array_count++] = kept;
    return OTIMES_OK;
}

/* What is done with one run of consecutive entries of an array. */
typedef int visit_run(void *context, const kept_array *kept, int64_t at, int64_t done,
                      int64_t count, otimes_err *err);

/* Every run along the last axis of the block, in row-major order: `at` in the array, `done` in the
 * block. */
static int each_run(const kept_array *kept, const int64_t *start, const int64_t *count,
                    visit_run *visit, void *context, otimes_err *err)
{
    const int ndim = kept->array.ndim;
    const int64_t run = ndim > 0 ? count[ndim - 1] : 1;
    int64_t runs = 1;
    for (int i = 0; i < ndim; i++) {
        if (start[i] < 0 || count[i] < 0 || start[i] > kept->axis[i].length - count[i]) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: block outside axis %s",
                               kept->array.name, kept->axis[i].name);
        }
        runs *= i < ndim - 1 ? count[i] : 1;
    }
    int rc = OTIMES_OK;
    for (int64_t r = 0; rc == OTIMES_OK && r < runs && run > 0; r++) {
        int64_t rest = r, at = ndim > 0 ? start[ndim - 1] : 0;
        int64_t stride = ndim > 0 ? kept->axis[ndim - 1].length : 1;
        for (int i = ndim - 2; i >= 0; i--) {
            at += (start[i] + rest % count[i]) * stride;
            rest /= count[i];
            stride *= kept->axis[i].length;
        }
        rc = visit(context, kept, at, r * run, run, err);
    }
    return rc;
}

typedef struct writing {
    otimes_memory_sink *memory;
    kept_array *kept;
    const unsigned char *data;
} writing;

static int write_run(void *context, const kept_array *about, int64_t at, int64_t done,
                     int64_t count, otimes_err *err)
{
    const writing *w = context;
    const size_t size = otimes_type_size(about->array.type);
    const unsigned char *data = w->data + (size_t)done * size;
    if (about->array.type != OTIMES_TEXT) {
        memcpy(w->kept->data + (size_t)at * size, data, (size_t)count * size);
        return OTIMES_OK;
    }
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        rc = keep_text(w->memory, ((const char *const *)(const void *)data)[i],
                       (const char **)(void *)w->kept->data + at + i, err);
    }
    return rc;
}

static int memory_write(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                        const void *data, otimes_err *err)
{
    otimes_memory_sink *memory = sink->state;
    writing w = {memory, memory->arrays[id], data};
    return each_run(w.kept, start, count, write_run, &w, err);
}

static int memory_finish(otimes_sink *sink, otimes_err *err)
{
    (void)sink;
    (void)err;
    return OTIMES_OK;
}

static const otimes_sink_ops memory_ops = {
    .attribute = memory_attribute,
    .declare = memory_declare,
    .write = memory_write,
    .finish = memory_finish,
};

int otimes_memory_sink_new(otimes_memory_sink **memory, otimes_err *err)
{
    const int rc = OTIMES_NEW(memory, 1, err);
    if (rc == OTIMES_OK) {
        (*memory)->sink = (otimes_sink){&memory_ops, *memory};
    }
    return rc;
}

otimes_sink *otimes_memory_sink_sink(otimes_memory_sink *memory)
{
    return &memory->sink;
}

const otimes_array *otimes_memory_sink_array(const otimes_memory_sink *memory, const char *name,
                                             const void **data)
{
    for (int64_t i = 0; i < memory->array_count; i++) {
        if (strcmp(memory->arrays[i]->array.name, name) == 0) {
            *data = memory->arrays[i]->data;
            return &memory->arrays[i]->array;
        }
    }
    return NULL;
}

const otimes_attr *otimes_memory_sink_attr(const otimes_memory_sink *memory, const char *name)
{
    for (int64_t i = 0; i < memory->attr_count; i++) {
        if (strcmp(memory->attrs[i].name, name) == 0) {
            return &memory->attrs[i];
        }
    }
    return NULL;
}

/* ---- as a reader ---- */

static const otimes_array *memory_array(const otimes_reader *reader, int64_t index)
{
    const otimes_memory_sink *memory = reader->state;
    return index < memory->array_count ? &memory->arrays[index]->array : NULL;
}

static const otimes_attr *memory_attr(const otimes_reader *reader, int64_t index)
{
    const otimes_memory_sink *memory = reader->state;
    return index < memory->attr_count ? &memory->attrs[index] : NULL;
}

static int read_run(void *context, const kept_array *kept, int64_t at, int64_t done, int64_t count,
                    otimes_err *err)
{
    const size_t size = otimes_type_size(kept->array.type);
    (void)err;
    memcpy((unsigned char *)context + (size_t)done * size, kept->data + (size_t)at * size,
           (size_t)count * size);
    return OTIMES_OK;
}

static int memory_read(const otimes_reader *reader, int64_t index, const int64_t *start,
                       const int64_t *count, void *data, otimes_err *err)
{
    const otimes_memory_sink *memory = reader->state;
    return each_run(memory->arrays[index], start, count, read_run, data, err);
}

void otimes_memory_sink_reader(const otimes_memory_sink *memory, const char *name,
                               otimes_reader *reader)
{
    static const otimes_reader_ops ops = {
        .array = memory_array, .attribute = memory_attr, .read = memory_read};
    *reader = (otimes_reader){&ops, memory, name};
}

void otimes_memory_sink_free(otimes_memory_sink **memory)
{
    if (!memory || !*memory) {
        return;
    }
    otimes_memory_sink *sink = *memory;
    for (int64_t i = 0; i < sink->array_count; i++) {
        free_array(sink->arrays[i]);
    }
    for (int64_t i = 0; i < sink->text_count; i++) {
        otimes_free(sink->texts[i]);
    }
    otimes_free(sink->arrays);
    otimes_free(sink->attrs);
    otimes_free(sink->texts);
    otimes_free(sink);
    *memory = NULL;
}
