/* SPDX-License-Identifier: MIT
 *
 * One query's row of an attention pattern, and what known roles ask of it.
 */
#ifndef OTIMES_RUN_PATTERN_ROW_H
#define OTIMES_RUN_PATTERN_ROW_H

#include <math.h>
#include <stdint.h>

/* The score of a query that has no part in it. A NaN is an overflow of the pattern: it shows. */
#define OTIMES_PATTERN_ABSENT ((double)-INFINITY)

/* Keys behind `columns` have weight 0. */
typedef struct otimes_pattern_row {
    const float *weight; /* [columns] */
    int64_t columns, query;
    const int64_t *before; /* of its sequence: the last earlier position with the same token; -1 */
} otimes_pattern_row;

/* before [length] of a sequence; seen [d_vocab] is scratch, all -1 before and after. */
void otimes_pattern_link(const int64_t *id, int64_t length, int64_t *seen, int64_t *before);

/* The weight of a key, 0 where there is none. */
double otimes_pattern_at(const otimes_pattern_row *row, int64_t key);

/* Over earlier places of the row's own token, latest first: the sum of weights of the keys `ahead`
 * of them that lie before the query. ABSENT without any. */
double otimes_pattern_earlier_same(const otimes_pattern_row *row, int64_t ahead);

#endif
