/* SPDX-License-Identifier: MIT
 *
 * The arrays of `circuit` as its writer knows them.
 */
#ifndef OTIMES_ANALYSIS_CIRCUIT_ARRAYS_H
#define OTIMES_ANALYSIS_CIRCUIT_ARRAYS_H

#include "analysis/circuit_job.h"

enum circuit_array {
    TOP_VALUE,
    TOP_ID,
    BOTTOM_VALUE,
    BOTTOM_ID,
    COLUMN_TOP_VALUE,
    COLUMN_TOP_ID,
    COLUMN_BOTTOM_VALUE,
    COLUMN_BOTTOM_ID,
    ROW_MEAN,
    ROW_STD,
    ROW_LOGSUMEXP,
    ROW_MAX,
    ROW_MIN,
    DIAGONAL_VALUE,
    DIAGONAL_RANK,
    HISTOGRAM,
    HISTOGRAM_BELOW,
    HISTOGRAM_ABOVE,
    LARGEST_VALUE,
    LARGEST_ROW,
    LARGEST_COLUMN,
    SMALLEST_VALUE,
    SMALLEST_ROW,
    SMALLEST_COLUMN,
    TABLE,
    CIRCUIT_ARRAYS
};

struct circuit_writer {
    otimes_axis head, side[CIRCUIT_SIDES], token, output_token, rank, bottom_rank, bin, edge, place;
    otimes_axis entry;
    otimes_array array[CIRCUIT_ARRAYS];
    int id[CIRCUIT_ARRAYS]; /* -1: not wanted */
    char *names;            /* of heads */
    const char **head_labels, **token_labels, **output_labels, **side_labels[CIRCUIT_SIDES];
    float *value; /* [largest] */
    int32_t *index[2];
    uint16_t *halves;
    int64_t half_capacity;
    otimes_pool pool;
};

/* "W_E W_V ..." and what rows and columns are. */
const char *otimes_circuit_formula(const circuit_job *job);
extern const char *const otimes_circuit_orientations[];

#endif
