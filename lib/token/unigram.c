/* SPDX-License-Identifier: MIT
 *
 * Unigram: the sequence of pieces with the highest sum of log probabilities (Kudo 2018), by Viterbi
 * over the bytes. A character that is no piece costs the lowest score less 10. Of equal sums the
 * one whose last piece begins first holds, as in huggingface/tokenizers and google/sentencepiece,
 * whose sums are double and float.
 */
#include "token/quote.h"
#include "token/run.h"
#include "token/utf8.h"

/* A sum in the precision that the source computes in. */
static double rounded(const otimes_speller *speller, double score)
{
    return speller->single ? (double)(float)score : score;
}

static void offer(otimes_best *place, double score, int64_t from, int32_t id)
{
    if (place->from < 0 || score > place->score) {
        *place = (otimes_best){score, (int32_t)from, id};
    }
}

static void forward(const otimes_tokenizer *t, otimes_scratch *s, const char *text, int64_t length)
{
    const otimes_speller *speller = &t->speller;
    otimes_best *best = s->best;
    int step;
    best[0] = (otimes_best){0, 0, -1};
    for (int64_t i = 1; i <= length; i++) {
        best[i].from = -1;
    }
    for (int64_t at = 0; at < length; at += step) {
        const double here = best[at].score;
        bool single = false;
        int32_t node = OTIMES_TRIE_ROOT;
        step = otimes_utf8_size(text[at]);
        for (int64_t i = at; speller->trie.slots > 0 && i < length; i++) {
            node = otimes_trie_step(&speller->trie, node, text[i]);
            if (node == OTIMES_TRIE_NONE) {
                break;
            }
            const int32_t id = speller->trie.value[node];
            if (id != OTIMES_TRIE_NONE) {
                offer(&best[i + 1], rounded(speller, here + speller->score[id]), at, id);
                single = single || i + 1 - at == step;
            }
        }
        if (!single) {
            offer(&best[at + step], rounded(speller, here + speller->unknown_score), at,
                  speller->unknown);
        }
    }
}

static int add_unknown(const otimes_tokenizer *t, otimes_scratch *s, const char *text,
                       int64_t begin, int64_t end, otimes_err *err)
{
    const otimes_speller *speller = &t->speller;
    bool bytes = speller->byte_fallback;
    for (int64_t i = begin; bytes && i < end; i++) {
        bytes = speller->byte_id[(unsigned char)text[i]] >= 0;
    }
    int rc = OTIMES_OK;
    for (int64_t i = begin; bytes && rc == OTIMES_OK && i < end; i++) {
        const int32_t id = speller->byte_id[(unsigned char)text[i]];
        rc = speller->late_fallback ? otimes_scratch_add(s, id, i, i + 1, err)
                                    : otimes_scratch_add(s, id, begin, end, err);
    }
    if (!bytes && speller->unknown < 0) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "text: the vocabulary has no piece for %s and no unknown token",
                           otimes_quoted(text + begin, end - begin).text);
    }
    return bytes ? rc : otimes_scratch_add(s, speller->unknown, begin, end, err);
}

int otimes_spell_unigram(const otimes_tokenizer *t, otimes_scratch *s, const char *text,
                         int64_t begin, int64_t end, otimes_err *err)
{
    const int64_t length = end - begin;
    int rc = OTIMES_ROOM(&s->best, length + 1, &s->best_capacity, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    forward(t, s, text + begin, length);
    otimes_best *best = s->best;
    /* Turns the way back into a way forward: best[at].from becomes where the piece at `at` ends. */
    int64_t next = -1;
    for (int64_t at = length; at >= 0;) {
        const int64_t from = best[at].from;
        best[at].from = (int32_t)next;
        next = at;
        at = at == 0 ? -1 : from;
    }
    for (int64_t at = 0; rc == OTIMES_OK && at < length;) {
        int64_t stop = best[at].from;
        const int32_t id = best[stop].id;
        if (id != t->speller.unknown) {
            rc = otimes_scratch_add(s, id, begin + at, begin + stop, err);
        } else {
            while (t->speller.fuse_unknown && stop < length &&
                   best[best[stop].from].id == t->speller.unknown) {
                stop = best[stop].from;
            }
            rc = add_unknown(t, s, text, begin + at, begin + stop, err);
        }
        at = stop;
    }
    return rc;
}
