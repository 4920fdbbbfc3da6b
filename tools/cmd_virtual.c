/* SPDX-License-Identifier: MIT */
#include <otimes/virtual.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "fail.h"
#include "select.h"
#include "virtual_card.h"

typedef struct options {
    common_options common;
    opt_texts chains;
    int64_t length, budget, entries;
    int order, vocab;
} options;

static const opt_word order_words[] = {
    {"ratio", OTIMES_VIRTUAL_BY_RATIO}, {"norm", OTIMES_VIRTUAL_BY_NORM}, {NULL, 0}};

static const opt own[] = {
    {.name = "length",
     .argument = "N",
     .help = "also chains of up to N heads (default: 2)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, length),
     .low = 2,
     .high = INT32_MAX},
    {.name = "top",
     .argument = "K",
     .help = "strongest chains of each length (default: 10)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, common.top),
     .low = 0,
     .high = INT32_MAX},
    {.name = "strength",
     .help = "what makes a chain strong: its norm over the one expected of random subspaces, or "
             "its norm (default: ratio)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, order),
     .words = order_words},
    {.name = "chain",
     .argument = "HEADS",
     .help = "instead of the strongest: this chain, layer.head first to last, e.g. 0.3,1.5; may be "
             "given several times",
     .kind = OPT_TEXTS,
     .offset = offsetof(options, chains),
     .takes = TAKES_LABELS},
    {.name = "entries",
     .argument = "N",
     .help = "strongest entries source -> output of each chain's table (default: 5)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, entries),
     .low = 0,
     .high = INT32_MAX},
    {.name = "vocab",
     .help = "also the circuits over the whole vocabulary (default: on)",
     .kind = OPT_SWITCH,
     .offset = offsetof(options, vocab)},
    {.name = "budget",
     .argument = "N",
     .help = "chains of three heads and more to look at, at most (default: 2000000)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, budget),
     .low = 0,
     .high = INT64_MAX},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    otimes_virtual_settings settings;
    otimes_virtual_settings_default(&settings);
    o->length = settings.length;
    o->budget = settings.budget;
    o->entries = settings.entries;
    o->order = (int)settings.order;
    o->vocab = settings.vocab;
}

/* What the options come to, with the memory that settings point into. */
typedef struct request {
    otimes_virtual_settings settings;
    otimes_index_list layers, heads, tokens;
    otimes_virtual_chain chain[OPT_TEXTS_MAX];
} request;

static void request_free(request *r)
{
    otimes_index_list_free(&r->layers);
    otimes_index_list_free(&r->heads);
    otimes_index_list_free(&r->tokens);
    for (int i = 0; i < OPT_TEXTS_MAX; i++) {
        free((void *)r->chain[i].link);
    }
}

/* "0.3,1.5" */
static int read_chain(const otimes_model_info *info, const char *text, otimes_virtual_chain *chain,
                      otimes_err *err)
{
    select_head *head = NULL;
    int64_t count;
    int rc = select_heads(text, "--chain", info->n_layers, info->n_heads, &head, &count, err);
    otimes_virtual_link *link = rc ? NULL : calloc((size_t)count, sizeof *link);
    if (!rc && !link) {
        rc = fail_memory(err, "--chain");
    }
    for (int64_t i = 0; i < count && !rc; i++) {
        link[i] = (otimes_virtual_link){head[i].layer, head[i].head};
        if (i > 0 && link[i].layer <= link[i - 1].layer) {
            rc = fail(err, OTIMES_ERR_ARGUMENT, "--chain: expected ascending layers, got '%s'",
                      text);
        }
    }
    if (!rc && count < 2) {
        rc = fail(err, OTIMES_ERR_ARGUMENT, "--chain: expected at least two heads, got '%s'", text);
    }
    *chain = (otimes_virtual_chain){link, count};
    free(head);
    return rc;
}

static int read_request(const otimes_model_info *info, const options *o, request *r,
                        otimes_err *err)
{
    otimes_virtual_settings *s = &r->settings;
    otimes_virtual_settings_default(s);
    int rc = select_indices(o->common.layers, "--layers", info->n_layers, &r->layers, err);
    if (!rc) {
        rc = select_indices(o->common.heads, "--heads", info->n_heads, &r->heads, err);
    }
    if (!rc) {
        rc = select_indices(o->common.tokens, "--tokens", info->d_vocab, &r->tokens, err);
    }
    for (int i = 0; i < o->chains.count && !rc; i++) {
        rc = read_chain(info, o->chains.item[i], &r->chain[i], err);
    }
    s->layers = r->layers.index;
    s->layer_count = r->layers.count;
    s->heads = r->heads.index;
    s->head_count = r->heads.count;
    s->tokens = r->tokens.index;
    s->token_count = r->tokens.count;
    s->chains = o->chains.count ? r->chain : NULL;
    s->chain_count = o->chains.count;
    s->length = o->length;
    s->top = o->common.top >= 0 ? o->common.top : s->top;
    s->order = (otimes_virtual_order)o->order;
    s->budget = o->budget;
    s->entries = o->entries;
    s->vocab = o->vocab;
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    request r = {0};
    int rc = read_request(otimes_model_describe(model), memory, &r, err);
    if (!rc) {
        rc = otimes_virtual(model, &r.settings, sink, err);
    }
    request_free(&r);
    return rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    otimes_memory_sink *result = NULL;
    int rc = command_result(run, model, memory, &result, err);
    if (!rc) {
        virtual_card(model, result, to);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_virtual = {
    .name = "virtual",
    .group = "Circuits from weights",
    .summary = "virtual heads: the strongest products of OV circuits, in vocabulary",
    .about =
        "Heads that read what heads of earlier layers wrote: the products W_OV(h1) W_OV(h2) ... of "
        "every pair, and the strongest chains of up to --length heads, found without listing all. "
        "For each its norm against the one expected of random subspaces, its singular values, its "
        "copying score and the strongest entries source token -> output token of its table over "
        "the vocabulary. Without -o and --format it prints a table to read.",
    .example = "otimes virtual model/ --length 3 --top 20",
    .shared = OPTS_LAYERS | OPTS_HEADS | OPTS_TOKENS,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
