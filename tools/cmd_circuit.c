/* SPDX-License-Identifier: MIT */
#include <otimes/circuit.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "circuit_card.h"
#include "command.h"
#include "fail.h"
#include "select.h"

/* Relative offsets beyond this are no use to any model and would only cost precision. */
#define MAX_OFFSET (INT64_C(1) << 30)
#define MAX_VALUE 1e38 /* of entries, which are float32 */

enum { CARD_TOP = 10, CARD_HEADS = 12 };

typedef struct options {
    common_options common;
    const char *heads, *which, *threshold, *histogram, *rows, *columns;
    int64_t offset, bottom, largest;
    int full, statistics, sides, way;
} options;

static const opt_word full_types[] = {
    {"float32", OTIMES_CIRCUIT_FULL_F32}, {"float16", OTIMES_CIRCUIT_FULL_F16}, {NULL, 0}};
static const opt_word side_words[] = {{"row", OTIMES_CIRCUIT_ROWS},
                                      {"column", OTIMES_CIRCUIT_COLUMNS},
                                      {"both", OTIMES_CIRCUIT_ROWS | OTIMES_CIRCUIT_COLUMNS},
                                      {NULL, 0}};
static const opt_word way_words[] = {{"auto", OTIMES_CIRCUIT_FASTEST},
                                     {"blocks", OTIMES_CIRCUIT_BLOCKS},
                                     {"screen", OTIMES_CIRCUIT_SCREEN},
                                     {NULL, 0}};

static const opt own[] = {
    {.name = "head",
     .argument = "LIST",
     .help = "heads as LAYER.HEAD, e.g. 5.1,5.2 (default: all; of kcomp all of later layers)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, heads),
     .takes = TAKES_LABELS},
    {.name = "which",
     .argument = "CIRCUIT",
     .help = "ov, qk, or kcomp:LAYER.HEAD, the QK whose keys that earlier head wrote (default: ov)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, which),
     .takes = TAKES_CIRCUIT},
    {.name = "offset",
     .argument = "D",
     .help = "rotary models: QK at query - key = D (default: 0)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, offset),
     .low = -MAX_OFFSET,
     .high = MAX_OFFSET},
    {.name = "top",
     .argument = "K",
     .help = "largest entries kept of each row (default: 10)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, common.top),
     .low = 0,
     .high = INT32_MAX},
    {.name = "bottom",
     .argument = "K",
     .help = "smallest entries kept of each row (default: 10)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, bottom),
     .low = 0,
     .high = INT32_MAX},
    {.name = "side",
     .help = "of which these are kept: rows, columns or both (default: row)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, sides),
     .words = side_words},
    {.name = "threshold",
     .argument = "T",
     .help = "also list every entry of at least T; T below 0: of at most T",
     .kind = OPT_TEXT,
     .offset = offsetof(options, threshold)},
    {.name = "largest",
     .argument = "N",
     .help = "also the N largest and the N smallest entries of each table",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, largest),
     .low = 0,
     .high = INT32_MAX},
    {.name = "statistics",
     .help = "also mean, deviation, logsumexp and ends of each row, and its diagonal entry",
     .kind = OPT_FLAG,
     .offset = offsetof(options, statistics)},
    {.name = "histogram",
     .argument = "LOW:HIGH:BINS",
     .help = "also how many entries of each table lie where",
     .kind = OPT_TEXT,
     .offset = offsetof(options, histogram)},
    {.name = "full",
     .help = "also write the tables themselves (default type: float32)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, full),
     .words = full_types,
     .optional = 1},
    {.name = "rows",
     .argument = "LIST",
     .help = "ids of the tokens that rows are restricted to (default: all)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, rows)},
    {.name = "columns",
     .argument = "LIST",
     .help = "the same of columns",
     .kind = OPT_TEXT,
     .offset = offsetof(options, columns)},
    {.name = "way",
     .help = "how extremes are found; they are the same (default: auto)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, way),
     .words = way_words},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    otimes_circuit_settings settings;
    otimes_circuit_settings_default(&settings);
    o->common.top = settings.top;
    o->bottom = settings.bottom;
    o->sides = settings.sides;
}

