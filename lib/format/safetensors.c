/* SPDX-License-Identifier: MIT */
#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/json.h"

/* The reference implementation's own limit on the header. */
#define HEADER_LIMIT 100000000

static int64_t header_length(const otimes_map *map)
{
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | map->data[i];
    }
    return length > INT64_MAX ? INT64_MAX : (int64_t)length;
}

bool otimes_safetensors_recognise(const otimes_map *map)
{
    return map->bytes > 8 && map->data[8] == '{';
}

/* Where a tensor lies, to check that together they cover the data exactly. */
typedef struct extent {
    int64_t begin, end;
    const char *name;
} extent;

static int by_begin(const void *a, const void *b)
{
    const extent *x = a, *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return (x->end > y->end) - (x->end < y->end);
}

static int check_cover(extent *extents, int64_t count, int64_t data_bytes, const char *path,
                       otimes_err *err)
{
    int64_t at = 0;
    qsort(extents, (size_t)count, sizeof *extents, by_begin);
    for (int64_t i = 0; i < count; i++) {
        if (extents[i].begin != at) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: %s: data_offsets %s: expected to begin at %lld, got %lld", path,
                               extents[i].name,
                               extents[i].begin < at ? "overlap another tensor" : "leave a hole",
                               (long long)at, (long long)extents[i].begin);
        }
        at = extents[i].end;
    }
    if (at != data_bytes) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: truncated or too long: expected %lld bytes of tensors, got %lld",
                           path, (long long)at, (long long)data_bytes);
    }
    return OTIMES_OK;
}

/* One integer of an array, not negative. */
static bool read_size(const json_t *array, size_t index, int64_t *value)
{
    const json_t *item = json_array_get(array, index);
    if (!json_is_integer(item) || json_integer_value(item) < 0) {
        return false;
    }
    *value = json_integer_value(item);
    return true;
}

static int read_shape(const json_t *shape, otimes_entry *entry, int64_t *bytes, const char *path,
                      otimes_err *err)
{
    if (!json_is_array(shape) || json_array_size(shape) > OTIMES_MAX_DIMS) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: shape: expected at most %d sizes", path,
                           entry->name, OTIMES_MAX_DIMS);
    }
    entry->ndim = (int)json_array_size(shape);
    int64_t elements = 1;
    bool fits = true;
    for (int i = 0; fits && i < entry->ndim; i++) {
        fits = read_size(shape, (size_t)i, &entry->dim[i]) &&
               otimes_mul_i64(elements, entry->dim[i], &elements);
    }
    return fits && otimes_dtype_bytes(entry->dtype, elements, bytes)
               ? OTIMES_OK
               : otimes_fail(err, OTIMES_ERR_FORMAT,
                             "%s: %s: shape: expected sizes whose product fits 63 bits", path,
                             entry->name);
}

static int read_tensor(const json_t *description, otimes_entry *entry, extent *where,
                       const unsigned char *data, int64_t data_bytes, const char *path,
                       otimes_err *err)
{
    const char *dtype = json_string_value(json_object_get(description, "dtype"));
    if (!dtype || !otimes_dtype_parse(dtype, &entry->dtype)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: dtype: expected a known type, got %s",
                           path, entry->name, dtype ? dtype : "none");
    }
    int64_t bytes = 0;
    const int rc = read_shape(json_object_get(description, "shape"), entry, &bytes, path, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    const json_t *offsets = json_object_get(description, "data_offsets");
    if (json_array_size(offsets) != 2 || !read_size(offsets, 0, &where->begin) ||
        !read_size(offsets, 1, &where->end) || where->begin > where->end) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: %s: data_offsets: expected two ascending integers", path,
                           entry->name);
    }
    if (where->end > data_bytes) {
        return otimes_fail(
            err, OTIMES_ERR_FORMAT,
            "%s: %s: data_offsets: expected at most %lld, got %lld (file truncated?)", path,
            entry->name, (long long)data_bytes, (long long)where->end);
    }
    if (where->end - where->begin != bytes) {
        return otimes_fail(
            err, OTIMES_ERR_FORMAT,
            "%s: %s: data_offsets: expected %lld bytes for dtype and shape, got %lld", path,
            entry->name, (long long)bytes, (long long)(where->end - where->begin));
    }
    otimes_entry_row_major(entry);
    entry->data = data + where->begin;
    entry->bytes = bytes;
    where->name = entry->name;
    return OTIMES_OK;
}

