/* SPDX-License-Identifier: MIT
 *
 * Ablations on their way through the layers.
 *
 * Rows of the stream: those of the clean run, then the group's texts once for each ablation under
 * way ("slot"), by first layer. An ablation joins at the first layer that it changes: its stream
 * begins as the clean one, and its z there is the clean z with the replacement in it. From then on
 * it is a batch of sequences like any other.
 */
#include <string.h>

#include "analysis/ablate_job.h"
#include "base/sink.h"
#include "run/space.h"

/* One run through the layers: ablations order[first .. first+count-1] in slots 0 .. count-1. */
typedef struct wave {
    int64_t first, count;
    int64_t begin;  /* the layer it begins at */
    int64_t next;   /* the layer the next wave begins at; n_layers without one */
    int64_t last;   /* the last layer where something is taken from the clean run */
    bool whole;     /* the clean run goes to the end */
    int64_t layer;  /* at hand */
    int64_t old;    /* slots that joined before it */
    int64_t active; /* slots that have joined */
} wave;

static int64_t first_layer(const ablate_job *job, int64_t place)
{
    return job->list.first_layer[job->list.order[place]];
}

/* First row of a slot. */
static int64_t slot_row(const ablate_job *job, int64_t slot)
{
    return job->group.clean.rows + slot * job->group.rows;
}

/* Neurons on their way through an MLP: of a variant they are replaced, of the clean run kept for
 * those that are resampled from it. */
static int see_neurons(void *context, const otimes_activation *activation, otimes_err *err)
{
    ablate_job *job = context;
    const ablate_group *g = &job->group;
    const int64_t clean = g->clean.rows;
    (void)err;
    for (int64_t i = 0, n; i < activation->rows; i += n) {
        const int64_t row = activation->first + i, left = activation->rows - i;
        const int64_t slot = (row - clean) / g->rows, within = (row - clean) % g->rows;
        float *data = activation->data + i * activation->stride;
        n = row < clean ? 1 : left < g->rows - within ? left : g->rows - within;
        if (row >= clean) {
            otimes_ablate_edit(job, job->list.order[job->wave_first + slot], activation->layer,
                               ABLATE_AT_POST, within, n, data, activation->stride);
        } else if (job->clean[ABLATE_AT_POST]) {
            memcpy(job->clean[ABLATE_AT_POST] + row * activation->columns, data,
                   (size_t)activation->columns * sizeof *data);
        }
    }
    return OTIMES_OK;
}

/* What the MLP writes, for slots that are not to have it replaced: each run of them at once. */
static int run_mlp(ablate_job *job, const wave *w, const otimes_ready_layer *ready, int64_t slot,
                   int64_t count, otimes_err *err)
{
    const int64_t R = job->group.rows, d = job->info->d_model;
    int rc = OTIMES_OK;
    for (int64_t from = 0, n; rc == OTIMES_OK && from < count; from += n > 0 ? n : 1) {
        for (n = 0; from + n < count; n++) {
            if (otimes_ablate_replaces_mlp(job, job->list.order[w->first + slot + from + n],
                                           w->layer)) {
                break;
            }
        }
        if (n > 0) {
            const int64_t row = slot_row(job, slot + from);
            rc = otimes_pass_mlp_out(&job->pass, ready, row, n * R, job->stream + row * d,
                                     job->mlp + from * R * d, err);
        } else {
            float *to = job->mlp + from * R * d;
            /* What a replacement leaves as it is lies beyond the end of the text it comes from:
             * there the MLP has to be run after all. */
            if (job->settings->method == OTIMES_ABLATE_RESAMPLE && !job->group.covered) {
                const int64_t row = slot_row(job, slot + from);
                rc = otimes_pass_mlp_out(&job->pass, ready, row, R, job->stream + row * d, to, err);
            }
            otimes_ablate_edit(job, job->list.order[w->first + slot + from], w->layer,
                               ABLATE_AT_MLP, 0, R, to, d);
        }
    }
    return rc;
}

/* z of slots: those that joined earlier have a stream of their own to attend to. */
static int run_attention(ablate_job *job, const wave *w, const otimes_ready_layer *ready,
                         int64_t slot, int64_t count, otimes_err *err)
{
    const ablate_group *g = &job->group;
    const int64_t width = job->columns[ABLATE_AT_Z], d = job->info->d_model;
    const int64_t old = w->old <= slot ? 0 : w->old - slot < count ? w->old - slot : count;
    int rc = OTIMES_OK;
    if (old > 0) {
        rc = otimes_pass_attention_z(&job->pass, ready, g->clean.count + slot * g->texts,
                                     old * g->texts, job->stream + slot_row(job, slot) * d, job->z,
                                     err);
    }
    for (int64_t i = old; i < count; i++) {
        memcpy(job->z + i * g->rows * width, job->clean[ABLATE_AT_Z],
               (size_t)(g->rows * width) * sizeof *job->z);
    }
    for (int64_t i = 0; (job->list.kinds[w->layer] & ABLATE_Z) && i < count; i++) {
        otimes_ablate_edit(job, job->list.order[w->first + slot + i], w->layer, ABLATE_AT_Z, 0,
                           g->rows, job->z + i * g->rows * width, width);
    }
    return rc;
}

