/* SPDX-License-Identifier: MIT */
#include "pattern_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/parse.h>

#include "fail.h"

typedef struct reader {
    const char *path;
    otimes_pattern_entry *entry;
    int64_t count, capacity, line;
} reader;

static int fail_line(const reader *r, const char *got, otimes_err *err)
{
    return fail(err, OTIMES_ERR_ARGUMENT,
                "--pattern: %s: line %lld: expected query, key and perhaps a weight between tabs, "
                "got '%.60s'",
                r->path, (long long)r->line, got);
}

static int parse_position(const reader *r, const char *text, int64_t *position, otimes_err *err)
{
    char what[512];
    snprintf(what, sizeof what, "--pattern: %.400s: line %lld", r->path, (long long)r->line);
    return otimes_parse_i64(text, what, 0, INT32_MAX, position, err);
}

static int parse_weight(const reader *r, const char *text, double *weight, otimes_err *err)
{
    char *end;
    *weight = strtod(text, &end);
    if (end == text || *end || !isfinite(*weight)) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--pattern: %s: line %lld: expected a weight, got '%.60s'", r->path,
                    (long long)r->line, text);
    }
    return 0;
}

static int grow(reader *r, otimes_err *err)
{
    if (r->count < r->capacity) {
        return 0;
    }
    const int64_t capacity = r->capacity ? 2 * r->capacity : 64;
    otimes_pattern_entry *grown = realloc(r->entry, (size_t)capacity * sizeof *grown);
    if (!grown) {
        return fail_memory(err, r->path);
    }
    r->entry = grown;
    r->capacity = capacity;
    return 0;
}

static int parse_line(reader *r, char *line, otimes_err *err)
{
    otimes_pattern_entry entry = {.weight = 1};
    line[strcspn(line, "\r\n")] = '\0';
    if (!*line || *line == '#') {
        return 0;
    }
    char *key = strchr(line, '\t'), *weight = key ? strchr(key + 1, '\t') : NULL;
    if (!key || (weight && strchr(weight + 1, '\t'))) {
        return fail_line(r, line, err);
    }
    *key++ = '\0';
    if (weight) {
        *weight++ = '\0';
    }
    int rc = parse_position(r, line, &entry.query, err);
    if (!rc) {
        rc = parse_position(r, key, &entry.key, err);
    }
    if (!rc && weight) {
        rc = parse_weight(r, weight, &entry.weight, err);
    }
    if (!rc) {
        rc = grow(r, err);
    }
    if (!rc) {
        r->entry[r->count++] = entry;
    }
    return rc;
}

static int read_lines(reader *r, otimes_err *err)
{
    char *line = NULL;
    size_t capacity = 0;
    int rc = 0;
    FILE *file = fopen(r->path, "r");
    if (!file) {
        return fail_errno(err, r->path, "cannot be opened");
    }
    for (ssize_t length; !rc && (length = getline(&line, &capacity, file)) >= 0;) {
        r->line++;
        rc = (size_t)length == strlen(line) ? parse_line(r, line, err) : fail_line(r, "NUL", err);
    }
    if (!rc && ferror(file)) {
        rc = fail_errno(err, r->path, "cannot be read");
    }
    free(line);
    fclose(file);
    return rc;
}

static int by_place(const void *a, const void *b)
{
    const otimes_pattern_entry *x = a, *y = b;
    const int by_query = (x->query > y->query) - (x->query < y->query);
    return by_query ? by_query : (x->key > y->key) - (x->key < y->key);
}

static int check_entries(const reader *r, otimes_err *err)
{
    if (!r->count) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--pattern: %s: expected an entry a line, got none",
                    r->path);
    }
    qsort(r->entry, (size_t)r->count, sizeof *r->entry, by_place);
    for (int64_t i = 1; i < r->count; i++) {
        if (!by_place(&r->entry[i - 1], &r->entry[i])) {
            return fail(err, OTIMES_ERR_ARGUMENT,
                        "--pattern: %s: expected each pair once, got query %lld, key %lld again",
                        r->path, (long long)r->entry[i].query, (long long)r->entry[i].key);
        }
    }
    return 0;
}

int pattern_file_read(const char *path, otimes_pattern_entry **entries, int64_t *count,
                      otimes_err *err)
{
    reader r = {.path = path};
    int rc = read_lines(&r, err);
    if (!rc) {
        rc = check_entries(&r, err);
    }
    if (rc) {
        free(r.entry);
        r.entry = NULL;
        r.count = 0;
    }
    *entries = r.entry;
    *count = r.count;
    return rc;
}
