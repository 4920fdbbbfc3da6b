/* SPDX-License-Identifier: MIT */
#include <otimes/logits.h>

#include <math.h>
#include <string.h>

#include "analysis/logits_job.h"
#include "base/sink.h"
#include "model/model.h"
#include "run/forward.h"

enum { BLOCK_ENTRIES = 1 << 24 };

void otimes_logits_settings_default(otimes_logits_settings *settings)
{
    *settings = (otimes_logits_settings){.top = 10, .generate = {.top_p = 1, .stop = -1}};
    otimes_forward_settings_default(&settings->forward);
}

int64_t otimes_logits_places(const logits_job *job, int64_t text)
{
    const otimes_logits_settings *s = job->settings;
    return s->positions ? s->position_count : s->sequences.length[text];
}

int64_t otimes_logits_position(const logits_job *job, int64_t text, int64_t i)
{
    const otimes_logits_settings *s = job->settings;
    const int64_t asked = s->positions ? s->positions[i] : i;
    return asked < 0 ? asked + s->sequences.length[text] : asked;
}

/* Every chosen position must be one of every text. */
static int check_positions(const logits_job *job, otimes_err *err)
{
    const otimes_logits_settings *s = job->settings;
    for (int64_t t = 0; s->positions && t < s->sequences.count; t++) {
        const int64_t length = s->sequences.length[t];
        for (int64_t i = 0; i < s->position_count; i++) {
            if (s->positions[i] < -length || s->positions[i] >= length) {
                return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                                   "positions: text %lld: expected %lld to %lld, got %lld",
                                   (long long)t, (long long)-length, (long long)length - 1,
                                   (long long)s->positions[i]);
            }
        }
    }
    return OTIMES_OK;
}

static int check_settings(const logits_job *job, otimes_err *err)
{
    const otimes_logits_settings *s = job->settings;
    if (s->top < 0 || s->top > INT32_MAX) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "top: expected at least 0, got %lld",
                           (long long)s->top);
    }
    if (s->positions && s->position_count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "positions: expected at least one, got none");
    }
    return OTIMES_OK;
}

/* The most rows and places that a batch comes to. */
static void largest_batch(const logits_job *job, int64_t *rows, int64_t *places)
{
    const otimes_sequences *all = &job->settings->sequences;
    *rows = *places = 0;
    for (int64_t first = 0, count; first < all->count; first += count) {
        int64_t r = 0, p = 0;
        count = otimes_texts_batch(&job->texts, first, job->max_rows);
        for (int64_t t = first; t < first + count; t++) {
            r += all->length[t];
            p += otimes_logits_places(job, t);
        }
        *rows = r > *rows ? r : *rows;
        *places = p > *places ? p : *places;
    }
}

static int new_buffers(logits_job *job, otimes_err *err)
{
    const int64_t d = job->info->d_model, out = job->info->d_vocab_out;
    logits_results *r = &job->results;
    otimes_pool *pool = &job->pool;
    int64_t rows, places;
    int rc = OTIMES_OK;
    largest_batch(job, &rows, &places);
    job->block_rows = BLOCK_ENTRIES / out > 0 ? BLOCK_ENTRIES / out : 1;
    job->block_rows = job->block_rows < places ? job->block_rows : places;
    const int64_t block = job->settings->full ? job->block_rows * out : 0;
    const double own = (double)places * (double)(4 * d + 12 * job->top + 40) + 4 * (double)block;
    rc = otimes_forward_plan_check(job->model, &job->forward, rows, job->texts.longest,
                                   own < 0x1p62 ? (int64_t)own : INT64_MAX / 2, err);
    job->stream = otimes_pool_new(pool, rows * d, sizeof *job->stream, &rc, err);
    job->normal = otimes_pool_new(pool, places * d, sizeof *job->normal, &rc, err);
    job->target = otimes_pool_new(pool, places, sizeof *job->target, &rc, err);
    job->target_logit = otimes_pool_new(pool, places, sizeof *job->target_logit, &rc, err);
    job->block = otimes_pool_new(pool, block, sizeof *job->block, &rc, err);
    r->top_value = otimes_pool_new(pool, places * job->top, sizeof *r->top_value, &rc, err);
    r->top_log_prob = otimes_pool_new(pool, places * job->top, sizeof *r->top_log_prob, &rc, err);
    r->top_id = otimes_pool_new(pool, places * job->top, sizeof *r->top_id, &rc, err);
    r->logsumexp = otimes_pool_new(pool, places, sizeof *r->logsumexp, &rc, err);
    r->entropy = otimes_pool_new(pool, places, sizeof *r->entropy, &rc, err);
    r->next_log_prob = otimes_pool_new(pool, places, sizeof *r->next_log_prob, &rc, err);
    r->next_rank = otimes_pool_new(pool, places, sizeof *r->next_rank, &rc, err);
    return rc;
}

