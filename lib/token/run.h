/* SPDX-License-Identifier: MIT
 *
 * What one call of otimes_encode works with, and its stages.
 */
#ifndef OTIMES_TOKEN_RUN_H
#define OTIMES_TOKEN_RUN_H

#include "token/flow.h"
#include "token/tokenizer.h"

/* A piece of the text: id, and the range of the bytes that it stands for. */
typedef struct otimes_token {
    int32_t id, begin, end;
} otimes_token;

/* A word that was spelt: the tokens are those of its first occurrence. */
typedef struct otimes_known_word {
    uint32_t hash;
    int32_t segment; /* 0: free */
    int32_t begin, length;
    int32_t first, count;
} otimes_known_word;

typedef struct otimes_best {
    double score;
    int32_t from, id;
} otimes_best;

typedef struct otimes_scratch {
    otimes_flow given; /* the caller's text */
    otimes_draft clean, normal[2], cut[2];
    int turn;
    otimes_span *word, *other; /* words of a segment, ranges of its bytes */
    int64_t word_count, word_capacity, other_count, other_capacity;
    otimes_matcher matcher;
    otimes_word spelt;
    char *mapped; /* a word with what a lookup adds to it */
    int64_t mapped_capacity;
    otimes_best *best;
    int64_t best_capacity;
    otimes_known_word *known;
    int64_t known_slots;
    int32_t segment;
    otimes_token *token;
    int64_t count, capacity;
} otimes_scratch;

void otimes_scratch_free(otimes_scratch *scratch);

int otimes_scratch_add(otimes_scratch *scratch, int32_t id, int64_t begin, int64_t end,
                       otimes_err *err);

/* Runs the steps on *flow, which then shows the result: the same text, or one of scratch. */
int otimes_normalize(const otimes_steps *steps, otimes_scratch *scratch, otimes_flow *flow,
                     otimes_err *err);

/* Cuts *flow into scratch->word[]. */
int otimes_split(const otimes_steps *steps, otimes_scratch *scratch, otimes_flow *flow,
                 otimes_err *err);

/* Cuts a text that is one word where that changes nothing. */
int otimes_cut(const otimes_tokenizer *tokenizer, otimes_scratch *scratch, const char *text,
               int64_t length, otimes_err *err);

/* Appends the tokens of the word text[begin .. end-1], their ranges counted in text. */
int otimes_spell(const otimes_tokenizer *tokenizer, otimes_scratch *scratch, const char *text,
                 int64_t begin, int64_t end, otimes_err *err);
int otimes_spell_unigram(const otimes_tokenizer *tokenizer, otimes_scratch *scratch,
                         const char *text, int64_t begin, int64_t end, otimes_err *err);

/* Where added tokens stand in a text: the next at byte `from` or behind. */
typedef struct otimes_found_token {
    const otimes_added_token *token; /* NULL: no more */
    int64_t begin, end;
} otimes_found_token;
otimes_found_token otimes_added_find(const otimes_added *added, const otimes_trie *trie,
                                     const char *text, int64_t length, int64_t *from,
                                     int64_t taken);

/* A text of GPT-2's alphabet for bytes; out has room for 2 * length. Returns its length. */
int64_t otimes_alphabet_encode(const char *bytes, int64_t length, char *out);

/* Makes room for `wanted` items. */
#define OTIMES_ROOM(ptr, wanted, capacity, err) \
    ((wanted) <= *(capacity)                    \
         ? OTIMES_OK                            \
         : otimes_room_((void **)(ptr), (wanted), (capacity), sizeof **(ptr), (err)))
int otimes_room_(void **ptr, int64_t wanted, int64_t *capacity, size_t size, otimes_err *err);

#endif
