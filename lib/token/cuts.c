/* SPDX-License-Identifier: MIT
 *
 * Words of a BPE that has none: a vocabulary in the manner of SentencePiece merges a whole text at
 * once. But where no merge has a left part that ends in one character and a right part that begins
 * with a certain other, nothing ever merges across these two, and the text may be cut between them
 * with the same result. Before a blank that holds nearly always, so that texts are spelt in words,
 * most of which are known from before.
 */
#include <string.h>

#include "token/run.h"
#include "token/utf8.h"

enum { LEAST_TEXT = 64 };

/* Notes that the character that ends at text[end] may merge with a blank behind it. */
static int join(otimes_speller *speller, const char *text, int64_t end, otimes_err *err)
{
    int length;
    otimes_utf8_before(text, end, &length);
    return otimes_trie_add(&speller->joins, text + end - length, length, 1, err);
}

static bool blank_at(const otimes_speller *speller, const char *text, int64_t rest)
{
    return rest >= speller->blank.length &&
           memcmp(text, speller->blank.data, (size_t)speller->blank.length) == 0;
}

static int join_merges(otimes_tokenizer *t, otimes_err *err)
{
    otimes_speller *speller = &t->speller;
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < speller->merges.slots; i++) {
        const otimes_merge *merge = &speller->merges.slot[i];
        if (merge->rank != OTIMES_RANK_NONE && t->pieces.length[merge->left] > 0 &&
            blank_at(speller, otimes_pieces_text(&t->pieces, merge->right),
                     t->pieces.length[merge->right])) {
            rc = join(speller, otimes_pieces_text(&t->pieces, merge->left),
                      t->pieces.length[merge->left], err);
        }
    }
    return rc;
}

/* Pieces that are found in the text before merging must not be cut either. */
static int join_frozen(otimes_tokenizer *t, otimes_err *err)
{
    otimes_speller *speller = &t->speller;
    int rc = OTIMES_OK;
    int32_t id;
    for (int64_t i = 0; i < t->info.vocab_size && speller->frozen.nodes > 0; i++) {
        const char *text =
            otimes_pieces_has(&t->pieces, i) ? otimes_pieces_text(&t->pieces, i) : "";
        const int64_t length = otimes_pieces_has(&t->pieces, i) ? t->pieces.length[i] : 0;
        if (length == 0 || otimes_trie_longest(&speller->frozen, text, length, &id) != length) {
            continue;
        }
        for (int64_t at = otimes_utf8_size(text[0]); rc == OTIMES_OK && at < length;
             at += otimes_utf8_size(text[at])) {
            rc = blank_at(speller, text + at, length - at) ? join(speller, text, at, err) : rc;
        }
    }
    return rc;
}

int otimes_cuts_make(otimes_tokenizer *t, otimes_err *err)
{
    static const char *const blanks[] = {"\xe2\x96\x81", " "};
    otimes_speller *speller = &t->speller;
    if (speller->rule != OTIMES_RULE_BPE || speller->byte_level || t->splitter.count > 0 ||
        speller->ignore_merges || speller->prefix.length > 0 || speller->suffix.length > 0) {
        return OTIMES_OK;
    }
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && speller->blank.length == 0 && i < 2; i++) {
        const int64_t length = (int64_t)strlen(blanks[i]);
        const int32_t id = otimes_pieces_find(&t->pieces, blanks[i], length);
        if (id >= 0 && id < t->info.vocab_size) { /* a known piece ends a run of unknown ones */
            rc = otimes_string_set(t, &speller->blank, blanks[i], length, err);
        }
    }
    if (rc == OTIMES_OK && speller->blank.length > 0) {
        rc = join_merges(t, err);
    }
    return rc == OTIMES_OK && speller->blank.length > 0 ? join_frozen(t, err) : rc;
}

static bool joins(const otimes_speller *speller, const char *text, int64_t end)
{
    int length;
    int32_t one;
    otimes_utf8_before(text, end, &length);
    return otimes_trie_longest(&speller->joins, text + end - length, length, &one) > 0;
}

int otimes_cut(const otimes_tokenizer *t, otimes_scratch *s, const char *text, int64_t length,
               otimes_err *err)
{
    const otimes_speller *speller = &t->speller;
    int64_t begin = 0;
    int rc = OTIMES_OK;
    if (speller->blank.length == 0 || length < LEAST_TEXT || s->word_count != 1) {
        return rc;
    }
    s->word_count = 0;
    for (int64_t at = 1; rc == OTIMES_OK && at <= length; at++) {
        const char *next = at < length ? memmem(text + at, (size_t)(length - at),
                                                speller->blank.data, (size_t)speller->blank.length)
                                       : NULL;
        at = next ? next - text : length;
        if (next && joins(speller, text, at)) {
            continue;
        }
        rc = OTIMES_GROW(&s->word, s->word_count, &s->word_capacity, err);
        if (rc == OTIMES_OK) {
            s->word[s->word_count++] = (otimes_span){(int32_t)begin, (int32_t)at};
        }
        begin = at;
    }
    return rc;
}
