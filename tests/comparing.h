/* SPDX-License-Identifier: MIT
 *
 * Heads compared the plain way: whole matrices in double, in the stream or over the vocabulary.
 */
#ifndef TESTS_COMPARING_H
#define TESTS_COMPARING_H

#include "support.h"

#include <otimes/compare.h>

enum { SIDE_Q, SIDE_K, SIDE_V, SIDE_O, SIDES };
enum { CIRCUIT_OV, CIRCUIT_QK, CIRCUITS };

/* Every side of every head as a matrix [rows, d_head]; K and V of query heads, copied for a group. */
typedef struct dense_model {
    const otimes_model *model;
    int64_t layers, heads, kv_heads, nodes, d_head, rows[SIDES];
    double *side[SIDES]; /* [nodes, rows, d_head] */
} dense_model;

/* `vocab`: sides times W_E or W_U^T, columns minus their mean over the tokens. */
void dense_make(dense_model *dense, const otimes_model *model, bool vocab);
void dense_free(dense_model *dense);

/* W_OV or W_QK [rows of the left side, of the right], the caller's to free. */
double *dense_circuit(const dense_model *dense, int circuit, int64_t node);

/* Measures of the circuits of one node of two models of one shape, in the stream; the cosine and the CKA. */
double dense_cosine(const dense_model *a, const dense_model *b, int circuit, int64_t node);
double dense_cka(const dense_model *a, const dense_model *b, int circuit, int64_t node);

/* |W_OV(i) W_QK(j)^T| / (|W_OV(i)| |W_QK(j)|) */
double dense_k_composition(const dense_model *m, int64_t i, int64_t j);

/* Dimensions of the stream for its readers and writers, which lack the direction of the mean where LayerNorm
 * is folded. */
void dense_dimensions(const otimes_model_info *info, double out[SIDES]);

/* What measures of 1 may be off by in the stream: bases are rounded to float and their cross Grams summed in
 * it, so that each entry of T errs by some eps sqrt(d_model), and every measure is a sum over T against
 * something of norm 1. */
double dense_close(const otimes_model_info *info);

double dense_dot(const double *a, const double *b, int64_t count);

/* A^T B for A [n, p], B [n, q], the caller's to free. */
double *dense_cross(int64_t n, int64_t p, int64_t q, const double *a, const double *b);

/* The rank of X [n, count] as tools/schema/compare.md defines it, and an orthonormal basis of so many
 * columns in place of X. */
int64_t dense_basis(int64_t n, int64_t count, double *x);

/* Runs the analysis into memory; fails the test on error. */
otimes_memory_sink *compare(const otimes_model *const *models, int64_t count,
                            const otimes_compare_settings *settings);
const double *compared(const otimes_memory_sink *memory, const char *name);
const int64_t *compared_numbers(const otimes_memory_sink *memory, const char *name);

/* Norms and ranks of a model are what they are: `prefix` and place of its first head in these arrays. */
void heads_are_dense(const otimes_memory_sink *memory, const char *prefix, const dense_model *m,
                     int64_t first);

/* Every array over pairs that stands in `memory` for other number `other` is what dense matrices give, to
 * `close`, and norms and ranks of the first model what they are. `dimension` of the spaces of readers and
 * writers; with `haar` variances are held too. Of a model with itself pairs in one order alone. */
void pairs_are_dense(const otimes_memory_sink *memory, int64_t other, const dense_model *a,
                     const dense_model *b, const double dimension[SIDES], bool haar, double close);

/* Rows of W_E or of W_U^T minus their mean, [tokens, d_model]; freed with free(). */
double *dense_centred_end(const otimes_model *model, bool out);

#endif
