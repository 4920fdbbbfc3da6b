/* SPDX-License-Identifier: MIT
 *
 * The arrays of `patterns` over texts.
 */
#include "analysis/patterns_job.h"
#include "base/sink.h"

static const struct {
    const char *name, *long_name, *units, *formula;
} scores[PATTERNS_SLOTS] = {
    [SLOT_PREVIOUS] = {"previous_token", "attention to the token before", "1",
                       "mean over q >= 1 of A[q, q-1]"},
    [SLOT_CURRENT] = {"current_token", "attention to the token itself", "1",
                      "mean over q of A[q, q]"},
    [SLOT_FIRST] = {"first_token", "attention to the first token, the share of BOS if it is one",
                    "1", "mean over q >= 1 of A[q, 0]"},
    [SLOT_DUPLICATE] = {"duplicate_token", "attention to earlier places of the same token", "1",
                        "mean over q with some k < q, t[k] = t[q], of the sum of these A[q, k]"},
    [SLOT_INDUCTION] =
        {"induction", "attention to what came behind earlier places of the token", "1",
         "mean over q with some k < q-1, t[k] = t[q], of the sum of these A[q, k+1]"},
    [SLOT_ENTROPY] = {"entropy", "entropy of a row of the pattern", "nat",
                      "mean over q of -sum_k A[q, k] ln A[q, k]"},
    [SLOT_ENTROPY_SHARE] = {"entropy_share", "entropy against that of even attention", "1",
                            "mean over q that see m >= 2 keys of entropy / ln m"},
    [SLOT_SINK] = {"sink", "attention that goes to the sink, to no key", "1",
                   "mean over q of 1 - sum_k A[q, k]"},
    [SLOT_NEXT] = {"next_token", "attention to the token behind", "1", "mean over q of A[q, q+1]"},
    [SLOT_PATTERN] = {"pattern_score", "attention to the entries of the given pattern", "1",
                      "sum of weight A[query, key] / number of different queries"},
    [SLOT_PATTERN_SHARE] = {"pattern_share", "share of all attention that goes to the pattern", "1",
                            "sum of weight A[query, key] / sum of A"},
};

/* Whether this request has the score at all. */
static bool has_score(const patterns_job *job, int slot)
{
    switch (slot) {
    case SLOT_SINK:
        return job->info->attention_sinks;
    case SLOT_NEXT:
        return job->info->bidirectional;
    case SLOT_PATTERN:
    case SLOT_PATTERN_SHARE:
        return job->pattern_start != NULL;
    default:
        return true;
    }
}

static int make_axes(patterns_writer *w, otimes_err *err)
{
    patterns_job *job = w->job;
    const int64_t longest = w->texts->longest;
    int64_t count = 0;
    int rc = OTIMES_OK;
    w->all_positions = otimes_pool_new(&job->pool, longest, sizeof *w->all_positions, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < longest; i++) {
        w->all_positions[i] = i;
    }
    for (int slot = 0; slot < PATTERNS_SLOTS; slot++) {
        if (has_score(job, slot)) {
            w->score_name[count++] = scores[slot].name;
        }
    }
    w->layer = (otimes_axis){"layer", job->layer_count, NULL, job->layer, "layer"};
    w->head = (otimes_axis){"head", job->head_count, NULL, job->head, "query head"};
    w->query = (otimes_axis){
        "query_position", w->kind->position ? w->kind->position_count : longest, NULL,
        w->kind->position ? w->kind->position : w->all_positions, "position that attends"};
    w->key = (otimes_axis){"key_position", longest, NULL, NULL, "position that is attended to"};
    w->rank = (otimes_axis){"rank", w->kind->top, NULL, NULL, "place, the strongest first"};
    w->offset = (otimes_axis){"offset", job->settings->offset_count, NULL, job->settings->offsets,
                              "query position - key position"};
    w->score = (otimes_axis){"score", count, w->score_name, NULL, "scores by their names"};
    return rc;
}

