/* SPDX-License-Identifier: MIT */
#include <otimes/patterns.h>

#include <stddef.h>
#include <stdlib.h>

#include "command.h"
#include "fail.h"
#include "pattern_file.h"
#include "patterns_card.h"
#include "random_tokens.h"
#include "run_options.h"
#include "select.h"
#include "text.h"

/* Diagonals beyond this are no use to any model. */
#define MAX_OFFSET (INT64_C(1) << 30)

typedef struct options {
    common_options common;
    const char *positions, *offsets, *pattern, *random_tokens;
    int64_t repeated, count, seed;
    int full;
} options;

static const opt own[] = {
    {.name = "repeated",
     .argument = "LENGTH",
     .help = "also run LENGTH random tokens written twice: induction, duplicate and previous token "
             "on them",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, repeated),
     .low = 1,
     .high = INT32_MAX},
    RANDOM_TOKENS_OPTS(options),
    {.name = "offsets",
     .argument = "LIST",
     .help = "also the mean attention along these diagonals, query - key, e.g. 1,2,5",
     .kind = OPT_TEXT,
     .offset = offsetof(options, offsets)},
    {.name = "pattern",
     .argument = "FILE",
     .help = "also the attention to a pattern of your own: lines of query, key and perhaps a "
             "weight, between tabs, positions from 0",
     .kind = OPT_TEXT,
     .offset = offsetof(options, pattern),
     .takes = TAKES_FILE},
    {.name = "positions",
     .argument = "LIST",
     .help = "queries that are looked at, e.g. 5-20 (default: all)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, positions)},
    {.name = "top",
     .argument = "K",
     .help = "also the K strongest keys of every query (default: 0)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, common.top),
     .low = 0,
     .high = INT32_MAX},
    {.name = "full",
     .help = "also write the patterns themselves",
     .kind = OPT_FLAG,
     .offset = offsetof(options, full)},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    otimes_patterns_settings settings;
    otimes_patterns_settings_default(&settings);
    o->count = settings.repeated_count;
    o->seed = (int64_t)settings.seed;
}

/* What settings point into. */
typedef struct request {
    sequences texts;
    otimes_index_list layers, heads, positions, offsets, random_tokens;
    otimes_pattern_entry *pattern;
} request;

static void free_request(request *r)
{
    sequences_free(&r->texts);
    otimes_index_list_free(&r->layers);
    otimes_index_list_free(&r->heads);
    otimes_index_list_free(&r->positions);
    otimes_index_list_free(&r->offsets);
    otimes_index_list_free(&r->random_tokens);
    free(r->pattern);
}

static int has_texts(const common_options *common)
{
    return common->text || common->text_file || common->tokens;
}

static int check(const options *o, otimes_err *err)
{
    static const struct {
        size_t offset;
        const char *name;
    } of_texts[] = {{offsetof(options, offsets), "--offsets"},
                    {offsetof(options, pattern), "--pattern"},
                    {offsetof(options, positions), "--positions"}};
    if (has_texts(&o->common)) {
        return 0;
    }
    if (!o->repeated) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--text: expected a text, a --text-file, --tokens or --repeated, got none");
    }
    for (size_t i = 0; i < sizeof of_texts / sizeof *of_texts; i++) {
        if (*(const char *const *)(const void *)((const char *)o + of_texts[i].offset)) {
            return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected a text to look at, got none",
                        of_texts[i].name);
        }
    }
    return o->full || o->common.top > 0
               ? fail(err, OTIMES_ERR_ARGUMENT, "%s: expected a text to look at, got none",
                      o->full ? "--full" : "--top")
               : 0;
}

static int read_repeated(const options *o, const otimes_model_info *info, request *r,
                         otimes_patterns_settings *settings, otimes_err *err)
{
    settings->repeated = o->repeated;
    settings->repeated_count = o->count;
    settings->seed = (uint64_t)o->seed;
    const int rc = o->repeated
                       ? random_tokens_read(&o->common, info, o->random_tokens, "--random-tokens",
                                            &r->random_tokens, &settings->bos, err)
                       : select_indices(o->random_tokens, "--random-tokens", info->d_vocab,
                                        &r->random_tokens, err);
    settings->random_tokens = r->random_tokens.index;
    settings->random_token_count = r->random_tokens.count;
    return rc;
}

