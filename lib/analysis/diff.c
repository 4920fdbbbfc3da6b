/* SPDX-License-Identifier: MIT
 *
 * Two results side by side: facts first, because they may forbid the rest, then labels, then every
 * array.
 */
#include <math.h>

#include "analysis/diff_job.h"
#include "base/sink.h"

enum { BLOCK = 1 << 21 };

void otimes_diff_settings_default(otimes_diff_settings *settings)
{
    *settings = (otimes_diff_settings){0};
}

static int begin(diff_job *job, otimes_err *err)
{
    const otimes_diff_settings *s = job->settings;
    if (!(s->rtol >= 0) || !(s->atol >= 0) || isinf(s->rtol) || isinf(s->atol)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "tolerance: expected finite numbers from 0 on, got %g and %g", s->rtol,
                           s->atol);
    }
    if (s->block < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "block: expected 0 or more entries, got %lld",
                           (long long)s->block);
    }
    job->block = s->block ? s->block : BLOCK;
    return OTIMES_OK;
}

static int make_room(diff_job *job, otimes_err *err)
{
    int64_t *a = NULL, *b = NULL; /* 8 bytes an entry: the widest type, and aligned for all */
    int rc = OTIMES_NEW(&a, job->block, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&b, job->block, err);
    }
    job->data_a = a;
    job->data_b = b;
    return rc;
}

/* Entries of an array; an error when they are too many to count. */
static int count_entries(const otimes_reader *reader, const otimes_array *array, int64_t *count,
                         otimes_err *err)
{
    *count = 1;
    for (int d = 0; d < array->ndim; d++) {
        if (!otimes_mul_i64(*count, array->axis[d]->length, count)) {
            return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: more entries than can be counted",
                               reader->name, array->name);
        }
    }
    return OTIMES_OK;
}

static int add_array(diff_job *job, const otimes_array *array, diff_array **found, otimes_err *err)
{
    const int rc = OTIMES_GROW(&job->arrays, job->array_count, &job->array_capacity, err);
    if (rc == OTIMES_OK) {
        *found = &job->arrays[job->array_count++];
        **found = (diff_array){
            .name = array->name, .max_abs = NAN, .max_rel = NAN, .value_a = NAN, .value_b = NAN};
    }
    return rc;
}

static int only_in_one(const otimes_reader *reader, const otimes_array *array, diff_status status,
                       diff_array *found, otimes_err *err)
{
    int64_t *count = status == DIFF_ONLY_A ? &found->only_a : &found->only_b;
    found->status = status;
    return count_entries(reader, array, count, err);
}

static int total_of(diff_job *job, otimes_err *err)
{
    const otimes_array *array;
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && (array = job->a->ops->array(job->a, i)) != NULL; i++) {
        int64_t count;
        rc = count_entries(job->a, array, &count, err);
        job->total += rc == OTIMES_OK ? (double)count : 0;
    }
    return rc;
}

static int compare_arrays(diff_job *job, otimes_err *err)
{
    const otimes_array *array;
    diff_array *found;
    int rc = total_of(job, err);
    for (int64_t i = 0; rc == OTIMES_OK && (array = job->a->ops->array(job->a, i)) != NULL; i++) {
        const int64_t other = otimes_reader_find(job->b, array->name);
        rc = add_array(job, array, &found, err);
        if (rc == OTIMES_OK) {
            rc = other < 0 ? only_in_one(job->a, array, DIFF_ONLY_A, found, err)
                           : otimes_diff_values(job, i, other, found, err);
        }
    }
    for (int64_t i = 0; rc == OTIMES_OK && (array = job->b->ops->array(job->b, i)) != NULL; i++) {
        if (otimes_reader_find(job->a, array->name) < 0) {
            rc = add_array(job, array, &found, err);
            if (rc == OTIMES_OK) {
                rc = only_in_one(job->b, array, DIFF_ONLY_B, found, err);
            }
        }
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < job->array_count; i++) {
        const diff_status status = job->arrays[i].status;
        const bool one = status == DIFF_ONLY_A || status == DIFF_ONLY_B;
        job->equal = job->equal && (status == DIFF_EQUAL || (one && job->settings->common));
    }
    return rc;
}

static void free_job(diff_job *job)
{
    for (int64_t i = 0; i < job->axis_count; i++) {
        otimes_diff_axis_free(&job->axes[i]);
    }
    for (int64_t i = 0; i < job->array_count; i++) {
        otimes_free(job->arrays[i].where);
        otimes_free(job->arrays[i].text_a);
        otimes_free(job->arrays[i].text_b);
    }
    for (int64_t i = 0; i < job->fact_count; i++) {
        otimes_free(job->facts[i].a);
        otimes_free(job->facts[i].b);
    }
    otimes_free(job->axes);
    otimes_free(job->arrays);
    otimes_free(job->facts);
    otimes_free(job->data_a);
    otimes_free(job->data_b);
}

int otimes_diff(const otimes_reader *a, const otimes_reader *b,
                const otimes_diff_settings *settings, otimes_sink *sink, int *equal,
                otimes_err *err)
{
    otimes_diff_settings defaults;
    otimes_diff_settings_default(&defaults);
    diff_job job = {
        .a = a, .b = b, .settings = settings ? settings : &defaults, .sink = sink, .equal = true};
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_diff_facts(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_diff_axes(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_room(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = compare_arrays(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_diff_write(&job, err);
    }
    if (rc == OTIMES_OK && equal) {
        *equal = job.equal;
    }
    free_job(&job);
    return rc;
}
