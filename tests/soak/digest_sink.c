/* SPDX-License-Identifier: MIT */
#include "digest_sink.h"

#include <string.h>

void digest_begin(digest *d)
{
    d->value = 0xcbf29ce484222325;
}

void digest_bytes(digest *d, const void *bytes, size_t count)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < count; i++) {
        d->value = (d->value ^ byte[i]) * 0x100000001b3;
    }
}

void digest_number(digest *d, int64_t number)
{
    digest_bytes(d, &number, sizeof number);
}

void digest_text(digest *d, const char *text)
{
    digest_number(d, text ? (int64_t)strlen(text) : -1);
    if (text) {
        digest_bytes(d, text, strlen(text));
    }
}

static int take_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    digest *d = ((digest_sink *)sink->state)->digest;
    (void)err;
    digest_text(d, attr->name);
    switch (attr->kind) {
    case OTIMES_ATTR_TEXT:
        digest_text(d, attr->text);
        break;
    case OTIMES_ATTR_I64:
        digest_number(d, attr->i64);
        break;
    case OTIMES_ATTR_F64:
        digest_bytes(d, &attr->f64, sizeof attr->f64);
        break;
    }
    return OTIMES_OK;
}

static int take_axis(otimes_sink *sink, const otimes_axis *axis, otimes_err *err)
{
    digest *d = ((digest_sink *)sink->state)->digest;
    (void)err;
    digest_text(d, axis->name);
    digest_number(d, axis->length);
    for (int64_t i = 0; i < axis->length && axis->text; i++) {
        digest_text(d, axis->text[i]);
    }
    if (axis->number) {
        digest_bytes(d, axis->number, (size_t)axis->length * sizeof *axis->number);
    }
    return OTIMES_OK;
}

static int take_array(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    digest_sink *s = sink->state;
    if (s->count == DIGEST_ARRAYS) {
        return OTIMES_ERR_MEMORY;
    }
    digest_text(s->digest, array->name);
    digest_text(s->digest, array->long_name);
    digest_text(s->digest, array->units);
    digest_text(s->digest, array->formula);
    digest_text(s->digest, array->orientation);
    for (int k = 0; k < array->ndim; k++) {
        take_axis(sink, array->axis[k], err);
    }
    s->type[s->count] = array->type;
    s->ndim[s->count] = array->ndim;
    *id = s->count++;
    return OTIMES_OK;
}

static int take_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                      const void *data, otimes_err *err)
{
    digest_sink *s = sink->state;
    const otimes_type type = s->type[id];
    int64_t entries = 1;
    (void)err;
    digest_number(s->digest, id);
    for (int k = 0; k < s->ndim[id]; k++) {
        digest_number(s->digest, start[k]);
        entries *= count[k];
    }
    if (type != OTIMES_TEXT) {
        digest_bytes(s->digest, data, (size_t)entries * otimes_type_size(type));
        return OTIMES_OK;
    }
    for (int64_t i = 0; i < entries; i++) {
        digest_text(s->digest, ((const char *const *)data)[i]);
    }
    return OTIMES_OK;
}

static int hear(otimes_sink *sink, double done, double total)
{
    digest_sink *s = sink->state;
    (void)done, (void)total;
    return ++s->heard == s->stop;
}

static int take_end(otimes_sink *sink, otimes_err *err)
{
    (void)err;
    digest_text(((digest_sink *)sink->state)->digest, "finished");
    return OTIMES_OK;
}

static const otimes_sink_ops ops = {.attribute = take_attribute,
                                    .axis = take_axis,
                                    .declare = take_array,
                                    .write = take_block,
                                    .progress = hear,
                                    .finish = take_end};

void digest_sink_begin(digest_sink *sink, digest *d, int64_t stop)
{
    *sink = (digest_sink){.digest = d, .stop = stop};
    sink->sink = (otimes_sink){&ops, sink};
}
