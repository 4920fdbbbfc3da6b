/* SPDX-License-Identifier: MIT
 *
 * Batches of tokens for tests, and one call from a model to its logits.
 */
#ifndef TESTS_FORWARDING_H
#define TESTS_FORWARDING_H

#include "support.h"

#include <otimes/forward.h>

enum { MADE_TEXTS = 8, MADE_TOKENS = 256 };

/* Sequences whose arrays live beside them: not to be copied. */
typedef struct made_batch {
    otimes_sequences sequences;
    int64_t length[MADE_TEXTS];
    const int64_t *id[MADE_TEXTS];
    int64_t ids[MADE_TEXTS][MADE_TOKENS];
} made_batch;

/* `count` sequences of seeded random ids, of these lengths; where a model has learned positions, of
 * at most n_ctx. */
void batch_random(made_batch *batch, const otimes_model *model, const int64_t *length,
                  int64_t count, uint64_t seed);

/* The two sequences of a golden's expected.safetensors. */
void batch_golden(made_batch *batch, const golden *g);

/* Sequences of another batch, in this order. */
void batch_pick(made_batch *batch, const made_batch *from, const int64_t *which, int64_t count);

int64_t batch_rows(const made_batch *batch);

/* Opens, runs, and returns logits [rows, d_vocab_out], freed with free(). settings and hooks may be
 * NULL. Fails the test on error. */
float *forward_logits(const otimes_model *model, const otimes_forward_settings *settings,
                      const made_batch *batch, const otimes_hooks *hooks, const char *what);

/* The largest |a - b|, over the largest |b|. */
double gap_of(const float *a, const float *b, int64_t count);

/* The same for log-probabilities of rows of `columns` logits, `b` in float64. `plain` leaves out
 * the softmax. */
double gap_to_expected(const float *a, const double *b, int64_t rows, int64_t columns, bool plain);

#endif
