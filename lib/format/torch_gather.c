/* SPDX-License-Identifier: MIT
 *
 * The walk over a checkpoint's objects. What a file shares is walked again each time it is met, so
 * steps are counted against the file's size; cycles end at the greatest depth.
 */
#include "format/torch_gather.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    DEEPEST = 100,
    LONGEST_KEY = 65535,
    LONGEST_LIST = 4096,     /* of a configuration; longer ones are histories of training */
    MOST_PLAIN = 1 << 22,    /* values of a configuration */
    TENSOR_STEPS = 64,       /* what an entry of the store costs beside its name */
    PLAIN_STEPS = 4,         /* what a value of a configuration costs */
    MOST_REPEATED = 1 << 16, /* elements of a tensor that has more of them than its storage */
    STEPS_PER_BYTE = 8,      /* generous: a tensor takes some 60 bytes of pickle */
    STEPS_AT_LEAST = 1 << 17,
};

typedef struct walk {
    otimes_store *store;
    const char *path;
    otimes_text where; /* keys that lead to the value, joined by dots */
    int64_t steps, plain_count;
    int muted; /* above 0 inside of what the configuration leaves out */
    otimes_err *err;
} walk;

static int spend(walk *w, int64_t steps)
{
    w->steps -= steps;
    return w->steps >= 0
               ? OTIMES_OK
               : otimes_fail(w->err, OTIMES_ERR_FORMAT,
                             "%s: pickle: unfolds to many times its size by sharing", w->path);
}

/* Whether jansson refused these bytes because they are not UTF-8; it tells no reason. */
static bool is_not_utf8(const char *text, int64_t length)
{
    json_t *unchecked = json_stringn_nocheck(text, (size_t)length);
    json_decref(unchecked);
    return unchecked != NULL;
}

static int no_memory(const walk *w)
{
    return otimes_fail(w->err, OTIMES_ERR_MEMORY, "%s: out of memory: configuration", w->path);
}

/* ---- tensors ---- */

static int bad_tensor(const walk *w, const char *what, const char *expected)
{
    return otimes_fail(w->err, OTIMES_ERR_FORMAT, "%s: %s: %s: expected %s", w->path, w->where.data,
                       what, expected);
}

/* What was expanded by strides of 0 (or less than a row) is a few bytes that become any number when
 * they are read; a little of that is in files, as a buffer of equal numbers. */
static bool unfolds(const otimes_torch_tensor *tensor, int64_t bytes)
{
    return bytes / tensor->type->size > MOST_REPEATED &&
           bytes > tensor->storage->view_numel * tensor->storage->type->size;
}

/* Sizes and strides, and the number of elements from first to last; 0 when there are none. */
static int read_layout(const walk *w, const otimes_torch_tensor *tensor, otimes_entry *entry,
                       int64_t *extent)
{
    const otimes_pickle_items *size = &tensor->size->items, *stride = &tensor->stride->items;
    int64_t bytes = tensor->type->size, last = 0;
    bool fits = true;
    if (size->count != stride->count || size->count > OTIMES_MAX_DIMS) {
        return otimes_fail(w->err, OTIMES_ERR_FORMAT,
                           "%s: %s: expected at most %d sizes and as many strides, got %lld and "
                           "%lld",
                           w->path, w->where.data, OTIMES_MAX_DIMS, (long long)size->count,
                           (long long)stride->count);
    }
    entry->ndim = (int)size->count;
    for (int i = 0; i < entry->ndim; i++) {
        const otimes_pickle_value *dim = size->item[i], *step = stride->item[i];
        if (dim->kind != OTIMES_PICKLE_INT || step->kind != OTIMES_PICKLE_INT || dim->integer < 0 ||
            step->integer < 0) {
            return bad_tensor(w, "sizes and strides", "integers that are not negative");
        }
        entry->dim[i] = dim->integer;
        entry->stride[i] = step->integer;
        if (!otimes_mul_i64(bytes, dim->integer, &bytes)) {
            return bad_tensor(w, "sizes", "a product that fits 63 bits");
        }
    }
    if (unfolds(tensor, bytes)) {
        return bad_tensor(w, "sizes", "no more elements than its storage has");
    }
    for (int i = 0; bytes > 0 && i < entry->ndim; i++) {
        int64_t reach;
        fits = fits && otimes_mul_i64(entry->dim[i] - 1, entry->stride[i], &reach) &&
               !__builtin_add_overflow(last, reach, &last);
    }
    if (!fits || last == INT64_MAX) {
        return bad_tensor(w, "strides", "an extent that fits 63 bits");
    }
    *extent = bytes > 0 ? last + 1 : 0;
    return OTIMES_OK;
}