/* A layer for slots slot .. slot+count-1, whose z is in job->z. */
static int run_slots(ablate_job *job, const wave *w, const otimes_ready_layer *ready, int64_t slot,
                     int64_t count, otimes_err *err)
{
    const int64_t d = job->info->d_model, row = slot_row(job, slot);
    const int64_t rows = count * job->group.rows;
    float *stream = job->stream + row * d;
    int rc = run_attention(job, w, ready, slot, count, err);
    if (rc == OTIMES_OK) {
        rc = otimes_pass_attention_out(&job->pass, ready, row, rows, job->z, job->out, err);
    }
    if (rc == OTIMES_OK && !job->info->parallel) {
        otimes_pass_add(&job->pass, rows * d, job->out, stream);
    }
    if (rc == OTIMES_OK && job->has_mlp) {
        rc = run_mlp(job, w, ready, slot, count, err);
    }
    if (rc == OTIMES_OK && job->info->parallel) {
        otimes_pass_add(&job->pass, rows * d, job->out, stream);
    }
    if (rc == OTIMES_OK && job->has_mlp) {
        otimes_pass_add(&job->pass, rows * d, job->mlp, stream);
    }
    return rc;
}

/* Clean sequences first .. first+count-1 through a layer. */
static int run_clean_chunk(ablate_job *job, const otimes_ready_layer *ready, int64_t first,
                           int64_t count, otimes_err *err)
{
    const otimes_batch *batch = &job->group.clean;
    const int64_t d = job->info->d_model, row = batch->start[first];
    const int64_t rows = batch->start[first + count] - row;
    float *kept = job->clean[ABLATE_AT_MLP], *mlp = kept ? kept + row * d : job->mlp;
    float *z = job->clean[ABLATE_AT_Z] + row * job->columns[ABLATE_AT_Z];
    float *stream = job->stream + row * d;
    int rc = otimes_pass_attention_z(&job->pass, ready, first, count, stream, z, err);
    if (rc == OTIMES_OK) {
        rc = otimes_pass_attention_out(&job->pass, ready, row, rows, z, job->out, err);
    }
    if (rc == OTIMES_OK && !job->info->parallel) {
        otimes_pass_add(&job->pass, rows * d, job->out, stream);
    }
    if (rc == OTIMES_OK && job->has_mlp) {
        rc = otimes_pass_mlp_out(&job->pass, ready, row, rows, stream, mlp, err);
    }
    if (rc == OTIMES_OK && job->info->parallel) {
        otimes_pass_add(&job->pass, rows * d, job->out, stream);
    }
    if (rc == OTIMES_OK && job->has_mlp) {
        otimes_pass_add(&job->pass, rows * d, mlp, stream);
    }
    return rc;
}

/* The clean rows through a layer; their z stays, and what else is resampled. */
static int run_clean(ablate_job *job, const otimes_ready_layer *ready, otimes_err *err)
{
    const otimes_batch *batch = &job->group.clean;
    int rc = OTIMES_OK;
    for (int64_t first = 0, count; rc == OTIMES_OK && first < batch->count; first += count) {
        count = 1;
        while (first + count < batch->count &&
               batch->start[first + count + 1] - batch->start[first] <= job->group_rows) {
            count++;
        }
        rc = run_clean_chunk(job, ready, first, count, err);
    }
    return rc;
}

/* Slots that join at a layer begin with the stream as the clean run has it there. */
static void join(ablate_job *job, wave *w)
{
    const int64_t count = job->group.rows * job->info->d_model;
    w->old = w->active;
    while (w->active < w->count && first_layer(job, w->first + w->active) == w->layer) {
        memcpy(job->stream + slot_row(job, w->active) * job->info->d_model, job->stream,
               (size_t)count * sizeof *job->stream);
        w->active++;
    }
}

/* Layers of a slot, and one for its measure, from layer `from` on. */
static double work_of(const ablate_job *job, const wave *w, int64_t from)
{
    double work = 0;
    for (int64_t i = 0; i < w->count; i++) {
        const int64_t joins = first_layer(job, w->first + i);
        work += (double)(job->info->n_layers - (joins > from ? joins : from)) + 1;
    }
    return work;
}

