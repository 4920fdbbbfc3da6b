/* SPDX-License-Identifier: MIT */
#include <otimes/neurons.h>

#include <string.h>

#include "analysis/neurons_job.h"
#include "base/index.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"

enum { TILE_BYTES = 48 << 20 }; /* rows of all sides of a tile */

void otimes_neurons_settings_default(otimes_neurons_settings *settings)
{
    *settings = (otimes_neurons_settings){
        .top = 5, .vocab = 1, .reads = 1, .heads = OTIMES_NEURONS_HEADS_STRONGEST};
}

/* ---- how many there are ---- */

static int64_t neurons_of(const otimes_model *model, int64_t layer)
{
    const otimes_model_info *info = &model->info;
    if (info->mlp == OTIMES_MLP_NONE) {
        return 0;
    }
    return otimes_layer_has_experts(model, layer)
               ? info->n_experts * info->d_expert + info->d_shared_expert
               : info->d_mlp;
}

int otimes_neurons_of(const otimes_model *model, int64_t layer, int64_t *count, otimes_err *err)
{
    if (layer < 0 || layer >= model->info.n_layers) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "layer: expected 0 to %lld, got %lld",
                           (long long)model->info.n_layers - 1, (long long)layer);
    }
    *count = neurons_of(model, layer);
    return OTIMES_OK;
}

int64_t otimes_neurons_most(const otimes_model *model)
{
    int64_t most = 0;
    for (int64_t l = 0; l < model->info.n_layers; l++) {
        const int64_t count = neurons_of(model, l);
        most = count > most ? count : most;
    }
    return most;
}

/* ---- the request ---- */

static int check_settings(const neurons_job *job, otimes_err *err)
{
    const otimes_neurons_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    const int64_t most = otimes_neurons_most(job->model);
    if (most == 0) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: neurons: expected a model with MLPs, got attention alone",
                           info->path);
    }
    int rc = otimes_index_check("layers", s->layers, s->layer_count, info->n_layers, err);
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("neurons", s->neurons, s->neuron_count, most, err);
    }
    if (rc == OTIMES_OK && (s->top < 0 || s->top > INT32_MAX)) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "top: expected at least 0, got %lld",
                         (long long)s->top);
    }
    if (rc == OTIMES_OK && (s->null_directions < 0 || s->null_directions > info->d_model)) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT,
                         "null directions: expected 0 to %lld of d_model, got %lld",
                         (long long)info->d_model, (long long)s->null_directions);
    }
    return rc;
}