/* Names go into messages, tables and files of others, which all want text. */
static int check_name(const walk *w)
{
    json_t *text = json_stringn(w->where.data, (size_t)w->where.length);
    const bool is_text = text != NULL;
    json_decref(text);
    if (is_text) {
        return OTIMES_OK;
    }
    return is_not_utf8(w->where.data, w->where.length) ? bad_tensor(w, "the tensor's name", "UTF-8")
                                                       : no_memory(w);
}

/* The tensor at w->where, whose last key begins at name_at. */
static int add_tensor(walk *w, const otimes_torch_tensor *tensor, int64_t name_at)
{
    const otimes_torch_storage *storage = tensor->storage;
    const int64_t storage_bytes = storage->view_numel * storage->type->size;
    int64_t extent = 0, end, offset_bytes;
    otimes_entry entry = {.dtype = tensor->type->as};
    int rc = spend(w, TENSOR_STEPS + w->where.length);
    if (rc != OTIMES_OK || !tensor->type->readable) {
        return rc;
    }
    rc = check_name(w);
    if (rc == OTIMES_OK) {
        rc = read_layout(w, tensor, &entry, &extent);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    const bool inside = tensor->offset >= 0 &&
                        !__builtin_add_overflow(tensor->offset, extent, &end) &&
                        otimes_mul_i64(end, tensor->type->size, &end) && end <= storage_bytes;
    if (extent > 0 && !inside) {
        return otimes_fail(
            w->err, OTIMES_ERR_FORMAT,
            "%s: %s: expected it inside its storage of %lld bytes, got %lld elements "
            "of %d bytes from element %lld",
            w->path, w->where.data, (long long)storage_bytes, (long long)extent, tensor->type->size,
            (long long)tensor->offset);
    }
    offset_bytes = storage->view_offset * storage->type->size;
    offset_bytes += extent > 0 ? tensor->offset * tensor->type->size : 0;
    entry.data = storage->data + offset_bytes;
    entry.bytes = extent * tensor->type->size;
    otimes_entry_settle_strides(&entry);
    /* "a.b.c" is c in group a.b; the dot comes back afterwards */
    entry.name = w->where.data + name_at;
    entry.group = name_at > 0 ? w->where.data : NULL;
    if (name_at > 0) {
        w->where.data[name_at - 1] = '\0';
    }
    rc = otimes_store_add(w->store, &entry, w->err);
    if (name_at > 0) {
        w->where.data[name_at - 1] = '.';
    }
    return rc;
}

/* ---- plain values ---- */

static int make_plain(walk *w, const otimes_pickle_value *value, json_t **plain)
{
    bool left_out = false;
    if (w->muted) {
        return OTIMES_OK;
    }
    switch (value->kind) {
    case OTIMES_PICKLE_NONE:
        *plain = json_null();
        break;
    case OTIMES_PICKLE_BOOL:
        *plain = json_boolean(value->integer);
        break;
    case OTIMES_PICKLE_INT:
        *plain = json_integer(value->integer);
        break;
    case OTIMES_PICKLE_FLOAT:
        left_out = !isfinite(value->real);
        *plain = left_out ? NULL : json_real(value->real);
        break;
    case OTIMES_PICKLE_TEXT:
        *plain = json_stringn(value->text.data, (size_t)value->text.length);
        left_out = !*plain && is_not_utf8(value->text.data, value->text.length);
        break;
    case OTIMES_PICKLE_DTYPE:
        *plain = json_string(value->type->dtype);
        break;
    case OTIMES_PICKLE_LIST:
        *plain = json_array();
        break;
    case OTIMES_PICKLE_DICT:
        *plain = json_object();
        break;
    default:
        left_out = true;
    }
    if (!*plain && !left_out) {
        return no_memory(w);
    }
    if (++w->plain_count > MOST_PLAIN) {
        json_decref(*plain);
        *plain = NULL;
        return otimes_fail(w->err, OTIMES_ERR_FORMAT,
                           "%s: pickle: expected at most %d plain values, got more", w->path,
                           MOST_PLAIN);
    }
    return spend(w, PLAIN_STEPS + (value->kind == OTIMES_PICKLE_TEXT ? value->text.length : 0));
}

static int visit(walk *w, const otimes_pickle_value *value, int depth, int64_t name_at,
                 json_t **plain);

/* ---- containers ---- */

static bool is_sequence(const otimes_pickle_value *value)
{
    return value->kind == OTIMES_PICKLE_LIST || value->kind == OTIMES_PICKLE_TUPLE ||
           value->kind == OTIMES_PICKLE_SET;
}

static bool is_container(const otimes_pickle_value *value)
{
    return value->kind == OTIMES_PICKLE_DICT || is_sequence(value);
}

/* Lengthens the path by a key; what is behind the old length is its last name. */
static int descend(walk *w, const char *key, int64_t length, int64_t *name_at)
{
    const char *dot = w->where.length > 0 ? "." : "";
    *name_at = w->where.length + (dot[0] != '\0');
    const int rc = otimes_text_add(&w->where, w->err, "%s%.*s", dot, (int)length, key);
    return rc == OTIMES_OK ? spend(w, length) : rc;
}

static void ascend(walk *w, int64_t length)
{
    w->where.length = length;
    if (w->where.data) {
        w->where.data[length] = '\0';
    }
}

/* A key as text, integers in decimal; false for those that have none. */
static bool key_text(const otimes_pickle_value *key, char decimal[24], otimes_pickle_text *text)
{
    switch (key->kind) {
    case OTIMES_PICKLE_TEXT:
        *text = key->text;
        return text->length <= LONGEST_KEY && !memchr(text->data, '\0', (size_t)text->length);
    case OTIMES_PICKLE_BOOL:
        *text = (otimes_pickle_text){key->integer ? "True" : "False", key->integer ? 4 : 5};
        return true;
    case OTIMES_PICKLE_INT:
        snprintf(decimal, 24, "%lld", (long long)key->integer);
        *text = (otimes_pickle_text){decimal, (int64_t)strlen(decimal)};
        return true;
    default:
        return false;
    }
}

static int set_member(walk *w, json_t *object, const char *name, json_t *value)
{
    if (!value || json_object_set_new(object, name, value) == 0 ||
        is_not_utf8(name, (int64_t)strlen(name))) {
        return OTIMES_OK;
    }
    return no_memory(w);
}

static int visit_dict(walk *w, const otimes_pickle_items *items, int depth, json_t *object)
{
    const int64_t length = w->where.length;
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i + 1 < items->count; i += 2) {
        char decimal[24];
        otimes_pickle_text key;
        int64_t name_at = 0;
        json_t *plain = NULL;
        if (!key_text(items->item[i], decimal, &key)) {
            continue;
        }
        rc = descend(w, key.data, key.length, &name_at);
        if (rc == OTIMES_OK) {
            rc = visit(w, items->item[i + 1], depth, name_at, &plain);
        }
        if (rc == OTIMES_OK) {
            rc = set_member(w, object, w->where.data + name_at, plain);
        } else {
            json_decref(plain);
        }
        ascend(w, length);
    }
    return rc;
}

