/* SPDX-License-Identifier: MIT
 *
 * What `roles` says of a head by its weights, by plain loops in double.
 */
#ifndef TESTS_PLAIN_HEADS_H
#define TESTS_PLAIN_HEADS_H

#include "trace.h"

/* A head's matrices and both ends in double. */
typedef struct plain_head {
    const otimes_model *model;
    const otimes_model_info *info;
    int64_t d, e, v, out;
    int64_t layer, head;
    double *E, *U;         /* [v, d], [out, d] */
    double *Q, *K, *V, *O; /* [d, e] each; O transposed */
} plain_head;

/* Both ends; freed by plain_close. plain_take then reads a query head of a loaded layer. */
plain_head plain_open(const otimes_model *model);
void plain_close(plain_head *p);
void plain_take(plain_head *p, const otimes_layer *layer, int64_t head);

/* out [rows, e] = X [rows, d] W. */
void plain_project(const plain_head *p, int64_t rows, const double *X, const double *W,
                   double *out);
double plain_dot(int64_t n, const double *x, const double *y);

/* The output token of an input token's text, -1: none. */
int64_t plain_output_of(const plain_head *p, int64_t id);

/* (mean of the diagonal - mean) / deviation of all entries of QK over the vocabulary, mean over
 * offsets; *reliable: none of the tables is constant but for rounding. */
double plain_same_token(const plain_head *p, bool *reliable);

/* Mean square that the first norm meets in tokens at a position (-1: at all that plain_previous knows, their
 * mean), with the norm's eps; 1 without one. */
double plain_square(const plain_head *p, int64_t position);

/* Mean weight of the key before in the pattern of the average token, over its queries from 1 on; `layer` is
 * that of the head, which is causal and rotary only where its layer turns. */
double plain_previous(const plain_head *p, const otimes_layer *layer);

/* From eigenvalues of the sum over common tokens of (W_O W_U)(o) (W_E W_V)(i). */
double plain_copying(const plain_head *p);

/* [2, count, d], freed with free(): the stream before and behind layer 0 of tokens on their own, in
 * float64, where positions and attention are 0. `name` as plain_pass takes it. */
double *plain_effective(const plain_head *p, const char *name, const int64_t *ids, int64_t count);

/* Of tokens ids whose rows are E [count, d]: how many outputs are surely as low as their own in E W_OV
 * W_U, and how many may be, where E, E W_V and entries are rounded to float32; the same of high: bound
 * [4, count], zeroed by the caller. */
void plain_ranks(const plain_head *p, const double *E, const int64_t *ids, int64_t count,
                 double *bound);

/* Means over the trace's patterns by definition: previous, current, first, duplicate, induction; of
 * sequences that end in two copies of `period` tokens where it is not 0. NaN without a query. */
void plain_attention(const trace *t, int64_t layer, int64_t head, int64_t period, double score[5]);

#endif