/* A batch is left out where the sink has all of it; otherwise it runs as a whole, so that every row
 * is rounded as in a run that was not interrupted. */
static bool choose_texts(logits_job *job, const logits_writer *writer, int64_t first, int64_t count)
{
    bool done = true;
    for (int64_t t = first; done && t < first + count; t++) {
        done = otimes_logits_done(writer, t);
    }
    job->first_text = first;
    job->batch = otimes_texts_slice(&job->texts, first, count);
    return !done;
}

/* The stream behind the last layer, for all rows of the batch. `done` rows lie behind it. */
static int run_layers(logits_job *job, const otimes_batch *batch, int64_t done, otimes_err *err)
{
    const int64_t layers = job->info->n_layers;
    otimes_pass pass = {0};
    int rc = otimes_pass_init(&pass, &job->layers, batch, NULL, job->max_rows, err);
    if (rc == OTIMES_OK) {
        rc = otimes_pass_embed(&pass, job->stream, err);
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < layers; l++) {
        rc = otimes_pass_layers(&pass, l, l + 1, job->stream, err);
        if (rc == OTIMES_OK) {
            const double part = (double)(l + 1) / (double)(layers + 1);
            rc = otimes_pulse_say(&job->pulse, (double)done + (double)batch->rows * part, err);
        }
    }
    otimes_pass_free(&pass);
    return rc;
}

/* Rows that were asked for, normalised, with what came next in the text. Returns their number. */
static int64_t take_places(logits_job *job, const otimes_batch *batch)
{
    const int64_t d = job->info->d_model;
    int64_t at = 0;
    for (int64_t s = 0; s < job->batch.count; s++) {
        const int64_t text = job->first_text + s, places = otimes_logits_places(job, text);
        for (int64_t i = 0; i < places; i++, at++) {
            const int64_t position = otimes_logits_position(job, text, i);
            memcpy(job->normal + at * d, job->stream + (batch->start[s] + position) * d,
                   (size_t)d * sizeof *job->normal);
            job->target[at] = job->next && position + 1 < job->batch.length[s]
                                  ? job->batch.id[s][position + 1]
                                  : -1;
        }
    }
    otimes_final_norm(job->model, &job->layers.unembed, at, job->normal, job->normal, NULL);
    return at;
}

static int read_out(logits_job *job, int64_t first, int64_t count, otimes_err *err)
{
    const int64_t top = job->top;
    logits_results *r = &job->results;
    const otimes_readout readout = {
        .logsumexp = r->logsumexp + first,
        .entropy = r->entropy + first,
        .target = job->target + first,
        .target_logit = job->target_logit + first,
        .target_rank = r->next_rank + first,
        .top = top,
        .top_value = r->top_value + first * top,
        .top_id = r->top_id + first * top,
        .logits = job->settings->full ? job->block : NULL,
    };
    const int rc = otimes_readout_run(&job->layers, count, job->normal + first * job->info->d_model,
                                      &readout, err);
    for (int64_t i = first; rc == OTIMES_OK && i < first + count; i++) {
        r->next_log_prob[i] = (float)((double)job->target_logit[i] - r->logsumexp[i]);
        for (int64_t k = i * top; k < (i + 1) * top; k++) {
            r->top_log_prob[k] = (float)((double)r->top_value[k] - r->logsumexp[i]);
        }
    }
    return rc;
}

