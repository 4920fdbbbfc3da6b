/* SPDX-License-Identifier: MIT
 *
 * What the two processes of result.c say to each other. First an answer; where it is 0 how much there
 * is, every fact, axis and array, each followed by its texts. Then for each request an answer, and
 * where that is 0 the block: numbers as they lie in memory, or texts.
 */
#ifndef RESULT_WIRE_H
#define RESULT_WIRE_H

#include <stdio.h>

#include <otimes/reader.h>

typedef struct wire_answer {
    int rc;
    otimes_err err;
} wire_answer;

typedef struct wire_counts {
    int64_t attrs, axes, arrays;
} wire_counts;

/* Behind it: name, text. */
typedef struct wire_attr {
    int64_t kind, i64;
    double f64;
} wire_attr;

typedef enum wire_labels { LABELS_NONE, LABELS_TEXT, LABELS_NUMBER } wire_labels;

/* Behind it: name, long name, labels. */
typedef struct wire_axis {
    int64_t length, labels;
} wire_axis;

/* Behind it: name, long name, units, formula, orientation, labels_of. */
typedef struct wire_array {
    int64_t type, ndim, axis[OTIMES_MAX_DIMS];
} wire_array;

typedef struct wire_request {
    int64_t index, entries, start[OTIMES_MAX_DIMS], count[OTIMES_MAX_DIMS];
} wire_request;

/* A text is its length, -1 for none, and its bytes. */

/* Reads the file and answers through a socket, until that is closed. */
_Noreturn void result_serve(const char *path, int socket);

#endif
