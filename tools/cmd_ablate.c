/* SPDX-License-Identifier: MIT */
#include <otimes/ablate.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "ablate_card.h"
#include "ablate_members.h"
#include "command.h"
#include "fail.h"
#include "run_options.h"
#include "select.h"
#include "text.h"

typedef struct options {
    common_options common;
    int components; /* 0: not given */
    const char *neurons;
    opt_texts sets;
    int method, mean;
    const char *mean_from;
    int64_t seed;
    const char *target, *against, *positions;
    int loss, full; /* loss -1: where there is one vocabulary */
} options;

enum { METHOD_ZERO, METHOD_MEAN, METHOD_RESAMPLE };

static const opt_word component_words[] = {{"heads", OTIMES_ABLATE_HEADS},
                                           {"layers", OTIMES_ABLATE_LAYERS},
                                           {"mlps", OTIMES_ABLATE_MLPS},
                                           {"neurons", OTIMES_ABLATE_NEURONS},
                                           {NULL, 0}};
static const opt_word method_words[] = {
    {"zero", METHOD_ZERO}, {"mean", METHOD_MEAN}, {"resample", METHOD_RESAMPLE}, {NULL, 0}};
static const opt_word mean_words[] = {
    {"all", OTIMES_ABLATE_MEAN}, {"position", OTIMES_ABLATE_MEAN_POSITION}, {NULL, 0}};

static const opt own[] = {
    {.name = "components",
     .help = "what is ablated, each by itself: heads, the attention of whole layers, MLPs, all "
             "neurons of --layers (default: heads)",
     .kind = OPT_SET,
     .offset = offsetof(options, components),
     .words = component_words},
    {.name = "neurons",
     .argument = "LIST",
     .help = "these neurons, each by itself, as LAYER.NEURON, e.g. 0.12,3.500-511",
     .kind = OPT_TEXT,
     .offset = offsetof(options, neurons)},
    {.name = "set",
     .argument = "LIST",
     .help = "one ablation of all of LIST at once, e.g. 0.3,0.7,1.mlp,2.attn,3.n512; may stand "
             "several times",
     .kind = OPT_TEXTS,
     .offset = offsetof(options, sets),
     .takes = TAKES_PARTS},
    {.name = "method",
     .help = "what stands in the place of what is ablated: zeros, its mean over texts, or what it "
             "is in another text (default: zero)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, method),
     .words = method_words},
    {.name = "mean",
     .help = "with --method mean: over all positions, or at each position over the texts "
             "(default: all)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, mean),
     .words = mean_words},
    {.name = "mean-from",
     .argument = "FILE",
     .help = "with --method mean: take the means over the texts of FILE (default: the texts "
             "themselves)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, mean_from),
     .takes = TAKES_FILE},
    {.name = "seed",
     .argument = "N",
     .help = "with --method resample: draw the other texts at random (default: each text takes "
             "the next one)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, seed),
     .low = 0,
     .high = INT64_MAX},
    {.name = "target",
     .argument = "TOKEN",
     .help = "also measure the logit of TOKEN: its text, or #ID",
     .kind = OPT_TEXT,
     .offset = offsetof(options, target)},
    {.name = "against",
     .argument = "TOKEN",
     .help = "less the logit of this TOKEN",
     .kind = OPT_TEXT,
     .offset = offsetof(options, against)},
    {.name = "positions",
     .argument = "LIST",
     .help = "where to measure, e.g. 4-9,-1 or last; from the end of each text where negative "
             "(default: the loss everywhere, logits at the last position)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, positions)},
    {.name = "loss",
     .help = "measure the loss (default: on); without it a --target alone needs no product with "
             "the vocabulary",
     .kind = OPT_SWITCH,
     .offset = offsetof(options, loss)},
    {.name = "full",
     .help = "also write the change at each position",
     .kind = OPT_FLAG,
     .offset = offsetof(options, full)},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    otimes_ablate_settings settings;
    otimes_ablate_settings_default(&settings);
    o->seed = settings.seed;
    o->loss = -1;
}

/* What settings point into. */
typedef struct request {
    sequences texts, mean_texts;
    otimes_index_list layers, heads, positions;
    ablate_members members;
    int64_t *target, *against; /* [texts] */
} request;

static void free_request(request *r)
{
    sequences_free(&r->texts);
    sequences_free(&r->mean_texts);
    otimes_index_list_free(&r->layers);
    otimes_index_list_free(&r->heads);
    otimes_index_list_free(&r->positions);
    ablate_members_free(&r->members);
    free(r->target);
    free(r->against);
}

/* Options that say something about a method that was not chosen. */
static int check_method(const options *o, otimes_err *err)
{
    const char *without = o->method != METHOD_MEAN && o->mean        ? "--mean"
                          : o->method != METHOD_MEAN && o->mean_from ? "--mean-from"
                                                                     : NULL;
    if (without) {
        return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected --method mean beside it", without);
    }
    if (o->method != METHOD_RESAMPLE && o->seed >= 0) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--seed: expected --method resample beside it");
    }
    if (o->against && !o->target) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--against: expected --target beside it");
    }
    if (!o->loss && !o->target) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--no-loss: expected --target beside it");
    }
    if ((o->components & OTIMES_ABLATE_NEURONS) && !o->neurons && !o->common.layers) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--components: neurons expect --layers or --neurons beside them");
    }
    return 0;
}

