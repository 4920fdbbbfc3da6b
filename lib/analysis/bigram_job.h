/* SPDX-License-Identifier: MIT
 *
 * What the files of the `bigram` analysis share: the request, the tile at hand, the arrays.
 */
#ifndef OTIMES_ANALYSIS_BIGRAM_JOB_H
#define OTIMES_ANALYSIS_BIGRAM_JOB_H

#include <stddef.h>

#include <otimes/bigram.h>

#include "base/mem.h"
#include "num/stats.h"
#include "num/topk.h"
#include "run/plan.h"

/* Rows are taken by tiles, each tile by strips that one worker carries through all the columns of a
 * block: product and consumers while it is in cache. The shapes do not depend on the number of
 * threads, so neither do the results. */
enum {
    TILE_ROWS = OTIMES_TILE_ROWS,
    STRIP_ROWS = OTIMES_STRIP_ROWS,
    BLOCK_COLUMNS = OTIMES_BLOCK_COLUMNS
};

/* Running state of one row. */
typedef struct bigram_row {
    otimes_topk top, bottom;
    otimes_row_stats stats;
    int64_t diagonal_column; /* place of the row's own token among the columns; -1: none */
    float diagonal;
    int64_t above; /* entries larger than the diagonal */
} bigram_row;

/* Results of one tile, as they are written. */
typedef struct bigram_results {
    float *top_value, *top_log_prob, *bottom_value; /* [TILE_ROWS, top] */
    int32_t *top_id, *bottom_id;
    double *mean, *std, *logsumexp; /* [TILE_ROWS] */
    float *diagonal_value;
    int64_t *diagonal_rank;
} bigram_results;

typedef struct bigram_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_bigram_settings *settings;
    otimes_unembed unembed;
    const float *bias; /* [columns] with exact; NULL: none */
    int64_t row_count, column_count, top;
    float *embed_norm;  /* [2, d_model] weight and bias of the norm after W_E; NULL: none */
    float *position;    /* [d_model] added to each row; NULL: none */
    double softcap;     /* of exact logits; 0: none */
    float *rows;        /* [TILE_ROWS, d_model] */
    float *columns;     /* [BLOCK_COLUMNS, d_model] */
    float *strips;      /* a worker's [STRIP_ROWS, BLOCK_COLUMNS]; with full [TILE_ROWS, ...] */
    uint16_t *halves;   /* [TILE_ROWS, BLOCK_COLUMNS] with full=float16 */
    bigram_row *states; /* [TILE_ROWS] */
    bigram_results results;
    int64_t first_row, tile_rows, first_column, block_columns; /* at hand */
    otimes_pool pool;                                          /* every buffer above */
} bigram_job;

/* An array and where a tile of it lies. */
typedef struct bigram_output {
    otimes_array array;
    size_t field; /* in bigram_results */
    int id;
} bigram_output;

enum { BIGRAM_OUTPUTS = 10 };

/* The arrays of the request; the job and this must outlive the sink. */
typedef struct bigram_writer {
    const bigram_job *job;
    otimes_sink *sink;
    otimes_axis token, output_token, column, rank;
    const char **token_labels, **output_labels, **column_labels;
    int64_t *token_ids;
    bigram_output outputs[BIGRAM_OUTPUTS];
    otimes_array id_array, table;
    int id_id, table_id;
} bigram_writer;

/* Facts of the result, then every array declared. Release with otimes_bigram_writer_free. */
int otimes_bigram_declare(bigram_writer *writer, const bigram_job *job, otimes_sink *sink,
                          otimes_err *err);

/* The results of the tile at hand, and with `full` one block of the table. */
int otimes_bigram_write_tile(const bigram_writer *writer, otimes_err *err);
int otimes_bigram_write_block(const bigram_writer *writer, otimes_err *err);

/* Accepts zeroed. */
void otimes_bigram_writer_free(bigram_writer *writer);

#endif