static int visit_sequence(walk *w, const otimes_pickle_items *items, int depth, json_t *array,
                          bool *any)
{
    const int64_t length = w->where.length;
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < items->count; i++) {
        const otimes_pickle_value *item = items->item[i];
        int64_t name_at = 0;
        json_t *plain = NULL;
        if (item->kind == OTIMES_PICKLE_TENSOR || is_container(item)) {
            char decimal[24];
            snprintf(decimal, sizeof decimal, "%lld", (long long)i);
            rc = descend(w, decimal, (int64_t)strlen(decimal), &name_at);
        }
        if (rc == OTIMES_OK) {
            rc = visit(w, item, depth, name_at, &plain);
        }
        *any = *any || plain;
        if (!array || rc != OTIMES_OK) {
            json_decref(plain);
        } else if (json_array_append_new(array, plain ? plain : json_null()) !=
                   0) { /* unreached: jansson's own */
            rc = no_memory(w);
        }
        ascend(w, length);
    }
    return rc;
}

/* A container that has items but nothing plain among them leaves no trace in the configuration. */
static int visit_container(walk *w, const otimes_pickle_value *value, int depth, json_t **plain)
{
    const bool is_dict = value->kind == OTIMES_PICKLE_DICT;
    const bool mute = !is_dict && value->items.count > LONGEST_LIST;
    bool any = value->items.count == 0;
    const otimes_pickle_value like = {.kind = is_dict ? OTIMES_PICKLE_DICT : OTIMES_PICKLE_LIST};
    if (depth > DEEPEST) {
        return otimes_fail(w->err, OTIMES_ERR_FORMAT,
                           "%s: pickle: %.200s...: expected at most %d containers in one another",
                           w->path, w->where.data ? w->where.data : "", DEEPEST);
    }
    w->muted += mute;
    int rc = make_plain(w, &like, plain);
    if (rc == OTIMES_OK) {
        rc = is_dict ? visit_dict(w, &value->items, depth, *plain)
                     : visit_sequence(w, &value->items, depth, *plain, &any);
    }
    w->muted -= mute;
    if (rc != OTIMES_OK || (!any && !(is_dict && json_object_size(*plain) > 0))) {
        json_decref(*plain);
        *plain = NULL;
    }
    return rc;
}

