/* SPDX-License-Identifier: MIT
 *
 * What the files of the `paths` analysis share: the request, the names of what it finds, the results
 * of one case.
 */
#ifndef OTIMES_ANALYSIS_PATHS_JOB_H
#define OTIMES_ANALYSIS_PATHS_JOB_H

#include <otimes/paths.h>

#include "run/flows.h"
#include "run/linear.h"
#include "run/path_search.h"
#include "run/texts.h"

typedef struct paths_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_paths_settings *settings;
    otimes_sink *sink;
    otimes_pulse pulse; /* in cases */
    otimes_layers layers;
    otimes_texts texts;
    bool *allowed;         /* [n_layers] whose heads may be links; NULL: all */
    int64_t allowed_count; /* layers of them: the largest order */
    int64_t subsets;       /* layers of a set at most */
    int64_t cases;
    int64_t *first_case; /* [texts + 1] */
    int64_t *case_count; /* [texts] */

    /* From the first pass on; the same for all texts. */
    bool shaped;
    int64_t source_count, rows; /* of paths, for each case */
    int64_t links;              /* that a path has at most */
    int64_t carriers, edges;    /* for each path, for each case */
    int64_t sets;
    double total; /* paths there are */
    const char **source_label, **part_label,
        **set_label;   /* [sources], [heads, then layers], [sets] */
    int64_t *ordinal;  /* [n_layers] place of a layer among the allowed ones; -1: none */
    otimes_text words; /* what labels of sets point into */
    otimes_pool pool;
} paths_job;

/* Results of one case. Rows beyond what was found are undefined. */
typedef struct paths_case {
    int64_t index, text, at; /* at: position */
    int64_t target_id, against_id;
    otimes_linear_target target;
    double model_value, frozen_value, entropy;
    double *order_total; /* [allowed_count + 1] */
    double order_residue;
    double *set_total; /* [sets] */

    double path_count, path_total, path_bound, path_expanded, path_listed;
    int32_t path_complete;
    const char *certificate;
    int64_t *path_case;                   /* [rows] and so the others */
    int32_t *path_order, *path_source;    /* [rows] */
    int32_t *path_layer, *path_head;      /* [rows, links] */
    double *path_value, *path_share;      /* [rows] */
    double *path_running, *running_share; /* [rows] */
    double *path_left;                    /* [rows] */
    const char **path_label, **formula;   /* [rows] */
    int32_t *carrier_position;            /* [rows, carriers] */
    double *carrier_value;
    const char **carrier_token;

    otimes_flows flows;
    int64_t *edge_case; /* [edges] and so the others */
    const char **edge_from, **edge_to, **edge_via;
    double *edge_value;

    otimes_text words; /* what labels of paths point into */
    otimes_pool pool;
} paths_case;

/* ---- paths.c ---- */

/* Position number i of a text. */
int64_t otimes_paths_position(const paths_job *job, int64_t text, int64_t i);

/* ---- paths_names.c ---- */

/* Names of sources, heads and layer sets. */
int otimes_paths_name(paths_job *job, const otimes_linear *linear, otimes_err *err);
/* Place of a set of layers in the order of sets, by size and then by layers; -1: not one of them. */
int64_t otimes_paths_set_index(const paths_job *job, int64_t members, const int64_t *layer);
/* Adds "embed → L0H3 → L1H5" and "A[1.5]·A[0.3] ⊗ W_U·OV[1.5]·OV[0.3]·W_E" of a path. */
int otimes_paths_label(const paths_job *job, const otimes_path_list *list, int64_t path,
                       otimes_text *words, otimes_err *err);
int otimes_paths_formula(const paths_job *job, const otimes_linear *linear,
                         const otimes_path_list *list, int64_t path, otimes_text *words,
                         otimes_err *err);
/* Ends a text among others. */
int otimes_paths_end_word(otimes_text *words, otimes_err *err);
/* What the list is worth, in words. */
int otimes_paths_certify(const paths_job *job, const otimes_path_list *list, otimes_text *words,
                         otimes_err *err);

/* ---- paths_case.c ---- */

/* Called with the share of a case's work that is done. */
typedef int (*paths_tick)(void *context, double share, otimes_err *err);

/* Room for the results of a case; released with case_free in any case. */
int otimes_paths_case_init(paths_case *c, const paths_job *job, const otimes_linear *linear,
                           otimes_err *err);
void otimes_paths_case_free(paths_case *c);
/* Everything about text and position in *c: streams [allowed_count + 1][n, d_model] by order; scores
 * NULL: no flows. */
int otimes_paths_case_run(paths_case *c, paths_job *job, otimes_linear *linear,
                          const float *streams, const otimes_flow_scores *scores, paths_tick tick,
                          void *context, otimes_err *err);
/* Bytes of it for a text of n tokens and of `sources` sources. */
int64_t otimes_paths_case_bytes(const paths_job *job, int64_t n, int64_t sources);

/* ---- paths_list.c ---- */

/* The paths of c->target, with everything said about each. */
int otimes_paths_list(paths_case *c, const paths_job *job, otimes_linear *linear, paths_tick tick,
                      void *context, otimes_err *err);

/* ---- paths_flows.c ---- */

/* How many edges there are, and the most that are listed. */
int64_t otimes_paths_edge_count(const paths_job *job, const otimes_linear *linear);
/* What flows to c->target. */
int otimes_paths_flows(paths_case *c, const paths_job *job, otimes_linear *linear,
                       const otimes_flow_scores *scores, otimes_err *err);

/* ---- paths_write.c ---- */

typedef struct paths_writer paths_writer;
int otimes_paths_declare(paths_writer **writer, paths_job *job, otimes_err *err);
int otimes_paths_write(const paths_writer *writer, const paths_case *c, int64_t length,
                       otimes_err *err);
/* The last that is written of a text, and whether it is there. */
int otimes_paths_end_text(const paths_writer *writer, int64_t text, otimes_err *err);
bool otimes_paths_text_done(const paths_writer *writer, int64_t text);
void otimes_paths_writer_free(paths_writer **writer);

#endif
