/* SPDX-License-Identifier: MIT */
#include "jsonl.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

int jsonl_is_name(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && (!strcmp(dot, ".jsonl") || !strcmp(dot, ".ndjson"));
}

static const char *kind_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}

/* No escape is shorter than the character it stands for, so a string fits where its line stood. */
static int take_text(jsonl_line *out, char *line, int64_t bytes, const json_t *text,
                     const char *where, otimes_err *err)
{
    out->bytes = (int64_t)json_string_length(text);
    if (out->bytes > bytes) {
        return fail(err, OTIMES_ERR_FORMAT, "%s: expected at most %lld bytes of text, got %lld",
                    where, (long long)bytes, (long long)out->bytes);
    }
    memcpy(line, json_string_value(text), (size_t)out->bytes);
    return 0;
}

static int take_ids(jsonl_line *out, const json_t *ids, const char *name, const char *where,
                    otimes_err *err)
{
    const size_t count = json_array_size(ids);
    out->ids.index = malloc((count + 1) * sizeof *out->ids.index);
    if (!out->ids.index) {
        return fail_memory(err, where);
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0) {
            return fail(err, OTIMES_ERR_FORMAT, "%s: %s[%zu]: expected a token id, got %s", where,
                        name, i, json_is_integer(id) ? "a negative number" : kind_of(id));
        }
        out->ids.index[i] = json_integer_value(id);
    }
    out->ids.count = (int64_t)count;
    return 0;
}

static int take_value(jsonl_line *out, char *line, int64_t bytes, const json_t *value,
                      const char *field, const char *where, otimes_err *err)
{
    if (json_is_string(value)) {
        return take_text(out, line, bytes, value, where, err);
    }
    if (!json_is_object(value)) {
        return fail(err, OTIMES_ERR_FORMAT, "%s: expected a string or an object, got %s", where,
                    kind_of(value));
    }
    const json_t *member = json_object_get(value, field);
    if (!member) {
        field = json_object_get(value, "tokens") ? "tokens" : field;
        member = json_object_get(value, field);
    }
    if (!member) {
        return fail(err, OTIMES_ERR_FORMAT,
                    "%s: expected a member \"%s\" or \"tokens\", got neither", where, field);
    }
    if (json_is_array(member)) {
        return take_ids(out, member, field, where, err);
    }
    if (!json_is_string(member) || !strcmp(field, "tokens")) {
        return fail(err, OTIMES_ERR_FORMAT, "%s: %s: expected a string or an array of ids, got %s",
                    where, field, kind_of(member));
    }
    return take_text(out, line, bytes, member, where, err);
}

/* jansson quotes what stands near an error, which may be anything; the place says it as well. */
static int fail_json(const json_error_t *error, const char *where, otimes_err *err)
{
    const char *near = strstr(error->text, " near ");
    const int length = near ? (int)(near - error->text) : (int)strlen(error->text);
    if (json_error_code(error) == json_error_out_of_memory || !*error->text) {
        return fail_memory(err, where);
    }
    return fail(err, OTIMES_ERR_FORMAT, "%s: expected JSON, got at byte %d: %.*s", where,
                error->position, length, error->text);
}

int jsonl_read(jsonl_line *out, char *line, int64_t bytes, const char *field, const char *where,
               otimes_err *err)
{
    json_error_t error;
    *out = (jsonl_line){0};
    const int64_t valid = otimes_utf8_valid(line, bytes);
    if (valid < bytes) {
        return fail(err, OTIMES_ERR_FORMAT, "%s: expected UTF-8, got 0x%02x at byte %lld", where,
                    (unsigned char)line[valid], (long long)valid);
    }
    int64_t blank = 0;
    while (blank < bytes && strchr(" \t\r", line[blank]) && line[blank]) {
        blank++;
    }
    if (blank == bytes) {
        return fail(err, OTIMES_ERR_FORMAT, "%s: expected JSON, got an empty line", where);
    }
    json_t *value = json_loadb(line, (size_t)bytes,
                               JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!value) {
        return fail_json(&error, where, err);
    }
    const int rc = take_value(out, line, bytes, value, field, where, err);
    json_decref(value);
    return rc;
}
