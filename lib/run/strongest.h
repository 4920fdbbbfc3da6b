/* SPDX-License-Identifier: MIT
 *
 * The strongest entries of a circuit over the vocabulary, T = X L R^T Y^T with X and Y each rows of
 * W_E or of W_U: the head of a table of d_vocab^2 numbers that is never there.
 */
#ifndef OTIMES_RUN_STRONGEST_H
#define OTIMES_RUN_STRONGEST_H

#include <otimes/model.h>

#include "base/err.h"

/* Tokens along one side of the table. */
typedef struct otimes_vocab_end {
    const otimes_unembed *unembed; /* rows of W_U by output token; NULL: rows of W_E */
    const int64_t *tokens;         /* the only ones, ascending; NULL: all */
    int64_t token_count;
} otimes_vocab_end;

typedef struct otimes_strongest_ask {
    otimes_vocab_end row, column;
    const double *left, *right; /* L, R [d_model, rank], row-major */
    int64_t rank;
    double scale; /* entries are multiplied by it; not 0 */
    int smallest; /* 0: the largest entries; 1: the smallest */
    int64_t top;  /* how many */
    /* Called with the share of the table that is settled; may stop the work (OTIMES_ERR_CANCELLED,
     * err filled by it). NULL: none. */
    int (*tick)(void *context, double share, otimes_err *err);
    void *context;
} otimes_strongest_ask;

typedef struct otimes_strongest_entry {
    double value;
    int32_t row, column; /* token ids; -1 beyond the size of the table, where value is NaN */
} otimes_strongest_entry;

/* Exactly the `top` largest (or smallest) entries into entry [top], the extreme first, equal ones
 * by lower row, then lower column. The two projections X L and Y R are balanced by the SVD of
 * L R^T, sorted by the norms of their rows and multiplied by tiles in float32; a tile whose norms cannot
 * reach what is kept (Cauchy-Schwarz) is left out with all that follow it. An entry that could
 * enter within float32 rounding is computed again in double, so that values and order are those of
 * double whatever the tiles and the number of threads. *examined, where not NULL: entries that were
 * multiplied, of all.
 * Cost: (rows + columns) d_model rank + at most rows * columns * rank multiplications; memory
 * 12 (rows + columns) rank bytes and a tile a thread. OTIMES_ERR_MEMORY, OTIMES_ERR_CONVERGENCE,
 * errors of reading the vocabulary, the tick's. */
int otimes_strongest(const otimes_model *model, const otimes_strongest_ask *ask,
                     otimes_strongest_entry *entry, int64_t *examined, otimes_err *err);

#endif