static int read_texts(const otimes_model *model, const options *o, request *r,
                      otimes_ablate_settings *settings, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    int rc = sequences_read(&r->texts, &o->common, info->d_vocab, info->n_ctx, err);
    if (!rc) {
        rc = sequences_view(&r->texts, &settings->sequences, err);
    }
    if (!rc && o->mean_from) {
        common_options other = o->common;
        other.text = other.tokens = NULL;
        other.text_file = o->mean_from;
        rc = sequences_read(&r->mean_texts, &other, info->d_vocab, info->n_ctx, err);
        if (!rc) {
            rc = sequences_view(&r->mean_texts, &settings->mean_sequences, err);
        }
    }
    return rc;
}

/* A pass by itself is what --plan tells; this is what stands beside it. */
static int put_plan(const otimes_model *model, const otimes_ablate_settings *settings,
                    otimes_err *err)
{
    otimes_ablate_plan plan;
    const int rc = otimes_ablate_plan_of(model, settings, &plan, err);
    if (!rc) {
        printf("ablations            %10lld      in %lld wave%s\n", (long long)plan.ablations,
               (long long)plan.waves, plan.waves == 1 ? "" : "s");
        printf("memory with them     %10.1f MiB  the pass included, weights %s\n",
               (double)plan.total / (1 << 20),
               settings->forward.resident ? "kept" : "a layer at a time");
    }
    return rc ? rc : RUN_PLANNED;
}

static int run_all(const otimes_model *model, const options *o, otimes_ablate_settings *settings,
                   otimes_sink *sink, otimes_err *err)
{
    const int rc =
        run_options_forward(&o->common, model, &settings->sequences, &settings->forward, err);
    /* Every chunk of ablations reads W_U again: one text is enough to keep it. */
    settings->forward.resident = !o->common.stream;
    if (rc) {
        return rc == RUN_PLANNED ? put_plan(model, settings, err) : rc;
    }
    return otimes_ablate(model, settings, sink, err);
}

static int read_members(const options *o, const otimes_model_info *info, request *r,
                        otimes_ablate_settings *settings, otimes_err *err)
{
    int rc = select_indices(o->common.layers, "--layers", info->n_layers, &r->layers, err);
    if (!rc) {
        rc = select_indices(o->common.heads, "--heads", info->n_heads, &r->heads, err);
    }
    if (!rc && o->neurons) {
        rc = ablate_members_add_neurons(&r->members, o->neurons, err);
    }
    for (int i = 0; i < o->sets.count && !rc; i++) {
        rc = ablate_members_add_set(&r->members, o->sets.item[i], err);
    }
    if (!rc) {
        rc = ablate_members_end(&r->members, err);
    }
    settings->layers = r->layers.index;
    settings->layer_count = r->layers.count;
    settings->heads = r->heads.index;
    settings->head_count = r->heads.count;
    settings->sets = r->members.set;
    settings->set_count = r->members.count;
    settings->components = o->components          ? o->components
                           : r->members.count > 0 ? 0
                                                  : OTIMES_ABLATE_HEADS;
    if (!rc && !settings->components && (o->common.layers || o->common.heads)) {
        rc = fail(err, OTIMES_ERR_ARGUMENT, "--%s: expected --components beside it",
                  o->common.layers ? "layers" : "heads");
    } else if (!rc && o->common.heads && !(settings->components & OTIMES_ABLATE_HEADS)) {
        rc = fail(err, OTIMES_ERR_ARGUMENT, "--heads: expected heads among --components");
    }
    if (o->neurons) { /* these alone, not all of the layers' */
        settings->components &= ~OTIMES_ABLATE_NEURONS;
    }
    return rc;
}

