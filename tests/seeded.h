/* SPDX-License-Identifier: MIT
 *
 * Models of middling size with seeded weights, written into the test's folder: larger than the
 * blocks that a forward pass works in, which goldens are not.
 */
#ifndef TESTS_SEEDED_H
#define TESTS_SEEDED_H

#include "support.h"

enum { SEEDED_VOCAB = 3000 };

/* A tensor's name, with %d for layer and expert, and its shape. */
typedef struct tensor {
    const char *name;
    int64_t rows, columns; /* columns 0: a vector */
} tensor;

/* A configuration and the tensors that go with it; the list ends with name NULL. */
typedef struct recipe {
    const char *name, *config;
    int layers, experts;
    tensor tensors[24];
} recipe;

/* Rotary positions and grouped keys; the same with a window; experts; learned positions and a plain
 * MLP; a parallel block; attention larger than anything else. d_model 128 (1024 in the last). */
extern const recipe seeded_llama, seeded_mistral, seeded_mixtral, seeded_gpt2, seeded_phi,
    seeded_wide;

/* Writes the checkpoint and opens it, processed. Fails the test on error. */
otimes_model *seeded_model(const recipe *recipe, int threads);

#endif
