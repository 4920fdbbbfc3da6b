/* SPDX-License-Identifier: MIT
 *
 * What `trigrams` found, for people.
 */
#include "trigrams_card.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "fail.h"
#include "quote.h"

enum { SOURCE, DESTINATION, OUT, TOKENS };

typedef struct result {
    FILE *to;
    const otimes_model *model;
    const otimes_array *array; /* of strengths */
    const float *score, *effect, *strength;
    const int32_t *id[TOKENS];
    int64_t lists, offsets, top;
    int several; /* offsets are worth naming */
} result;

static const void *data_of(const otimes_memory_sink *memory, const char *name)
{
    const void *data = NULL;
    otimes_memory_sink_array(memory, name, &data);
    return data;
}

static const char *text_of(const result *r, int which, int64_t id)
{
    return which == OUT ? otimes_model_output_token(r->model, id)
                        : otimes_model_token(r->model, id);
}

/* Characters that a token takes. */
static int width_of(const result *r, int which, int64_t at)
{
    const int64_t id = r->id[which][at];
    const char *text = text_of(r, which, id);
    return text ? quoted_width(text) : snprintf(NULL, 0, "#%" PRId64, id);
}

static void put_token(const result *r, int which, int64_t at, int width)
{
    const int64_t id = r->id[which][at];
    const char *text = text_of(r, which, id);
    if (text) {
        put_quoted(r->to, text);
    } else {
        fprintf(r->to, "#%" PRId64, id);
    }
    const int own = width_of(r, which, at);
    fprintf(r->to, "%*s", own < width ? width - own : 0, "");
}

static int is_there(const result *r, int64_t at)
{
    return !isnan((double)r->strength[at]);
}

static void put_list(const result *r, int64_t list)
{
    const int64_t head = list / r->offsets, offset = list % r->offsets, first = list * r->top;
    int width[TOKENS] = {0};
    int64_t count = 0;
    for (; count < r->top && is_there(r, first + count); count++) {
        for (int which = 0; which < TOKENS; which++) {
            const int own = width_of(r, which, first + count);
            width[which] = own > width[which] ? own : width[which];
        }
    }
    fputs(r->array->axis[0]->text[head], r->to);
    if (r->several) {
        fprintf(r->to, ", offset %" PRId64, r->array->axis[1]->number[offset]);
    }
    putc('\n', r->to);
    for (int64_t at = first; at < first + count; at++) {
        fprintf(r->to, "  %9.3f %9.3f %9.3f  ", (double)r->strength[at], (double)r->score[at],
                (double)r->effect[at]);
        put_token(r, SOURCE, at, width[SOURCE]);
        fputs(" ... ", r->to);
        put_token(r, DESTINATION, at, width[DESTINATION]);
        fputs(" -> ", r->to);
        put_token(r, OUT, at, 0);
        putc('\n', r->to);
    }
    fputs(count ? "" : "  none of positive score and effect\n", r->to);
}

/* Lists by falling strength of their first; those without one come last. */
static void sort_lists(const result *r, int64_t *order)
{
    for (int64_t i = 0; i < r->lists; i++) {
        const float own = r->strength[i * r->top];
        int64_t at = i;
        while (at > 0 && (isnan((double)r->strength[order[at - 1] * r->top])
                              ? !isnan((double)own)
                              : r->strength[order[at - 1] * r->top] < own)) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}

int trigrams_card(const otimes_model *model, const otimes_memory_sink *memory, int64_t heads,
                  FILE *to, otimes_err *err)
{
    const void *strength;
    result r = {.to = to,
                .model = model,
                .array = otimes_memory_sink_array(memory, "strength", &strength),
                .score = data_of(memory, "score"),
                .effect = data_of(memory, "effect"),
                .id = {data_of(memory, "source_id"), data_of(memory, "destination_id"),
                       data_of(memory, "out_id")}};
    r.strength = strength;
    r.offsets = r.array->axis[1]->length;
    r.lists = r.array->axis[0]->length * r.offsets;
    r.top = r.array->axis[2]->length;
    r.several = r.offsets > 1 || r.array->axis[1]->number[0] != 0;
    int64_t *order = malloc(((size_t)r.lists + 1) * sizeof *order);
    if (!order) {
        return fail_memory(err, "the table");
    }
    sort_lists(&r, order);
    fputs("[source] ... [destination] -> [out], from each head's QK and OV\n"
          "   strength =   score x  effect\n",
          to);
    const int64_t shown = r.lists < heads ? r.lists : heads;
    for (int64_t i = 0; i < shown; i++) {
        putc('\n', to);
        put_list(&r, order[i]);
    }
    if (shown < r.lists) {
        fprintf(to, "\nand %" PRId64 " weaker; --head chooses, -o writes all\n", r.lists - shown);
    }
    free(order);
    return 0;
}
