/* SPDX-License-Identifier: MIT
 *
 * The arrays of `trigrams`, and the strongest of all heads together.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "analysis/trigrams_job.h"
#include "base/sink.h"
#include "model/labels.h"

/* Columns of one list; the overall list also says where each came from. */
enum { SOURCE, DESTINATION, OUT, SCORE, EFFECT, STRENGTH, COLUMNS };
enum { OVERALL_LAYER, OVERALL_HEAD, OVERALL_OFFSET, PLACES };

/* One of the strongest of all lists, with the ids of its tokens in its places. */
typedef struct entry {
    trigram t;
    int64_t head_at, offset_at;
} entry;

typedef struct output {
    otimes_array array;
    int id;
} output;

struct trigrams_writer {
    const trigrams_job *job;
    otimes_sink *sink;
    otimes_axis head, offset, rank, token, output_token;
    char *names; /* of heads */
    const char **head_labels, **token_labels, **output_labels;
    int64_t *layer_of, *head_of; /* [head_count] */
    output column[COLUMNS], overall[COLUMNS], place[PLACES], which[2], skipped;
    int32_t *index; /* [top] */
    float *value;   /* [top] */
    int64_t *where; /* [top] */
    entry *best;    /* [2 top]; the first `count` are sorted */
    int64_t count;
    otimes_pool pool;
};

static const struct {
    const char *name, *overall, *long_name, *formula, *labels_of;
    otimes_type type;
} columns[COLUMNS] = {
    {"source_id", "overall_source_id", "token attended to", "rank-th by strength", "token",
     OTIMES_I32},
    {"destination_id", "overall_destination_id", "token that attends", "rank-th by strength",
     "token", OTIMES_I32},
    {"out_id", "overall_out_id", "token made likelier behind the destination",
     "rank-th by strength", "output_token", OTIMES_I32},
    {"score", "overall_score", "attention score beyond the mean over sources",
     "q(x_destination) R(offset) (k(x_source) - mean k)^T / attn_scale", NULL, OTIMES_F32},
    {"effect", "overall_effect", "logit beyond the mean over outputs, times the final norm's scale",
     "v(x_source) W_O (W_U[:, out] - mean W_U)", NULL, OTIMES_F32},
    {"strength", "overall_strength", "score times effect, both positive", "score * effect", NULL,
     OTIMES_F32},
};

static const char *const places[PLACES][2] = {
    {"overall_layer", "its layer"},
    {"overall_head", "its query head"},
    {"overall_offset", "its offset, destination - source"},
};

#define ORIENTATION "[source] ... [destination] -> [out]"

static int label_heads(trigrams_writer *w, otimes_err *err)
{
    enum { NAME = 48 };
    const trigrams_job *job = w->job;
    int rc = OTIMES_OK;
    w->names = otimes_pool_new(&w->pool, job->head_count, NAME, &rc, err);
    w->head_labels = otimes_pool_new(&w->pool, job->head_count, sizeof *w->head_labels, &rc, err);
    w->layer_of = otimes_pool_new(&w->pool, job->head_count, sizeof(int64_t), &rc, err);
    w->head_of = otimes_pool_new(&w->pool, job->head_count, sizeof(int64_t), &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->head_count; i++) {
        w->layer_of[i] = job->heads[i].layer;
        w->head_of[i] = job->heads[i].head;
        snprintf(w->names + i * NAME, NAME, "L%lldH%lld", (long long)w->layer_of[i],
                 (long long)w->head_of[i]);
        w->head_labels[i] = w->names + i * NAME;
    }
    return rc;
}

