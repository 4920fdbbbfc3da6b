/* SPDX-License-Identifier: MIT
 *
 * What tests of decompose share: a golden with two texts and a request, and results as doubles.
 */
#ifndef OTIMES_TESTS_DECOMPOSED_H
#define OTIMES_TESTS_DECOMPOSED_H

#include "support.h"

#include <otimes/decompose.h>

#define EPS 1.2e-7

enum { TEXTS = 2, TARGETS = 2 };

typedef struct fixture {
    golden g;
    const otimes_model_info *info;
    int64_t length[TEXTS], *id[TEXTS], longest;
    int64_t target[TARGETS], against[TARGETS];
    otimes_decompose_settings settings;
} fixture;

void begin(fixture *f, const char *name, bool processed);
void end(fixture *f);

/* Calls check for every golden, raw and processed. */
void each_golden(void (*check)(const char *name, bool processed));

/* Fails the test on error. */
otimes_memory_sink *decompose(const fixture *f);

/* An array as doubles, with the length of its last axis; x is freed by the caller. */
typedef struct values {
    double *x;
    int64_t count, last;
    const otimes_array *array;
} values;

values get(const otimes_memory_sink *memory, const char *name);

/* Whether a place of [text, position] holds a token. */
bool in_text(const fixture *f, int64_t where);

/* Where a component of attributions stands; -1 where there is none. */
int64_t component_named(const values *part, const char *label);

#endif