static int run_layer(ablate_job *job, wave *w, otimes_hooks *hooks, otimes_err *err)
{
    const otimes_ready_layer *ready;
    const bool neurons = job->list.kinds[w->layer] & ABLATE_KIND(OTIMES_ABLATE_NEURON);
    int rc = otimes_layers_get(&job->layers, w->layer, &ready, err);
    hooks->points = neurons ? OTIMES_HOOK_BIT(MLP_POST) : 0;
    join(job, w);
    if (rc == OTIMES_OK && (w->whole || w->layer <= w->last || w->layer < w->next)) {
        rc = run_clean(job, ready, err);
    }
    for (int64_t slot = 0; rc == OTIMES_OK && slot < w->active; slot += job->chunk_slots) {
        const int64_t left = w->active - slot;
        rc = run_slots(job, w, ready, slot, left < job->chunk_slots ? left : job->chunk_slots, err);
        rc = rc == OTIMES_OK ? otimes_pulse_beat(&job->pulse, err) : rc;
    }
    if (rc == OTIMES_OK) {
        const double rest = work_of(job, w, w->layer + 1), all = work_of(job, w, 0);
        rc = otimes_pulse_say(
            &job->pulse, job->done + (double)(job->group.rows * w->count) * (1 - rest / all), err);
    }
    return rc;
}

/* From the embedding or the saved stream to the layer where the wave begins. */
static int begin_wave(ablate_job *job, const wave *w, otimes_err *err)
{
    const int64_t count = job->group.clean.rows * job->info->d_model;
    if (w->first > 0) {
        memcpy(job->stream, job->saved, (size_t)count * sizeof *job->stream);
        return OTIMES_OK;
    }
    job->pass.batch = &job->group.clean;
    int rc = otimes_pass_embed(&job->pass, job->stream, err);
    if (rc == OTIMES_OK) {
        rc = otimes_pass_layers(&job->pass, 0, w->begin, job->stream, err);
    }
    return rc;
}

static int run_wave(ablate_job *job, wave *w, otimes_err *err)
{
    const int64_t n_layers = job->info->n_layers, clean = job->group.clean.rows;
    otimes_hooks hooks = {.visit = see_neurons, .context = job};
    int rc = begin_wave(job, w, err);
    job->pass.batch = &job->group.all;
    job->pass.hooks = &hooks;
    job->wave_first = w->first;
    for (w->layer = w->begin; rc == OTIMES_OK && w->layer < n_layers; w->layer++) {
        if (w->layer == w->next) {
            memcpy(job->saved, job->stream,
                   (size_t)(clean * job->info->d_model) * sizeof *job->saved);
        }
        rc = run_layer(job, w, &hooks, err);
    }
    hooks.points = 0;
    if (rc == OTIMES_OK && w->whole) {
        rc = otimes_ablate_measure_clean(job, err);
    }
    for (int64_t slot = 0; rc == OTIMES_OK && slot < w->count; slot += job->chunk_slots) {
        const int64_t left = w->count - slot;
        rc = otimes_ablate_measure(job, w->first, slot,
                                   left < job->chunk_slots ? left : job->chunk_slots, err);
    }
    job->pass.hooks = NULL;
    job->pass.batch = NULL;
    job->done += (double)(job->group.rows * w->count);
    return rc == OTIMES_OK ? otimes_pulse_say(&job->pulse, job->done, err) : rc;
}

/* Where the last ablation joins, or the last member is resampled. */
static int64_t last_layer(const ablate_job *job, const wave *w)
{
    const ablate_list *list = &job->list;
    int64_t last = first_layer(job, w->first + w->count - 1);
    for (int64_t i = 0; job->source && i < w->count; i++) {
        const int64_t end = list->begin[list->order[w->first + i] + 1];
        last = list->member[end - 1].layer > last ? list->member[end - 1].layer : last;
    }
    return last;
}

int otimes_ablate_run_group(ablate_job *job, otimes_err *err)
{
    const int64_t total = job->list.count;
    int rc = OTIMES_OK;
    for (int64_t first = 0; rc == OTIMES_OK && first < total; first += job->wave_slots) {
        const int64_t left = total - first;
        wave w = {.first = first,
                  .count = left < job->wave_slots ? left : job->wave_slots,
                  .begin = first_layer(job, first),
                  .next = job->info->n_layers,
                  .whole = first == 0};
        if (left > w.count) {
            w.next = first_layer(job, first + w.count);
        }
        w.last = last_layer(job, &w);
        rc = run_wave(job, &w, err);
    }
    return rc;
}
