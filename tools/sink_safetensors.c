/* SPDX-License-Identifier: MIT */
#include "sink_safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "outfile.h"

typedef struct array {
    const otimes_array *about; /* the analysis' own; lives until finish */
    int64_t begin;             /* of its numbers, behind the header */
    int64_t bytes;
} array;

typedef struct fact {
    char *name, *text;
} fact;

typedef struct state {
    outfile file;
    int fd;
    array *arrays;
    int array_count;
    fact *facts;
    int fact_count;
    int64_t data_begin, data_bytes;
    int begun; /* the header is written */
} state;

static int keep_fact(state *self, const char *name, const char *text, otimes_err *err)
{
    for (int i = 0; i < self->fact_count; i++) {
        if (!strcmp(self->facts[i].name, name)) {
            char *copy = strdup(text);
            if (!copy) {
                return fail_memory(err, name);
            }
            free(self->facts[i].text);
            self->facts[i].text = copy;
            return 0;
        }
    }
    fact *grown = realloc(self->facts, (size_t)(self->fact_count + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, name);
    }
    self->facts = grown;
    grown[self->fact_count] = (fact){strdup(name), strdup(text)};
    self->fact_count++;
    return grown[self->fact_count - 1].name && grown[self->fact_count - 1].text
               ? 0
               : fail_memory(err, name);
}

static int attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    state *self = sink->state;
    char number[32];
    if (self->begun) {
        return fail(err, OTIMES_ERR_UNSUPPORTED, "%s: %s: expected before the first number",
                    self->file.path, attr->name);
    }
    switch (attr->kind) {
    case OTIMES_ATTR_TEXT:
        return keep_fact(self, attr->name, attr->text ? attr->text : "", err);
    case OTIMES_ATTR_I64:
        snprintf(number, sizeof number, "%" PRId64, attr->i64);
        break;
    case OTIMES_ATTR_F64:
        snprintf(number, sizeof number, "%.17g", attr->f64);
        break;
    }
    return keep_fact(self, attr->name, number, err);
}

static const char *type_name(otimes_type type)
{
    switch (type) {
    case OTIMES_F32:
        return "F32";
    case OTIMES_F16:
        return "F16";
    case OTIMES_F64:
        return "F64";
    case OTIMES_I32:
        return "I32";
    case OTIMES_I64:
        return "I64";
    case OTIMES_TEXT:
        break;
    }
    return NULL;
}

static int declare(otimes_sink *sink, const otimes_array *about, int *id, otimes_err *err)
{
    state *self = sink->state;
    int64_t bytes = (int64_t)otimes_type_size(about->type);
    if (!type_name(about->type) || self->begun) {
        return fail(err, OTIMES_ERR_UNSUPPORTED,
                    "%s: %s: expected numbers, declared before the first is written",
                    self->file.path, about->name);
    }
    for (int i = 0; i < about->ndim; i++) {
        if (__builtin_mul_overflow(bytes, about->axis[i]->length, &bytes)) {
            return fail(err, OTIMES_ERR_UNSUPPORTED, "%s: %s: too large", self->file.path,
                        about->name);
        }
    }
    array *grown = realloc(self->arrays, (size_t)(self->array_count + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, about->name);
    }
    self->arrays = grown;
    grown[self->array_count] = (array){about, self->data_bytes, bytes};
    self->data_bytes += bytes;
    *id = self->array_count++;
    return 0;
}

/* A JSON string. */
static void put_string(FILE *to, const char *text)
{
    putc('"', to);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') {
            fprintf(to, "\\%c", *c);
        } else if (*c < 0x20) {
            fprintf(to, "\\u%04x", *c);
        } else {
            putc(*c, to);
        }
    }
    putc('"', to);
}

static void put_header(FILE *to, const state *self)
{
    fputs("{\"__metadata__\":{\"format\":\"pt\"", to);
    for (int i = 0; i < self->fact_count; i++) {
        putc(',', to);
        put_string(to, self->facts[i].name);
        putc(':', to);
        put_string(to, self->facts[i].text);
    }
    putc('}', to);
    for (int i = 0; i < self->array_count; i++) {
        const array *a = &self->arrays[i];
        putc(',', to);
        put_string(to, a->about->name);
        fprintf(to, ":{\"dtype\":\"%s\",\"shape\":[", type_name(a->about->type));
        for (int j = 0; j < a->about->ndim; j++) {
            fprintf(to, "%s%" PRId64, j ? "," : "", a->about->axis[j]->length);
        }
        fprintf(to, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", a->begin, a->begin + a->bytes);
    }
    putc('}', to);
}

static int write_at(const state *self, const void *data, int64_t bytes, int64_t at, otimes_err *err)
{
    const char *from = data;
    while (bytes > 0) {
        const ssize_t done = pwrite(self->fd, from, (size_t)bytes, at);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return fail_errno(err, self->file.path, "cannot be written");
        }
        from += done;
        at += done;
        bytes -= done;
    }
    return 0;
}

