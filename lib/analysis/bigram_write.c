/* SPDX-License-Identifier: MIT
 *
 * The arrays of `bigram`: what each is called and where the rows of a sheet lie.
 */
#include <stdbool.h>

#include "analysis/bigram_job.h"
#include "base/sink.h"
#include "model/labels.h"
#include "run/table_job.h"

static int declare_outputs(bigram_job *job, otimes_err *err)
{
    bigram_writer *w = &job->writer;
    const bool statistics = job->settings->statistics;
    const char *formula = job->settings->exact ? "LN_f(W_E (+ W_pos)) W_U + b_U" : "W_E W_U";
    const otimes_axis *top = &w->rank, *bottom = job->top == job->bottom ? top : &w->bottom_rank;
    const struct {
        const char *name, *long_name;
        otimes_type type;
        const otimes_axis *axis; /* the second */
        const char *labels_of;
        const void *data;
        bool wanted;
    } list[BIGRAM_ARRAYS] = {
        {"top_value", "largest entries of each row", OTIMES_F32, top, NULL, job->top_value, true},
        {"top_id", "their output tokens", OTIMES_I32, top, "output_token", job->top_id, true},
        {"top_log_prob", "their log-probabilities under the row's softmax", OTIMES_F32, top, NULL,
         job->top_log_prob, statistics},
        {"bottom_value", "smallest entries of each row", OTIMES_F32, bottom, NULL,
         job->bottom_value, true},
        {"bottom_id", "their output tokens", OTIMES_I32, bottom, "output_token", job->bottom_id,
         true},
        {"row_mean", "mean of the row", OTIMES_F64, NULL, NULL, job->rows.mean, statistics},
        {"row_std", "population standard deviation of the row", OTIMES_F64, NULL, NULL,
         job->rows.std, statistics},
        {"row_logsumexp", "log of the sum of exponentials of the row", OTIMES_F64, NULL, NULL,
         job->rows.logsumexp, statistics},
        {"diagonal_value", "entry of the token itself", OTIMES_F32, NULL, NULL, job->rows.own_value,
         true},
        {"diagonal_rank", "how many entries of the row are larger than the token's own", OTIMES_I64,
         NULL, NULL, job->rows.own_rank, statistics},
    };
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < BIGRAM_ARRAYS; i++) {
        if (!list[i].wanted) {
            continue;
        }
        bigram_output *output = &w->outputs[w->output_count++];
        *output = (bigram_output){
            .array = {.name = list[i].name,
                      .type = list[i].type,
                      .ndim = list[i].axis ? 2 : 1,
                      .axis = {&w->token, list[i].axis},
                      .long_name = list[i].long_name,
                      .units = "1",
                      .formula = formula,
                      .orientation = "row = source token, column = output token",
                      .labels_of = list[i].labels_of},
            .data = list[i].data,
        };
        rc = otimes_sink_declare(w->sink, &output->array, &output->id, err);
    }
    return rc;
}

static int make_axes(bigram_job *job, otimes_err *err)
{
    bigram_writer *w = &job->writer;
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
    w->bottom_rank =
        (otimes_axis){"bottom_rank", job->bottom, NULL, NULL, "place, the smallest first"};
    return rc;
}

static int declare_ids(bigram_job *job, otimes_err *err)
{
    bigram_writer *w = &job->writer;
    const otimes_array ids = {.name = "token_id",
                              .type = OTIMES_I64,
                              .ndim = 1,
                              .axis = {&w->token},
                              .long_name = "id of each source token",
                              .formula = "id",
                              .orientation = "one entry a source token"};
    const int rc = otimes_sink_axis(w->sink, &w->output_token, err);
    return rc == OTIMES_OK ? otimes_sink_whole(w->sink, &ids, w->token_ids, err) : rc;
}

/* A chunk is what one strip has of one block, so that none is written twice. */
static int declare_table(bigram_job *job, otimes_err *err)
{
    bigram_writer *w = &job->writer;
    w->table = w->outputs[0].array;
    w->table.name = "table";
    w->table.type = job->halves ? OTIMES_F16 : OTIMES_F32;
    w->table.axis[1] = job->settings->columns ? &w->column : &w->output_token;
    w->table.long_name = "the table itself";
    w->table.chunk[0] = OTIMES_TABLE_STRIP;
    w->table.chunk[1] = OTIMES_TABLE_BLOCK;
    w->table.whole = 1;
    return otimes_sink_declare(w->sink, &w->table, &w->table_id, err);
}

static int write_attributes(const bigram_job *job, otimes_err *err)
{
    otimes_sink *sink = job->writer.sink;
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

int otimes_bigram_declare(bigram_job *job, otimes_sink *sink, otimes_err *err)
{
    job->writer.sink = sink;
    int rc = write_attributes(job, err);
    if (rc == OTIMES_OK) {
        rc = make_axes(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_ids(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_outputs(job, err);
    }
    if (rc == OTIMES_OK && job->settings->full != OTIMES_BIGRAM_FULL_NONE) {
        rc = declare_table(job, err);
    }
    return rc;
}

int otimes_bigram_write_sheet(const bigram_job *job, int64_t rows, otimes_err *err)
{
    const bigram_writer *w = &job->writer;
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < w->output_count; i++) {
        rc = otimes_sink_slab(w->sink, &w->outputs[i].array, w->outputs[i].id, job->first_row, rows,
                              w->outputs[i].data, err);
    }
    return rc;
}

int otimes_bigram_write_block(const bigram_job *job, const otimes_table_values *block,
                              otimes_err *err)
{
    const bigram_writer *w = &job->writer;
    const int64_t start[] = {block->first_row, block->first_column};
    const int64_t count[] = {block->rows, block->columns};
    const void *data = job->halves ? (const void *)job->halves : (const void *)block->values;
    if (otimes_sink_has(w->sink, w->table_id, start,
                        count)) { /* of a sheet that was not finished */
        return OTIMES_OK;
    }
    return w->sink->ops->write(w->sink, w->table_id, start, count, data, err);
}

bool otimes_bigram_has(const bigram_job *job, int64_t first, int64_t rows)
{
    const bigram_writer *w = &job->writer;
    bool has = true;
    for (int i = 0; has && i < w->output_count; i++) {
        const otimes_array *array = &w->outputs[i].array;
        const int64_t start[] = {first, 0};
        const int64_t count[] = {rows, array->ndim > 1 ? array->axis[1]->length : 1};
        has = count[1] == 0 || otimes_sink_has(w->sink, w->outputs[i].id, start, count);
    }
    for (int64_t c = 0; has && w->table.name && c < job->column_count; c += OTIMES_TABLE_BLOCK) {
        const int64_t left = job->column_count - c;
        const int64_t start[] = {first, c};
        const int64_t count[] = {rows, left < OTIMES_TABLE_BLOCK ? left : OTIMES_TABLE_BLOCK};
        has = otimes_sink_has(w->sink, w->table_id, start, count);
    }
    return has;
}
