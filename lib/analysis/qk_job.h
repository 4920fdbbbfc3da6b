/* SPDX-License-Identifier: MIT
 *
 * What the files of the `qk` analysis share: every head's sides, and what is found of the pairs.
 */
#ifndef OTIMES_ANALYSIS_QK_JOB_H
#define OTIMES_ANALYSIS_QK_JOB_H

#include <stdbool.h>

#include <otimes/qk.h>

#include "base/mem.h"
#include "num/factored.h"
#include "run/rope.h"
#include "run/vocab.h"

/* A head as every pair it is in needs it. */
typedef struct qk_head {
    int64_t layer, head;
    otimes_side query, key, value, output;        /* [d_model, d_head] */
    otimes_side full_query, full_key, full_value; /* E times these, E^T E = W_E^T W_E */
    double *mean_query, *mean_key, *mean_value;   /* [d_head] mean row of W_E times these */
    double ov_norm;                               /* |W_OV| */
    double previous, copying;                     /* NaN where they cannot be told */
    int64_t start; /* first of the pairs in which it is the later one */
} qk_head;

/* Arrays with entries [pair, form, offset], in this order in qk_job.value. */
enum {
    QK_NORM,
    QK_SCORE,
    QK_FULL_NORM,
    QK_FULL_TRACE,
    QK_FULL_COPYING,
    QK_DIAGONAL_MEAN,
    QK_ENTRY_MEAN,
    QK_DIAGONAL_EXCESS,
    QK_VALUES
};

/* Arrays with entries [pair]. */
enum { QK_PREVIOUS, QK_K_COPYING, QK_OV_COPYING, QK_K_RATIO, QK_MATCH, QK_INDUCTION, QK_ROLES };

typedef struct qk_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_qk_settings *settings;
    otimes_sink *sink;
    int64_t layer_count, head_count, nodes; /* nodes: chosen heads of all chosen layers */
    const int64_t *layers, *heads;
    const int64_t *offsets;
    int64_t offset_count;
    double dimension;   /* of the space in which random subspaces lie */
    const char *untold; /* why no previous-token score can be told; NULL where it can */
    qk_head *node;      /* [nodes], layer by layer */
    double *mean;       /* [d_model] mean row of W_E */
    int64_t positions;  /* of the average token's pattern; 0: no previous-token score is told */
    double square;      /* mean square that the first norm meets; 1 without a norm */
    double *average; /* [positions, d_model] what layers read at each position of average tokens */
    otimes_vocab_forms forms;
    otimes_unembed unembed;
    double *common; /* [d_model, d_model] W_U W_E over tokens in both vocabularies; NULL: none */
    int64_t common_tokens; /* how many those are */

    int64_t pairs;
    int64_t *first, *second; /* [pairs] nodes */
    double *value[QK_VALUES];
    double *re, *im; /* [pairs, form, offset, d_head] */
    double *role[QK_ROLES];
    int32_t *is_induction;
    int64_t *order; /* [pairs] by falling induction score */
    int64_t listed; /* pairs whose entries are found */
    float *entry_value;
    int32_t *entry_destination, *entry_source; /* [listed, form, entries] */
    otimes_pool pool;                          /* every buffer above */
} qk_job;

/* qk_common.c: job->common. */
int otimes_qk_common(qk_job *job, otimes_err *err);

/* qk_heads.c: every node with its roles. */
int otimes_qk_heads(qk_job *job, otimes_err *err);
void otimes_qk_heads_free(qk_job *job);

/* qk_forms.c: the four forms of every pair, and their strongest entries. */
int otimes_qk_pairs(qk_job *job, otimes_err *err);
int otimes_qk_entries(qk_job *job, otimes_err *err);

/* qk_write.c: all arrays. */
int otimes_qk_write(qk_job *job, otimes_err *err);

#endif
