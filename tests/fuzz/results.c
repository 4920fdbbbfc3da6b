/* SPDX-License-Identifier: MIT */
#include "results.h"

#include <stdlib.h>
#include <string.h>

#include "parts.h"

enum { SIDE_MOST = 4, LABELS_MOST = 1 << 10, TEXT_MOST = 1 << 20 };

/* So that no reading is optimised away. */
static volatile size_t sink;

static void read_text(const char *text)
{
    const size_t length = text ? strlen(text) : 0;
    FUZZ_REQUIRE(length <= TEXT_MOST);
    sink = length;
}

static void read_axis(const otimes_axis *axis)
{
    FUZZ_REQUIRE(axis->length >= 0 && axis->name);
    read_text(axis->name);
    read_text(axis->long_name);
    for (int64_t i = 0; i < axis->length && i < LABELS_MOST; i++) {
        read_text(axis->text ? axis->text[i] : NULL);
        sink = axis->number ? (size_t)axis->number[i] : 0;
    }
}

static void read_array(const otimes_reader *reader, int64_t index)
{
    const otimes_array *about = reader->ops->array(reader, index);
    int64_t start[OTIMES_MAX_DIMS] = {0}, count[OTIMES_MAX_DIMS], entries = 1;
    otimes_err err = {0};
    FUZZ_REQUIRE(about->ndim >= 0 && about->ndim <= OTIMES_MAX_DIMS && about->name);
    read_text(about->name);
    read_text(about->long_name);
    read_text(about->units);
    read_text(about->formula);
    read_text(about->orientation);
    read_text(about->labels_of);
    for (int d = 0; d < about->ndim; d++) {
        const int64_t length = about->axis[d]->length;
        count[d] = length < SIDE_MOST ? length : SIDE_MOST;
        entries *= count[d];
    }
    void *data = calloc((size_t)entries + 1, otimes_type_size(about->type));
    FUZZ_REQUIRE(data);
    const int rc = reader->ops->read(reader, index, start, count, data, &err);
    FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0]));
    for (int64_t i = 0; rc == 0 && about->type == OTIMES_TEXT && i < entries; i++) {
        read_text(((const char *const *)data)[i]);
    }
    free(data);
}

void fuzz_read_result(const otimes_reader *reader)
{
    const otimes_attr *attr;
    const otimes_axis *axis;
    for (int64_t i = 0; (attr = reader->ops->attribute(reader, i)); i++) {
        FUZZ_REQUIRE(attr->name && (attr->kind != OTIMES_ATTR_TEXT || attr->text));
        read_text(attr->name);
        read_text(attr->kind == OTIMES_ATTR_TEXT ? attr->text : NULL);
    }
    for (int64_t i = 0; (axis = reader->ops->axis(reader, i)); i++) {
        read_axis(axis);
    }
    for (int64_t i = 0; reader->ops->array(reader, i); i++) {
        read_array(reader, i);
    }
}
