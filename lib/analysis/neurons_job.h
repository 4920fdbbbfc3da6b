/* SPDX-License-Identifier: MIT
 *
 * What the files of the `neurons` analysis share: one MLP at a time, tiles of its neurons, and what
 * was found of them.
 */
#ifndef OTIMES_ANALYSIS_NEURONS_JOB_H
#define OTIMES_ANALYSIS_NEURONS_JOB_H

#include <stdbool.h>

#include <otimes/neurons.h>

#include "base/mem.h"

/* The vectors of a neuron, and the ways between heads and neurons. */
typedef enum neurons_side { SIDE_OUT, SIDE_IN, SIDE_GATE, SIDES } neurons_side;
typedef enum neurons_way { WAY_Q, WAY_K, WAY_V, WAY_IN, WAY_GATE, WAYS } neurons_way;

/* Strips of neurons by the heads of a layer: the product of one is consumed while it is in cache.
 * The shapes do not depend on the number of threads, so neither do the results. */
enum { STRIP_ROWS = 256, MOST_TILE_ROWS = 4096 };

/* The reading and the writing half of one MLP: a layer's, an expert's, the shared expert's. */
typedef struct neurons_unit {
    int64_t layer_at, layer; /* place among the chosen layers, and the layer */
    int64_t base, expert;    /* number of its first neuron; -1 where there are no experts */
    int64_t first, count;    /* of the chosen neurons, those that are its */
    const otimes_tensor *W_in, *W_gate, *W_out, *b_in, *b_gate;
    const float *post; /* [d_model] weight of the norm behind the MLP; NULL: none */
} neurons_unit;

/* Of one side, for the chosen neurons of the unit at hand; NULL where it is not computed. */
typedef struct neurons_found {
    double *norm, *mean, *variance, *skew, *kurtosis, *max, *min;
    float *top_value, *bottom_value; /* [room, kept] */
    int32_t *top_id, *bottom_id;
} neurons_found;

typedef struct neurons_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_neurons_settings *settings;
    otimes_sink *sink;
    int64_t layer_count, neuron_count;
    const int64_t *layers, *neurons; /* [layer_count], [neuron_count] */
    int64_t top, kept;               /* tokens at each end, heads each way; kept is at least 1 */
    bool has[SIDES];                 /* the model has such vectors */
    bool seen[SIDES];                /* they are taken through the vocabulary */
    int64_t room;                    /* chosen neurons of the largest unit */
    int64_t tile_rows;
    double done, total; /* of the progress bar */
    otimes_unembed unembed;

    neurons_unit unit;
    int64_t tile_first, rows; /* of the tile at hand, in the unit; rows 0: none */
    float *row[SIDES];        /* [tile_rows, d_model] */
    float *strips;            /* a worker's [STRIP_ROWS, strip_columns] */
    int64_t strip_columns;
    struct otimes_moments *moments; /* [tile_rows] over the vocabulary */
    float *null_rows;               /* [null_directions, d_model] */
    double *singular_values;        /* [d_model] of W_U, with null_directions */

    neurons_found found[SIDES];
    double *cos_in_out, *cos_gate_out, *cos_in_gate, *b_in, *b_gate, *null_share; /* [room] */
    int64_t *expert;
    float *score[WAYS]; /* [room, kept] */
    int32_t *head[WAYS];
    struct otimes_topk *strongest; /* [WAYS, room] */
    int64_t head_rank;             /* min(d_head, d_model) */
    float *reader[3]; /* [n_heads head_rank, d_model] rows that a side is multiplied by */
    bool *silent;     /* [3, n_heads] heads whose matrix is 0 */
    float *table[3];  /* [room, n_heads] scores of one layer of heads */
    otimes_pool pool; /* every buffer above */
} neurons_job;

/* An array: its name and shape, and where the part of the unit at hand lies. */
typedef struct neurons_writer neurons_writer;

/* The analysis with tiles of at most so many neurons: what it says does not depend on them. */
int otimes_neurons_tiled(const otimes_model *model, const otimes_neurons_settings *settings,
                         int64_t most_rows, otimes_sink *sink, otimes_err *err);

/* Buffers for rows and what is said of each alone. */
int otimes_neurons_rows_begin(neurons_job *job, otimes_err *err);

/* Brings rows first .. first+rows-1 of the unit into job->row. */
int otimes_neurons_rows_gather(neurons_job *job, int64_t first, int64_t rows, otimes_err *err);

/* Norms, cosines, biases, shares of the tile at hand. */
int otimes_neurons_rows_measure(neurons_job *job, otimes_err *err);

/* The vocabulary: buffers (and the small singular directions of W_U), and the tile at hand. */
int otimes_neurons_vocab_begin(neurons_job *job, otimes_err *err);
int otimes_neurons_vocab(neurons_job *job, otimes_err *err);

/* Heads: buffers, and the whole unit. The writer gets the tables of each layer of heads. */
int otimes_neurons_heads_begin(neurons_job *job, otimes_err *err);
int otimes_neurons_compose(neurons_job *job, const neurons_writer *writer, otimes_err *err);

/* Whether heads of a layer write before the MLP of another reads. */
bool otimes_neurons_reads_heads_of(const neurons_job *job, int64_t head_layer, int64_t layer);

/* Facts and arrays declared; the job must outlive the writer, and that the sink. */
int otimes_neurons_writer_new(neurons_writer **writer, neurons_job *job, otimes_err *err);
int otimes_neurons_write_unit(const neurons_writer *writer, otimes_err *err);

/* Scores of the unit at hand with the heads of one layer, [rows, n_heads] each; way from .. to - 1
 * lie in table[0] and on. */
int otimes_neurons_write_tables(const neurons_writer *writer, int64_t head_layer, neurons_way from,
                                neurons_way to, otimes_err *err);
void otimes_neurons_writer_free(neurons_writer **writer);

#endif
