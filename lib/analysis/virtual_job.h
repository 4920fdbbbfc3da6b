/* SPDX-License-Identifier: MIT
 *
 * What the files of the `virtual` analysis share: every head as U S Y^T, the links between heads,
 * lists of chains, and what is found of the chains listed.
 */
#ifndef OTIMES_ANALYSIS_VIRTUAL_JOB_H
#define OTIMES_ANALYSIS_VIRTUAL_JOB_H

#include <stdbool.h>

#include <otimes/virtual.h>

#include "base/mem.h"
#include "num/factored.h"
#include "run/vocab.h"

/* The `capacity` strongest chains of one length: by falling value, equal ones by lower nodes. */
typedef struct virtual_list {
    int64_t length, capacity, count, room;
    double *value; /* [count] */
    int32_t *node; /* [count, length] */
} virtual_list;

/* What is known of a search for chains of one length. */
typedef struct virtual_census {
    double total, examined;
    double unlisted; /* no chain that was left out is stronger; 0: none was that matters */
} virtual_census;

/* Of each listed chain; pointers are NULL where a quantity is not computed. */
typedef struct virtual_results {
    int64_t *length, *layer, *head; /* [chains], [chains, longest] x 2 */
    double *norm, *expected, *score, *ratio;
    double *singular_values, *effective_rank, *trace, *copying;
    double *full_norm, *full_singular_values;
    double *full_trace, *full_copying, *full_eigenvalues_real, *full_eigenvalues_imag;
    float *entry_value;
    int32_t *entry_source, *entry_output;
} virtual_results;

/* A node is a chosen head, layer by layer: layer_at * head_count + head_at. */
typedef struct virtual_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_virtual_settings *settings;
    otimes_sink *sink;
    int64_t layer_count, head_count, nodes;
    const int64_t *layers, *heads; /* [layer_count], [head_count] */
    int64_t rank;                  /* min(d_model, d_head) */
    double *read, *write;          /* [nodes, rank, d_model] rows of U^T and Y^T */
    double *sigma;                 /* [nodes, rank] */
    double *norm, *unit;           /* [nodes] of W_OV; what strength counts it by: norm or 1 */
    double dimension;              /* of the space whose random subspaces are compared with */
    double *pair_norm;             /* [nodes, nodes], NaN where not earlier -> later */
    int64_t length;                /* of the longest chains */
    double *link;            /* [pairs, rank, rank] Y_i^T U_j S_j / unit_j; NULL for pairs alone */
    double *link_largest;    /* [nodes, nodes] largest singular value of it */
    double *reach;           /* [length, nodes]: see virtual_links.c */
    virtual_list *list;      /* [length + 1] by length, from 2 */
    virtual_census *census;  /* [length + 1] */
    int64_t chains, longest; /* listed; links of the longest */
    int32_t *chain;          /* [chains, longest] nodes, -1 beyond */
    otimes_vocab_forms forms;
    otimes_unembed unembed;
    virtual_results results;
    otimes_pool pool; /* every buffer above that has no other owner */
} virtual_job;

/* The first node of the layers after node's. */
static inline int64_t otimes_virtual_later(const virtual_job *job, int64_t node)
{
    return (node / job->head_count + 1) * job->head_count;
}

/* Strength of a pair whose norm is known. */
static inline double otimes_virtual_strength(const virtual_job *job, int64_t i, int64_t j)
{
    return job->pair_norm[i * job->nodes + j] / (job->unit[i] * job->unit[j]);
}

/* The link matrix of a pair of nodes, kept for chains of three and more. */
double *otimes_virtual_link_of(const virtual_job *job, int64_t i, int64_t j);

/* Norms of all pairs; with length > 2 their links and how far chains can still reach. */
int otimes_virtual_links(virtual_job *job, otimes_err *err);

/* The lists of the strongest chains of 2 .. length heads. */
int otimes_virtual_search(virtual_job *job, otimes_err *err);

/* A chain enters a list if it is among the strongest; values are not negative. */
int otimes_virtual_offer(virtual_list *list, double value, const int32_t *node, otimes_err *err);

/* What a chain must reach to enter it, or to tie with the last. */
double otimes_virtual_least(const virtual_list *list);
void otimes_virtual_list_free(virtual_list *list);

/* All quantities of the listed chains. */
int otimes_virtual_measure(virtual_job *job, otimes_err *err);

int otimes_virtual_write(virtual_job *job, otimes_err *err);

#endif
