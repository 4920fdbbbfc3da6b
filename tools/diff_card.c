/* SPDX-License-Identifier: MIT */
#include "diff_card.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "quote.h"

enum { VALUE_WIDTH = 48, SHARED_WIDTH = 12, WIDEST_NAME = 40 };

/* The columns of the result, by the names that they have there. */
typedef struct columns {
    int64_t arrays, axes, facts;
    const char *const *array, *const *status, *const *where, *const *text_a, *const *text_b;
    const int64_t *compared, *differing, *undefined, *only_a, *only_b;
    const double *max_abs, *max_rel, *value_a, *value_b;
    const char *const *axis, *const *first_only_a, *const *first_only_b;
    const int64_t *labels_only_a, *labels_only_b;
    const char *const *fact, *const *kind, *const *fact_a, *const *fact_b;
} columns;

static const void *data_of(const otimes_memory_sink *result, const char *name)
{
    const void *data = NULL;
    (void)otimes_memory_sink_array(result, name, &data);
    return data;
}

/* Labels of a column and how many they are. */
static const char *const *rows_of(const otimes_memory_sink *result, const char *name,
                                  int64_t *count)
{
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(result, name, &data);
    *count = array->axis[0]->length;
    return array->axis[0]->text;
}

static columns columns_of(const otimes_memory_sink *r)
{
    columns c = {.status = data_of(r, "status"),
                 .where = data_of(r, "where"),
                 .text_a = data_of(r, "text_a"),
                 .text_b = data_of(r, "text_b"),
                 .compared = data_of(r, "compared"),
                 .differing = data_of(r, "differing"),
                 .undefined = data_of(r, "undefined_in_one"),
                 .only_a = data_of(r, "only_a"),
                 .only_b = data_of(r, "only_b"),
                 .max_abs = data_of(r, "max_abs"),
                 .max_rel = data_of(r, "max_rel"),
                 .value_a = data_of(r, "value_a"),
                 .value_b = data_of(r, "value_b"),
                 .first_only_a = data_of(r, "first_only_a"),
                 .first_only_b = data_of(r, "first_only_b"),
                 .labels_only_a = data_of(r, "labels_only_a"),
                 .labels_only_b = data_of(r, "labels_only_b"),
                 .kind = data_of(r, "fact_kind"),
                 .fact_a = data_of(r, "fact_a"),
                 .fact_b = data_of(r, "fact_b")};
    c.array = rows_of(r, "status", &c.arrays);
    c.axis = rows_of(r, "labels_shared", &c.axes);
    c.fact = rows_of(r, "fact_kind", &c.facts);
    return c;
}

/* ---- facts and labels ---- */

static int is_boundary(const char *at)
{
    return ((unsigned char)*at & 0xc0) != 0x80;
}

/* The text from `from` on, cut where it is long; never in the middle of a character. */
static void put_part(FILE *to, const char *text, size_t from)
{
    char part[VALUE_WIDTH + 16];
    if (!*text) {
        fputs("none", to);
        return;
    }
    const size_t rest = strlen(text + from);
    size_t length = rest < VALUE_WIDTH ? rest : VALUE_WIDTH;
    while (length && !is_boundary(text + from + length)) {
        length--;
    }
    snprintf(part, sizeof part, "%s%.*s%s", from ? "..." : "", (int)length, text + from,
             length < rest ? "..." : "");
    put_quoted(to, part);
}

/* Long texts are shown from a little before they part. */
static void put_pair(FILE *to, const char *a, const char *b)
{
    size_t from = 0;
    if (strlen(a) > VALUE_WIDTH || strlen(b) > VALUE_WIDTH) {
        while (a[from] && a[from] == b[from]) {
            from++;
        }
        from = from > SHARED_WIDTH ? from - SHARED_WIDTH : 0;
        while (from && !is_boundary(a + from)) {
            from--;
        }
    }
    put_part(to, a, from);
    fputs(" / ", to);
    put_part(to, b, from);
}

static void put_facts(FILE *to, const columns *c)
{
    for (int64_t i = 0; i < c->facts; i++) {
        fprintf(to, "%-10s  ", c->kind[i]);
        put_shown(to, c->fact[i], "");
        fputs(": ", to);
        put_pair(to, c->fact_a[i], c->fact_b[i]);
        putc('\n', to);
    }
}

static void put_lone_labels(FILE *to, const char *axis, int64_t count, const char *whose,
                            const char *first)
{
    if (count) {
        fputs("labels      ", to);
        put_shown(to, axis, "");
        fprintf(to, ": %" PRId64 " only in %s, the first ", count, whose);
        put_shown(to, first, "");
        putc('\n', to);
    }
}

static void put_axes(FILE *to, const columns *c)
{
    for (int64_t i = 0; i < c->axes; i++) {
        put_lone_labels(to, c->axis[i], c->labels_only_a[i], "A", c->first_only_a[i]);
        put_lone_labels(to, c->axis[i], c->labels_only_b[i], "B", c->first_only_b[i]);
    }
}

