/* SPDX-License-Identifier: MIT
 *
 * Datasets are opened one at a time, so that one chunk cache is in memory and not one an array. HDF5
 * asks for memory of texts through an arena that has an end, because a small file can claim any
 * number of copies of one long text.
 */
#include "h5read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "h5read_parts.h"

#define FACT_BYTES ((size_t)16 << 20) /* of all texts that are facts */
#define LABEL_BYTES ((size_t)256 << 20)
#define TEXT_BYTES ((size_t)256 << 20) /* of a block of texts */
#define CACHE_BYTES ((size_t)16 << 20)
#define CACHE_SLOTS 521

/* HDF5 reports to whoever asked last; a sink that is open at the same time must stay the one. */
typedef struct quiet {
    H5E_auto2_t report;
    void *data;
} quiet;

static quiet hush(void)
{
    quiet before = {NULL, NULL};
    H5Eget_auto2(H5E_DEFAULT, &before.report, &before.data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return before;
}

static void unhush(quiet before)
{
    H5Eset_auto2(H5E_DEFAULT, before.report, before.data);
}

static void *take_text(size_t size, void *info)
{
    return size <= H5READ_TEXT_MOST ? arena_take(((h5_file *)info)->target, size) : NULL;
}

/* The arena is released as a whole. */
static void keep_text(void *text, void *info)
{
    (void)text, (void)info;
}

/* ---- the reader ---- */

static hid_t memory_type(const h5_file *self, otimes_type type)
{
    switch (type) {
    case OTIMES_F16:
    case OTIMES_F32:
        return H5T_NATIVE_FLOAT;
    case OTIMES_F64:
        return H5T_NATIVE_DOUBLE;
    case OTIMES_I32:
        return H5T_NATIVE_INT32;
    case OTIMES_I64:
        return H5T_NATIVE_INT64;
    case OTIMES_TEXT:
        return self->text;
    }
    return -1;
}

static const otimes_array *array_at(const otimes_reader *reader, int64_t index)
{
    const h5_file *self = reader->state;
    return index < self->array_count ? &self->arrays[index]->about : NULL;
}

static const otimes_axis *axis_at(const otimes_reader *reader, int64_t index)
{
    const h5_file *self = reader->state;
    return index < self->axis_count ? &self->axes[index]->about : NULL;
}

static const otimes_attr *attr_at(const otimes_reader *reader, int64_t index)
{
    const h5_file *self = reader->state;
    return index < self->attr_count ? &self->attrs[index] : NULL;
}

/* Opens the array unless it is the one read last; -1 when it cannot be. */
static int use(h5_file *self, int64_t index)
{
    if (self->open >= 0 && self->open_index == index) {
        return 0;
    }
    if (self->open >= 0) {
        H5Dclose(self->open);
    }
    self->open_index = index;
    self->open = H5Dopen2(self->id, self->arrays[index]->name, H5P_DEFAULT);
    return self->open < 0 ? -1 : 0;
}

static int read_selected(h5_file *self, int64_t index, const int64_t *start, const int64_t *count,
                         void *data)
{
    const otimes_array *about = &self->arrays[index]->about;
    hsize_t first[OTIMES_MAX_DIMS], extent[OTIMES_MAX_DIMS];
    for (int d = 0; d < about->ndim; d++) {
        first[d] = (hsize_t)start[d];
        extent[d] = (hsize_t)count[d];
    }
    const hid_t memory =
        about->ndim ? H5Screate_simple(about->ndim, extent, NULL) : H5Screate(H5S_SCALAR);
    const hid_t file = H5Dget_space(self->open);
    herr_t rc = memory < 0 || file < 0 ? -1 : 0;
    if (rc >= 0 && about->ndim) {
        rc = H5Sselect_hyperslab(file, H5S_SELECT_SET, first, NULL, extent, NULL);
    }
    if (rc >= 0) {
        rc =
            H5Dread(self->open, memory_type(self, about->type), memory, file, self->transfer, data);
    }
    if (memory >= 0) {
        H5Sclose(memory);
    }
    if (file >= 0) {
        H5Sclose(file);
    }
    return rc < 0 ? -1 : 0;
}

static int read_block(const otimes_reader *reader, int64_t index, const int64_t *start,
                      const int64_t *count, void *data, otimes_err *err)
{
    h5_file *self = (h5_file *)reader->state; /* opened as such */
    const otimes_array *about = &self->arrays[index]->about;
    for (int d = 0; d < about->ndim; d++) {
        if (count[d] == 0) {
            return 0;
        }
    }
    if (about->type == OTIMES_TEXT) {
        arena_free(&self->block);
        self->target = &self->block;
    }
    const quiet before = hush();
    const int rc = use(self, index) < 0 || read_selected(self, index, start, count, data) < 0
                       ? h5read_fail(self, about->name, err)
                       : 0;
    unhush(before);
    return rc;
}

static const otimes_reader_ops ops = {
    .array = array_at, .axis = axis_at, .attribute = attr_at, .read = read_block};

static hid_t make_text(void)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 &&
        (H5Tset_size(type, H5T_VARIABLE) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

static hid_t open_file(const char *path)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    hid_t id = -1;
    if (access >= 0 && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_cache(access, 0, CACHE_SLOTS, CACHE_BYTES, 1) >= 0) {
        id = H5Fopen(path, H5F_ACC_RDONLY, access);
    }
    if (access >= 0) {
        H5Pclose(access);
    }
    return id;
}

/* HDF5 has many words for a file that is not there. */
static int check_file(const char *path, otimes_err *err)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        return fail_errno(err, path, "cannot be opened");
    }
    errno = 0;
    const int unread = getc(file) == EOF && errno;
    const int rc = unread ? fail_errno(err, path, "cannot be read") : 0;
    fclose(file);
    return rc;
}

