/* SPDX-License-Identifier: MIT
 *
 * Bigrams of a corpus, counted (otimes/bigram_counts.h), seen by rows.
 */
#ifndef OTIMES_RUN_BIGRAM_COUNTS_H
#define OTIMES_RUN_BIGRAM_COUNTS_H

#include <otimes/bigram_counts.h>

#include "base/mem.h"

/* A successor of some token and how often it was one, at least once. */
typedef struct otimes_bigram_successor {
    int64_t token, count;
} otimes_bigram_successor;

/* Counts of the chosen source tokens that have successors. */
typedef struct otimes_bigram_rows {
    int64_t count;
    int64_t *place;                     /* [count] ascending, in the list of chosen tokens */
    int64_t *first;                     /* [count + 1] into successors */
    int64_t *total;                     /* [count] n(s), the sum of the row */
    otimes_bigram_successor *successor; /* [first[count]], ascending by token within a row */
} otimes_bigram_rows;

/* The rows of ids[0 .. count-1], ascending (NULL: of all tokens below count), in the pool's memory: 16
 * bytes a pair. */
int otimes_bigram_counts_rows(const otimes_bigram_counts *counts, const int64_t *ids, int64_t count,
                              int threads, otimes_pool *pool, otimes_bigram_rows *rows,
                              otimes_err *err);

/* The largest id that was counted, -1 without; tokens in all, and how often each occurs [largest + 1]. */
int64_t otimes_bigram_counts_largest(const otimes_bigram_counts *counts);
int64_t otimes_bigram_counts_tokens(const otimes_bigram_counts *counts);
const int64_t *otimes_bigram_counts_unigrams(const otimes_bigram_counts *counts);

#endif