/* The same token for every text; *list stays NULL without one. */
static int read_token(const otimes_model *model, const options *o, const char *text,
                      const char *option, int64_t count, int64_t **list, otimes_err *err)
{
    int64_t id = 0;
    int rc = text ? token_by_text(model, &o->common, text, option, &id, err) : 0;
    if (rc || !text) {
        return rc;
    }
    *list = malloc((size_t)count * sizeof **list);
    if (!*list) {
        return fail_memory(err, option);
    }
    for (int64_t i = 0; i < count; i++) {
        (*list)[i] = id;
    }
    return 0;
}

static int read_measures(const otimes_model *model, const options *o, request *r,
                         otimes_ablate_settings *settings, otimes_err *err)
{
    const int64_t count = settings->sequences.count;
    const int last = o->positions && !strcmp(o->positions, "last");
    int rc =
        select_integers(last ? "-1" : o->positions, "--positions", INT32_MAX, &r->positions, err);
    if (!rc) {
        rc = read_token(model, o, o->target, "--target", count, &r->target, err);
    }
    if (!rc) {
        rc = read_token(model, o, o->against, "--against", count, &r->against, err);
    }
    settings->positions = r->positions.index;
    settings->position_count = r->positions.count;
    settings->target = r->target;
    settings->against = r->against;
    const otimes_model_info *info = otimes_model_describe(model);
    settings->loss = o->loss >= 0 ? o->loss : !o->target || info->d_vocab == info->d_vocab_out;
    settings->full = o->full;
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    const otimes_model_info *info = otimes_model_describe(model);
    request r = {0};
    otimes_ablate_settings settings;
    otimes_ablate_settings_default(&settings);
    int rc = check_method(o, err);
    if (!rc) {
        rc = read_members(o, info, &r, &settings, err);
    }
    if (!rc) {
        rc = read_texts(model, o, &r, &settings, err);
    }
    if (!rc) {
        rc = read_measures(model, o, &r, &settings, err);
    }
    if (!rc) {
        settings.seed = o->seed;
        settings.method = o->method == METHOD_RESAMPLE ? OTIMES_ABLATE_RESAMPLE
                          : o->method == METHOD_ZERO   ? OTIMES_ABLATE_ZERO
                          : o->mean                    ? (otimes_ablate_method)o->mean
                                                       : OTIMES_ABLATE_MEAN;
        rc = run_all(model, o, &settings, sink, err);
    }
    free_request(&r);
    return rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    const options *o = memory;
    char name[256] = "";
    otimes_memory_sink *result = NULL;
    int rc = command_result(run, model, memory, &result, err);
    if (!rc) {
        if (o->target) {
            snprintf(name, sizeof name, "'%s'%s%s%s", o->target, o->against ? " less '" : "",
                     o->against ? o->against : "", o->against ? "'" : "");
        }
        rc = ablate_card(to, result, o->target ? name : NULL, err);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_ablate = {
    .name = "ablate",
    .group = "Running a model on texts",
    .summary = "what the loss or a logit loses without each head, MLP or neuron",
    .about = "Takes out heads (their z, before W_O), the attention of whole layers, MLPs, neurons "
             "or sets of them, one ablation at a time, and tells how the loss of the texts or the "
             "logit of a target changes. All ablations go through the model together, each from "
             "the first layer on that it changes. Without -o and --format it prints the changes "
             "that are largest and those of all heads.",
    .example = "otimes ablate model/ --text-file texts.txt --method mean -o ablate.h5",
    .shared = OPTS_LAYERS | OPTS_HEADS | OPTS_TEXT | OPTS_RUN | OPTS_RESUME,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
