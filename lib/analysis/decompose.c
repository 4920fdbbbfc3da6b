/* SPDX-License-Identifier: MIT */
#include <otimes/decompose.h>

#include <inttypes.h>
#include <string.h>

#include "analysis/decompose_job.h"
#include "base/sink.h"
#include "model/model.h"

/* Results that a batch may hold where no limit is given: more than one text stays below it. */
static const int64_t RESULT_BYTES = (int64_t)64 << 20;

void otimes_decompose_settings_default(otimes_decompose_settings *settings)
{
    *settings = (otimes_decompose_settings){
        .layer = -1, .parts = OTIMES_DECOMPOSE_HEADS, .norms = 1, .top = 10};
    otimes_forward_settings_default(&settings->forward);
}

/* What is known of each text before it is run. */
typedef struct plan {
    int64_t *chosen; /* [texts] positions that are decomposed */
    bool *done;      /* [texts] its results are there already */
    int64_t tokens;  /* of all */
} plan;

typedef struct ticker {
    otimes_pulse pulse;
    double done, batch; /* tokens */
} ticker;

static int tick(void *context, double share, otimes_err *err)
{
    ticker *t = context;
    return otimes_pulse_say(&t->pulse, t->done + share * t->batch, err);
}

/* ---- what fits ---- */

static int64_t batch_bytes(decompose_job *job, int64_t rows, int64_t chosen, int64_t longest)
{
    otimes_forward_plan pass;
    otimes_forward_plan_of(job->model, &job->settings->forward, rows, longest, &pass);
    const int64_t own = otimes_decompose_bytes(job, rows, chosen, longest);
    return own > INT64_MAX - pass.total ? INT64_MAX : own + pass.total;
}

/* Before anything runs: each text alone must fit. */
static int check_memory(decompose_job *job, const plan *texts, otimes_err *err)
{
    const otimes_sequences *all = &job->settings->sequences;
    const int64_t limit = job->settings->forward.memory;
    for (int64_t i = 0; limit > 0 && i < all->count; i++) {
        const int64_t length = all->length[i];
        const int64_t need = batch_bytes(job, length, texts->chosen[i], length);
        if (need <= limit) {
            continue;
        }
        int64_t low = 0, high = texts->chosen[i];
        while (high - low > 1) {
            const int64_t middle = low + (high - low) / 2;
            *(batch_bytes(job, length, middle, length) <= limit ? &low : &high) = middle;
        }
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "text %" PRId64 ": memory: expected at most %" PRId64 " bytes, %" PRId64
                           " positions of its %" PRId64 " tokens take %" PRId64 "; %" PRId64
                           " positions would fit",
                           i, limit, texts->chosen[i], length, need, low);
    }
    return OTIMES_OK;
}

/* How many texts from `first` on go together, the same whether some are done or not: a product's
 * last bits depend on what else is in it. */
static int64_t batch_size(decompose_job *job, const plan *texts, int64_t first)
{
    const otimes_sequences *all = &job->settings->sequences;
    const otimes_forward_settings *f = &job->settings->forward;
    const int64_t most = f->chunk_rows > 0 ? f->chunk_rows : OTIMES_CHUNK_ROWS;
    int64_t rows = 0, chosen = 0, longest = 0, n = 0;
    for (; first + n < all->count; n++) {
        const int64_t length = all->length[first + n];
        rows += length;
        chosen += texts->chosen[first + n];
        longest = length > longest ? length : longest;
        const bool fits = f->memory > 0
                              ? batch_bytes(job, rows, chosen, longest) <= f->memory
                              : otimes_decompose_bytes(job, rows, chosen, longest) <= RESULT_BYTES;
        if (n > 0 && (rows > most || !fits)) {
            break;
        }
    }
    return n;
}

/* ---- the run ---- */

