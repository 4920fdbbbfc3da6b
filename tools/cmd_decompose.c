/* SPDX-License-Identifier: MIT */
#include <otimes/decompose.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "decompose_card.h"
#include "fail.h"
#include "run_options.h"
#include "select.h"
#include "text.h"

enum { DEFAULT_TOP = 10 };

typedef struct options {
    common_options common;
    opt_texts target, against;
    const char *target_field, *against_field;
    const char *at, *positions;
    int parts, predicted, norms, lens, sources, full;
} options;

static const opt_word part_words[] = {{"heads", OTIMES_DECOMPOSE_HEADS},
                                      {"layers", OTIMES_DECOMPOSE_LAYERS},
                                      {"neurons", OTIMES_DECOMPOSE_NEURONS},
                                      {"all", OTIMES_DECOMPOSE_ALL},
                                      {NULL, 0}};

static const opt own[] = {
    {.name = "target",
     .argument = "TOKEN",
     .help = "token whose logit is taken apart, by its text or as #ID; may be given several times "
             "(default: the token that follows each position)",
     .kind = OPT_TEXTS,
     .offset = offsetof(options, target)},
    {.name = "against",
     .argument = "TOKEN",
     .help = "take apart the difference to this token's logit; one for all targets or one each",
     .kind = OPT_TEXTS,
     .offset = offsetof(options, against)},
    {.name = "target-field",
     .argument = "NAME",
     .help =
         "instead of a target: each text's own, in this member of the JSON lines of --text-file",
     .kind = OPT_TEXT,
     .offset = offsetof(options, target_field)},
    {.name = "against-field",
     .argument = "NAME",
     .help = "beside --target-field: the member with the token to take the difference to",
     .kind = OPT_TEXT,
     .offset = offsetof(options, against_field)},
    {.name = "predicted",
     .help = "instead of a target: the token with the largest logit at each position",
     .kind = OPT_FLAG,
     .offset = offsetof(options, predicted)},
    {.name = "at",
     .argument = "POINT",
     .help = "point of the stream: final, a layer (before it), or a layer with .mid (before its "
             "MLP), e.g. 5.mid (default: final)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, at),
     .takes = TAKES_POINT},
    {.name = "components",
     .help = "how finely it is cut: heads and MLPs, whole layers, whole attention with neurons, or "
             "heads with neurons (default: heads)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, parts),
     .words = part_words},
    {.name = "positions",
     .argument = "LIST",
     .help = "positions of each text, negative ones from its end, or the word last, e.g. 0,5-9,-1 "
             "(default: all)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, positions)},
    {.name = "norms",
     .help = "norm of each component and its cosine with the stream, for a second pass (default: "
             "on)",
     .kind = OPT_SWITCH,
     .offset = offsetof(options, norms)},
    {.name = "lens",
     .help = "also rank and log-probability of the target at every point",
     .kind = OPT_FLAG,
     .offset = offsetof(options, lens)},
    {.name = "sources",
     .help = "also what each head moved from each position",
     .kind = OPT_FLAG,
     .offset = offsetof(options, sources)},
    {.name = "full",
     .help = "with neurons: all of them, beside the largest",
     .kind = OPT_FLAG,
     .offset = offsetof(options, full)},
    {.name = "top",
     .argument = "K",
     .help = "neurons kept for each position and target; components in the table to read "
             "(default: 10)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, common.top),
     .low = 0,
     .high = INT32_MAX},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    o->parts = OTIMES_DECOMPOSE_HEADS;
    o->norms = 1;
}

/* ---- options ---- */

/* What the options come to, with the memory that settings point into. */
typedef struct request {
    otimes_decompose_settings settings;
    sequences texts;
    otimes_index_list positions;
    int64_t target[OPT_TEXTS_MAX], against[OPT_TEXTS_MAX];
    int64_t *text_target, *text_against; /* [texts] */
} request;

static void request_free(request *r)
{
    sequences_free(&r->texts);
    otimes_index_list_free(&r->positions);
    free(r->text_target);
    free(r->text_against);
}

/* "final", "5", "5.pre", "5.mid". */
static int read_point(const otimes_model *model, const char *text,
                      otimes_decompose_settings *settings, otimes_err *err)
{
    char layer[24] = "";
    if (!text || !strcmp(text, "final")) {
        return 0;
    }
    const size_t length = strcspn(text, ".");
    const char *rest = text + length;
    settings->mid = !strcmp(rest, ".mid");
    if (length >= sizeof layer || strspn(text, "0123456789") != length ||
        (*rest && !settings->mid && strcmp(rest, ".pre") != 0)) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--at: expected final, N, N.pre or N.mid, got '%s'",
                    text);
    }
    memcpy(layer, text, length);
    return otimes_parse_i64(layer, "--at", 0, otimes_model_describe(model)->n_layers - 1,
                            &settings->layer, err);
}

