/* SPDX-License-Identifier: MIT
 *
 * What the files of the `decompose` analysis share: the request, the parts it names, a batch.
 */
#ifndef OTIMES_ANALYSIS_DECOMPOSE_JOB_H
#define OTIMES_ANALYSIS_DECOMPOSE_JOB_H

#include <otimes/decompose.h>

#include "num/topk.h"
#include "run/frozen.h"
#include "run/pass.h"
#include "run/texts.h"

/* Where a layer's parts stand among the components; -1: it has none. */
typedef struct decompose_layer {
    int64_t attention; /* first head, or the attention as a whole */
    int64_t attention_bias;
    int64_t mlp;
    int64_t pre, mid; /* places of its points in the lens */
} decompose_layer;

enum {
    OTIMES_DECOMPOSE_ROWS = 32,   /* chosen rows that a thread takes at a time */
    OTIMES_DECOMPOSE_VARYING = 64 /* directions of rows that go through W_out together */
};

static inline int64_t otimes_decompose_blocks(int64_t rows)
{
    return (rows + OTIMES_DECOMPOSE_ROWS - 1) / OTIMES_DECOMPOSE_ROWS;
}

typedef struct decompose_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_decompose_settings *settings;
    otimes_layers layers;
    int64_t run_layers; /* layers 0 .. run_layers-1 are run */
    bool by_heads, by_neurons;
    bool splits_embedding; /* positions are a part of their own */
    bool varying;          /* the target is another one at each position */
    bool twice;            /* a first pass finds what the second needs */
    int64_t embed, pos_embed, bias, component_count;
    const char **component;
    decompose_layer *layer;
    int64_t point_count; /* of the lens; the last is the one that is decomposed */
    const char **point;
    int64_t target_count;
    const char **target;
    int64_t neuron_count; /* of the layer with most */
    float *direction;     /* [target_count, d_model] p, where not varying */
    double *offset;       /* [target_count] what "bias" is worth */
    otimes_texts texts;
    otimes_pool pool;
} decompose_job;

/* Texts that go through the model together. Chosen rows are counted through the batch. */
typedef struct decompose_batch {
    decompose_job *job;
    otimes_sequences sequences;
    int64_t first_text; /* of the job's */
    otimes_batch rows;
    int64_t longest;
    int64_t *before; /* [rows + 1] chosen rows among those before; row r is number before[r] */
    int64_t *chosen; /* [count] their rows */
    int64_t count;
    otimes_pass pass;
    otimes_frozen frozen; /* scales of post-norms; kept with job->twice alone */
    bool first_pass;

    float *stream;    /* [rows, d_model] */
    float *total;     /* [count, d_model] x at the point */
    float *normal;    /* [count, d_model] x behind the final norm, at any point */
    float *scale;     /* [count] the final norm's, at any point */
    float *direction; /* [target_count or count, d_model] */
    double *offset;   /* the same without d_model */
    float *weighted;  /* the same times a post-norm's weight */
    float *bias;      /* [d_model] b_O, likewise */
    float *projected; /* [directions, n_heads * d_head] through W_O of projected_layer; where
                          varying, those of chosen rows projected_from .. projected_to-1 */
    int64_t projected_layer, projected_from, projected_to;
    float *through; /* [directions, or rows of a block, neurons] through W_out */
    float *values;  /* [target_count, rows of a chunk, n_heads] v_k W_O[h] p, or v itself */
    int64_t values_first, values_rows;
    float *weights;    /* [rows, n_experts] of the experts */
    float *gathered;   /* [OTIMES_DECOMPOSE_VARYING, d_model] */
    int64_t *selected; /* [2, rows] of an MLP's activations */
    float *scratch;    /* [workers, scratch_each] */
    int64_t scratch_each;

    /* Results by chosen row. */
    float *residual_norm, *norm_scale;    /* [count] */
    int64_t *target_id, *against_id;      /* [count, targets] */
    float *norm, *cosine;                 /* [count, components] */
    float *attribution;                   /* [count, targets, components] */
    float *value, *residue;               /* [count, targets] */
    float *lens, *log_prob;               /* [count, targets, points] */
    int64_t *rank;                        /* the same */
    float *source;                        /* from source_at[i] on [targets, layers, heads, keys of
                                             the text] of chosen row i */
    int64_t *source_at;                   /* [count + 1] */
    otimes_topk *top;                     /* [count, targets, 2] largest, smallest */
    float *top_value, *neuron_value;      /* [count, targets, 2 top], [count, targets, top] */
    int32_t *top_index;                   /* as top_value */
    int32_t *neuron_layer, *neuron_index; /* as neuron_value */
    float *neuron_sum, *neuron_rest;      /* [count, targets, layers] */
    float *neuron;                        /* [count, targets, layers, neuron_count] */
    otimes_pool pool;
} decompose_batch;

