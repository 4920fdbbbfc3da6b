/* SPDX-License-Identifier: MIT
 *
 * What the files of the `compare` analysis share: models as sides and cores of their chosen heads, what
 * stands between the spaces of two of them, and the arrays that pairs of heads fill.
 */
#ifndef OTIMES_ANALYSIS_COMPARE_JOB_H
#define OTIMES_ANALYSIS_COMPARE_JOB_H

#include <stdbool.h>

#include <otimes/compare.h>

#include "base/mem.h"
#include "base/sink.h"
#include "num/haar.h"
#include "run/head_bases.h"
#include "run/vocab_frame.h"

/* The two circuits of a head, and their sides. */
enum { COMPARE_OV, COMPARE_QK, COMPARE_CIRCUITS };
static const int compare_left[COMPARE_CIRCUITS] = {OTIMES_SIDE_V, OTIMES_SIDE_Q};
static const int compare_right[COMPARE_CIRCUITS] = {OTIMES_SIDE_O, OTIMES_SIDE_K};

/* K and V stand once for the heads that share them. */
static inline bool compare_shared(int side)
{
    return side == OTIMES_SIDE_K || side == OTIMES_SIDE_V;
}

/* One side of all chosen heads, layer by layer: orthonormal rows in the space of comparison. */
typedef struct compare_side {
    int64_t heads, rows, width; /* of a layer; of a basis; of the space */
    float *basis;               /* [layers, heads, rows, width] */
    double *factor;             /* [layers, heads, rows, d_head] */
    int64_t *rank; /* [layers, heads]: of so many leading rows, which then span the side */
} compare_side;

typedef struct compare_circuit {
    double *core;    /* M [nodes, left rows, right rows], W = B_left^T M B_right */
    double *norm;    /* [nodes] |W| */
    double *squares; /* [nodes] |W^T W| */
} compare_circuit;

/* A node is a chosen query head, layer by layer: layer_at * heads + head_at. */
typedef struct compare_model {
    const otimes_model *model;
    const otimes_model_info *info;
    int64_t layers, heads, kv_heads, nodes; /* chosen */
    const int64_t *layer, *head;            /* their numbers */
    int64_t *kv_head;                       /* [kv_heads] numbers of those that chosen heads read */
    int64_t *kv_of;                         /* [heads] place in kv_head */
    compare_side side[OTIMES_SIDES];
    compare_circuit circuit[COMPARE_CIRCUITS];
    otimes_unembed unembed;      /* over the vocabulary alone, as frame */
    otimes_vocab_frame frame[2]; /* of the embedding, of the unembedding */
    otimes_pool pool;
} compare_model;

/* Sides of a second model in the space of a first, and how large that space is for chance. */
typedef struct compare_bridge {
    compare_side side[OTIMES_SIDES];
    double dimension[OTIMES_SIDES]; /* 1 / the mean squared cosine of directions drawn in both */
    bool haar;                      /* both draw from one space: variances are known */
    otimes_pool pool;
} compare_bridge;

/* Arrays over pairs of heads. Those of a side come four in a row, of a circuit two. */
enum {
    PAIR_COSINE,
    PAIR_COSINE_Z = PAIR_COSINE + COMPARE_CIRCUITS,
    PAIR_CKA = PAIR_COSINE_Z + COMPARE_CIRCUITS,
    PAIR_CKA_EXPECTED = PAIR_CKA + COMPARE_CIRCUITS,
    PAIR_CKA_Z = PAIR_CKA_EXPECTED + COMPARE_CIRCUITS,
    PAIR_PROCRUSTES = PAIR_CKA_Z + COMPARE_CIRCUITS,
    PAIR_DISTANCE = PAIR_PROCRUSTES + COMPARE_CIRCUITS,
    PAIR_KERNEL = PAIR_DISTANCE + COMPARE_CIRCUITS,
    PAIR_KERNEL_Z = PAIR_KERNEL + OTIMES_SIDES,
    PAIR_LARGEST = PAIR_KERNEL_Z + OTIMES_SIDES,
    PAIR_MEAN = PAIR_LARGEST + OTIMES_SIDES,
    PAIR_COSINES = PAIR_MEAN + OTIMES_SIDES,
    PAIR_SIMILARITY = PAIR_COSINES + OTIMES_SIDES,
    PAIR_ARRAYS
};

/* Heads of a first model by those of another; columns beyond the other's own are NaN. */
typedef struct compare_pairs {
    int64_t layers, heads, kv_heads; /* of the columns: the most that any of the others has */
    int64_t components;              /* of PAIR_COSINES */
    double *array[PAIR_ARRAYS];      /* [rows, layers, heads (of a layer)]; NULL: not computed */
} compare_pairs;

/* What is known of all pairs of two models at once. */
typedef struct compare_expected {
    double kernel[OTIMES_SIDES], largest[OTIMES_SIDES], mean[OTIMES_SIDES];
    double procrustes[COMPARE_CIRCUITS];
} compare_expected;

