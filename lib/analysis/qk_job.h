/* SPDX-License-Identifier: MIT
 *
 * What the files of the `qk` analysis share: every head's sides, and what is found of the pairs.
 */
#ifndef OTIMES_ANALYSIS_QK_JOB_H
#define OTIMES_ANALYSIS_QK_JOB_H

#include <stdbool.h>

#include <otimes/qk.h>

#include "base/mem.h"
#include "run/qk_forms.h"

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
    double dimension; /* of the space in which random subspaces lie */
    otimes_head_space space;
    otimes_head_sides *node; /* [nodes], layer by layer */
    int64_t *start;          /* [nodes] first of the pairs in which it is the later one; -1: none */

    int64_t pairs;
    int64_t *first, *second;                   /* [pairs] nodes */
    double *value[OTIMES_FORM_VALUES], *score; /* [pairs, form, offset] */
    double *re, *im;                           /* [pairs, form, offset, d_head] */
    double *role[QK_ROLES];
    int32_t *is_induction;
    int64_t *order; /* [pairs] by falling induction score */
    int64_t listed; /* pairs whose entries are found */
    float *entry_value;
    int32_t *entry_destination, *entry_source; /* [listed, form, entries] */
    otimes_pool pool;                          /* every buffer above */
} qk_job;

/* qk_heads.c: every node with its roles. */
int otimes_qk_heads(qk_job *job, otimes_err *err);
void otimes_qk_heads_free(qk_job *job);

/* qk_forms.c: the four forms of every pair, and their strongest entries. */
int otimes_qk_pairs(qk_job *job, otimes_err *err);
int otimes_qk_entries(qk_job *job, otimes_err *err);

/* qk_write.c: all arrays. */
int otimes_qk_write(qk_job *job, otimes_err *err);

#endif