/* An array of each text and head, with up to two axes behind them. */
static otimes_array of_texts(const patterns_writer *w, const char *name, otimes_type type,
                             const otimes_axis *axis, const otimes_axis *another)
{
    return (otimes_array){.name = name,
                          .type = type,
                          .ndim = 3 + (axis != NULL) + (another != NULL),
                          .axis = {&w->texts->text, &w->layer, &w->head, axis, another},
                          .units = "1"};
}

static int declare_scores(patterns_writer *w, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int slot = 0; rc == OTIMES_OK && slot < PATTERNS_SLOTS; slot++) {
        if (!has_score(w->job, slot)) {
            continue;
        }
        otimes_array *array = &w->array[slot];
        *array = of_texts(w, scores[slot].name, OTIMES_F64, NULL, NULL);
        array->long_name = scores[slot].long_name;
        array->units = scores[slot].units;
        array->formula = scores[slot].formula;
        array->orientation = "one entry a text and head; q = query, k = key";
        rc = otimes_sink_declare(w->job->sink, array, &w->id[slot], err);
    }
    return rc;
}

static int declare_offsets(patterns_writer *w, otimes_err *err)
{
    if (w->offset.length == 0) {
        return OTIMES_OK;
    }
    w->offset_score = of_texts(w, "offset_score", OTIMES_F64, &w->offset, NULL);
    w->offset_score.long_name = "attention along a diagonal";
    w->offset_score.formula = "mean over q with 0 <= q - offset < n of A[q, q - offset]";
    w->offset_score.orientation = "one entry a text, head and offset";
    return otimes_sink_declare(w->job->sink, &w->offset_score, &w->offset_id, err);
}

static int declare_top(patterns_writer *w, otimes_err *err)
{
    if (w->rank.length == 0) {
        return OTIMES_OK;
    }
    w->top_key = of_texts(w, "top_key", OTIMES_I32, &w->query, &w->rank);
    w->top_key.long_name = "keys that a query attends to most";
    w->top_key.formula = "arg top_k A[q, k]; ties by lower key";
    w->top_key.orientation = "positions in the text, the strongest first";
    w->top_key.labels_of = "key_position";
    w->top_weight = of_texts(w, "top_weight", OTIMES_F32, &w->query, &w->rank);
    w->top_weight.long_name = "attention to them";
    w->top_weight.formula = "A[q, top_key]";
    w->top_weight.orientation = w->top_key.orientation;
    int rc = otimes_sink_axis(w->job->sink, &w->key, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_declare(w->job->sink, &w->top_key, &w->top_key_id, err);
    }
    return rc != OTIMES_OK
               ? rc
               : otimes_sink_declare(w->job->sink, &w->top_weight, &w->top_weight_id, err);
}

static int declare_patterns(patterns_writer *w, otimes_err *err)
{
    if (!w->kind->full) {
        return OTIMES_OK;
    }
    w->pattern = of_texts(w, "pattern", OTIMES_F32, &w->query, &w->key);
    w->pattern.long_name = "attention pattern";
    w->pattern.formula = "softmax over k of scores[q, k]";
    w->pattern.orientation = "row = query (destination), column = key (source)";
    return otimes_sink_declare(w->job->sink, &w->pattern, &w->pattern_id, err);
}

