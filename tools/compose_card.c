/* SPDX-License-Identifier: MIT */
#include "compose_card.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "number.h"
#include "quote.h"

/* A score and where it stands in its array. */
typedef struct entry {
    float score;
    int64_t at;
} entry;

typedef struct card {
    const otimes_memory_sink *result;
    FILE *to;
    double baseline;
    int64_t top;
} card;

/* By falling score, equal ones as they stand. */
static int falling(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1) : x->at < y->at ? -1 : 1;
}

static int64_t label_of(const otimes_axis *axis, int64_t at)
{
    return axis->number ? axis->number[at] : at;
}

/* "L0H2", or the label of a part. */
static void put_head(char *text, size_t size, const otimes_axis *layer, int64_t l,
                     const otimes_axis *head, int64_t h)
{
    snprintf(text, size, "L%" PRId64 "H%" PRId64, label_of(layer, l), label_of(head, h));
}

/* Names of both ends of entry `at` of an array, by the axes that it has. */
static void name_ends(const otimes_array *array, int64_t at, char *from, char *to, size_t size)
{
    int64_t place[OTIMES_MAX_DIMS];
    for (int i = array->ndim - 1; i >= 0; i--) {
        place[i] = at % array->axis[i]->length;
        at /= array->axis[i]->length;
    }
    const otimes_axis *const *axis = array->axis;
    const int last = array->ndim - 1;
    if (!strcmp(axis[0]->name, "layer")) {
        put_head(from, size, axis[0], place[0], axis[1], place[1]);
        put_head(to, size, axis[last - 1], place[last - 1], axis[last], place[last]);
    } else if (!strcmp(axis[0]->name, "to")) {
        snprintf(to, size, "%s", axis[0]->text[place[0]]);
        put_head(from, size, axis[1], place[1], axis[2], place[2]);
    } else if (array->ndim == 2) {
        snprintf(from, size, "%s", axis[0]->text[place[0]]);
        snprintf(to, size, "%s", axis[1]->text[place[1]]);
    } else {
        snprintf(from, size, "%s", axis[0]->text[place[0]]);
        put_head(to, size, axis[last - 1], place[last - 1], axis[last], place[last]);
    }
}

/* The strongest of an array, of one circuit where it has that axis (at most one of them). */
static int put_strongest(const card *c, const char *title, const char *name, const char *z_name,
                         int64_t circuit, otimes_err *err)
{
    const void *data, *z;
    const otimes_array *array = otimes_memory_sink_array(c->result, name, &data);
    if (!array || !otimes_memory_sink_array(c->result, z_name, &z)) {
        return 0;
    }
    int64_t cells = 1, inner = 1, count = 0;
    bool in = false;
    int64_t circuits = 1;
    for (int i = 0; i < array->ndim; i++) {
        cells *= array->axis[i]->length;
        inner *= in ? array->axis[i]->length : 1;
        if (!strcmp(array->axis[i]->name, "circuit")) {
            in = true;
            circuits = array->axis[i]->length;
        }
    }
    entry *list = calloc((size_t)cells + 1, sizeof *list);
    if (!list) {
        return fail_memory(err, "table");
    }
    for (int64_t i = 0; i < cells; i++) {
        const float score = ((const float *)data)[i];
        if (!isnan(score) && (circuit < 0 || i / inner % circuits == circuit)) {
            list[count++] = (entry){score, i};
        }
    }
    qsort(list, (size_t)count, sizeof *list, falling);
    fprintf(c->to, "\n%-44s%10s%10s%10s\n", title, "score", "excess", "z");
    for (int64_t i = 0; i < count && i < c->top; i++) {
        char from[80], to[80], both[168];
        name_ends(array, list[i].at, from, to, sizeof from);
        snprintf(both, sizeof both, "%s -> %s", from, to);
        fprintf(c->to, "%-44s%10.4f", both, (double)list[i].score);
        number_put_signed(c->to, 10, 4, (double)list[i].score - c->baseline);
        number_put(c->to, 10, 1, (double)((const float *)z)[list[i].at]);
        putc('\n', c->to);
    }
    free(list);
    return 0;
}

int compose_card(const otimes_model *model, const otimes_memory_sink *result, int64_t top, FILE *to,
                 otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const card c = {result, to, otimes_memory_sink_attr(result, "baseline")->f64, top};
    fputs("model   ", to);
    put_shown(to, info->path, "");
    fprintf(to, ", %" PRId64 " layers of %" PRId64 " head%s\n", info->n_layers, info->n_heads,
            info->n_heads == 1 ? "" : "s");
    fprintf(
        to,
        "score   |L R| / (|L| |R|); random subspaces give %.4f, excess is over that, z in their "
        "deviations\n",
        c.baseline);
    if (info->post_norm) {
        fprintf(to, "        %s\n", otimes_memory_sink_attr(result, "writing_side")->text);
    }
    static const struct {
        const char *title, *name, *z;
        int64_t circuit;
    } table[] = {
        {"Q-composition", "score", "z", 0},
        {"K-composition", "score", "z", 1},
        {"V-composition", "score", "z", 2},
        {"part to head, Q", "from_score", "from_z", 0},
        {"part to head, K", "from_score", "from_z", 1},
        {"part to head, V", "from_score", "from_z", 2},
        {"head to part", "to_score", "to_z", -1},
        {"part to part", "between_score", "between_z", -1},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0] && !rc; i++) {
        rc = put_strongest(&c, table[i].title, table[i].name, table[i].z, table[i].circuit, err);
    }
    return rc;
}
