/* SPDX-License-Identifier: MIT
 *
 * Order of things in the file: what is declared first comes first (creation order is tracked, as
 * netCDF-4 wants). Arrays stay open until finish; with HDF5 a full disk may show only when the
 * last chunk leaves the cache, so each close is checked like a write.
 */
#include "sink_h5.h"

#include <hdf5.h>
#include <hdf5_hl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "h5write_parts.h"
#include "layout.h"
#include "outfile.h"
#include "partfile.h"

typedef struct axis {
    char *name;
    int64_t length;
    hid_t id;
} axis;

typedef struct array {
    char *name;
    hid_t id;
    hid_t memory_type; /* borrowed */
    int ndim;
    int part; /* its number in the part file; -1: it is not there */
} array;

typedef struct state {
    outfile file;
    partfile part;
    int keep_part;    /* closing leaves the part file behind */
    hid_t id;         /* the file; -1 when closed */
    hid_t text, half; /* types: variable-length UTF-8, IEEE binary16 */
    axis *axes;
    int axis_count;
    array *arrays;
    int array_count;
    char why[512]; /* reason of the first failure in HDF5; empty: none yet */
} state;

/* The deepest reason on an error stack, or the system's if one is quoted anywhere in it. */
typedef struct reason {
    char text[512];
    int system;
} reason;

static herr_t visit_error(unsigned n, const H5E_error2_t *entry, void *data)
{
    static const char mark[] = "error message = '";
    reason *out = data;
    const char *desc = entry->desc ? entry->desc : "";
    const char *quoted = strstr(desc, mark);
    if (quoted && !out->system) {
        const char *text = quoted + sizeof mark - 1;
        snprintf(out->text, sizeof out->text, "%.*s", (int)strcspn(text, "'"), text);
        out->system = 1;
    } else if (n == 0) {
        snprintf(out->text, sizeof out->text, "%s", desc);
    }
    return 0;
}

/* HDF5 calls this when one of its functions fails. Taken then and kept, because the next call,
 * even a cleaning one, empties the error stack. */
static herr_t remember_error(hid_t stack, void *data)
{
    state *self = data;
    reason why = {"", 0};
    if (!*self->why && H5Ewalk2(stack, H5E_WALK_UPWARD, visit_error, &why) >= 0) {
        memcpy(self->why, why.text, sizeof self->why);
    }
    return 0;
}

static int fail_h5(const state *self, const char *what, otimes_err *err)
{
    return fail(err, OTIMES_ERR_IO, "%s: %s: %s", self->file.path, what,
                *self->why ? self->why : "HDF5 gave no reason");
}

static int put_text(const state *self, hid_t object, const char *name, const char *text)
{
    return text ? h5_put(object, name, self->text, self->text, H5S_SCALAR, &text) : 0;
}

static int attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    const state *self = sink->state;
    int rc = -1;
    switch (attr->kind) {
    case OTIMES_ATTR_TEXT:
        rc = put_text(self, self->id, attr->name, attr->text ? attr->text : "");
        break;
    case OTIMES_ATTR_I64:
        rc = h5_put(self->id, attr->name, H5T_STD_I64LE, H5T_NATIVE_INT64, H5S_SCALAR, &attr->i64);
        break;
    case OTIMES_ATTR_F64:
        rc =
            h5_put(self->id, attr->name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, H5S_SCALAR, &attr->f64);
        break;
    }
    return rc < 0 ? fail_h5(self, attr->name, err) : 0;
}

static int write_labels(const state *self, const otimes_axis *about, hid_t id)
{
    if (about->length == 0) {
        return 0;
    }
    if (about->text) {
        return H5Dwrite(id, self->text, H5S_ALL, H5S_ALL, H5P_DEFAULT, about->text) < 0 ? -1 : 0;
    }
    if (about->number) {
        return H5Dwrite(id, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, about->number) < 0 ? -1
                                                                                                : 0;
    }
    int64_t *count = malloc((size_t)about->length * sizeof *count);
    if (!count) {
        return -1;
    }
    for (int64_t i = 0; i < about->length; i++) {
        count[i] = i;
    }
    const herr_t rc = H5Dwrite(id, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, count);
    free(count);
    return rc < 0 ? -1 : 0;
}

