/* SPDX-License-Identifier: MIT */
#include <otimes/heads.h>

#include <stddef.h>

#include "command.h"
#include "select.h"

/* Relative offsets beyond this are no use to any model and would only cost precision. */
#define MAX_OFFSET (INT64_C(1) << 30)

typedef struct options {
    common_options common;
    const char *offsets;
    int64_t components;
    int vocab, biases, matrices;
} options;

static const opt_word matrix_words[] = {{"factors", OTIMES_HEADS_FACTORS},
                                        {"products", OTIMES_HEADS_PRODUCTS},
                                        {"positions", OTIMES_HEADS_POSITIONS},
                                        {NULL, 0}};

static const opt own[] = {
    {.name = "components",
     .argument = "N",
     .help = "leading singular directions of each circuit that --top reads in vocabulary "
             "(default: 1)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, components),
     .low = 0,
     .high = INT32_MAX},
    {.name = "vocab",
     .help = "also the quantities of the circuits over the whole vocabulary (default: on)",
     .kind = OPT_SWITCH,
     .offset = offsetof(options, vocab)},
    {.name = "offsets",
     .argument = "LIST",
     .help = "rotary models: QK at these offsets query - key, e.g. 0,1,-2",
     .kind = OPT_TEXT,
     .offset = offsetof(options, offsets)},
    {.name = "biases",
     .help = "also QK with its biases as one more row of each factor",
     .kind = OPT_FLAG,
     .offset = offsetof(options, biases)},
    {.name = "matrices",
     .help = "also write the factors, the products themselves, the block over positions",
     .kind = OPT_SET,
     .offset = offsetof(options, matrices),
     .words = matrix_words},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    otimes_heads_settings settings;
    otimes_heads_settings_default(&settings);
    o->components = settings.components;
    o->vocab = settings.vocab;
}

/* The lists that settings point into. */
typedef struct selection {
    otimes_index_list layers, heads, tokens, offsets;
} selection;

static int parse_selection(const options *o, const otimes_model_info *info, selection *s,
                           otimes_err *err)
{
    int rc = select_indices(o->common.layers, "--layers", info->n_layers, &s->layers, err);
    if (!rc) {
        rc = select_indices(o->common.heads, "--heads", info->n_heads, &s->heads, err);
    }
    if (!rc) {
        rc = select_indices(o->common.tokens, "--tokens", info->d_vocab, &s->tokens, err);
    }
    if (!rc) {
        rc = select_integers(o->offsets, "--offsets", MAX_OFFSET, &s->offsets, err);
    }
    return rc;
}

static void free_selection(selection *s)
{
    otimes_index_list_free(&s->layers);
    otimes_index_list_free(&s->heads);
    otimes_index_list_free(&s->tokens);
    otimes_index_list_free(&s->offsets);
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    selection s = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    otimes_heads_settings settings;
    otimes_heads_settings_default(&settings);
    int rc = parse_selection(o, otimes_model_describe(model), &s, err);
    if (rc) {
        goto done;
    }
    settings.layers = s.layers.index;
    settings.layer_count = s.layers.count;
    settings.heads = s.heads.index;
    settings.head_count = s.heads.count;
    settings.tokens = s.tokens.index;
    settings.token_count = s.tokens.count;
    settings.offsets = s.offsets.index;
    settings.offset_count = s.offsets.count;
    if (o->common.top >= 0) {
        settings.top = o->common.top;
    }
    settings.components = o->components;
    settings.vocab = o->vocab;
    settings.biases = o->biases;
    settings.matrices = o->matrices;
    rc = otimes_heads(model, &settings, sink, err);
done:
    free_selection(&s);
    return rc;
}

const command command_heads = {
    .name = "heads",
    .group = "Circuits from weights",
    .summary = "the OV and QK circuit of every head: spectra, copying, directions",
    .about =
        "For every head W_OV = W_V W_O (row = source, column = what is written) and W_QK = "
        "W_Q W_K^T (row = destination, column = source): Frobenius norm, singular values, "
        "eigenvalues, trace, effective rank and copying score, of the circuit in the stream and "
        "over the vocabulary. With --top K (default 0) the K tokens at each end of its leading "
        "singular directions.",
    .example = "otimes heads model/ -o heads.h5 --top 10 --layers 0-1",
    .shared = OPTS_LAYERS | OPTS_HEADS | OPTS_TOKENS | OPTS_TOP,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
};
