/* SPDX-License-Identifier: MIT
 *
 * Results made in memory, and what comparing two of them finds.
 */
#ifndef OTIMES_TESTS_COMPARED_H
#define OTIMES_TESTS_COMPARED_H

#include "support.h"

#include <otimes/diff.h>

/* A result that names this schema. */
otimes_memory_sink *new_result(const char *schema);
void add_fact(otimes_memory_sink *memory, const char *name, const char *text);
void add_number(otimes_memory_sink *memory, const char *name, int64_t value);
void add(otimes_memory_sink *memory, const otimes_array *about, const void *data);

/* An array along one axis. */
void add_list(otimes_memory_sink *memory, const char *name, otimes_type type,
              const otimes_axis *axis, const void *data);

typedef struct compared {
    otimes_memory_sink *result;
    int equal;
} compared;

/* Compares them as "A" and "B"; out->result is released by the caller, whatever came of it. */
int try_diff(const otimes_memory_sink *a, const otimes_memory_sink *b,
             const otimes_diff_settings *settings, compared *out, otimes_err *err);

/* The same; fails the test on error. */
compared diff(const otimes_memory_sink *a, const otimes_memory_sink *b,
              const otimes_diff_settings *settings);

/* The entry of a column of the result at a label: of an array, an axis or a fact. */
int64_t count_of(const compared *c, const char *column, const char *label);
double real_of(const compared *c, const char *column, const char *label);
const char *text_of(const compared *c, const char *column, const char *label);

/* Releases all three. */
void end(compared *c, otimes_memory_sink **a, otimes_memory_sink **b);

#endif
