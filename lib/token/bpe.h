/* SPDX-License-Identifier: MIT
 *
 * Byte pair encoding: the table of merges and what merging a word needs.
 */
#ifndef OTIMES_TOKEN_BPE_H
#define OTIMES_TOKEN_BPE_H

#include "base/err.h"
#include "token/hash.h"

enum { OTIMES_RANK_NONE = INT32_MAX };

typedef struct otimes_merge {
    uint32_t left, right;
    int32_t rank, id; /* the lowest rank merges first; rank NONE: free */
} otimes_merge;

typedef struct otimes_merges {
    otimes_merge *slot;
    int64_t slots, count;
} otimes_merges;

/* Room for `count` merges; called once, before the first. */
int otimes_merges_reserve(otimes_merges *merges, int64_t count, otimes_err *err);
/* Of two merges of one pair the later holds, or with `first` the earlier. */
void otimes_merges_put(otimes_merges *merges, uint32_t left, uint32_t right, int32_t rank,
                       int32_t id, int first);
void otimes_merges_free(otimes_merges *merges);

/* The merge of a pair, or a slot of rank NONE. */
static inline const otimes_merge *otimes_merges_find(const otimes_merges *merges, uint32_t left,
                                                     uint32_t right)
{
    const uint64_t mask = (uint64_t)merges->slots - 1;
    for (uint64_t i = otimes_hash_mix((uint64_t)left << 32 | right) & mask;; i = (i + 1) & mask) {
        const otimes_merge *slot = &merges->slot[i];
        if ((slot->left == left && slot->right == right) || slot->rank == OTIMES_RANK_NONE) {
            return slot;
        }
    }
}

/* A part of a word: `length` of its bytes, spelt by `id`. */
typedef struct otimes_symbol {
    int32_t id, length;
} otimes_symbol;

/* A word as it is merged. Zeroed it is empty. */
typedef struct otimes_word {
    otimes_symbol *symbol;
    int64_t count, capacity;
    int32_t (*link)[2]; /* long words: left and right neighbour */
    int64_t link_capacity;
    uint64_t *heap; /* rank << 32 | place */
    int64_t heap_count;
} otimes_word;

void otimes_word_free(otimes_word *word);

/* Merges until no neighbours have a merge: always the lowest rank, the leftmost of equals. */
int otimes_word_merge(otimes_word *word, const otimes_merges *merges, otimes_err *err);

#endif
