/* SPDX-License-Identifier: MIT */
#include "h5read_parts.h"

#include <hdf5_hl.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "h5read.h"

#define NAME_BYTES 512
#define FACT_MOST ((size_t)1 << 20)
#define LABELS_MOST ((hsize_t)1 << 25) /* of an axis, unless they are 0, 1, 2 ... */
#define LABELS_READ ((hsize_t)1 << 16) /* at a time */
#define CHUNK_MOST ((hsize_t)256 << 20)

static int fail_file(const h5_file *self, const char *what, const char *why, otimes_err *err)
{
    return fail(err, OTIMES_ERR_FORMAT, "%s: %s: %s", self->path, what, why);
}

int h5read_fail(const h5_file *self, const char *what, otimes_err *err)
{
    return fail(err, OTIMES_ERR_IO, "%s: %s: cannot be read: damaged, or its texts are too long",
                self->path, what);
}

/* Room for one more pointer or record. */
static int grow(const h5_file *self, void **list, int64_t count, int64_t *room, size_t size,
                otimes_err *err)
{
    if (count == H5READ_PARTS_MOST) {
        return fail(err, OTIMES_ERR_FORMAT,
                    "%s: expected at most %d arrays, axes or facts, got more", self->path,
                    H5READ_PARTS_MOST);
    }
    if (count < *room) {
        return 0;
    }
    const int64_t wanted = *room ? 2 * *room : 16;
    void *grown = realloc(*list, (size_t)wanted * size);
    if (!grown) {
        return fail_memory(err, self->path);
    }
    *list = grown;
    *room = wanted;
    return 0;
}

/* ---- facts ---- */

/* The text of a scalar attribute; NULL when it holds none. Lengths that a file fixes are taken too,
 * as netCDF's own libraries write them. */
static char *attr_text(h5_file *self, hid_t attr, hid_t type)
{
    char *text = NULL;
    if (H5Tis_variable_str(type) > 0) {
        char *given = NULL;
        if (H5Aread(attr, type, &given) >= 0 && given) {
            text = arena_copy(&self->facts, given);
        }
        H5free_memory(given);
        return text;
    }
    const size_t size = H5Tget_size(type);
    text = size && size < FACT_MOST ? arena_take(&self->facts, size + 1) : NULL;
    if (text && H5Aread(attr, type, text) < 0) {
        text = NULL;
    }
    if (text) {
        text[size] = '\0';
    }
    return text;
}

