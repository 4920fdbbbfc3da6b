/* SPDX-License-Identifier: MIT */
#include "sink_tsv.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "outfile.h"
#include "quote.h"

typedef struct array {
    otimes_array about; /* shallow: its strings live until finish */
    int axis[OTIMES_MAX_DIMS];
    int begun; /* its comment is written */
} array;

typedef struct state {
    outfile file;
    FILE *to;
    const char *name;  /* for errors */
    otimes_axis *axes; /* shallow as well */
    int axis_count;
    array *arrays;
    int array_count;
} state;

/* Text in one field: what would end a field or a line, or does something to a terminal, is spelt out. */
static void put_text(FILE *to, const char *text)
{
    char escape[16];
    for (int length; *text; text += length) {
        if (quote_escape(text, escape, sizeof escape, &length)) {
            fputs(escape, to);
        } else {
            fputs(*text == '\\' ? "\\" : "", to);
            fwrite(text, 1, (size_t)length, to);
        }
    }
}

static void put_real(FILE *to, double value, int digits)
{
    if (isnan(value)) {
        fputs("nan", to); /* printf may print its sign */
    } else {
        fprintf(to, "%.*g", digits, value);
    }
}

static double half_value(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value;
    if (exponent == 31) {
        value = fraction ? NAN : INFINITY;
    } else if (exponent) {
        value = ldexp(1024 + fraction, exponent - 25);
    } else {
        value = ldexp(fraction, -24);
    }
    return bits >> 15 ? -value : value;
}

static int check_stream(const state *self, otimes_err *err)
{
    return ferror(self->to) ? fail_errno(err, self->name, "cannot be written") : 0;
}

static int attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    const state *self = sink->state;
    fprintf(self->to, "# %s: ", attr->name);
    switch (attr->kind) {
    case OTIMES_ATTR_TEXT:
        put_text(self->to, attr->text ? attr->text : "");
        break;
    case OTIMES_ATTR_I64:
        fprintf(self->to, "%" PRId64, attr->i64);
        break;
    case OTIMES_ATTR_F64:
        put_real(self->to, attr->f64, 17);
        break;
    }
    putc('\n', self->to);
    return check_stream(self, err);
}

static const otimes_axis *find_axis(const state *self, const char *name)
{
    for (int i = 0; i < self->axis_count; i++) {
        if (!strcmp(self->axes[i].name, name)) {
            return &self->axes[i];
        }
    }
    return NULL;
}

static int use_axis(state *self, const otimes_axis *about, int *index, otimes_err *err)
{
    const otimes_axis *known = find_axis(self, about->name);
    if (known) {
        *index = (int)(known - self->axes);
        if (known->length != about->length) {
            return fail(err, OTIMES_ERR_ARGUMENT,
                        "%s: axis %s: expected length %" PRId64 " as before, got %" PRId64,
                        self->name, about->name, known->length, about->length);
        }
        return 0;
    }
    otimes_axis *grown = realloc(self->axes, (size_t)(self->axis_count + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, self->name);
    }
    self->axes = grown;
    *index = self->axis_count++;
    grown[*index] = *about;
    return 0;
}

static int announce_axis(otimes_sink *sink, const otimes_axis *about, otimes_err *err)
{
    int index;
    return use_axis(sink->state, about, &index, err);
}

static int declare(otimes_sink *sink, const otimes_array *about, int *id, otimes_err *err)
{
    state *self = sink->state;
    array *grown = realloc(self->arrays, (size_t)(self->array_count + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, self->name);
    }
    self->arrays = grown;
    array *to = &grown[self->array_count];
    memset(to, 0, sizeof *to);
    to->about = *about;
    for (int i = 0; i < about->ndim; i++) {
        const int rc = use_axis(self, about->axis[i], &to->axis[i], err);
        if (rc) {
            return rc;
        }
    }
    *id = self->array_count++;
    return 0;
}

static void put_comment(const state *self, const array *from)
{
    const otimes_array *about = &from->about;
    fprintf(self->to, "# %s: [", about->name);
    for (int i = 0; i < about->ndim; i++) {
        fprintf(self->to, "%s%s", i ? ", " : "", self->axes[from->axis[i]].name);
    }
    fprintf(self->to, "], units %s", about->units ? about->units : "1");
    if (about->labels_of) {
        fprintf(self->to, ", index of %s", about->labels_of);
    }
    if (about->long_name) {
        fputs(", ", self->to);
        put_text(self->to, about->long_name);
    }
    putc('\n', self->to);
}

