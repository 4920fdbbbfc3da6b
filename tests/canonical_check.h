/* SPDX-License-Identifier: MIT
 *
 * Canonical weights as `convert` writes them, held against goldens and against each other.
 */
#ifndef OTIMES_TESTS_CANONICAL_CHECK_H
#define OTIMES_TESTS_CANONICAL_CHECK_H

#include "support.h"

#include "model/lens.h"
#include "model/model.h"

/* What `convert` writes for a model, in memory. */
typedef struct canonical {
    const otimes_model *model; /* the caller's */
    otimes_memory_sink *memory;
    otimes_lens_list list; /* names of its arrays */
} canonical;

/* Fails the test on error. */
void canonical_make(canonical *c, const otimes_model *model);
void canonical_free(canonical *c);

/* Float32 numbers of an array, or NULL; *count of them. */
const float *canonical_values(const canonical *c, const char *name, int64_t *count);

/* Every weight under `prefix` of a golden is an array of its shape and values, in the place that the
 * file form has for it, and every array has such a weight. Norms that folding takes away and value
 * biases folded to zero may be absent. */
void assert_golden(const canonical *c, const golden *g, const char *prefix, double tolerance);

/* The same arrays of the same shapes; each |a - b| <= tolerance * max |b|. 0: the same bits. */
void assert_same(const char *what, const canonical *a, const canonical *b, double tolerance);

/* What two models say of themselves agrees: every dimension, number and kind, frequencies and
 * windows of each layer; not what they are called and how they are stored. */
void assert_same_kind(const char *what, const otimes_model *a, const otimes_model *b);

/* Reading is exact, every bit of the file's numbers (0), but where a multiplier of the model or an
 * offset of a norm is taken in, which is one rounding. */
double raw_tolerance(const otimes_model *model);

/* Which steps are asked for, bit by bit. */
enum {
    STEP_FOLD_LN = 1,
    STEP_CENTER_WRITING = 2,
    STEP_CENTER_UNEMBED = 4,
    STEP_FOLD_BIASES = 8,
    STEPS_ALL = 15
};

/* Opens a model with these steps and no others; fails the test on error. */
otimes_model *open_with(const char *path, int steps);

/* The model's steps in the order of those bits. */
void steps_of(const otimes_model *model, otimes_step steps[4]);

#endif
