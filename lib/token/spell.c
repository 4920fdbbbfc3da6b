/* SPDX-License-Identifier: MIT
 *
 * Words to ids by BPE, WordLevel and WordPiece, and the memory of words that were spelt before.
 */
#include "token/run.h"

#include <string.h>

#include "token/quote.h"
#include "token/utf8.h"

enum { KNOWN_WORD_MOST = 128 };

static int no_piece(const char *text, int64_t length, otimes_err *err)
{
    return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                       "text: the vocabulary has no piece for %s and no unknown token",
                       otimes_quoted(text, length).text);
}

int64_t otimes_alphabet_encode(const char *bytes, int64_t length, char *out)
{
    int64_t used = 0;
    for (int64_t i = 0; i < length; i++) {
        used += otimes_utf8_put(out + used, otimes_byte_to_code((unsigned char)bytes[i]));
    }
    return used;
}

static int add_symbol(otimes_word *word, int32_t id, int64_t length, otimes_err *err)
{
    const int rc = OTIMES_GROW(&word->symbol, word->count, &word->capacity, err);
    if (rc == OTIMES_OK) {
        word->symbol[word->count++] = (otimes_symbol){id, (int32_t)length};
    }
    return rc;
}

/* Id of a text between two others, or -1. */
static int find_joined(const otimes_tokenizer *t, otimes_scratch *s, const otimes_string *prefix,
                       const char *text, int64_t length, const otimes_string *suffix, int32_t *id,
                       otimes_err *err)
{
    const int64_t before = prefix ? prefix->length : 0, behind = suffix ? suffix->length : 0;
    if (before + behind == 0) {
        *id = otimes_pieces_find(&t->pieces, text, length);
        return OTIMES_OK;
    }
    const int rc = OTIMES_ROOM(&s->mapped, before + length + behind, &s->mapped_capacity, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (before) {
        memcpy(s->mapped, prefix->data, (size_t)before);
    }
    memcpy(s->mapped + before, text, (size_t)length);
    if (behind) {
        memcpy(s->mapped + before + length, suffix->data, (size_t)behind);
    }
    *id = otimes_pieces_find(&t->pieces, s->mapped, before + length + behind);
    return OTIMES_OK;
}

/* ---- BPE ---- */

/* The piece of one character, or of one byte in the byte alphabet. */
static int unit_id(const otimes_tokenizer *t, otimes_scratch *s, const char *word, int64_t at,
                   int64_t length, int64_t end, int32_t *id, otimes_err *err)
{
    const otimes_speller *speller = &t->speller;
    const unsigned char first = (unsigned char)word[at];
    const bool plain = speller->prefix.length == 0 && speller->suffix.length == 0;
    if (plain && speller->byte_level) {
        *id = speller->byte_id[first];
        return OTIMES_OK;
    }
    if (plain && first < 128) {
        *id = speller->ascii_id[first];
        return OTIMES_OK;
    }
    char code[OTIMES_UTF8_MOST];
    const char *text = word + at;
    int64_t bytes = length;
    if (speller->byte_level) {
        bytes = otimes_utf8_put(code, otimes_byte_to_code(first));
        text = code;
    }
    return find_joined(t, s, at > 0 ? &speller->prefix : NULL, text, bytes,
                       at + length == end ? &speller->suffix : NULL, id, err);
}

static bool all_bytes(const otimes_speller *speller, const char *text, int64_t length)
{
    for (int64_t i = 0; i < length; i++) {
        if (speller->byte_id[(unsigned char)text[i]] < 0) {
            return false;
        }
    }
    return true;
}

/* A run of unknown characters that waits to become one symbol. */
static int flush(otimes_word *word, int32_t unknown, int64_t *waiting, otimes_err *err)
{
    const int64_t length = *waiting;
    *waiting = 0;
    return length > 0 ? add_symbol(word, unknown, length, err) : OTIMES_OK;
}

/* The word in its smallest units. A character without a piece is spelt in bytes, or is unknown;
 * that is settled here, or after merging if the speller says so (then it is -1). */
static int begin_word(const otimes_tokenizer *t, otimes_scratch *s, const char *word, int64_t end,
                      otimes_err *err)
{
    const otimes_speller *speller = &t->speller;
    const bool frozen = speller->frozen.nodes > 0;
    int64_t waiting = 0, length;
    int rc = OTIMES_OK;
    s->spelt.count = 0;
    for (int64_t at = 0; rc == OTIMES_OK && at < end; at += length) {
        int32_t id = 0;
        length = frozen ? otimes_trie_longest(&speller->frozen, word + at, end - at, &id) : 0;
        if (length > 0) { /* beyond all ids, it has no merges */
            rc = add_symbol(&s->spelt, id | OTIMES_ID_MOST, length, err);
            continue;
        }
        length = speller->byte_level ? 1 : otimes_utf8_size(word[at]);
        rc = unit_id(t, s, word, at, length, end, &id, err);
        if (rc != OTIMES_OK) {
            break;
        }
        if (id >= 0 || speller->late_fallback) {
            rc = flush(&s->spelt, speller->unknown, &waiting, err);
            if (rc == OTIMES_OK) {
                rc = add_symbol(&s->spelt, id, length, err);
            }
        } else if (speller->byte_fallback && all_bytes(speller, word + at, length)) {
            for (int64_t i = 0; rc == OTIMES_OK && i < length; i++) {
                rc = add_symbol(&s->spelt, speller->byte_id[(unsigned char)word[at + i]], 1, err);
            }
        } else if (speller->unknown < 0) {
            rc = no_piece(word + at, length, err);
        } else {
            if (!speller->fuse_unknown) {
                rc = flush(&s->spelt, speller->unknown, &waiting, err);
            }
            waiting += length;
        }
    }
    return rc == OTIMES_OK ? flush(&s->spelt, speller->unknown, &waiting, err) : rc;
}

/* A symbol that is no piece, after merging. */
static int fall_back(const otimes_tokenizer *t, otimes_scratch *s, const char *text, int64_t begin,
                     int64_t length, int64_t word_first, otimes_err *err)
{
    const otimes_speller *speller = &t->speller;
    if (speller->byte_fallback && all_bytes(speller, text + begin, length)) {
        int rc = OTIMES_OK;
        for (int64_t i = begin; rc == OTIMES_OK && i < begin + length; i++) {
            rc = otimes_scratch_add(s, speller->byte_id[(unsigned char)text[i]], i, i + 1, err);
        }
        return rc;
    }
    if (speller->unknown < 0) { /* unreached: who falls back so late has one, or all bytes */
        return no_piece(text + begin, length, err);
    }
    otimes_token *last = s->count > word_first ? &s->token[s->count - 1] : NULL;
    if (speller->fuse_unknown && last && last->id == speller->unknown && last->end == begin) {
        last->end = (int32_t)(begin + length);
        return OTIMES_OK;
    }
    return otimes_scratch_add(s, speller->unknown, begin, begin + length, err);
}

static int spell_bpe(const otimes_tokenizer *t, otimes_scratch *s, const char *text, int64_t begin,
                     int64_t end, otimes_err *err)
{
    int rc = begin_word(t, s, text + begin, end - begin, err);
    if (rc == OTIMES_OK) {
        rc = otimes_word_merge(&s->spelt, &t->speller.merges, err);
    }
    const int64_t first = s->count;
    for (int64_t i = 0; rc == OTIMES_OK && i < s->spelt.count; i++) {
        const otimes_symbol *symbol = &s->spelt.symbol[i];
        const int32_t id = symbol->id < 0 ? -1 : symbol->id & (OTIMES_ID_MOST - 1);
        if (id >= 0 && id < t->info.vocab_size) {
            rc = otimes_scratch_add(s, id, begin, begin + symbol->length, err);
        } else {
            rc = fall_back(t, s, text, begin, symbol->length, first, err);
        }
        begin += symbol->length;
    }
    return rc;
}

/* ---- whole words and WordPiece ---- */

static int spell_unknown(const otimes_tokenizer *t, otimes_scratch *s, const char *text,
                         int64_t begin, int64_t end, otimes_err *err)
{
    return t->speller.unknown < 0 ? no_piece(text + begin, end - begin, err)
                                  : otimes_scratch_add(s, t->speller.unknown, begin, end, err);
}

/* Always the longest piece that fits; a word of which a part has none is unknown as a whole. */
static int spell_wordpiece(const otimes_tokenizer *t, otimes_scratch *s, const char *text,
                           int64_t begin, int64_t end, otimes_err *err)
{
    const int64_t first = s->count;
    int64_t characters = 0;
    for (int64_t i = begin; i < end; i++) {
        characters += !otimes_utf8_continues(text[i]);
    }
    if (characters > t->speller.word_most) {
        return spell_unknown(t, s, text, begin, end, err);
    }
    for (int64_t at = begin, length; at < end; at += length) {
        const int32_t node = at > begin ? t->speller.within : OTIMES_TRIE_ROOT;
        int32_t id = -1;
        length = node == OTIMES_TRIE_NONE
                     ? 0
                     : otimes_trie_longest_from(&t->speller.trie, node, text + at, end - at, &id);
        if (length == 0) {
            s->count = first;
            return spell_unknown(t, s, text, begin, end, err);
        }
        const int rc = otimes_scratch_add(s, id, at, at + length, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    }
    return OTIMES_OK;
}

/* A word that is a piece as it stands; *id -1 when it is none. */
static int whole_word(const otimes_tokenizer *t, otimes_scratch *s, const char *text,
                      int64_t length, int32_t *id, otimes_err *err)
{
    if (!t->speller.byte_level) {
        *id = otimes_pieces_find(&t->pieces, text, length);
        return OTIMES_OK;
    }
    const int rc = OTIMES_ROOM(&s->mapped, 2 * length, &s->mapped_capacity, err);
    if (rc == OTIMES_OK) {
        const int64_t mapped = otimes_alphabet_encode(text, length, s->mapped);
        *id = otimes_pieces_find(&t->pieces, s->mapped, mapped);
    }
    return rc;
}

static int spell_new(const otimes_tokenizer *t, otimes_scratch *s, const char *text, int64_t begin,
                     int64_t end, otimes_err *err)
{
    const otimes_speller *speller = &t->speller;
    if (speller->rule == OTIMES_RULE_UNIGRAM) {
        return otimes_spell_unigram(t, s, text, begin, end, err);
    }
    if (speller->rule == OTIMES_RULE_WORDPIECE) {
        return spell_wordpiece(t, s, text, begin, end, err);
    }
    if (speller->rule == OTIMES_RULE_WORDLEVEL || speller->ignore_merges) {
        int32_t id;
        const int rc = whole_word(t, s, text + begin, end - begin, &id, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        if (id >= 0 && id < t->info.vocab_size) {
            return otimes_scratch_add(s, id, begin, end, err);
        }
        if (speller->rule == OTIMES_RULE_WORDLEVEL) {
            return spell_unknown(t, s, text, begin, end, err);
        }
    }
    return spell_bpe(t, s, text, begin, end, err);
}

/* ---- words known from before ---- */

static int recall(otimes_scratch *s, const otimes_known_word *known, int64_t begin, otimes_err *err)
{
    const int64_t shift = begin - known->begin;
    int rc = OTIMES_OK;
    for (int32_t i = 0; rc == OTIMES_OK && i < known->count; i++) {
        const otimes_token token = s->token[known->first + i];
        rc = otimes_scratch_add(s, token.id, token.begin + shift, token.end + shift, err);
    }
    return rc;
}

int otimes_spell(const otimes_tokenizer *t, otimes_scratch *s, const char *text, int64_t begin,
                 int64_t end, otimes_err *err)
{
    const int64_t length = end - begin;
    if (length > KNOWN_WORD_MOST || s->known_slots == 0 || s->count > INT32_MAX - 1) {
        return spell_new(t, s, text, begin, end, err);
    }
    const uint64_t hash = otimes_hash(text + begin, length);
    otimes_known_word *known = &s->known[hash & ((uint64_t)s->known_slots - 1)];
    if (known->segment == s->segment && known->hash == (uint32_t)(hash >> 32) &&
        known->length == length && memcmp(text + known->begin, text + begin, (size_t)length) == 0) {
        return recall(s, known, begin, err);
    }
    const int64_t first = s->count;
    const int rc = spell_new(t, s, text, begin, end, err);
    *known =
        (otimes_known_word){(uint32_t)(hash >> 32), s->segment,     (int32_t)begin,
                            (int32_t)length,        (int32_t)first, (int32_t)(s->count - first)};
    return rc;
}
