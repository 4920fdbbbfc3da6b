/* SPDX-License-Identifier: MIT */
#include "sink_null.h"

#include <stdlib.h>
#include <string.h>

#include "fail.h"

typedef struct shape {
    otimes_type type;
    int ndim;
} shape;

typedef struct state {
    shape *arrays;
    int count;
    int64_t bytes;
} state;

static int attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    (void)sink, (void)attr, (void)err;
    return 0;
}

static int declare(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    state *self = sink->state;
    shape *grown = realloc(self->arrays, (size_t)(self->count + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, array->name);
    }
    self->arrays = grown;
    grown[self->count] = (shape){array->type, array->ndim};
    *id = self->count++;
    return 0;
}

static int write_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                       const void *data, otimes_err *err)
{
    state *self = sink->state;
    const shape *array = &self->arrays[id];
    int64_t n = 1;
    (void)start, (void)err;
    for (int i = 0; i < array->ndim; i++) {
        n *= count[i];
    }
    if (array->type != OTIMES_TEXT) {
        self->bytes += n * (int64_t)otimes_type_size(array->type);
        return 0;
    }
    const char *const *text = data;
    for (int64_t i = 0; i < n; i++) {
        self->bytes += text[i] ? (int64_t)strlen(text[i]) : 0;
    }
    return 0;
}

static int finish(otimes_sink *sink, otimes_err *err)
{
    (void)sink, (void)err;
    return 0;
}

static const otimes_sink_ops ops = {
    .attribute = attribute, .declare = declare, .write = write_block, .finish = finish};

int sink_null_open(otimes_sink *sink, otimes_err *err)
{
    sink->ops = &ops;
    sink->state = calloc(1, sizeof(state));
    return sink->state ? 0 : fail_memory(err, "output");
}

int64_t sink_null_bytes(const otimes_sink *sink)
{
    return ((const state *)sink->state)->bytes;
}

void sink_null_close(otimes_sink *sink)
{
    state *self = sink->state;
    if (self) {
        free(self->arrays);
    }
    free(self);
    sink->state = NULL;
}
