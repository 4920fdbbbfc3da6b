/* SPDX-License-Identifier: MIT */
#include <otimes/qk.h>

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "command.h"
#include "number.h"
#include "quote.h"
#include "select.h"

/* Relative offsets beyond this are no use to any model and would only cost precision. */
#define MAX_OFFSET (INT64_C(1) << 30)

typedef struct options {
    common_options common;
    const char *offsets;
    int64_t entries;
} options;

static const opt own[] = {
    {.name = "top",
     .argument = "K",
     .help = "pairs that are shown and whose strongest entries are looked for (default: 10)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, common.top),
     .low = 0,
     .high = INT32_MAX},
    {.name = "entries",
     .argument = "N",
     .help = "strongest entries destination <- source of each form (default: 5)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, entries),
     .low = 0,
     .high = INT32_MAX},
    {.name = "offsets",
     .argument = "LIST",
     .help = "rotary models: QK at these offsets query - key (default: 0,8,32)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, offsets)},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    otimes_qk_settings settings;
    otimes_qk_settings_default(&settings);
    o->common.top = settings.top;
    o->entries = settings.entries;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_index_list layers = {NULL, 0}, heads = {NULL, 0}, tokens = {NULL, 0};
    otimes_index_list offsets = {NULL, 0};
    otimes_qk_settings s;
    otimes_qk_settings_default(&s);
    int rc = select_indices(o->common.layers, "--layers", info->n_layers, &layers, err);
    if (!rc) {
        rc = select_indices(o->common.heads, "--heads", info->n_heads, &heads, err);
    }
    if (!rc) {
        rc = select_indices(o->common.tokens, "--tokens", info->d_vocab, &tokens, err);
    }
    if (!rc) {
        rc = select_integers(o->offsets, "--offsets", MAX_OFFSET, &offsets, err);
    }
    if (!rc) {
        s.layers = layers.index;
        s.layer_count = layers.count;
        s.heads = heads.index;
        s.head_count = heads.count;
        s.tokens = tokens.index;
        s.token_count = tokens.count;
        s.offsets = offsets.index;
        s.offset_count = offsets.count;
        s.top = o->common.top;
        s.entries = o->entries;
        rc = otimes_qk(model, &s, sink, err);
    }
    otimes_index_list_free(&layers);
    otimes_index_list_free(&heads);
    otimes_index_list_free(&tokens);
    otimes_index_list_free(&offsets);
    return rc;
}

/* ---- the table to read ---- */

typedef struct table {
    const otimes_model *model;
    const otimes_memory_sink *result;
    FILE *to;
} table;

static const void *data_of(const table *t, const char *name)
{
    const void *data = NULL;
    return otimes_memory_sink_array(t->result, name, &data) ? data : NULL;
}

static double fact(const table *t, const char *name)
{
    return otimes_memory_sink_attr(t->result, name)->f64;
}

static void put_title(const table *t)
{
    const otimes_model_info *info = otimes_model_describe(t->model);
    const char *previous = otimes_memory_sink_attr(t->result, "previous_token_score")->text;
    fputs("model     ", t->to);
    put_shown(t->to, info->path, "");
    fprintf(t->to, ", %" PRId64 " layers of %" PRId64 " head%s\n", info->n_layers, info->n_heads,
            info->n_heads == 1 ? "" : "s");
    fprintf(t->to, "previous  weight of h1 on the previous token, at least %g (%s)\n",
            fact(t, "least_previous_token"), previous);
    fprintf(t->to, "K-copy    copying score of W_E W_QK(h2) W_OV(h1)^T W_E^T, at least %g\n",
            fact(t, "least_copying"));
    fprintf(t->to, "OV-copy   copying score of W_E W_OV(h2) W_U, at least %g\n",
            fact(t, "least_copying"));
    fprintf(t->to, "K-ratio   K-composition score over that of random subspaces, at least %g\n",
            fact(t, "least_K_ratio"));
    fprintf(t->to, "match     attention score that a match of tokens adds by it, at least %g\n",
            fact(t, "least_match"));
    if (info->post_norm) {
        fputs("          a norm stands behind W_O in this model: products leave it out\n", t->to);
    }
}

static void put_token(const table *t, int32_t id)
{
    const char *text = otimes_model_token(t->model, id);
    if (text) {
        put_quoted(t->to, text);
    } else {
        fprintf(t->to, "#%" PRId32, id);
    }
}

static void put_entries(const table *t, const char *what, int64_t pair, int form)
{
    enum { SHOWN = 3 };
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(t->result, "entry_value", &data);
    const float *value = data;
    const int32_t *row = data_of(t, "entry_destination_id"),
                  *column = data_of(t, "entry_source_id");
    const int64_t entries = array->axis[2]->length;
    fprintf(t->to, "  %-11s", what);
    for (int64_t k = 0; k < entries && k < SHOWN; k++) {
        const int64_t at = (pair * OTIMES_QK_FORMS + form) * entries + k;
        if (row[at] < 0) {
            break;
        }
        fputs(k ? ", " : "", t->to);
        put_token(t, row[at]);
        fputs(" <- ", t->to);
        put_token(t, column[at]);
        putc(' ', t->to);
        number_put_digits(t->to, 0, 3, (double)value[at]);
    }
    putc('\n', t->to);
}

static void put_forms(const table *t, int64_t shown)
{
    const void *data;
    const otimes_array *norms = otimes_memory_sink_array(t->result, "norm", &data);
    const int64_t offsets = norms->axis[2]->length;
    const double *copying = data_of(t, "full_copying"), *score = data_of(t, "score");
    const double *excess = data_of(t, "diagonal_excess");
    const bool entries = data_of(t, "entry_value") != NULL;
    fprintf(t->to, "\n%-22s%10s%10s%10s\n", "pair, form", "score", "copying", "diagonal");
    for (int64_t pair = 0; pair < shown; pair++) {
        for (int form = pair ? OTIMES_QK_Q : OTIMES_QK_DIRECT; form < OTIMES_QK_FORMS; form++) {
            const int64_t at = (pair * OTIMES_QK_FORMS + form) * offsets;
            fprintf(t->to, "%-11s %-10s", norms->axis[0]->text[pair], norms->axis[1]->text[form]);
            number_put(t->to, 10, 3, score[at]);
            number_put(t->to, 10, 3, copying[at]);
            number_put(t->to, 10, 3, excess[at]);
            if (entries) {
                put_entries(t, "", pair, form);
            } else {
                putc('\n', t->to);
            }
        }
    }
}

static void put_table(const table *t, int64_t top)
{
    static const char *const names[] = {"previous_token", "K_copying", "OV_copying",
                                        "K_ratio",        "match",     "induction"};
    const void *data;
    const otimes_array *labels = otimes_memory_sink_array(t->result, "is_induction", &data);
    const int32_t *is = data;
    const int64_t pairs = labels->axis[0]->length, shown = top < pairs ? top : pairs;
    put_title(t);
    fprintf(t->to, "\n%-12s%10s%10s%10s%10s%10s%10s\n", "h1 h2", "previous", "K-copy", "OV-copy",
            "K-ratio", "match", "product");
    for (int64_t i = 0; i < shown; i++) {
        fprintf(t->to, "%-12s", labels->axis[0]->text[i]);
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            number_put(t->to, 10, 3, ((const double *)data_of(t, names[k]))[i]);
        }
        fputs(is[i] == 1 ? "  induction\n" : is[i] < 0 ? "  cannot be told\n" : "\n", t->to);
    }
    if (shown > 0) {
        put_forms(t, shown < 3 ? shown : 3);
    }
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    const options *o = memory;
    otimes_memory_sink *result = NULL;
    int rc = command_result(run, model, memory, &result, err);
    if (!rc) {
        put_table(&(table){model, result, to}, o->common.top);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_qk = {
    .name = "qk",
    .group = "Circuits from weights",
    .summary = "QK expanded by the earlier heads on either side: the induction test",
    .about =
        "For every head and every head of an earlier layer the four forms of QK: direct, with the "
        "earlier head's OV on the query side, on the key side, on both. For each its norm, copying "
        "score, eigenvalues and diagonal over the vocabulary and its strongest entries; and for "
        "each pair what makes a pair an induction pair. Without -o and --format it prints a table "
        "to read.",
    .example = "otimes qk model/ --top 20",
    .shared = OPTS_LAYERS | OPTS_HEADS | OPTS_TOKENS,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
