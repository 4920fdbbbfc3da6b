/* SPDX-License-Identifier: MIT */
#include "format/gguf.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf_read.h"

enum { MOST_DIMS = 4, DEFAULT_ALIGNMENT = 32, LEAST_TENSOR_INFO = 20, LEAST_METADATA = 9 };

/* ggml's numbers of tensor types. What has no reader here is known by name all the same. */
enum { UNREAD = -1 };

static const struct {
    const char *name; /* NULL: a number never given */
    int dtype;        /* an otimes_dtype, or UNREAD */
} types[] = {
    [0] = {"F32", OTIMES_DTYPE_F32},
    [1] = {"F16", OTIMES_DTYPE_F16},
    [2] = {"Q4_0", OTIMES_DTYPE_Q4_0},
    [3] = {"Q4_1", OTIMES_DTYPE_Q4_1},
    [4] = {"Q4_2", UNREAD},
    [5] = {"Q4_3", UNREAD},
    [6] = {"Q5_0", OTIMES_DTYPE_Q5_0},
    [7] = {"Q5_1", OTIMES_DTYPE_Q5_1},
    [8] = {"Q8_0", OTIMES_DTYPE_Q8_0},
    [9] = {"Q8_1", UNREAD},
    [10] = {"Q2_K", OTIMES_DTYPE_Q2_K},
    [11] = {"Q3_K", OTIMES_DTYPE_Q3_K},
    [12] = {"Q4_K", OTIMES_DTYPE_Q4_K},
    [13] = {"Q5_K", OTIMES_DTYPE_Q5_K},
    [14] = {"Q6_K", OTIMES_DTYPE_Q6_K},
    [15] = {"Q8_K", UNREAD},
    [16] = {"IQ2_XXS", UNREAD},
    [17] = {"IQ2_XS", UNREAD},
    [18] = {"IQ3_XXS", UNREAD},
    [19] = {"IQ1_S", UNREAD},
    [20] = {"IQ4_NL", UNREAD},
    [21] = {"IQ3_S", UNREAD},
    [22] = {"IQ2_S", UNREAD},
    [23] = {"IQ4_XS", UNREAD},
    [24] = {"I8", OTIMES_DTYPE_I8},
    [25] = {"I16", OTIMES_DTYPE_I16},
    [26] = {"I32", OTIMES_DTYPE_I32},
    [27] = {"I64", OTIMES_DTYPE_I64},
    [28] = {"F64", OTIMES_DTYPE_F64},
    [29] = {"IQ1_M", UNREAD},
    [30] = {"BF16", OTIMES_DTYPE_BF16},
    [31] = {"Q4_0_4_4", UNREAD},
    [32] = {"Q4_0_4_8", UNREAD},
    [33] = {"Q4_0_8_8", UNREAD},
    [34] = {"TQ1_0", UNREAD},
    [35] = {"TQ2_0", UNREAD},
    [36] = {"IQ4_NL_4_4", UNREAD},
    [37] = {"IQ4_NL_4_8", UNREAD},
    [38] = {"IQ4_NL_8_8", UNREAD},
    [39] = {"MXFP4", OTIMES_DTYPE_MXFP4},
    [40] = {"NVFP4", UNREAD},
    [41] = {"Q1_0", UNREAD},
};

enum { TYPES = sizeof types / sizeof types[0] };

bool otimes_gguf_recognise(const otimes_map *map)
{
    return map->bytes >= 4 && memcmp(map->data, "GGUF", 4) == 0;
}

/* ---- tensors ---- */

typedef struct tensor_info {
    char *name;
    int ndim;
    uint64_t dim[MOST_DIMS]; /* fastest first */
    uint32_t type;
    uint64_t offset;
} tensor_info;

/* Where the data lies and what the next tensor's offset must be. */
typedef struct section {
    const unsigned char *data;
    int64_t bytes, alignment, next;
} section;