/* ---- arrays ---- */

typedef struct row {
    int64_t index;
    double size; /* what it is ordered by */
} row;

static int is_equal(const columns *c, int64_t i)
{
    return !strcmp(c->status[i], "equal");
}

/* Whether all that differs is that one has entries that the other has no labels for. */
static int is_part(const columns *c, int64_t i)
{
    return !strcmp(c->status[i], "differs") && !c->differing[i];
}

/* What cannot be measured comes first, then by relative difference. */
static double size_of(const columns *c, int64_t i)
{
    return strcmp(c->status[i], "differs") != 0 || isnan(c->max_rel[i]) ? INFINITY : c->max_rel[i];
}

static int worst_first(const void *x, const void *y)
{
    const row *a = x, *b = y;
    return a->size != b->size ? (a->size < b->size ? 1 : -1)
                              : (a->index > b->index) - (a->index < b->index);
}

static void put_real(FILE *to, double value)
{
    if (isnan(value)) {
        fprintf(to, "  %10s", "-");
    } else {
        fprintf(to, "  %10.3g", value);
    }
}

/* "layer 1, head 3: 0.5 / 0.25" */
static void put_where(FILE *to, const columns *c, int64_t i)
{
    fputs("  ", to);
    put_shown(to, c->where[i], "");
    fputs(*c->where[i] ? ": " : "", to);
    if (*c->text_a[i] || *c->text_b[i]) {
        put_pair(to, c->text_a[i], c->text_b[i]);
    } else {
        fprintf(to, "%.9g / %.9g", c->value_a[i], c->value_b[i]);
    }
}

static void put_row(FILE *to, const columns *c, int64_t i, int width)
{
    put_column(to, c->array[i], width);
    if (strcmp(c->status[i], "differs") != 0) {
        fprintf(to, "  %s\n", c->status[i]);
        return;
    }
    fprintf(to, "  %10" PRId64 "  %10" PRId64, c->differing[i], c->compared[i]);
    put_real(to, c->max_abs[i]);
    put_real(to, c->max_rel[i]);
    put_where(to, c, i);
    if (c->undefined[i]) {
        fprintf(to, ", %" PRId64 " undefined in one", c->undefined[i]);
    }
    if (c->only_a[i] || c->only_b[i]) {
        fprintf(to, "  only in A %" PRId64 ", in B %" PRId64, c->only_a[i], c->only_b[i]);
    }
    putc('\n', to);
}

static void put_arrays(FILE *to, const columns *c, row *order)
{
    int64_t n = 0, parts = 0;
    int width = 5;
    for (int64_t i = 0; i < c->arrays; i++) {
        const int length = (int)strlen(c->array[i]);
        parts += is_part(c, i);
        if (!is_equal(c, i) && !is_part(c, i)) {
            order[n++] = (row){i, size_of(c, i)};
            width = length > width && length <= WIDEST_NAME ? length : width;
        }
    }
    if (parts) {
        fprintf(to, "%" PRId64 " array%s equal where both have labels, with entries of one alone\n",
                parts, parts == 1 ? "" : "s");
    }
    if (!n) {
        return;
    }
    qsort(order, (size_t)n, sizeof *order, worst_first);
    fprintf(to, "\n%-*s  %10s  %10s  %10s  %10s  where |a - b| is largest: A / B\n", width, "array",
            "differing", "of", "absolute", "relative");
    for (int64_t i = 0; i < n; i++) {
        put_row(to, c, order[i].index, width);
    }
    putc('\n', to);
}

static void put_summary(FILE *to, const columns *c, int equal)
{
    int64_t arrays = 0;
    double compared = 0, differing = 0;
    for (int64_t i = 0; i < c->arrays; i++) {
        arrays += !is_equal(c, i);
        compared += (double)c->compared[i];
        differing += (double)c->differing[i];
    }
    if (equal) {
        fprintf(to, "equal: %" PRId64 " arrays, %.0f entries\n", c->arrays - arrays, compared);
    } else {
        fprintf(to, "differ: %" PRId64 " of %" PRId64 " arrays, %.0f of %.0f entries\n", arrays,
                c->arrays, differing, compared);
    }
}

int diff_card(const otimes_memory_sink *result, FILE *to, otimes_err *err)
{
    const columns c = columns_of(result);
    const otimes_attr *equal = otimes_memory_sink_attr(result, "equal");
    row *order = malloc((size_t)(c.arrays + 1) * sizeof *order);
    if (!order) {
        return fail_memory(err, "table");
    }
    put_facts(to, &c);
    put_axes(to, &c);
    put_arrays(to, &c, order);
    put_summary(to, &c, equal->i64 != 0);
    free(order);
    return 0;
}
