/* SPDX-License-Identifier: MIT */
#include <otimes/bigram.h>

#include <math.h>
#include <stdbool.h>

#include "analysis/bigram_job.h"
#include "base/dtype.h"
#include "base/index.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/la.h"
#include "run/norm.h"
#include "run/vocab.h"

void otimes_bigram_settings_default(otimes_bigram_settings *settings)
{
    *settings = (otimes_bigram_settings){.top = 10, .position = -1};
}

static int check_settings(const bigram_job *job, otimes_err *err)
{
    const otimes_bigram_settings *s = job->settings;
    int rc = otimes_index_check("rows", s->rows, s->row_count, job->info->d_vocab, err);
    if (rc == OTIMES_OK) {
        rc =
            otimes_index_check("columns", s->columns, s->column_count, job->info->d_vocab_out, err);
    }
    if (rc == OTIMES_OK && s->top < 0) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "top: expected at least 0, got %lld",
                         (long long)s->top);
    }
    if (rc != OTIMES_OK || s->position == -1) {
        return rc;
    }
    if (!s->exact || job->info->positions != OTIMES_POSITIONS_LEARNED) {
        return otimes_fail(
            err, OTIMES_ERR_UNSUPPORTED,
            "%s: position: expected exact logits and learned positions, got %s and %s",
            job->info->path, s->exact ? "exact" : "the bare product",
            otimes_positions_name(job->info->positions));
    }
    if (s->position < 0 || s->position >= job->info->n_ctx) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "position: expected 0 to %lld, got %lld",
                           (long long)job->info->n_ctx - 1, (long long)s->position);
    }
    return OTIMES_OK;
}

static int new_buffers(bigram_job *job, otimes_err *err)
{
    const int64_t d = job->info->d_model, each = TILE_ROWS * job->top;
    const otimes_bigram_full full = job->settings->full;
    const int64_t strips = otimes_par_workers(TILE_ROWS / STRIP_ROWS, job->model->threads);
    bigram_results *r = &job->results;
    int rc = OTIMES_OK;
    job->rows = otimes_pool_new(&job->pool, TILE_ROWS * d, sizeof(float), &rc, err);
    job->columns = otimes_pool_new(&job->pool, BLOCK_COLUMNS * d, sizeof(float), &rc, err);
    job->strips =
        otimes_pool_new(&job->pool,
                        full != OTIMES_BIGRAM_FULL_NONE ? TILE_ROWS * BLOCK_COLUMNS
                                                        : strips * STRIP_ROWS * BLOCK_COLUMNS,
                        sizeof(float), &rc, err);
    if (full == OTIMES_BIGRAM_FULL_F16) {
        job->halves =
            otimes_pool_new(&job->pool, TILE_ROWS * BLOCK_COLUMNS, sizeof(uint16_t), &rc, err);
    }
    job->states = otimes_pool_new(&job->pool, TILE_ROWS, sizeof *job->states, &rc, err);
    r->top_value = otimes_pool_new(&job->pool, each, sizeof(float), &rc, err);
    r->top_log_prob = otimes_pool_new(&job->pool, each, sizeof(float), &rc, err);
    r->bottom_value = otimes_pool_new(&job->pool, each, sizeof(float), &rc, err);
    r->top_id = otimes_pool_new(&job->pool, each, sizeof(int32_t), &rc, err);
    r->bottom_id = otimes_pool_new(&job->pool, each, sizeof(int32_t), &rc, err);
    r->mean = otimes_pool_new(&job->pool, TILE_ROWS, sizeof(double), &rc, err);
    r->std = otimes_pool_new(&job->pool, TILE_ROWS, sizeof(double), &rc, err);
    r->logsumexp = otimes_pool_new(&job->pool, TILE_ROWS, sizeof(double), &rc, err);
    r->diagonal_value = otimes_pool_new(&job->pool, TILE_ROWS, sizeof(float), &rc, err);
    r->diagonal_rank = otimes_pool_new(&job->pool, TILE_ROWS, sizeof(int64_t), &rc, err);
    return rc;
}

