/* SPDX-License-Identifier: MIT */
#include <otimes/bigram.h>

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/dtype.h"
#include "base/index.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/describe.h"
#include "num/la.h"
#include "num/stats.h"
#include "num/topk.h"
#include "run/norm.h"
#include "run/plan.h"
#include "run/vocab.h"

/* Rows are taken by tiles, each tile by strips that one worker carries through all the columns of a
 * block: product and consumers while it is in cache. The shapes do not depend on the number of
 * threads, so neither do the results. */
enum {
    TILE_ROWS = OTIMES_TILE_ROWS,
    STRIP_ROWS = OTIMES_STRIP_ROWS,
    BLOCK_COLUMNS = OTIMES_BLOCK_COLUMNS
};

/* Running state of one row. */
typedef struct row_state {
    otimes_topk top, bottom;
    otimes_row_stats stats;
    int64_t diagonal_column; /* place of the row's own token among the columns; -1: none */
    float diagonal;
    int64_t above; /* entries larger than the diagonal */
} row_state;

/* Results of one tile, as they are written. */
typedef struct tile_results {
    float *top_value, *top_log_prob, *bottom_value; /* [TILE_ROWS, top] */
    int32_t *top_id, *bottom_id;
    double *mean, *std, *logsumexp; /* [TILE_ROWS] */
    float *diagonal_value;
    int64_t *diagonal_rank;
} tile_results;

typedef struct bigram_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_bigram_settings *settings;
    otimes_unembed unembed;
    const float *bias;  /* [columns] with exact; NULL: none */
    float *chosen_bias; /* owned: bias of the chosen columns */
    int64_t row_count, column_count, top;
    float *position;   /* [d_model] added to each row; NULL: none */
    float *rows;       /* [TILE_ROWS, d_model] */
    float *columns;    /* [BLOCK_COLUMNS, d_model] */
    float *strips;     /* a worker's [STRIP_ROWS, BLOCK_COLUMNS]; with full [TILE_ROWS, ...] */
    uint16_t *halves;  /* [TILE_ROWS, BLOCK_COLUMNS] with full=float16 */
    row_state *states; /* [TILE_ROWS] */
    tile_results results;
    int64_t first_row, tile_rows, first_column, block_columns; /* at hand */
    otimes_pool pool;                                          /* every buffer above */
} bigram_job;

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
    tile_results *r = &job->results;
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

