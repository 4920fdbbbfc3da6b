/* SPDX-License-Identifier: MIT */
#include "token/bpe.h"

#include <string.h>

#include "base/mem.h"

/* Up to this many symbols the lowest rank is looked for from left to right: cheaper than a heap. */
enum { SHORT_WORD = 48 };

int otimes_merges_reserve(otimes_merges *merges, int64_t count, otimes_err *err)
{
    merges->slots = otimes_hash_slots(count + 1);
    const int rc = OTIMES_NEW(&merges->slot, merges->slots, err);
    if (rc != OTIMES_OK) {
        merges->slots = 0;
        return rc;
    }
    for (int64_t i = 0; i < merges->slots; i++) {
        merges->slot[i].rank = OTIMES_RANK_NONE;
    }
    return OTIMES_OK;
}

void otimes_merges_put(otimes_merges *merges, uint32_t left, uint32_t right, int32_t rank,
                       int32_t id, int first)
{
    otimes_merge *slot = (otimes_merge *)otimes_merges_find(merges, left, right);
    if (slot->rank != OTIMES_RANK_NONE && first) {
        return;
    }
    merges->count += slot->rank == OTIMES_RANK_NONE;
    *slot = (otimes_merge){left, right, rank, id};
}

void otimes_merges_free(otimes_merges *merges)
{
    otimes_free(merges->slot);
    *merges = (otimes_merges){0};
}

void otimes_word_free(otimes_word *word)
{
    otimes_free(word->symbol);
    otimes_free(word->link);
    otimes_free(word->heap);
    *word = (otimes_word){0};
}

static int32_t rank_at(const otimes_word *word, const otimes_merges *merges, int64_t left)
{
    return otimes_merges_find(merges, (uint32_t)word->symbol[left].id,
                              (uint32_t)word->symbol[left + 1].id)
        ->rank;
}

static void merge_short(otimes_word *word, const otimes_merges *merges)
{
    otimes_symbol *symbol = word->symbol;
    int32_t rank[SHORT_WORD];
    int64_t pairs = word->count - 1;
    for (int64_t i = 0; i < pairs; i++) {
        rank[i] = rank_at(word, merges, i);
    }
    while (pairs > 0) {
        int64_t best = 0;
        for (int64_t i = 1; i < pairs; i++) {
            best = rank[i] < rank[best] ? i : best;
        }
        if (rank[best] == OTIMES_RANK_NONE) {
            break;
        }
        symbol[best].id =
            otimes_merges_find(merges, (uint32_t)symbol[best].id, (uint32_t)symbol[best + 1].id)
                ->id;
        symbol[best].length += symbol[best + 1].length;
        const size_t behind = (size_t)(pairs - best - 1);
        memmove(symbol + best + 1, symbol + best + 2, behind * sizeof *symbol);
        memmove(rank + best, rank + best + 1, behind * sizeof *rank);
        pairs--;
        if (best > 0) {
            rank[best - 1] = rank_at(word, merges, best - 1);
        }
        if (best < pairs) {
            rank[best] = rank_at(word, merges, best);
        }
    }
    word->count = pairs + 1;
}

static void sift_down(uint64_t *heap, int64_t count, int64_t at)
{
    const uint64_t moved = heap[at];
    for (int64_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        child += child + 1 < count && heap[child + 1] < heap[child];
        if (heap[child] >= moved) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static uint64_t pop(otimes_word *word)
{
    const uint64_t top = word->heap[0];
    word->heap[0] = word->heap[--word->heap_count];
    if (word->heap_count > 0) {
        sift_down(word->heap, word->heap_count, 0);
    }
    return top;
}

/* The merge of a symbol with its right neighbour, if there is one, onto the heap. Each merge takes
 * one entry out and puts at most two in, of pairs that are fewer: 2 * count entries are enough. */
static void push(otimes_word *word, const otimes_merges *merges, int64_t left)
{
    const int32_t right = word->link[left][1];
    if (right < 0) {
        return;
    }
    const int32_t rank = otimes_merges_find(merges, (uint32_t)word->symbol[left].id,
                                            (uint32_t)word->symbol[right].id)
                             ->rank;
    if (rank == OTIMES_RANK_NONE) {
        return;
    }
    const uint64_t entry = (uint64_t)rank << 32 | (uint64_t)left;
    int64_t at = word->heap_count++;
    for (int64_t above = (at - 1) / 2; at > 0 && word->heap[above] > entry; above = (at - 1) / 2) {
        word->heap[at] = word->heap[above];
        at = above;
    }
    word->heap[at] = entry;
}

static int reserve_long(otimes_word *word, otimes_err *err)
{
    if (word->link_capacity >= word->count) {
        return OTIMES_OK;
    }
    otimes_free(word->link);
    otimes_free(word->heap);
    word->link = NULL;
    word->heap = NULL;
    word->link_capacity = 0;
    int rc = OTIMES_NEW(&word->link, word->count, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&word->heap, 2 * word->count, err);
    }
    if (rc == OTIMES_OK) {
        word->link_capacity = word->count;
    }
    return rc;
}

/* Entries of the heap are not taken out when a merge beside them changes their pair: on top they
 * are held against what stands there now. */
static int merge_long(otimes_word *word, const otimes_merges *merges, otimes_err *err)
{
    const int rc = reserve_long(word, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_symbol *symbol = word->symbol;
    word->heap_count = 0;
    for (int64_t i = 0; i < word->count; i++) {
        word->link[i][0] = (int32_t)i - 1;
        word->link[i][1] = i + 1 < word->count ? (int32_t)i + 1 : -1;
        push(word, merges, i);
    }
    while (word->heap_count > 0) {
        const uint64_t top = pop(word);
        const int64_t left = (int64_t)(top & UINT32_MAX);
        const int32_t right = word->link[left][1];
        if (symbol[left].length == 0 || right < 0) {
            continue;
        }
        const otimes_merge *merge =
            otimes_merges_find(merges, (uint32_t)symbol[left].id, (uint32_t)symbol[right].id);
        if (merge->rank == OTIMES_RANK_NONE || (uint64_t)merge->rank != top >> 32) {
            continue;
        }
        symbol[left].id = merge->id;
        symbol[left].length += symbol[right].length;
        symbol[right].length = 0;
        const int32_t next = word->link[right][1];
        word->link[left][1] = next;
        if (next >= 0) {
            word->link[next][0] = (int32_t)left;
        }
        if (word->link[left][0] >= 0) {
            push(word, merges, word->link[left][0]);
        }
        push(word, merges, left);
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < word->count; i++) {
        if (symbol[i].length > 0) {
            symbol[kept++] = symbol[i];
        }
    }
    word->count = kept;
    return OTIMES_OK;
}

int otimes_word_merge(otimes_word *word, const otimes_merges *merges, otimes_err *err)
{
    if (word->count < 2 || merges->count == 0) {
        return OTIMES_OK;
    }
    if (word->count <= SHORT_WORD) {
        merge_short(word, merges);
        return OTIMES_OK;
    }
    return merge_long(word, merges, err);
}
