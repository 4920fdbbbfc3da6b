/* SPDX-License-Identifier: MIT */
#include "logits_card.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "number.h"
#include "quote.h"

/* Arrays of the result; NULL where one was not written. */
typedef struct view {
    const otimes_model *model;
    int64_t texts, longest, places, top;
    const int64_t *length, *token_id, *position, *rank, *predicted;
    const float *next, *value;
    const int32_t *id;
    const double *loss;
} view;

static const otimes_array *find(const otimes_memory_sink *result, const char *name,
                                const void **data)
{
    *data = NULL;
    return otimes_memory_sink_array(result, name, data);
}

static view view_of(const otimes_model *model, const otimes_memory_sink *result)
{
    view v = {.model = model};
    const void *data;
    const otimes_array *ids = find(result, "token_id", &data);
    v.token_id = data;
    v.texts = ids->axis[0]->length;
    v.longest = v.places = ids->axis[1]->length;
    (void)find(result, "length", &data);
    v.length = data;
    const otimes_array *at = find(result, "place_position", &data);
    v.position = data;
    v.places = at ? at->axis[1]->length : v.places;
    (void)find(result, "next_log_prob", &data);
    v.next = data;
    (void)find(result, "next_rank", &data);
    v.rank = data;
    (void)find(result, "loss", &data);
    v.loss = data;
    (void)find(result, "predicted_tokens", &data);
    v.predicted = data;
    const otimes_array *top = find(result, "top_id", &data);
    v.id = data;
    v.top = top ? top->axis[2]->length : 0;
    (void)find(result, "top_log_prob", &data);
    v.value = data;
    return v;
}

/* A token as readers know it; without a vocabulary its number. */
static const char *label(const otimes_model *model, int output, int64_t id, char number[24])
{
    const char *text =
        output ? otimes_model_output_token(model, id) : otimes_model_token(model, id);
    snprintf(number, 24, "%" PRId64, id);
    return text ? text : number;
}

static void put_label(FILE *to, const char *text, int width)
{
    put_quoted(to, text);
    fprintf(to, "%*s", width > quoted_width(text) ? width - quoted_width(text) : 0, "");
}

static int64_t position_of(const view *v, int64_t text, int64_t place)
{
    return v->position ? v->position[text * v->places + place] : place;
}

static int64_t places_of(const view *v, int64_t text)
{
    return v->position ? v->places : v->length[text];
}

/* The token that place i reads. */
static const char *read_label(const view *v, int64_t text, int64_t i, char number[24])
{
    return label(v->model, 0, v->token_id[text * v->longest + position_of(v, text, i)], number);
}

/* Widths of the tokens read and of each column of expected ones, up to a limit: a long token then
 * pushes its own line alone. */
enum { WIDEST = 14, COLUMNS = 16 };

typedef struct widths {
    int token, expected[COLUMNS];
} widths;

static void widen(int *width, const char *text, int limit)
{
    const int own = quoted_width(text);
    *width = own > *width && own <= limit ? own : *width;
}

static widths widths_of(const view *v, int64_t text)
{
    char number[24];
    widths w = {.token = (int)strlen("token")};
    for (int64_t i = 0; i < places_of(v, text); i++) {
        widen(&w.token, read_label(v, text, i, number), 2 * WIDEST);
        for (int64_t k = 0; k < v->top && k < COLUMNS; k++) {
            const int64_t id = v->id[(text * v->places + i) * v->top + k];
            widen(&w.expected[k], label(v->model, 1, id, number), WIDEST);
        }
    }
    return w;
}

static void put_expected(FILE *to, const view *v, int64_t at, const widths *w)
{
    char number[24];
    for (int64_t k = 0; k < v->top; k++) {
        const int64_t entry = at * v->top + k;
        fputs("  ", to);
        put_label(to, label(v->model, 1, v->id[entry], number), k < COLUMNS ? w->expected[k] : 0);
        putc(' ', to);
        number_put_percent(to, 5, 1, exp((double)v->value[entry]));
    }
}

static void put_place(FILE *to, const view *v, int64_t text, int64_t i, const widths *w)
{
    char number[24];
    const int64_t at = text * v->places + i;
    fprintf(to, "%8" PRId64 "  ", position_of(v, text, i));
    put_label(to, read_label(v, text, i, number), w->token);
    if (v->next && v->rank[at] >= 0) {
        fputs("  ", to);
        number_put_percent(to, 7, 2, exp((double)v->next[at]));
        fprintf(to, "  %6" PRId64, v->rank[at]);
    } else if (v->next) {
        fprintf(to, "  %7s  %6s", "", "");
    }
    put_expected(to, v, at, w);
    putc('\n', to);
}

static void put_text(FILE *to, const view *v, int64_t text)
{
    const widths w = widths_of(v, text);
    if (v->texts > 1) {
        fprintf(to, "%stext %" PRId64 "\n", text ? "\n" : "", text);
    }
    fprintf(to, "position  %-*s", w.token, "token");
    fputs(v->next ? "     next    rank" : "", to);
    fputs(v->top ? "  expected next\n" : "\n", to);
    for (int64_t i = 0; i < places_of(v, text); i++) {
        put_place(to, v, text, i, &w);
    }
}

/* The mean over all predicted tokens, and of each text where there are several. */
static void put_loss(FILE *to, const view *v)
{
    double sum = 0;
    int64_t count = 0;
    if (!v->loss) {
        return;
    }
    putc('\n', to);
    for (int64_t t = 0; t < v->texts; t++) {
        if (v->texts > 1) {
            fprintf(to, "text %" PRId64 "  loss ", t);
            number_put(to, 0, 4, v->loss[t]);
            fprintf(to, ", %" PRId64 " predicted\n", v->predicted[t]);
        }
        sum += v->predicted[t] ? v->loss[t] * (double)v->predicted[t] : 0;
        count += v->predicted[t];
    }
    if (count) {
        const double loss = sum / (double)count;
        fputs("mean loss ", to);
        number_put(to, 0, 4, loss);
        fputs(" nats a token, perplexity ", to);
        number_put(to, 0, 3, exp(loss));
        fprintf(to, ", %" PRId64 " predicted\n", count);
    }
}

void logits_card(const otimes_model *model, const otimes_memory_sink *result, FILE *to)
{
    const view v = view_of(model, result);
    for (int64_t t = 0; t < v.texts; t++) {
        put_text(to, &v, t);
    }
    put_loss(to, &v);
}

/* ---- generation ---- */

void logits_card_generated(const otimes_model *model, const otimes_memory_sink *result, FILE *to)
{
    char number[24];
    const void *id, *length, *completion;
    const otimes_array *ids = find(result, "generated_id", &id);
    const int64_t texts = ids->axis[0]->length, steps = ids->axis[1]->length;
    (void)find(result, "generated_length", &length);
    (void)find(result, "completion", &completion);
    for (int64_t t = 0; t < texts; t++) {
        if (texts > 1) {
            fprintf(to, "%stext %" PRId64 "\n", t ? "\n" : "", t);
        }
        if (completion) {
            put_shown(to, ((const char *const *)completion)[t], "\n\t"); /* lines stay lines */
            putc('\n', to);
            continue;
        }
        for (int64_t i = 0; i < ((const int64_t *)length)[t]; i++) {
            fputs(i ? " " : "", to);
            put_quoted(to, label(model, 1, ((const int64_t *)id)[t * steps + i], number));
        }
        putc('\n', to);
    }
}
