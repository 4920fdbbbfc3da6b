/* SPDX-License-Identifier: MIT
 *
 * What `decompose` found, for people.
 */
#include "decompose_card.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "number.h"
#include "quote.h"

enum { BAR = 24, CONTEXT = 12 };

/* An array with its data; zeroed where the result has none. */
typedef struct found {
    const void *data;
    const otimes_array *array;
    int64_t last; /* entries along its last axis */
} found;

typedef struct result {
    FILE *to;
    const otimes_model *model;
    int64_t top;
    found attribution, value, target_id, against_id, lens, rank, log_prob, norm, cosine, token;
    found token_id, source, neuron, neuron_layer, neuron_index;
    int64_t longest, targets, components;
    int64_t *order; /* [components], scratch */
} result;

static found find(const otimes_memory_sink *memory, const char *name)
{
    found f = {0};
    f.array = otimes_memory_sink_array(memory, name, &f.data);
    f.last = f.array ? f.array->axis[f.array->ndim - 1]->length : 0;
    return f;
}

static const char *label(const found *f, int axis, int64_t i)
{
    return f->array->axis[axis]->text[i];
}

static double number(const found *f, int64_t at)
{
    return (double)((const float *)f->data)[at];
}

/* ---- pieces ---- */

/* Its length, so that what follows can be put below each other. */
static int put_bar(FILE *to, double value, double largest)
{
    const int length = largest > 0 ? (int)lround(BAR * fabs(value) / largest) : 0;
    for (int i = 0; i < length; i++) {
        putc(value < 0 ? '-' : '+', to);
    }
    return length;
}

static void put_token(const result *r, int64_t text, int64_t position)
{
    const int64_t at = text * r->longest + position;
    if (r->token.data) {
        put_quoted(r->to, ((const char *const *)r->token.data)[at]);
    } else {
        fprintf(r->to, "#%" PRId64, ((const int64_t *)r->token_id.data)[at]);
    }
}

/* The tokens before and at a position. */
static void put_context(const result *r, int64_t text, int64_t position)
{
    const int64_t first = position > CONTEXT ? position - CONTEXT : 0;
    fprintf(r->to, "text %" PRId64 ", position %" PRId64 ": ", text, position);
    fputs(first > 0 ? "... " : "", r->to);
    for (int64_t i = first; i <= position; i++) {
        fputs(i > first ? " " : "", r->to);
        put_token(r, text, i);
    }
    putc('\n', r->to);
}

/* ---- components ---- */

/* Of one target: where its row of attributions begins. */
static void sort_components(const result *r, int64_t row)
{
    for (int64_t i = 0; i < r->components; i++) {
        int64_t at = i;
        const double size = fabs(number(&r->attribution, row + i));
        while (at > 0 && fabs(number(&r->attribution, row + r->order[at - 1])) < size) {
            r->order[at] = r->order[at - 1];
            at--;
        }
        r->order[at] = i;
    }
}

/* The position that a head's attribution came from most, behind `indent` blanks. */
static void put_source(const result *r, int64_t text, int64_t where, int64_t target,
                       const char *component, int indent)
{
    int64_t layer, head, best = 0;
    char rest;
    /* NOLINTNEXTLINE(cert-err34-c): names that the analysis gave, of layers and heads it has */
    const int read = sscanf(component, "L%" SCNd64 "H%" SCNd64 "%c", &layer, &head, &rest);
    if (!r->source.data || read != 2) {
        return;
    }
    const otimes_array *a = r->source.array;
    const int64_t layers = a->axis[3]->length, heads = a->axis[4]->length;
    const int64_t row =
        ((((where * r->targets + target) * layers) + layer) * heads + head) * r->source.last;
    for (int64_t k = 1; k < r->source.last; k++) {
        const double value = fabs(number(&r->source, row + k));
        best = value > fabs(number(&r->source, row + best)) ? k : best;
    }
    fprintf(r->to, "%*s ", indent, "");
    number_put_signed(r->to, 9, 3, number(&r->source, row + best));
    fprintf(r->to, " from %3" PRId64 " ", best);
    put_token(r, text, best);
}

static void put_named(const result *r, const char *name, double value)
{
    fprintf(r->to, "  %-14s ", name);
    number_put_signed(r->to, 9, 3, value);
}

static void put_components(const result *r, int64_t text, int64_t where, int64_t target)
{
    const int64_t row = (where * r->targets + target) * r->components;
    const int64_t shown = r->top < r->components ? r->top : r->components;
    double rest = 0;
    sort_components(r, row);
    const double largest = shown ? fabs(number(&r->attribution, row + r->order[0])) : 0;
    fprintf(r->to, "\n  %-14s %9s%s\n", "component", "logit",
            r->norm.data ? "      norm  cosine" : "");
    for (int64_t i = 0; i < r->components; i++) {
        const int64_t c = r->order[i];
        const double value = number(&r->attribution, row + c);
        if (i >= shown) {
            rest += value;
            continue;
        }
        put_named(r, label(&r->attribution, 3, c), value);
        if (r->norm.data && !isnan(number(&r->norm, where * r->components + c))) {
            putc(' ', r->to);
            number_put(r->to, 9, 3, number(&r->norm, where * r->components + c));
            fputs("  ", r->to);
            number_put_signed(r->to, 6, 2, number(&r->cosine, where * r->components + c));
        } else if (r->norm.data) {
            fprintf(r->to, " %9s  %6s", "", "");
        }
        fputs("  ", r->to);
        const int bar = put_bar(r->to, value, largest);
        put_source(r, text, where, target, label(&r->attribution, 3, c), BAR - bar);
        putc('\n', r->to);
    }
    if (shown < r->components) {
        put_named(r, "the others", rest);
        putc('\n', r->to);
    }
    put_named(r, "sum", number(&r->value, where * r->targets + target));
    putc('\n', r->to);
}