/* Places first .. first+count-1 of the batch lie in the block; each text gets its own. */
static int write_block(const logits_job *job, const logits_writer *writer, int64_t first,
                       int64_t count, otimes_err *err)
{
    const int64_t out = job->info->d_vocab_out, end = first + count;
    int rc = OTIMES_OK;
    for (int64_t s = 0, begin = 0; rc == OTIMES_OK && s < job->batch.count && begin < end; s++) {
        const int64_t next = begin + otimes_logits_places(job, job->first_text + s);
        const int64_t from = begin > first ? begin : first, to = next < end ? next : end;
        if (from < to) {
            rc = otimes_logits_write_block(writer, job->first_text + s, from - begin, to - from,
                                           job->block + (from - first) * out, err);
        }
        begin = next;
    }
    return rc;
}

/* With `full` by blocks of the table, otherwise all places at once. */
static int read_places(logits_job *job, const logits_writer *writer, int64_t places,
                       otimes_err *err)
{
    const int64_t step = job->settings->full ? job->block_rows : places;
    int rc = OTIMES_OK;
    for (int64_t first = 0; rc == OTIMES_OK && first < places; first += step) {
        const int64_t count = places - first < step ? places - first : step;
        rc = read_out(job, first, count, err);
        if (rc == OTIMES_OK && job->settings->full) {
            rc = write_block(job, writer, first, count, err);
        }
    }
    return rc;
}

static int run_batch(logits_job *job, const logits_writer *writer, int64_t done, otimes_err *err)
{
    otimes_batch batch = {0};
    int rc = otimes_batch_init(&batch, job->model, &job->batch, NULL, err);
    if (rc == OTIMES_OK) {
        rc = run_layers(job, &batch, done, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_places(job, writer, take_places(job, &batch), err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_logits_write_batch(writer, err);
    }
    otimes_batch_free(&batch);
    return rc;
}

static int run_all(logits_job *job, const logits_writer *writer, otimes_err *err)
{
    const otimes_sequences *all = &job->settings->sequences;
    int64_t done = 0;
    int rc = OTIMES_OK;
    for (int64_t first = 0, count; rc == OTIMES_OK && first < all->count; first += count) {
        count = otimes_texts_batch(&job->texts, first, job->max_rows);
        if (choose_texts(job, writer, first, count)) {
            rc = run_batch(job, writer, done, err);
        }
        for (int64_t t = first; t < first + count; t++) {
            done += all->length[t];
        }
        if (rc == OTIMES_OK) {
            rc = otimes_pulse_say(&job->pulse, (double)done, err);
        }
    }
    return rc;
}

static int measure(logits_job *job, otimes_err *err)
{
    logits_writer writer = {0};
    int rc = check_positions(job, err);
    if (rc == OTIMES_OK) {
        rc = new_buffers(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_logits_declare(&writer, job, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_all(job, &writer, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(job->sink, err);
    }
    otimes_logits_writer_free(&writer);
    return rc;
}

static int begin(logits_job *job, otimes_err *err)
{
    const otimes_logits_settings *s = job->settings;
    const otimes_sequences *all = &s->sequences;
    job->forward = s->forward;
    job->forward.resident |= s->generate.count > 0; /* every step reads them */
    job->max_rows = s->forward.chunk_rows > 0 ? s->forward.chunk_rows : OTIMES_CHUNK_ROWS;
    job->top = s->top < job->info->d_vocab_out ? s->top : job->info->d_vocab_out;
    job->next = job->info->d_vocab == job->info->d_vocab_out;
    int rc = check_settings(job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_texts_init(&job->texts, job->model, all, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_layers_open(&job->layers, job->model, &job->forward, err);
        job->pulse.sink = job->sink;
        for (int64_t t = 0; t < all->count; t++) {
            const int64_t grown = s->generate.count;
            job->pulse.total += (double)(grown > 0 ? grown : all->length[t]);
        }
        job->layers.pulse = &job->pulse;
    }
    return rc;
}

int otimes_logits(const otimes_model *model, const otimes_logits_settings *settings,
                  otimes_sink *sink, otimes_err *err)
{
    logits_job job = {
        .model = model, .info = otimes_model_describe(model), .settings = settings, .sink = sink};
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = settings->generate.count != 0 ? otimes_logits_generate(&job, err) : measure(&job, err);
    }
    otimes_layers_close(&job.layers);
    otimes_texts_free(&job.texts);
    otimes_pool_free(&job.pool);
    return rc;
}
