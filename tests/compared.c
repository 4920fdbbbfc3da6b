/* SPDX-License-Identifier: MIT */
#include "compared.h"

#include <string.h>

/* ---- results made here ---- */

otimes_memory_sink *new_result(const char *schema)
{
    otimes_memory_sink *memory;
    otimes_err err = {0};
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    const otimes_attr attr = {.name = "schema", .kind = OTIMES_ATTR_TEXT, .text = schema};
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    assert_ok(sink->ops->attribute(sink, &attr, &err), &err);
    return memory;
}

void add_fact(otimes_memory_sink *memory, const char *name, const char *text)
{
    const otimes_attr attr = {.name = name, .kind = OTIMES_ATTR_TEXT, .text = text};
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    assert_int_equal(sink->ops->attribute(sink, &attr, NULL), 0);
}

void add_number(otimes_memory_sink *memory, const char *name, int64_t value)
{
    const otimes_attr attr = {.name = name, .kind = OTIMES_ATTR_I64, .i64 = value};
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    assert_int_equal(sink->ops->attribute(sink, &attr, NULL), 0);
}

void add(otimes_memory_sink *memory, const otimes_array *about, const void *data)
{
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    otimes_err err = {0};
    int64_t start[OTIMES_MAX_DIMS] = {0}, count[OTIMES_MAX_DIMS];
    int id;
    for (int d = 0; d < about->ndim; d++) {
        count[d] = about->axis[d]->length;
    }
    assert_ok(sink->ops->declare(sink, about, &id, &err), &err);
    assert_ok(sink->ops->write(sink, id, start, count, data, &err), &err);
}

/* One axis of `n` numbers, or texts. */
void add_list(otimes_memory_sink *memory, const char *name, otimes_type type,
              const otimes_axis *axis, const void *data)
{
    add(memory, &(otimes_array){.name = name, .type = type, .ndim = 1, .axis = {axis}}, data);
}

/* ---- comparing ---- */

int try_diff(const otimes_memory_sink *a, const otimes_memory_sink *b,
             const otimes_diff_settings *settings, compared *out, otimes_err *err)
{
    otimes_reader ra, rb;
    otimes_memory_sink_reader(a, "A", &ra);
    otimes_memory_sink_reader(b, "B", &rb);
    out->equal = -1;
    assert_int_equal(otimes_memory_sink_new(&out->result, NULL), 0);
    return otimes_diff(&ra, &rb, settings, otimes_memory_sink_sink(out->result), &out->equal, err);
}

compared diff(const otimes_memory_sink *a, const otimes_memory_sink *b,
              const otimes_diff_settings *settings)
{
    compared out;
    otimes_err err = {0};
    assert_ok(try_diff(a, b, settings, &out, &err), &err);
    assert_int_equal(otimes_memory_sink_attr(out.result, "equal")->i64, out.equal);
    return out;
}

/* The row of a label in a column of the result. */
static const void *cell(const compared *c, const char *column, const char *label, size_t size)
{
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(c->result, column, &data);
    assert_non_null(array);
    for (int64_t i = 0; i < array->axis[0]->length; i++) {
        if (!strcmp(array->axis[0]->text[i], label)) {
            return (const char *)data + (size_t)i * size;
        }
    }
    fail_msg("%s: no row %s", column, label);
    return NULL;
}

int64_t count_of(const compared *c, const char *column, const char *label)
{
    return *(const int64_t *)cell(c, column, label, sizeof(int64_t));
}

double real_of(const compared *c, const char *column, const char *label)
{
    return *(const double *)cell(c, column, label, sizeof(double));
}

const char *text_of(const compared *c, const char *column, const char *label)
{
    return *(const char *const *)cell(c, column, label, sizeof(char *));
}

void end(compared *c, otimes_memory_sink **a, otimes_memory_sink **b)
{
    otimes_memory_sink_free(&c->result);
    otimes_memory_sink_free(a);
    otimes_memory_sink_free(b);
}
