/* SPDX-License-Identifier: MIT
 *
 * Changes of JSON that leave it JSON: configurations, indices, and the headers of safetensors.
 */
#include "mutation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static json_t *edited_integer(json_int_t value, dice *d)
{
    static const json_int_t others[] = {0, 1, -1, 1 << 20, INT64_MAX, INT64_MIN};
    switch (roll(d, 7)) {
    case 0:
        return json_integer(value + 1);
    case 1:
        return json_integer(value - 1);
    case 2:
        return json_integer(value < INT32_MAX ? 2 * value : value);
    case 3:
        return json_integer(value / 2);
    case 4:
        return json_integer(others[roll(d, sizeof others / sizeof *others)]);
    case 5:
        return json_real((double)value + 0.5);
    default:
        return json_integer((json_int_t)roll(d, 300));
    }
}

static json_t *edited_text(const char *text, dice *d)
{
    static const char *const others[] = {
        "",      "F16",  "F32",     "BF16",       "F64",
        "I64",   "U8",   "F8_E4M3", "F31",        "gpt2",
        "llama", "gelu", "../x",    "\n\x1b[31m", "sliding_attention"};
    char changed[256];
    if (text[0] == '\0' || roll(d, 2)) {
        return json_string(others[roll(d, sizeof others / sizeof *others)]);
    }
    snprintf(changed, sizeof changed, "%s", text);
    changed[roll(d, strlen(changed))] = (char)('a' + roll(d, 26));
    json_t *edited = json_string(changed);
    return edited ? edited : json_string("");
}

static json_t *edited_value(const json_t *value, dice *d)
{
    if (roll(d, 12) == 0) {
        return roll(d, 2) ? json_null() : json_array();
    }
    switch (json_typeof(value)) {
    case JSON_INTEGER:
        return edited_integer(json_integer_value(value), d);
    case JSON_REAL:
        return roll(d, 2) ? json_real(json_real_value(value) * (roll(d, 2) ? -1 : 2))
                          : json_integer((json_int_t)roll(d, 3));
    case JSON_STRING:
        return edited_text(json_string_value(value), d);
    case JSON_TRUE:
        return json_false();
    case JSON_FALSE:
        return json_true();
    case JSON_NULL:
    case JSON_OBJECT:
    case JSON_ARRAY:
        break;
    }
    return json_integer((json_int_t)roll(d, 8));
}

static const char *roll_key(json_t *object, dice *d)
{
    uint64_t skip = roll(d, json_object_size(object));
    void *at = json_object_iter(object);
    for (; skip > 0; skip--) {
        at = json_object_iter_next(object, at);
    }
    return json_object_iter_key(at);
}

static void edit_object(json_t *object, dice *d, change *did);

static void edit_array(json_t *array, dice *d, change *did)
{
    const size_t size = json_array_size(array);
    const size_t at = size > 0 ? (size_t)roll(d, size) : 0;
    json_t *item = json_array_get(array, at);
    if (size == 0 || roll(d, 8) == 0) {
        json_array_append_new(array, json_integer((json_int_t)roll(d, 4)));
    } else if (roll(d, 8) == 0) {
        json_array_remove(array, at);
    } else if (roll(d, 6) == 0 && size > 1) {
        json_t *other = json_incref(json_array_get(array, (at + 1) % size));
        json_array_set(array, (at + 1) % size, item);
        json_array_set_new(array, at, other);
    } else if (json_object_size(item) > 0) {
        edit_object(item, d, did);
        return;
    } else {
        json_array_set_new(array, at, edited_value(item, d));
    }
    strncat(did->what, ", an item", sizeof did->what - strlen(did->what) - 1);
}

/* One member, at whatever depth. */
static void edit_object(json_t *object, dice *d, change *did)
{
    char key[120];
    snprintf(key, sizeof key, "%s", roll_key(object, d));
    json_t *value = json_object_get(object, key);
    strncat(did->what, key, sizeof did->what - strlen(did->what) - 1);
    if (roll(d, 8) == 0) {
        json_object_del(object, key);
        strncat(did->what, " deleted", sizeof did->what - strlen(did->what) - 1);
    } else if (json_object_size(value) > 0) {
        strncat(did->what, ".", sizeof did->what - strlen(did->what) - 1);
        edit_object(value, d, did);
    } else if (json_is_array(value) && roll(d, 8)) {
        edit_array(value, d, did);
    } else {
        json_object_set_new(object, key, edited_value(value, d));
        strncat(did->what, " edited", sizeof did->what - strlen(did->what) - 1);
    }
}

bool change_json(bytes *content, dice *d, change *did)
{
    json_t *json = json_loadb((const char *)content->data, content->length, 0, NULL);
    const bool fits = json_object_size(json) > 0;
    if (fits) {
        edit_object(json, d, did);
        char *text = json_dumps(json, JSON_COMPACT);
        free(content->data);
        *content = (bytes){(unsigned char *)text, strlen(text)};
    }
    json_decref(json);
    return fits;
}

/* Two tensors' descriptions, or a member of them, exchanged. */
static void exchange(json_t *header, const char *a, const char *b, const char *member)
{
    json_t *first = json_object_get(header, a), *second = json_object_get(header, b);
    json_t *kept = json_incref(member ? json_object_get(first, member) : first);
    if (member) {
        json_object_set(first, member, json_object_get(second, member));
        json_object_set_new(second, member, kept);
    } else {
        json_object_set(header, a, second);
        json_object_set_new(header, b, kept);
    }
}

/* A tensor under another name: one that is like its own, or a number in it changed. */
static void rename_tensor(json_t *header, const char *name, bool keep, dice *d)
{
    char other[256];
    snprintf(other, sizeof other, "%s", name);
    char *at = strpbrk(other, "0123456789");
    if (at && roll(d, 2)) {
        *at = (char)('0' + roll(d, 10));
    } else if (other[0]) {
        other[roll(d, strlen(other))] = (char)('a' + roll(d, 26));
    }
    json_object_set(header, other, json_object_get(header, name));
    if (!keep && strcmp(other, name) != 0) {
        json_object_del(header, name);
    }
}

static void edit_header(json_t *header, dice *d, change *did)
{
    char a[256], b[256];
    snprintf(a, sizeof a, "%s", roll_key(header, d));
    snprintf(b, sizeof b, "%s", roll_key(header, d));
    const uint64_t way = roll(d, 8);
    snprintf(did->what, sizeof did->what, "header, way %d: %.60s, %.60s: ", (int)way, a, b);
    if (way == 0) {
        exchange(header, a, b, NULL);
    } else if (way == 1) {
        exchange(header, a, b, "data_offsets");
    } else if (way == 2 || way == 3) {
        rename_tensor(header, a, way == 3, d);
    } else {
        edit_object(json_object_size(json_object_get(header, a)) ? json_object_get(header, a)
                                                                 : header,
                    d, did);
    }
}

void change_header(bytes *content, dice *d, change *did)
{
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | content->data[i];
    }
    json_t *header = json_loadb((const char *)content->data + 8, (size_t)length, 0, NULL);
    edit_header(header, d, did);
    char *text = json_dumps(header, JSON_COMPACT);
    const size_t wanted = strlen(text), rest = content->length - 8 - (size_t)length;
    bytes changed = bytes_new(8 + wanted + rest);
    for (int i = 0; i < 8; i++) {
        changed.data[i] = (unsigned char)((uint64_t)wanted >> 8 * i);
    }
    memcpy(changed.data + 8, text, wanted);
    memcpy(changed.data + 8 + wanted, content->data + 8 + length, rest);
    free(text);
    free(content->data);
    json_decref(header);
    *content = changed;
}
