/* SPDX-License-Identifier: MIT */
#include "format/json.h"

#include <string.h>

#include "base/mem.h"
#include "format/map.h"

static int parse(json_t **json, const void *text, int64_t bytes, const char *name, size_t flags,
                 otimes_err *err)
{
    json_error_t problem;
    *json = json_loadb(text ? text : "", (size_t)bytes, JSON_REJECT_DUPLICATES | flags, &problem);
    if (!*json) {
        /* Without memory for its first buffer jansson gives no code and no line. */
        if (json_error_code(&problem) == json_error_out_of_memory || problem.line < 0) {
            return otimes_fail(err, OTIMES_ERR_MEMORY, "%s: out of memory", name);
        }
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: not valid JSON: line %d, column %d: %s",
                           name, problem.line, problem.column, problem.text);
    }
    return OTIMES_OK;
}

int otimes_json_parse(json_t **json, const void *text, int64_t bytes, const char *name,
                      otimes_err *err)
{
    return parse(json, text, bytes, name, 0, err);
}

static int load(json_t **json, const char *path, size_t flags, otimes_err *err)
{
    otimes_map map;
    *json = NULL;
    int rc = otimes_map_open(&map, path, err);
    if (rc == OTIMES_OK) {
        rc = parse(json, map.data, map.bytes, path, flags, err);
    }
    if (rc == OTIMES_OK && !json_is_object(*json)) {
        json_decref(*json);
        *json = NULL;
        rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected a JSON object", path);
    }
    otimes_map_close(&map);
    return rc;
}

int otimes_json_text(const json_t *json, char **text, otimes_err *err)
{
    const size_t flags = JSON_SORT_KEYS | JSON_COMPACT;
    const size_t length = json ? json_dumpb(json, NULL, 0, flags) : 0;
    *text = NULL;
    if (length == 0) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: JSON text");
    }
    const int rc = OTIMES_NEW(text, (int64_t)length + 1, err);
    if (rc == OTIMES_OK) {
        json_dumpb(json, *text, length, flags);
    }
    return rc;
}

int otimes_json_load(json_t **json, const char *path, otimes_err *err)
{
    return load(json, path, 0, err);
}

int otimes_json_load_wide(json_t **json, const char *path, otimes_err *err)
{
    return load(json, path, JSON_DECODE_INT_AS_REAL, err);
}

/* One name, which may be a path of members with dots. */
static json_t *member_at(const json_t *object, const char *path, size_t length)
{
    const char *dot = memchr(path, '.', length);
    const size_t step = dot ? (size_t)(dot - path) : length;
    json_t *member = json_object_getn(object, path, step);
    return dot && member ? member_at(member, dot + 1, length - step - 1) : member;
}

json_t *otimes_json_member(const json_t *object, const char *names)
{
    while (names) {
        const char *end = strchr(names, '|');
        json_t *member = member_at(object, names, end ? (size_t)(end - names) : strlen(names));
        if (member && !json_is_null(member)) {
            return member;
        }
        names = end ? end + 1 : NULL;
    }
    return NULL;
}
