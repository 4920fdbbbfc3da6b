/* SPDX-License-Identifier: MIT */
#include <otimes/compare.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "compare_card.h"
#include "fail.h"
#include "opened.h"
#include "output.h"
#include "select.h"

typedef struct options {
    common_options common;
    const char *labels;
    int measures, space, match, similarity, cosines, same_vocab;
} options;

static const opt_word measure_words[] = {
    {"cosine", OTIMES_COMPARE_COSINE},         {"cka", OTIMES_COMPARE_CKA},
    {"procrustes", OTIMES_COMPARE_PROCRUSTES}, {"kernel", OTIMES_COMPARE_KERNEL},
    {"angles", OTIMES_COMPARE_ANGLES},         {NULL, 0}};
static const opt_word space_words[] = {
    {"stream", OTIMES_COMPARE_STREAM}, {"vocab", OTIMES_COMPARE_VOCAB}, {NULL, 0}};
static const opt_word match_words[] = {{"heads", OTIMES_COMPARE_MATCH_HEADS},
                                       {"layers", OTIMES_COMPARE_MATCH_LAYERS},
                                       {"none", OTIMES_COMPARE_MATCH_NONE},
                                       {NULL, 0}};
static const opt_word similarity_words[] = {{"cka", OTIMES_COMPARE_BY_CKA},
                                            {"cosine", OTIMES_COMPARE_BY_COSINE},
                                            {"procrustes", OTIMES_COMPARE_BY_PROCRUSTES},
                                            {"kernel", OTIMES_COMPARE_BY_KERNEL},
                                            {NULL, 0}};

static const opt own[] = {
    {.name = "measures",
     .help = "what to measure of each pair (default: all)",
     .kind = OPT_SET,
     .offset = offsetof(options, measures),
     .words = measure_words},
    {.name = "through",
     .help =
         "where heads meet: in the stream, of one d_model, or over the vocabulary (default: the "
         "stream where widths agree)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, space),
     .words = space_words},
    {.name = "same-vocab",
     .help = "vocabularies of one size are one, whatever their tokens' texts",
     .kind = OPT_FLAG,
     .offset = offsetof(options, same_vocab)},
    {.name = "similarity",
     .help =
         "what heads are matched, clustered and listed by: the mean of this measure over OV and "
         "QK, or of kernels over Q, K, V and O (default: cka)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, similarity),
     .words = similarity_words},
    {.name = "match",
     .help =
         "heads of two models one to one: any with any, or within layers that are matched first "
         "(default: heads)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, match),
     .words = match_words},
    {.name = "top",
     .argument = "K",
     .help = "nearest heads listed for each (default: 3)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, common.top),
     .low = 0,
     .high = INT32_MAX},
    {.name = "angles",
     .help = "also the cosines of all principal angles",
     .kind = OPT_FLAG,
     .offset = offsetof(options, cosines)},
    {.name = "labels",
     .argument = "LIST",
     .help = "names of the models in results, separated by commas (default: their paths)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, labels)},
    {.name = NULL},
};

/* What the options come to, with the memory that settings point into. */
typedef struct request {
    otimes_compare_settings settings;
    otimes_index_list layers, heads;
    char *names; /* labels one after another */
    const char *label[OPTS_OPERANDS_MAX];
    otimes_model *opened[OPTS_OPERANDS_MAX]; /* all but the first, which is the caller's */
    const otimes_model *model[OPTS_OPERANDS_MAX];
} request;

static void defaults(void *memory)
{
    options *o = memory;
    otimes_compare_settings settings;
    otimes_compare_settings_default(&settings);
    o->measures = settings.measures;
    o->space = (int)settings.space;
    o->match = (int)settings.match;
    o->similarity = (int)settings.similarity;
}

static void request_free(request *r)
{
    otimes_index_list_free(&r->layers);
    otimes_index_list_free(&r->heads);
    free(r->names);
    for (int i = 0; i < OPTS_OPERANDS_MAX; i++) {
        opened_close(&r->opened[i]);
    }
}

/* "a,b,c", one for each model. */
static int read_labels(const char *text, int count, request *r, otimes_err *err)
{
    int found = 0;
    if (!text) {
        return 0;
    }
    r->names = malloc(strlen(text) + 1);
    if (!r->names) {
        return fail_memory(err, "--labels");
    }
    strcpy(r->names, text);
    for (char *at = r->names, *end; at; at = end, found++) {
        end = strchr(at, ',');
        if (end) {
            *end++ = '\0';
        }
        if (found < OPTS_OPERANDS_MAX) {
            r->label[found] = at;
        }
    }
    if (found != count) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--labels: expected %d names separated by commas, one for each model, got %d",
                    count, found);
    }
    r->settings.labels = r->label;
    return 0;
}