/* What the options come to, with the memory that settings point into. */
typedef struct request {
    otimes_circuit_settings settings;
    otimes_circuit_head *heads;
    otimes_index_list rows, columns;
} request;

static void request_free(request *r)
{
    free(r->heads);
    otimes_index_list_free(&r->rows);
    otimes_index_list_free(&r->columns);
}

static int read_which(const char *text, const otimes_model_info *info, otimes_circuit_settings *s,
                      otimes_err *err)
{
    static const char composed[] = "kcomp:";
    select_head *earlier = NULL;
    int64_t count = 0;
    if (!text || !strcmp(text, "ov")) {
        s->which = OTIMES_CIRCUIT_OV;
        return 0;
    }
    if (!strcmp(text, "qk")) {
        s->which = OTIMES_CIRCUIT_QK;
        return 0;
    }
    if (strncmp(text, composed, strlen(composed)) != 0) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--which: expected ov, qk or kcomp:LAYER.HEAD, got '%s'", text);
    }
    int rc = select_heads(text + strlen(composed), "--which", info->n_layers, info->n_heads,
                          &earlier, &count, err);
    if (!rc && count != 1) {
        rc = fail(err, OTIMES_ERR_ARGUMENT, "--which: expected one head behind kcomp:, got '%s'",
                  text);
    }
    if (!rc) {
        s->which = OTIMES_CIRCUIT_K_COMPOSED;
        s->earlier = (otimes_circuit_head){earlier[0].layer, earlier[0].head};
    }
    free(earlier);
    return rc;
}

static int read_heads(const char *text, const otimes_model_info *info, request *r, otimes_err *err)
{
    select_head *chosen = NULL;
    int64_t count = 0;
    if (!text || !strcmp(text, "all")) {
        return 0;
    }
    int rc = select_heads(text, "--head", info->n_layers, info->n_heads, &chosen, &count, err);
    r->heads = rc ? NULL : calloc((size_t)count, sizeof *r->heads);
    if (!rc && !r->heads) {
        rc = fail_memory(err, "--head");
    }
    for (int64_t i = 0; !rc && i < count; i++) {
        r->heads[i] = (otimes_circuit_head){chosen[i].layer, chosen[i].head};
        for (int64_t j = 0; !rc && j < i; j++) {
            if (r->heads[j].layer == r->heads[i].layer && r->heads[j].head == r->heads[i].head) {
                rc = fail(err, OTIMES_ERR_ARGUMENT,
                          "--head: expected each head once, got %lld.%lld again",
                          (long long)r->heads[i].layer, (long long)r->heads[i].head);
            }
        }
    }
    free(chosen);
    r->settings.heads = r->heads;
    r->settings.head_count = rc ? 0 : count;
    return rc;
}

/* "LOW:HIGH:BINS" */
static int read_histogram(const char *text, otimes_circuit_settings *s, otimes_err *err)
{
    const char *colon = text ? strchr(text, ':') : NULL, *last = text ? strrchr(text, ':') : NULL;
    if (!text) {
        return 0;
    }
    if (!colon || colon == last) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--histogram: expected LOW:HIGH:BINS, got '%s'",
                    text);
    }
    char *low = strdup(text);
    if (!low) {
        return fail_memory(err, "--histogram");
    }
    char *high = low + (colon - text) + 1, *bins = low + (last - text) + 1;
    high[-1] = bins[-1] = '\0';
    int rc = parse_real(low, "--histogram", -MAX_VALUE, MAX_VALUE, &s->low, err);
    if (!rc) {
        rc = parse_real(high, "--histogram", -MAX_VALUE, MAX_VALUE, &s->high, err);
    }
    if (!rc) {
        rc = otimes_parse_i64(bins, "--histogram", 1, OTIMES_CIRCUIT_BINS_MAX, &s->bins, err);
    }
    if (!rc && s->low >= s->high) {
        rc = fail(err, OTIMES_ERR_ARGUMENT, "--histogram: expected LOW below HIGH, got '%s'", text);
    }
    free(low);
    return rc;
}

