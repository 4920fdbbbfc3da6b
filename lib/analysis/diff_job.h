/* SPDX-License-Identifier: MIT
 *
 * What the files of the `diff` analysis share: labels that correspond, and what was found of each
 * array, axis and fact.
 */
#ifndef OTIMES_ANALYSIS_DIFF_JOB_H
#define OTIMES_ANALYSIS_DIFF_JOB_H

#include <stdbool.h>

#include <otimes/diff.h>

#include "base/mem.h"

/* Which entry along an axis of A is which of B. */
typedef struct diff_axis {
    const otimes_axis *a, *b; /* NULL: the other result has no such axis */
    bool comparable;          /* both label by numbers or both by texts */
    bool same;                /* the same labels in the same order: index i is index i */
    int64_t shared;
    int64_t *in_a, *in_b;               /* [shared] indices, ascending in A; NULL where `same` */
    int64_t *b_of_a;                    /* [a->length] index in B or -1; NULL where `same` */
    int64_t first_only_a, first_only_b; /* index of the first label that only one has; -1: none */
} diff_axis;

typedef enum diff_status {
    DIFF_EQUAL,
    DIFF_DIFFERS,
    DIFF_ONLY_A,
    DIFF_ONLY_B,
    DIFF_AXES,
    DIFF_TYPES
} diff_status;

/* What was found of one array. */
typedef struct diff_array {
    const char *name;
    diff_status status;
    int64_t compared, differing, undefined_in_one, only_a, only_b;
    double max_abs, max_rel; /* NaN: no numbers */
    bool seen;               /* a differing entry was; the rest is of it */
    double worst;            /* its |a - b|; -1: not a number */
    double value_a, value_b;
    char *where, *text_a, *text_b; /* owned; NULL: nothing to say */
} diff_array;

typedef enum diff_kind { DIFF_PROCESSING, DIFF_RESULT, DIFF_MODEL, DIFF_PROVENANCE } diff_kind;

typedef struct diff_fact {
    const char *name;
    diff_kind kind;
    char *a, *b; /* owned; NULL: absent */
} diff_fact;

typedef struct diff_job {
    const otimes_reader *a, *b;
    const otimes_diff_settings *settings;
    otimes_sink *sink;
    int64_t block;
    diff_axis *axes;
    int64_t axis_count, axis_capacity;
    diff_array *arrays;
    int64_t array_count, array_capacity;
    diff_fact *facts;
    int64_t fact_count, fact_capacity;
    void *data_a, *data_b; /* [block] of 8 bytes each */
    double done, total;    /* entries, for progress */
    bool equal;
} diff_job;

/* The facts that differ; refuses what must not be compared. */
int otimes_diff_facts(diff_job *job, otimes_err *err);

/* Every axis of either result, and which labels correspond. */
int otimes_diff_axes(diff_job *job, otimes_err *err);
void otimes_diff_axis_free(diff_axis *axis);

/* The axis of that name in job->axes, which has all of them. */
const diff_axis *otimes_diff_axis_of(const diff_job *job, const char *name);

/* The label at index, as it is shown; valid until the caller's buffer changes. */
enum { DIFF_LABEL = 160 };
const char *otimes_diff_label(const otimes_axis *axis, int64_t index, char buffer[DIFF_LABEL]);

/* Every entry that arrays x of A and y of B both have; found->name is set. */
int otimes_diff_values(diff_job *job, int64_t x, int64_t y, diff_array *found, otimes_err *err);

int otimes_diff_write(diff_job *job, otimes_err *err);

#endif