/* Length (8 bytes, little-endian), the JSON header, blanks up to a multiple of 8. */
static int begin(state *self, otimes_err *err)
{
    char *text = NULL;
    size_t size = 0;
    unsigned char length[8];
    if (self->begun) {
        return 0;
    }
    FILE *to = open_memstream(&text, &size);
    if (!to) {
        return fail_memory(err, "header");
    }
    put_header(to, self);
    fflush(to);
    while (size % 8) {
        putc(' ', to);
        fflush(to);
    }
    const int failed = ferror(to) | fclose(to);
    int rc = failed ? fail_memory(err, "header") : 0;
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)((uint64_t)size >> 8 * i);
    }
    self->data_begin = 8 + (int64_t)size;
    if (!rc) {
        rc = write_at(self, length, 8, 0, err);
    }
    if (!rc) {
        rc = write_at(self, text, (int64_t)size, 8, err);
    }
    if (!rc && ftruncate(self->fd, self->data_begin + self->data_bytes)) {
        rc = fail_errno(err, self->file.path, "cannot be written");
    }
    free(text);
    self->begun = !rc;
    return rc;
}

/* Blocks are cut into the runs that lie together in the file. */
static int write_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                       const void *data, otimes_err *err)
{
    state *self = sink->state;
    int rc = begin(self, err);
    const array *a = &self->arrays[id];
    const int ndim = a->about->ndim;
    int64_t run = (int64_t)otimes_type_size(a->about->type), runs = 1, at[OTIMES_MAX_DIMS] = {0};
    int inner = ndim; /* axes from here on are whole */
    for (; inner > 0 && count[inner - 1] == a->about->axis[inner - 1]->length; inner--) {
        run *= count[inner - 1];
    }
    if (inner > 0) {
        run *= count[inner - 1];
    }
    for (int i = 0; i < inner - 1; i++) {
        runs *= count[i];
    }
    for (int64_t r = 0; !rc && r < runs && run > 0; r++) {
        int64_t place = 0;
        for (int i = 0; i < ndim; i++) {
            place = place * a->about->axis[i]->length + start[i] + at[i];
        }
        rc = write_at(
            self, (const char *)data + r * run, run,
            self->data_begin + a->begin + place * (int64_t)otimes_type_size(a->about->type), err);
        for (int i = inner - 2; i >= 0 && ++at[i] == count[i]; i--) {
            at[i] = 0;
        }
    }
    return rc;
}

static int finish(otimes_sink *sink, otimes_err *err)
{
    state *self = sink->state;
    int rc = begin(self, err);
    if (!rc && close(self->fd)) {
        rc = fail_errno(err, self->file.path, "cannot be written");
    }
    self->fd = -1;
    return rc ? rc : outfile_commit(&self->file, err);
}

static const otimes_sink_ops ops = {
    .attribute = attribute, .declare = declare, .write = write_block, .finish = finish};

int sink_safetensors_open(otimes_sink *sink, const char *path, otimes_err *err)
{
    state *self = calloc(1, sizeof *self);
    sink->ops = &ops;
    sink->state = self;
    if (!self) {
        return fail_memory(err, path);
    }
    self->fd = -1;
    int rc = outfile_begin(&self->file, path, 0, err);
    if (!rc) {
        self->fd = open(outfile_name(&self->file), O_WRONLY | O_CLOEXEC);
        rc = self->fd < 0 ? fail_errno(err, path, "cannot be written") : 0;
    }
    return rc;
}

void sink_safetensors_close(otimes_sink *sink)
{
    state *self = sink->state;
    if (!self) {
        return;
    }
    if (self->fd >= 0) {
        close(self->fd);
    }
    for (int i = 0; i < self->fact_count; i++) {
        free(self->facts[i].name);
        free(self->facts[i].text);
    }
    outfile_end(&self->file);
    free(self->facts);
    free(self->arrays);
    free(self);
    sink->state = NULL;
}
