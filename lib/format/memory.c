/* SPDX-License-Identifier: MIT */
#include "format/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- views ---- */

/* Elements of a shape, and the number of the last one in memory (-1 when there are none). */
static bool measure(const otimes_memory_tensor *tensor, int64_t *elements, int64_t *last)
{
    *elements = 1;
    *last = 0;
    bool fits = true;
    for (int i = 0; fits && i < tensor->ndim; i++) {
        fits = otimes_mul_i64(*elements, tensor->dim[i], elements);
    }
    for (int i = 0; fits && *elements > 0 && i < tensor->ndim; i++) {
        int64_t step;
        fits = otimes_mul_i64(tensor->dim[i] - 1, tensor->stride[i], &step) &&
               !__builtin_add_overflow(*last, step, last);
    }
    if (*elements == 0) {
        *last = -1;
    }
    return fits;
}

/* Axis by axis, so that an error can say which. */
static int check_axes(const otimes_memory_tensor *tensor, const char *name, otimes_err *err)
{
    if (tensor->ndim < 0 || tensor->ndim > OTIMES_MAX_DIMS) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: %s: expected 0 to %d axes, got %d", name,
                           tensor->name, OTIMES_MAX_DIMS, tensor->ndim);
    }
    for (int i = 0; i < tensor->ndim; i++) {
        const bool stride = tensor->dim[i] >= 0;
        if (tensor->dim[i] < 0 || tensor->stride[i] < 0) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "%s: %s: axis %d: expected a %s of 0 or more, got %lld", name,
                               tensor->name, i, stride ? "stride" : "size",
                               (long long)(stride ? tensor->stride[i] : tensor->dim[i]));
        }
    }
    return OTIMES_OK;
}

/* A tensor as an entry, whose bytes all lie within those that the caller has. */
static int make_entry(const otimes_memory_tensor *tensor, const char *name, otimes_entry *entry,
                      otimes_err *err)
{
    if (!tensor->dtype || !otimes_dtype_parse(tensor->dtype, &entry->dtype)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: %s: dtype: expected a known type, got %s",
                           name, tensor->name, tensor->dtype ? tensor->dtype : "none");
    }
    const int rc = check_axes(tensor, name, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    int64_t elements, last;
    if (!measure(tensor, &elements, &last) ||
        !otimes_dtype_bytes(entry->dtype, last + 1, &entry->bytes)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "%s: %s: expected sizes and strides whose product fits 63 bits", name,
                           tensor->name);
    }
    if (entry->bytes > tensor->bytes) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "%s: %s: expected %lld bytes for dtype, shape and strides, got %lld",
                           name, tensor->name, (long long)entry->bytes, (long long)tensor->bytes);
    }
    if (elements > 0 && !tensor->data) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: %s: expected data, got none", name,
                           tensor->name);
    }
    entry->name = (char *)tensor->name;
    entry->ndim = tensor->ndim;
    memcpy(entry->dim, tensor->dim, sizeof entry->dim);
    memcpy(entry->stride, tensor->stride, sizeof entry->stride);
    entry->data = tensor->data;
    otimes_entry_settle_strides(entry);
    return OTIMES_OK;
}

static int add_tensors(otimes_store *store, const otimes_memory_tensor *tensors, int64_t count,
                       const char *name, otimes_err *err)
{
    if (count < 0 || (count > 0 && !tensors)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: tensors: expected a list, got none",
                           name);
    }
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        otimes_entry entry = {0};
        if (!tensors[i].name || tensors[i].name[0] == '\0') {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "%s: tensor number %lld: expected a name, got none", name,
                               (long long)i);
        }
        rc = make_entry(&tensors[i], name, &entry, err);
        if (rc == OTIMES_OK) {
            rc = otimes_store_add(store, &entry, err);
        }
    }
    return rc;
}

/* ---- tensors that are one ---- */

/* 0: the same elements at the same places. */
static int order_views(const otimes_entry *a, const otimes_entry *b)
{
    const uintptr_t p = (uintptr_t)a->data, q = (uintptr_t)b->data;
    const size_t bytes = (size_t)a->ndim * sizeof *a->dim;
    int order = (p > q) - (p < q);
    order = order ? order : (a->dtype > b->dtype) - (a->dtype < b->dtype);
    order = order ? order : (a->ndim > b->ndim) - (a->ndim < b->ndim);
    order = order ? order : memcmp(a->dim, b->dim, bytes);
    return order ? order : memcmp(a->stride, b->stride, bytes);
}

/* Same views stand together, by name as entries do. */
static int by_view(const void *a, const void *b)
{
    const otimes_entry *x = *(otimes_entry *const *)a, *y = *(otimes_entry *const *)b;
    const int order = order_views(x, y);
    return order ? order : (x > y) - (x < y);
}

/* Tied weights have two names and one memory: the later name is an alias, as files have them. */
static int find_aliases(otimes_store *store, otimes_err *err)
{
    otimes_entry **order;
    int rc = OTIMES_NEW(&order, store->entry_count, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t i = 0; i < store->entry_count; i++) {
        order[i] = &store->entries[i];
    }
    qsort(order, (size_t)store->entry_count, sizeof *order, by_view);
    for (int64_t i = 1; rc == OTIMES_OK && i < store->entry_count; i++) {
        const otimes_entry *before = order[i - 1];
        if (before->bytes > 0 && !order_views(before, order[i])) {
            order[i]->alias_of = otimes_strdup(before->alias_of ? before->alias_of : before->name);
            rc = order[i]->alias_of
                     ? OTIMES_OK
                     : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: tensor name");
        }
    }
    otimes_free(order);
    return rc;
}

