/* SPDX-License-Identifier: MIT */
#include "compare_card.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "number.h"
#include "quote.h"

/* Of more models than so many, a line each instead of a table each. */
enum { MOST_TABLES = 2 };

typedef struct card {
    const otimes_memory_sink *result;
    FILE *to;
    const otimes_axis *layer, *head, *other_model;
    int64_t heads; /* in all */
} card;

static const void *data_of(const card *c, const char *name)
{
    const void *data = NULL;
    return otimes_memory_sink_array(c->result, name, &data) ? data : NULL;
}

static const char *text_of(const card *c, const char *name)
{
    const otimes_attr *attr = otimes_memory_sink_attr(c->result, name);
    return attr ? attr->text : "";
}

static int64_t number_on(const otimes_axis *axis, int64_t at)
{
    return axis->number ? axis->number[at] : at;
}

/* "L0H3", in `width` columns. */
static void put_head(const card *c, int64_t layer, int64_t head, int width)
{
    char name[48];
    snprintf(name, sizeof name, "L%" PRId64 "H%" PRId64, layer, head);
    fprintf(c->to, "%-*s", width, layer < 0 ? "-" : name);
}

static void put_node(const card *c, int64_t node, int width)
{
    put_head(c, number_on(c->layer, node / c->head->length),
             number_on(c->head, node % c->head->length), width);
}

/* Over the numbers that are there. */
static double mean_of(const double *values, int64_t count)
{
    double sum = 0;
    int64_t there = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            sum += values[i];
            there++;
        }
    }
    return there ? sum / (double)there : NAN;
}

/* ---- checkpoints ---- */

static void put_drift(const card *c)
{
    static const char *const columns[] = {"OV_cosine_previous", "OV_cosine_first",
                                          "OV_cosine_last",     "QK_cosine_previous",
                                          "QK_cosine_first",    "QK_cosine_last"};
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(c->result, columns[0], &data);
    const otimes_axis *model = array->axis[0];
    const double *k = data_of(c, "k_composition");
    const otimes_attr *expected = otimes_memory_sink_attr(c->result, "k_composition_expected");
    int width = 5;
    for (int64_t m = 0; m < model->length; m++) {
        const int own = (int)strlen(model->text[m]);
        width = own > width ? own : width;
    }
    fprintf(c->to,
            "\nmean cosine of each head with itself elsewhere%s\n%-*s  %26s  %26s\n%-*s  %8s %8s "
            "%8s  %8s %8s %8s%s\n",
            k ? "; the pair of strongest K-composition over chance" : "", width, "", "W_OV", "W_QK",
            width, "model", "previous", "first", "last", "previous", "first", "last",
            k ? "  K-composition" : "");
    for (int64_t m = 0; m < model->length; m++) {
        put_column(c->to, model->text[m], width);
        putc(' ', c->to);
        for (int i = 0; i < 6; i++) {
            fputs(i == 3 ? " " : "", c->to);
            number_put(c->to, 9, 3,
                       mean_of((const double *)data_of(c, columns[i]) + m * c->heads, c->heads));
        }
        const double *of = k ? k + m * c->heads * c->heads : NULL;
        int64_t best = -1;
        for (int64_t i = 0; of && i < c->heads * c->heads; i++) {
            best = !isnan(of[i]) && (best < 0 || of[i] > of[best]) ? i : best;
        }
        if (best >= 0) {
            fputs("  ", c->to);
            put_node(c, best / c->heads, 0);
            putc(' ', c->to);
            put_node(c, best % c->heads, 0);
            fprintf(c->to, " %.2f", of[best] / expected->f64);
        }
        putc('\n', c->to);
    }
}

/* ---- one other model ---- */

static void put_neighbors(const card *c, int64_t other, int64_t node)
{
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(c->result, "neighbor_layer", &data);
    const int64_t top = array->axis[array->ndim - 1]->length, *layer = data;
    const int64_t *head = data_of(c, "neighbor_head");
    const double *similarity = data_of(c, "neighbor_similarity");
    for (int64_t k = 0; k < top; k++) {
        const int64_t at = (other * c->heads + node) * top + k;
        if (layer[at] < 0) {
            break;
        }
        fputs("  ", c->to);
        put_head(c, layer[at], head[at], 7);
        number_put(c->to, 6, 3, similarity[at]);
    }
}

