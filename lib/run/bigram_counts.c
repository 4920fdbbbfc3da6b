/* SPDX-License-Identifier: MIT
 *
 * Pairs in a table with open addressing: a corpus of billions of tokens has some ten million
 * different ones.
 */
#include "run/bigram_counts.h"

#include <stdlib.h>
#include <string.h>

#include "base/par.h"
#include "token/hash.h"

typedef struct slot {
    uint64_t pair; /* source token, then output token, 32 bits each */
    int64_t count; /* 0: empty */
} slot;

struct otimes_bigram_counts {
    slot *slots; /* [slot_count], a power of two */
    int64_t slot_count, used;
    int64_t *unigrams; /* [capacity], zero beyond the largest id */
    int64_t capacity, largest, tokens;
};

enum { FIRST_SLOTS = 1 << 12 };

int otimes_bigram_counts_new(otimes_bigram_counts **counts, otimes_err *err)
{
    otimes_bigram_counts *made;
    *counts = NULL;
    int rc = OTIMES_NEW(&made, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    made->largest = -1;
    made->slot_count = FIRST_SLOTS;
    rc = OTIMES_NEW(&made->slots, FIRST_SLOTS, err);
    if (rc != OTIMES_OK) {
        otimes_bigram_counts_free(&made);
        return rc;
    }
    *counts = made;
    return OTIMES_OK;
}

void otimes_bigram_counts_free(otimes_bigram_counts **counts)
{
    if (!counts || !*counts) {
        return;
    }
    otimes_free((*counts)->slots);
    otimes_free((*counts)->unigrams);
    otimes_free(*counts);
    *counts = NULL;
}

static slot *find(slot *slots, int64_t slot_count, uint64_t pair)
{
    const uint64_t mask = (uint64_t)slot_count - 1;
    uint64_t at = otimes_hash_mix(pair) & mask;
    while (slots[at].count && slots[at].pair != pair) {
        at = (at + 1) & mask;
    }
    return &slots[at];
}

/* Room for one more pair, three slots in four used at most. */
static int make_room(otimes_bigram_counts *c, otimes_err *err)
{
    if (4 * (c->used + 1) <= 3 * c->slot_count) {
        return OTIMES_OK;
    }
    slot *grown;
    const int rc = OTIMES_NEW(&grown, 2 * c->slot_count, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t i = 0; i < c->slot_count; i++) {
        if (c->slots[i].count) {
            *find(grown, 2 * c->slot_count, c->slots[i].pair) = c->slots[i];
        }
    }
    otimes_free(c->slots);
    c->slots = grown;
    c->slot_count *= 2;
    return OTIMES_OK;
}

/* Room for unigrams up to `largest`. */
static int admit(otimes_bigram_counts *c, int64_t largest, otimes_err *err)
{
    if (largest >= c->capacity) {
        const int64_t wanted = largest + 1 > 2 * c->capacity ? largest + 1 : 2 * c->capacity;
        int64_t *grown;
        const int rc = OTIMES_NEW(&grown, wanted, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        if (c->capacity) {
            memcpy(grown, c->unigrams, (size_t)c->capacity * sizeof *grown);
        }
        otimes_free(c->unigrams);
        c->unigrams = grown;
        c->capacity = wanted;
    }
    c->largest = largest > c->largest ? largest : c->largest;
    return OTIMES_OK;
}

int otimes_bigram_counts_add(otimes_bigram_counts *counts, const int64_t *id, int64_t count,
                             otimes_err *err)
{
    int64_t largest = -1;
    for (int64_t i = 0; i < count; i++) {
        if (id[i] < 0 || id[i] > INT32_MAX) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "token %lld of the text: expected an id from 0 to %d, got %lld",
                               (long long)i, INT32_MAX, (long long)id[i]);
        }
        largest = id[i] > largest ? id[i] : largest;
    }
    int rc = admit(counts, largest, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        counts->unigrams[id[i]]++;
        counts->tokens++;
        if (i) {
            rc = make_room(counts, err);
        }
        if (i && rc == OTIMES_OK) {
            const uint64_t pair = (uint64_t)id[i - 1] << 32 | (uint64_t)id[i];
            slot *at = find(counts->slots, counts->slot_count, pair);
            counts->used += !at->count;
            at->pair = pair;
            at->count++;
        }
    }
    return rc;
}

