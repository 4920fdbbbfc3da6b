/* SPDX-License-Identifier: MIT */
#include <otimes/trigrams.h>

#include "analysis/trigrams_job.h"
#include "base/index.h"
#include "base/sink.h"
#include "run/rope.h"

void otimes_trigrams_settings_default(otimes_trigrams_settings *settings)
{
    *settings = (otimes_trigrams_settings){.top = 10, .query_position = -1, .key_position = -1};
}

static int check_heads(const trigrams_job *job, otimes_err *err)
{
    const otimes_trigrams_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    if (s->heads && s->head_count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "heads: expected at least one, got none");
    }
    for (int64_t i = 0; s->heads && i < s->head_count; i++) {
        const otimes_trigrams_head *h = &s->heads[i];
        if (h->layer < 0 || h->layer >= info->n_layers || h->head < 0 || h->head >= info->n_heads) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "heads: expected 0.0 to %lld.%lld, got %lld.%lld",
                               (long long)info->n_layers - 1, (long long)info->n_heads - 1,
                               (long long)h->layer, (long long)h->head);
        }
    }
    return OTIMES_OK;
}

static int check_tokens(const char *what, const int64_t *ids, int64_t count, int64_t limit,
                        otimes_err *err)
{
    if (ids && count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: expected at least one, got none", what);
    }
    return otimes_index_check(what, ids, count, limit, err);
}

static int check_offsets(const trigrams_job *job, otimes_err *err)
{
    const otimes_trigrams_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    if (s->offset_count < 0 || (s->offsets && s->offset_count < 1)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "offsets: expected a list of them");
    }
    if (s->offsets && info->positions != OTIMES_POSITIONS_ROPE) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: offsets: expected rotary positions, got %s%s", info->path,
                           otimes_positions_name(info->positions),
                           info->positions == OTIMES_POSITIONS_ALIBI
                               ? ", which adds the same to every source at an offset"
                               : "");
    }
    for (int64_t i = 0; s->offsets && i < s->offset_count; i++) {
        if (s->offsets[i] < 0 && !info->bidirectional) {
            return otimes_fail(
                err, OTIMES_ERR_ARGUMENT,
                "offsets: expected destination - source of at least 0, got %lld: no head sees "
                "what comes after",
                (long long)s->offsets[i]);
        }
    }
    return OTIMES_OK;
}

static int check_positions(const trigrams_job *job, otimes_err *err)
{
    const int64_t query = job->settings->query_position, key = job->settings->key_position;
    const otimes_model_info *info = job->info;
    if (query == -1 && key == -1) {
        return OTIMES_OK;
    }
    if (!otimes_has_positions(job->model)) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: positions: expected learned positions, got %s", info->path,
                           otimes_positions_name(info->positions));
    }
    if (query < 0 || query >= info->n_ctx || key < 0 || key >= info->n_ctx) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "positions: expected query and key from 0 to %lld, got %lld and %lld",
                           (long long)info->n_ctx - 1, (long long)query, (long long)key);
    }
    if (key > query && !info->bidirectional) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "positions: expected a key not behind the query, got %lld and %lld",
                           (long long)query, (long long)key);
    }
    return OTIMES_OK;
}

static int check_settings(const trigrams_job *job, otimes_err *err)
{
    const otimes_trigrams_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    if (s->top < 1 || s->top > OTIMES_TRIGRAMS_TOP_MAX || s->per_source < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "top, per_source: expected 1 to %d and at least 0, got %lld and %lld",
                           OTIMES_TRIGRAMS_TOP_MAX, (long long)s->top, (long long)s->per_source);
    }
    int rc = check_heads(job, err);
    if (rc == OTIMES_OK) {
        rc = check_tokens("sources", s->sources, s->source_count, info->d_vocab, err);
    }
    if (rc == OTIMES_OK) {
        rc =
            check_tokens("destinations", s->destinations, s->destination_count, info->d_vocab, err);
    }
    if (rc == OTIMES_OK) {
        rc = check_tokens("outs", s->outs, s->out_count, info->d_vocab_out, err);
    }
    if (rc == OTIMES_OK) {
        rc = check_offsets(job, err);
    }
    return rc == OTIMES_OK ? check_positions(job, err) : rc;
}

/* Every head, layer by layer, where no choice was made. */
static int choose_heads(trigrams_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    int rc = OTIMES_OK;
    job->heads = job->settings->heads;
    job->head_count = job->settings->head_count;
    if (!job->heads) {
        job->head_count = info->n_layers * info->n_heads;
        otimes_trigrams_head *all =
            otimes_pool_new(&job->pool, job->head_count, sizeof *all, &rc, err);
        for (int64_t i = 0; rc == OTIMES_OK && i < job->head_count; i++) {
            all[i] = (otimes_trigrams_head){i / info->n_heads, i % info->n_heads};
        }
        job->heads = all;
    }
    return rc;
}