/* The name is the caller's to free, whatever the reader's state. */
static void read_info(otimes_gguf_reader *reader, tensor_info *info)
{
    *info = (tensor_info){.name = otimes_gguf_name(reader)};
    if (info->name) {
        reader->where = info->name;
    }
    const uint64_t ndim = otimes_gguf_number(reader, 4);
    if (reader->rc == OTIMES_OK && ndim > MOST_DIMS) {
        reader->rc = otimes_fail(reader->err, OTIMES_ERR_FORMAT,
                                 "%s: %s: expected at most %d dimensions, got %llu", reader->path,
                                 reader->where, MOST_DIMS, (unsigned long long)ndim);
    }
    info->ndim = reader->rc == OTIMES_OK ? (int)ndim : 0;
    for (int i = 0; i < info->ndim; i++) {
        info->dim[i] = otimes_gguf_number(reader, otimes_gguf_count_width(reader));
    }
    info->type = (uint32_t)otimes_gguf_number(reader, 4);
    info->offset = otimes_gguf_number(reader, 8);
}

static int refuse_type(const char *path, const tensor_info *info, otimes_err *err)
{
    const char *name = info->type < TYPES ? types[info->type].name : NULL;
    otimes_text known = {0};
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < TYPES; i++) {
        if (types[i].dtype != UNREAD) {
            rc = otimes_text_add(&known, err, "%s%s", known.length ? ", " : "", types[i].name);
        }
    }
    if (rc == OTIMES_OK && name) {
        rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: type %s is not supported: expected %s",
                         path, info->name, name, known.data);
    } else if (rc == OTIMES_OK) {
        rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: type %u is not known: expected %s", path,
                         info->name, info->type, known.data);
    }
    otimes_text_free(&known);
    return rc;
}

static int read_shape(const char *path, const tensor_info *info, otimes_entry *entry,
                      otimes_err *err)
{
    int64_t elements = 1;
    entry->ndim = info->ndim;
    for (int i = 0; i < info->ndim; i++) {
        const uint64_t size = info->dim[info->ndim - 1 - i];
        if (size == 0 || size > INT64_MAX || !otimes_mul_i64(elements, (int64_t)size, &elements)) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: %s: expected sizes of at least 1 whose product fits 63 bits, "
                               "got %llu",
                               path, info->name, (unsigned long long)size);
        }
        entry->dim[i] = (int64_t)size;
    }
    const int64_t block = otimes_dtype_block(entry->dtype);
    const int64_t row = info->ndim > 0 ? entry->dim[info->ndim - 1] : 1;
    if (row % block != 0) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: %s: expected rows of a multiple of %lld elements for %s, got %lld",
                           path, info->name, (long long)block, otimes_dtype_name(entry->dtype),
                           (long long)row);
    }
    if (!otimes_dtype_bytes(entry->dtype, elements, &entry->bytes)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: expected bytes that fit 63 bits", path,
                           info->name);
    }
    otimes_entry_row_major(entry);
    return OTIMES_OK;
}

static int place(const char *path, const tensor_info *info, section *where, otimes_entry *entry,
                 otimes_err *err)
{
    if (info->offset % (uint64_t)where->alignment != 0) {
        return otimes_fail(
            err, OTIMES_ERR_FORMAT, "%s: %s: offset: expected a multiple of %lld, got %llu", path,
            info->name, (long long)where->alignment, (unsigned long long)info->offset);
    }
    if (info->offset != (uint64_t)where->next) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: %s: offset: expected %lld, where the tensor before it ends, "
                           "got %llu",
                           path, info->name, (long long)where->next,
                           (unsigned long long)info->offset);
    }
    if (where->next > where->bytes || entry->bytes > where->bytes - where->next) {
        const int64_t left = where->bytes - where->next;
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: %s: truncated: expected %lld bytes of data, got %lld", path,
                           info->name, (long long)entry->bytes, (long long)(left > 0 ? left : 0));
    }
    entry->data = where->data + where->next;
    where->next += (entry->bytes + where->alignment - 1) / where->alignment * where->alignment;
    return OTIMES_OK;
}

static int add_tensor(otimes_store *store, const char *path, const tensor_info *info,
                      section *where, otimes_err *err)
{
    if (info->type >= TYPES || types[info->type].dtype == UNREAD) {
        return refuse_type(path, info, err);
    }
    otimes_entry entry = {.name = info->name, .dtype = (otimes_dtype)types[info->type].dtype};
    int rc = read_shape(path, info, &entry, err);
    if (rc == OTIMES_OK) {
        rc = place(path, info, where, &entry, err);
    }
    return rc == OTIMES_OK ? otimes_store_add(store, &entry, err) : rc;
}