int64_t otimes_bigram_counts_largest(const otimes_bigram_counts *counts)
{
    return counts->largest;
}

int64_t otimes_bigram_counts_tokens(const otimes_bigram_counts *counts)
{
    return counts->tokens;
}

const int64_t *otimes_bigram_counts_unigrams(const otimes_bigram_counts *counts)
{
    return counts->unigrams;
}

/* ---- by rows ---- */

static int by_token(const void *a, const void *b)
{
    const otimes_bigram_successor *x = a, *y = b;
    return (x->token > y->token) - (x->token < y->token);
}

static int sort_row(void *context, int64_t row, int worker, otimes_err *err)
{
    const otimes_bigram_rows *rows = context;
    otimes_bigram_successor *first = rows->successor + rows->first[row];
    const int64_t count = rows->first[row + 1] - rows->first[row];
    (void)worker;
    (void)err;
    qsort(first, (size_t)count, sizeof *first, by_token);
    for (int64_t i = 0; i < count; i++) {
        rows->total[row] += first[i].count;
    }
    return OTIMES_OK;
}

/* place[s] for s up to the largest id: among the chosen, -1 without. */
static void find_places(const otimes_bigram_counts *c, const int64_t *ids, int64_t count,
                        int64_t *place)
{
    for (int64_t s = 0; s <= c->largest; s++) {
        place[s] = !ids && s < count ? s : -1;
    }
    for (int64_t i = 0; ids && i < count; i++) {
        if (ids[i] <= c->largest) {
            place[ids[i]] = i;
        }
    }
}

/* Successors of each place; then the places that have some become rows. */
static int count_rows(const otimes_bigram_counts *c, int64_t count, int64_t *place, int64_t *row_of,
                      otimes_pool *pool, otimes_bigram_rows *rows, otimes_err *err)
{
    int rc = OTIMES_OK;
    int64_t *successors = otimes_pool_new(pool, count + 1, sizeof *successors, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < c->slot_count; i++) {
        const int64_t at = c->slots[i].count ? place[c->slots[i].pair >> 32] : -1;
        if (at >= 0) {
            rows->count += !successors[at];
            successors[at]++;
        }
    }
    rows->place = otimes_pool_new(pool, rows->count, sizeof *rows->place, &rc, err);
    rows->first = otimes_pool_new(pool, rows->count + 1, sizeof *rows->first, &rc, err);
    rows->total = otimes_pool_new(pool, rows->count, sizeof *rows->total, &rc, err);
    for (int64_t at = 0, row = 0; rc == OTIMES_OK && at < count; at++) {
        if (successors[at]) {
            rows->place[row] = at;
            rows->first[row + 1] = rows->first[row] + successors[at];
            row_of[at] = row++;
        }
    }
    if (rc == OTIMES_OK) {
        rows->successor =
            otimes_pool_new(pool, rows->first[rows->count], sizeof *rows->successor, &rc, err);
    }
    return rc;
}

int otimes_bigram_counts_rows(const otimes_bigram_counts *counts, const int64_t *ids, int64_t count,
                              int threads, otimes_pool *pool, otimes_bigram_rows *rows,
                              otimes_err *err)
{
    int rc = OTIMES_OK;
    *rows = (otimes_bigram_rows){0};
    int64_t *place = otimes_pool_new(pool, counts->largest + 1, sizeof *place, &rc, err);
    int64_t *row_of = otimes_pool_new(pool, count, sizeof *row_of, &rc, err);
    if (rc == OTIMES_OK) {
        find_places(counts, ids, count, place);
        rc = count_rows(counts, count, place, row_of, pool, rows, err);
    }
    int64_t *next = otimes_pool_new(pool, rows->count, sizeof *next, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (rows->count) {
        memcpy(next, rows->first, (size_t)rows->count * sizeof *next);
    }
    for (int64_t i = 0; i < counts->slot_count; i++) {
        const slot *s = &counts->slots[i];
        const int64_t at = s->count ? place[s->pair >> 32] : -1;
        if (at >= 0) {
            rows->successor[next[row_of[at]]++] =
                (otimes_bigram_successor){(int64_t)(s->pair & UINT32_MAX), s->count};
        }
    }
    return otimes_par_for(rows->count, threads, sort_row, rows, err);
}
