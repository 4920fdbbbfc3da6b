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

static int contains(const otimes_index_list *list, int64_t value)
{
    for (int64_t i = 0; i < list->count; i++) {
        if (list->index[i] == value) {
            return 1;
        }
    }
    return 0;
}

int select_integers(const char *text, const char *option, int64_t limit, otimes_index_list *list,
                    otimes_err *err)
{
    size_t commas = 0;
    int rc = 0;
    if (!text) {
        return 0;
    }
    for (const char *c = text; *c; c++) {
        commas += *c == ',';
    }
    list->count = 0;
    list->index = malloc((commas + 1) * sizeof *list->index);
    char *copy = strdup(text), *item = copy;
    if (!list->index || !copy) {
        rc = fail_memory(err, option);
        goto done;
    }
    for (size_t i = 0; i <= commas && !rc; i++) {
        int64_t value;
        char *end = item + strcspn(item, ",");
        *end = '\0';
        rc = otimes_parse_i64(item, option, 1 - limit, limit - 1, &value, err);
        if (!rc && contains(list, value)) {
            rc = fail(err, OTIMES_ERR_ARGUMENT, "%s: expected each number once, got %s again",
                      option, item);
        }
        if (!rc) {
            list->index[list->count++] = value;
        }
        item = end + 1;
    }
done:
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