static int read_threshold(const char *text, otimes_circuit_settings *s, otimes_err *err)
{
    int rc = text ? parse_real(text, "--threshold", -MAX_VALUE, MAX_VALUE, &s->threshold, err) : 0;
    if (!rc && text && s->threshold == 0) {
        rc = fail(err, OTIMES_ERR_ARGUMENT, "--threshold: expected a number other than 0");
    }
    return rc;
}

static int read_request(const otimes_model_info *info, const options *o, request *r,
                        otimes_err *err)
{
    otimes_circuit_settings *s = &r->settings;
    otimes_circuit_settings_default(s);
    int rc = read_which(o->which, info, s, err);
    const int64_t outs = s->which == OTIMES_CIRCUIT_OV ? info->d_vocab_out : info->d_vocab;
    if (!rc) {
        rc = read_heads(o->heads, info, r, err);
    }
    if (!rc) {
        rc = read_threshold(o->threshold, s, err);
    }
    if (!rc) {
        rc = read_histogram(o->histogram, s, err);
    }
    if (!rc) {
        rc = select_indices(o->rows, "--rows", info->d_vocab, &r->rows, err);
    }
    if (!rc) {
        rc = select_indices(o->columns, "--columns", outs, &r->columns, err);
    }
    s->offset = o->offset;
    s->top = o->common.top;
    s->bottom = o->bottom;
    s->sides = o->sides;
    s->largest = o->largest;
    s->statistics = o->statistics;
    s->full = (otimes_circuit_full)o->full;
    s->way = (otimes_circuit_way)o->way;
    s->rows = r->rows.index;
    s->row_count = r->rows.count;
    s->columns = r->columns.index;
    s->column_count = r->columns.count;
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    request r = {.heads = NULL};
    int rc = read_request(otimes_model_describe(model), memory, &r, err);
    if (!rc) {
        rc = otimes_circuit(model, &r.settings, sink, err);
    }
    request_free(&r);
    return rc;
}

/* To read: the ends of each table, and of rows and columns that were chosen. */
static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    options o = *(const options *)memory;
    otimes_memory_sink *result = NULL;
    if (o.full || o.statistics || o.histogram) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--%s: expected -o or --format, there is no table of it to read",
                    o.full         ? "full"
                    : o.statistics ? "statistics"
                                   : "histogram");
    }
    o.largest = o.largest > 0 ? o.largest : CARD_TOP;
    o.sides = (o.rows ? OTIMES_CIRCUIT_ROWS : 0) | (o.columns ? OTIMES_CIRCUIT_COLUMNS : 0);
    if (!o.sides) {
        o.sides = OTIMES_CIRCUIT_ROWS;
        o.common.top = o.bottom = 0;
    }
    int rc = command_result(run, model, &o, &result, err);
    if (!rc) {
        rc = circuit_card(model, result, o.heads ? INT64_MAX : CARD_HEADS, to, err);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_circuit = {
    .name = "circuit",
    .group = "Circuits from weights",
    .summary = "full circuits over the vocabulary: OV, QK and K-composed tables of heads",
    .about =
        "For each head the whole table of vocabulary by vocabulary: ov, W_E W_V W_O W_U, what "
        "attending to a token does to the logits; qk, W_E W_Q W_K^T W_E^T / attn_scale, what a "
        "token attends to; kcomp, the same with keys that an earlier head wrote. Of every row (or "
        "column) the largest and smallest entries, exactly; statistics, histograms, entries beyond "
        "a threshold, the table itself. It is computed in tiles and never held. Without -o and "
        "--format it prints the strongest entries.",
    .example = "otimes circuit model/ --head 5.1 --which ov -o circuit.h5 --top 20",
    .shared = OPTS_RESUME,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
    .card = card,
};
