/* SPDX-License-Identifier: MIT */
#include "neurons_card.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "number.h"
#include "quote.h"

enum { SHOWN_TOKENS = 5, INDENT = 10 };

typedef struct card {
    const otimes_model *model;
    const otimes_memory_sink *result;
    const otimes_axis *layer, *neuron;
    int64_t rank; /* length of that axis */
    double unit;  /* the score of random vectors */
    FILE *to;
} card;

/* A neuron and how extreme it is. */
typedef struct place {
    double value;
    int64_t at;
} place;

static const char *const sort_arrays[] = {
    [NEURONS_BY_KURTOSIS] = "out_kurtosis", [NEURONS_BY_SKEW] = "out_skew",
    [NEURONS_BY_VARIANCE] = "out_variance", [NEURONS_BY_NORM] = "out_norm",
    [NEURONS_BY_COS] = "cos_in_out",        [NEURONS_BY_NULL] = "null_share",
    [NEURONS_BY_HEADS] = "k_score"};

static const void *data_of(const card *c, const char *name)
{
    const void *data = NULL;
    return otimes_memory_sink_array(c->result, name, &data) ? data : NULL;
}

static int64_t label(const otimes_axis *axis, int64_t at)
{
    return axis->number ? axis->number[at] : at;
}

/* ---- which ---- */

static int further(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->value != y->value) {
        return x->value > y->value ? -1 : 1;
    }
    return (x->at > y->at) - (x->at < y->at);
}

/* How extreme a neuron is; NaN where the layer has no such neuron. */
static double extremity(const card *c, neurons_sort sort, const void *data, int64_t at)
{
    switch (sort) {
    case NEURONS_BY_SKEW:
    case NEURONS_BY_COS:
        return fabs(((const double *)data)[at]);
    case NEURONS_BY_HEADS:
        return (double)((const float *)data)[at * c->rank];
    default:
        return ((const double *)data)[at];
    }
}

static int order(const card *c, neurons_sort sort, place **places, int64_t *count, otimes_err *err)
{
    const int64_t all = c->layer->length * c->neuron->length;
    const void *data = data_of(c, sort_arrays[sort]);
    *count = 0;
    if (!data) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--sort: expected what is computed, got %s, which is not", sort_arrays[sort]);
    }
    *places = calloc((size_t)all + 1, sizeof **places);
    if (!*places) {
        return fail_memory(err, "neurons in order");
    }
    for (int64_t at = 0; at < all; at++) {
        const double value = extremity(c, sort, data, at);
        if (!isnan(value)) {
            (*places)[(*count)++] = (place){value, at};
        }
    }
    qsort(*places, (size_t)*count, sizeof **places, further);
    return 0;
}

/* ---- a neuron ---- */

static void put_number(const card *c, const char *name, int64_t at, int decimals)
{
    const double *data = data_of(c, name);
    number_put(c->to, 10, decimals, data ? data[at] : (double)NAN);
}

static void put_tokens(const card *c, const char *what, const char *name, int64_t at, int output)
{
    const int32_t *id = data_of(c, name);
    if (!id) {
        return;
    }
    fprintf(c->to, "%*s%-12s", INDENT, "", what);
    for (int64_t k = 0; k < c->rank && k < SHOWN_TOKENS; k++) {
        const int32_t token = id[at * c->rank + k];
        if (token < 0) {
            break;
        }
        const char *text = output ? otimes_model_output_token(c->model, token)
                                  : otimes_model_token(c->model, token);
        putc(' ', c->to);
        if (text) {
            put_quoted(c->to, text);
        } else {
            fprintf(c->to, "#%" PRId32, token);
        }
    }
    putc('\n', c->to);
}

/* "Q L1H3 0.21 (3.1)": the strongest head of a way, its score and that over random vectors'. */
static int put_head(const card *c, const char *what, const char *way, int64_t at, int before)
{
    const otimes_model_info *info = otimes_model_describe(c->model);
    char name[32];
    snprintf(name, sizeof name, "%s_head", way);
    const int32_t *head = data_of(c, name);
    snprintf(name, sizeof name, "%s_score", way);
    const float *score = data_of(c, name);
    if (!head || !score || head[at * c->rank] < 0) {
        return 0;
    }
    const int64_t id = head[at * c->rank];
    const double value = (double)score[at * c->rank];
    if (!before) {
        fprintf(c->to, "%*s%-12s", INDENT, "", "heads");
    }
    fprintf(c->to, "%s %s L%" PRId64 "H%" PRId64 " %.3f (%.1f)", before ? "," : "", what,
            id / info->n_heads, id % info->n_heads, value, value / c->unit);
    return 1;
}

