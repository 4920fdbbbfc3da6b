/* SPDX-License-Identifier: MIT
 *
 * What the files of `trigrams` share.
 */
#ifndef OTIMES_ANALYSIS_TRIGRAMS_JOB_H
#define OTIMES_ANALYSIS_TRIGRAMS_JOB_H

#include <otimes/trigrams.h>

#include "base/mem.h"
#include "model/model.h"

/* Places of the three tokens among the chosen ones, and the two factors of the strength. */
typedef struct trigram {
    int32_t source, destination, out;
    float score, effect;
} trigram;

/* The strongest seen, as a binary heap with the weakest at its root. */
typedef struct trigram_list {
    int64_t capacity, count;
    trigram *item; /* [capacity] */
} trigram_list;

/* One head over the vocabulary: score = queries keys^T, effect = values outs^T, each row d_head
 * long. Keys are centred and divided by attn_scale. */
typedef struct trigram_rows {
    float *queries; /* [destinations] */
    float *keys;    /* [sources] */
    float *values;  /* [sources] */
    float *outs;    /* [outs], centred */
    const otimes_rope *rope;
    double *frequency; /* [d_head] */
} trigram_rows;

typedef struct trigrams_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_trigrams_settings *settings;
    const otimes_trigrams_head *heads;
    const int64_t *offsets;
    int64_t head_count, offset_count, top;
    int64_t sources, destinations, outs; /* how many */
    otimes_unembed unembed;
    float *embed_norm;                    /* w, then b; NULL: none */
    float *query_position, *key_position; /* [d_model]; NULL: none */
    trigram_rows rows;
    trigram_list best; /* of one head and offset */
    double skipped;    /* share of it */
    otimes_pool pool;
} trigrams_job;

/* Fills job->rows for one head of a loaded layer. */
int otimes_trigrams_rows(trigrams_job *job, const otimes_layer *layer, int64_t head,
                         otimes_err *err);

/* Told of the share done; stops the search by its error. */
typedef struct trigrams_ticker {
    otimes_sink *sink;
    double done, total;
} trigrams_ticker;

/* The strongest triples of job->rows at an offset into job->best, sorted, and job->skipped. */
int otimes_trigrams_search(trigrams_job *job, int64_t offset, const trigrams_ticker *ticker,
                           otimes_err *err);

/* Keys turned by an offset. */
typedef struct trigrams_turn {
    const otimes_rope *rope;
    const double *frequency;
    double delta;
} trigrams_turn;

/* bound [count]: no product of row i, turned if `turned` is not NULL, with any of the others
 * [other_count, e] exceeds it but by rounding. 2 (count + other_count) e^2 flops. */
int otimes_trigrams_bound(const float *rows, int64_t count, const float *others,
                          int64_t other_count, int64_t e, const trigrams_turn *turned, int threads,
                          double *bound, otimes_err *err);

/* The order of results: whether a stands before b. */
bool otimes_trigram_before(const trigram *a, const trigram *b);

typedef struct trigrams_writer trigrams_writer;

/* Declares every array; release with otimes_trigrams_writer_free, which accepts NULL in *writer. */
int otimes_trigrams_writer_new(trigrams_writer **writer, const trigrams_job *job, otimes_sink *sink,
                               otimes_err *err);

/* job->best of the head and offset at these places. */
int otimes_trigrams_write(trigrams_writer *writer, int64_t head_at, int64_t offset_at,
                          otimes_err *err);

/* The strongest of all that were written. */
int otimes_trigrams_write_overall(trigrams_writer *writer, otimes_err *err);
void otimes_trigrams_writer_free(trigrams_writer **writer);

#endif
