/* SPDX-License-Identifier: MIT
 *
 * The arrays that `convert` writes, held against goldens.
 */
#ifndef OTIMES_TESTS_WRITTEN_H
#define OTIMES_TESTS_WRITTEN_H

#include "support.h"

#include "model/lens.h"

/* What `convert` writes for a model, in memory. */
typedef struct written {
    const otimes_model *model; /* the caller's */
    otimes_memory_sink *memory;
    otimes_lens_list list; /* names of its arrays */
} written;

/* Fails the test on error. */
void written_make(written *w, const otimes_model *model);
void written_free(written *w);

/* Every weight under `prefix` of a golden is an array of its shape and values (|difference| <=
 * relative * largest) under the name and in the orientation of tools/schema/convert.md, and every
 * array has such a weight. Value biases folded to zero may be absent. */
void written_is_golden(const written *w, const golden *g, const char *prefix, double relative);

/* A safetensors file holds the same arrays, every bit, and no other. */
void written_is_file(const written *w, const char *path);

#endif
