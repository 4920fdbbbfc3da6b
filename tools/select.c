/* SPDX-License-Identifier: MIT */
#include "select.h"

#include <stdlib.h>
#include <string.h>

#include "fail.h"

int select_indices(const char *text, const char *option, int64_t limit, otimes_index_list *list,
                   otimes_err *err)
{
    return text ? otimes_parse_indices(text, option, limit, list, err) : 0;
}

/* More than any model has positions. */
#define LONGEST_LIST (1 << 24)

/* "7", "-7", "3-9" or "-9--3"; item is cut at its dash. */
static int read_range(char *item, const char *option, int64_t limit, int64_t *first, int64_t *last,
                      otimes_err *err)
{
    char *dash = *item ? strchr(item + 1, '-') : NULL;
    if (dash) {
        *dash = '\0';
    }
    int rc = otimes_parse_i64(item, option, 1 - limit, limit - 1, first, err);
    *last = *first;
    if (!rc && dash) {
        rc = otimes_parse_i64(dash + 1, option, 1 - limit, limit - 1, last, err);
    }
    if (!rc && *last < *first) {
        rc = fail(err, OTIMES_ERR_ARGUMENT, "%s: expected a range from low to high, got %s-%s",
                  option, item, dash + 1);
    }
    return rc;
}

static int append_range(otimes_index_list *list, int64_t *capacity, int64_t first, int64_t last,
                        const char *option, otimes_err *err)
{
    const int64_t count = list->count + last - first + 1;
    if (count > LONGEST_LIST) {
        return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected at most %d numbers, got %lld", option,
                    LONGEST_LIST, (long long)count);
    }
    if (count > *capacity) {
        const int64_t room = count > 2 * *capacity ? count : 2 * *capacity;
        int64_t *grown = realloc(list->index, (size_t)room * sizeof *grown);
        if (!grown) {
            return fail_memory(err, option);
        }
        list->index = grown;
        *capacity = room;
    }
    for (int64_t value = first; value <= last; value++) {
        list->index[list->count++] = value;
    }
    return 0;
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void select_distinct(otimes_index_list *list)
{
    int64_t kept = 0;
    qsort(list->index, (size_t)list->count, sizeof *list->index, by_value);
    for (int64_t i = 0; i < list->count; i++) {
        if (!kept || list->index[i] != list->index[kept - 1]) {
            list->index[kept++] = list->index[i];
        }
    }
    list->count = kept;
}

static int refuse_repeated(const otimes_index_list *list, const char *option, otimes_err *err)
{
    const size_t bytes = (size_t)list->count * sizeof *list->index;
    int64_t *sorted = malloc(bytes);
    int rc = sorted ? 0 : fail_memory(err, option);
    if (!rc) {
        memcpy(sorted, list->index, bytes);
        qsort(sorted, (size_t)list->count, sizeof *sorted, by_value);
    }
    for (int64_t i = 1; i < list->count && !rc; i++) {
        if (sorted[i] == sorted[i - 1]) {
            rc = fail(err, OTIMES_ERR_ARGUMENT, "%s: expected each number once, got %lld again",
                      option, (long long)sorted[i]);
        }
    }
    free(sorted);
    return rc;
}

int select_integers(const char *text, const char *option, int64_t limit, otimes_index_list *list,
                    otimes_err *err)
{
    *list = (otimes_index_list){NULL, 0};
    if (!text) {
        return 0;
    }
    int64_t capacity = 0, first, last;
    char *copy = strdup(text), *item = copy;
    int rc = copy ? 0 : fail_memory(err, option);
    while (!rc && item) {
        char *comma = strchr(item, ',');
        if (comma) {
            *comma = '\0';
        }
        rc = read_range(item, option, limit, &first, &last, err);
        if (!rc) {
            rc = append_range(list, &capacity, first, last, option, err);
        }
        item = comma ? comma + 1 : NULL;
    }
    if (!rc) {
        rc = refuse_repeated(list, option, err);
    }
    free(copy);
    if (rc) {
        free(list->index);
        *list = (otimes_index_list){NULL, 0};
    }
    return rc;
}

/* One number of "0.3", of which `text` has `length` characters. */
static int read_number(const char *text, size_t length, const char *option, const char *whole,
                       int64_t limit, int64_t *value, otimes_err *err)
{
    char digits[24] = "";
    if (length == 0 || length >= sizeof digits || strspn(text, "0123456789") < length) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "%s: expected heads as LAYER.HEAD,LAYER.HEAD, got '%s'", option, whole);
    }
    memcpy(digits, text, length);
    return otimes_parse_i64(digits, option, 0, limit - 1, value, err);
}

int select_heads(const char *text, const char *option, int64_t n_layers, int64_t n_heads,
                 select_head **heads, int64_t *count, otimes_err *err)
{
    *count = 1;
    for (const char *at = text; *at; at++) {
        *count += *at == ',';
    }
    *heads = calloc((size_t)*count, sizeof **heads);
    int rc = *heads ? 0 : fail_memory(err, option);
    const char *at = text;
    for (int64_t i = 0; i < *count && !rc; i++) {
        const size_t end = strcspn(at, ","), dot = strcspn(at, ".");
        const size_t layer = dot < end ? dot : end, after = layer + (dot < end);
        rc = read_number(at, layer, option, text, n_layers, &(*heads)[i].layer, err);
        if (!rc) {
            rc =
                read_number(at + after, end - after, option, text, n_heads, &(*heads)[i].head, err);
        }
        at += end + (at[end] == ',');
    }
    if (rc) {
        free(*heads);
        *heads = NULL;
        *count = 0;
    }
    return rc;
}

int parse_real(const char *text, const char *option, double low, double high, double *value,
               otimes_err *err)
{
    char *end;
    *value = strtod(text, &end);
    return end > text && !*end && *value >= low && *value <= high
               ? 0
               : fail(err, OTIMES_ERR_ARGUMENT, "%s: expected a number from %g to %g, got '%s'",
                      option, low, high, text);
}

int parse_bytes(const char *text, const char *option, int64_t *bytes, otimes_err *err)
{
    static const char units[] = "KMGT";
    char digits[24] = "";
    const size_t length = strspn(text, "0123456789");
    const char *unit = text[length] ? strchr(units, text[length]) : NULL;
    if (!length || length >= sizeof digits || (text[length] && (!unit || text[length + 1]))) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "%s: expected a number of bytes, or one with K, M, G or T, got '%s'", option,
                    text);
    }
    memcpy(digits, text, length);
    const int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    const int rc = otimes_parse_i64(digits, option, 1, INT64_MAX >> shift, bytes, err);
    *bytes = rc ? 0 : *bytes << shift;
    return rc;
}
