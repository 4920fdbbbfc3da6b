/* SPDX-License-Identifier: MIT
 *
 * GGUF metadata as JSON.
 */
#include "format/gguf_read.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* Bounds that no model comes near: JSON takes some 40 bytes for a value that is one byte in the
 * file, some hundred for each step of a key; and deep nesting is paid in stack. */
enum { MOST_VALUES = 1 << 24, MOST_KEYS = 1 << 16, DEEPEST_ARRAY = 8, DEEPEST_KEY = 16 };

/* By number in the file. A string takes at least its length, an array its type and count. */
static const struct {
    const char *name;
    enum kind { UNSIGNED, SIGNED, REAL, BOOLEAN, STRING, ARRAY } kind;
    int width;
} types[] = {
    {"UINT8", UNSIGNED, 1},  {"INT8", SIGNED, 1},  {"UINT16", UNSIGNED, 2}, {"INT16", SIGNED, 2},
    {"UINT32", UNSIGNED, 4}, {"INT32", SIGNED, 4}, {"FLOAT32", REAL, 4},    {"BOOL", BOOLEAN, 1},
    {"STRING", STRING, 0},   {"ARRAY", ARRAY, 0},  {"UINT64", UNSIGNED, 8}, {"INT64", SIGNED, 8},
    {"FLOAT64", REAL, 8},
};

typedef struct metadata {
    otimes_gguf_reader *reader;
    json_t *root;
    int64_t values;
} metadata;

/* Gives back `json`, or notes that there was no memory for it. */
static json_t *made(otimes_gguf_reader *reader, json_t *json)
{
    if (!json && reader->rc == OTIMES_OK) {
        reader->rc = otimes_fail(reader->err, OTIMES_ERR_MEMORY, "%s: %s: out of memory",
                                 reader->path, reader->where);
    }
    return json;
}

/* ---- values ---- */

static json_t *read_text(otimes_gguf_reader *reader)
{
    static const char replacement[] = "\xef\xbf\xbd";
    const int64_t width = sizeof replacement - 1;
    int64_t length, from = 0, to = 0, room;
    const char *text = otimes_gguf_string(reader, &length);
    if (!text) {
        return NULL;
    }
    if (otimes_utf8_valid(text, length) == length) {
        return made(reader, json_stringn_nocheck(text, (size_t)length));
    }
    char *repaired = NULL;
    if (otimes_mul_i64(length, width, &room)) {
        reader->rc = OTIMES_NEW(&repaired, room, reader->err);
    }
    while (repaired && from < length) {
        const int64_t valid = otimes_utf8_valid(text + from, length - from);
        memcpy(repaired + to, text + from, (size_t)valid);
        from += valid;
        to += valid;
        if (from < length) {
            memcpy(repaired + to, replacement, (size_t)width);
            from++;
            to += width;
        }
    }
    json_t *json = repaired ? made(reader, json_stringn_nocheck(repaired, (size_t)to)) : NULL;
    otimes_free(repaired);
    return json;
}

static json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *real_of_bits(uint64_t bits, int width)
{
    const uint32_t half = (uint32_t)bits;
    float single;
    double value;
    if (width == 4) {
        memcpy(&single, &half, sizeof single);
        return real_or_null((double)single);
    }
    memcpy(&value, &bits, sizeof value);
    return real_or_null(value);
}

/* The sign bit of `width` bytes drawn up to the top. */
static int64_t extend_sign(uint64_t bits, int width)
{
    const uint64_t sign = (uint64_t)1 << (8 * width - 1);
    return (int64_t)((bits ^ sign) - sign);
}

static json_t *read_scalar(otimes_gguf_reader *reader, enum kind kind, int width)
{
    const uint64_t bits = otimes_gguf_number(reader, width);
    if (reader->rc != OTIMES_OK) {
        return NULL;
    }
    if (kind == BOOLEAN && bits > 1) {
        reader->rc =
            otimes_fail(reader->err, OTIMES_ERR_FORMAT, "%s: %s: expected a BOOL of 0 or 1, got %d",
                        reader->path, reader->where, (int)bits);
        return NULL;
    }
    return made(reader, kind == BOOLEAN    ? json_boolean(bits)
                        : kind == REAL     ? real_of_bits(bits, width)
                        : kind == SIGNED   ? json_integer(extend_sign(bits, width))
                        : bits > INT64_MAX ? json_real((double)bits)
                                           : json_integer((json_int_t)bits));
}

/* A value type's number, known or an error. */
static uint32_t read_type(otimes_gguf_reader *reader)
{
    const uint32_t type = (uint32_t)otimes_gguf_number(reader, 4);
    const uint32_t count = sizeof types / sizeof types[0];
    if (type >= count) {
        reader->rc = otimes_fail(reader->err, OTIMES_ERR_FORMAT,
                                 "%s: %s: value type: expected 0 to %u, got %u", reader->path,
                                 reader->where, count - 1, type);
    }
    return reader->rc == OTIMES_OK ? type : 0;
}

static bool within(otimes_gguf_reader *reader, const char *what, int64_t got, int64_t most)
{
    if (reader->rc == OTIMES_OK && got > most) {
        reader->rc = otimes_fail(reader->err, OTIMES_ERR_FORMAT,
                                 "%s: %s: %s: expected at most %lld, got %lld", reader->path,
                                 reader->where, what, (long long)most, (long long)got);
    }
    return reader->rc == OTIMES_OK;
}