static int open_models(const otimes_model *first, const common_options *common, request *r,
                       otimes_err *err)
{
    otimes_model_settings settings;
    int rc = 0;
    command_model_settings(common, &settings);
    r->model[0] = first;
    for (int i = 1; i < common->operand_count && !rc; i++) {
        rc = opened_open(&r->opened[i], common->operand[i], &settings, err);
        r->model[i] = r->opened[i];
    }
    return rc;
}

static int read_request(const otimes_model *model, const options *o, request *r, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_compare_settings *s = &r->settings;
    otimes_compare_settings_default(s);
    int rc = read_labels(o->labels, o->common.operand_count, r, err);
    if (!rc) {
        rc = select_indices(o->common.layers, "--layers", info->n_layers, &r->layers, err);
    }
    if (!rc) {
        rc = select_indices(o->common.heads, "--heads", info->n_heads, &r->heads, err);
    }
    if (!rc) {
        rc = open_models(model, &o->common, r, err);
    }
    s->layers = r->layers.index;
    s->layer_count = r->layers.count;
    s->heads = r->heads.index;
    s->head_count = r->heads.count;
    s->measures = o->measures;
    s->space = (otimes_compare_space)o->space;
    s->match = (otimes_compare_match)o->match;
    s->similarity = (otimes_compare_similarity)o->similarity;
    s->top = o->common.top >= 0 ? o->common.top : s->top;
    s->cosines = o->cosines;
    s->same_vocab = o->same_vocab;
    return rc;
}

/* The sha256 of the other models' files, a line each with its model, where a result stays. */
static int put_sha256(const options *o, const request *r, otimes_sink *sink, otimes_err *err)
{
    char *all = NULL;
    size_t length = 0;
    int format = 0, rc = o->common.output ? output_format(&o->common, 0, &format, err) : 0;
    if (rc || !o->common.output || format != FORMAT_HDF5 || o->common.operand_count < 2) {
        return rc;
    }
    FILE *to = open_memstream(&all, &length);
    rc = to ? 0 : fail_memory(err, "sha256");
    for (int i = 1; i < o->common.operand_count && !rc; i++) {
        char *text = NULL;
        rc = output_sha256(r->model[i], &text, err);
        for (char *line = rc ? NULL : strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
            fprintf(to, "%s%s: %s", i > 1 || line != text ? "\n" : "", o->common.operand[i], line);
        }
        otimes_text_release(&text);
    }
    if (to && fclose(to) && !rc) {
        rc = fail_memory(err, "sha256");
    }
    if (!rc) {
        const otimes_attr attr = {
            .name = "other_model_sha256", .kind = OTIMES_ATTR_TEXT, .text = all};
        rc = sink->ops->attribute(sink, &attr, err);
    }
    free(all);
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    request r = {0};
    int rc = read_request(model, o, &r, err);
    if (!rc) {
        rc = put_sha256(o, &r, sink, err);
    }
    if (!rc) {
        rc = otimes_compare(r.model, o->common.operand_count, &r.settings, sink, err);
    }
    request_free(&r);
    return rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    otimes_memory_sink *result = NULL;
    int rc = command_result(run, model, memory, &result, err);
    if (!rc) {
        compare_card(model, result, to);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_compare = {
    .name = "compare",
    .group = "Circuits from weights",
    .summary = "heads against heads, within a model or across models and checkpoints",
    .about =
        "How alike heads are, all pairs: Frobenius cosine, linear CKA and Procrustes similarity of "
        "W_OV and W_QK, and projection kernels and principal angles of what Q, K and V read and O "
        "writes, beside what random heads would give. Of one model every head with every head; of "
        "several the first model's heads with those of each other, matched one to one, in the "
        "stream where d_model agrees, else over the vocabulary. Models of one shape are also read "
        "as checkpoints in the order given: how each head drifts, and K-composition in each. "
        "Without -o and --format it prints tables to read.",
    .example = "otimes compare step-1000/ step-2000/ step-3000/ -o drift.h5",
    .operands =
        {.min = 1,
         .max = OPTS_OPERANDS_MAX,
         .usage = "MODEL [MODEL ...]",
         .about =
             "\nMODEL is a directory with config.json and model.safetensors (or shards and their\n"
             "index), or one .safetensors file; --config and processing hold for all of them.\n"
             "LIST is like 0,3-5,9; of --labels names.\n"},
    .shared = OPTS_LAYERS | OPTS_HEADS,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
