/* SPDX-License-Identifier: MIT */
#include <otimes/compose.h>

#include <stddef.h>
#include <stdlib.h>

#include "command.h"
#include "compose_card.h"
#include "fail.h"
#include "select.h"

typedef struct options {
    common_options common;
    opt_texts sets;
    const char *offsets;
    int64_t components;
    int ends, route;
} options;

static const opt_word route_words[] = {{"auto", OTIMES_COMPOSE_CHEAPEST},
                                       {"cores", OTIMES_COMPOSE_BY_CORES},
                                       {"grams", OTIMES_COMPOSE_BY_GRAMS},
                                       {NULL, 0}};

static const opt own[] = {
    {.name = "top",
     .argument = "K",
     .help = "strongest pairs of each kind in the table to read (default: 10)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, common.top),
     .low = 0,
     .high = INT32_MAX},
    {.name = "ends",
     .help = "also the embedding, positions, MLPs and the unembedding, as writers and readers",
     .kind = OPT_FLAG,
     .offset = offsetof(options, ends)},
    {.name = "set",
     .argument = "HEADS",
     .help = "also these heads of one layer as one, layer.head, e.g. 0.3,0.7; may be given several "
             "times",
     .kind = OPT_TEXTS,
     .offset = offsetof(options, sets),
     .takes = TAKES_LABELS},
    {.name = "offsets",
     .argument = "LIST",
     .help = "rotary positions: Q and K also at these offsets, query less key, e.g. 0,1,8",
     .kind = OPT_TEXT,
     .offset = offsetof(options, offsets)},
    {.name = "components",
     .argument = "N",
     .help = "also pairs of the N leading singular components of each circuit (default: 0)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, components),
     .low = 0,
     .high = INT32_MAX},
    {.name = "route",
     .help = "how all pairs are computed; the result is the same to rounding (default: auto)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, route),
     .words = route_words},
    {.name = "memory",
     .argument = "BYTES",
     .help = "layers are taken in panels that fit, e.g. 4G (default: 7G)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, common.memory)},
    {.name = NULL},
};

/* What the options come to, with the memory that settings point into. */
typedef struct request {
    otimes_compose_settings settings;
    otimes_index_list layers, heads, offsets;
    otimes_compose_set set[OPT_TEXTS_MAX];
} request;

static void request_free(request *r)
{
    otimes_index_list_free(&r->layers);
    otimes_index_list_free(&r->heads);
    otimes_index_list_free(&r->offsets);
    for (int i = 0; i < OPT_TEXTS_MAX; i++) {
        free((void *)r->set[i].heads);
    }
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* "0.3,0.7": heads of one layer. */
static int read_set(const otimes_model_info *info, const char *text, otimes_compose_set *set,
                    otimes_err *err)
{
    select_head *head = NULL;
    int64_t count;
    int rc = select_heads(text, "--set", info->n_layers, info->n_heads, &head, &count, err);
    int64_t *heads = rc ? NULL : calloc((size_t)count, sizeof *heads);
    if (!rc && !heads) {
        rc = fail_memory(err, "--set");
    }
    for (int64_t i = 0; i < count && !rc; i++) {
        heads[i] = head[i].head;
        if (head[i].layer != head[0].layer) {
            rc = fail(err, OTIMES_ERR_ARGUMENT, "--set: expected heads of one layer, got '%s'",
                      text);
        }
    }
    if (!rc) {
        qsort(heads, (size_t)count, sizeof *heads, ascending);
        *set = (otimes_compose_set){head[0].layer, heads, count};
    }
    for (int64_t i = 1; i < count && !rc; i++) {
        if (heads[i] == heads[i - 1]) {
            rc = fail(err, OTIMES_ERR_ARGUMENT, "--set: expected each head once, got '%s'", text);
        }
    }
    if (rc && !set->heads) {
        free(heads);
    }
    free(head);
    return rc;
}

static int read_request(const otimes_model_info *info, const options *o, request *r,
                        otimes_err *err)
{
    otimes_compose_settings *s = &r->settings;
    otimes_compose_settings_default(s);
    int rc = select_indices(o->common.layers, "--layers", info->n_layers, &r->layers, err);
    if (!rc) {
        rc = select_indices(o->common.heads, "--heads", info->n_heads, &r->heads, err);
    }
    if (!rc) {
        rc = select_integers(o->offsets, "--offsets", INT32_MAX, &r->offsets, err);
    }
    if (!rc && o->common.memory) {
        rc = parse_bytes(o->common.memory, "--memory", &s->memory, err);
    }
    for (int i = 0; i < o->sets.count && !rc; i++) {
        rc = read_set(info, o->sets.item[i], &r->set[i], err);
    }
    s->layers = r->layers.index;
    s->layer_count = r->layers.count;
    s->heads = r->heads.index;
    s->head_count = r->heads.count;
    s->offsets = r->offsets.index;
    s->offset_count = r->offsets.count;
    s->sets = o->sets.count ? r->set : NULL;
    s->set_count = o->sets.count;
    s->components = o->components;
    s->ends = o->ends;
    s->route = (otimes_compose_route)o->route;
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    request r = {0};
    int rc = read_request(otimes_model_describe(model), memory, &r, err);
    if (!rc) {
        rc = otimes_compose(model, &r.settings, sink, err);
    }
    request_free(&r);
    return rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    const options *o = memory;
    otimes_memory_sink *result = NULL;
    int rc = command_result(run, model, memory, &result, err);
    if (!rc) {
        rc = compose_card(model, result, o->common.top >= 0 ? o->common.top : 10, to, err);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_compose = {
    .name = "compose",
    .group = "Circuits from weights",
    .summary = "which heads read what other heads wrote: Q-, K- and V-composition of all pairs",
    .about =
        "Composition scores |W_OV(h1) R(h2)| / (|W_OV(h1)| |R(h2)|) of every pair of an earlier "
        "and "
        "a later head, R = W_QK (Q), W_QK^T (K), W_OV (V), against what random subspaces would "
        "give: the baseline 1/sqrt(d_model), the excess over it, and how many deviations that is. "
        "--ends adds the embedding, MLPs and the unembedding, --set heads taken together, "
        "--components singular components, --offsets rotary positions. Without -o and --format it "
        "prints the strongest pairs.",
    .example = "otimes compose model/ -o compose.h5",
    .shared = OPTS_LAYERS | OPTS_HEADS | OPTS_RESUME,
    .own = own,
    .size = sizeof(options),
    .run = run,
    .card = card,
};