static int begin(bigram_job *job, otimes_err *err)
{
    const otimes_bigram_settings *s = job->settings;
    int rc = check_settings(job, err);
    job->row_count = s->rows ? s->row_count : job->info->d_vocab;
    job->column_count = s->columns ? s->column_count : job->info->d_vocab_out;
    job->top = s->top < job->column_count ? s->top : job->column_count;
    if (rc == OTIMES_OK) {
        rc = otimes_unembed_open(job->model, &job->unembed, err);
    }
    if (rc == OTIMES_OK) {
        rc = new_buffers(job, err);
    }
    job->softcap = s->exact ? job->info->final_softcap : 0;
    if (rc == OTIMES_OK && s->exact && job->info->embed_norm) {
        const int64_t d = job->info->d_model;
        job->embed_norm = otimes_pool_new(&job->pool, 2 * d, sizeof(float), &rc, err);
        if (rc == OTIMES_OK) {
            rc = otimes_embed_norm(job->model, job->embed_norm, job->embed_norm + d, err);
        }
    }
    if (rc == OTIMES_OK && s->position >= 0) {
        job->position = otimes_pool_new(&job->pool, job->info->d_model, sizeof(float), &rc, err);
        if (rc == OTIMES_OK) {
            rc = otimes_position_rows(job->model, s->position, 1, job->position, err);
        }
    }
    if (rc == OTIMES_OK && s->exact && job->unembed.bias) {
        float *chosen = otimes_pool_new(&job->pool, job->column_count, sizeof *chosen, &rc, err);
        for (int64_t i = 0; rc == OTIMES_OK && i < job->column_count; i++) {
            chosen[i] = job->unembed.bias[s->columns ? s->columns[i] : i];
        }
        job->bias = chosen;
    }
    return rc;
}

/* Place of a token among the chosen columns, or -1. */
static int64_t column_of(const bigram_job *job, int64_t token)
{
    const int64_t *ids = job->settings->columns;
    if (job->info->d_vocab != job->info->d_vocab_out) {
        return -1;
    }
    if (!ids) {
        return token;
    }
    int64_t low = 0, high = job->column_count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (ids[middle] < token) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < job->column_count && ids[low] == token ? low : -1;
}

/* Logits as the model gives them out: c tanh(x / c). */
static void cap(const bigram_job *job, int64_t count, float *values)
{
    for (int64_t i = 0; job->softcap > 0 && i < count; i++) {
        values[i] = (float)(job->softcap * tanh((double)values[i] / job->softcap));
    }
}

/* The diagonal before the rest of the row, since its rank is counted as the row streams by. */
static int begin_row(void *context, int64_t i, int worker, otimes_err *err)
{
    const bigram_job *job = context;
    const int64_t d = job->info->d_model, top = job->top, at = job->first_row + i;
    const int64_t token = job->settings->rows ? job->settings->rows[at] : at;
    bigram_row *state = &job->states[i];
    (void)worker;
    *state = (bigram_row){
        .top = {.capacity = top,
                .sign = 1,
                .value = job->results.top_value + i * top,
                .index = job->results.top_id + i * top},
        .bottom = {.capacity = top,
                   .sign = -1,
                   .value = job->results.bottom_value + i * top,
                   .index = job->results.bottom_id + i * top},
        .diagonal_column = column_of(job, token),
        .diagonal = NAN,
    };
    if (state->diagonal_column < 0) {
        return OTIMES_OK;
    }
    float *own;
    int rc = OTIMES_NEW(&own, d, err);
    if (rc == OTIMES_OK) {
        rc = otimes_unembed_rows(&job->unembed, token, 1, own, err);
    }
    double sum = rc == OTIMES_OK && job->bias ? (double)job->bias[state->diagonal_column] : 0;
    for (int64_t j = 0; rc == OTIMES_OK && j < d; j++) {
        sum += (double)job->rows[i * d + j] * (double)own[j];
    }
    state->diagonal = (float)sum;
    cap(job, 1, &state->diagonal);
    otimes_free(own);
    return rc;
}

static int begin_tile(bigram_job *job, otimes_err *err)
{
    const int64_t d = job->info->d_model;
    int rc = otimes_vocab_rows(job->model, NULL, job->settings->rows, job->first_row,
                               job->tile_rows, job->rows, err);
    if (rc == OTIMES_OK && job->embed_norm) {
        otimes_norm_rows(job->info->norm, job->info->eps, job->embed_norm, job->embed_norm + d,
                         job->tile_rows, d, job->rows);
    }
    for (int64_t i = 0; rc == OTIMES_OK && job->position && i < job->tile_rows; i++) {
        for (int64_t j = 0; j < d; j++) {
            job->rows[i * d + j] += job->position[j];
        }
    }
    if (rc == OTIMES_OK && job->settings->exact) {
        otimes_norm_rows(job->info->norm, job->info->eps, job->unembed.ln_w, job->unembed.ln_b,
                         job->tile_rows, d, job->rows);
    }
    return rc == OTIMES_OK
               ? otimes_par_for(job->tile_rows, job->model->threads, begin_row, job, err)
               : rc;
}

/* A row's piece of the block, while it is in cache. */
static void consume(const bigram_job *job, bigram_row *state, const float *values)
{
    const int64_t first = job->first_column, count = job->block_columns;
    otimes_topk_scan(&state->top, values, count, (int32_t)first);
    otimes_topk_scan(&state->bottom, values, count, (int32_t)first);
    otimes_row_stats_add(&state->stats, values, count);
    if (state->diagonal_column >= 0) {
        const int64_t own = state->diagonal_column - first;
        state->above += otimes_count_above(values, count, state->diagonal);
        if (own >= 0 && own < count) { /* the product's rounding of the diagonal is not the dot's */
            state->above -= values[own] > state->diagonal;
        }
    }
}

