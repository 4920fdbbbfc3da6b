/* SPDX-License-Identifier: MIT
 *
 * Merging by score: any two neighbours may merge whose joint is a piece, the highest score first,
 * as SentencePiece's BPE, llama2.c and llama.cpp do it. All such pairs are known beforehand, so it
 * is the merging of BPE with the order of scores for ranks.
 */
#include <stdlib.h>
#include <string.h>

#include "token/formats.h"
#include "token/utf8.h"

/* Each cut of a piece is looked up, so its length counts twice; pieces have some 16 characters. */
enum { LONGEST_PIECE = 512 };

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score)
                                : (x->id > y->id) - (x->id < y->id);
}

/* Equal scores have equal ranks: the leftmost merges first. */
static int make_ranks(int32_t *rank, const float *score, int64_t count, otimes_err *err)
{
    scored *order;
    const int rc = OTIMES_NEW(&order, count, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t id = 0; id < count; id++) {
        order[id] = (scored){score[id], (int32_t)id};
    }
    qsort(order, (size_t)count, sizeof *order, by_score);
    int32_t last = 0;
    for (int64_t i = 0; i < count; i++) {
        last += i > 0 && order[i].score != order[i - 1].score;
        rank[order[i].id] = last;
    }
    otimes_free(order);
    return OTIMES_OK;
}

/* Characters that are no piece but stand in one get an id behind all others: SentencePiece merges
 * them too. */
static int add_characters(otimes_tokenizer *t, const bool *merges, otimes_err *err)
{
    for (int64_t id = 0; id < t->info.vocab_size; id++) {
        if (!merges[id] || !otimes_pieces_has(&t->pieces, id)) {
            continue;
        }
        for (int64_t at = 0, step; at < t->pieces.length[id]; at += step) {
            char one[OTIMES_UTF8_MOST];
            const char *text = otimes_pieces_text(&t->pieces, id) + at;
            step = otimes_utf8_size(text[0]);
            memcpy(one, text, (size_t)step);
            if (otimes_pieces_find(&t->pieces, one, step) < 0) {
                const int rc =
                    otimes_pieces_add(&t->pieces, t->pieces.count, one, step, t->path, err);
                if (rc != OTIMES_OK) {
                    return rc;
                }
            }
        }
    }
    return OTIMES_OK;
}

/* What a neighbour of that text is called, or -1 when there is none: a piece that takes part, or
 * any single character. */
static int32_t half(const otimes_tokenizer *t, const bool *merges, const char *text, int64_t length)
{
    const int32_t id = otimes_pieces_find(&t->pieces, text, length);
    const bool single = otimes_utf8_size(text[0]) == length;
    return id >= 0 && (single || (id < t->info.vocab_size && merges[id])) ? id : -1;
}

/* All cuts of a piece into two; puts them into the table, or counts them when ranks are NULL. */
static int64_t cut_piece(otimes_tokenizer *t, int64_t id, const bool *merges, const int32_t *rank)
{
    const char *text = otimes_pieces_text(&t->pieces, id);
    const int64_t length = t->pieces.length[id];
    int64_t found = 0;
    for (int64_t at = length > 0 ? otimes_utf8_size(text[0]) : 0; at < length;
         at += otimes_utf8_size(text[at])) {
        const int32_t left = half(t, merges, text, at);
        const int32_t right = left < 0 ? -1 : half(t, merges, text + at, length - at);
        if (right < 0) {
            continue;
        }
        found++;
        if (rank) {
            otimes_merges_put(&t->speller.merges, (uint32_t)left, (uint32_t)right, rank[id],
                              (int32_t)id, 0);
        }
    }
    return found;
}

int otimes_merges_from_scores(otimes_tokenizer *t, const float *score, const bool *merges,
                              bool characters, otimes_err *err)
{
    const int64_t count = t->pieces.count;
    int32_t *rank = NULL;
    int64_t cuts = 0;
    t->info.vocab_size = count;
    for (int64_t id = 0; id < count; id++) {
        if (merges[id] && t->pieces.length[id] > LONGEST_PIECE) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: token %lld: expected at most %d bytes, got %d", t->path,
                               (long long)id, LONGEST_PIECE, t->pieces.length[id]);
        }
    }
    int rc = characters ? add_characters(t, merges, err) : OTIMES_OK;
    for (int64_t id = 0; rc == OTIMES_OK && id < count; id++) {
        cuts += merges[id] && otimes_pieces_find(&t->pieces, otimes_pieces_text(&t->pieces, id),
                                                 t->pieces.length[id]) == id
                    ? cut_piece(t, id, merges, NULL)
                    : 0;
    }
    if (rc == OTIMES_OK) {
        rc = otimes_merges_reserve(&t->speller.merges, cuts, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&rank, count, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_ranks(rank, score, count, err);
    }
    for (int64_t id = 0; rc == OTIMES_OK && id < count; id++) {
        if (merges[id] && otimes_pieces_find(&t->pieces, otimes_pieces_text(&t->pieces, id),
                                             t->pieces.length[id]) == id) {
            cut_piece(t, id, merges, rank);
        }
    }
    otimes_free(rank);
    return rc;
}
