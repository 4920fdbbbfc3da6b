/* SPDX-License-Identifier: MIT
 *
 * Which label of one result is which of the other. Both lists are sorted by label, equal ones by
 * their place, and walked together: the k-th of equal labels meets the k-th.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/diff_job.h"
#include "token/quote.h"

typedef struct label {
    const char *text; /* NULL: a number */
    int64_t number, index;
} label;

static label label_at(const otimes_axis *axis, int64_t index)
{
    return (label){.text = axis->text ? (axis->text[index] ? axis->text[index] : "") : NULL,
                   .number = axis->number ? axis->number[index] : index,
                   .index = index};
}

const char *otimes_diff_label(const otimes_axis *axis, int64_t index, char buffer[DIFF_LABEL])
{
    const label at = label_at(axis, index);
    if (at.text) {
        snprintf(buffer, DIFF_LABEL, "%s", otimes_quoted(at.text, -1).text);
    } else {
        snprintf(buffer, DIFF_LABEL, "%" PRId64, at.number);
    }
    return buffer;
}

static int compare(const label *a, const label *b)
{
    return a->text ? strcmp(a->text, b->text) : (a->number > b->number) - (a->number < b->number);
}

static int by_label(const void *x, const void *y)
{
    const label *a = x, *b = y;
    const int order = compare(a, b);
    return order ? order : (a->index > b->index) - (a->index < b->index);
}

static bool same_labels(const otimes_axis *a, const otimes_axis *b)
{
    if (a->length != b->length || !a->text != !b->text) {
        return false;
    }
    if (!a->text && !a->number && !b->number) {
        return true;
    }
    for (int64_t i = 0; i < a->length; i++) {
        const label x = label_at(a, i), y = label_at(b, i);
        if (compare(&x, &y) != 0) {
            return false;
        }
    }
    return true;
}

static int sorted_labels(const otimes_axis *axis, label **list, otimes_err *err)
{
    const int rc = OTIMES_NEW(list, axis->length, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < axis->length; i++) {
        (*list)[i] = label_at(axis, i);
    }
    if (rc == OTIMES_OK && axis->length > 0) {
        qsort(*list, (size_t)axis->length, sizeof **list, by_label);
    }
    return rc;
}

static void keep_first(int64_t *first, int64_t index)
{
    *first = *first < 0 || index < *first ? index : *first;
}

/* Fills b_of_a. */
static void meet(diff_axis *axis, const label *a, const label *b)
{
    int64_t i = 0, j = 0;
    while (i < axis->a->length || j < axis->b->length) {
        const int order = i == axis->a->length   ? 1
                          : j == axis->b->length ? -1
                                                 : compare(&a[i], &b[j]);
        if (order < 0) {
            axis->b_of_a[a[i].index] = -1;
            keep_first(&axis->first_only_a, a[i++].index);
        } else if (order > 0) {
            keep_first(&axis->first_only_b, b[j++].index);
        } else {
            axis->b_of_a[a[i++].index] = b[j++].index;
            axis->shared++;
        }
    }
}

static int match(diff_axis *axis, otimes_err *err)
{
    label *a = NULL, *b = NULL;
    int rc = sorted_labels(axis->a, &a, err);
    if (rc == OTIMES_OK) {
        rc = sorted_labels(axis->b, &b, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&axis->b_of_a, axis->a->length, err);
    }
    if (rc == OTIMES_OK) {
        meet(axis, a, b);
        rc = OTIMES_NEW(&axis->in_a, axis->shared, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&axis->in_b, axis->shared, err);
    }
    for (int64_t i = 0, k = 0; rc == OTIMES_OK && i < axis->a->length; i++) {
        if (axis->b_of_a[i] >= 0) {
            axis->in_a[k] = i;
            axis->in_b[k++] = axis->b_of_a[i];
        }
    }
    otimes_free(a);
    otimes_free(b);
    return rc;
}

static int add_axis(diff_job *job, const otimes_axis *a, const otimes_axis *b, otimes_err *err)
{
    int rc = OTIMES_GROW(&job->axes, job->axis_count, &job->axis_capacity, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    diff_axis *axis = &job->axes[job->axis_count++];
    *axis = (diff_axis){.a = a, .b = b, .first_only_a = -1, .first_only_b = -1};
    if (!a || !b) {
        return OTIMES_OK;
    }
    axis->comparable = !a->text == !b->text;
    axis->same = same_labels(a, b);
    if (axis->same) {
        axis->shared = a->length;
        return OTIMES_OK;
    }
    return axis->comparable ? match(axis, err) : OTIMES_OK;
}

const diff_axis *otimes_diff_axis_of(const diff_job *job, const char *name)
{
    for (int64_t i = 0; i < job->axis_count; i++) {
        const otimes_axis *one = job->axes[i].a ? job->axes[i].a : job->axes[i].b;
        if (strcmp(one->name, name) == 0) {
            return &job->axes[i];
        }
    }
    return NULL;
}

/* `from` is one of the results; the other is asked for an axis of the same name. */
static int take(diff_job *job, const otimes_reader *from, const otimes_axis *axis, otimes_err *err)
{
    const diff_axis *known = otimes_diff_axis_of(job, axis->name);
    if (!known) {
        const bool is_a = from == job->a;
        return is_a ? add_axis(job, axis, otimes_reader_axis(job->b, axis->name), err)
                    : add_axis(job, NULL, axis, err);
    }
    const otimes_axis *before = from == job->a ? known->a : known->b;
    return before->length == axis->length
               ? OTIMES_OK
               : otimes_fail(err, OTIMES_ERR_FORMAT,
                             "%s: axis %s: expected one length, got %lld and %lld", from->name,
                             axis->name, (long long)before->length, (long long)axis->length);
}

static int take_all(diff_job *job, const otimes_reader *from, otimes_err *err)
{
    const otimes_axis *axis;
    const otimes_array *array;
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && (array = from->ops->array(from, i)) != NULL; i++) {
        for (int d = 0; rc == OTIMES_OK && d < array->ndim; d++) {
            rc = take(job, from, array->axis[d], err);
        }
    }
    for (int64_t i = 0;
         rc == OTIMES_OK && from->ops->axis && (axis = from->ops->axis(from, i)) != NULL; i++) {
        rc = take(job, from, axis, err);
    }
    return rc;
}

int otimes_diff_axes(diff_job *job, otimes_err *err)
{
    int rc = take_all(job, job->a, err);
    if (rc == OTIMES_OK) {
        rc = take_all(job, job->b, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < job->axis_count && !job->settings->common; i++) {
        const diff_axis *axis = &job->axes[i];
        job->equal = job->equal && axis->a && axis->b && axis->shared == axis->a->length &&
                     axis->shared == axis->b->length;
    }
    return rc;
}

void otimes_diff_axis_free(diff_axis *axis)
{
    otimes_free(axis->in_a);
    otimes_free(axis->in_b);
    otimes_free(axis->b_of_a);
}
