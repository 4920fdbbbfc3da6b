/* SPDX-License-Identifier: MIT
 *
 * Results of otimes_paths for tests.
 */
#ifndef TESTS_FOUND_PATHS_H
#define TESTS_FOUND_PATHS_H

#include "forwarding.h"

#include <otimes/paths.h>

enum { TOKENS = 6 };

typedef struct values {
    const otimes_array *array;
    double *x; /* freed by the caller */
    int64_t count;
} values;

typedef struct fixture {
    const char *name;
    golden g; /* where it is one */
    const otimes_model *model;
    const otimes_model_info *info;
    made_batch batch;
    int64_t n;
    otimes_paths_settings settings;
    otimes_memory_sink *memory; /* of the last run */
} fixture;

/* An array of the last run; fails the test where there is none. */
values get(const fixture *f, const char *name);
const char *text_at(const fixture *f, const char *name, int64_t at);

/* A text of TOKENS random tokens, all paths to the logit of token 1. */
void set_up(fixture *f, const char *name, const otimes_model *model);
void open_bundled(fixture *f);
/* Of a model that is no golden. */
void close_model(fixture *f);

int run(fixture *f, otimes_err *err);

/* Whether |got - expected| <= 1e-5 size; says so if not. */
bool is_near(const fixture *f, const char *what, double got, double expected, double size);

#endif