static void put_heads(const card *c, int64_t other)
{
    const int64_t *layer = data_of(c, "match_layer"), *head = data_of(c, "match_head");
    const double *similarity = data_of(c, "match_similarity");
    fprintf(c->to, "%-8s%s  nearest\n", "head", layer ? "matched  similarity" : "");
    for (int64_t i = 0; i < c->heads; i++) {
        const int64_t at = other * c->heads + i;
        put_node(c, i, 8);
        if (layer) {
            put_head(c, layer[at], head[at], 9);
            number_put(c->to, 10, 3, similarity[at]);
        }
        put_neighbors(c, other, i);
        putc('\n', c->to);
    }
}

static void put_layers(const card *c, int64_t other)
{
    const int64_t *layer = data_of(c, "matched_layer");
    if (!layer) {
        return;
    }
    fputs("layers matched:", c->to);
    for (int64_t l = 0; l < c->layer->length; l++) {
        const int64_t to = layer[other * c->layer->length + l];
        fprintf(c->to, "%s %" PRId64 " -> ", l ? "," : "", number_on(c->layer, l));
        if (to < 0) {
            fputs("none", c->to);
        } else {
            fprintf(c->to, "%" PRId64, to);
        }
    }
    putc('\n', c->to);
}

static void put_other(const card *c, int64_t other)
{
    const double *match = data_of(c, "match_similarity");
    const int64_t *layer = data_of(c, "match_layer"), *head = data_of(c, "match_head");
    fputs("\nbeside  ", c->to);
    put_shown(c->to, c->other_model->text[other], "");
    putc('\n', c->to);
    if (match) {
        int64_t same = 0;
        for (int64_t i = 0; i < c->heads; i++) {
            const int64_t at = other * c->heads + i;
            same += layer[at] == number_on(c->layer, i / c->head->length) &&
                    head[at] == number_on(c->head, i % c->head->length);
        }
        fprintf(c->to, "%" PRId64 " of %" PRId64 " heads matched with those of the same place; ",
                same, c->heads);
        fputs("mean similarity", c->to);
        number_put(c->to, 6, 3, mean_of(match + other * c->heads, c->heads));
        putc('\n', c->to);
    }
}

static void put_order(const card *c)
{
    const int64_t *order = data_of(c, "cluster_order");
    if (!order) {
        return;
    }
    fputs("\nin the order of their clusters:", c->to);
    for (int64_t i = 0; i < c->heads; i++) {
        fputs(i % 12 ? " " : "\n  ", c->to);
        put_node(c, order[i], 0);
    }
    putc('\n', c->to);
}

void compare_card(const otimes_model *model, const otimes_memory_sink *result, FILE *to)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(result, "similarity", &data);
    card c = {result, to, array->axis[1], array->axis[2], array->axis[0], 0};
    c.heads = c.layer->length * c.head->length;
    const int64_t others = c.other_model->length;
    fputs("model   ", to);
    put_shown(to, info->path, "");
    fprintf(to, ", %" PRId64 " layers of %" PRId64 " head%s\n", info->n_layers, info->n_heads,
            info->n_heads == 1 ? "" : "s");
    fprintf(to, "space   %s\n", text_of(&c, "space"));
    fprintf(to, "similarity: %s; 1 is the same but for scale\n", text_of(&c, "similarity_is"));
    if (data_of(&c, "OV_cosine_previous")) {
        put_drift(&c);
    }
    for (int64_t other = 0; other < others; other++) {
        if (data_of(&c, "cluster_order") == NULL) {
            put_other(&c, other);
        } else {
            putc('\n', to);
        }
        if (others <= MOST_TABLES) {
            put_layers(&c, other);
            put_heads(&c, other);
        }
    }
    put_order(&c);
}