static void put_label(const state *self, const otimes_axis *axis, int64_t index)
{
    if (axis->text) {
        put_text(self->to, axis->text[index] ? axis->text[index] : "");
    } else {
        fprintf(self->to, "%" PRId64, axis->number ? axis->number[index] : index);
    }
}

/* One more column for an index: what it points at; empty where that is unknown. */
static void put_pointed_at(const state *self, const char *axis_name, int64_t index)
{
    const otimes_axis *axis = find_axis(self, axis_name);
    putc('\t', self->to);
    if (axis && index >= 0 && index < axis->length) {
        put_label(self, axis, index);
    }
}

static void put_integer(const state *self, const otimes_array *about, int64_t value)
{
    fprintf(self->to, "%" PRId64, value);
    if (about->labels_of) {
        put_pointed_at(self, about->labels_of, value);
    }
}

static void put_value(const state *self, const otimes_array *about, const void *data, int64_t i)
{
    const char *text;
    switch (about->type) {
    case OTIMES_F32:
        put_real(self->to, (double)((const float *)data)[i], 9);
        break;
    case OTIMES_F16:
        put_real(self->to, half_value(((const uint16_t *)data)[i]), 5);
        break;
    case OTIMES_F64:
        put_real(self->to, ((const double *)data)[i], 17);
        break;
    case OTIMES_I32:
        put_integer(self, about, ((const int32_t *)data)[i]);
        break;
    case OTIMES_I64:
        put_integer(self, about, ((const int64_t *)data)[i]);
        break;
    case OTIMES_TEXT:
        text = ((const char *const *)data)[i];
        put_text(self->to, text ? text : "");
        break;
    }
}

static int write_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                       const void *data, otimes_err *err)
{
    state *self = sink->state;
    array *from = &self->arrays[id];
    const int ndim = from->about.ndim;
    int64_t at[OTIMES_MAX_DIMS] = {0}, n = 1;
    if (!from->begun) {
        put_comment(self, from);
    }
    from->begun = 1;
    for (int i = 0; i < ndim; i++) {
        n *= count[i];
    }
    for (int64_t i = 0; i < n; i++) {
        fputs(from->about.name, self->to);
        putc('\t', self->to);
        for (int d = 0; d < ndim; d++) {
            put_label(self, &self->axes[from->axis[d]], start[d] + at[d]);
            putc('\t', self->to);
        }
        put_value(self, &from->about, data, i);
        putc('\n', self->to);
        for (int d = ndim - 1; d >= 0 && ++at[d] == count[d]; d--) {
            at[d] = 0;
        }
        if (ferror(self->to)) {
            break;
        }
    }
    return check_stream(self, err);
}

static int finish(otimes_sink *sink, otimes_err *err)
{
    state *self = sink->state;
    if (self->to == stdout) {
        return fflush(stdout) ? fail_errno(err, self->name, "cannot be written") : 0;
    }
    const int failed = fclose(self->to);
    self->to = NULL;
    return failed ? fail_errno(err, self->name, "cannot be written")
                  : outfile_commit(&self->file, err);
}

static const otimes_sink_ops ops = {.attribute = attribute,
                                    .axis = announce_axis,
                                    .declare = declare,
                                    .write = write_block,
                                    .finish = finish};

int sink_tsv_open(otimes_sink *sink, const char *path, otimes_err *err)
{
    int rc;
    state *self = calloc(1, sizeof *self);
    if (!self) {
        return fail_memory(err, "output");
    }
    sink->ops = &ops;
    sink->state = self;
    self->name = "standard output";
    self->to = stdout;
    if (!path || !strcmp(path, "-")) {
        return 0;
    }
    self->name = path;
    self->to = NULL;
    rc = outfile_begin(&self->file, path, 1, err);
    if (rc) {
        goto fail;
    }
    self->to = fopen(outfile_name(&self->file), "w");
    if (!self->to) {
        rc = fail_errno(err, path, "cannot be opened");
        goto fail;
    }
    return 0;
fail:
    sink_tsv_close(sink);
    return rc;
}

void sink_tsv_close(otimes_sink *sink)
{
    state *self = sink->state;
    if (!self) {
        return;
    }
    if (self->to && self->to != stdout) {
        fclose(self->to);
    }
    outfile_end(&self->file);
    free(self->axes);
    free(self->arrays);
    free(self);
    sink->state = NULL;
}
