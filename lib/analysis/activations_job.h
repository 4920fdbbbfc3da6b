/* SPDX-License-Identifier: MIT
 *
 * What the files of the `activations` analysis share: the points, their axes, the batch at hand.
 */
#ifndef OTIMES_ANALYSIS_ACTIVATIONS_JOB_H
#define OTIMES_ANALYSIS_ACTIVATIONS_JOB_H

#include <stdbool.h>

#include <otimes/activations.h>

#include "base/mem.h"
#include "run/texts.h"

/* Axes that arrays of activations have. */
typedef enum activations_axis {
    AXIS_NONE,
    AXIS_TEXT,
    AXIS_POSITION,
    AXIS_D_MODEL,
    AXIS_HEAD,
    AXIS_KV_HEAD,
    AXIS_D_HEAD,
    AXIS_QUERY,
    AXIS_KEY,
    AXIS_EXPERT,
    AXIS_EXPERT_NEURON,
    AXIS_NEURON,
    AXIS_SHARED_NEURON,
    AXIS_COUNT
} activations_axis;

enum { ACTIVATIONS_DIMS = 4, ACTIVATIONS_NAME = 64 };

/* Axes of a hook's array in order, AXIS_NONE behind the last. */
const activations_axis *otimes_activations_axes(otimes_hook hook);

/* A chosen point: one array. */
typedef struct activations_point {
    otimes_hook hook;
    int64_t layer;
    char name[ACTIVATIONS_NAME];
    otimes_array array;
    int id;
} activations_point;

typedef struct activations_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_activations_settings *settings;
    otimes_sink *sink;
    otimes_texts texts;
    otimes_axis axis[AXIS_COUNT];
    activations_point *points; /* [count] in the order in which a pass comes to them */
    int64_t count;
    int32_t *place;  /* [OTIMES_HOOK_COUNT, n_layers + 1] in points; -1: not chosen */
    uint64_t chosen; /* hooks of all points */
    int64_t max_rows;

    otimes_sequences batch;  /* texts at hand, */
    int64_t first_text;      /* from this one on */
    int64_t *start;          /* [texts + 1] their first rows */
    float *scores, *pattern; /* a layer's, [text][head, query, key]; NULL: not chosen */
    int64_t *held;           /* [texts] where a text's begin */
    int64_t held_count;
    float *packed; /* rows without gaps between them */
    int64_t packed_capacity;
    int64_t done_rows, total_rows; /* for progress */
    otimes_pool pool;
} activations_job;

/* The chosen points and the axes. OTIMES_ERR_ARGUMENT lists the points of the model. */
int otimes_activations_choose(activations_job *job, otimes_err *err);

/* The point of a hook at a layer, or NULL. */
const activations_point *otimes_activations_point(const activations_job *job, otimes_hook hook,
                                                  int64_t layer);

/* Facts, texts, and every array declared. */
int otimes_activations_declare(activations_job *job, otimes_err *err);

#endif