static int read_tokens(const otimes_model *model, const common_options *common,
                       const opt_texts *list, const char *option, int64_t *id, otimes_err *err)
{
    int rc = 0;
    for (int i = 0; i < list->count && !rc; i++) {
        rc = token_by_text(model, common, list->item[i], option, &id[i], err);
    }
    return rc;
}

static int read_targets(const otimes_model *model, const options *o, request *r, otimes_err *err)
{
    const int targets = o->target.count, against = o->against.count;
    if (against > 1 && against != targets) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--against: expected one for all or one for each --target (%d), got %d",
                    targets, against);
    }
    if (against && !targets) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--against: expected a --target beside it, got none");
    }
    if (targets && o->predicted) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--predicted: cannot stand beside --target");
    }
    int rc = read_tokens(model, &o->common, &o->target, "--target", r->target, err);
    if (!rc) {
        rc = read_tokens(model, &o->common, &o->against, "--against", r->against, err);
    }
    for (int i = against; against == 1 && i < targets; i++) {
        r->against[i] = r->against[0];
    }
    r->settings.target = targets ? r->target : NULL;
    r->settings.against = against ? r->against : NULL;
    r->settings.target_count = targets;
    r->settings.predicted = o->predicted;
    return rc;
}

/* One token of a line: its text, or an array of its id. */
static int line_token(const otimes_model *model, const common_options *common, const texts *all,
                      int64_t i, int64_t *id, otimes_err *err)
{
    const text_place where = text_place_of(all, i);
    const otimes_index_list *ids = all->ids ? &all->ids[i] : NULL;
    if (ids && ids->index) {
        *id = ids->count == 1 ? ids->index[0] : -1;
        return ids->count == 1 ? 0
                               : fail(err, OTIMES_ERR_ARGUMENT, "%s: %s: expected one id, got %lld",
                                      where.name, common->json_field, (long long)ids->count);
    }
    char *text = strndup(all->text[i], (size_t)all->bytes[i]);
    const int rc = text ? token_by_text(model, common, text, where.name, id, err)
                        : fail_memory(err, where.name);
    free(text);
    return rc;
}

/* A token of each line of the file that the texts are in. */
static int read_field(const otimes_model *model, const options *o, const char *field,
                      const char *option, int64_t count, int64_t **id, otimes_err *err)
{
    common_options common = o->common;
    texts all = {0};
    if (!field) {
        return 0;
    }
    if (!common.text_file || !strcmp(common.text_file, "-")) {
        return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected a --text-file of JSON lines, got %s",
                    option, common.text_file ? "standard input" : "none");
    }
    common.json_field = field;
    int rc = texts_read_lines(&all, &common, err);
    if (!rc && all.count != count) {
        rc = fail(err, OTIMES_ERR_IO, "%s: expected %lld lines, got %lld", common.text_file,
                  (long long)count, (long long)all.count);
    }
    *id = rc ? NULL : calloc((size_t)count, sizeof **id);
    if (!rc && !*id) {
        rc = fail_memory(err, option);
    }
    for (int64_t i = 0; i < count && !rc; i++) {
        rc = line_token(model, &common, &all, i, &(*id)[i], err);
    }
    texts_free(&all);
    return rc;
}