static int run_strip(void *context, int64_t strip, int worker, otimes_err *err)
{
    const bigram_job *job = context;
    const int64_t d = job->info->d_model, columns = job->block_columns;
    const int64_t first = strip * STRIP_ROWS;
    const int64_t rows = job->tile_rows - first < STRIP_ROWS ? job->tile_rows - first : STRIP_ROWS;
    const bool full = job->settings->full != OTIMES_BIGRAM_FULL_NONE;
    float *product =
        full ? job->strips + first * columns : job->strips + worker * STRIP_ROWS * BLOCK_COLUMNS;
    (void)err;
    otimes_la_default->sgemm(false, true, rows, columns, d, 1.0f, job->rows + first * d, d,
                             job->columns, d, 0.0f, product, columns);
    for (int64_t i = 0; i < rows; i++) {
        float *values = product + i * columns;
        for (int64_t j = 0; job->bias && j < columns; j++) {
            values[j] += job->bias[job->first_column + j];
        }
        cap(job, columns, values);
        consume(job, &job->states[first + i], values);
    }
    if (job->halves) {
        otimes_f32_to_f16(product, rows * columns, job->halves + first * columns);
    }
    return OTIMES_OK;
}

static void finish_rows(bigram_job *job)
{
    const int64_t top = job->top;
    bigram_results *r = &job->results;
    for (int64_t i = 0; i < job->tile_rows; i++) {
        bigram_row *state = &job->states[i];
        otimes_topk *const ends[] = {&state->top, &state->bottom};
        for (int end = 0; end < 2; end++) {
            otimes_topk_finish(ends[end]);
            for (int64_t k = 0; job->settings->columns && k < ends[end]->count; k++) {
                ends[end]->index[k] = (int32_t)job->settings->columns[ends[end]->index[k]];
            }
        }
        r->mean[i] = state->stats.count ? state->stats.mean : NAN;
        r->std[i] = otimes_row_stats_std(&state->stats);
        r->logsumexp[i] = otimes_row_stats_logsumexp(&state->stats);
        for (int64_t k = 0; k < top; k++) {
            r->top_log_prob[i * top + k] =
                (float)((double)r->top_value[i * top + k] - r->logsumexp[i]);
        }
        r->diagonal_value[i] = state->diagonal;
        r->diagonal_rank[i] = state->diagonal_column >= 0 ? state->above : -1;
    }
}

static int run_tile(bigram_job *job, const bigram_writer *w, otimes_err *err)
{
    const int64_t total = job->column_count;
    int rc = begin_tile(job, err);
    for (int64_t c = 0; rc == OTIMES_OK && c < total; c += BLOCK_COLUMNS) {
        job->first_column = c;
        job->block_columns = total - c < BLOCK_COLUMNS ? total - c : BLOCK_COLUMNS;
        rc = otimes_vocab_rows(job->model, &job->unembed, job->settings->columns, c,
                               job->block_columns, job->columns, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for((job->tile_rows + STRIP_ROWS - 1) / STRIP_ROWS, job->model->threads,
                                run_strip, job, err);
        }
        if (rc == OTIMES_OK && job->settings->full != OTIMES_BIGRAM_FULL_NONE) {
            rc = otimes_bigram_write_block(w, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(w->sink,
                                      (double)job->first_row +
                                          (double)job->tile_rows * (double)c / (double)total,
                                      (double)job->row_count, err);
        }
    }
    if (rc == OTIMES_OK) {
        finish_rows(job);
        rc = otimes_bigram_write_tile(w, err);
    }
    return rc;
}

int otimes_bigram(const otimes_model *model, const otimes_bigram_settings *settings,
                  otimes_sink *sink, otimes_err *err)
{
    otimes_bigram_settings defaults;
    otimes_bigram_settings_default(&defaults);
    bigram_job job = {.model = model,
                      .info = otimes_model_describe(model),
                      .settings = settings ? settings : &defaults};
    bigram_writer writer = {0};
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_bigram_declare(&writer, &job, sink, err);
    }
    for (job.first_row = 0; rc == OTIMES_OK && job.first_row < job.row_count;
         job.first_row += TILE_ROWS) {
        const int64_t left = job.row_count - job.first_row;
        job.tile_rows = left < TILE_ROWS ? left : TILE_ROWS;
        rc = run_tile(&job, &writer, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_progress(sink, (double)job.row_count, (double)job.row_count, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_bigram_writer_free(&writer);
    otimes_unembed_free(&job.unembed);
    otimes_pool_free(&job.pool);
    return rc;
}
