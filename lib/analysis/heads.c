/* SPDX-License-Identifier: MIT */
#include <otimes/heads.h>

#include <math.h>

#include "analysis/heads_job.h"
#include "base/index.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/sink.h"

void otimes_heads_settings_default(otimes_heads_settings *settings)
{
    *settings = (otimes_heads_settings){.vocab = 1, .components = 1};
}

static int check_settings(const heads_job *job, otimes_err *err)
{
    const otimes_heads_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    const int64_t vocab = info->d_vocab < info->d_vocab_out ? info->d_vocab : info->d_vocab_out;
    int rc = otimes_index_check("layers", s->layers, s->layer_count, info->n_layers, err);
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("heads", s->heads, s->head_count, info->n_heads, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("tokens", s->tokens, s->token_count, vocab, err);
    }
    if (rc == OTIMES_OK && (s->offset_count < 0 || (s->offset_count > 0 && !s->offsets))) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "offsets: expected a list of them");
    }
    if (rc == OTIMES_OK && (s->top < 0 || s->components < 0)) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT,
                         "top, components: expected at least 0, got %lld, %lld", (long long)s->top,
                         (long long)s->components);
    }
    if (rc == OTIMES_OK && s->matrices & OTIMES_HEADS_POSITIONS &&
        !otimes_has_positions(job->model)) {
        rc = otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                         "%s: matrices over positions: expected learned positions, got %s",
                         info->path, otimes_positions_name(info->positions));
    }
    return rc;
}

static int new_buffers(heads_job *job, otimes_err *err)
{
    const int64_t heads = job->head_count, each = heads * job->width;
    const int64_t offsets = job->settings->offset_count;
    const size_t size = sizeof(double);
    int rc = OTIMES_OK;
    for (int c = 0; c < HEADS_CIRCUITS; c++) {
        heads_quantities *q = &job->circuit[c];
        if (!otimes_heads_has(job, (heads_circuit)c)) {
            continue;
        }
        q->norm = otimes_pool_new(&job->pool, heads, size, &rc, err);
        q->effective_rank = otimes_pool_new(&job->pool, heads, size, &rc, err);
        q->singular_values = otimes_pool_new(&job->pool, each, size, &rc, err);
        q->trace = otimes_pool_new(&job->pool, heads, size, &rc, err);
        q->positivity = otimes_pool_new(&job->pool, heads, size, &rc, err);
        q->eigenvalues_real = otimes_pool_new(&job->pool, each, size, &rc, err);
        q->eigenvalues_imag = otimes_pool_new(&job->pool, each, size, &rc, err);
    }
    if (offsets > 0) {
        job->offset_norm = otimes_pool_new(&job->pool, heads * offsets, size, &rc, err);
        job->offset_trace = otimes_pool_new(&job->pool, heads * offsets, size, &rc, err);
        job->offset_singular_values = otimes_pool_new(&job->pool, each * offsets, size, &rc, err);
        job->frequency = otimes_pool_new(&job->pool, job->info->d_head, size, &rc, err);
    }
    if (job->settings->biases) {
        job->bias_norm = otimes_pool_new(&job->pool, heads, size, &rc, err);
        job->bias_singular_values = otimes_pool_new(&job->pool, each, size, &rc, err);
    }
    for (int b = 0; job->positions && b < HEADS_BLOCKS; b++) {
        job->block[b] = otimes_pool_new(&job->pool, heads, size, &rc, err);
    }
    for (int i = 0; job->components > 0 && i < HEADS_DIRECTIONS; i++) {
        job->direction[i] = otimes_pool_new(
            &job->pool, job->layer_count * heads * job->components * job->info->d_model,
            sizeof(float), &rc, err);
    }
    return rc;
}

