/* SPDX-License-Identifier: MIT
 *
 * The arrays of `bigram`: what each is called and where a tile of it lies.
 */
#include <stdbool.h>

#include "analysis/bigram_job.h"
#include "base/sink.h"
#include "model/labels.h"

static int declare_outputs(bigram_writer *w, otimes_err *err)
{
    const bigram_job *job = w->job;
    const char *formula = job->settings->exact ? "LN_f(W_E (+ W_pos)) W_U + b_U" : "W_E W_U";
    const struct {
        const char *name, *long_name;
        otimes_type type;
        bool ranked;
        const char *labels_of;
        size_t field;
    } list[BIGRAM_OUTPUTS] = {
        {"top_value", "largest entries of each row", OTIMES_F32, true, NULL,
         offsetof(bigram_results, top_value)},
        {"top_id", "their output tokens", OTIMES_I32, true, "output_token",
         offsetof(bigram_results, top_id)},
        {"top_log_prob", "their log-probabilities under the row's softmax", OTIMES_F32, true, NULL,
         offsetof(bigram_results, top_log_prob)},
        {"bottom_value", "smallest entries of each row", OTIMES_F32, true, NULL,
         offsetof(bigram_results, bottom_value)},
        {"bottom_id", "their output tokens", OTIMES_I32, true, "output_token",
         offsetof(bigram_results, bottom_id)},
        {"row_mean", "mean of the row", OTIMES_F64, false, NULL, offsetof(bigram_results, mean)},
        {"row_std", "population standard deviation of the row", OTIMES_F64, false, NULL,
         offsetof(bigram_results, std)},
        {"row_logsumexp", "log of the sum of exponentials of the row", OTIMES_F64, false, NULL,
         offsetof(bigram_results, logsumexp)},
        {"diagonal_value", "entry of the token itself", OTIMES_F32, false, NULL,
         offsetof(bigram_results, diagonal_value)},
        {"diagonal_rank", "how many entries of the row are larger than the token's own", OTIMES_I64,
         false, NULL, offsetof(bigram_results, diagonal_rank)},
    };
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < BIGRAM_OUTPUTS; i++) {
        w->outputs[i] = (bigram_output){
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
        rc = otimes_sink_declare(w->sink, &w->outputs[i].array, &w->outputs[i].id, err);
    }
    return rc;
}

static int make_axes(bigram_writer *w, otimes_err *err)
{
    const bigram_job *job = w->job;
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

static int declare_arrays(bigram_writer *w, otimes_err *err)
{
    const bigram_job *job = w->job;
    const otimes_bigram_settings *s = job->settings;
    int rc = make_axes(w, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_axis(w->sink, &w->output_token, err);
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
        rc = otimes_sink_declare(w->sink, &w->id_array, &w->id_id, err);
    }
    if (rc == OTIMES_OK) {
        rc =
            otimes_sink_slab(w->sink, &w->id_array, w->id_id, 0, job->row_count, w->token_ids, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_outputs(w, err);
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
    return otimes_sink_declare(w->sink, &w->table, &w->table_id, err);
}

int otimes_bigram_write_tile(const bigram_writer *w, otimes_err *err)
{
    const bigram_job *job = w->job;
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < BIGRAM_OUTPUTS; i++) {
        const void *data = *(void *const *)((const char *)&job->results + w->outputs[i].field);
        rc = otimes_sink_slab(w->sink, &w->outputs[i].array, w->outputs[i].id, job->first_row,
                              job->tile_rows, data, err);
    }
    return rc;
}

int otimes_bigram_write_block(const bigram_writer *w, otimes_err *err)
{
    const bigram_job *job = w->job;
    const int64_t start[OTIMES_MAX_DIMS] = {job->first_row, job->first_column};
    const int64_t count[OTIMES_MAX_DIMS] = {job->tile_rows, job->block_columns};
    const void *data = job->halves ? (const void *)job->halves : (const void *)job->strips;
    return w->sink->ops->write(w->sink, w->table_id, start, count, data, err);
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

int otimes_bigram_declare(bigram_writer *writer, const bigram_job *job, otimes_sink *sink,
                          otimes_err *err)
{
    writer->job = job;
    writer->sink = sink;
    const int rc = write_attributes(job, sink, err);
    return rc == OTIMES_OK ? declare_arrays(writer, err) : rc;
}

void otimes_bigram_writer_free(bigram_writer *writer)
{
    otimes_free(writer->token_labels);
    otimes_free(writer->output_labels);
    otimes_free(writer->column_labels);
    otimes_free(writer->token_ids);
    *writer = (bigram_writer){0};
}
