/* SPDX-License-Identifier: MIT
 *
 * What `circuit` found, for people.
 */
#include "circuit_card.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "number.h"
#include "quote.h"

/* Of the lists of rows and columns. */
enum { MOST_LINES = 40, MOST_ENTRIES = 5 };

/* "largest" or "smallest" of all tables. */
typedef struct ends {
    const float *value;
    const int32_t *row, *column;
} ends;

typedef struct result {
    FILE *to;
    const otimes_model *model;
    const otimes_memory_sink *memory;
    const otimes_axis *head;
    int ov; /* columns are output tokens, and the effect goes from row to column */
    int64_t places;
    ends largest, smallest;
} result;

static const otimes_array *array_of(const result *r, const char *name, const void **data)
{
    return otimes_memory_sink_array(r->memory, name, data);
}

static ends ends_of(const result *r, const char *which)
{
    char name[32];
    const void *data[3];
    static const char *const parts[] = {"value", "row", "column"};
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s_%s", which, parts[i]);
        array_of(r, name, &data[i]);
    }
    return (ends){data[0], data[1], data[2]};
}

static const char *text_of(const result *r, int column, int64_t id)
{
    return column && r->ov ? otimes_model_output_token(r->model, id)
                           : otimes_model_token(r->model, id);
}

static int width_of(const result *r, int column, int64_t id)
{
    const char *text = text_of(r, column, id);
    return text ? quoted_width(text) : snprintf(NULL, 0, "#%" PRId64, id);
}

static void put_token(const result *r, int column, int64_t id)
{
    const char *text = text_of(r, column, id);
    if (text) {
        put_quoted(r->to, text);
    } else {
        fprintf(r->to, "#%" PRId64, id);
    }
}

/* "a" -> "b" of OV; destination <- source of QK. Its width. */
static int put_entry(const result *r, int64_t row, int64_t column)
{
    put_token(r, 0, row);
    fputs(r->ov ? " -> " : " <- ", r->to);
    put_token(r, 1, column);
    return width_of(r, 0, row) + width_of(r, 1, column) + 4;
}

static int entry_width(const result *r, const ends *e, int64_t at)
{
    return width_of(r, 0, e->row[at]) + width_of(r, 1, e->column[at]) + 4;
}

static void put_head(const result *r, int64_t head)
{
    const int64_t first = head * r->places;
    int width = 0;
    for (int64_t at = first; at < first + r->places && r->largest.row[at] >= 0; at++) {
        const int own = entry_width(r, &r->largest, at);
        width = own > width ? own : width;
    }
    fprintf(r->to, "\n%s\n", r->head->text[head]);
    for (int64_t at = first; at < first + r->places && r->largest.row[at] >= 0; at++) {
        fputs("  ", r->to);
        number_put_digits(r->to, 10, 4, (double)r->largest.value[at]);
        fputs("  ", r->to);
        const int own = put_entry(r, r->largest.row[at], r->largest.column[at]);
        fprintf(r->to, "%*s  ", width - own, "");
        number_put_digits(r->to, 10, 4, (double)r->smallest.value[at]);
        fputs("  ", r->to);
        put_entry(r, r->smallest.row[at], r->smallest.column[at]);
        putc('\n', r->to);
    }
}

/* Tables by their largest entry, falling. */
static void sort_heads(const result *r, int64_t *order)
{
    for (int64_t i = 0; i < r->head->length; i++) {
        int64_t at = i;
        while (at > 0 &&
               r->largest.value[order[at - 1] * r->places] < r->largest.value[i * r->places]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}

/* ---- rows and columns ---- */

/* One end of the lists along one side: "top" of rows, "column_bottom" ... */
static void put_list(const result *r, const char *which, const char *heading, int columns,
                     int64_t head)
{
    int64_t lines = 0;
    char name[48];
    const void *value, *id, *own;
    snprintf(name, sizeof name, "%s_value", which);
    const otimes_array *array = array_of(r, name, &value);
    snprintf(name, sizeof name, "%s_id", which);
    if (!array || !array_of(r, name, &id)) {
        return;
    }
    const int64_t count = array->axis[1]->length, kept = array->axis[2]->length;
    const int64_t shown = kept < MOST_ENTRIES ? kept : MOST_ENTRIES;
    const int chosen = array_of(r, columns ? "column_id" : "row_id", &own) != NULL;
    fprintf(r->to, "  %s\n", heading);
    for (int64_t i = 0; i < count && lines < MOST_LINES; i++, lines++) {
        fputs("    ", r->to);
        put_token(r, columns, chosen ? ((const int64_t *)own)[i] : i);
        putc(':', r->to);
        for (int64_t k = 0; k < shown; k++) {
            const int64_t at = (head * count + i) * kept + k;
            const int32_t other = ((const int32_t *)id)[at];
            if (other < 0) {
                break;
            }
            fputs(k ? ", " : " ", r->to);
            put_token(r, !columns, other);
            putc(' ', r->to);
            number_put_digits(r->to, 0, 4, (double)((const float *)value)[at]);
        }
        putc('\n', r->to);
    }
    if (lines < count) {
        fprintf(r->to, "    and %" PRId64 " more; -o writes all\n", count - lines);
    }
}

static void put_lists(const result *r, int64_t head)
{
    put_list(r, "top", "largest of rows", 0, head);
    put_list(r, "bottom", "smallest of rows", 0, head);
    put_list(r, "column_top", "largest of columns", 1, head);
    put_list(r, "column_bottom", "smallest of columns", 1, head);
}

static void put_beyond(const result *r, int64_t head)
{
    const void *data;
    const otimes_array *array = array_of(r, "entry_head", &data);
    const int32_t *of = data;
    int64_t count = 0;
    for (int64_t i = 0; array && i < array->axis[0]->length; i++) {
        count += of[i] == head;
    }
    if (array) {
        fprintf(r->to, "  %" PRId64 " entr%s beyond the threshold %g\n", count,
                count == 1 ? "y" : "ies", otimes_memory_sink_attr(r->memory, "threshold")->f64);
    }
}

int circuit_card(const otimes_model *model, const otimes_memory_sink *memory, int64_t heads,
                 FILE *to, otimes_err *err)
{
    const void *value;
    const otimes_array *array = otimes_memory_sink_array(memory, "largest_value", &value);
    result r = {.to = to,
                .model = model,
                .memory = memory,
                .head = array->axis[0],
                .ov = !strcmp(otimes_memory_sink_attr(memory, "circuit")->text, "ov"),
                .places = array->axis[1]->length};
    int64_t *order = malloc(((size_t)r.head->length + 1) * sizeof *order);
    if (!order) {
        return fail_memory(err, "the table");
    }
    r.largest = ends_of(&r, "largest");
    r.smallest = ends_of(&r, "smallest");
    sort_heads(&r, order);
    fprintf(to, "%s\n%s\n", array->formula, array->orientation);
    const int64_t shown = r.head->length < heads ? r.head->length : heads;
    for (int64_t i = 0; i < shown; i++) {
        put_head(&r, order[i]);
        put_lists(&r, order[i]);
        put_beyond(&r, order[i]);
    }
    if (shown < r.head->length) {
        fprintf(to, "\nand %" PRId64 " more; --head chooses, -o writes all\n",
                r.head->length - shown);
    }
    free(order);
    return 0;
}