/* The dataset of an axis with its labels; -1 on failure. */
static hid_t create_axis(const state *self, const otimes_axis *about, int number)
{
    const hsize_t length = (hsize_t)about->length;
    const h5_storage kind = {about->text ? self->text : H5T_STD_I64LE, -1, NULL};
    const hid_t space = H5Screate_simple(1, &length, NULL);
    const hid_t properties = h5_make_properties(NULL, &kind);
    hid_t id = H5Dcreate2(self->id, about->name, kind.file_type, space, H5P_DEFAULT, properties,
                          H5P_DEFAULT);
    if (space >= 0) {
        H5Sclose(space);
    }
    if (properties >= 0) {
        H5Pclose(properties);
    }
    if (id < 0) {
        return -1;
    }
    if (H5DSset_scale(id, about->name) < 0 ||
        h5_put(id, "_Netcdf4Dimid", H5T_STD_I32LE, H5T_NATIVE_INT, H5S_SCALAR, &number) < 0 ||
        put_text(self, id, "long_name", about->long_name) < 0 ||
        write_labels(self, about, id) < 0) {
        H5Dclose(id);
        return -1;
    }
    return id;
}

static int find_array(const state *self, const char *name)
{
    for (int i = 0; i < self->array_count; i++) {
        if (!strcmp(self->arrays[i].name, name)) {
            return i;
        }
    }
    return -1;
}

static int find_axis(const state *self, const char *name)
{
    for (int i = 0; i < self->axis_count; i++) {
        if (!strcmp(self->axes[i].name, name)) {
            return i;
        }
    }
    return -1;
}

/* *index is the axis in self->axes, made when it is new. */
static int use_axis(state *self, const otimes_axis *about, int *index, otimes_err *err)
{
    *index = find_axis(self, about->name);
    if (*index >= 0) {
        const int64_t known = self->axes[*index].length;
        if (known != about->length) {
            return fail(err, OTIMES_ERR_ARGUMENT,
                        "%s: axis %s: expected length %lld as before, got %lld", self->file.path,
                        about->name, (long long)known, (long long)about->length);
        }
        return 0;
    }
    if (about->length < 0 || find_array(self, about->name) >= 0) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "%s: axis %s: expected a name of its own and a length, got length %lld",
                    self->file.path, about->name, (long long)about->length);
    }
    axis *grown = realloc(self->axes, (size_t)(self->axis_count + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, self->file.path);
    }
    self->axes = grown;
    axis *added = &grown[self->axis_count];
    *added = (axis){strdup(about->name), about->length, -1};
    if (!added->name) {
        return fail_memory(err, self->file.path);
    }
    added->id = create_axis(self, about, self->axis_count);
    if (added->id < 0) {
        free(added->name);
        return fail_h5(self, about->name, err);
    }
    *index = self->axis_count++;
    return 0;
}

static int announce_axis(otimes_sink *sink, const otimes_axis *about, otimes_err *err)
{
    int index;
    return use_axis(sink->state, about, &index, err);
}

static int check_array(const state *self, const otimes_array *about, otimes_err *err)
{
    if (about->ndim < 0 || about->ndim > OTIMES_MAX_DIMS) {
        return fail(err, OTIMES_ERR_ARGUMENT, "%s: array %s: expected at most %d axes, got %d",
                    self->file.path, about->name, OTIMES_MAX_DIMS, about->ndim);
    }
    if (find_array(self, about->name) >= 0 || find_axis(self, about->name) >= 0) {
        return fail(err, OTIMES_ERR_ARGUMENT, "%s: array %s: expected a new name, got one in use",
                    self->file.path, about->name);
    }
    for (int i = 0; i < about->ndim; i++) {
        if (!strcmp(about->name, about->axis[i]->name)) {
            return fail(err, OTIMES_ERR_ARGUMENT,
                        "%s: array %s: expected a name of its own, got that of its axis",
                        self->file.path, about->name);
        }
        for (int j = 0; j < i; j++) {
            if (!strcmp(about->axis[i]->name, about->axis[j]->name)) {
                return fail(err, OTIMES_ERR_ARGUMENT,
                            "%s: array %s: expected different axes, got %s twice", self->file.path,
                            about->name, about->axis[i]->name);
            }
        }
    }
    return 0;
}

/* Room for all chunks at once, one behind the other, which format 1.10 alone does; nothing is written to
 * it. */
static herr_t set_aside(const state *self, hid_t properties)
{
    return H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY) < 0 ||
                   H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER) < 0
               ? -1
               : H5Fset_libver_bounds(self->id, H5F_LIBVER_V110, H5F_LIBVER_V110);
}

