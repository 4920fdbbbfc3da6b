/* SPDX-License-Identifier: MIT
 *
 * Activations of a batch, by hook, layer, head, sequence and expert: gathered by a visitor of a
 * forward pass, or put there by the plain pass that it is held against.
 */
#ifndef TESTS_TRACE_H
#define TESTS_TRACE_H

#include "support.h"

#include <pthread.h>

#include <otimes/forward.h>

/* What is kept apart; -1 where a hook has no such number. */
typedef struct trace_key {
    otimes_hook hook;
    int64_t layer, head, sequence, expert;
} trace_key;

typedef struct trace_array {
    trace_key key;
    int64_t rows, columns; /* of the batch; of scores and patterns, the sequence's tokens twice */
    double *data;          /* [rows, columns]; keys that were not seen: -inf, in patterns 0 */
    int *visits;           /* [rows] how often a row was put */
    int64_t next;          /* of its chain, counted from 1 */
} trace_array;

/* Values of one hook and layer in columns 0, 2, 4 ... are multiplied by a factor on their way, once
 * they were put: of all columns alike, a norm behind them would take it away. */
typedef struct trace_edit {
    bool on;
    otimes_hook hook;
    int64_t layer;
    float factor; /* a power of two times few bits: rounds nothing of its own */
} trace_edit;

enum { TRACE_CHAINS = 4096 };

/* Changes `rows` rows of a key in place, from row `first` of the batch on (of scores and patterns: of the
 * sequence), once they were put. In plain_pass alone. */
typedef void trace_change(void *context, trace_key key, int64_t first, int64_t rows,
                          int64_t columns, double *values);

typedef struct trace {
    const otimes_model *model;
    const otimes_sequences *batch; /* the caller's */
    int64_t rows;                  /* tokens of the batch */
    trace_array *array;
    int64_t count, capacity;
    int64_t chain[TRACE_CHAINS]; /* first array of each, counted from 1 */
    pthread_mutex_t lock;
    trace_edit edit;
    trace_change *change; /* NULL: none */
    void *context;
    uint64_t zero;     /* OR of 1 << hook for those whose values become 0 once they were put */
    char problem[256]; /* of a visit, which must not fail the test from another thread */
} trace;

void trace_init(trace *t, const otimes_model *model, const otimes_sequences *batch);
void trace_free(trace *t);

/* The array of a key or NULL. */
trace_array *trace_find(const trace *t, trace_key key);

/* By what values of a key in a column are to be multiplied. */
double trace_factor(const trace *t, trace_key key, int64_t column);

/* Puts `columns` values of one row, widened or as they are. */
void trace_put_row(trace *t, trace_key key, int64_t row, int64_t columns, const float *values,
                   const double *wide);

/* An otimes_visit whose context is a trace: checks an activation's shape, puts its rows, edits. */
int trace_visit(void *context, const otimes_activation *activation, otimes_err *err);

/* Hooks of every point (or of `points`) that gather into a trace. */
otimes_hooks trace_hooks(trace *t, uint64_t points);

/* No visit had a problem; what otimes_hook_reached says was reached is there for every row (of
 * experts: for those of its tokens), once, and nothing else is. */
void trace_is_whole(const trace *t, const char *what);

/* Every array of `got` is in `want` with the same rows, and |got - want| <= relative * the largest
 * |want| of its hook and layer. Returns the largest ratio found. */
double trace_is_close(const trace *got, const trace *want, double relative, const char *what);

#endif
