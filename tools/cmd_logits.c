/* SPDX-License-Identifier: MIT */
#include <otimes/logits.h>

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "fail.h"
#include "logits_card.h"
#include "run_options.h"
#include "select.h"
#include "text.h"

enum { CARD_TOP = 5 };

typedef struct options {
    common_options common;
    int full, ignore_eos;
    const char *positions, *temperature, *top_p;
    int64_t generate, top_k, seed;
} options;

static const opt own[] = {
    {.name = "full",
     .help = "also write all logits",
     .kind = OPT_FLAG,
     .offset = offsetof(options, full)},
    {.name = "positions",
     .argument = "LIST",
     .help = "positions of each text, such as 0,5-9 or last; -1 is the last one (default: all)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, positions)},
    {.name = "generate",
     .argument = "N",
     .help = "instead, continue each text by N tokens, the likeliest each time",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, generate),
     .low = 1,
     .high = INT32_MAX},
    {.name = "temperature",
     .argument = "T",
     .help = "with --generate: draw from softmax(logits / T) (default: 0, the likeliest)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, temperature)},
    {.name = "top-k",
     .argument = "K",
     .help = "with --temperature: draw from the K likeliest (default: all)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, top_k),
     .low = 1,
     .high = INT32_MAX},
    {.name = "top-p",
     .argument = "P",
     .help = "with --temperature: draw from the fewest that have probability P together "
             "(default: 1, all)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, top_p)},
    {.name = "seed",
     .argument = "S",
     .help = "with --temperature: another number draws other tokens (default: 0)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, seed),
     .low = 0,
     .high = INT64_MAX},
    {.name = "ignore-eos",
     .help = "with --generate: go on behind the token that ends a text",
     .kind = OPT_FLAG,
     .offset = offsetof(options, ignore_eos)},
    {.name = NULL},
};

static int check_combination(const options *o, otimes_err *err)
{
    const struct {
        const char *name;
        int given;
    } drawing[] = {{"--top-k", o->top_k != 0},
                   {"--top-p", o->top_p != NULL},
                   {"--seed", o->seed != 0}},
      growing[] = {{"--temperature", o->temperature != NULL}, {"--ignore-eos", o->ignore_eos}},
      looking[] = {{"--full", o->full},
                   {"--positions", o->positions != NULL},
                   {"--top", o->common.top >= 0}};
    for (size_t i = 0; i < sizeof drawing / sizeof *drawing; i++) {
        if (drawing[i].given && !o->temperature) {
            return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected --temperature beside it",
                        drawing[i].name);
        }
    }
    for (size_t i = 0; i < sizeof growing / sizeof *growing; i++) {
        if (growing[i].given && !o->generate) {
            return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected --generate beside it",
                        growing[i].name);
        }
    }
    for (size_t i = 0; i < sizeof looking / sizeof *looking; i++) {
        if (looking[i].given && o->generate) {
            return fail(err, OTIMES_ERR_ARGUMENT, "%s: cannot stand beside --generate",
                        looking[i].name);
        }
    }
    return 0;
}

/* Ids can be continued without a tokenizer; texts have theirs read already. */
static int fill_generate(const options *o, otimes_generate_settings *g,
                         otimes_tokenizer **tokenizer, otimes_err *err)
{
    int rc = 0;
    if (!o->generate) {
        return 0;
    }
    g->count = o->generate;
    g->top_k = o->top_k;
    g->seed = (uint64_t)o->seed;
    if (o->temperature) {
        rc = parse_real(o->temperature, "--temperature", 0, 1e6, &g->temperature, err);
    }
    if (!rc && o->top_p) {
        rc = parse_real(o->top_p, "--top-p", 1e-9, 1, &g->top_p, err);
    }
    if (!rc) {
        rc = text_tokenizer(tokenizer, &o->common, o->common.tokens ? NULL : err);
        rc = o->common.tokens && rc != OTIMES_ERR_MEMORY ? 0 : rc;
    }
    g->tokenizer = *tokenizer;
    g->stop = *tokenizer && !o->ignore_eos ? otimes_tokenizer_describe(*tokenizer)->eos : -1;
    return rc;
}

static int run_top(const otimes_model *model, const options *o, int64_t top, otimes_sink *sink,
                   otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    sequences all = {0};
    otimes_index_list positions = {NULL, 0};
    otimes_tokenizer *tokenizer = NULL;
    otimes_logits_settings settings;
    otimes_logits_settings_default(&settings);
    settings.full = o->full;
    settings.top = top >= 0 ? top : settings.top;
    int rc = check_combination(o, err);
    if (!rc) {
        rc = sequences_read(&all, &o->common, info->d_vocab, info->n_ctx, err);
    }
    if (!rc) {
        rc = sequences_view(&all, &settings.sequences, err);
    }
    if (!rc) {
        rc = run_options_forward(&o->common, model, &settings.sequences, &settings.forward, err);
    }
    if (!rc && o->positions) {
        const char *list = strcmp(o->positions, "last") ? o->positions : "-1";
        rc = select_integers(list, "--positions", INT32_MAX, &positions, err);
        settings.positions = positions.index;
        settings.position_count = positions.count;
    }
    if (!rc) {
        rc = fill_generate(o, &settings.generate, &tokenizer, err);
    }
    if (!rc) {
        rc = otimes_logits(model, &settings, sink, err);
    }
    otimes_tokenizer_close(&tokenizer);
    otimes_index_list_free(&positions);
    sequences_free(&all);
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    return run_top(model, o, o->common.top, sink, err);
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    const options *o = memory;
    otimes_memory_sink *result = NULL;
    int rc = otimes_memory_sink_new(&result, err);
    if (!rc) {
        rc = run_top(model, o, o->common.top >= 0 || o->generate ? o->common.top : CARD_TOP,
                     otimes_memory_sink_sink(result), err);
    }
    if (!rc) {
        (o->generate ? logits_card_generated : logits_card)(model, result, to);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_logits = {
    .name = "logits",
    .group = "Running a model on texts",
    .summary = "what comes next after each token of a text, loss, generation",
    .about = "Runs the model on texts. For every token the --top (default 10) output tokens that "
             "the model expects next with logit and log-probability, logsumexp and entropy of the "
             "distribution, log-probability and rank of the token that does come next, and the "
             "mean loss of each text; --full writes all logits. With --generate each text is "
             "continued instead. Without -o and --format it prints a table to read, or the "
             "continued texts.",
    .example = "otimes logits model/ --text \"The capital of France is\" --top 5",
    .shared = OPTS_TEXT | OPTS_TOP | OPTS_RUN | OPTS_RESUME,
    .own = own,
    .size = sizeof(options),
    .run = run,
    .card = card,
};