static hid_t create_array(const state *self, const otimes_array *about, const h5_storage *kind)
{
    hsize_t dim[OTIMES_MAX_DIMS];
    int empty = about->ndim == 0;
    for (int i = 0; i < about->ndim; i++) {
        dim[i] = (hsize_t)about->axis[i]->length;
        empty = empty || dim[i] == 0;
    }
    const hid_t space =
        about->ndim ? H5Screate_simple(about->ndim, dim, NULL) : H5Screate(H5S_SCALAR);
    const hid_t properties = h5_make_properties(empty ? NULL : about, kind);
    const int run = layout_is_run(about);
    hid_t id = -1;
    if (!run || set_aside(self, properties) >= 0) {
        id = H5Dcreate2(self->id, about->name, kind->file_type, space, H5P_DEFAULT, properties,
                        H5P_DEFAULT);
    }
    if (run && H5Fset_libver_bounds(self->id, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) < 0 && id >= 0) {
        H5Dclose(id);
        id = -1;
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (properties >= 0) {
        H5Pclose(properties);
    }
    return id;
}

static int describe_array(const state *self, const otimes_array *about, const h5_storage *kind,
                          const int *axes, hid_t id)
{
    const struct {
        const char *name, *text;
    } facts[] = {{"long_name", about->long_name},
                 {"units", about->units},
                 {"formula", about->formula},
                 {"orientation", about->orientation},
                 {"labels_of", about->labels_of}};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        if (put_text(self, id, facts[i].name, facts[i].text) < 0) {
            return -1;
        }
    }
    /* xarray turns integers with a _FillValue into floats, and ids must stay ids. */
    const char *undefined = H5Tget_class(kind->file_type) == H5T_FLOAT ? "_FillValue" : "undefined";
    if (kind->fill &&
        h5_put(id, undefined, kind->file_type, kind->memory_type, H5S_SIMPLE, kind->fill) < 0) {
        return -1;
    }
    for (int i = 0; i < about->ndim; i++) {
        if (H5DSattach_scale(id, self->axes[axes[i]].id, (unsigned)i) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Takes the array up in the part file. */
static int add_to_part(state *self, const otimes_array *about, array *to, otimes_err *err)
{
    const hsize_t first[OTIMES_MAX_DIMS] = {0};
    haddr_t base;
    hsize_t size;
    unsigned filters;
    if (H5Dget_chunk_info_by_coord(to->id, first, &filters, &base, &size) < 0) {
        return fail_h5(self, about->name, err);
    }
    return partfile_add(&self->part, about, (int64_t)base, &to->part, err);
}

static int declare(otimes_sink *sink, const otimes_array *about, int *id, otimes_err *err)
{
    state *self = sink->state;
    int axes[OTIMES_MAX_DIMS];
    const h5_storage kind = h5_storage_of(about->type, self->text, self->half);
    int rc = check_array(self, about, err);
    for (int i = 0; !rc && i < about->ndim; i++) {
        rc = use_axis(self, about->axis[i], &axes[i], err);
    }
    if (rc) {
        return rc;
    }
    array *grown = realloc(self->arrays, (size_t)(self->array_count + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, self->file.path);
    }
    self->arrays = grown;
    char *name = strdup(about->name);
    if (!name) {
        return fail_memory(err, self->file.path);
    }
    const hid_t dataset = create_array(self, about, &kind);
    if (dataset < 0) {
        free(name);
        return fail_h5(self, about->name, err);
    }
    *id = self->array_count++;
    self->arrays[*id] = (array){name, dataset, kind.memory_type, about->ndim, -1};
    if (describe_array(self, about, &kind, axes, dataset) < 0) {
        return fail_h5(self, about->name, err);
    }
    return layout_is_run(about) ? add_to_part(self, about, &self->arrays[*id], err) : 0;
}

static int write_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                       const void *data, otimes_err *err)
{
    state *self = sink->state;
    const array *to = &self->arrays[id];
    if (to->part >= 0) {
        return partfile_write(&self->part, to->part, start, count, data, err);
    }
    hsize_t first[OTIMES_MAX_DIMS], extent[OTIMES_MAX_DIMS];
    for (int i = 0; i < to->ndim; i++) {
        if (count[i] == 0) {
            return 0;
        }
        first[i] = (hsize_t)start[i];
        extent[i] = (hsize_t)count[i];
    }
    const hid_t memory =
        to->ndim ? H5Screate_simple(to->ndim, extent, NULL) : H5Screate(H5S_SCALAR);
    const hid_t file = H5Dget_space(to->id);
    herr_t rc = memory < 0 || file < 0 ? -1 : 0;
    /* A block that leaves the array fails in H5Dwrite, which checks the selection. */
    if (rc >= 0 && to->ndim) {
        rc = H5Sselect_hyperslab(file, H5S_SELECT_SET, first, NULL, extent, NULL);
    }
    if (rc >= 0) {
        rc = H5Dwrite(to->id, to->memory_type, memory, file, H5P_DEFAULT, data);
    }
    const int result = rc < 0 ? fail_h5(self, to->name, err) : 0;
    if (memory >= 0) {
        H5Sclose(memory);
    }
    if (file >= 0) {
        H5Sclose(file);
    }
    return result;
}

/* Closes all that is open, also after a failure; -1 when any of it failed, with the name of the
 * first in *what. */
static int close_all(state *self, const char **what)
{
    int rc = 0;
    *what = "file";
    for (int i = 0; i < self->array_count; i++) {
        if (self->arrays[i].id >= 0 && H5Dclose(self->arrays[i].id) < 0 && !rc) {
            *what = self->arrays[i].name;
            rc = -1;
        }
        self->arrays[i].id = -1;
    }
    for (int i = 0; i < self->axis_count; i++) {
        if (self->axes[i].id >= 0 && H5Dclose(self->axes[i].id) < 0 && !rc) {
            *what = self->axes[i].name;
            rc = -1;
        }
        self->axes[i].id = -1;
    }
    return rc;
}

static int finish(otimes_sink *sink, otimes_err *err)
{
    state *self = sink->state;
    const char *what;
    if (close_all(self, &what) < 0) {
        return fail_h5(self, what, err);
    }
    if (H5Fflush(self->id, H5F_SCOPE_GLOBAL) < 0) {
        return fail_h5(self, "cannot be flushed", err);
    }
    const herr_t rc = H5Fclose(self->id);
    self->id = -1;
    if (rc < 0) {
        return fail_h5(self, "cannot be closed", err);
    }
    if (self->part.count > 0) {
        const int failed = partfile_complete(&self->part, outfile_name(&self->file), err);
        return failed ? failed : outfile_commit_other(&self->file, self->part.path, err);
    }
    const int failed = outfile_commit(&self->file, err);
    if (!failed) {
        partfile_discard(&self->part);
    }
    return failed;
}

static const otimes_sink_ops ops = {.attribute = attribute,
                                    .axis = announce_axis,
                                    .declare = declare,
                                    .write = write_block,
                                    .finish = finish};

int sink_h5_open(otimes_sink *sink, const char *path, otimes_err *err)
{
    /* At exit HDF5 would try once more to flush what it could not, and can hang in that. */
    H5dont_atexit();
    if (H5open() < 0) {
        return fail(err, OTIMES_ERR_IO, "%s: the HDF5 library does not start", path);
    }
    state *self = calloc(1, sizeof *self);
    if (!self) {
        return fail_memory(err, path);
    }
    H5Eset_auto2(H5E_DEFAULT, remember_error, self);
    self->id = -1;
    self->text = h5_make_text();
    self->half = h5_make_half();
    sink->ops = &ops;
    sink->state = self;
    int rc = partfile_open(&self->part, path, err);
    if (!rc) {
        rc = outfile_begin(&self->file, path, 0, err);
    }
    if (rc) {
        goto fail;
    }
    outfile_unlock(&self->file);
    self->id = h5_create_file(outfile_name(&self->file));
    if (self->text < 0 || self->half < 0 || self->id < 0) {
        rc = fail_h5(self, "cannot be created", err);
        goto fail;
    }
    return 0;
fail:
    sink_h5_close(sink);
    return rc;
}

void sink_h5_close(otimes_sink *sink)
{
    state *self = sink->state;
    const char *what;
    if (!self) {
        return;
    }
    /* Failures no longer matter: either all was committed or all is thrown away. */
    (void)close_all(self, &what);
    if (self->id >= 0) {
        H5Fclose(self->id);
    }
    if (self->text >= 0) {
        H5Tclose(self->text);
    }
    if (self->half >= 0) {
        H5Tclose(self->half);
    }
    for (int i = 0; i < self->array_count; i++) {
        free(self->arrays[i].name);
    }
    for (int i = 0; i < self->axis_count; i++) {
        free(self->axes[i].name);
    }
    free(self->arrays);
    free(self->axes);
    outfile_end(&self->file);
    partfile_close(&self->part, self->keep_part);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    free(self);
    sink->state = NULL;
}

void sink_h5_keep_part(otimes_sink *sink)
{
    state *self = sink->state;
    if (self) {
        self->keep_part = 1;
    }
}

static int keeps(const otimes_sink *sink, int id)
{
    const state *self = sink->state;
    return self->arrays[id].part >= 0;
}

static int read_kept(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                     void *data)
{
    state *self = sink->state;
    return partfile_read(&self->part, self->arrays[id].part, start, count, data);
}

static void adopt(otimes_sink *sink, int id, const int64_t *count)
{
    state *self = sink->state;
    partfile_adopt(&self->part, self->arrays[id].part, count);
}

const journal_keeper sink_h5_keeper = {keeps, read_kept, adopt};