static int new_rows(trigrams_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    trigram_rows *r = &job->rows;
    int64_t in, out;
    if (!otimes_mul_i64(info->d_vocab, info->d_head, &in) ||
        !otimes_mul_i64(info->d_vocab_out, info->d_head, &out)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "%s: a head over the vocabulary: too large",
                           info->path);
    }
    int rc = OTIMES_OK;
    r->queries = otimes_pool_new(&job->pool, in, sizeof(float), &rc, err);
    r->keys = otimes_pool_new(&job->pool, in, sizeof(float), &rc, err);
    r->values = otimes_pool_new(&job->pool, in, sizeof(float), &rc, err);
    r->outs = otimes_pool_new(&job->pool, out, sizeof(float), &rc, err);
    r->frequency = otimes_pool_new(&job->pool, info->d_head, sizeof(double), &rc, err);
    job->best.capacity = job->top;
    job->best.item = otimes_pool_new(&job->pool, job->top, sizeof *job->best.item, &rc, err);
    return rc;
}

static int read_position(trigrams_job *job, int64_t position, float **row, otimes_err *err)
{
    int rc = OTIMES_OK;
    if (position >= 0) {
        *row = otimes_pool_new(&job->pool, job->info->d_model, sizeof(float), &rc, err);
        if (rc == OTIMES_OK) {
            rc = otimes_position_rows(job->model, position, 1, *row, err);
        }
    }
    return rc;
}

static int read_embedding(trigrams_job *job, otimes_err *err)
{
    const otimes_trigrams_settings *s = job->settings;
    const int64_t d = job->info->d_model;
    int rc = otimes_unembed_open(job->model, &job->unembed, err);
    if (rc == OTIMES_OK && job->info->embed_norm && !s->raw_embedding) {
        job->embed_norm = otimes_pool_new(&job->pool, 2 * d, sizeof(float), &rc, err);
        if (rc == OTIMES_OK) {
            rc = otimes_embed_norm(job->model, job->embed_norm, job->embed_norm + d, err);
        }
    }
    if (rc == OTIMES_OK) {
        rc = read_position(job, s->query_position, &job->query_position, err);
    }
    return rc == OTIMES_OK ? read_position(job, s->key_position, &job->key_position, err) : rc;
}

static int begin(trigrams_job *job, otimes_err *err)
{
    static const int64_t none[] = {0};
    const otimes_trigrams_settings *s = job->settings;
    int rc = check_settings(job, err);
    job->top = s->top;
    job->offsets = s->offsets ? s->offsets : none;
    job->offset_count = s->offsets ? s->offset_count : 1;
    job->sources = s->sources ? s->source_count : job->info->d_vocab;
    job->destinations = s->destinations ? s->destination_count : job->info->d_vocab;
    job->outs = s->outs ? s->out_count : job->info->d_vocab_out;
    if (rc == OTIMES_OK) {
        rc = choose_heads(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = new_rows(job, err);
    }
    return rc == OTIMES_OK ? read_embedding(job, err) : rc;
}

/* Layers are rotated where offsets were asked for; 0 by default turns nothing. */
static int layer_rope(trigrams_job *job, int64_t layer, otimes_err *err)
{
    job->rows.rope = NULL;
    if (!job->settings->offsets) {
        return OTIMES_OK;
    }
    job->rows.rope = otimes_layer_rope(job->model, layer);
    return job->rows.rope
               ? otimes_rope_frequencies(job->model, job->rows.rope, job->rows.frequency, err)
               : OTIMES_OK;
}

static int run_head(trigrams_job *job, const otimes_layer *layer, int64_t at,
                    trigrams_writer *writer, otimes_sink *sink, otimes_err *err)
{
    int rc = otimes_trigrams_rows(job, layer, job->heads[at].head, err);
    for (int64_t o = 0; rc == OTIMES_OK && o < job->offset_count; o++) {
        const trigrams_ticker ticker = {sink, (double)(at * job->offset_count + o),
                                        (double)(job->head_count * job->offset_count)};
        rc = otimes_trigrams_search(job, job->offsets[o], &ticker, err);
        if (rc == OTIMES_OK) {
            rc = otimes_trigrams_write(writer, at, o, err);
        }
    }
    return rc;
}

static int run_heads(trigrams_job *job, trigrams_writer *writer, otimes_sink *sink, otimes_err *err)
{
    otimes_layer layer = {.layer = -1};
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < job->head_count; at++) {
        const int64_t wanted = job->heads[at].layer;
        if (wanted != layer.layer || !layer.memory) {
            otimes_layer_free(&layer);
            rc = otimes_layer_load(job->model, wanted, OTIMES_PART_ATTENTION, &layer, err);
        }
        if (rc == OTIMES_OK) {
            rc = layer_rope(job, wanted, err);
        }
        if (rc == OTIMES_OK) {
            rc = run_head(job, &layer, at, writer, sink, err);
        }
    }
    otimes_layer_free(&layer);
    return rc;
}

int otimes_trigrams(const otimes_model *model, const otimes_trigrams_settings *settings,
                    otimes_sink *sink, otimes_err *err)
{
    otimes_trigrams_settings defaults;
    otimes_trigrams_settings_default(&defaults);
    trigrams_job job = {.model = model,
                        .info = otimes_model_describe(model),
                        .settings = settings ? settings : &defaults};
    trigrams_writer *writer = NULL;
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_trigrams_writer_new(&writer, &job, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_heads(&job, writer, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_trigrams_write_overall(writer, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_trigrams_writer_free(&writer);
    otimes_unembed_free(&job.unembed);
    otimes_pool_free(&job.pool);
    return rc;
}