int otimes_patterns_declare(patterns_writer *w, otimes_err *err)
{
    int rc = make_axes(w, err);
    if (rc == OTIMES_OK) {
        rc = declare_scores(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_offsets(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_top(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_patterns(w, err);
    }
    w->query_count = (otimes_array){.name = "query_count",
                                    .type = OTIMES_I64,
                                    .ndim = 2,
                                    .axis = {&w->texts->text, &w->score},
                                    .long_name = "queries that a score is the mean over",
                                    .units = "1",
                                    .formula = "see the score",
                                    .orientation = "row = text, column = score"};
    return rc != OTIMES_OK
               ? rc
               : otimes_sink_declare(w->job->sink, &w->query_count, &w->query_count_id, err);
}

bool otimes_patterns_is_done(const patterns_writer *w, int64_t text)
{
    const int64_t start[] = {text, 0}, count[] = {1, w->score.length};
    return otimes_sink_has(w->job->sink, w->query_count_id, start, count);
}

/* A block of one text: `start` and `count` of the axes behind it. */
static int write_block(const patterns_writer *w, int id, int64_t text, const int64_t start[4],
                       const int64_t count[4], const void *data, otimes_err *err)
{
    const int64_t from[OTIMES_MAX_DIMS] = {text, start[0], start[1], start[2], start[3]};
    const int64_t extent[OTIMES_MAX_DIMS] = {1, count[0], count[1], count[2], count[3]};
    return w->job->sink->ops->write(w->job->sink, id, from, extent, data, err);
}

int otimes_patterns_write_layer(const patterns_batch *batch, int64_t layer_slot, int64_t s,
                                otimes_err *err)
{
    const patterns_writer *w = batch->writer;
    const patterns_sequence *sequence = &batch->sequence[s];
    const int64_t heads = batch->job->head_count, top = batch->kind->top;
    const int64_t start[4] = {layer_slot, 0, 0, 0};
    int rc = OTIMES_OK;
    if (sequence->queries == 0) {
        return rc;
    }
    if (top > 0) {
        const int64_t count[4] = {1, heads, sequence->queries, top};
        const int64_t at = sequence->row * heads * top;
        rc = write_block(w, w->top_key_id, sequence->text, start, count, batch->top_key + at, err);
        if (rc == OTIMES_OK) {
            rc = write_block(w, w->top_weight_id, sequence->text, start, count,
                             batch->top_weight + at, err);
        }
    }
    if (rc == OTIMES_OK && batch->kind->full) {
        const int64_t count[4] = {1, heads, sequence->queries, sequence->length};
        rc = write_block(w, w->pattern_id, sequence->text, start, count, sequence->pattern, err);
    }
    return rc;
}

/* Offsets lie slot by slot and are written as the last axis. */
static void gather_offsets(const patterns_job *job, const double *slots, double *to)
{
    const int64_t heads = job->layer_count * job->head_count;
    const int64_t offsets = job->settings->offset_count;
    for (int64_t i = 0; i < offsets; i++) {
        for (int64_t h = 0; h < heads; h++) {
            to[h * offsets + i] = slots[(PATTERNS_SLOTS + i) * heads + h];
        }
    }
}

int otimes_patterns_write_scores(const patterns_batch *batch, int64_t s, otimes_err *err)
{
    const patterns_writer *w = batch->writer;
    const patterns_job *job = w->job;
    const int64_t heads = job->layer_count * job->head_count, text = batch->sequence[s].text;
    const int64_t start[4] = {0, 0, 0, 0};
    const int64_t count[4] = {job->layer_count, job->head_count, job->settings->offset_count, 0};
    const double *score = batch->score + s * job->slots * heads;
    const double *weight = batch->weight + s * job->slots * heads;
    int64_t counts[PATTERNS_SLOTS], written = 0;
    int rc = OTIMES_OK;
    for (int slot = 0; rc == OTIMES_OK && slot < PATTERNS_SLOTS; slot++) {
        if (has_score(job, slot)) {
            rc = write_block(w, w->id[slot], text, start, count, score + slot * heads, err);
            const int counted = slot == SLOT_PATTERN_SHARE ? SLOT_SINK : slot;
            counts[written++] = (int64_t)weight[counted * heads];
        }
    }
    if (rc == OTIMES_OK && w->offset.length > 0) {
        gather_offsets(job, score, batch->offset_score);
        rc = write_block(w, w->offset_id, text, start, count, batch->offset_score, err);
    }
    return rc == OTIMES_OK ? otimes_sink_slab(job->sink, &w->query_count, w->query_count_id, text,
                                              1, counts, err)
                           : rc;
}