static int make_axes(trigrams_writer *w, otimes_err *err)
{
    const trigrams_job *job = w->job;
    const otimes_model_info *info = job->info;
    int rc = label_heads(w, err);
    if (rc == OTIMES_OK) {
        rc = otimes_token_labels(job->model, false, NULL, info->d_vocab, &w->token_labels, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_token_labels(job->model, true, NULL, info->d_vocab_out, &w->output_labels, err);
    }
    w->head = (otimes_axis){"layer_head", job->head_count, w->head_labels, NULL, "attention head"};
    w->offset = (otimes_axis){"offset", job->offset_count, NULL, job->offsets,
                              "destination position - source position"};
    w->rank = (otimes_axis){"rank", job->top, NULL, NULL, "place, the strongest first"};
    w->token = (otimes_axis){"token", info->d_vocab, w->token_labels, NULL, "input token"};
    w->output_token =
        (otimes_axis){"output_token", info->d_vocab_out, w->output_labels, NULL, "output token"};
    if (rc == OTIMES_OK) {
        rc = otimes_sink_axis(w->sink, &w->token, err);
    }
    return rc == OTIMES_OK ? otimes_sink_axis(w->sink, &w->output_token, err) : rc;
}

static int declare(trigrams_writer *w, output *out, otimes_err *err)
{
    out->array.units = "1";
    out->array.orientation = ORIENTATION;
    return otimes_sink_declare(w->sink, &out->array, &out->id, err);
}

static int declare_lists(trigrams_writer *w, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int c = 0; rc == OTIMES_OK && c < COLUMNS; c++) {
        w->column[c].array = (otimes_array){.name = columns[c].name,
                                            .type = columns[c].type,
                                            .ndim = 3,
                                            .axis = {&w->head, &w->offset, &w->rank},
                                            .long_name = columns[c].long_name,
                                            .formula = columns[c].formula,
                                            .labels_of = columns[c].labels_of};
        w->overall[c].array = w->column[c].array;
        w->overall[c].array.name = columns[c].overall;
        w->overall[c].array.ndim = 1;
        w->overall[c].array.axis[0] = &w->rank;
        rc = declare(w, &w->column[c], err);
        if (rc == OTIMES_OK) {
            rc = declare(w, &w->overall[c], err);
        }
    }
    for (int p = 0; rc == OTIMES_OK && p < PLACES; p++) {
        w->place[p].array = (otimes_array){.name = places[p][0],
                                           .type = OTIMES_I64,
                                           .ndim = 1,
                                           .axis = {&w->rank},
                                           .long_name = places[p][1],
                                           .formula = "rank-th by strength of all lists"};
        rc = declare(w, &w->place[p], err);
    }
    return rc;
}

static int declare_heads(trigrams_writer *w, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < 2; i++) {
        w->which[i].array = (otimes_array){.name = i ? "head" : "layer",
                                           .type = OTIMES_I64,
                                           .ndim = 1,
                                           .axis = {&w->head},
                                           .long_name = i ? "its query head" : "its layer",
                                           .formula = "as chosen"};
        rc = declare(w, &w->which[i], err);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_slab(w->sink, &w->which[i].array, w->which[i].id, 0,
                                  w->job->head_count, i ? w->head_of : w->layer_of, err);
        }
    }
    w->skipped.array = (otimes_array){
        .name = "share_skipped",
        .type = OTIMES_F64,
        .ndim = 2,
        .axis = {&w->head, &w->offset},
        .long_name = "scores and effects that a bound made needless",
        .formula =
            "those of sources whose bound, by Cauchy-Schwarz, is below the weakest of the list"};
    return rc == OTIMES_OK ? declare(w, &w->skipped, err) : rc;
}

static int write_attributes(const trigrams_writer *w, otimes_err *err)
{
    const trigrams_job *job = w->job;
    const otimes_trigrams_settings *s = job->settings;
    const bool normed = job->info->pre_norm && !s->raw_embedding;
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"raw_embedding", s->raw_embedding},
                   {"query_position", s->query_position},
                   {"key_position", s->key_position},
                   {"per_source", s->per_source},
                   {"source_count", job->sources},
                   {"destination_count", job->destinations},
                   {"out_count", job->outs}};
    int rc = otimes_sink_text(w->sink, "reads",
                              normed ? "each token's embedding alone, through the head's own norm"
                                     : "each token's embedding alone, as it is",
                              err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(w->sink, "path",
                              "direct: exact in layer 0, above it the term of embeddings alone",
                              err);
    }
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof numbers / sizeof *numbers; i++) {
        rc = otimes_sink_i64(w->sink, numbers[i].name, numbers[i].value, err);
    }
    return rc;
}

static int new_buffers(trigrams_writer *w, otimes_err *err)
{
    const int64_t top = w->job->top;
    int rc = OTIMES_OK;
    w->index = otimes_pool_new(&w->pool, top, sizeof *w->index, &rc, err);
    w->value = otimes_pool_new(&w->pool, top, sizeof *w->value, &rc, err);
    w->where = otimes_pool_new(&w->pool, top, sizeof *w->where, &rc, err);
    w->best = otimes_pool_new(&w->pool, 2 * top, sizeof *w->best, &rc, err);
    return rc;
}

