/* SPDX-License-Identifier: MIT
 *
 * What tests of numbers share: goldens, and arrays of a memory sink held against them.
 */
#ifndef OTIMES_TESTS_SUPPORT_H
#define OTIMES_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <otimes/model.h>

#include "format/store.h"

/* A path below the project's root (environment OTIMES_SOURCE, or the current folder); static text.
 */
const char *source_path(const char *relative);

/* The same below ../shared/weights; NULL where that folder is absent: the test then skips. */
const char *shared_path(const char *relative);

/* A golden model and what must come out of it. */
typedef struct golden {
    const char *name;
    otimes_model *model;
    otimes_store expected;
} golden;

/* All goldens, ends with NULL. */
extern const char *const golden_names[];

/* Whether golden i is left out of a heavy loop: two in three under a sanitizer, which makes it ten
 * times as long, while the same code runs there on the others. Builds without it leave out none. */
bool golden_left_out(int i);

/* Opens one, with all processing or with none; fails the test on error. */
void golden_open(golden *g, const char *name, bool processed);

/* The same for work on some number of threads; 0: all that there are. */
void golden_open_on(int threads, golden *g, const char *name, bool processed);
void golden_close(golden *g);

/* Expected float64 values by name, or NULL; *count of them. */
const double *golden_values(const golden *g, const char *name, int64_t *count);

/* Fails unless each |got - expected| <= relative * max |expected| + absolute; NaN equals NaN. */
void assert_close(const char *what, const double *got, const double *expected, int64_t count,
                  double relative, double absolute);

/* An array of a memory sink as doubles, whatever its type; NULL when it is not there. Freed by the
 * caller with free(). */
double *sink_values(const otimes_memory_sink *memory, const char *name, int64_t *count);

/* A temporary folder for files of a test: group setup and teardown, and a test's teardown that
 * empties it. */
extern char temp_folder[64];
int make_folder(void **state);
int empty_folder(void **state);
int remove_folder(void **state);

/* A path in it; static text. */
const char *in_folder(const char *name);

/* Writes a file in it. */
void write_file(const char *name, const void *bytes, size_t length);

/* Fails with the error's text unless rc is 0. */
void assert_ok(int rc, const otimes_err *err);

#endif