/* One pass over the tensor infos. The first, with `where` NULL, finds where they end and with that
 * where the data begins; the second adds the tensors. */
static void pass_over(otimes_gguf_reader *reader, int64_t count, otimes_store *store,
                      section *where)
{
    char number[64];
    for (int64_t i = 0; i < count && reader->rc == OTIMES_OK; i++) {
        tensor_info info;
        snprintf(number, sizeof number, "tensor %lld", (long long)i);
        reader->where = number;
        read_info(reader, &info);
        if (reader->rc == OTIMES_OK && where) {
            reader->rc = add_tensor(store, reader->path, &info, where, reader->err);
        }
        otimes_free(info.name);
        reader->where = "tensors";
    }
}

/* ---- the file ---- */

static void check_version(otimes_gguf_reader *reader)
{
    const uint32_t version = (uint32_t)otimes_gguf_number(reader, 4);
    const uint32_t swapped = __builtin_bswap32(version);
    reader->version = version;
    if (reader->rc != OTIMES_OK || (version >= 1 && version <= 3)) {
        return;
    }
    reader->rc =
        swapped >= 1 && swapped <= 3
            ? otimes_fail(reader->err, OTIMES_ERR_FORMAT,
                          "%s: big-endian GGUF is not supported: expected little-endian",
                          reader->path)
            : otimes_fail(reader->err, OTIMES_ERR_FORMAT,
                          "%s: GGUF version: expected 1 to 3, got %u", reader->path, version);
}

static int64_t read_alignment(otimes_gguf_reader *reader, const json_t *config)
{
    const json_t *json = otimes_json_member(config, "general.alignment");
    const int64_t alignment = json ? json_integer_value(json) : DEFAULT_ALIGNMENT;
    const int64_t most = (int64_t)1 << 31;
    if (reader->rc == OTIMES_OK &&
        (alignment < 1 || alignment > most || (alignment & (alignment - 1)) != 0)) {
        reader->rc =
            otimes_fail(reader->err, OTIMES_ERR_FORMAT,
                        "%s: general.alignment: expected a power of two of at most %lld, got %lld",
                        reader->path, (long long)most, (long long)alignment);
    }
    return alignment;
}

/* gguf-split writes such parts; each lacks most tensors. */
static void refuse_parts(otimes_gguf_reader *reader, const json_t *config)
{
    const json_int_t parts = json_integer_value(otimes_json_member(config, "split.count"));
    if (reader->rc == OTIMES_OK && parts > 1) {
        reader->rc = otimes_fail(reader->err, OTIMES_ERR_FORMAT,
                                 "%s: expected a whole model, got one of %lld parts (merge them "
                                 "with gguf-split)",
                                 reader->path, (long long)parts);
    }
}

int otimes_gguf_add(otimes_store *store, const otimes_file *file, otimes_err *err)
{
    otimes_gguf_reader reader = {
        .path = file->path,
        .data = file->map.data,
        .at = 4,
        .bytes = file->map.bytes,
        .where = "header",
        .err = err,
    };
    if (store->config) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected one file with metadata, got two",
                           file->path);
    }
    check_version(&reader);
    const int64_t tensors = otimes_gguf_count(&reader, "tensors", LEAST_TENSOR_INFO);
    const int64_t keys = otimes_gguf_count(&reader, "keys", LEAST_METADATA);
    if (reader.rc == OTIMES_OK) {
        store->config = otimes_gguf_metadata(&reader, keys);
    }
    section where = {.alignment = read_alignment(&reader, store->config)};
    refuse_parts(&reader, store->config);
    const otimes_gguf_reader infos = reader;
    pass_over(&reader, tensors, NULL, NULL);
    if (reader.rc == OTIMES_OK) {
        const int64_t begin = (reader.at + where.alignment - 1) / where.alignment * where.alignment;
        where.bytes = begin < reader.bytes ? reader.bytes - begin : 0;
        where.data = reader.data + reader.bytes - where.bytes;
        reader = infos;
        pass_over(&reader, tensors, store, &where);
    }
    /* Else the shape of the last tensor could shrink unseen. */
    if (reader.rc == OTIMES_OK && where.bytes > where.next) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: too long: expected %lld bytes of tensors, got %lld", file->path,
                           (long long)where.next, (long long)where.bytes);
    }
    return reader.rc;
}
