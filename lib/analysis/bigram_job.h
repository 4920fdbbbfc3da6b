/* SPDX-License-Identifier: MIT
 *
 * What the files of the `bigram` analysis share: the request as a table, the arrays.
 */
#ifndef OTIMES_ANALYSIS_BIGRAM_JOB_H
#define OTIMES_ANALYSIS_BIGRAM_JOB_H

#include <otimes/bigram.h>

#include "base/mem.h"
#include "run/table.h"
#include "run/table_rows.h"
#include "run/vocab_side.h"

/* The vectors of the table: source tokens as the unembedding reads them, output tokens as W_U has them. An
 * output bias is one dimension more, 1 times b_U. */
typedef struct bigram_side {
    otimes_vocab_side vocab; /* output tokens if it has an unembedding, otherwise source tokens */
    const float *embed_norm; /* [2, d_model] weight and bias of the norm after W_E; NULL: none */
    const float *position;   /* [d_model] added to each source token; NULL: none */
    const otimes_unembed *norm; /* whose norm each source token then goes through; NULL: none */
    const float *bias;          /* by output token; NULL: no such dimension. On both sides */
} bigram_side;

enum { BIGRAM_ARRAYS = 10 };

/* An array and where the rows of a sheet lie. */
typedef struct bigram_output {
    otimes_array array;
    const void *data;
    int id;
} bigram_output;

/* The arrays of the request; must outlive the sink. */
typedef struct bigram_writer {
    otimes_sink *sink;
    otimes_axis token, output_token, column, rank, bottom_rank;
    const char **token_labels, **output_labels, **column_labels;
    int64_t *token_ids;
    bigram_output outputs[BIGRAM_ARRAYS];
    int output_count;
    otimes_array table;
    int table_id;
} bigram_writer;

typedef struct bigram_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_bigram_settings *settings;
    otimes_unembed unembed;
    int64_t row_count, column_count, top, bottom;
    int64_t corpus_rows; /* that a second pass goes through; see bigram_corpus.h */
    double softcap;      /* of exact logits; 0: none */
    bigram_side row, column;
    otimes_table table;     /* of those sides, before the cap */
    otimes_table_rows rows; /* statistics of the sheet at hand */
    /* Results of the sheet at hand that are not as the engine has them. */
    float *top_value, *top_log_prob, *bottom_value; /* [sheet rows, top or bottom] */
    int32_t *top_id, *bottom_id;
    uint16_t *halves;  /* [sheet rows, block] with full=float16 */
    int64_t first_row; /* of the sheet */
    otimes_pool pool;
    bigram_writer writer;
} bigram_job;

/* The table of checked settings. Release with otimes_bigram_free. */
int otimes_bigram_open(bigram_job *job, otimes_err *err);

/* The side as one of a table of rank otimes_bigram_rank. */
otimes_table_side otimes_bigram_side(const bigram_side *side, int64_t count);
int64_t otimes_bigram_rank(const bigram_side *side);

/* c tanh(x / c) of values where the model caps its logits. */
void otimes_bigram_cap(const bigram_job *job, int64_t count, float *values);

/* Facts of the result, then every array declared. */
int otimes_bigram_declare(bigram_job *job, otimes_sink *sink, otimes_err *err);

/* Whether an interrupted run wrote all of those rows. */
bool otimes_bigram_has(const bigram_job *job, int64_t first, int64_t count);

/* The results of the sheet at hand, and with `full` a block of the table. */
int otimes_bigram_write_sheet(const bigram_job *job, int64_t rows, otimes_err *err);
int otimes_bigram_write_block(const bigram_job *job, const otimes_table_values *block,
                              otimes_err *err);

void otimes_bigram_free(bigram_job *job);

#endif