static int open_parts(h5_file *self, otimes_err *err)
{
    self->id = open_file(self->path);
    if (self->id < 0) {
        return fail(err, OTIMES_ERR_IO,
                    "%s: expected a result in HDF5, got another or a damaged file", self->path);
    }
    self->text = make_text();
    self->transfer = H5Pcreate(H5P_DATASET_XFER);
    if (self->text < 0 || self->transfer < 0 ||
        H5Pset_vlen_mem_manager(self->transfer, take_text, self, keep_text, self) < 0) {
        return fail_memory(err, self->path);
    }
    return h5read_parts(self, err);
}

int h5read_open(otimes_reader *reader, const char *path, otimes_err *err)
{
    *reader = (otimes_reader){0};
    int rc = check_file(path, err);
    if (rc) {
        return rc;
    }
    H5dont_atexit();
    if (H5open() < 0) {
        return fail(err, OTIMES_ERR_IO, "%s: the HDF5 library does not start", path);
    }
    h5_file *self = calloc(1, sizeof *self);
    if (!self) {
        return fail_memory(err, path);
    }
    *self = (h5_file){.path = path,
                      .id = -1,
                      .text = -1,
                      .transfer = -1,
                      .open = -1,
                      .facts = {.most = FACT_BYTES},
                      .labels = {.most = LABEL_BYTES},
                      .block = {.most = TEXT_BYTES}};
    *reader = (otimes_reader){&ops, self, path};
    const quiet before = hush();
    rc = open_parts(self, err);
    unhush(before);
    if (rc) {
        h5read_close(reader);
    }
    return rc;
}

static void close_ids(h5_file *self)
{
    const quiet before = hush();
    if (self->open >= 0) {
        H5Dclose(self->open);
    }
    if (self->transfer >= 0) {
        H5Pclose(self->transfer);
    }
    if (self->text >= 0) {
        H5Tclose(self->text);
    }
    if (self->id >= 0) {
        H5Fclose(self->id);
    }
    unhush(before);
}

void h5read_close(otimes_reader *reader)
{
    h5_file *self = (h5_file *)reader->state;
    if (!self) {
        return;
    }
    close_ids(self);
    h5read_parts_free(self);
    arena_free(&self->block);
    free(self);
    *reader = (otimes_reader){0};
}
