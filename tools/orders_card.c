/* SPDX-License-Identifier: MIT */
#include "orders_card.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "number.h"

typedef struct view {
    const otimes_memory_sink *result;
    int64_t texts;
    const int64_t *predicted; /* [texts] */
    double tokens;
} view;

static const double *values(const view *v, const char *name)
{
    const void *data = NULL;
    return otimes_memory_sink_array(v->result, name, &data) ? data : NULL;
}

/* Mean of one column of [texts, columns], each text by its number of tokens. */
static double mean(const view *v, const char *name, int64_t columns, int64_t column)
{
    const double *all = values(v, name);
    double sum = 0;
    for (int64_t t = 0; t < v->texts; t++) {
        sum += v->predicted[t] > 0 ? (double)v->predicted[t] * all[t * columns + column] : 0;
    }
    return sum / v->tokens;
}

static const char *fact(const view *v, const char *name)
{
    return otimes_memory_sink_attr(v->result, name)->text;
}

static void put_head(FILE *to, const view *v)
{
    fprintf(to, "texts       %" PRId64 "\n", v->texts);
    fprintf(to, "predicted   %.0f tokens\n", v->tokens);
    fprintf(to, "frozen      patterns, norm scales%s\n",
            strcmp(fact(v, "final_norm"), "frozen") ? " (the final norm's recomputed)" : "");
    if (strcmp(fact(v, "mlps"), "none") != 0) {
        fprintf(to, "MLPs        %s\n", fact(v, "mlps"));
    }
}

static void put_row(FILE *to, const char *label, const double *values, int count)
{
    fprintf(to, "%-14s", label);
    for (int i = 0; i < count; i++) {
        putc(' ', to);
        number_put(to, i < 3 ? 10 : 11, 4, values[i]); /* "conditional" is a longer title */
    }
    putc('\n', to);
}

static void put_orders(FILE *to, const view *v, int64_t layers)
{
    fprintf(to, "\n%-14s %10s %10s  nats a token\n", "paths", "loss", "gain");
    put_row(to, "none", &otimes_memory_sink_attr(v->result, "uniform_loss")->f64, 1);
    for (int64_t k = 0; k <= layers; k++) {
        char label[40];
        snprintf(label, sizeof label, k ? "up to order %" PRId64 : "order %" PRId64, k);
        const double both[] = {mean(v, "loss", layers + 1, k), mean(v, "gain", layers + 1, k)};
        put_row(to, label, both, 2);
    }
    const double loss = mean(v, "model_loss", 1, 0);
    put_row(to, "the model", &loss, 1);
}

static void put_layers(FILE *to, const view *v, int64_t layers)
{
    fprintf(to, "\n%-14s %10s %10s %10s %11s\n", "heads of", "they alone", "marginal", "without",
            "conditional");
    for (int64_t l = 0; l < layers; l++) {
        char label[24];
        snprintf(label, sizeof label, "L%" PRId64, l);
        const double all[] = {mean(v, "loss_only", layers, l), mean(v, "marginal", layers, l),
                              mean(v, "loss_without", layers, l),
                              mean(v, "conditional", layers, l)};
        put_row(to, label, all, 4);
    }
}

void orders_card(FILE *to, const otimes_memory_sink *result)
{
    view v = {.result = result};
    const void *data;
    const otimes_array *predicted = otimes_memory_sink_array(result, "predicted_tokens", &data);
    v.texts = predicted->axis[0]->length;
    v.predicted = data;
    for (int64_t t = 0; t < v.texts; t++) {
        v.tokens += (double)v.predicted[t];
    }
    const int64_t layers = otimes_memory_sink_array(result, "loss", &data)->axis[1]->length - 1;
    put_head(to, &v);
    if (v.tokens == 0) {
        fprintf(to, "\nNo token comes behind position %" PRId64 " of any text.\n",
                otimes_memory_sink_attr(result, "first_position")->i64);
        return;
    }
    put_orders(to, &v, layers);
    if (values(&v, "marginal")) {
        put_layers(to, &v, layers);
    }
}