static void put_neuron(const card *c, int64_t at)
{
    const int64_t *expert = data_of(c, "expert");
    const int64_t neuron = label(c->neuron, at % c->neuron->length);
    char name[64];
    snprintf(name, sizeof name, "L%" PRId64 "N%" PRId64, label(c->layer, at / c->neuron->length),
             neuron);
    fprintf(c->to, "%-*s", INDENT, name);
    put_number(c, "out_kurtosis", at, 3);
    put_number(c, "out_skew", at, 3);
    put_number(c, "out_variance", at, 4);
    put_number(c, "out_norm", at, 4);
    put_number(c, "in_norm", at, 4);
    put_number(c, "cos_in_out", at, 3);
    if (data_of(c, "null_share")) {
        put_number(c, "null_share", at, 4);
    }
    if (expert && expert[at] >= 0) {
        fprintf(c->to, "  expert %" PRId64, expert[at]);
    }
    putc('\n', c->to);
    put_tokens(c, "promotes", "out_top_id", at, 1);
    put_tokens(c, "suppresses", "out_bottom_id", at, 1);
    put_tokens(c, "reads", "in_top_id", at, 0);
    put_tokens(c, "gate reads", "gate_top_id", at, 0);
    int before = put_head(c, "from", "in", at, 0);
    before += put_head(c, "gate from", "gate", at, before);
    before += put_head(c, "to Q of", "q", at, before);
    before += put_head(c, "to K of", "k", at, before);
    before += put_head(c, "to V of", "v", at, before);
    if (before) {
        putc('\n', c->to);
    }
}

/* ---- the card ---- */

static void put_title(const card *c, neurons_sort sort, int64_t shown, int64_t count)
{
    const otimes_model_info *info = otimes_model_describe(c->model);
    fputs("model    ", c->to);
    put_shown(c->to, info->path, "");
    fprintf(c->to, ", %" PRId64 " layer%s\n", info->n_layers, info->n_layers == 1 ? "" : "s");
    fprintf(c->to,
            "neurons  %" PRId64 " of %" PRId64
            " by %s; kurtosis (in excess of 3), skew, variance of w_out "
            "W_U\n",
            shown, count, sort_arrays[sort]);
    if (data_of(c, "in_score")) {
        fprintf(c->to, "heads    |w M| / (|w| |M|), in brackets over the %.4f of random vectors\n",
                c->unit);
    }
    if (info->post_norm) {
        fputs("         w_out is times the weight of the norm behind it\n", c->to);
    }
}

int neurons_card(const otimes_model *model, const otimes_memory_sink *result, neurons_sort sort,
                 int64_t show, FILE *to, otimes_err *err)
{
    const void *data;
    const otimes_array *norm = otimes_memory_sink_array(result, "out_norm", &data);
    const otimes_array *ranked = otimes_memory_sink_array(result, "out_top_id", &data);
    ranked = ranked ? ranked : otimes_memory_sink_array(result, "in_score", &data);
    const otimes_attr *dimension = otimes_memory_sink_attr(result, "baseline_dimension");
    const card c = {.model = model,
                    .result = result,
                    .layer = norm->axis[0],
                    .neuron = norm->axis[1],
                    .rank = ranked ? ranked->axis[2]->length : 0,
                    .unit = 1 / sqrt((double)dimension->i64),
                    .to = to};
    place *places = NULL;
    int64_t count;
    int rc = order(&c, sort, &places, &count, err);
    if (!rc) {
        const int64_t shown = show < count ? show : count;
        put_title(&c, sort, shown, count);
        fprintf(to, "\n%-*s%10s%10s%10s%10s%10s%10s%s\n", INDENT, "neuron", "kurtosis", "skew",
                "variance", "|w_out|", "|w_in|", "cos",
                data_of(&c, "null_share") ? "      null" : "");
        for (int64_t i = 0; i < shown; i++) {
            put_neuron(&c, places[i].at);
        }
    }
    free(places);
    return rc;
}
