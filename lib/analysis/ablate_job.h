/* SPDX-License-Identifier: MIT
 *
 * What the files of the `ablate` analysis share: the ablations, the replacements, the texts at hand
 * and the streams that run through the layers.
 */
#ifndef OTIMES_ANALYSIS_ABLATE_JOB_H
#define OTIMES_ANALYSIS_ABLATE_JOB_H

#include <stdbool.h>

#include <otimes/ablate.h>

#include "base/mem.h"
#include "run/layers.h"
#include "run/pass.h"
#include "run/texts.h"

#define ABLATE_KIND(kind) (1u << (kind))
#define ABLATE_Z (ABLATE_KIND(OTIMES_ABLATE_HEAD) | ABLATE_KIND(OTIMES_ABLATE_ATTENTION))

/* All ablations: members one after another, those of one by layer. */
typedef struct ablate_list {
    otimes_ablate_member *member;
    int64_t *begin; /* [count + 1] members of ablation a: begin[a] .. begin[a + 1] - 1 */
    int64_t *order; /* [count] ablations by their first layer */
    int64_t *first_layer, *size;  /* [count] */
    const char **label;           /* [count] */
    unsigned *kinds;              /* [n_layers] ABLATE_KIND of what some ablation changes there */
    int64_t count, layers, heads; /* of the families' grid: chosen layers, chosen heads */
} ablate_list;

/* The activations that can be replaced. */
typedef enum ablate_point {
    ABLATE_AT_Z,
    ABLATE_AT_MLP,
    ABLATE_AT_POST,
    ABLATE_POINTS
} ablate_point;

/* Means of each layer's activations; NULL where no ablation needs them. */
typedef struct ablate_means {
    float **value[ABLATE_POINTS]; /* [n_layers][positions, columns] */
    int64_t positions;            /* 1: one mean for all positions; 0: no means */
} ablate_means;

/* Texts that run together. Sequences of the clean rows are these texts and behind them those that
 * they are resampled from and that are not among them. */
typedef struct ablate_group {
    int64_t texts, rows; /* these texts, their tokens */
    int64_t *text;       /* [texts] which */
    int64_t *start;      /* [texts + 1] rows */
    int64_t *source;     /* [texts] clean sequence that each is resampled from */
    bool covered;        /* no text is longer than what it is resampled from */
    int64_t loss_count;  /* measured rows with a next token: */
    int64_t *loss_row, *loss_text, *loss_next;
    int64_t logit_count; /* rows whose logits are measured: */
    int64_t *logit_row, *logit_text;
    otimes_batch clean; /* clean sequences */
    otimes_batch all;   /* clean sequences, then the texts for each ablation of a wave */
    otimes_pool pool;
} ablate_group;

typedef struct ablate_arrays {
    otimes_axis ablation, layer, head;
    struct ablate_output {
        otimes_array array;
        int id;
    } first_layer, size, source, target_id, against_id, loss_count,
        logit_count; /* what is there from the start */
    struct ablate_output loss_clean, loss, loss_change, head_loss, loss_at;
    struct ablate_output logit_clean, logit, logit_change, head_logit, logit_at;
} ablate_arrays;