static void put_neurons(const result *r, int64_t where, int64_t target)
{
    const int64_t row = (where * r->targets + target) * r->neuron.last;
    char name[48];
    if (!r->neuron.data || r->neuron.last == 0) {
        return;
    }
    const double largest = fabs(number(&r->neuron, row));
    fprintf(r->to, "\n  %-14s %9s\n", "neuron", "logit");
    for (int64_t k = 0; k < r->neuron.last && !isnan(number(&r->neuron, row + k)); k++) {
        snprintf(name, sizeof name, "L%" PRId32 "N%" PRId32,
                 ((const int32_t *)r->neuron_layer.data)[row + k],
                 ((const int32_t *)r->neuron_index.data)[row + k]);
        put_named(r, name, number(&r->neuron, row + k));
        fputs("  ", r->to);
        put_bar(r->to, number(&r->neuron, row + k), largest);
        putc('\n', r->to);
    }
}

static void put_lens(const result *r, int64_t where, int64_t target)
{
    const int64_t points = r->lens.last, row = (where * r->targets + target) * points;
    double largest = 0;
    for (int64_t p = 0; p < points; p++) {
        largest = fmax(largest, fabs(number(&r->lens, row + p)));
    }
    fprintf(r->to, "\n  %-14s %9s %9s  %6s\n", "lens at", "logit", "rank", "prob");
    for (int64_t p = 0; p < points; p++) {
        put_named(r, label(&r->lens, 3, p), number(&r->lens, row + p));
        fprintf(r->to, " %9" PRId64 "  ", ((const int64_t *)r->rank.data)[row + p]);
        number_put(r->to, 6, 4, exp(number(&r->log_prob, row + p)));
        fputs("  ", r->to);
        put_bar(r->to, number(&r->lens, row + p), largest);
        putc('\n', r->to);
    }
}

/* ---- all of it ---- */

static void put_output_token(const result *r, int64_t id)
{
    const char *text = otimes_model_output_token(r->model, id);
    if (text) {
        put_quoted(r->to, text);
    }
    fprintf(r->to, text ? " (#%" PRId64 ")" : "#%" PRId64, id);
}

static void put_target(const result *r, int64_t text, int64_t where, int64_t target)
{
    const int64_t at = where * r->targets + target;
    const int64_t id = ((const int64_t *)r->target_id.data)[at];
    const int64_t against = ((const int64_t *)r->against_id.data)[at];
    const char *name = label(&r->value, 2, target);
    putc('\n', r->to);
    if (id < 0) {
        fputs("no token follows here\n", r->to);
        return;
    }
    fputs(!strcmp(name, "next token") || !strcmp(name, "predicted token") ? name : "target", r->to);
    putc(' ', r->to);
    put_output_token(r, id);
    if (against >= 0) {
        fputs(" against ", r->to);
        put_output_token(r, against);
    }
    fprintf(r->to, ": logit%s ", against >= 0 ? " difference" : "");
    number_put_signed(r->to, 0, 3, number(&r->value, at));
    putc('\n', r->to);
    put_components(r, text, where, target);
    put_neurons(r, where, target);
    put_lens(r, where, target);
}

/* Whether a position was taken apart. */
static int is_there(const result *r, int64_t where)
{
    const found *x = &r->attribution;
    for (int64_t t = 0; t < r->targets; t++) {
        if (((const int64_t *)r->target_id.data)[where * r->targets + t] >= 0 ||
            !isnan(number(x, where * r->targets * r->components))) {
            return 1;
        }
    }
    return 0;
}

int decompose_card(const otimes_model *model, const otimes_memory_sink *memory, int64_t top,
                   FILE *to, otimes_err *err)
{
    result r = {.to = to,
                .model = model,
                .top = top,
                .attribution = find(memory, "attribution"),
                .value = find(memory, "target_value"),
                .target_id = find(memory, "target_id"),
                .against_id = find(memory, "against_id"),
                .lens = find(memory, "logit_lens"),
                .rank = find(memory, "lens_rank"),
                .log_prob = find(memory, "lens_log_prob"),
                .norm = find(memory, "component_norm"),
                .cosine = find(memory, "component_cosine"),
                .token = find(memory, "token"),
                .token_id = find(memory, "token_id"),
                .source = find(memory, "source_attribution"),
                .neuron = find(memory, "neuron_value"),
                .neuron_layer = find(memory, "neuron_layer"),
                .neuron_index = find(memory, "neuron_index")};
    const int64_t texts = r.value.array->axis[0]->length;
    r.longest = r.value.array->axis[1]->length;
    r.targets = r.value.last;
    r.components = r.attribution.last;
    r.order = calloc((size_t)r.components + 1, sizeof *r.order);
    if (!r.order) {
        return fail_memory(err, "the table");
    }
    for (int64_t where = 0, seen = 0; where < texts * r.longest; where++) {
        if (!is_there(&r, where)) {
            continue;
        }
        fputs(seen++ ? "\n\n" : "", to);
        put_context(&r, where / r.longest, where % r.longest);
        for (int64_t t = 0; t < r.targets; t++) {
            put_target(&r, where / r.longest, where, t);
        }
    }
    free(r.order);
    return 0;
}
