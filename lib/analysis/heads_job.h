/* SPDX-License-Identifier: MIT
 *
 * What the files of the `heads` analysis share: the request and the results of one layer.
 */
#ifndef OTIMES_ANALYSIS_HEADS_JOB_H
#define OTIMES_ANALYSIS_HEADS_JOB_H

#include <stdbool.h>

#include <otimes/heads.h>

#include "base/mem.h"
#include "run/rope.h"
#include "run/vocab.h"

/* The four circuits of a head that get the full list of quantities. */
typedef enum heads_circuit {
    HEADS_OV,
    HEADS_QK,
    HEADS_FULL_OV,
    HEADS_FULL_QK,
    HEADS_CIRCUITS
} heads_circuit;

/* Quantities of a circuit for the chosen heads of one layer; d_head entries a head where there is a
 * component axis. Pointers are NULL where a quantity is not computed. */
typedef struct heads_quantities {
    double *norm, *trace, *positivity, *effective_rank;
    double *singular_values, *eigenvalues_real, *eigenvalues_imag;
} heads_quantities;

/* Blocks of QK over (embedding; positions). */
enum {
    HEADS_TOKEN_TOKEN,
    HEADS_TOKEN_POSITION,
    HEADS_POSITION_TOKEN,
    HEADS_POSITION_POSITION,
    HEADS_BLOCKS
};

/* The four sets of directions read in vocabulary. */
enum { HEADS_OV_READ, HEADS_OV_WRITE, HEADS_QK_QUERY, HEADS_QK_KEY, HEADS_DIRECTIONS };

typedef struct heads_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_heads_settings *settings;
    int64_t layer_count, head_count; /* chosen */
    const int64_t *layers, *heads;   /* [layer_count], [head_count] */
    int64_t components;              /* singular directions read in vocabulary; 0: none */
    int64_t width;                   /* singular values and eigenvalues of a head: d_head */
    bool positions;                  /* blocks with W_pos */
    const otimes_rope *rope;         /* of the layer at hand; NULL: it rotates nothing */
    double *frequency;               /* its angles, when offsets are asked for */
    otimes_vocab_forms forms;        /* with settings->vocab */
    otimes_unembed unembed;

    /* Results of the layer at hand. */
    heads_quantities circuit[HEADS_CIRCUITS];
    double *offset_norm, *offset_trace, *offset_singular_values;
    double *bias_norm, *bias_singular_values;
    double *block[HEADS_BLOCKS];
    /* Results kept until the end: [layer_count, head_count, components, d_model]. */
    float *direction[HEADS_DIRECTIONS];
    otimes_pool pool; /* every buffer above */
} heads_job;

/* Whether a circuit's quantities, and its eigenvalues, are computed for this model. */
bool otimes_heads_has(const heads_job *job, heads_circuit circuit);
bool otimes_heads_has_eigenvalues(const heads_job *job, heads_circuit circuit);

/* All quantities of query heads that share key/value head kv_head of a loaded layer, into the job's
 * results: of each `parts` of them the one at place `part`. layer_at counts into job->layers. */
int otimes_heads_group(heads_job *job, const otimes_layer *layer, int64_t layer_at, int64_t kv_head,
                       int64_t part, int64_t parts, otimes_err *err);

/* Declares every array of the request, writes those of one layer, and at the end the directions. */
typedef struct heads_writer heads_writer;
int otimes_heads_writer_new(heads_writer **writer, heads_job *job, otimes_sink *sink,
                            otimes_err *err);
int otimes_heads_write_layer(heads_writer *writer, const otimes_layer *layer, int64_t layer_at,
                             otimes_err *err);
int otimes_heads_write_directions(heads_writer *writer, otimes_err *err);
void otimes_heads_writer_free(heads_writer **writer);

#endif
