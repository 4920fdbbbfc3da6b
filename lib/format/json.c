/* SPDX-License-Identifier: MIT */
#include "format/json.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format/map.h"

/* A digit's value is its place modulo 16. */
static const char HEX[] = "0123456789abcdef0123456789ABCDEF";

/* \uXXXX, or -1. */
static int escaped_unit(const char *at, const char *end)
{
    int code = 0;
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u') {
        return -1;
    }
    for (int i = 2; i < 6; i++) {
        const char *digit = at[i] ? strchr(HEX, at[i]) : NULL;
        if (!digit) {
            return -1;
        }
        code = code << 4 | (int)((digit - HEX) % 16);
    }
    return code;
}

/* Bytes at `at`, which begin with a backslash, that stay as they are; 0: an escape of what is no character. */
static int plain_escape(const char *at, const char *end, int code)
{
    const int pair = code >= 0xd800 && code < 0xdc00 ? escaped_unit(at + 6, end) : -1;
    if (code == 0) {
        return 0;
    }
    if (code >= 0xd800 && code < 0xe000) {
        return pair >= 0xdc00 && pair < 0xe000 ? 12 : 0;
    }
    return code > 0 ? 6 : end - at < 2 ? 1 : 2;
}

/* A copy in which escapes of half a surrogate pair and of NUL, which a writer of vocabularies may let through
 * and jansson takes for none, are spelt out as <U+D800>. *length 0: there are none. */
static int spell_out(const char *text, int64_t bytes, char **copy, int64_t *length, otimes_err *err)
{
    const char *end = text + bytes;
    int64_t spelt = 0, used = 0;
    int rc = OTIMES_NEW(copy, bytes + bytes / 3 + 1, err);
    for (const char *at = text; rc == OTIMES_OK && at < end;) {
        const int code = *at == '\\' ? escaped_unit(at, end) : -1;
        const int plain = *at == '\\' ? plain_escape(at, end, code) : 1;
        if (plain == 0) {
            used += snprintf(*copy + used, sizeof "<U+HHHH>", "<U+%04X>", (unsigned)code);
            spelt++;
        } else {
            memcpy(*copy + used, at, (size_t)plain);
            used += plain;
        }
        at += plain == 0 ? 6 : plain;
    }
    *length = spelt > 0 ? used : 0;
    return rc;
}

static int explain(const json_error_t *problem, const char *name, otimes_err *err)
{
    /* Without memory for its first buffer jansson gives no code and no line. */
    if (json_error_code(problem) == json_error_out_of_memory ||
        problem->line < 0) { /* unreached: jansson's own allocator */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "%s: out of memory", name);
    }
    return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: not valid JSON: line %d, column %d: %s", name,
                       problem->line, problem->column, problem->text);
}

/* What jansson takes for a text, at most: blocks of lists, of members and of values, and what it keeps
 * of strings and of the longest of them while it is read. */
static int64_t room_for(const char *text, int64_t bytes)
{
    enum { LIST = 384, VALUE = 192 };
    int64_t lists = 1, values = 1, longest = 0, begin = 0;
    for (int64_t i = 0; i < bytes; i++) {
        if (text[i] == '{' || text[i] == '[') {
            lists++;
        } else if (text[i] == ',' || text[i] == ':') {
            values++;
        } else if (text[i] == '"') {
            longest = i - begin > longest ? i - begin : longest;
            begin = i;
        }
    }
    return LIST * lists + VALUE * values + 2 * bytes + 4 * longest;
}

/* jansson 2.14 does not look whether the buffer of the word it reads could grow, and reads on in what it
 * has. That much memory is therefore seen to be there, and let go again, before it begins. */
static int check_room(const char *text, int64_t bytes, const char *name, otimes_err *err)
{
    const int64_t room = room_for(text, bytes);
    void *block = otimes_alloc(room, 1);
    otimes_free(block);
    return block ? OTIMES_OK
                 : otimes_fail(err, OTIMES_ERR_MEMORY,
                               "%s: out of memory: JSON of %lld bytes takes up to %lld", name,
                               (long long)bytes, (long long)room);
}

/* How a file is read. */
typedef struct manner {
    size_t flags;
    bool tokens; /* it holds a vocabulary: what is no text is spelt out */
} manner;

static int parse(json_t **json, const void *text, int64_t bytes, const char *name, manner how,
                 otimes_err *err)
{
    json_error_t problem, second;
    char *copy = NULL;
    int64_t length = 0;
    const size_t flags = how.flags | JSON_REJECT_DUPLICATES;
    *json = NULL;
    int rc = check_room(text ? text : "", bytes, name, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    *json = json_loadb(text ? text : "", (size_t)bytes, flags, &problem);
    if (*json) {
        return OTIMES_OK;
    }
    rc = how.tokens ? spell_out(text ? text : "", bytes, &copy, &length, err) : OTIMES_OK;
    if (rc == OTIMES_OK && length > 0) {
        *json = json_loadb(copy, (size_t)length, flags, &second);
        problem = second;
    }
    otimes_free(copy);
    return rc != OTIMES_OK || *json ? rc : explain(&problem, name, err);
}

int otimes_json_parse(json_t **json, const void *text, int64_t bytes, const char *name,
                      otimes_err *err)
{
    return parse(json, text, bytes, name, (manner){0, false}, err);
}

int otimes_json_parse_tokens(json_t **json, const void *text, int64_t bytes, const char *name,
                             otimes_err *err)
{
    return parse(json, text, bytes, name, (manner){0, true}, err);
}

static int load(json_t **json, const char *path, manner how, otimes_err *err)
{
    otimes_map map;
    *json = NULL;
    int rc = otimes_map_open(&map, path, err);
    if (rc == OTIMES_OK) {
        rc = parse(json, map.data, map.bytes, path, how, err);
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
    if (length == 0) { /* unreached: jansson's own allocator */
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
    return load(json, path, (manner){0, false}, err);
}

int otimes_json_load_tokens(json_t **json, const char *path, otimes_err *err)
{
    return load(json, path, (manner){0, true}, err);
}

int otimes_json_load_wide(json_t **json, const char *path, otimes_err *err)
{
    return load(json, path, (manner){JSON_DECODE_INT_AS_REAL, true}, err);
}

/* One name, which may be a path of members with dots. */
static json_t *member_at(const json_t *object, const char *path, size_t length)
{
    const char *dot = memchr(path, '.', length);
    const size_t step = dot ? (size_t)(dot - path) : length;
    /* A number that no key gives has the name "", which is a key like any other to JSON. */
    json_t *member = step > 0 ? json_object_getn(object, path, step) : NULL;
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
