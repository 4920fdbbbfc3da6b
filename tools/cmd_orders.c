/* SPDX-License-Identifier: MIT */
#include <otimes/orders.h>

#include <stddef.h>

#include "command.h"
#include "orders_card.h"
#include "run_options.h"
#include "text.h"

typedef struct options {
    common_options common;
    int mlp, norms, shares, full;
    int64_t first;
} options;

static const opt_word mlp_words[] = {{"source", 0}, {"frozen", 1}, {NULL, 0}};
static const opt_word norm_words[] = {{"frozen", 0}, {"recomputed", 1}, {NULL, 0}};

static const opt own[] = {
    {.name = "mlp",
     .help = "what MLPs write is a source of paths, or MLPs are links of paths, their gates frozen "
             "(default: source)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, mlp),
     .words = mlp_words},
    {.name = "norms",
     .help = "the final norm's scale of a sum of some of the paths: the whole pass's, or its own "
             "(default: frozen)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, norms),
     .words = norm_words},
    {.name = "from",
     .argument = "P",
     .help = "leave out what is predicted at positions before P (default: 0)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, first),
     .low = 0,
     .high = INT32_MAX},
    {.name = "shares",
     .help = "marginal and conditional share of each layer (default: on)",
     .kind = OPT_SWITCH,
     .offset = offsetof(options, shares)},
    {.name = "full",
     .help = "also write the loss of every order at each position",
     .kind = OPT_FLAG,
     .offset = offsetof(options, full)},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    o->shares = 1;
}

/* A pass by itself is what --plan tells; streams and patterns stand beside it. */
static void put_plan(const otimes_model *model, const otimes_orders_settings *settings)
{
    printf("memory with paths    %10.1f MiB  the pass included, weights %s\n",
           (double)otimes_orders_bytes(model, settings) / (1 << 20),
           settings->forward.resident ? "kept" : "a layer at a time");
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    const otimes_model_info *info = otimes_model_describe(model);
    common_options one_by_one = o->common; /* texts do not share a batch */
    sequences all = {0};
    otimes_orders_settings settings;
    otimes_orders_settings_default(&settings);
    settings.mlp_links = o->mlp;
    settings.recompute_norm = o->norms;
    settings.shares = o->shares;
    settings.full = o->full;
    settings.first = o->first;
    one_by_one.batch = 1;
    int rc = sequences_read(&all, &o->common, info->d_vocab, info->n_ctx, err);
    if (!rc) {
        rc = sequences_view(&all, &settings.sequences, err);
    }
    if (!rc) {
        rc = run_options_forward(&one_by_one, model, &settings.sequences, &settings.forward, err);
    }
    settings.forward.resident = !o->common.stream; /* layers are read more than once a text */
    if (rc == RUN_PLANNED) {
        put_plan(model, &settings);
    } else if (!rc) {
        rc = otimes_orders(model, &settings, sink, err);
    }
    sequences_free(&all);
    return rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    otimes_memory_sink *result = NULL;
    int rc = command_result(run, model, memory, &result, err);
    if (!rc) {
        orders_card(to, result);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_orders = {
    .name = "orders",
    .group = "Running a model on texts",
    .summary = "what the loss owes to paths through 0, 1, 2, ... heads",
    .about = "Freezes patterns and norm scales of a pass over each text, which makes its logits an "
             "exact sum over paths, and tells the loss of the logits that keep only paths through "
             "at most 0, 1, 2, ... heads: the term importance of A Mathematical Framework for "
             "Transformer Circuits. With it the marginal share of each layer (its heads alone, "
             "beside the paths through no head) and the conditional one (all but its heads). Texts "
             "run one at a time, whatever --batch says. Without -o and --format it prints the "
             "means over all texts.",
    .example = "otimes orders model/ --text-file texts.txt",
    .shared = OPTS_TEXT | OPTS_RUN | OPTS_RESUME,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
