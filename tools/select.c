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