/* Of the first model's heads beside one other; -1 and NaN where there is none. */
typedef struct compare_matches {
    int64_t *layer, *head;    /* [nodes] */
    double *similarity;       /* [nodes] */
    double *layer_similarity; /* [layers, columns' layers] */
    int64_t *matched_layer;   /* [layers] */
} compare_matches;

typedef struct compare_neighbors {
    int64_t *layer, *head; /* [nodes, top] */
    double *similarity;    /* [nodes, top] */
} compare_neighbors;

/* Heads of one model clustered. */
typedef struct compare_tree {
    double *linkage; /* [nodes - 1, 4] */
    int64_t *order;  /* [nodes] */
} compare_tree;

/* A head beside itself in another checkpoint. */
enum { DRIFT_PREVIOUS, DRIFT_FIRST, DRIFT_LAST, DRIFT_REFERENCES };
typedef struct compare_drift {
    double *cosine[COMPARE_CIRCUITS][DRIFT_REFERENCES]; /* [nodes] */
    double *cka[COMPARE_CIRCUITS][DRIFT_REFERENCES];
    double *norm_ratio[COMPARE_CIRCUITS]; /* to the previous */
    double *k_composition;                /* [nodes, nodes]; NULL over the vocabulary */
} compare_drift;

typedef struct compare_job {
    const otimes_model *const *models;
    int64_t count, others; /* others: count - 1, or 1 for a model beside itself */
    const otimes_compare_settings *settings;
    otimes_sink *sink;
    otimes_pulse *pulse;
    int threads, measures;
    bool vocab, self, drifts;
    compare_model *model; /* [count], loaded only while they are needed */
    compare_pairs pairs;
    compare_expected expected;
    compare_matches matches;
    compare_neighbors neighbors;
    compare_tree tree;
    compare_drift drift;
    otimes_pool pool;
} compare_job;

/* ---- compare_sides.c ---- */

/* Chosen heads of a model; release with otimes_compare_model_free also after an error. */
int otimes_compare_model_load(const compare_job *job, const otimes_model *model, compare_model *out,
                              otimes_err *err);
void otimes_compare_model_free(compare_model *model);

/* Sides of b in the space of a; those of b itself where the space is one. */
int otimes_compare_bridge(const compare_job *job, const compare_model *a, const compare_model *b,
                          compare_bridge *bridge, otimes_err *err);
void otimes_compare_bridge_free(compare_bridge *bridge);

/* ---- compare_pairs.c ---- */

/* Fills the arrays of job->pairs: a's heads by b's. */
int otimes_compare_pairs(compare_job *job, const compare_model *a, const compare_model *b,
                         const compare_bridge *bridge, double done, double share, otimes_err *err);

/* ---- compare_measures.c ---- */

/* A pair of heads of one circuit, W1 and W2 by their cores, and the cross Grams of their sides in
 * float with rows ld apart. */
typedef struct compare_pair {
    const compare_circuit *one, *two;
    int64_t i, j; /* nodes */
    int64_t rows_left[2], rows_right[2];
    const float *left, *right; /* T [rows of one, rows of two]; right NULL: no cosine */
    int64_t ld_left, ld_right;
} compare_pair;

/* P = M1^T T_left M2 [rows_right of one, of two] into the head of scratch, which holds
 * otimes_compare_scratch(largest rows) numbers. */
int64_t otimes_compare_scratch(int64_t rows);
void otimes_compare_product(const compare_pair *pair, double *scratch);

/* Of a P that otimes_compare_product left there; NaN where a circuit is 0. */
double otimes_compare_cosine(const compare_pair *pair, const double *product);
double otimes_compare_cka(const compare_pair *pair, const double *product);
/* Destroys the product. */
int otimes_compare_procrustes(const compare_pair *pair, double *scratch, double *similarity,
                              otimes_err *err);

/* ---- compare_expected.c ---- */

int otimes_compare_expected(compare_job *job, const compare_model *a, const compare_model *b,
                            const compare_bridge *bridge, otimes_err *err);

/* ---- compare_match.c ---- */

int otimes_compare_find_matches(compare_job *job, const compare_model *a, const compare_model *b,
                                otimes_err *err);
int otimes_compare_find_neighbors(compare_job *job, const compare_model *a, const compare_model *b,
                                  otimes_err *err);
int otimes_compare_cluster(compare_job *job, const compare_model *a, otimes_err *err);

/* ---- compare_drift.c ---- */

/* Fills job->drift of model number `at`, which is loaded with those it is held against. */
int otimes_compare_drift(compare_job *job, int64_t at, otimes_err *err);

/* ---- compare_write.c ---- */

typedef struct compare_writer compare_writer;

/* Declares every array. The writer is released with otimes_compare_writer_free. */
int otimes_compare_writer_new(compare_job *job, compare_writer **writer, otimes_err *err);
void otimes_compare_writer_free(compare_writer *writer);
/* What job holds of other number `at`; with the first of them also what stands once. */
int otimes_compare_write_other(compare_writer *writer, int64_t at, const compare_model *other,
                               otimes_err *err);
/* What job->drift holds of model number `at`. */
int otimes_compare_write_drift(compare_writer *writer, int64_t at, otimes_err *err);

#endif