/* ---- decompose_parts.c ---- */

/* Checks the point, names components, points and targets. */
int otimes_decompose_parts_of(decompose_job *job, otimes_err *err);
/* Neurons of a layer, those of experts counted through. */
int64_t otimes_decompose_neurons_of(const decompose_job *job, int64_t layer);
/* p and the worth of "bias" for one target. */
int otimes_decompose_direction(const decompose_job *job, int64_t target, int64_t against,
                               float *direction, double *offset, otimes_err *err);

/* ---- decompose_batch.c ---- */

/* Called after each layer with the share of a batch's work that is done. */
typedef int (*decompose_tick)(void *context, double share, otimes_err *err);

/* Bytes that a batch takes beside its pass. */
int64_t otimes_decompose_bytes(decompose_job *job, int64_t rows, int64_t chosen, int64_t longest);
/* Chosen positions of a text, marked in chosen [length], zeroed before; how many. */
int otimes_decompose_choose(const decompose_job *job, int64_t text, int64_t length, bool *chosen,
                            int64_t *count, otimes_err *err);
/* A batch of texts, released with batch_free in any case. */
int otimes_decompose_batch_init(decompose_batch *batch, decompose_job *job, int64_t first_text,
                                int64_t count, otimes_err *err);
void otimes_decompose_batch_free(decompose_batch *batch);
/* Everything between the tokens of a batch and its results. */
int otimes_decompose_batch_run(decompose_batch *batch, decompose_tick tick, void *context,
                               otimes_err *err);

/* ---- decompose_visit.c ---- */

uint64_t otimes_decompose_points(const decompose_job *job);
int otimes_decompose_visit(void *context, const otimes_activation *a, otimes_err *err);
/* Of the first pass: scales of post-norms, and the stream at a point in the middle of a layer. */
int otimes_decompose_visit_first(void *context, const otimes_activation *a, otimes_err *err);
/* One part, as it was written to the stream. */
int otimes_decompose_whole(decompose_batch *batch, int64_t component, const otimes_activation *a,
                           otimes_err *err);
/* Norm of factor times a part [d_model], and its cosine with the stream at the point. */
void otimes_decompose_norms(decompose_batch *batch, int64_t chosen, int64_t component,
                            const float *part, double factor);
/* projected [count, columns] := directions [count, d_model], times w [d_model] where that has data,
 * through W [columns, d_model]. */
void otimes_decompose_project(decompose_batch *batch, const float *direction, int64_t count,
                              const otimes_tensor *w, const float *W, int64_t columns,
                              float *projected);
/* 1 over the scale of a post-norm at a row; 1 without. */
double otimes_decompose_post(const decompose_batch *batch, otimes_hook hook, int64_t layer,
                             int64_t row);

/* ---- decompose_heads.c ---- */

int otimes_decompose_heads(decompose_batch *batch, const otimes_activation *a, otimes_err *err);
int otimes_decompose_values(decompose_batch *batch, const otimes_activation *a, otimes_err *err);
void otimes_decompose_pattern(decompose_batch *batch, const otimes_activation *a);

/* ---- decompose_neurons.c ---- */

int otimes_decompose_neurons(decompose_batch *batch, const otimes_activation *a, otimes_err *err);
void otimes_decompose_neurons_finish(decompose_batch *batch);

/* ---- decompose_lens.c ---- */

/* Values (and ranks) at a point, of chosen rows from .. to-1 of stream [count, d_model]; leaves
 * their norm and its scale in batch->normal and batch->scale. */
int otimes_decompose_lens(decompose_batch *batch, int64_t point, int64_t from, int64_t to,
                          const float *stream, otimes_err *err);
/* The token with the largest logit at batch->total becomes each row's target. */
int otimes_decompose_predict(decompose_batch *batch, otimes_err *err);

/* ---- decompose_write.c ---- */

typedef struct decompose_writer decompose_writer;
int otimes_decompose_declare(decompose_writer **writer, decompose_job *job, otimes_sink *sink,
                             otimes_err *err);
/* Whether the results of a text are there already: the last block of its last run of positions
 * chosen [length]. */
bool otimes_decompose_is_done(const decompose_writer *writer, int64_t text, const bool *chosen,
                              int64_t length);
/* Blocks of all texts that are not done [texts of the job]. */
int otimes_decompose_write(const decompose_writer *writer, const decompose_batch *batch,
                           const bool *done, otimes_err *err);
void otimes_decompose_writer_free(decompose_writer **writer);

static inline int64_t otimes_decompose_direction_at(const decompose_batch *batch, int64_t chosen,
                                                    int64_t target)
{
    return batch->job->varying ? chosen : target;
}

#endif
