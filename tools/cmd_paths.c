/* SPDX-License-Identifier: MIT */
#include <otimes/paths.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "fail.h"
#include "paths_card.h"
#include "run_options.h"
#include "select.h"
#include "text.h"

enum { CARD_PATHS = 20, CARD_EDGES = 10, FILE_PATHS = 1000 };

typedef struct options {
    common_options common;
    const char *target, *against, *positions, *budget;
    int predicted, next, loss, mlp, flows;
    int64_t order, subsets, carriers, edges;
} options;

static const opt_word mlp_words[] = {{"source", 0}, {"frozen", 1}, {NULL, 0}};

static const opt own[] = {
    {.name = "target",
     .argument = "TOKEN",
     .help = "token whose logit is taken apart, by its text or as #ID (default: the one with the "
             "largest logit at each position)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, target)},
    {.name = "against",
     .argument = "TOKEN",
     .help = "take apart the difference to this token's logit",
     .kind = OPT_TEXT,
     .offset = offsetof(options, against)},
    {.name = "predicted",
     .help = "the token with the largest logit, which is the default",
     .kind = OPT_FLAG,
     .offset = offsetof(options, predicted)},
    {.name = "next",
     .help = "instead of a target: the token that follows each position",
     .kind = OPT_FLAG,
     .offset = offsetof(options, next)},
    {.name = "loss",
     .help = "the linear term of the target's loss instead of its logit; without --target of the "
             "token that follows",
     .kind = OPT_FLAG,
     .offset = offsetof(options, loss)},
    {.name = "positions",
     .argument = "LIST",
     .help = "positions of each text, negative ones from its end, or the word last, e.g. 0,5-9,-1 "
             "(default: the last that has a target)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, positions)},
    {.name = "order",
     .argument = "N",
     .help = "only paths through at most N heads; without --top all of them",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, order),
     .low = 0,
     .high = INT32_MAX},
    {.name = "top",
     .argument = "M",
     .help = "the M largest paths of each position, 0: all (default: 1000; 20 in the table to "
             "read)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, common.top),
     .low = 0,
     .high = INT32_MAX},
    {.name = "budget",
     .argument = "N|SECONDSs",
     .help = "end each search after expanding N chains, or after a time, e.g. 10s; the result says "
             "how large a path can be that it did not find (default: until the list is exact)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, budget)},
    {.name = "mlp",
     .help = "MLPs are sources of paths as a whole, or with frozen gates links of paths (default: "
             "source)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, mlp),
     .words = mlp_words},
    {.name = "layers",
     .argument = "LIST",
     .help = "only heads of these layers are links of paths, e.g. 0,2-4 (default: all)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, common.layers),
     .takes = TAKES_LAYERS},
    {.name = "subsets",
     .argument = "N",
     .help = "totals of every set of at most N layers (default: of all sets of up to 4 layers, "
             "else of single layers)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, subsets),
     .low = 0,
     .high = INT32_MAX},
    {.name = "carriers",
     .argument = "K",
     .help = "source positions listed for each path (default: 3)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, carriers),
     .low = 0,
     .high = INT32_MAX},
    {.name = "flows",
     .help = "what flows through each head, each edge and from each source (default: on)",
     .kind = OPT_SWITCH,
     .offset = offsetof(options, flows)},
    {.name = "edges",
     .argument = "K",
     .help = "largest edges that are listed (default: 100; 10 in the table to read)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, edges),
     .low = 0,
     .high = INT32_MAX},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    o->order = o->subsets = o->edges = -1;
    o->carriers = 3;
    o->flows = 1;
}

/* ---- options ---- */

/* What the options come to, with the memory that settings point into. */
typedef struct request {
    otimes_paths_settings settings;
    sequences texts;
    otimes_index_list positions, layers;
} request;

static void request_free(request *r)
{
    sequences_free(&r->texts);
    otimes_index_list_free(&r->positions);
    otimes_index_list_free(&r->layers);
}

static int check_target(const options *o, otimes_err *err)
{
    if ((o->target != NULL) + o->next + o->predicted > 1) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--%s: cannot stand beside --%s",
                    o->next ? "next" : "predicted", o->target ? "target" : "predicted");
    }
    if (o->loss && o->predicted) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--predicted: cannot stand beside --loss");
    }
    if (o->loss && o->against) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--against: cannot stand beside --loss");
    }
    return 0;
}

