/* SPDX-License-Identifier: MIT */
#include <otimes/trigrams.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/parse.h>

#include "command.h"
#include "fail.h"
#include "select.h"
#include "text.h"
#include "trigrams_card.h"

/* More than any model has of layers or heads, and beyond any context. */
#define MAX_INDEX (INT64_C(1) << 20)
#define MAX_OFFSET (INT64_C(1) << 30)

enum { CARD_TOP = 5, CARD_HEADS = 12 };

typedef struct options {
    common_options common;
    const char *heads, *offsets, *positions;
    opt_texts sources, destinations, outs;
    int64_t per_source;
    int raw_embedding;
} options;

static const opt own[] = {
    {.name = "head",
     .argument = "LIST",
     .help = "heads as LAYER.HEAD or LAYER.FIRST-LAST, e.g. 0.3,1.0-7 (default: all)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, heads),
     .takes = TAKES_LABELS},
    {.name = "source",
     .argument = "TOKEN",
     .help = "a token attended to, by its text, as 7 or #7; may stand several times (default: all)",
     .kind = OPT_TEXTS,
     .offset = offsetof(options, sources)},
    {.name = "destination",
     .argument = "TOKEN",
     .help = "a token that attends (default: all)",
     .kind = OPT_TEXTS,
     .offset = offsetof(options, destinations)},
    {.name = "out",
     .argument = "TOKEN",
     .help = "a token made likelier (default: all)",
     .kind = OPT_TEXTS,
     .offset = offsetof(options, outs)},
    {.name = "top",
     .argument = "K",
     .help = "trigrams kept of each head (default: 10; 5 to read)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, common.top),
     .low = 1,
     .high = OTIMES_TRIGRAMS_TOP_MAX},
    {.name = "per-source",
     .argument = "N",
     .help = "of which at most N have one source; 0: any number (default: 0; 1 to read)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, per_source),
     .low = 0,
     .high = OTIMES_TRIGRAMS_TOP_MAX},
    {.name = "offsets",
     .argument = "LIST",
     .help = "rotary models: destination - source, e.g. 1,2,8, a list of its own for each "
             "(default: nothing is rotated)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, offsets)},
    {.name = "positions",
     .argument = "Q,K",
     .help = "learned positions: the destination stands at Q, the source at K (default: no "
             "positions)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, positions)},
    {.name = "raw-embedding",
     .help = "tokens as rows of W_E, as in heads' full circuits, instead of as the head reads them "
             "through its norm",
     .kind = OPT_FLAG,
     .offset = offsetof(options, raw_embedding)},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    o->per_source = -1;
}

/* What settings point into. */
typedef struct request {
    otimes_trigrams_head *heads;
    otimes_index_list sources, destinations, outs, offsets;
} request;

static void free_request(request *r)
{
    free(r->heads);
    otimes_index_list_free(&r->sources);
    otimes_index_list_free(&r->destinations);
    otimes_index_list_free(&r->outs);
    otimes_index_list_free(&r->offsets);
}

/* ---- heads ---- */

/* Splits "3-5" or "4" after the dot; text is cut up. 0 when it is neither. */
static int parse_item(char *text, int64_t *layer, int64_t *first, int64_t *last)
{
    char *dot = strchr(text, '.');
    if (!dot) {
        return 0;
    }
    *dot = '\0';
    char *dash = strchr(dot + 1, '-');
    if (dash) {
        *dash = '\0';
    }
    int rc = otimes_parse_i64(text, "", 0, MAX_INDEX, layer, NULL);
    rc = rc ? rc : otimes_parse_i64(dot + 1, "", 0, MAX_INDEX, first, NULL);
    *last = *first;
    if (!rc && dash) {
        rc = otimes_parse_i64(dash + 1, "", *first, MAX_INDEX, last, NULL);
    }
    return !rc;
}

static int check_head(const otimes_model_info *info, int64_t layer, int64_t last, otimes_err *err)
{
    if (layer < info->n_layers && last < info->n_heads) {
        return 0;
    }
    return fail(err, OTIMES_ERR_ARGUMENT,
                "--head: expected heads from 0.0 to %lld.%lld, got %lld.%lld",
                (long long)info->n_layers - 1, (long long)info->n_heads - 1, (long long)layer,
                (long long)last);
}

static int has_head(const otimes_trigrams_head *heads, int64_t count, int64_t layer, int64_t head)
{
    for (int64_t i = 0; i < count; i++) {
        if (heads[i].layer == layer && heads[i].head == head) {
            return 1;
        }
    }
    return 0;
}

static int add_heads(char *item, const otimes_model_info *info, request *r, int64_t *count,
                     otimes_err *err)
{
    char whole[64];
    int64_t layer, first, last;
    snprintf(whole, sizeof whole, "%s", item);
    if (!parse_item(item, &layer, &first, &last)) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--head: expected LAYER.HEAD or LAYER.FIRST-LAST, got '%s'", whole);
    }
    const int rc = check_head(info, layer, last, err);
    for (int64_t h = first; !rc && h <= last; h++) {
        if (has_head(r->heads, *count, layer, h)) {
            return fail(err, OTIMES_ERR_ARGUMENT,
                        "--head: expected each head once, got %lld.%lld again", (long long)layer,
                        (long long)h);
        }
        r->heads[(*count)++] = (otimes_trigrams_head){layer, h};
    }
    return rc;
}

static int read_heads(const char *text, const otimes_model_info *info, request *r,
                      otimes_trigrams_settings *settings, otimes_err *err)
{
    if (!text) {
        return 0;
    }
    /* Each head once at most. */
    r->heads = calloc((size_t)(info->n_layers * info->n_heads), sizeof *r->heads);
    char *copy = strdup(text), *item = copy;
    int rc = r->heads && copy ? 0 : fail_memory(err, "--head");
    for (char *end = item; !rc && end; item = end + 1) {
        end = strchr(item, ',');
        if (end) {
            *end = '\0';
        }
        rc = add_heads(item, info, r, &settings->head_count, err);
        if (!end) {
            break;
        }
    }
    free(copy);
    settings->heads = r->heads;
    return rc;
}

/* ---- tokens ---- */

/* Ids of an option's tokens, ascending, each once. */
static int read_tokens(const otimes_model *model, const common_options *common,
                       const opt_texts *named, const char *option, int output,
                       otimes_index_list *list, otimes_err *err)
{
    int rc = 0;
    if (!named->count) {
        return 0;
    }
    list->index = malloc((size_t)named->count * sizeof *list->index);
    if (!list->index) {
        return fail_memory(err, option);
    }
    for (int i = 0; !rc && i < named->count; i++) {
        rc = output
                 ? token_by_text(model, common, named->item[i], option, &list->index[i], err)
                 : input_token_by_text(model, common, named->item[i], option, &list->index[i], err);
    }
    if (rc) {
        return rc;
    }
    list->count = named->count;
    select_distinct(list);
    return 0;
}

static int read_all_tokens(const otimes_model *model, const options *o, request *r,
                           otimes_trigrams_settings *settings, otimes_err *err)
{
    int rc = read_tokens(model, &o->common, &o->sources, "--source", 0, &r->sources, err);
    if (!rc) {
        rc = read_tokens(model, &o->common, &o->destinations, "--destination", 0, &r->destinations,
                         err);
    }
    if (!rc) {
        rc = read_tokens(model, &o->common, &o->outs, "--out", 1, &r->outs, err);
    }
    settings->sources = r->sources.index;
    settings->source_count = r->sources.count;
    settings->destinations = r->destinations.index;
    settings->destination_count = r->destinations.count;
    settings->outs = r->outs.index;
    settings->out_count = r->outs.count;
    return rc;
}

/* "Q,K" */
static int read_positions(const char *text, const otimes_model_info *info,
                          otimes_trigrams_settings *settings, otimes_err *err)
{
    char query[32];
    const char *comma = text ? strchr(text, ',') : NULL;
    if (!text) {
        return 0;
    }
    if (!comma || (size_t)(comma - text) >= sizeof query) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--positions: expected Q,K, got '%s'", text);
    }
    memcpy(query, text, (size_t)(comma - text));
    query[comma - text] = '\0';
    const int64_t last = info->n_ctx > 0 ? info->n_ctx - 1 : MAX_OFFSET;
    int rc = otimes_parse_i64(query, "--positions", 0, last, &settings->query_position, err);
    if (!rc) {
        rc = otimes_parse_i64(comma + 1, "--positions", 0, last, &settings->key_position, err);
    }
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    const otimes_model_info *info = otimes_model_describe(model);
    request r = {.heads = NULL};
    otimes_trigrams_settings settings;
    otimes_trigrams_settings_default(&settings);
    int rc = read_heads(o->heads, info, &r, &settings, err);
    if (!rc) {
        rc = read_all_tokens(model, o, &r, &settings, err);
    }
    if (!rc) {
        rc = select_integers(o->offsets, "--offsets", MAX_OFFSET, &r.offsets, err);
    }
    if (!rc) {
        rc = read_positions(o->positions, info, &settings, err);
    }
    if (!rc) {
        settings.top = o->common.top > 0 ? o->common.top : settings.top;
        settings.per_source = o->per_source >= 0 ? o->per_source : settings.per_source;
        settings.offsets = r.offsets.index;
        settings.offset_count = r.offsets.count;
        settings.raw_embedding = o->raw_embedding;
        rc = otimes_trigrams(model, &settings, sink, err);
    }
    free_request(&r);
    return rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    options o = *(const options *)memory;
    otimes_memory_sink *result = NULL;
    o.common.top = o.common.top > 0 ? o.common.top : CARD_TOP;
    o.per_source = o.per_source >= 0 ? o.per_source : o.sources.count == 1 ? 0 : 1;
    int rc = command_result(run, model, &o, &result, err);
    if (!rc) {
        rc = trigrams_card(model, result, o.heads ? INT64_MAX : CARD_HEADS, to, err);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_trigrams = {
    .name = "trigrams",
    .group = "Circuits from weights",
    .summary = "each head's skip-trigrams: [source] ... [destination] -> [out]",
    .about =
        "The skip-trigrams of every head, from weights alone: the source token that a destination "
        "token attends to and the output token that it then makes likelier, strongest by score x "
        "effect. The score is that of QK beyond its mean over sources, the effect that of OV on "
        "the logit beyond its mean over outputs, before the final norm divides it. Tokens are read "
        "alone: exact for layer 0 (without positions), the direct path's term above. The search is "
        "over the whole vocabulary and exact; no table of vocabulary by vocabulary is made. "
        "Without -o and --format it prints the strongest heads, one trigram a source.",
    .example = "otimes trigrams model/ --source \" keep\" --top 20",
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
