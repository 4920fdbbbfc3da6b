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

/* Every array over pairs that stands in `memory` for other number `other` is what dense matrices give, to
 * `close`. `dimension` of the spaces of readers and writers; with `haar` variances are held too. Of a model
 * with itself pairs in one order alone. Returns the largest difference seen. */
double pairs_are_dense(const otimes_memory_sink *memory, int64_t other, const dense_model *a,
                       const dense_model *b, const double dimension[SIDES], bool haar,
                       double close);

/* Rows of W_E or of W_U^T minus their mean, [tokens, d_model]; freed with free(). */
double *dense_centred_end(const otimes_model *model, bool out);

#endif