/* Fills in a fact; 0 when the attribute is none that a result can have. */
static int read_fact(h5_file *self, hid_t attr, otimes_attr *fact)
{
    const hid_t type = H5Aget_type(attr), space = H5Aget_space(attr);
    const H5T_class_t class = type >= 0 ? H5Tget_class(type) : H5T_NO_CLASS;
    int known = 0;
    if (space >= 0 && H5Sget_simple_extent_npoints(space) == 1) {
        if (class == H5T_STRING) {
            fact->kind = OTIMES_ATTR_TEXT;
            fact->text = attr_text(self, attr, type);
            known = fact->text != NULL;
        } else if (class == H5T_INTEGER) {
            fact->kind = OTIMES_ATTR_I64;
            known = H5Aread(attr, H5T_NATIVE_INT64, &fact->i64) >= 0;
        } else if (class == H5T_FLOAT) {
            fact->kind = OTIMES_ATTR_F64;
            known = H5Aread(attr, H5T_NATIVE_DOUBLE, &fact->f64) >= 0;
        }
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    return known;
}

/* netCDF's own attributes begin with an underscore. */
static herr_t visit_fact(hid_t object, const char *name, const H5A_info_t *info, void *data)
{
    h5_file *self = data;
    otimes_attr fact = {0};
    (void)info;
    if (name[0] == '_') {
        return 0;
    }
    const hid_t attr = H5Aopen(object, name, H5P_DEFAULT);
    const int known = attr >= 0 && read_fact(self, attr, &fact);
    if (attr >= 0) {
        H5Aclose(attr);
    }
    if (!known) {
        return 0;
    }
    self->status = grow(self, (void **)&self->attrs, self->attr_count, &self->attr_room,
                        sizeof *self->attrs, self->err);
    fact.name = self->status ? NULL : arena_copy(&self->facts, name);
    if (!fact.name) {
        self->status = self->status ? self->status : fail_memory(self->err, self->path);
        return -1;
    }
    self->attrs[self->attr_count++] = fact;
    return 0;
}

/* A text that a dataset carries; NULL: it has none. */
static const char *fact_of(h5_file *self, hid_t dataset, const char *name)
{
    otimes_attr fact = {0};
    if (H5Aexists(dataset, name) <= 0) {
        return NULL;
    }
    const hid_t attr = H5Aopen(dataset, name, H5P_DEFAULT);
    const int known = attr >= 0 && read_fact(self, attr, &fact);
    if (attr >= 0) {
        H5Aclose(attr);
    }
    return known && fact.kind == OTIMES_ATTR_TEXT ? fact.text : NULL;
}

/* ---- types and shapes ---- */

/* What a dataset is read as; 0 when it is neither numbers nor texts. */
static int type_of(hid_t dataset, otimes_type *type)
{
    const hid_t stored = H5Dget_type(dataset);
    const size_t size = stored >= 0 ? H5Tget_size(stored) : 0;
    int known = 1;
    switch (stored >= 0 ? H5Tget_class(stored) : H5T_NO_CLASS) {
    case H5T_FLOAT:
        *type = size <= 4 ? OTIMES_F32 : OTIMES_F64;
        known = size <= 8;
        break;
    case H5T_INTEGER:
        *type =
            size < 4 || (size == 4 && H5Tget_sign(stored) == H5T_SGN_2) ? OTIMES_I32 : OTIMES_I64;
        known = size <= 8;
        break;
    case H5T_STRING:
        *type = OTIMES_TEXT;
        known = H5Tis_variable_str(stored) > 0;
        break;
    default:
        known = 0;
    }
    if (stored >= 0) {
        H5Tclose(stored);
    }
    return known;
}

/* Number of dimensions and their lengths; -1 when they cannot be told or are too many. */
static int shape_of(hid_t dataset, hsize_t dim[OTIMES_MAX_DIMS])
{
    const hid_t space = H5Dget_space(dataset);
    int ndim = -1;
    if (space >= 0) {
        const H5S_class_t class = H5Sget_simple_extent_type(space);
        ndim = class == H5S_SCALAR   ? 0
               : class == H5S_SIMPLE ? H5Sget_simple_extent_ndims(space)
                                     : -1;
        if (ndim > OTIMES_MAX_DIMS ||
            (ndim > 0 && H5Sget_simple_extent_dims(space, dim, NULL) < 0)) {
            ndim = -1;
        }
        H5Sclose(space);
    }
    for (int d = 0; d < ndim; d++) {
        if (dim[d] > INT64_MAX) {
            ndim = -1;
        }
    }
    return ndim;
}

/* Whether reading any part of a dataset needs more memory than a chunk may have. */
static int has_huge_chunk(hid_t dataset, size_t entry)
{
    hsize_t chunk[OTIMES_MAX_DIMS], bytes = entry;
    const hid_t made = H5Dget_create_plist(dataset);
    int ndim = 0;
    if (made >= 0) {
        ndim = H5Pget_layout(made) == H5D_CHUNKED ? H5Pget_chunk(made, OTIMES_MAX_DIMS, chunk) : 0;
        H5Pclose(made);
    }
    for (int d = 0; d < ndim && d < OTIMES_MAX_DIMS; d++) {
        if (chunk[d] > CHUNK_MOST / bytes) {
            return 1;
        }
        bytes *= chunk[d] ? chunk[d] : 1;
    }
    return 0;
}

/* ---- axes ---- */

/* A run of a dataset of one dimension. */
static int read_run(const h5_file *self, hid_t dataset, hid_t type, hsize_t start, hsize_t count,
                    void *data)
{
    const hid_t memory = H5Screate_simple(1, &count, NULL), file = H5Dget_space(dataset);
    int rc = -1;
    if (memory >= 0 && file >= 0 &&
        H5Sselect_hyperslab(file, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0) {
        rc = H5Dread(dataset, type, memory, file, self->transfer, data) < 0 ? -1 : 0;
    }
    if (memory >= 0) {
        H5Sclose(memory);
    }
    if (file >= 0) {
        H5Sclose(file);
    }
    return rc;
}

static int too_many(const h5_file *self, const h5_axis *to, otimes_err *err)
{
    return fail(err, OTIMES_ERR_FORMAT, "%s: axis %s: expected at most %lld labels, got %lld",
                self->path, to->name, (long long)LABELS_MOST, (long long)to->about.length);
}

/* Numbers are kept only if they are not 0, 1, 2 ... as labels are by themselves. */
static int read_numbers(h5_file *self, hid_t dataset, h5_axis *to, otimes_err *err)
{
    const hsize_t length = (hsize_t)to->about.length;
    int64_t part[1024];
    hsize_t at = 0;
    for (int counting = 1; at < length && counting;) {
        const hsize_t n = length - at < 1024 ? length - at : 1024;
        if (read_run(self, dataset, H5T_NATIVE_INT64, at, n, part) < 0) {
            return h5read_fail(self, to->name, err);
        }
        for (hsize_t i = 0; i < n && counting; i++) {
            counting = part[i] == (int64_t)(at + i);
        }
        at += counting ? n : 0;
        if (!counting) {
            break;
        }
    }
    if (at == length) {
        return 0;
    }
    if (length > LABELS_MOST) {
        return too_many(self, to, err);
    }
    to->number = malloc((size_t)length * sizeof *to->number);
    if (!to->number) {
        return fail_memory(err, self->path);
    }
    to->about.number = to->number;
    return read_run(self, dataset, H5T_NATIVE_INT64, 0, length, to->number) < 0
               ? h5read_fail(self, to->name, err)
               : 0;
}

static int read_texts(h5_file *self, hid_t dataset, h5_axis *to, otimes_err *err)
{
    const hsize_t length = (hsize_t)to->about.length;
    if (length > LABELS_MOST) {
        return too_many(self, to, err);
    }
    to->text = calloc((size_t)length + 1, sizeof *to->text);
    if (!to->text) {
        return fail_memory(err, self->path);
    }
    to->about.text = to->text;
    self->target = &self->labels;
    for (hsize_t at = 0; at < length; at += LABELS_READ) {
        const hsize_t n = length - at < LABELS_READ ? length - at : LABELS_READ;
        if (read_run(self, dataset, self->text, at, n, to->text + at) < 0) {
            return h5read_fail(self, to->name, err);
        }
    }
    return 0;
}

/* A scale without numbers of its own only says how long a dimension is. */
static int read_labels(h5_file *self, hid_t dataset, h5_axis *to, otimes_err *err)
{
    otimes_type type;
    if (to->about.length == 0 || H5Dget_storage_size(dataset) == 0) {
        return 0;
    }
    if (!type_of(dataset, &type) || type == OTIMES_F32 || type == OTIMES_F64 ||
        has_huge_chunk(dataset, 8)) {
        return fail_file(self, to->name, "expected labels that are texts or integers", err);
    }
    return type == OTIMES_TEXT ? read_texts(self, dataset, to, err)
                               : read_numbers(self, dataset, to, err);
}

static int add_axis(h5_file *self, hid_t dataset, const char *name, otimes_err *err)
{
    hsize_t dim[OTIMES_MAX_DIMS];
    if (shape_of(dataset, dim) != 1) {
        return fail_file(self, name, "expected an axis of one dimension", err);
    }
    int rc = grow(self, (void **)&self->axes, self->axis_count, &self->axis_room, sizeof(h5_axis *),
                  err);
    h5_axis *to = rc ? NULL : calloc(1, sizeof *to);
    if (!to) {
        return rc ? rc : fail_memory(err, self->path);
    }
    self->axes[self->axis_count++] = to;
    to->name = strdup(name);
    if (!to->name) {
        return fail_memory(err, self->path);
    }
    to->about = (otimes_axis){.name = to->name,
                              .length = (int64_t)dim[0],
                              .long_name = fact_of(self, dataset, "long_name")};
    return read_labels(self, dataset, to, err);
}

/* ---- arrays ---- */

typedef struct found_scale {
    const h5_file *self;
    const h5_axis *axis;
} found_scale;

static herr_t visit_scale(hid_t dataset, unsigned dimension, hid_t scale, void *data)
{
    found_scale *found = data;
    char name[NAME_BYTES];
    (void)dataset, (void)dimension;
    const ssize_t length = H5Iget_name(scale, name, sizeof name);
    for (int64_t i = 0; length > 1 && length < NAME_BYTES && i < found->self->axis_count; i++) {
        if (!strcmp(found->self->axes[i]->name, name + 1)) { /* behind the slash of the root */
            found->axis = found->self->axes[i];
            return 1;
        }
    }
    return 0;
}

static int attach_axes(h5_file *self, hid_t dataset, h5_array *to, const hsize_t *dim,
                       otimes_err *err)
{
    for (int d = 0; d < to->about.ndim; d++) {
        found_scale found = {self, NULL};
        if (H5Aexists(dataset, "DIMENSION_LIST") > 0) {
            H5DSiterate_scales(dataset, (unsigned)d, NULL, visit_scale, &found);
        }
        if (!found.axis) {
            return fail(err, OTIMES_ERR_FORMAT,
                        "%s: %s: expected a dimension scale for each dimension, got none for %d",
                        self->path, to->name, d);
        }
        if ((hsize_t)found.axis->about.length != dim[d]) {
            return fail(err, OTIMES_ERR_FORMAT, "%s: %s: axis %s: expected length %lld, got %lld",
                        self->path, to->name, found.axis->name, (long long)found.axis->about.length,
                        (long long)dim[d]);
        }
        to->about.axis[d] = &found.axis->about;
        for (int e = 0; e < d; e++) {
            if (to->about.axis[e] == to->about.axis[d]) {
                return fail_file(self, to->name, "expected different axes, got one twice", err);
            }
        }
    }
    return 0;
}

static int add_array(h5_file *self, hid_t dataset, const char *name, otimes_err *err)
{
    hsize_t dim[OTIMES_MAX_DIMS];
    int rc = grow(self, (void **)&self->arrays, self->array_count, &self->array_room,
                  sizeof(h5_array *), err);
    h5_array *to = rc ? NULL : calloc(1, sizeof *to);
    if (!to) {
        return rc ? rc : fail_memory(err, self->path);
    }
    self->arrays[self->array_count++] = to;
    to->name = strdup(name);
    if (!to->name) {
        return fail_memory(err, self->path);
    }
    to->about = (otimes_array){.name = to->name,
                               .ndim = shape_of(dataset, dim),
                               .long_name = fact_of(self, dataset, "long_name"),
                               .units = fact_of(self, dataset, "units"),
                               .formula = fact_of(self, dataset, "formula"),
                               .orientation = fact_of(self, dataset, "orientation"),
                               .labels_of = fact_of(self, dataset, "labels_of")};
    if (to->about.ndim < 0) {
        return fail_file(self, name, "expected an array of at most 6 dimensions", err);
    }
    if (!type_of(dataset, &to->about.type)) {
        return fail_file(self, name, "expected numbers of at most 8 bytes or UTF-8 texts", err);
    }
    if (has_huge_chunk(dataset, otimes_type_size(to->about.type))) {
        return fail_file(self, name, "expected chunks of at most 256 MiB", err);
    }
    return attach_axes(self, dataset, to, dim, err);
}

/* Twice over the root group: axes first, then what they belong to. */
typedef struct pass {
    h5_file *self;
    int scales;
} pass;

static herr_t visit_object(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    const pass *p = data;
    h5_file *self = p->self;
    if (info->type != H5L_TYPE_HARD || strlen(name) >= NAME_BYTES - 1) {
        return 0;
    }
    const hid_t object = H5Oopen(group, name, H5P_DEFAULT);
    if (object < 0) {
        self->status = h5read_fail(self, name, self->err);
        return -1;
    }
    if (H5Iget_type(object) == H5I_DATASET && (H5DSis_scale(object) > 0) == p->scales) {
        self->status = (p->scales ? add_axis : add_array)(self, object, name, self->err);
    }
    H5Oclose(object);
    return self->status ? -1 : 0;
}

static int visit_objects(h5_file *self, int scales, otimes_err *err)
{
    pass p = {self, scales};
    hsize_t at = 0;
    self->status = 0;
    self->err = err;
    herr_t rc = H5Literate(self->id, H5_INDEX_CRT_ORDER, H5_ITER_INC, &at, visit_object, &p);
    if (rc < 0 && !self->status && at == 0) { /* a file without that order */
        rc = H5Literate(self->id, H5_INDEX_NAME, H5_ITER_INC, &at, visit_object, &p);
    }
    return self->status ? self->status : rc < 0 ? h5read_fail(self, "root group", err) : 0;
}

static int visit_facts(h5_file *self, otimes_err *err)
{
    hsize_t at = 0;
    self->status = 0;
    self->err = err;
    herr_t rc = H5Aiterate2(self->id, H5_INDEX_CRT_ORDER, H5_ITER_INC, &at, visit_fact, self);
    if (rc < 0 && !self->status && at == 0) {
        rc = H5Aiterate2(self->id, H5_INDEX_NAME, H5_ITER_INC, &at, visit_fact, self);
    }
    return self->status ? self->status : rc < 0 ? h5read_fail(self, "attributes", err) : 0;
}

/* ---- all of it ---- */

int h5read_parts(h5_file *self, otimes_err *err)
{
    int rc = visit_facts(self, err);
    if (!rc) {
        rc = visit_objects(self, 1, err);
    }
    return rc ? rc : visit_objects(self, 0, err);
}

void h5read_parts_free(h5_file *self)
{
    for (int64_t i = 0; i < self->axis_count; i++) {
        free(self->axes[i]->name);
        free(self->axes[i]->text);
        free(self->axes[i]->number);
        free(self->axes[i]);
    }
    for (int64_t i = 0; i < self->array_count; i++) {
        free(self->arrays[i]->name);
        free(self->arrays[i]);
    }
    free(self->axes);
    free(self->arrays);
    free(self->attrs);
    arena_free(&self->facts);
    arena_free(&self->labels);
}