/* Chosen neurons below a number. */
static int64_t chosen_below(const neurons_job *job, int64_t limit)
{
    int64_t low = 0, high = job->neuron_count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (job->neurons[middle] < limit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int64_t chosen_between(const neurons_job *job, int64_t from, int64_t to)
{
    return chosen_below(job, to) - chosen_below(job, from);
}

/* Room for the chosen neurons of any MLP, and all there is to do. */
static void measure_units(neurons_job *job)
{
    const otimes_model_info *info = job->info;
    for (int64_t at = 0; at < job->layer_count; at++) {
        const int64_t all = neurons_of(job->model, job->layers[at]);
        const bool experts = otimes_layer_has_experts(job->model, job->layers[at]);
        const int64_t shared = experts ? info->n_experts * info->d_expert : 0;
        const int64_t width = experts ? info->d_expert : all;
        for (int64_t base = 0; base < all; base += base < shared ? width : all) {
            const int64_t end = experts && base < shared ? base + width : all;
            const int64_t count = chosen_between(job, base, end);
            job->room = count > job->room ? count : job->room;
        }
        job->total += (double)chosen_between(job, 0, all);
    }
}

static void shape_tiles(neurons_job *job, int64_t most_rows)
{
    const otimes_model_info *info = job->info;
    const bool with_heads = job->settings->heads != OTIMES_NEURONS_HEADS_NONE;
    int64_t sides = 0, passes = with_heads;
    job->head_rank = info->d_head < info->d_model ? info->d_head : info->d_model;
    const int64_t heads = info->n_heads * job->head_rank;
    for (int side = 0; side < SIDES; side++) {
        sides += job->has[side];
        passes += job->seen[side];
    }
    const int64_t fit = TILE_BYTES / (sides * info->d_model * (int64_t)sizeof(float));
    job->tile_rows = fit < STRIP_ROWS ? STRIP_ROWS : fit - fit % STRIP_ROWS;
    job->tile_rows = job->tile_rows < most_rows ? job->tile_rows : most_rows;
    job->tile_rows = job->tile_rows < job->room ? job->tile_rows : job->room;
    job->total *= (double)(passes > 0 ? passes : 1);
    job->strip_columns = with_heads ? heads : 0;
}

static int begin(neurons_job *job, int64_t most_rows, otimes_err *err)
{
    const otimes_neurons_settings *s = job->settings;
    int rc = check_settings(job, err);
    job->layer_count = s->layers ? s->layer_count : job->info->n_layers;
    job->neuron_count = s->neurons ? s->neuron_count : otimes_neurons_most(job->model);
    job->layers = otimes_index_chosen(&job->pool, s->layers, job->layer_count, &rc, err);
    job->neurons = otimes_index_chosen(&job->pool, s->neurons, job->neuron_count, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    const int64_t tokens =
        job->info->d_vocab > job->info->d_vocab_out ? job->info->d_vocab : job->info->d_vocab_out;
    job->top = s->top < tokens ? s->top : tokens;
    job->kept = job->top > 0 ? job->top : 1;
    job->has[SIDE_OUT] = job->has[SIDE_IN] = true;
    job->has[SIDE_GATE] = job->info->mlp == OTIMES_MLP_GATED;
    job->seen[SIDE_OUT] = s->vocab;
    job->seen[SIDE_IN] = s->reads;
    job->seen[SIDE_GATE] = s->reads && job->has[SIDE_GATE];
    measure_units(job);
    shape_tiles(job, most_rows);
    rc = otimes_neurons_rows_begin(job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_neurons_vocab_begin(job, err);
    }
    if (rc == OTIMES_OK && s->heads != OTIMES_NEURONS_HEADS_NONE) {
        rc = otimes_neurons_heads_begin(job, err);
    }
    const int workers = otimes_par_workers(INT32_MAX, job->model->threads);
    job->strips = otimes_pool_new(&job->pool, workers * STRIP_ROWS * job->strip_columns,
                                  sizeof(float), &rc, err);
    return rc;
}

/* ---- MLPs ---- */

static int run_unit(neurons_job *job, const neurons_unit *unit, int64_t width,
                    const neurons_writer *writer, otimes_err *err)
{
    job->unit = *unit;
    job->unit.first = chosen_below(job, unit->base);
    job->unit.count = chosen_between(job, unit->base, unit->base + width);
    job->rows = 0;
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < job->unit.count; at += job->tile_rows) {
        const int64_t left = job->unit.count - at;
        rc =
            otimes_neurons_rows_gather(job, at, left < job->tile_rows ? left : job->tile_rows, err);
        if (rc == OTIMES_OK) {
            rc = otimes_neurons_rows_measure(job, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_neurons_vocab(job, err);
        }
    }
    if (rc == OTIMES_OK && job->unit.count > 0 &&
        job->settings->heads != OTIMES_NEURONS_HEADS_NONE) {
        rc = otimes_neurons_compose(job, writer, err);
    }
    return rc == OTIMES_OK && job->unit.count > 0 ? otimes_neurons_write_unit(writer, err) : rc;
}

static int run_expert(neurons_job *job, const neurons_unit *of_layer, int64_t x,
                      const neurons_writer *writer, otimes_err *err)
{
    const int64_t width = job->info->d_expert;
    neurons_unit unit = *of_layer;
    otimes_expert expert;
    unit.base = x * width;
    unit.expert = x;
    if (chosen_between(job, unit.base, unit.base + width) == 0) {
        return OTIMES_OK;
    }
    int rc = otimes_expert_load(job->model, unit.layer, x, &expert, err);
    if (rc == OTIMES_OK) {
        unit.W_in = &expert.W_in;
        unit.W_gate = &expert.W_gate;
        unit.W_out = &expert.W_out;
        unit.b_in = &expert.b_in;
        unit.b_gate = &expert.b_gate;
        rc = run_unit(job, &unit, width, writer, err);
    }
    otimes_expert_free(&expert);
    return rc;
}

static int run_experts(neurons_job *job, neurons_unit *unit, const otimes_layer *layer,
                       const neurons_writer *writer, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    int rc = OTIMES_OK;
    for (int64_t x = 0; rc == OTIMES_OK && x < info->n_experts; x++) {
        rc = run_expert(job, unit, x, writer, err);
    }
    if (rc == OTIMES_OK && layer->shared_W_in.data) {
        unit->base = info->n_experts * info->d_expert;
        unit->expert = info->n_experts;
        unit->W_in = &layer->shared_W_in;
        unit->W_gate = &layer->shared_W_gate;
        unit->W_out = &layer->shared_W_out;
        unit->b_in = unit->b_gate = NULL;
        rc = run_unit(job, unit, info->d_shared_expert, writer, err);
    }
    return rc;
}

static int run_layer(neurons_job *job, int64_t at, const neurons_writer *writer, otimes_err *err)
{
    const int64_t index = job->layers[at];
    otimes_layer layer;
    int rc = otimes_layer_load(job->model, index, OTIMES_PART_MLP, &layer, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    neurons_unit unit = {.layer_at = at,
                         .layer = index,
                         .expert = -1,
                         .W_in = &layer.W_in,
                         .W_gate = &layer.W_gate,
                         .W_out = &layer.W_out,
                         .b_in = &layer.b_in,
                         .b_gate = &layer.b_gate,
                         .post = layer.ln2_post_w.data};
    rc = otimes_layer_has_experts(job->model, index)
             ? run_experts(job, &unit, &layer, writer, err)
             : run_unit(job, &unit, job->info->d_mlp, writer, err);
    otimes_layer_free(&layer);
    return rc;
}

int otimes_neurons_tiled(const otimes_model *model, const otimes_neurons_settings *settings,
                         int64_t most_rows, otimes_sink *sink, otimes_err *err)
{
    otimes_neurons_settings defaults;
    otimes_neurons_settings_default(&defaults);
    neurons_job job = {.model = model,
                       .info = otimes_model_describe(model),
                       .settings = settings ? settings : &defaults,
                       .sink = sink};
    neurons_writer *writer = NULL;
    int rc = begin(&job, most_rows, err);
    if (rc == OTIMES_OK) {
        rc = otimes_neurons_writer_new(&writer, &job, err);
    }
    for (int64_t at = 0; rc == OTIMES_OK && at < job.layer_count; at++) {
        rc = run_layer(&job, at, writer, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_progress(sink, job.total, job.total, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_neurons_writer_free(&writer);
    otimes_unembed_free(&job.unembed);
    otimes_pool_free(&job.pool);
    return rc;
}

int otimes_neurons(const otimes_model *model, const otimes_neurons_settings *settings,
                   otimes_sink *sink, otimes_err *err)
{
    return otimes_neurons_tiled(model, settings, MOST_TILE_ROWS, sink, err);
}
