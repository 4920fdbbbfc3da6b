/* SPDX-License-Identifier: MIT */
#include <otimes/bigram.h>

#include <stdbool.h>
#include <string.h>

#include "analysis/bigram_corpus.h"
#include "analysis/bigram_job.h"
#include "base/dtype.h"
#include "base/index.h"
#include "base/sink.h"
#include "model/model.h"
#include "run/table_job.h"

void otimes_bigram_settings_default(otimes_bigram_settings *settings)
{
    *settings = (otimes_bigram_settings){.top = 10, .bottom = -1, .position = -1, .statistics = 1};
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
    if (rc == OTIMES_OK && s->bottom < -1) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT,
                         "bottom: expected at least 0, or -1 for as many as top, got %lld",
                         (long long)s->bottom);
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

/* Place of a row's own token among the chosen columns, or -1. */
static int64_t own_column(const void *context, int64_t row)
{
    const bigram_job *job = context;
    const int64_t *ids = job->settings->columns;
    const int64_t token = job->settings->rows ? job->settings->rows[row] : row;
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

static int new_results(bigram_job *job, otimes_err *err)
{
    const otimes_table_rows_ask rows = {.own = own_column, .context = job};
    const int64_t sheet = otimes_table_sheet_rows(&job->table);
    const int64_t top = sheet * job->top, bottom = sheet * job->bottom;
    int rc = otimes_table_rows_new(&job->rows, &job->table, &rows, err);
    job->top_value = otimes_pool_new(&job->pool, top, sizeof(float), &rc, err);
    job->top_id = otimes_pool_new(&job->pool, top, sizeof(int32_t), &rc, err);
    job->top_log_prob = otimes_pool_new(&job->pool, top, sizeof(float), &rc, err);
    job->bottom_value = otimes_pool_new(&job->pool, bottom, sizeof(float), &rc, err);
    job->bottom_id = otimes_pool_new(&job->pool, bottom, sizeof(int32_t), &rc, err);
    if (job->settings->full == OTIMES_BIGRAM_FULL_F16) {
        job->halves =
            otimes_pool_new(&job->pool, sheet * OTIMES_TABLE_BLOCK, sizeof(uint16_t), &rc, err);
    }
    return rc;
}

/* ---- what the engine calls ---- */

static int skip(void *context, int64_t first_row, int64_t rows)
{
    return otimes_bigram_has(context, first_row, rows);
}

static int begin_sheet(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    bigram_job *job = context;
    const int rc = otimes_table_rows_begin(&job->rows, sheet, err);
    job->first_row = sheet->first_row;
    if (rc == OTIMES_OK) {
        otimes_bigram_cap(job, sheet->rows, job->rows.own_value);
    }
    return rc;
}

static void see_strip(void *context, const otimes_table_values *strip)
{
    bigram_job *job = context;
    const int64_t count = strip->rows * strip->columns;
    otimes_bigram_cap(job, count, strip->values);
    if (job->settings->statistics) {
        otimes_table_rows_strip(&job->rows, strip);
    }
    if (job->halves) {
        otimes_f32_to_f16(strip->values, count,
                          job->halves + (strip->first_row - job->first_row) * strip->columns);
    }
}

static int write_block(void *context, const otimes_table_values *block, otimes_err *err)
{
    return otimes_bigram_write_block(context, block, err);
}

/* The engine's extremes as logits of tokens. */
static void take_extremes(const bigram_job *job, int64_t count, const float *value,
                          const int32_t *column, float *logit, int32_t *id)
{
    memcpy(logit, value, (size_t)count * sizeof *logit);
    otimes_bigram_cap(job, count, logit);
    otimes_vocab_side_tokens(&job->column.vocab, column, count, id);
}

static int finish_sheet(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    bigram_job *job = context;
    const int64_t top = job->top;
    take_extremes(job, sheet->rows * top, sheet->top_value, sheet->top_column, job->top_value,
                  job->top_id);
    take_extremes(job, sheet->rows * job->bottom, sheet->bottom_value, sheet->bottom_column,
                  job->bottom_value, job->bottom_id);
    otimes_table_rows_finish(&job->rows);
    for (int64_t i = 0; i < sheet->rows * top; i++) {
        job->top_log_prob[i] = (float)((double)job->top_value[i] - job->rows.logsumexp[i / top]);
    }
    return otimes_bigram_write_sheet(job, sheet->rows, err);
}

static int tick(void *context, double share, otimes_err *err)
{
    const bigram_job *job = context;
    const double rows = (double)job->row_count;
    return otimes_sink_progress(job->writer.sink, share * rows, rows + (double)job->corpus_rows,
                                err);
}

static int run(bigram_job *job, otimes_err *err)
{
    const bool full = job->settings->full != OTIMES_BIGRAM_FULL_NONE;
    const otimes_table_consumer every = {see_strip, full ? write_block : NULL};
    const otimes_table_ask ask = {
        .top = job->top,
        .bottom = job->bottom,
        .every = full || job->settings->statistics ? &every : NULL,
        .skip = skip,
        .begin = begin_sheet,
        .finish = finish_sheet,
        .tick = tick,
        .context = job,
    };
    return otimes_table_run(&job->table, &ask, err);
}

int otimes_bigram(const otimes_model *model, const otimes_bigram_settings *settings,
                  otimes_sink *sink, otimes_err *err)
{
    otimes_bigram_settings defaults;
    otimes_bigram_settings_default(&defaults);
    bigram_job job = {.model = model,
                      .info = otimes_model_describe(model),
                      .settings = settings ? settings : &defaults};
    bigram_corpus corpus = {0};
    int rc = check_settings(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_bigram_open(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_bigram_corpus_open(&corpus, &job, err);
    }
    if (rc == OTIMES_OK) {
        rc = new_results(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_bigram_declare(&job, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = run(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_bigram_corpus_run(&corpus, err);
    }
    if (rc == OTIMES_OK) {
        const double rows = (double)job.row_count + (double)job.corpus_rows;
        rc = otimes_sink_progress(sink, rows, rows, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_bigram_corpus_free(&corpus);
    otimes_bigram_free(&job);
    return rc;
}