static int begin(heads_job *job, otimes_err *err)
{
    const otimes_heads_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    const int64_t rank = info->d_head < info->d_model ? info->d_head : info->d_model;
    int rc = check_settings(job, err);
    job->layer_count = s->layers ? s->layer_count : info->n_layers;
    job->head_count = s->heads ? s->head_count : info->n_heads;
    job->layers = otimes_index_chosen(&job->pool, s->layers, job->layer_count, &rc, err);
    job->heads = otimes_index_chosen(&job->pool, s->heads, job->head_count, &rc, err);
    job->width = info->d_head;
    job->components = s->top > 0 ? (s->components < rank ? s->components : rank) : 0;
    job->positions = s->vocab && otimes_has_positions(job->model);
    if (rc == OTIMES_OK) {
        rc = new_buffers(job, err);
    }
    if (rc == OTIMES_OK && s->offset_count > 0) {
        rc = otimes_rope_frequencies(job->model, &job->model->rope, job->frequency, err);
    }
    return rc;
}

/* The passes over the vocabulary count as so many layers in the progress. */
enum { VOCAB_SHARE = 2 };

typedef struct ticker {
    otimes_sink *sink;
    double total;
} ticker;

static int tick(void *context, double share, otimes_err *err)
{
    const ticker *t = context;
    return otimes_sink_progress(t->sink, share * VOCAB_SHARE, t->total, err);
}

static int read_vocabulary(heads_job *job, otimes_sink *sink, otimes_err *err)
{
    ticker t = {sink, (double)job->layer_count + VOCAB_SHARE};
    int rc = OTIMES_OK;
    if (job->settings->vocab || job->components > 0) {
        rc = otimes_unembed_open(job->model, &job->unembed, err);
    }
    if (rc == OTIMES_OK && job->settings->vocab) {
        rc = otimes_vocab_forms_compute(job->model, &job->unembed, tick, &t, &job->forms, err);
    }
    return rc;
}

typedef struct group_work {
    heads_job *job;
    const otimes_layer *layer;
    int64_t layer_at;
    int64_t
        parts; /* a group is cut into, so that few key/value heads still keep all threads busy */
} group_work;

static int run_group(void *context, int64_t item, int worker, otimes_err *err)
{
    const group_work *work = context;
    (void)worker;
    return otimes_heads_group(work->job, work->layer, work->layer_at, item / work->parts,
                              item % work->parts, work->parts, err);
}

static int run_layers(heads_job *job, heads_writer *writer, otimes_sink *sink, otimes_err *err)
{
    const int64_t kv_heads = job->info->n_kv_heads;
    const int64_t workers = otimes_par_workers(job->info->n_heads, job->model->threads);
    const int64_t parts = (workers + kv_heads - 1) / kv_heads;
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < job->layer_count; at++) {
        otimes_layer layer;
        rc = otimes_layer_load(job->model, job->layers[at], OTIMES_PART_ATTENTION, &layer, err);
        job->rope = otimes_layer_rope(job->model, job->layers[at]);
        if (rc == OTIMES_OK && job->rope && job->settings->offset_count > 0) {
            rc = otimes_rope_frequencies(job->model, job->rope, job->frequency, err);
        }
        group_work work = {job, &layer, at, parts};
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(kv_heads * parts, job->model->threads, run_group, &work, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_heads_write_layer(writer, &layer, at, err);
        }
        otimes_layer_free(&layer);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(sink, (double)at + 1 + VOCAB_SHARE,
                                      (double)job->layer_count + VOCAB_SHARE, err);
        }
    }
    return rc;
}

int otimes_heads(const otimes_model *model, const otimes_heads_settings *settings,
                 otimes_sink *sink, otimes_err *err)
{
    otimes_heads_settings defaults;
    otimes_heads_settings_default(&defaults);
    heads_job job = {.model = model,
                     .info = otimes_model_describe(model),
                     .settings = settings ? settings : &defaults};
    heads_writer *writer = NULL;
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_vocabulary(&job, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_heads_writer_new(&writer, &job, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_layers(&job, writer, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_heads_write_directions(writer, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_heads_writer_free(&writer);
    otimes_vocab_forms_free(&job.forms);
    otimes_unembed_free(&job.unembed);
    otimes_pool_free(&job.pool);
    return rc;
}
