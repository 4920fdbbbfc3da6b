/* SPDX-License-Identifier: MIT */
#include <otimes/parse.h>

#include <errno.h>
#include <stdlib.h>

#include "base/index.h"
#include "base/mem.h"

/* strtoll that accepts digits alone: no blanks, no plus sign, nothing behind. */
static bool read_i64(const char *text, const char **end, int64_t *value)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    if (digits[0] < '0' || digits[0] > '9') {
        return false;
    }
    char *stop;
    errno = 0;
    const long long parsed = strtoll(text, &stop, 10);
    if (errno != 0) {
        return false;
    }
    *value = parsed;
    *end = stop;
    return true;
}

int otimes_parse_i64(const char *text, const char *what, int64_t low, int64_t high, int64_t *value,
                     otimes_err *err)
{
    const char *end;
    int64_t parsed;
    if (high < low) { /* indices of what the model does not have */
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "%s: expected none, as there are none, got '%s'", what,
                           text ? text : "");
    }
    if (!text || !read_i64(text, &end, &parsed) || *end != '\0' || parsed < low || parsed > high) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "%s: expected an integer from %lld to %lld, got '%s'", what,
                           (long long)low, (long long)high, text ? text : "");
    }
    *value = parsed;
    return OTIMES_OK;
}

/* One item of a list, "7" or "3-5". */
static bool read_range(const char **text, int64_t *first, int64_t *last)
{
    if (!read_i64(*text, text, first) || *first < 0) {
        return false;
    }
    *last = *first;
    return **text != '-' || (read_i64(*text + 1, text, last) && *last >= *first);
}

int otimes_parse_indices(const char *text, const char *what, int64_t limit, otimes_index_list *list,
                         otimes_err *err)
{
    *list = (otimes_index_list){0};
    unsigned char *chosen = NULL;
    int rc = OTIMES_NEW(&chosen, limit, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (const char *rest = text; rest;) {
        int64_t first, last;
        if (!read_range(&rest, &first, &last) || (*rest != '\0' && *rest != ',')) {
            rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: expected indices like 0,3-5, got '%s'",
                             what, text);
            goto done;
        }
        if (last >= limit) {
            rc = limit ? otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: expected 0 to %lld, got %lld",
                                     what, (long long)limit - 1, (long long)last)
                       : otimes_fail(err, OTIMES_ERR_ARGUMENT,
                                     "%s: expected none, as there are none, got %lld", what,
                                     (long long)last);
            goto done;
        }
        for (int64_t i = first; i <= last; i++) {
            chosen[i] = 1;
        }
        rest = *rest == ',' ? rest + 1 : NULL;
    }
    int64_t count = 0;
    for (int64_t i = 0; i < limit; i++) {
        count += text ? chosen[i] : 1;
    }
    rc = OTIMES_NEW(&list->index, count, err);
    if (rc != OTIMES_OK) {
        goto done;
    }
    for (int64_t i = 0; i < limit; i++) {
        if (!text || chosen[i]) {
            list->index[list->count++] = i;
        }
    }
done:
    otimes_free(chosen);
    return rc;
}

int otimes_index_check(const char *what, const int64_t *index, int64_t count, int64_t limit,
                       otimes_err *err)
{
    if (index && count < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: expected a count of at least 0, got %lld",
                           what, (long long)count);
    }
    for (int64_t i = 0; index && i < count; i++) {
        if (index[i] < 0 || index[i] >= limit || (i > 0 && index[i] <= index[i - 1])) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "%s: expected ascending indices from 0 to %lld, got %lld", what,
                               (long long)limit - 1, (long long)index[i]);
        }
    }
    return OTIMES_OK;
}

void otimes_index_list_free(otimes_index_list *list)
{
    if (list) {
        otimes_free(list->index);
        *list = (otimes_index_list){0};
    }
}

const int64_t *otimes_index_chosen(otimes_pool *pool, const int64_t *index, int64_t count, int *rc,
                                   otimes_err *err)
{
    int64_t *all = index ? NULL : otimes_pool_new(pool, count, sizeof *all, rc, err);
    for (int64_t i = 0; all && i < count; i++) {
        all[i] = i;
    }
    return index ? index : all;
}