/* The diagonal before the rest of the row, since its rank is counted as the row streams by. */
static int begin_row(void *context, int64_t i, int worker, otimes_err *err)
{
    const bigram_job *job = context;
    const int64_t d = job->info->d_model, top = job->top, at = job->first_row + i;
    const int64_t token = job->settings->rows ? job->settings->rows[at] : at;
    row_state *state = &job->states[i];
    (void)worker;
    *state = (row_state){
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
    otimes_free(own);
    return rc;
}

static int begin_tile(bigram_job *job, otimes_err *err)
{
    const int64_t d = job->info->d_model;
    int rc = otimes_vocab_rows(job->model, NULL, job->settings->rows, job->first_row,
                               job->tile_rows, job->rows, err);
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
static void consume(const bigram_job *job, row_state *state, const float *values)
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
    tile_results *r = &job->results;
    for (int64_t i = 0; i < job->tile_rows; i++) {
        row_state *state = &job->states[i];
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

/* --- what is written --- */

typedef struct output {
    otimes_array array;
    size_t field; /* in tile_results */
    int id;
} output;

enum { OUTPUTS = 10 };

typedef struct bigram_writer {
    otimes_axis token, output_token, column, rank;
    const char **token_labels, **output_labels, **column_labels;
    int64_t *token_ids;
    output outputs[OUTPUTS];
    otimes_array id_array, table;
    int id_id, table_id;
} bigram_writer;

static int declare_outputs(const bigram_job *job, bigram_writer *w, otimes_sink *sink,
                           otimes_err *err)
{
    const char *formula = job->settings->exact ? "LN_f(W_E (+ W_pos)) W_U + b_U" : "W_E W_U";
    const struct {
        const char *name, *long_name;
        otimes_type type;
        bool ranked;
        const char *labels_of;
        size_t field;
    } list[OUTPUTS] = {
        {"top_value", "largest entries of each row", OTIMES_F32, true, NULL,
         offsetof(tile_results, top_value)},
        {"top_id", "their output tokens", OTIMES_I32, true, "output_token",
         offsetof(tile_results, top_id)},
        {"top_log_prob", "their log-probabilities under the row's softmax", OTIMES_F32, true, NULL,
         offsetof(tile_results, top_log_prob)},
        {"bottom_value", "smallest entries of each row", OTIMES_F32, true, NULL,
         offsetof(tile_results, bottom_value)},
        {"bottom_id", "their output tokens", OTIMES_I32, true, "output_token",
         offsetof(tile_results, bottom_id)},
        {"row_mean", "mean of the row", OTIMES_F64, false, NULL, offsetof(tile_results, mean)},
        {"row_std", "population standard deviation of the row", OTIMES_F64, false, NULL,
         offsetof(tile_results, std)},
        {"row_logsumexp", "log of the sum of exponentials of the row", OTIMES_F64, false, NULL,
         offsetof(tile_results, logsumexp)},
        {"diagonal_value", "entry of the token itself", OTIMES_F32, false, NULL,
         offsetof(tile_results, diagonal_value)},
        {"diagonal_rank", "how many entries of the row are larger than the token's own", OTIMES_I64,
         false, NULL, offsetof(tile_results, diagonal_rank)},
    };
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < OUTPUTS; i++) {
        w->outputs[i] = (output){
            .array = {.name = list[i].name,
                      .type = list[i].type,
                      .ndim = list[i].ranked ? 2 : 1,
                      .axis = {&w->token, &w->rank},
                      .long_name = list[i].long_name,
                      .units = "1",
                      .formula = formula,
                      .orientation = "row = source token, column = output token",
                      .labels_of = list[i].labels_of},
            .field = list[i].field,
        };
        rc = otimes_sink_declare(sink, &w->outputs[i].array, &w->outputs[i].id, err);
    }
    return rc;
}

static int make_axes(const bigram_job *job, bigram_writer *w, otimes_err *err)
{
    const otimes_bigram_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    int rc = otimes_token_labels(job->model, false, s->rows, job->row_count, &w->token_labels, err);
    if (rc == OTIMES_OK) {
        rc = otimes_token_labels(job->model, true, NULL, info->d_vocab_out, &w->output_labels, err);
    }
    if (rc == OTIMES_OK && s->columns) {
        rc = otimes_token_labels(job->model, true, s->columns, job->column_count, &w->column_labels,
                                 err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&w->token_ids, job->row_count, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < job->row_count; i++) {
        w->token_ids[i] = s->rows ? s->rows[i] : i;
    }
    w->token = (otimes_axis){"token", job->row_count, w->token_labels,
                             w->token_labels ? NULL : w->token_ids, "source token"};
    w->output_token =
        (otimes_axis){"output_token", info->d_vocab_out, w->output_labels, NULL, "output token"};
    w->column = (otimes_axis){"column_token", job->column_count, w->column_labels,
                              w->column_labels ? NULL : s->columns, "chosen output token"};
    w->rank = (otimes_axis){"rank", job->top, NULL, NULL, "place, the extreme first"};
    return rc;
}

static int declare(const bigram_job *job, bigram_writer *w, otimes_sink *sink, otimes_err *err)
{
    const otimes_bigram_settings *s = job->settings;
    int rc = make_axes(job, w, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_axis(sink, &w->output_token, err);
    }
    w->id_array = (otimes_array){.name = "token_id",
                                 .type = OTIMES_I64,
                                 .ndim = 1,
                                 .axis = {&w->token},
                                 .long_name = "id of each source token",
                                 .units = "1",
                                 .formula = "id",
                                 .orientation = "one entry a source token"};
    if (rc == OTIMES_OK) {
        rc = otimes_sink_declare(sink, &w->id_array, &w->id_id, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_slab(sink, &w->id_array, w->id_id, 0, job->row_count, w->token_ids, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_outputs(job, w, sink, err);
    }
    if (rc != OTIMES_OK || s->full == OTIMES_BIGRAM_FULL_NONE) {
        return rc;
    }
    w->table = w->outputs[0].array;
    w->table.name = "table";
    w->table.type = s->full == OTIMES_BIGRAM_FULL_F16 ? OTIMES_F16 : OTIMES_F32;
    w->table.ndim = 2;
    w->table.axis[1] = s->columns ? &w->column : &w->output_token;
    w->table.long_name = "the table itself";
    w->table.chunk[0] = 64;
    w->table.chunk[1] = BLOCK_COLUMNS;
    return otimes_sink_declare(sink, &w->table, &w->table_id, err);
}

static int write_tile(const bigram_job *job, const bigram_writer *w, otimes_sink *sink,
                      otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < OUTPUTS; i++) {
        const void *data = *(void *const *)((const char *)&job->results + w->outputs[i].field);
        rc = otimes_sink_slab(sink, &w->outputs[i].array, w->outputs[i].id, job->first_row,
                              job->tile_rows, data, err);
    }
    return rc;
}

static int write_block(const bigram_job *job, const bigram_writer *w, otimes_sink *sink,
                       otimes_err *err)
{
    const int64_t start[OTIMES_MAX_DIMS] = {job->first_row, job->first_column};
    const int64_t count[OTIMES_MAX_DIMS] = {job->tile_rows, job->block_columns};
    const void *data = job->halves ? (const void *)job->halves : (const void *)job->strips;
    return sink->ops->write(sink, w->table_id, start, count, data, err);
}

static int run_tile(bigram_job *job, const bigram_writer *w, otimes_sink *sink, otimes_err *err)
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
            rc = write_block(job, w, sink, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(
                sink, (double)job->first_row + (double)job->tile_rows * (double)c / (double)total,
                (double)job->row_count, err);
        }
    }
    if (rc == OTIMES_OK) {
        finish_rows(job);
        rc = write_tile(job, w, sink, err);
    }
    return rc;
}

static int write_attributes(const bigram_job *job, otimes_sink *sink, otimes_err *err)
{
    const otimes_bigram_settings *s = job->settings;
    int rc = otimes_model_attributes(job->model, sink, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(sink, "exact", s->exact, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(sink, "position", s->position, err);
    }
    return rc == OTIMES_OK ? otimes_sink_i64(sink, "column_count", job->column_count, err) : rc;
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
        rc = write_attributes(&job, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare(&job, &writer, sink, err);
    }
    for (job.first_row = 0; rc == OTIMES_OK && job.first_row < job.row_count;
         job.first_row += TILE_ROWS) {
        const int64_t left = job.row_count - job.first_row;
        job.tile_rows = left < TILE_ROWS ? left : TILE_ROWS;
        rc = run_tile(&job, &writer, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_progress(sink, (double)job.row_count, (double)job.row_count, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_free(writer.token_labels);
    otimes_free(writer.output_labels);
    otimes_free(writer.column_labels);
    otimes_free(writer.token_ids);
    otimes_unembed_free(&job.unembed);
    otimes_pool_free(&job.pool);
    return rc;
}