static json_t *read_value(metadata *meta, uint32_t type, int depth);

static json_t *read_array(metadata *meta, int depth)
{
    otimes_gguf_reader *reader = meta->reader;
    const uint32_t type = read_type(reader);
    const int width = otimes_gguf_count_width(reader);
    const int64_t count = otimes_gguf_count(reader, "array",
                                            types[type].kind == STRING  ? width
                                            : types[type].kind == ARRAY ? 4 + width
                                                                        : types[type].width);
    meta->values += count;
    if (!within(reader, "arrays in arrays", depth, DEEPEST_ARRAY) ||
        !within(reader, "values of all metadata", meta->values, MOST_VALUES)) {
        return NULL;
    }
    json_t *array = made(reader, json_array());
    for (int64_t i = 0; array && i < count && reader->rc == OTIMES_OK; i++) {
        json_t *value = read_value(meta, type, depth + 1);
        if (value && json_array_append_new(array, value) != 0) {
            made(reader, NULL);
        }
    }
    return array;
}

/* NULL when the reader has failed; what was made before that is given up by the caller's. */
static json_t *read_value(metadata *meta, uint32_t type, int depth)
{
    json_t *value = types[type].kind == ARRAY ? read_array(meta, depth)
                    : types[type].kind == STRING
                        ? read_text(meta->reader)
                        : read_scalar(meta->reader, types[type].kind, types[type].width);
    if (meta->reader->rc != OTIMES_OK) {
        json_decref(value);
        return NULL;
    }
    return value;
}

/* ---- keys ---- */

/* The member `name` of object as an object of its own: made when absent, and when it holds a value
 * this goes under "". NULL when memory lacks. */
static json_t *step_into(json_t *object, const char *name, size_t length)
{
    json_t *member = json_object_getn(object, name, length);
    if (json_is_object(member)) {
        return member;
    }
    json_t *made_now = json_object();
    if (made_now && member &&
        json_object_set_nocheck(made_now, "", member) !=
            0) { /* unreached: jansson's own allocator */
        json_decref(made_now);
        return NULL;
    }
    return made_now && json_object_setn_new_nocheck(object, name, length, made_now) == 0 ? made_now
                                                                                         : NULL;
}

static void refuse_key(otimes_gguf_reader *reader, const char *expected)
{
    if (reader->rc == OTIMES_OK) {
        reader->rc = otimes_fail(reader->err, OTIMES_ERR_FORMAT, "%s: %s: key: expected %s",
                                 reader->path, reader->where, expected);
    }
}

/* Puts a value, which it takes over, where its key says. */
static void put(otimes_gguf_reader *reader, json_t *root, const char *key, json_t *value)
{
    json_t *object = root;
    int steps = 1;
    for (const char *dot; object && (dot = strchr(key, '.')); key = dot + 1) {
        if (dot == key || ++steps > DEEPEST_KEY) {
            refuse_key(reader, "at most 16 names joined by dots, none empty");
            json_decref(value);
            return;
        }
        object = made(reader, step_into(object, key, (size_t)(dot - key)));
    }
    json_t *there = json_object_get(object, key);
    if (json_is_object(there)) {
        object = there;
        key = "";
        there = json_object_get(object, key);
    } else if (*key == '\0') {
        refuse_key(reader, "at most 16 names joined by dots, none empty");
    }
    if (there) {
        refuse_key(reader, "each but once");
    }
    if (reader->rc != OTIMES_OK) {
        json_decref(value);
    } else if (json_object_set_new_nocheck(object, key, value) != 0) {
        made(reader, NULL);
    }
}

/* The keys of the architecture's own name, under "arch". */
static void rename_own(otimes_gguf_reader *reader, json_t *root)
{
    const char *name = json_string_value(otimes_json_member(root, "general.architecture"));
    json_t *own = name ? json_object_get(root, name) : NULL;
    if (!own || strcmp(name, "arch") == 0 || strcmp(name, "general") == 0) {
        return;
    }
    if (json_object_get(root, "arch")) {
        reader->where = "arch";
        refuse_key(reader, "none of this name beside those of the architecture");
    } else if (json_object_set_nocheck(root, "arch", own) != 0) {
        made(reader, NULL);
    } else {
        (void)json_object_del(root, name);
    }
}

json_t *otimes_gguf_metadata(otimes_gguf_reader *reader, int64_t count)
{
    metadata meta = {.reader = reader, .root = made(reader, json_object())};
    char number[64];
    (void)within(reader, "keys", count, MOST_KEYS);
    for (int64_t i = 0; i < count && reader->rc == OTIMES_OK; i++) {
        snprintf(number, sizeof number, "metadata %lld", (long long)i);
        reader->where = number;
        char *key = otimes_gguf_name(reader);
        if (key) {
            reader->where = key;
            json_t *value = read_value(&meta, read_type(reader), 1);
            if (value) {
                put(reader, meta.root, key, value);
            }
            otimes_free(key);
        }
        reader->where = "metadata";
    }
    if (reader->rc == OTIMES_OK) {
        rename_own(reader, meta.root);
    }
    if (reader->rc != OTIMES_OK) {
        json_decref(meta.root);
        return NULL;
    }
    return meta.root;
}
