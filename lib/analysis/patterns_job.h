/* SPDX-License-Identifier: MIT
 *
 * What the files of the `patterns` analysis share: the request, the batch at hand, the arrays.
 *
 * Patterns come strip by strip from several threads. Each query's scores go to slots of its own and
 * are added up in the order of the queries once all of a layer are there, so neither strips nor
 * threads are seen in the bits.
 */
#ifndef OTIMES_ANALYSIS_PATTERNS_JOB_H
#define OTIMES_ANALYSIS_PATTERNS_JOB_H

#include <stdbool.h>

#include <otimes/patterns.h>

#include "base/mem.h"
#include "run/texts.h"

/* Scores of one query of one head. Offsets follow behind them. */
enum {
    SLOT_PREVIOUS,
    SLOT_CURRENT,
    SLOT_FIRST,
    SLOT_DUPLICATE,
    SLOT_INDUCTION,
    SLOT_ENTROPY,
    SLOT_ENTROPY_SHARE,
    SLOT_SINK,
    SLOT_NEXT,
    SLOT_PATTERN,
    SLOT_PATTERN_SHARE, /* made of sums alone */
    PATTERNS_SLOTS
};

/* A text or a repeated sequence of the batch. */
typedef struct patterns_sequence {
    int64_t text;          /* its place among the texts; -1: a repeated one */
    int64_t length;        /* tokens */
    int64_t queries;       /* how many of the asked-for positions are in it */
    int64_t row;           /* of its first token in the batch */
    const int64_t *id;     /* [length] */
    const int64_t *before; /* [length] the last earlier position with the same token; -1: none */
    float *pattern;        /* with full: [head, queries, length] of the layer at hand */
} patterns_sequence;

/* What makes up one kind of run: texts, or repeated sequences. */
typedef struct patterns_kind {
    int64_t period;          /* of repeated sequences; 0: texts */
    int64_t first;           /* where the first copy begins */
    const int64_t *position; /* [positions] asked-for queries, ascending; NULL: all */
    int64_t position_count;
    bool full;
    int64_t top;
} patterns_kind;

typedef struct patterns_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_patterns_settings *settings;
    otimes_sink *sink;
    otimes_forward *forward;
    int64_t layer_count, head_count, slots;
    int64_t *layer, *head;         /* those asked for */
    int64_t *layer_slot;           /* [n_layers] place among them; -1: not asked for */
    int64_t *head_slot;            /* [n_heads] the same */
    otimes_layer_info *layer_info; /* [n_layers] */
    int64_t *pattern_start;        /* [longest + 1] entries of each query; NULL without */
    int64_t max_rows;              /* tokens of a batch */
    double done, total;            /* tokens x layers */
    otimes_pool pool;
} patterns_job;

typedef struct patterns_writer patterns_writer;

/* Sequences that run together; buffers have room for the largest batch. */
typedef struct patterns_batch {
    patterns_job *job;
    const patterns_writer *writer; /* NULL: nothing is written layer by layer */
    const patterns_kind *kind;
    patterns_sequence *sequence;
    int64_t count, rows;
    int64_t *length;
    const int64_t **id;
    int64_t *before;              /* [rows] */
    int64_t *seen;                /* [d_vocab] scratch, all -1 between uses */
    double *slot;                 /* [head, rows, slots] of the layer at hand; a sequence's queries
                                     stand at the first of its rows */
    double *sum, *weight, *score; /* [sequence, slots, layer, head]; score = sum / weight */
    double *head_sum;             /* [2, slots] scratch */
    double *offset_score;         /* [layer, head, offset] scratch */
    float *pattern;               /* see patterns_sequence */
    float *top_weight;            /* of a sequence at row * heads * top: [head, queries, top] */
    int32_t *top_key;
    otimes_pool pool;
} patterns_batch;

/* patterns_score.c: a strip of a pattern into the slots of its queries; called on any thread. */
void otimes_patterns_strip(const patterns_batch *batch, const otimes_activation *strip);
/* A layer's slots of every sequence into their sums and scores. */
void otimes_patterns_reduce(const patterns_batch *batch, int64_t layer_slot);
/* The links of equal tokens of every sequence of the batch. */
void otimes_patterns_link(patterns_batch *batch);

/* patterns_run.c: makes room for batches of that many sequences, tokens and numbers of patterns,
 * and runs what batch->sequence says. */
int otimes_patterns_batch_init(patterns_batch *batch, int64_t count, int64_t rows,
                               int64_t pattern_numbers, otimes_err *err);
int otimes_patterns_batch_run(patterns_batch *batch, otimes_err *err);
void otimes_patterns_batch_free(patterns_batch *batch);

/* patterns_repeated.c: everything about repeated sequences. */
typedef struct patterns_repeated {
    otimes_axis sequence, position, layer, head;
    otimes_array id, score[3];
    int id_id, score_id[3];
    int64_t *ids;         /* [sequence, position] */
    double *sum, *weight; /* [slots, layer, head] over all sequences */
} patterns_repeated;
int otimes_patterns_repeated_declare(patterns_repeated *repeated, patterns_job *job,
                                     otimes_err *err);
int otimes_patterns_repeated_run(const patterns_repeated *repeated, patterns_job *job,
                                 otimes_err *err);

/* patterns_write.c: the arrays of texts. */
struct patterns_writer {
    patterns_job *job;
    const patterns_kind *kind;
    otimes_texts *texts;
    otimes_axis layer, head, query, key, rank, offset, score;
    const char *score_name[PATTERNS_SLOTS];
    int64_t *all_positions;
    otimes_array array[PATTERNS_SLOTS];
    otimes_array offset_score, query_count, top_key, top_weight, pattern;
    int id[PATTERNS_SLOTS];
    int offset_id, query_count_id, top_key_id, top_weight_id, pattern_id;
};

int otimes_patterns_declare(patterns_writer *writer, otimes_err *err);
/* Whether everything of a text is in the sink already. */
bool otimes_patterns_is_done(const patterns_writer *writer, int64_t text);
/* What a layer of a sequence has: the strongest keys, the patterns. */
int otimes_patterns_write_layer(const patterns_batch *batch, int64_t layer_slot, int64_t sequence,
                                otimes_err *err);
/* The scores of a sequence, query_count last. */
int otimes_patterns_write_scores(const patterns_batch *batch, int64_t sequence, otimes_err *err);

/* patterns_texts.c: texts still to do, cut into batches. */
typedef struct patterns_plan {
    int64_t *text; /* [count] */
    int64_t count;
    int64_t sequences, rows,
        numbers;    /* of the largest batch in each respect: texts, tokens, numbers
                                         of patterns that are kept */
    int64_t tokens; /* of all that are still to do */
} patterns_plan;

/* Also holds what a batch takes against what the caller allows. */
int otimes_patterns_plan_texts(const patterns_writer *writer, patterns_plan *plan, otimes_err *err);
int otimes_patterns_run_texts(const patterns_writer *writer, const patterns_plan *plan,
                              otimes_err *err);

#endif
