/* SPDX-License-Identifier: MIT
 *
 * The arrays of `diff`, each a column of one of three tables: a row an array, an axis, a fact.
 */
#include <math.h>
#include <stddef.h>

#include "analysis/diff_job.h"
#include "base/sink.h"

typedef struct table {
    otimes_sink *sink;
    otimes_axis axis;
    const char **label;
    const void **text;     /* room for a column of texts */
    int64_t *number;       /* or of integers */
    double *real;          /* or of reals */
    const char *about_row; /* what orientation says */
} table;

static int make_table(table *t, otimes_sink *sink, const char *name, const char *long_name,
                      int64_t rows, otimes_err *err)
{
    *t = (table){.sink = sink};
    int rc = OTIMES_NEW(&t->label, rows, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&t->text, rows, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&t->number, rows, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&t->real, rows, err);
    }
    t->axis = (otimes_axis){.name = name, .length = rows, .text = t->label, .long_name = long_name};
    return rc;
}

static void free_table(table *t)
{
    otimes_free(t->label);
    otimes_free(t->text);
    otimes_free(t->number);
    otimes_free(t->real);
}

/* One column, whose numbers are in the table already. */
typedef struct column {
    const char *name;
    otimes_type type;
    const char *long_name, *formula;
    size_t field;
} column;

static int put(const table *t, const column *c, otimes_err *err)
{
    const otimes_array array = {.name = c->name,
                                .type = c->type,
                                .ndim = 1,
                                .axis = {&t->axis},
                                .long_name = c->long_name,
                                .formula = c->formula,
                                .orientation = t->about_row};
    const void *data = c->type == OTIMES_TEXT  ? (const void *)t->text
                       : c->type == OTIMES_I64 ? (const void *)t->number
                                               : (const void *)t->real;
    return otimes_sink_whole(t->sink, &array, data, err);
}

/* A column of a list of records, `size` bytes each. */
static int put_field(const table *t, const column *c, const void *records, size_t size,
                     otimes_err *err)
{
    for (int64_t i = 0; i < t->axis.length; i++) {
        const void *at = (const char *)records + (size_t)i * size + c->field;
        if (c->type == OTIMES_TEXT) {
            const char *text = *(const char *const *)at;
            t->text[i] = text ? text : "";
        } else if (c->type == OTIMES_I64) {
            t->number[i] = *(const int64_t *)at;
        } else {
            t->real[i] = *(const double *)at;
        }
    }
    return put(t, c, err);
}

/* ---- arrays ---- */

static const char *status_name(diff_status status)
{
    switch (status) {
    case DIFF_EQUAL:
        return "equal";
    case DIFF_DIFFERS:
        return "differs";
    case DIFF_ONLY_A:
        return "only in A";
    case DIFF_ONLY_B:
        return "only in B";
    case DIFF_AXES:
        return "axes differ";
    case DIFF_TYPES:
        return "types differ";
    }
    return "unknown"; /* unreached: all cases return */
}

static int write_arrays(const diff_job *job, otimes_err *err)
{
    static const column status = {"status", OTIMES_TEXT, "how the arrays of this name compare",
                                  "by labels", 0};
    static const column list[] = {
#define OF(field) offsetof(diff_array, field)
        {"compared", OTIMES_I64, "entries whose labels both have", "count", OF(compared)},
        {"differing", OTIMES_I64, "entries that differ", "count of |a - b| > atol + rtol |b|",
         OF(differing)},
        {"undefined_in_one", OTIMES_I64, "entries that are NaN in one alone", "count",
         OF(undefined_in_one)},
        {"only_a", OTIMES_I64, "entries whose labels A alone has", "count", OF(only_a)},
        {"only_b", OTIMES_I64, "entries whose labels B alone has", "count", OF(only_b)},
        {"max_abs", OTIMES_F64, "largest difference", "max |a - b|", OF(max_abs)},
        {"max_rel", OTIMES_F64, "largest relative difference", "max |a - b| / max(|a|, |b|)",
         OF(max_rel)},
        {"where", OTIMES_TEXT, "labels of the entry that differs most", "argmax |a - b|",
         OF(where)},
        {"value_a", OTIMES_F64, "its value in A", "a", OF(value_a)},
        {"value_b", OTIMES_F64, "its value in B", "b", OF(value_b)},
        {"text_a", OTIMES_TEXT, "its text in A, or the label it points at", "a", OF(text_a)},
        {"text_b", OTIMES_TEXT, "its text in B, or the label it points at", "b", OF(text_b)},
#undef OF
    };
    table t;
    int rc = make_table(&t, job->sink, "array", "arrays of either result", job->array_count, err);
    t.about_row = "one entry an array";
    for (int64_t i = 0; i < job->array_count && rc == OTIMES_OK; i++) {
        t.label[i] = job->arrays[i].name;
        t.text[i] = status_name(job->arrays[i].status);
    }
    if (rc == OTIMES_OK) {
        rc = put(&t, &status, err);
    }
    for (size_t i = 0; i < sizeof list / sizeof list[0] && rc == OTIMES_OK; i++) {
        rc = put_field(&t, &list[i], job->arrays, sizeof *job->arrays, err);
    }
    free_table(&t);
    return rc;
}

