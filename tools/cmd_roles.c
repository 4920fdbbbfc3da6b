/* SPDX-License-Identifier: MIT */
#include <otimes/roles.h>

#include <stddef.h>

#include "command.h"
#include "fail.h"
#include "random_tokens.h"
#include "roles_card.h"
#include "run_options.h"
#include "select.h"
#include "text.h"

typedef struct options {
    common_options common;
    const char *rows, *random_tokens;
    int64_t row_count, repeated, count, seed;
    int no_run;
} options;

static const opt own[] = {
    {.name = "no-run",
     .help = "scores by weights alone: the model attends to nothing",
     .kind = OPT_FLAG,
     .offset = offsetof(options, no_run)},
    {.name = "repeated",
     .argument = "LENGTH",
     .help = "attend on LENGTH random tokens written twice; 0: not (default: 32, or what fits)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, repeated),
     .low = 0,
     .high = INT32_MAX},
    RANDOM_TOKENS_OPTS(options),
    {.name = "row-count",
     .argument = "N",
     .help = "source tokens, at even distances, whose copy suppression is looked at; 0: all "
             "(default: 512)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, row_count),
     .low = 0,
     .high = INT32_MAX},
    {.name = "rows",
     .argument = "LIST",
     .help = "ids of these source tokens",
     .kind = OPT_TEXT,
     .offset = offsetof(options, rows)},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    otimes_roles_settings settings;
    otimes_roles_settings_default(&settings);
    o->row_count = settings.row_count;
    o->repeated = settings.repeated;
    o->count = settings.repeated_count;
    o->seed = (int64_t)settings.seed;
}

/* What settings point into. */
typedef struct request {
    sequences texts;
    otimes_index_list layers, heads, rows, random_tokens;
} request;

static void free_request(request *r)
{
    sequences_free(&r->texts);
    otimes_index_list_free(&r->layers);
    otimes_index_list_free(&r->heads);
    otimes_index_list_free(&r->rows);
    otimes_index_list_free(&r->random_tokens);
}

static int has_texts(const common_options *common)
{
    return common->text || common->text_file || common->tokens;
}

static int check(const options *o, otimes_err *err)
{
    return o->no_run && (has_texts(&o->common) || o->repeated > 0)
               ? fail(err, OTIMES_ERR_ARGUMENT, "--no-run: expected neither a text nor --repeated")
               : 0;
}

static int read_selection(const options *o, const otimes_model_info *info, request *r,
                          otimes_roles_settings *settings, otimes_err *err)
{
    int rc = select_indices(o->common.layers, "--layers", info->n_layers, &r->layers, err);
    if (!rc) {
        rc = select_indices(o->common.heads, "--heads", info->n_heads, &r->heads, err);
    }
    if (!rc) {
        rc = select_indices(o->rows, "--rows", info->d_vocab, &r->rows, err);
    }
    settings->layers = r->layers.index;
    settings->layer_count = r->layers.count;
    settings->heads = r->heads.index;
    settings->head_count = r->heads.count;
    settings->rows = r->rows.index;
    settings->row_count = r->rows.index ? r->rows.count : o->row_count;
    return rc;
}

static int read_runs(const options *o, const otimes_model *model, request *r,
                     otimes_roles_settings *settings, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    int rc = 0;
    settings->repeated = o->no_run ? 0 : o->repeated;
    settings->repeated_count = o->count;
    settings->seed = (uint64_t)o->seed;
    if (has_texts(&o->common)) {
        rc = sequences_read(&r->texts, &o->common, info->d_vocab, info->n_ctx, err);
        if (!rc) {
            rc = sequences_view(&r->texts, &settings->sequences, err);
        }
    }
    if (!rc) {
        rc = run_options_forward(&o->common, model, &settings->sequences, &settings->forward, err);
    }
    if (!rc && settings->repeated != 0) {
        rc = random_tokens_read(&o->common, info, o->random_tokens, "--random-tokens",
                                &r->random_tokens, &settings->bos, err);
    }
    if (settings->repeated != 0 && settings->sequences.count > 0 && !o->common.stream) {
        settings->forward.resident = 1;
    }
    settings->random_tokens = r->random_tokens.index;
    settings->random_token_count = r->random_tokens.count;
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    request r = {.rows = {NULL, 0}};
    otimes_roles_settings settings;
    otimes_roles_settings_default(&settings);
    int rc = check(o, err);
    if (!rc) {
        rc = read_selection(o, otimes_model_describe(model), &r, &settings, err);
    }
    if (!rc) {
        rc = read_runs(o, model, &r, &settings, err);
    }
    if (!rc) {
        rc = otimes_roles(model, &settings, sink, err);
    }
    free_request(&r);
    return rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    otimes_memory_sink *result = NULL;
    int rc = command_result(run, model, memory, &result, err);
    if (!rc) {
        roles_card(model, result, to);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_roles = {
    .name = "roles",
    .group = "Circuits from weights",
    .summary = "what every head is for, by its weights and by where it attends, side by side",
    .about =
        "For every head scores by weights (previous token by positions, same token by the diagonal "
        "of QK, copying by the eigenvalues of OV, induction by K-composition with previous-token "
        "heads, copy suppression by the diagonal of OV read from the effective embedding) beside "
        "scores by attention on random tokens written twice and on texts. A head is labelled with "
        "a "
        "role where every side that can be told meets its stated threshold. Without -o and "
        "--format it prints the table and the heads of each role.",
    .example = "otimes roles model/ --text \"When Mary and John went\"",
    .shared = OPTS_TEXT | OPTS_RUN | OPTS_LAYERS | OPTS_HEADS,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
