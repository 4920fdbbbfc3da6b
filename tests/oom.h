/* SPDX-License-Identifier: MIT
 *
 * Memory that ends: each public call is allowed 0, 1, 2 ... allocations until it succeeds. Every
 * failure before that is OTIMES_ERR_MEMORY with a text, leaves no block behind and no handle set.
 *
 * Linked with --wrap for otimes_alloc, otimes_realloc and otimes_free, so that every allocation of
 * the library passes oom.c. jansson's blocks are counted, so that a document left behind shows, but
 * never denied: it aborts in an assertion of its own (2.14, lex_unget_unsave) when they are, which is
 * why the library sees to it beforehand that there is room (format/json.c).
 */
#ifndef OTIMES_TESTS_OOM_H
#define OTIMES_TESTS_OOM_H

#include "support.h"

#include <otimes/sink.h>

/* Makes the call and, when it succeeded, releases what it gave; a failed one checks its handles. */
typedef int oom_call(void *context, otimes_err *err);

/* Fails the test unless run needs `at_least` allocations. */
void until_it_succeeds(const char *what, oom_call *run, void *context, int64_t at_least);

/* A golden for one thread. */
otimes_model *oom_golden(const char *name);

/* An analysis and what it is asked for. */
typedef struct oom_analysis {
    const otimes_model *model;
    const void *settings;
    int (*run)(const struct oom_analysis *analysis, otimes_sink *sink, otimes_err *err);
} oom_analysis;

/* Runs one into a sink whose own memory is rationed with the rest; an oom_call. */
int oom_analyse(void *context, otimes_err *err);

/* How many allocations are left before all others are denied; INT64_MAX: any number. */
void oom_allow(int64_t allocations);

/* A test's teardown: a failed one must not starve the next. */
int oom_end(void **state);

/* From now on jansson's blocks are counted. */
void oom_count_json(void);

/* Bytes since the last call of this: what jansson held at most, and the largest block of the library. */
void oom_sizes(int64_t *json_peak, int64_t *largest);

#endif