int otimes_trigrams_writer_new(trigrams_writer **writer, const trigrams_job *job, otimes_sink *sink,
                               otimes_err *err)
{
    int rc = OTIMES_NEW(writer, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    trigrams_writer *w = *writer;
    w->job = job;
    w->sink = sink;
    rc = write_attributes(w, err);
    if (rc == OTIMES_OK) {
        rc = new_buffers(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_axes(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_heads(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_lists(w, err);
    }
    if (rc != OTIMES_OK) {
        otimes_trigrams_writer_free(writer);
    }
    return rc;
}

/* One column of `count` triples, whose tokens are ids by now, into the writer's own row; the rest
 * is undefined. Items are `stride` bytes apart. */
static const void *fill(trigrams_writer *w, int column, const trigram *first, size_t stride,
                        int64_t count)
{
    for (int64_t i = 0; i < w->job->top; i++) {
        const trigram *t =
            (const void *)((const char *)first + (size_t)(i < count ? i : 0) * stride);
        const int32_t id = column == SOURCE        ? t->source
                           : column == DESTINATION ? t->destination
                                                   : t->out;
        const float value = column == SCORE    ? t->score
                            : column == EFFECT ? t->effect
                                               : (float)((double)t->score * (double)t->effect);
        w->index[i] = i < count ? id : -1;
        w->value[i] = i < count ? value : NAN;
    }
    return columns[column].type == OTIMES_I32 ? (const void *)w->index : w->value;
}

static int by_strength(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    const double s = (double)x->t.score * (double)x->t.effect;
    const double t = (double)y->t.score * (double)y->t.effect;
    if (s != t) {
        return s > t ? -1 : 1;
    }
    if (x->head_at != y->head_at) {
        return x->head_at < y->head_at ? -1 : 1;
    }
    if (x->offset_at != y->offset_at) {
        return x->offset_at < y->offset_at ? -1 : 1;
    }
    return otimes_trigram_before(&x->t, &y->t) ? -1 : otimes_trigram_before(&y->t, &x->t);
}

static int32_t id_of(const int64_t *ids, int32_t place)
{
    return ids ? (int32_t)ids[place] : place;
}

/* The list joins the overall one, tokens by their ids. */
static void add_overall(trigrams_writer *w, int64_t head_at, int64_t offset_at)
{
    const trigrams_job *job = w->job;
    const otimes_trigrams_settings *s = job->settings;
    for (int64_t i = 0; i < job->best.count; i++) {
        trigram t = job->best.item[i];
        t.source = id_of(s->sources, t.source);
        t.destination = id_of(s->destinations, t.destination);
        t.out = id_of(s->outs, t.out);
        job->best.item[i] = t;
        w->best[w->count + i] = (entry){t, head_at, offset_at};
    }
    w->count += job->best.count;
    qsort(w->best, (size_t)w->count, sizeof *w->best, by_strength);
    w->count = w->count < job->top ? w->count : job->top;
}

int otimes_trigrams_write(trigrams_writer *w, int64_t head_at, int64_t offset_at, otimes_err *err)
{
    const trigrams_job *job = w->job;
    const int64_t start[OTIMES_MAX_DIMS] = {head_at, offset_at};
    const int64_t count[OTIMES_MAX_DIMS] = {1, 1, job->top};
    add_overall(w, head_at, offset_at);
    int rc = w->sink->ops->write(w->sink, w->skipped.id, start, count, &job->skipped, err);
    for (int c = 0; rc == OTIMES_OK && c < COLUMNS; c++) {
        const void *data = fill(w, c, job->best.item, sizeof *job->best.item, job->best.count);
        rc = w->sink->ops->write(w->sink, w->column[c].id, start, count, data, err);
    }
    return rc;
}

int otimes_trigrams_write_overall(trigrams_writer *w, otimes_err *err)
{
    const trigrams_job *job = w->job;
    int rc = OTIMES_OK;
    for (int c = 0; rc == OTIMES_OK && c < COLUMNS; c++) {
        rc = otimes_sink_slab(w->sink, &w->overall[c].array, w->overall[c].id, 0, job->top,
                              fill(w, c, &w->best[0].t, sizeof *w->best, w->count), err);
    }
    for (int p = 0; rc == OTIMES_OK && p < PLACES; p++) {
        for (int64_t i = 0; i < job->top; i++) {
            const entry *b = &w->best[i];
            w->where[i] = i >= w->count        ? -1
                          : p == OVERALL_LAYER ? w->layer_of[b->head_at]
                          : p == OVERALL_HEAD  ? w->head_of[b->head_at]
                                               : job->offsets[b->offset_at];
        }
        rc = otimes_sink_slab(w->sink, &w->place[p].array, w->place[p].id, 0, job->top, w->where,
                              err);
    }
    return rc;
}

void otimes_trigrams_writer_free(trigrams_writer **writer)
{
    if (writer && *writer) {
        otimes_free((*writer)->token_labels);
        otimes_free((*writer)->output_labels);
        otimes_pool_free(&(*writer)->pool);
        otimes_free(*writer);
        *writer = NULL;
    }
}