static int visit(walk *w, const otimes_pickle_value *value, int depth, int64_t name_at,
                 json_t **plain)
{
    int rc = spend(w, 1);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (value->kind == OTIMES_PICKLE_TENSOR) {
        return add_tensor(w, value->tensor, name_at);
    }
    return is_container(value) ? visit_container(w, value, depth + 1, plain)
                               : make_plain(w, value, plain);
}

/* ---- the whole ---- */

/* Of shards that both say something the first counts. */
static int merge_config(walk *w, json_t *plain)
{
    if (!json_is_object(plain) || json_object_size(plain) == 0) {
        json_decref(plain);
        return OTIMES_OK;
    }
    if (!w->store->config) {
        w->store->config = plain;
        return OTIMES_OK;
    }
    const int failed = json_object_update_missing(w->store->config, plain);
    json_decref(plain);
    return failed ? no_memory(w) : OTIMES_OK;
}

int otimes_torch_gather(otimes_store *store, const otimes_pickle_value *root, int64_t pickle_bytes,
                        const char *path, otimes_err *err)
{
    walk w = {.store = store, .path = path, .err = err};
    json_t *plain = NULL;
    if (!is_container(root)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected a state dict, got %s", path,
                           root->kind == OTIMES_PICKLE_TENSOR ? "a single tensor"
                                                              : "a single value");
    }
    if (!otimes_mul_i64(pickle_bytes, STEPS_PER_BYTE, &w.steps) ||
        __builtin_add_overflow(w.steps, STEPS_AT_LEAST,
                               &w.steps)) { /* unreached: too many to hold */
        w.steps = INT64_MAX;
    }
    int rc = visit(&w, root, 0, 0, &plain);
    if (rc == OTIMES_OK) {
        rc = merge_config(&w, plain);
    }
    otimes_text_free(&w.where);
    return rc;
}
