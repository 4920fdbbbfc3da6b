/* SPDX-License-Identifier: MIT
 *
 * What the files of the `roles` analysis share: every chosen head's scores.
 */
#ifndef OTIMES_ANALYSIS_ROLES_JOB_H
#define OTIMES_ANALYSIS_ROLES_JOB_H

#include <stdbool.h>

#include <otimes/roles.h>

#include "base/mem.h"
#include "run/qk_forms.h"
#include "run/texts.h"

/* Scores by weights. */
enum {
    ROLES_PREVIOUS,
    ROLES_SAME,
    ROLES_COPYING,
    ROLES_INDUCTION,
    ROLES_LOWEST_SHARE,
    ROLES_HIGHEST_SHARE,
    ROLES_LOWEST_RANK,
    ROLES_HIGHEST_RANK,
    ROLES_BY_WEIGHTS
};

/* Scores by attention. */
enum {
    ROLES_AT_PREVIOUS,
    ROLES_AT_CURRENT,
    ROLES_AT_FIRST,
    ROLES_AT_DUPLICATE,
    ROLES_AT_INDUCTION,
    ROLES_BY_ATTENTION
};

/* What was run. */
enum { ROLES_TEXTS, ROLES_REPEATED, ROLES_RUNS };

/* Why scores are not told; NULL: they are. */
typedef struct roles_untold {
    const char *previous, *same, *copying, *induction, *suppression;
} roles_untold;

/* Source tokens of copy suppression. */
typedef struct roles_sources {
    int64_t count, extreme;            /* extreme: outputs that are the lowest, or the highest */
    int64_t *id, *output;              /* [count] and the output token that each is */
    float *base, *effective, *unembed; /* [count, d_model] */
} roles_sources;

typedef struct roles_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_roles_settings *settings;
    otimes_sink *sink;
    otimes_forward *forward;
    int64_t layer_count, head_count, nodes; /* nodes: chosen heads of all chosen layers */
    const int64_t *layers, *heads;
    int64_t *layer_slot; /* [n_layers] place among the chosen ones; -1 */
    int64_t *head_slot;  /* [n_heads] the same */
    int64_t last;        /* layer that is chosen */
    const int64_t *offsets;
    int64_t offset_count;
    double dimension; /* of the space in which random subspaces lie */
    otimes_head_space space;
    roles_untold untold;
    roles_sources sources;
    otimes_texts texts;
    int64_t *repeated_ids, repeated_length;

    double *weight[ROLES_BY_WEIGHTS];          /* [nodes] */
    int64_t *induction_layer, *induction_head; /* [nodes] */
    int32_t *is_induction;                     /* [nodes] */
    bool ran[ROLES_RUNS];
    double *attention[ROLES_RUNS][ROLES_BY_ATTENTION]; /* [nodes] */
    double *attended[ROLES_RUNS][ROLES_BY_ATTENTION];  /* [nodes] queries */
    double even[ROLES_RUNS][ROLES_BY_ATTENTION];       /* what even attention gives */
    double threshold[OTIMES_ROLES][OTIMES_ROLE_SIDES]; /* NaN: none */
    int32_t *label_side, *label;                       /* [nodes, role, side], [nodes, role] */
    otimes_pool pool;                                  /* every buffer above */
} roles_job;

/* roles_weights.c: all layers, their heads on their own and with previous-token heads before them. */
int otimes_roles_weights(roles_job *job, otimes_err *err);
/* Progress: so many layers of weights are done. */
int otimes_roles_say(const roles_job *job, double layers, otimes_err *err);

/* roles_suppression.c: the source tokens; a layer's table. */
int otimes_roles_sources(roles_job *job, otimes_err *err);
int otimes_roles_suppression(roles_job *job, const otimes_layer *layer, otimes_err *err);

/* roles_attention.c: texts and repeated tokens. */
int otimes_roles_attention(roles_job *job, otimes_err *err);

/* roles_label.c: what meets its threshold. */
extern const char *const otimes_role_names[OTIMES_ROLES];
/* Thresholds by weights, once sources are there; those by attention are otimes_roles_label's. */
int otimes_roles_thresholds(roles_job *job, otimes_err *err);
void otimes_roles_label(roles_job *job);

/* roles_write.c: all arrays. */
int otimes_roles_write(roles_job *job, otimes_err *err);

#endif