static int read_target(const otimes_model *model, const options *o, request *r, otimes_err *err)
{
    otimes_paths_settings *s = &r->settings;
    int rc = check_target(o, err);
    s->loss = o->loss;
    s->whose = o->target            ? OTIMES_PATHS_GIVEN
               : o->next || o->loss ? OTIMES_PATHS_NEXT
                                    : OTIMES_PATHS_PREDICTED;
    if (!rc && o->target) {
        rc = token_by_text(model, &o->common, o->target, "--target", &s->target, err);
    }
    return !rc && o->against
               ? token_by_text(model, &o->common, o->against, "--against", &s->against, err)
               : rc;
}

/* "20000", "10s", "0.5s". */
static int read_budget(const char *text, otimes_paths_settings *s, otimes_err *err)
{
    const size_t length = text ? strlen(text) : 0, digits = text ? strspn(text, "0123456789") : 0;
    const size_t part = text && text[digits] == '.' ? strspn(text + digits + 1, "0123456789") : 0;
    const size_t end = digits + (part ? part + 1 : 0);
    if (!text) {
        return 0;
    }
    if (digits && digits < 12 && end < 24 && end + 1 == length && text[end] == 's') {
        s->seconds = strtod(text, NULL);
        if (s->seconds > 0) {
            return 0;
        }
    }
    if (!digits || digits != length) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--budget: expected a number of chains, or of seconds as in 10s, got '%s'",
                    text);
    }
    return otimes_parse_i64(text, "--budget", 1, INT64_MAX, &s->budget, err);
}

static int read_layers(const otimes_model *model, const options *o, request *r, otimes_err *err)
{
    const int64_t layers = otimes_model_describe(model)->n_layers;
    const int rc = select_indices(o->common.layers, "--layers", layers, &r->layers, err);
    r->settings.layers = r->layers.index;
    r->settings.layer_count = r->layers.count;
    return rc;
}

static int read_texts(const otimes_model *model, const options *o, request *r, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_paths_settings *s = &r->settings;
    int rc = sequences_read(&r->texts, &o->common, info->d_vocab, info->n_ctx, err);
    if (!rc) {
        rc = sequences_view(&r->texts, &s->sequences, err);
    }
    if (!rc) {
        rc = sequences_positions(o->positions, &s->sequences, &r->positions, err);
        s->positions = r->positions.index;
        s->position_count = r->positions.count;
    }
    if (!rc) {
        rc = run_options_forward(&o->common, model, &s->sequences, &s->forward, err);
    }
    s->forward.resident = !o->common.stream; /* a search comes to each layer again and again */
    return rc;
}

static int read_request(const otimes_model *model, const options *o, request *r, otimes_err *err)
{
    otimes_paths_settings *s = &r->settings;
    otimes_paths_settings_default(s);
    s->mlp = o->mlp;
    s->flows = o->flows;
    s->order = o->order;
    s->subsets = o->subsets;
    s->carriers = o->carriers;
    s->edges = o->edges >= 0 ? o->edges : s->edges;
    s->top = o->common.top >= 0 ? o->common.top : o->order >= 0 ? 0 : FILE_PATHS;
    int rc = read_target(model, o, r, err);
    if (!rc) {
        rc = read_budget(o->budget, s, err);
    }
    if (!rc) {
        rc = read_layers(model, o, r, err);
    }
    return rc ? rc : read_texts(model, o, r, err);
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    request r = {0};
    int rc = read_request(model, memory, &r, err);
    if (!rc) {
        rc = otimes_paths(model, &r.settings, sink, err);
    }
    request_free(&r);
    return rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    options o = *(const options *)memory;
    otimes_memory_sink *result = NULL;
    const int64_t shown = o.common.top > 0 ? o.common.top : CARD_PATHS;
    o.common.top = o.common.top < 0 && o.order < 0 ? CARD_PATHS : o.common.top;
    o.edges = o.edges >= 0 ? o.edges : CARD_EDGES;
    int rc = command_result(run, model, &o, &result, err);
    if (!rc) {
        paths_card(model, result, shown, to);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_paths = {
    .name = "paths",
    .group = "Circuits on texts",
    .summary = "a logit as a sum over paths through heads, the largest by search",
    .about =
        "With attention patterns and norm scales frozen, a logit is exactly a sum over paths: from "
        "the embedding, a position, a bias or an MLP through heads of ascending layers to the "
        "target. For a logit, a difference of logits or the loss at chosen positions: what all "
        "paths through 0, 1, 2 ... heads come to, and through each set of layers; the largest "
        "paths there are, found by best-first search and certified, each with its factors, its "
        "value and the tokens that carry it; what flows through every head, from head to head by "
        "queries, keys and values, and from each token. Without -o and --format it prints a table "
        "to read.",
    .example = "otimes paths model/ --text \"John gave a drink to\" --target \" Mary\"",
    .shared = OPTS_TEXT | OPTS_RUN | OPTS_RESUME,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