static int read_texts(const options *o, const otimes_model *model, request *r,
                      otimes_patterns_settings *settings, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    if (has_texts(&o->common)) {
        int rc = sequences_read(&r->texts, &o->common, info->d_vocab, info->n_ctx, err);
        if (!rc) {
            rc = sequences_view(&r->texts, &settings->sequences, err);
        }
        if (rc) {
            return rc;
        }
    }
    const int rc =
        run_options_forward(&o->common, model, &settings->sequences, &settings->forward, err);
    if (o->repeated && settings->sequences.count > 0 && !o->common.stream) {
        settings->forward.resident = 1;
    }
    return rc;
}

static int64_t longest_of(const otimes_sequences *all)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < all->count; i++) {
        longest = all->length[i] > longest ? all->length[i] : longest;
    }
    return longest;
}

static int read_selection(const options *o, const otimes_model_info *info, request *r,
                          otimes_patterns_settings *settings, otimes_err *err)
{
    const int64_t longest = longest_of(&settings->sequences);
    int rc = select_indices(o->common.layers, "--layers", info->n_layers, &r->layers, err);
    if (!rc) {
        rc = select_indices(o->common.heads, "--heads", info->n_heads, &r->heads, err);
    }
    if (!rc) {
        rc = select_indices(o->positions, "--positions", longest, &r->positions, err);
    }
    if (!rc) {
        rc = select_integers(o->offsets, "--offsets", MAX_OFFSET, &r->offsets, err);
    }
    if (!rc && o->pattern) {
        rc = pattern_file_read(o->pattern, &r->pattern, &settings->pattern_count, err);
    }
    settings->layers = r->layers.index;
    settings->layer_count = r->layers.count;
    settings->heads = r->heads.index;
    settings->head_count = r->heads.count;
    settings->positions = r->positions.index;
    settings->position_count = r->positions.count;
    settings->offsets = r->offsets.index;
    settings->offset_count = r->offsets.count;
    settings->pattern = r->pattern;
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    const otimes_model_info *info = otimes_model_describe(model);
    request r = {.pattern = NULL};
    otimes_patterns_settings settings;
    otimes_patterns_settings_default(&settings);
    int rc = check(o, err);
    if (!rc) {
        rc = read_texts(o, model, &r, &settings, err);
    }
    if (!rc) {
        rc = read_repeated(o, info, &r, &settings, err);
    }
    if (!rc) {
        rc = read_selection(o, info, &r, &settings, err);
    }
    if (!rc) {
        settings.top = o->common.top > 0 ? o->common.top : 0;
        settings.full = o->full;
        rc = otimes_patterns(model, &settings, sink, err);
    }
    free_request(&r);
    return rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    otimes_memory_sink *result = NULL;
    options o = *(const options *)memory;
    o.full = 0; /* nothing here shows whole patterns */
    int rc = check(memory, err);
    if (!rc) {
        rc = otimes_memory_sink_new(&result, err);
    }
    if (!rc) {
        rc = run(model, &o, otimes_memory_sink_sink(result), err);
    }
    if (!rc) {
        rc = patterns_card(model, result, to, err);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_patterns = {
    .name = "patterns",
    .group = "Running a model on texts",
    .summary = "where every head attends: previous token, duplicate, induction, first token",
    .about =
        "Attention patterns A [query, key] of every head on texts, as scores between 0 and 1: how "
        "much goes to the token before, the token itself, the first token (BOS), earlier places of "
        "the same token, and to what came behind those (induction); the entropy of the rows; "
        "diagonals and patterns of your own. --repeated finds induction heads on random tokens "
        "written twice and needs no text. --top keeps the strongest keys of each query, --full the "
        "patterns themselves. Without -o and --format it prints the heads of each role, and with "
        "--top what they look at.",
    .example = "otimes patterns model/ --text \"When Mary and John went\" --repeated 32",
    .shared = OPTS_TEXT | OPTS_RUN | OPTS_RESUME | OPTS_LAYERS | OPTS_HEADS,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
