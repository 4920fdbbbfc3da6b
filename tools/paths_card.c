/* SPDX-License-Identifier: MIT
 *
 * What `paths` found, for people.
 */
#include "paths_card.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "number.h"
#include "quote.h"

enum { BAR = 16, CONTEXT = 12, LABEL = 24, SETS = 16, CARRIERS = 2 };

/* An array with its data; zeroed where the result has none. */
typedef struct found {
    const otimes_array *array;
    const void *data;
} found;

typedef struct result {
    FILE *to;
    const otimes_model *model;
    const otimes_memory_sink *memory;
    int64_t top, cases, each; /* each: rows of paths of a case */
    found value, label, share, running, left, carrier_at, carrier_value;
    found token, token_id, edge_from, edge_to, edge_via, edge_value;
} result;

static found find(const otimes_memory_sink *memory, const char *name)
{
    found f = {0};
    f.array = otimes_memory_sink_array(memory, name, &f.data);
    return f;
}

static double number(const found *f, int64_t at)
{
    return ((const double *)f->data)[at];
}

static int64_t integer(const found *f, int64_t at)
{
    return ((const int64_t *)f->data)[at];
}

static const char *text(const found *f, int64_t at)
{
    return ((const char *const *)f->data)[at];
}

static double of_case(const result *r, const char *name, int64_t c)
{
    const found f = find(r->memory, name);
    return number(&f, c);
}

static int64_t id_of_case(const result *r, const char *name, int64_t c)
{
    const found f = find(r->memory, name);
    return integer(&f, c);
}

static const char *attribute(const result *r, const char *name)
{
    const otimes_attr *a = otimes_memory_sink_attr(r->memory, name);
    return a && a->text ? a->text : "";
}

/* ---- pieces ---- */

/* A label, and blanks until `width` characters stand there. */
static void put_padded(FILE *to, const char *label, int width)
{
    int seen = 0;
    for (const char *c = label; *c; c++) {
        seen += (*c & 0xC0) != 0x80;
    }
    fprintf(to, "%s%*s", label, seen < width ? width - seen : 0, "");
}

static void put_bar(FILE *to, double value, double largest)
{
    const int length = largest > 0 ? (int)lround(BAR * fabs(value) / largest) : 0;
    fputs(length ? "  " : "", to);
    for (int i = 0; i < length; i++) {
        putc(value < 0 ? '-' : '+', to);
    }
}

static void put_token(const result *r, int64_t of, int64_t position)
{
    const int64_t at = of * r->token_id.array->axis[1]->length + position;
    if (r->token.data) {
        put_quoted(r->to, text(&r->token, at));
    } else {
        fprintf(r->to, "#%" PRId64, integer(&r->token_id, at));
    }
}

static void put_context(const result *r, int64_t of, int64_t position)
{
    const int64_t first = position > CONTEXT ? position - CONTEXT : 0;
    fprintf(r->to, "text %" PRId64 ", position %" PRId64 ": ", of, position);
    fputs(first > 0 ? "... " : "", r->to);
    for (int64_t i = first; i <= position; i++) {
        fputs(i > first ? " " : "", r->to);
        put_token(r, of, i);
    }
    putc('\n', r->to);
}

static void put_output_token(const result *r, int64_t id)
{
    const char *name = otimes_model_output_token(r->model, id);
    if (name) {
        put_quoted(r->to, name);
    }
    fprintf(r->to, name ? " (#%" PRId64 ")" : "#%" PRId64, id);
}

static void put_value(const result *r, int64_t c)
{
    const int64_t against = id_of_case(r, "against_id", c);
    const double model = of_case(r, "model_value", c), frozen = of_case(r, "frozen_value", c);
    const char *what = attribute(r, "value");
    const char *whose = attribute(r, "targets");
    fputs(!strcmp(whose, "given")    ? "target "
          : strstr(whose, "follows") ? "next token "
                                     : "predicted token ",
          r->to);
    put_output_token(r, id_of_case(r, "target_id", c));
    if (against >= 0) {
        fputs(" against ", r->to);
        put_output_token(r, against);
    }
    fprintf(r->to, ": %s ", what);
    number_put_signed(r->to, 0, 3, frozen);
    if (strstr(what, "loss")) {
        fputs(" (the loss is ", r->to);
        number_put(r->to, 0, 3, model);
        putc(')', r->to);
    } else if (fabs(model - frozen) > 1e-3 * fmax(1, fabs(frozen))) {
        fprintf(r->to, " (soft-capped %+.3f)", model);
    }
    putc('\n', r->to);
}

/* ---- totals ---- */

static void put_row(const result *r, const char *name, double value, double largest)
{
    fputs("  ", r->to);
    put_padded(r->to, name, LABEL);
    putc(' ', r->to);
    number_put_signed(r->to, 9, 3, value);
    put_bar(r->to, value, largest);
    putc('\n', r->to);
}

static double largest_of(const found *f, int64_t first, int64_t count)
{
    double largest = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(number(f, first + i)));
    }
    return largest;
}