/* ---- axes ---- */

/* What is written of an axis. */
typedef struct axis_row {
    int64_t shared, only_a, only_b;
    const char *first_only_a, *first_only_b;
    char buffer[2][DIFF_LABEL];
} axis_row;

static void fill_axis(const diff_axis *axis, axis_row *row)
{
    row->shared = axis->shared;
    row->only_a = axis->a ? axis->a->length - axis->shared : 0;
    row->only_b = axis->b ? axis->b->length - axis->shared : 0;
    if (axis->first_only_a >= 0) {
        row->first_only_a = otimes_diff_label(axis->a, axis->first_only_a, row->buffer[0]);
    }
    if (axis->first_only_b >= 0) {
        row->first_only_b = otimes_diff_label(axis->b, axis->first_only_b, row->buffer[1]);
    }
}

static int write_axes(const diff_job *job, otimes_err *err)
{
    static const column list[] = {
#define OF(field) offsetof(axis_row, field)
        {"labels_shared", OTIMES_I64, "labels that both have", "count", OF(shared)},
        {"labels_only_a", OTIMES_I64, "labels that A alone has", "count", OF(only_a)},
        {"labels_only_b", OTIMES_I64, "labels that B alone has", "count", OF(only_b)},
        {"first_only_a", OTIMES_TEXT, "the first of those", "label", OF(first_only_a)},
        {"first_only_b", OTIMES_TEXT, "the first of those", "label", OF(first_only_b)},
#undef OF
    };
    table t;
    axis_row *rows = NULL;
    int rc = make_table(&t, job->sink, "axis", "axes of either result", job->axis_count, err);
    t.about_row = "one entry an axis";
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&rows, job->axis_count, err);
    }
    for (int64_t i = 0; i < job->axis_count && rc == OTIMES_OK; i++) {
        const diff_axis *axis = &job->axes[i];
        t.label[i] = axis->a ? axis->a->name : axis->b->name;
        fill_axis(axis, &rows[i]);
    }
    for (size_t i = 0; i < sizeof list / sizeof list[0] && rc == OTIMES_OK; i++) {
        rc = put_field(&t, &list[i], rows, sizeof *rows, err);
    }
    otimes_free(rows);
    free_table(&t);
    return rc;
}

/* ---- facts ---- */

static const char *kind_name(diff_kind kind)
{
    switch (kind) {
    case DIFF_PROCESSING:
        return "processing";
    case DIFF_RESULT:
        return "result";
    case DIFF_MODEL:
        return "model";
    case DIFF_PROVENANCE:
        return "provenance";
    }
    return "unknown"; /* unreached: all cases return */
}

static int write_facts(const diff_job *job, otimes_err *err)
{
    static const column kind = {"fact_kind", OTIMES_TEXT, "what a difference of it means",
                                "processing, result, model or provenance", 0};
    static const column list[] = {
        {"fact_a", OTIMES_TEXT, "the fact in A; empty: it has none", "attribute of A",
         offsetof(diff_fact, a)},
        {"fact_b", OTIMES_TEXT, "the fact in B; empty: it has none", "attribute of B",
         offsetof(diff_fact, b)},
    };
    table t;
    int rc = make_table(&t, job->sink, "fact", "facts that differ", job->fact_count, err);
    t.about_row = "one entry a fact";
    for (int64_t i = 0; i < job->fact_count && rc == OTIMES_OK; i++) {
        t.label[i] = job->facts[i].name;
        t.text[i] = kind_name(job->facts[i].kind);
    }
    if (rc == OTIMES_OK) {
        rc = put(&t, &kind, err);
    }
    for (size_t i = 0; i < sizeof list / sizeof list[0] && rc == OTIMES_OK; i++) {
        rc = put_field(&t, &list[i], job->facts, sizeof *job->facts, err);
    }
    free_table(&t);
    return rc;
}

static int write_settings(const diff_job *job, otimes_err *err)
{
    const otimes_diff_settings *s = job->settings;
    otimes_sink *sink = job->sink;
    const otimes_attr *schema = otimes_reader_attr(job->a, "schema");
    int rc = otimes_sink_text(sink, "otimes_version", otimes_version(), err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(sink, "result_a", job->a->name, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(sink, "result_b", job->b->name, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(
            sink, "compared_schema",
            schema && schema->kind == OTIMES_ATTR_TEXT && schema->text ? schema->text : "", err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_f64(sink, "rtol", s->rtol, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_f64(sink, "atol", s->atol, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(sink, "common", s->common != 0, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(sink, "any_processing", s->any_processing != 0, err);
    }
    return rc == OTIMES_OK ? otimes_sink_i64(sink, "equal", job->equal, err) : rc;
}

int otimes_diff_write(diff_job *job, otimes_err *err)
{
    int rc = write_settings(job, err);
    if (rc == OTIMES_OK) {
        rc = write_arrays(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_axes(job, err);
    }
    return rc == OTIMES_OK ? write_facts(job, err) : rc;
}
