/* SPDX-License-Identifier: MIT
 *
 * An analysis in front of a journal, stopped behind some block and resumed: the target gets the same
 * blocks in the same order.
 */
#ifndef TESTS_RESUMING_H
#define TESTS_RESUMING_H

#include "support.h"

#include <otimes/sink.h>

enum { MOST_BLOCKS = 512 };

/* What a target gets: a checksum of every block. It keeps nothing. */
typedef struct received {
    int arrays;
    int blocks;
    uint64_t sum[MOST_BLOCKS];
    int finished;
    size_t size[64];
    int ndim[64];
} received;

/* What is run: all of it from its context. */
typedef struct resumable {
    int (*run)(const void *context, otimes_sink *sink, otimes_err *err);
    const void *context;
} resumable;

/* Runs it, with a journal in the test's folder, until it has written stop_at blocks (0: to its end);
 * with `resume` it goes on with the journal that is there. Blocks that the analysis wrote. */
int run_until(const resumable *analysis, int resume, int stop_at, received *got);

/* Stops it behind every block and resumes it: the target gets what it gets of an undisturbed run, and
 * what is left to write never grows with what was written. How many blocks the last one had left. */
int stop_anywhere(const resumable *analysis, int *blocks);

#endif
