/* SPDX-License-Identifier: MIT
 *
 * What the files of the `logits` analysis share: the request, the batch at hand, the arrays.
 */
#ifndef OTIMES_ANALYSIS_LOGITS_JOB_H
#define OTIMES_ANALYSIS_LOGITS_JOB_H

#include <stdbool.h>

#include <otimes/logits.h>

#include "base/mem.h"
#include "run/pass.h"
#include "run/readout.h"
#include "run/texts.h"

/* Results of the places of one batch, in the order of its texts, as they are written. */
typedef struct logits_results {
    float *top_value, *top_log_prob; /* [places, top] */
    int32_t *top_id;
    double *logsumexp, *entropy; /* [places] */
    float *next_log_prob;        /* [places] */
    int64_t *next_rank;          /* [places] */
} logits_results;

typedef struct logits_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_logits_settings *settings;
    otimes_sink *sink;
    otimes_pulse pulse; /* in tokens */
    otimes_texts texts;
    otimes_layers layers;
    otimes_forward_settings forward;
    int64_t max_rows; /* tokens of a batch, unless one text is longer */
    int64_t top;
    bool next; /* input and output tokens are the same: there is a next one to compare with */

    otimes_sequences batch; /* texts at hand, */
    int64_t first_text;     /* from this one on */

    float *stream;       /* [rows, d_model] of the batch */
    float *normal;       /* [places, d_model] */
    int64_t *target;     /* [places] next tokens; -1: none */
    float *target_logit; /* [places] */
    float *block;        /* [block_rows, d_vocab_out] with `full` */
    int64_t block_rows;
    logits_results results;
    otimes_pool pool; /* every buffer above */
} logits_job;

/* Places of a text in the result, and the position that place i means. */
int64_t otimes_logits_places(const logits_job *job, int64_t text);
int64_t otimes_logits_position(const logits_job *job, int64_t text, int64_t i);

/* An array and where the places of a batch lie. */
typedef struct logits_output {
    otimes_array array;
    size_t field; /* in logits_results */
    int id;
} logits_output;

enum { LOGITS_OUTPUTS = 7 };

/* The arrays of the request; the job and this must outlive the sink. */
typedef struct logits_writer {
    logits_job *job;
    otimes_axis place, rank, output_token;
    const char **output_labels;
    int64_t *place_labels; /* [position_count] */
    logits_output outputs[LOGITS_OUTPUTS];
    int output_count;
    otimes_array place_array, table, loss, predicted;
    int place_id, table_id, loss_id, predicted_id;
} logits_writer;

/* Facts of the result, and the texts. */
int otimes_logits_facts(logits_job *job, otimes_err *err);

/* The axis of output tokens, announced; *labels is the caller's to free. */
int otimes_logits_output_axis(const logits_job *job, otimes_axis *axis, const char ***labels,
                              otimes_err *err);

/* Facts, texts, then every array declared. Release with
 * otimes_logits_writer_free. */
int otimes_logits_declare(logits_writer *writer, logits_job *job, otimes_err *err);

/* Whether the sink has all of a text already. */
bool otimes_logits_done(const logits_writer *writer, int64_t text);

/* Rows of the table: `count` places of a text from `first` on. */
int otimes_logits_write_block(const logits_writer *writer, int64_t text, int64_t first,
                              int64_t count, const float *values, otimes_err *err);

/* The results of the batch at hand. */
int otimes_logits_write_batch(const logits_writer *writer, otimes_err *err);

void otimes_logits_writer_free(logits_writer *writer);

/* The other way of this analysis: texts continued, for settings.generate.count > 0. */
int otimes_logits_generate(logits_job *job, otimes_err *err);

#endif