static int read_fields(const otimes_model *model, const options *o, request *r, otimes_err *err)
{
    const int64_t count = r->settings.sequences.count;
    if (o->against_field && !o->target_field) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--against-field: expected a --target-field beside it, got none");
    }
    if (o->target_field && (o->target.count || o->predicted)) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--target-field: cannot stand beside --%s",
                    o->predicted ? "predicted" : "target");
    }
    int rc = read_field(model, o, o->target_field, "--target-field", count, &r->text_target, err);
    if (!rc) {
        rc =
            read_field(model, o, o->against_field, "--against-field", count, &r->text_against, err);
    }
    r->settings.text_target = r->text_target;
    r->settings.text_against = r->text_against;
    return rc;
}

static int read_request(const otimes_model *model, const options *o, request *r, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_decompose_settings *s = &r->settings;
    otimes_decompose_settings_default(s);
    int rc = read_point(model, o->at, s, err);
    if (!rc) {
        rc = read_targets(model, o, r, err);
    }
    if (!rc) {
        rc = sequences_read(&r->texts, &o->common, info->d_vocab, info->n_ctx, err);
    }
    if (!rc) {
        rc = sequences_view(&r->texts, &s->sequences, err);
    }
    if (!rc) {
        rc = read_fields(model, o, r, err);
    }
    if (!rc) {
        rc = sequences_positions(o->positions, &s->sequences, &r->positions, err);
        s->positions = r->positions.index;
        s->position_count = r->positions.count;
    }
    if (!rc && o->full && !(o->parts & OTIMES_DECOMPOSE_NEURONS)) {
        rc = fail(err, OTIMES_ERR_ARGUMENT, "--full: expected --components neurons or all");
    }
    if (!rc) {
        rc = run_options_forward(&o->common, model, &s->sequences, &s->forward, err);
    }
    s->parts = (otimes_decompose_parts)o->parts;
    s->norms = o->norms;
    s->lens = o->lens;
    s->sources = o->sources;
    s->full = o->full;
    s->top = o->common.top >= 0 ? o->common.top : DEFAULT_TOP;
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    request r = {0};
    int rc = read_request(model, memory, &r, err);
    if (!rc) {
        rc = otimes_decompose(model, &r.settings, sink, err);
    }
    request_free(&r);
    return rc;
}

/* The last position and the predicted token unless others are asked for. */
static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    options o = *(const options *)memory;
    otimes_memory_sink *result = NULL;
    o.positions = o.positions ? o.positions : "last";
    o.predicted = o.predicted || !(o.target.count || o.target_field);
    o.lens = 1;
    int rc = command_result(run, model, &o, &result, err);
    if (!rc) {
        rc = decompose_card(model, result, o.common.top >= 0 ? o.common.top : DEFAULT_TOP, to, err);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_decompose = {
    .name = "decompose",
    .group = "Circuits on texts",
    .summary = "where each logit came from: heads, MLPs, neurons, source tokens",
    .about =
        "The residual stream at the end of the model, or at another point, as the sum of what "
        "wrote it: embedding, positions, heads, MLPs or neurons, biases. For each part its norm, "
        "its cosine with the stream, and what it adds to the logit of a target token or to a "
        "difference of logits (direct logit attribution, with the final norm's scale frozen); for "
        "each point on the way what the logit lens reads there. Without -o and --format it prints "
        "a table to read, of the last position and the predicted token unless others are given.",
    .example = "otimes decompose model/ --text \"John gave a drink to\" --target \" Mary\"",
    .shared = OPTS_TEXT | OPTS_RUN | OPTS_RESUME,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