static void put_orders(const result *r, int64_t c)
{
    const found total = find(r->memory, "order_total");
    const int64_t orders = total.array->axis[1]->length;
    const double largest = largest_of(&total, c * orders, orders);
    char name[32];
    fprintf(r->to, "\n  %-*s %9s\n", LABEL, "all paths through", "total");
    for (int64_t n = 0; n < orders; n++) {
        snprintf(name, sizeof name, "%" PRId64 " head%s", n, n == 1 ? "" : "s");
        put_row(r, name, number(&total, c * orders + n), largest);
    }
    fprintf(r->to, "  %-*s %+9.2g\n", LABEL, "left", of_case(r, "order_residue", c));
}

/* Not where single layers say what the orders did. */
static void put_sets(const result *r, int64_t c)
{
    const found total = find(r->memory, "set_total");
    const int64_t sets = total.array->axis[1]->length;
    const double largest = largest_of(&total, c * sets, sets);
    if (sets > SETS || sets < 3) {
        return;
    }
    fprintf(r->to, "\n  %-*s %9s\n", LABEL, "through layers", "total");
    for (int64_t i = 0; i < sets; i++) {
        put_row(r, total.array->axis[1]->text[i], number(&total, c * sets + i), largest);
    }
}

/* ---- paths ---- */

static void put_carriers(const result *r, int64_t of, int64_t row)
{
    const int64_t each = r->carrier_at.array ? r->carrier_at.array->axis[1]->length : 0;
    for (int64_t k = 0; k < each && k < CARRIERS; k++) {
        const int32_t at = ((const int32_t *)r->carrier_at.data)[row * each + k];
        const double value = at < 0 ? 0 : number(&r->carrier_value, row * each + k);
        if (at < 0 || fabs(value) < 0.1 * fabs(number(&r->value, row))) {
            break;
        }
        fputs(k ? ", " : "  ", r->to);
        number_put_signed(r->to, 0, 3, value);
        fprintf(r->to, " from %" PRId32 " ", at);
        put_token(r, of, at);
    }
}

static void put_paths(const result *r, int64_t c, int64_t of)
{
    const found certificate = find(r->memory, "certificate");
    const int64_t first = c * r->each;
    fprintf(r->to, "\n  %-*s %9s %7s %9s %9s\n", LABEL, "path", "value", "share", "running",
            "left");
    for (int64_t i = first; i < first + r->each && i < first + r->top; i++) {
        if (isnan(number(&r->value, i))) {
            break;
        }
        fputs("  ", r->to);
        put_padded(r->to, text(&r->label, i), LABEL);
        putc(' ', r->to);
        number_put_signed(r->to, 9, 3, number(&r->value, i));
        putc(' ', r->to);
        number_put_percent(r->to, 7, 1, number(&r->share, i));
        putc(' ', r->to);
        number_put_signed(r->to, 9, 3, number(&r->running, i));
        putc(' ', r->to);
        number_put_signed(r->to, 9, 3, number(&r->left, i));
        put_carriers(r, of, i);
        putc('\n', r->to);
    }
    fprintf(r->to, "  %s\n", text(&certificate, c));
}

static void put_edges(const result *r, int64_t c)
{
    const int64_t each = r->edge_value.array ? r->edge_value.array->axis[0]->length / r->cases : 0;
    char name[96];
    if (!each) {
        return;
    }
    const double largest = fabs(number(&r->edge_value, c * each));
    fprintf(r->to, "\n  %-*s %9s\n", LABEL, "edge", "flow");
    for (int64_t i = c * each; i < (c + 1) * each && !isnan(number(&r->edge_value, i)); i++) {
        const char *via = text(&r->edge_via, i);
        const int out = !strcmp(via, "out");
        snprintf(name, sizeof name, "%s → %s%s%s", text(&r->edge_from, i), text(&r->edge_to, i),
                 out ? "" : " by ", out ? "" : via);
        put_row(r, name, number(&r->edge_value, i), largest);
    }
}

void paths_card(const otimes_model *model, const otimes_memory_sink *memory, int64_t top, FILE *to)
{
    result r = {.to = to,
                .model = model,
                .memory = memory,
                .top = top,
                .value = find(memory, "path_value"),
                .label = find(memory, "path_label"),
                .share = find(memory, "path_share"),
                .running = find(memory, "path_running"),
                .left = find(memory, "path_left"),
                .carrier_at = find(memory, "carrier_position"),
                .carrier_value = find(memory, "carrier_value"),
                .token = find(memory, "token"),
                .token_id = find(memory, "token_id"),
                .edge_from = find(memory, "edge_from"),
                .edge_to = find(memory, "edge_to"),
                .edge_via = find(memory, "edge_via"),
                .edge_value = find(memory, "edge_value")};
    const found of = find(memory, "case_text"), at = find(memory, "case_position");
    r.cases = of.array->axis[0]->length;
    r.each = r.value.array->axis[0]->length / r.cases;
    for (int64_t c = 0; c < r.cases; c++) {
        fputs(c ? "\n\n" : "", to);
        put_context(&r, integer(&of, c), integer(&at, c));
        putc('\n', to);
        put_value(&r, c);
        put_orders(&r, c);
        put_sets(&r, c);
        put_paths(&r, c, integer(&of, c));
        put_edges(&r, c);
    }
}