static int plan_texts(decompose_job *job, const decompose_writer *writer, plan *texts,
                      otimes_err *err)
{
    const otimes_sequences *all = &job->settings->sequences;
    int rc = OTIMES_OK;
    texts->chosen = otimes_pool_new(&job->pool, all->count, sizeof *texts->chosen, &rc, err);
    texts->done = otimes_pool_new(&job->pool, all->count, sizeof *texts->done, &rc, err);
    bool *marks = otimes_pool_new(&job->pool, job->texts.longest, sizeof *marks, &rc, err);
    for (int64_t t = 0; rc == OTIMES_OK && t < all->count; t++) {
        memset(marks, 0, (size_t)job->texts.longest * sizeof *marks);
        rc = otimes_decompose_choose(job, t, all->length[t], marks, &texts->chosen[t], err);
        if (rc == OTIMES_OK) {
            texts->done[t] = otimes_decompose_is_done(writer, t, marks, all->length[t]);
            texts->tokens += all->length[t];
        }
    }
    return rc;
}

static int check_settings(const decompose_job *job, otimes_err *err)
{
    const otimes_decompose_settings *s = job->settings;
    if (s->top < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "top: expected at least 0, got %" PRId64,
                           s->top);
    }
    if (s->forward.chunk_rows < 0 || s->forward.memory < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: expected at least 0, got %" PRId64,
                           s->forward.memory < 0 ? "memory" : "chunk_rows",
                           s->forward.memory < 0 ? s->forward.memory : s->forward.chunk_rows);
    }
    if (s->positions && s->position_count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "positions: expected at least one, got none");
    }
    return OTIMES_OK;
}

static int begin(decompose_job *job, otimes_err *err)
{
    int64_t all;
    int rc = check_settings(job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_texts_init(&job->texts, job->model, &job->settings->sequences, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_layers_open(&job->layers, job->model, &job->settings->forward, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_decompose_parts_of(job, err);
    }
    if (rc == OTIMES_OK && (!otimes_mul_i64(job->run_layers, job->neuron_count, &all) ||
                            all > INT32_MAX)) { /* unreached: too many to hold */
        rc = otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                         "%s: expected fewer than 2^31 neurons, got %" PRId64 " layers of %" PRId64,
                         job->info->path, job->run_layers, job->neuron_count);
    }
    return rc;
}

static int run_batch(decompose_job *job, const plan *texts, int64_t first, int64_t count,
                     const decompose_writer *writer, ticker *t, otimes_err *err)
{
    decompose_batch batch;
    bool done = true;
    for (int64_t i = 0; i < count; i++) {
        done = done && texts->done[first + i];
        t->batch += (double)job->settings->sequences.length[first + i];
    }
    if (done) {
        return OTIMES_OK;
    }
    int rc = otimes_decompose_batch_init(&batch, job, first, count, err);
    if (rc == OTIMES_OK) {
        rc = otimes_decompose_batch_run(&batch, tick, t, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_decompose_write(writer, &batch, texts->done, err);
    }
    otimes_decompose_batch_free(&batch);
    return rc;
}

static int run_texts(decompose_job *job, const plan *texts, const decompose_writer *writer,
                     otimes_sink *sink, otimes_err *err)
{
    ticker t = {.pulse = {.sink = sink, .total = (double)texts->tokens}};
    const int64_t count = job->settings->sequences.count;
    int rc = OTIMES_OK;
    job->layers.pulse = &t.pulse;
    for (int64_t first = 0, n; rc == OTIMES_OK && first < count; first += n) {
        n = batch_size(job, texts, first);
        t.batch = 0;
        rc = run_batch(job, texts, first, n, writer, &t, err);
        t.done += t.batch;
    }
    if (rc == OTIMES_OK) { /* the last texts may have been there */
        rc = otimes_pulse_say(&t.pulse, t.done, err);
    }
    job->layers.pulse = NULL;
    return rc;
}

int otimes_decompose(const otimes_model *model, const otimes_decompose_settings *settings,
                     otimes_sink *sink, otimes_err *err)
{
    decompose_job job = {
        .model = model, .info = otimes_model_describe(model), .settings = settings};
    decompose_writer *writer = NULL;
    plan texts = {0};
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_texts_write(&job.texts, model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_decompose_declare(&writer, &job, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = plan_texts(&job, writer, &texts, err);
    }
    if (rc == OTIMES_OK) {
        rc = check_memory(&job, &texts, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_texts(&job, &texts, writer, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_decompose_writer_free(&writer);
    otimes_layers_close(&job.layers);
    otimes_texts_free(&job.texts);
    otimes_pool_free(&job.pool);
    return rc;
}