int otimes_store_lend(otimes_store *store, const otimes_memory_tensor *tensors, int64_t count,
                      const char *name, otimes_err *err)
{
    *store = (otimes_store){.format = "memory", .lent = true, .directory = otimes_strdup(name)};
    int rc =
        store->directory ? OTIMES_OK : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: path");
    if (rc == OTIMES_OK) {
        rc = add_tensors(store, tensors, count, name, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_store_settle(store, err);
    }
    if (rc == OTIMES_OK) {
        rc = find_aliases(store, err);
    }
    if (rc == OTIMES_OK) {
        otimes_store_join(store);
    } else {
        otimes_store_close(store);
    }
    return rc;
}

/* ---- digest ---- */

enum { PACKED = 1 << 16, RUN = 4 << 20 /* bytes between two words about progress */ };

/* Bytes on their way into a digest, packed where they come in small pieces. */
typedef struct stream {
    otimes_sha256 sha;
    int64_t count;
    unsigned char *bytes; /* [PACKED] */
    otimes_pulse *pulse;
} stream;

static int flush(stream *to, otimes_err *err)
{
    const int64_t count = to->count;
    to->count = 0;
    const int rc = count ? otimes_sha256_add(&to->sha, to->bytes, count, err) : OTIMES_OK;
    return rc == OTIMES_OK ? otimes_pulse_beat(to->pulse, err) : rc;
}

/* What is large, run by run. */
static int add(stream *to, const char *bytes, int64_t count, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < count; at += RUN) {
        const int64_t run = count - at < RUN ? count - at : RUN;
        rc = otimes_sha256_add(&to->sha, bytes + at, run, err);
        rc = rc == OTIMES_OK ? otimes_pulse_say(to->pulse, to->pulse->done + (double)run, err) : rc;
    }
    return rc;
}

static int put(stream *to, const void *bytes, int64_t count, otimes_err *err)
{
    int rc = count > PACKED - to->count ? flush(to, err) : OTIMES_OK;
    if (rc != OTIMES_OK || count > PACKED) {
        return rc == OTIMES_OK ? add(to, bytes, count, err) : rc;
    }
    memcpy(to->bytes + to->count, bytes, (size_t)count);
    to->count += count;
    return OTIMES_OK;
}

/* "name F32 [2,3]" and a line's end. */
static int put_heading(stream *to, const otimes_entry *entry, otimes_err *err)
{
    otimes_text line = {0};
    int rc = otimes_text_add(&line, err, "%s %s [", entry->name, otimes_dtype_name(entry->dtype));
    for (int i = 0; rc == OTIMES_OK && i < entry->ndim; i++) {
        rc = otimes_text_add(&line, err, "%s%lld", i ? "," : "", (long long)entry->dim[i]);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_text_add(&line, err, "]\n");
    }
    if (rc == OTIMES_OK) {
        rc = put(to, line.data, line.length, err);
    }
    otimes_text_free(&line);
    return rc;
}

/* The next place of the outer axes, in row-major order; false after the last. */
static bool advance(const otimes_entry *entry, int outer, int64_t *at, int64_t *offset)
{
    for (int axis = outer - 1; axis >= 0; axis--) {
        *offset += entry->stride[axis];
        if (++at[axis] < entry->dim[axis]) {
            return true;
        }
        *offset -= at[axis] * entry->stride[axis];
        at[axis] = 0;
    }
    return false;
}

/* Elements in row-major order, whatever their strides: inner axes that lie in one piece go at once. */
static int put_elements(stream *to, const otimes_entry *entry, otimes_err *err)
{
    const int64_t size = (int64_t)otimes_dtype_size(entry->dtype);
    int64_t run = 1, offset = 0, at[OTIMES_MAX_DIMS] = {0};
    int outer = entry->ndim;
    while (outer > 0 && (entry->stride[outer - 1] == run || entry->dim[outer - 1] == 1)) {
        run *= entry->dim[--outer];
    }
    int rc;
    do {
        rc = put(to, entry->data + offset * size, run * size, err);
    } while (rc == OTIMES_OK && advance(entry, outer, at, &offset));
    return rc;
}

static int put_entry(stream *to, const otimes_entry *entry, otimes_err *err)
{
    const int rc = put_heading(to, entry, err);
    if (rc != OTIMES_OK || entry->bytes == 0) {
        return rc;
    }
    if (!entry->scales) {
        return put_elements(to, entry, err);
    }
    int64_t elements = 1, blocks = 0; /* what was joined lies in order */
    for (int i = 0; i < entry->ndim; i++) {
        elements *= entry->dim[i];
    }
    (void)otimes_dtype_bytes(entry->dtype, elements, &blocks);
    const int joined = put(to, entry->data, blocks, err);
    return joined == OTIMES_OK ? put(to, entry->scales, entry->bytes - blocks, err) : joined;
}

int otimes_store_digest(const otimes_store *store, otimes_pulse *pulse, char hex[OTIMES_SHA256_HEX],
                        otimes_err *err)
{
    stream to = {.pulse = pulse};
    int rc = OTIMES_NEW(&to.bytes, PACKED, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sha256_begin(&to.sha, err);
    }
    for (int64_t i = 0; i < store->entry_count; i++) {
        pulse->total += (double)store->entries[i].bytes;
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < store->entry_count; i++) {
        rc = put_entry(&to, &store->entries[i], err);
    }
    if (rc == OTIMES_OK) {
        rc = flush(&to, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pulse_say(pulse, pulse->total, err);
    }
    const int finish = otimes_sha256_finish(&to.sha, rc == OTIMES_OK ? hex : NULL, err);
    otimes_free(to.bytes);
    return rc == OTIMES_OK ? finish : rc;
}