typedef struct ablate_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_ablate_settings *settings;
    otimes_sink *sink;
    otimes_pulse pulse;
    int64_t columns[ABLATE_POINTS]; /* of a row at each point */
    bool has_mlp;
    ablate_list list;
    ablate_means means;
    int64_t *source; /* [sequences.count] the other text; NULL unless resampled */
    otimes_texts texts;
    otimes_layers layers;
    otimes_pass pass;
    ablate_arrays arrays;
    int64_t *loss_count, *logit_count; /* [sequences.count] measured positions of each */

    int64_t group_rows, wave_bytes; /* most tokens of a group; memory of a wave's streams */
    ablate_group group;
    int64_t wave_slots;          /* ablations that a wave has room for */
    int64_t wave_first;          /* of list.order: the one in slot 0 */
    int64_t chunk_slots;         /* of them, those that go through a layer together */
    float *stream;               /* [clean rows + wave_slots * rows, d_model] */
    float *saved;                /* [clean rows, d_model] where the next wave begins */
    float *clean[ABLATE_POINTS]; /* [clean rows, columns] the clean run's, of the layer at hand */
    float *z, *out, *mlp;        /* [chunk rows, ...] */
    float *token_rows;           /* [2 texts, d_model] rows of W_U: targets, others */
    double *logsumexp;           /* [chunk_slots * loss_count] */
    float *next_logit;
    int64_t *next;
    double *clean_loss_at, *clean_logit_at; /* [loss_count], [logit_count] */
    double *loss_at, *logit_at;             /* the same of chunk_slots ablations */
    float *change;                          /* [chunk_slots, longest] */
    double *loss_clean, *logit_clean;       /* [texts] */
    double *loss, *logit;                   /* [texts, count] */
    otimes_pool work;                       /* what belongs to the group */
    otimes_pool pool;                       /* what belongs to the job */
    double done, total;                     /* progress: rows times ablations */
} ablate_job;

/* ---- ablate_list.c ---- */

/* Expands settings into job->list and checks every member. */
int otimes_ablate_list_init(ablate_job *job, otimes_err *err);

/* ---- ablate_group.c ---- */

/* How many tokens go together, and how much memory is left for ablations. */
int otimes_ablate_fit(ablate_job *job, otimes_err *err);

/* What the largest group then comes to. */
void otimes_ablate_fill_plan(const ablate_job *job, otimes_ablate_plan *plan);

/* The next texts from *next on, ready to run; where the sink has all of them already, job->group
 * has no texts. Groups do not depend on what the sink has, so that a resumed run rounds as a whole
 * one does. Sets *next behind them. */
int otimes_ablate_next_group(ablate_job *job, int64_t *next, otimes_err *err);
void otimes_ablate_free_group(ablate_job *job);

/* ---- ablate_means.c ---- */

/* Runs the texts that means are taken over. Nothing unless the method needs it. */
int otimes_ablate_gather(ablate_job *job, otimes_err *err);

/* ---- ablate_edit.c ---- */

/* Puts the replacements of ablation `a` into activations of a layer, one variant's rows. */
void otimes_ablate_edit(const ablate_job *job, int64_t a, int64_t layer, ablate_point point,
                        int64_t first_row, int64_t rows, float *data, int64_t stride);

/* Whether an ablation replaces what the layer's MLP writes. */
bool otimes_ablate_replaces_mlp(const ablate_job *job, int64_t a, int64_t layer);

/* ---- ablate_wave.c ---- */

/* Runs the group: the clean run and every ablation, measured. */
int otimes_ablate_run_group(ablate_job *job, otimes_err *err);

/* ---- ablate_measure.c ---- */

/* How many positions of each text are measured. */
int otimes_ablate_count(ablate_job *job, otimes_err *err);

/* Which rows of the group they are. */
int otimes_ablate_choose_rows(ablate_job *job, otimes_err *err);

/* From final streams to measures: of the clean rows, or of ablations order[first ..] in slots
 * slot .. slot+count-1, at most chunk_slots of them. */
int otimes_ablate_measure_clean(ablate_job *job, otimes_err *err);
int otimes_ablate_measure(ablate_job *job, int64_t first, int64_t slot, int64_t count,
                          otimes_err *err);

/* ---- ablate_write.c ---- */

int otimes_ablate_declare(ablate_job *job, otimes_err *err);

/* Whether a text is in the sink already. */
bool otimes_ablate_is_done(const ablate_job *job, int64_t text);

/* Changes [ablations, positions of the text] of neighbouring ablations at a text of the group. */
int otimes_ablate_write_at(ablate_job *job, const struct ablate_output *output, int64_t text,
                           int64_t ablation, int64_t ablations, const float *change,
                           otimes_err *err);

/* Everything else of the group's texts; the array that stands for "done" last. */
int otimes_ablate_write_group(ablate_job *job, otimes_err *err);

#endif
