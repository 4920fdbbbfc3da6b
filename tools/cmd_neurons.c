/* SPDX-License-Identifier: MIT */
#include <otimes/neurons.h>

#include <stddef.h>
#include <stdlib.h>

#include "command.h"
#include "fail.h"
#include "neurons_card.h"
#include "select.h"

typedef struct options {
    common_options common;
    const char *neurons, *experts;
    int64_t null_directions, show;
    int vocab, reads, heads, sort;
} options;

static const opt_word heads_words[] = {{"full", OTIMES_NEURONS_HEADS_FULL},
                                       {"strongest", OTIMES_NEURONS_HEADS_STRONGEST},
                                       {"none", OTIMES_NEURONS_HEADS_NONE},
                                       {NULL, 0}};
static const opt_word sort_words[] = {{"kurtosis", NEURONS_BY_KURTOSIS}, {"skew", NEURONS_BY_SKEW},
                                      {"variance", NEURONS_BY_VARIANCE}, {"norm", NEURONS_BY_NORM},
                                      {"cos", NEURONS_BY_COS},           {"null", NEURONS_BY_NULL},
                                      {"heads", NEURONS_BY_HEADS},       {NULL, 0}};

static const opt own[] = {
    {.name = "neurons",
     .argument = "LIST",
     .help =
         "neurons of each layer (default: all); those of expert x from x d_expert on, of a shared "
         "expert last",
     .kind = OPT_TEXT,
     .offset = offsetof(options, neurons)},
    {.name = "experts",
     .argument = "LIST",
     .help = "instead: all neurons of these experts; one past the last is the shared expert",
     .kind = OPT_TEXT,
     .offset = offsetof(options, experts),
     .takes = TAKES_EXPERTS},
    {.name = "top",
     .argument = "K",
     .help = "tokens promoted, suppressed and read, and heads each way (default: 5)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, common.top),
     .low = 0,
     .high = INT32_MAX},
    {.name = "vocab",
     .help = "moments and extreme tokens of w_out W_U (default: on)",
     .kind = OPT_SWITCH,
     .offset = offsetof(options, vocab)},
    {.name = "reads",
     .help = "the same of W_E w_in, and of W_E w_gate where there are gates (default: on)",
     .kind = OPT_SWITCH,
     .offset = offsetof(options, reads)},
    {.name = "composition",
     .help =
         "with heads: the strongest of each neuron, all pairs too, or none (default: strongest; "
         "full without a word)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, heads),
     .words = heads_words,
     .optional = 1},
    {.name = "null",
     .argument = "N",
     .help = "also the share of w_out in the N smallest singular directions of W_U (default: 0)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, null_directions),
     .low = 0,
     .high = INT32_MAX},
    {.name = "sort",
     .help = "of the table to read: by what the neurons shown are the most extreme (default: "
             "kurtosis)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, sort),
     .words = sort_words},
    {.name = "show",
     .argument = "N",
     .help = "of the table to read: how many neurons (default: 20)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, show),
     .low = 0,
     .high = INT32_MAX},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    otimes_neurons_settings settings;
    otimes_neurons_settings_default(&settings);
    o->vocab = settings.vocab;
    o->reads = settings.reads;
    o->heads = (int)settings.heads;
    o->sort = NEURONS_BY_KURTOSIS;
    o->show = 20;
}

/* What the options come to, with the memory that settings point into. */
typedef struct request {
    otimes_neurons_settings settings;
    otimes_index_list layers, neurons;
    int64_t *of_experts; /* neurons of chosen experts; NULL: none were chosen */
} request;

static void request_free(request *r)
{
    otimes_index_list_free(&r->layers);
    otimes_index_list_free(&r->neurons);
    free(r->of_experts);
}

/* Neurons of experts; number n_experts is the shared one. */
static int read_experts(const otimes_model_info *info, const char *text, request *r,
                        otimes_err *err)
{
    otimes_index_list experts = {0};
    if (info->n_experts == 0) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--experts: expected a model with experts, got %s",
                    info->architecture);
    }
    int rc = select_indices(text, "--experts", info->n_experts + (info->d_shared_expert > 0),
                            &experts, err);
    if (!rc) {
        const int64_t wide =
            info->d_expert > info->d_shared_expert ? info->d_expert : info->d_shared_expert;
        r->of_experts = calloc((size_t)(experts.count * wide), sizeof *r->of_experts);
        rc = r->of_experts ? 0 : fail_memory(err, "--experts");
    }
    for (int64_t i = 0; i < experts.count && !rc; i++) {
        const int64_t x = experts.index[i];
        const int64_t width = x < info->n_experts ? info->d_expert : info->d_shared_expert;
        for (int64_t n = 0; n < width; n++) {
            r->of_experts[r->settings.neuron_count++] = x * info->d_expert + n;
        }
    }
    otimes_index_list_free(&experts);
    r->settings.neurons = r->of_experts;
    return rc;
}

static int read_request(const otimes_model *model, const options *o, request *r, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_neurons_settings *s = &r->settings;
    otimes_neurons_settings_default(s);
    int rc = select_indices(o->common.layers, "--layers", info->n_layers, &r->layers, err);
    if (!rc && o->neurons && o->experts) {
        rc = fail(err, OTIMES_ERR_ARGUMENT, "--neurons, --experts: expected one of them, got both");
    }
    if (!rc && o->experts) {
        rc = read_experts(info, o->experts, r, err);
    } else if (!rc && o->neurons) {
        rc = select_indices(o->neurons, "--neurons", otimes_neurons_most(model), &r->neurons, err);
        s->neurons = r->neurons.index;
        s->neuron_count = r->neurons.count;
    }
    s->layers = r->layers.index;
    s->layer_count = r->layers.count;
    s->top = o->common.top >= 0 ? o->common.top : s->top;
    s->vocab = o->vocab;
    s->reads = o->reads;
    s->heads = (otimes_neurons_heads)o->heads;
    s->null_directions = o->null_directions;
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    request r = {0};
    int rc = read_request(model, memory, &r, err);
    if (!rc) {
        rc = otimes_neurons(model, &r.settings, sink, err);
    }
    request_free(&r);
    return rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    options o = *(const options *)memory;
    otimes_memory_sink *result = NULL;
    /* The table shows the strongest alone. */
    o.heads = o.heads == OTIMES_NEURONS_HEADS_FULL ? OTIMES_NEURONS_HEADS_STRONGEST : o.heads;
    int rc = command_result(run, model, &o, &result, err);
    if (!rc) {
        rc = neurons_card(model, result, (neurons_sort)o.sort, o.show, to, err);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_neurons = {
    .name = "neurons",
    .group = "Circuits from weights",
    .summary = "every MLP neuron: what it reads and writes, in vocabulary and through heads",
    .about =
        "Every neuron of the MLPs from weights alone: lengths and cosines of what it reads and "
        "writes, "
        "mean, variance, skew and kurtosis of w_out W_U over the vocabulary with the tokens it "
        "promotes and suppresses most, the tokens that W_E w_in reads most, and composition with "
        "the "
        "heads that write before it and read behind it. Computed by tiles. Without -o and --format "
        "it prints the --show most extreme ones.",
    .example = "otimes neurons model/ --sort kurtosis --show 10",
    .shared = OPTS_LAYERS,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
