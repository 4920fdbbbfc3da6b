/* SPDX-License-Identifier: MIT
 *
 * Every analysis on a model and a short text, with settings that write as much as there is.
 */
#ifndef OTIMES_TESTS_DEGENERATE_RUNS_H
#define OTIMES_TESTS_DEGENERATE_RUNS_H

#include "support.h"

typedef struct degenerate_run {
    const char *name;
    int (*run)(const otimes_model *model, otimes_sink *sink, otimes_err *err);
} degenerate_run;

/* Ends with name NULL. */
extern const degenerate_run degenerate_runs[];

/* By name; fails the test when there is none. */
const degenerate_run *degenerate_run_of(const char *name);

/* Runs it into a new memory sink; fails the test on error. */
otimes_memory_sink *degenerate_result(const char *name, const otimes_model *model);

#endif