/* __metadata__ {alias: stored name}: how shared tensors are kept. Its other members (such as
 * "format") name no tensor and are left alone. */
static int add_aliases(otimes_store *store, const json_t *header, const unsigned char *data,
                       int64_t data_bytes, const char *path, otimes_err *err)
{
    json_t *metadata = json_object_get(header, "__metadata__"), *value;
    const char *alias;
    int rc = OTIMES_OK;
    json_object_foreach (metadata, alias, value) {
        const char *target = json_string_value(value);
        const json_t *description = target ? json_object_get(header, target) : NULL;
        otimes_entry entry = {.name = (char *)target};
        extent where;
        if (rc != OTIMES_OK || !description || description == metadata ||
            json_object_get(header, alias)) {
            continue;
        }
        rc = read_tensor(description, &entry, &where, data, data_bytes, path, err);
        if (rc == OTIMES_OK) {
            entry.name = (char *)alias;
            entry.alias_of = (char *)target;
            rc = otimes_store_add(store, &entry, err);
        }
    }
    return rc;
}

/* What `otimes convert` says of the weights it wrote: they describe themselves. */
static int read_config(otimes_store *store, const json_t *header, const char *path, otimes_err *err)
{
    const json_t *metadata = json_object_get(header, "__metadata__");
    const char *text = json_string_value(json_object_get(metadata, "otimes_config"));
    if (!text || store->config) {
        return OTIMES_OK;
    }
    const int rc = otimes_json_parse(&store->config, text, (int64_t)strlen(text), path, err);
    if (rc == OTIMES_OK && !json_is_object(store->config)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: otimes_config: expected a JSON object",
                           path);
    }
    return rc;
}

static int add_tensors(otimes_store *store, const otimes_file *file, json_t *header,
                       int64_t data_begin, otimes_err *err)
{
    const unsigned char *data = file->map.data + data_begin;
    const int64_t data_bytes = file->map.bytes - data_begin;
    extent *extents;
    int64_t count = 0;
    int rc = OTIMES_NEW(&extents, (int64_t)json_object_size(header), err);
    const char *name;
    json_t *description;
    json_object_foreach (header, name, description) {
        if (rc != OTIMES_OK) {
            break;
        }
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        otimes_entry entry = {.name = (char *)name};
        rc = read_tensor(description, &entry, &extents[count], data, data_bytes, file->path, err);
        if (rc == OTIMES_OK) {
            rc = otimes_store_add(store, &entry, err);
            count++;
        }
    }
    if (rc == OTIMES_OK) {
        rc = check_cover(extents, count, data_bytes, file->path, err);
    }
    if (rc == OTIMES_OK) {
        rc = add_aliases(store, header, data, data_bytes, file->path, err);
    }
    otimes_free(extents);
    return rc;
}

int otimes_safetensors_add(otimes_store *store, const otimes_file *file, otimes_err *err)
{
    const int64_t rest = file->map.bytes - 8;
    const int64_t length = rest >= 0 ? header_length(&file->map) : 0;
    if (rest < 0 || length > rest || length > HEADER_LIMIT) {
        return otimes_fail(
            err, OTIMES_ERR_FORMAT, "%s: header length: expected at most %lld bytes, got %lld",
            file->path, (long long)(rest < HEADER_LIMIT ? rest : HEADER_LIMIT), (long long)length);
    }
    json_t *header;
    int rc = otimes_json_parse(&header, file->map.data + 8, length, file->path, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    rc = add_tensors(store, file, header, 8 + length, err); /* an object: it begins with '{' */
    rc = rc == OTIMES_OK ? read_config(store, header, file->path, err) : rc;
    json_decref(header);
    return rc;
}
