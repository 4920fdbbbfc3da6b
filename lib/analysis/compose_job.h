/* SPDX-License-Identifier: MIT
 *
 * What the files of the `compose` analysis share. Chosen layers are taken in panels; every pair of
 * panels is one computation of links, and what is not a head takes part where a panel meets itself.
 */
#ifndef OTIMES_ANALYSIS_COMPOSE_JOB_H
#define OTIMES_ANALYSIS_COMPOSE_JOB_H

#include <stdbool.h>

#include <otimes/compose.h>

#include "base/mem.h"
#include "run/head_bases.h"
#include "run/links.h"
#include "run/vocab.h"

enum { COMPOSE_Q, COMPOSE_K, COMPOSE_V, COMPOSE_CIRCUITS };
enum { COMPOSE_NAME = 1024 }; /* bytes of a part's name */

/* Chosen layers first .. first+count-1 of the job. A zeroed one is empty. Ends point into numbers. */
typedef struct compose_panel {
    int64_t first, count;
    otimes_head_bases *bases;      /* [count] one layer each */
    otimes_link_end *writer;       /* [count, heads] */
    otimes_link_end *reader;       /* [count, circuits, heads], then [offset, count, 2, heads] */
    float *numbers;                /* roots and cores */
    double *ov_norm, *qk_norm;     /* [count, heads] */
    double *vectors[OTIMES_SIDES]; /* [count, heads, components, d_model] singular directions */
    double *share[2];              /* [count, heads, components] OV, QK: sigma over the norm */
} compose_panel;

/* A part of the stream that is no head: writer, reader or both; root NULL where it is not. */
typedef struct compose_part {
    char name[COMPOSE_NAME];
    otimes_link_end writer, reader;
} compose_part;

typedef struct compose_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_compose_settings *settings;
    otimes_sink *sink;
    int64_t layer_count, head_count;
    const int64_t *layers, *heads;
    int64_t dimension;
    bool centred;
    int64_t panel_layers, panels;
    int64_t froms, tos; /* parts that write, parts that read */
    compose_part *from, *to;
    double share_before, share_each; /* of progress */
    struct compose_output *output;
    otimes_pool pool;
} compose_job;

/* compose_heads.c */
int64_t otimes_compose_layer_bytes(const compose_job *job);
int otimes_compose_panel_load(compose_job *job, int64_t first, int64_t count, compose_panel *panel,
                              otimes_err *err);
void otimes_compose_panel_free(compose_panel *panel);

/* compose_parts.c: what settings name beside heads, and the bytes that the ends of the stream take at
 * most. */
int64_t otimes_compose_parts_bytes(const compose_job *job);
int otimes_compose_parts(compose_job *job, otimes_err *err);

/* "L0H3+H7" */
void otimes_compose_set_name(const otimes_compose_set *set, char name[COMPOSE_NAME]);

/* compose_write.c: arrays are declared, then written pair of panels by pair of panels. */
int otimes_compose_begin(compose_job *job, otimes_err *err);
bool otimes_compose_has(compose_job *job, const compose_panel *from, const compose_panel *to);
int otimes_compose_put(compose_job *job, const compose_panel *from, const compose_panel *to,
                       const double *square, int64_t readers, otimes_err *err);
int otimes_compose_put_panel(compose_job *job, const compose_panel *panel, otimes_err *err);

#endif
