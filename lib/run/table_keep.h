/* SPDX-License-Identifier: MIT
 *
 * What a row of a table keeps of a block of its products: exactly the extremes and the entries beyond a
 * threshold, though the products are rounded.
 */
#ifndef OTIMES_RUN_TABLE_KEEP_H
#define OTIMES_RUN_TABLE_KEEP_H

#include "base/err.h"
#include "num/topk.h"

typedef struct otimes_table_entry {
    int64_t row;
    int32_t column;
    float value;
} otimes_table_entry;

/* A zeroed one is empty; `entry` is to be freed. */
typedef struct otimes_table_entries {
    int64_t count, capacity;
    otimes_table_entry *entry;
} otimes_table_entries;

typedef struct otimes_table_keeper {
    otimes_topk top, bottom;
    double norm;         /* of the row's vector, no less than it is */
    const float *vector; /* [rank] */
    int64_t row;
} otimes_table_keeper;

/* A block of columns. */
typedef struct otimes_table_block {
    int64_t rank, first, count;
    const float *vectors; /* [count, rank] */
    double norm;          /* no less than the largest */
    double threshold;     /* as in otimes_table_ask */
} otimes_table_block;

/* Euclidean norm, and the rounding of its own above. */
double otimes_table_norm(const float *vector, int64_t rank);

/* By how much a float32 product of two such vectors, its terms summed in any order, may differ from
 * (float)otimes_dot; INFINITY where it may overflow. */
double otimes_table_margin(int64_t rank, double norms);

/* Takes from a row's products with the block what belongs to its extremes, and appends to `beyond` what the
 * threshold asks for, columns ascending. Blocks ascend over the calls. The scratch has room for
 * the larger of the two capacities. OTIMES_ERR_MEMORY. */
int otimes_table_keep(otimes_table_keeper *keeper, const otimes_table_block *block,
                      const float *products, float *scratch_value, int32_t *scratch_index,
                      otimes_table_entries *beyond, otimes_err *err);

#endif
