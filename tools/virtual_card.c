/* SPDX-License-Identifier: MIT */
#include "virtual_card.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "number.h"
#include "quote.h"

enum { SHOWN_ENTRIES = 3 };

typedef struct card {
    const otimes_model *model;
    const otimes_memory_sink *result;
    FILE *to;
} card;

/* Data of an array, NULL where it was not written. */
static const void *data_of(const card *c, const char *name)
{
    const void *data = NULL;
    return otimes_memory_sink_array(c->result, name, &data) ? data : NULL;
}

static void put_title(const card *c)
{
    const otimes_model_info *info = otimes_model_describe(c->model);
    const otimes_attr *dimension = otimes_memory_sink_attr(c->result, "baseline_dimension");
    fputs("model   ", c->to);
    put_shown(c->to, info->path, "");
    fprintf(c->to, ", %" PRId64 " layers of %" PRId64 " head%s\n", info->n_layers, info->n_heads,
            info->n_heads == 1 ? "" : "s");
    fprintf(c->to,
            "ratio   norm of W_OV(h1) W_OV(h2) ... over the product of their norms / "
            "sqrt(%" PRId64 ") a link: 1 is random\n",
            dimension->i64);
    if (info->post_norm) {
        fputs("        a norm stands behind W_O in this model: products leave it out\n", c->to);
    }
}

/* What the search looked at for chains of one length. */
static void put_census(const card *c, int64_t length)
{
    const double *total = data_of(c, "chains_of_length"), *examined = data_of(c, "examined");
    const double *unlisted = data_of(c, "unlisted");
    const otimes_attr *chains = otimes_memory_sink_attr(c->result, "chains");
    if (strcmp(chains->text, "chosen") == 0) {
        fprintf(c->to, "\nchosen chains\n");
        return;
    }
    const int64_t at = length - 2;
    fprintf(c->to, "\nchains of %" PRId64 " heads: %.15g, of which %.15g were looked at; ", length,
            total[at], examined[at]);
    if (unlisted[at] > 0) {
        fprintf(c->to, "none that is not listed exceeds %.4g\n", unlisted[at]);
    } else {
        fputs("these are the strongest\n", c->to);
    }
}

static void put_token(const card *c, const char *text, int32_t id)
{
    if (text) {
        put_quoted(c->to, text);
    } else {
        fprintf(c->to, "#%" PRId32, id);
    }
}

static void put_entries(const card *c, int64_t chain)
{
    const int32_t *source = data_of(c, "entry_source_id"), *output = data_of(c, "entry_output_id");
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(c->result, "entry_value", &data);
    const int64_t entries = array ? array->axis[1]->length : 0;
    for (int64_t k = 0; k < entries && k < SHOWN_ENTRIES; k++) {
        const int64_t at = chain * entries + k;
        if (source[at] < 0) {
            break;
        }
        fputs(k ? ", " : "  ", c->to);
        put_token(c, otimes_model_token(c->model, source[at]), source[at]);
        fputs(" -> ", c->to);
        put_token(c, otimes_model_output_token(c->model, output[at]), output[at]);
        putc(' ', c->to);
        number_put_digits(c->to, 0, 3, (double)((const float *)data)[at]);
    }
}

static void put_number(const card *c, double value, int decimals)
{
    if (decimals) {
        number_put(c->to, 10, decimals, value);
    } else {
        number_put_digits(c->to, 10, 4, value);
    }
}

static void put_chain(const card *c, const char *label, int64_t chain, int width)
{
    const double *full = data_of(c, "full_copying");
    const double *copying = full ? full : data_of(c, "copying");
    fprintf(c->to, "%-*s", width, label);
    put_number(c, ((const double *)data_of(c, "norm"))[chain], 0);
    put_number(c, ((const double *)data_of(c, "expected"))[chain], 0);
    put_number(c, ((const double *)data_of(c, "ratio"))[chain], 3);
    put_number(c, copying[chain], 2);
    put_entries(c, chain);
    putc('\n', c->to);
}

void virtual_card(const otimes_model *model, const otimes_memory_sink *result, FILE *to)
{
    const card c = {model, result, to};
    const void *data;
    const otimes_array *lengths = otimes_memory_sink_array(result, "chain_length", &data);
    const otimes_axis *chain = lengths->axis[0];
    const int64_t *length = data;
    int width = 5;
    put_title(&c);
    for (int64_t i = 0; i < chain->length; i++) {
        const int own = (int)strlen(chain->text[i]);
        width = own > width ? own : width;
    }
    for (int64_t i = 0; i < chain->length; i++) {
        const otimes_attr *chosen = otimes_memory_sink_attr(result, "chains");
        if (i == 0 || (length[i] != length[i - 1] && strcmp(chosen->text, "chosen") != 0)) {
            put_census(&c, length[i]);
            fprintf(to, "%-*s%10s%10s%10s%10s%s\n", width, "chain", "norm", "expected", "ratio",
                    "copying", data_of(&c, "entry_value") ? "  strongest source -> output" : "");
        }
        put_chain(&c, chain->text[i], i, width);
    }
    if (chain->length == 0) {
        put_census(&c, 2);
    }
}
