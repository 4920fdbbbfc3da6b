/* SPDX-License-Identifier: MIT
 *
 * Text to ids: added tokens are taken out of the text, what lies between is normalised, added
 * tokens that are meant normalised are taken out of that, the rest is cut into words, which are
 * spelt; then come the tokens at the ends.
 */
#include "token/run.h"

#include <string.h>

#include "token/unicode.h"
#include "token/utf8.h"

enum { KNOWN_MOST = 1 << 15, KNOWN_LEAST_TEXT = 256 };

int otimes_room_(void **ptr, int64_t wanted, int64_t *capacity, size_t size, otimes_err *err)
{
    void *grown = otimes_realloc(*ptr, wanted + wanted / 2, size);
    if (!grown) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: list of %lld items",
                           (long long)wanted);
    }
    *ptr = grown;
    *capacity = wanted + wanted / 2;
    return OTIMES_OK;
}

void otimes_scratch_free(otimes_scratch *scratch)
{
    otimes_draft_free(&scratch->clean);
    for (int i = 0; i < 2; i++) {
        otimes_draft_free(&scratch->normal[i]);
        otimes_draft_free(&scratch->cut[i]);
    }
    otimes_free(scratch->word);
    otimes_free(scratch->other);
    otimes_matcher_free(&scratch->matcher);
    otimes_word_free(&scratch->spelt);
    otimes_free(scratch->mapped);
    otimes_free(scratch->best);
    otimes_free(scratch->known);
    otimes_free(scratch->token);
    *scratch = (otimes_scratch){0};
}

int otimes_scratch_add(otimes_scratch *scratch, int32_t id, int64_t begin, int64_t end,
                       otimes_err *err)
{
    if (scratch->count == scratch->capacity) {
        const int rc = OTIMES_GROW(&scratch->token, scratch->count, &scratch->capacity, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    }
    scratch->token[scratch->count++] = (otimes_token){id, (int32_t)begin, (int32_t)end};
    return OTIMES_OK;
}

/* The byte of the caller's text one character on from `at`, or back. */
static int32_t step_on(const otimes_flow *text, int32_t at)
{
    int64_t i = text->origin ? 0 : at;
    for (int64_t high = text->length; text->origin && i < high;) { /* the first from `at` on */
        const int64_t middle = (i + high) / 2;
        if (text->origin[middle].begin < at) {
            i = middle + 1;
        } else {
            high = middle;
        }
    }
    return i < text->length ? otimes_flow_span(text, i, i + 1).end : at;
}

static int32_t step_back(const otimes_flow *text, int32_t at)
{
    int64_t i = text->origin ? 0 : at;
    for (int64_t high = text->length; text->origin && i < high;) { /* the first behind `at` */
        const int64_t middle = (i + high) / 2;
        if (text->origin[middle].end <= at) {
            i = middle + 1;
        } else {
            high = middle;
        }
    }
    return i > 0 ? otimes_flow_span(text, i - 1, i).begin : at;
}

/* A blank, or what stands for one in the byte alphabet. */
static bool is_blank(uint32_t code)
{
    return code == 0x120 || otimes_is_space(code);
}

/* ByteLevel's trim_offsets: the blanks at a token's ends do not count to its range, but for one in
 * front that was added. What is counted in the token is taken off in characters of the text, even
 * where the token's blank is none of them. */
static void trim(const otimes_tokenizer *t, const otimes_scratch *s, otimes_token *token,
                 const char *piece, int64_t length)
{
    const otimes_flow *text = &s->given;
    const bool first = token == s->token;
    int64_t left = 0, right = 0;
    int step;
    for (int64_t at = 0; at < length && is_blank(otimes_utf8_get(piece + at, &step)); at += step) {
        left++;
    }
    for (; length > 0 && is_blank(otimes_utf8_before(piece, length, &step)); length -= step) {
        right++;
    }
    if (left == 1 && t->keep_prefix && (first || token->begin == 0)) { /* more were not added */
        left = 0;
    }
    for (; left > 0 && token->begin < token->end; left--) {
        token->begin = step_on(text, token->begin);
    }
    int32_t end = token->end;
    for (; right > 0 && end > 0; right--) {
        end = step_back(text, end);
    }
    if (right == 0) { /* else there are not as many characters, and nothing is taken off */
        token->end = end > token->begin ? end : token->begin;
    }
}

/* Tokens from `first` on: ranges in the flow become ranges of the caller's text. */
static void place(const otimes_tokenizer *t, otimes_scratch *scratch, int64_t first,
                  const otimes_flow *flow)
{
    for (int64_t i = first; i < scratch->count; i++) {
        otimes_token *token = &scratch->token[i];
        const otimes_span span = otimes_flow_span(flow, token->begin, token->end);
        token->begin = span.begin;
        token->end = span.end;
        if (t->trim_offsets) {
            trim(t, scratch, token, otimes_pieces_text(&t->pieces, token->id),
                 t->pieces.length[token->id]);
        }
    }
}

static int encode_words(const otimes_tokenizer *t, otimes_scratch *s, otimes_flow flow,
                        otimes_err *err)
{
    const int64_t first = s->count;
    int rc = otimes_split(&t->splitter, s, &flow, err);
    if (rc == OTIMES_OK) {
        rc = otimes_cut(t, s, flow.text, flow.length, err);
    }
    s->segment++;
    for (int64_t i = 0; rc == OTIMES_OK && i < s->word_count; i++) {
        rc = otimes_spell(t, s, flow.text, s->word[i].begin, s->word[i].end, err);
    }
    if (rc == OTIMES_OK) {
        place(t, s, first, &flow);
    }
    return rc;
}

typedef int (*stage)(const otimes_tokenizer *t, otimes_scratch *s, otimes_flow flow,
                     otimes_err *err);

/* Takes the tokens of a trie out of a flow and hands on what is between them. */
static int around(const otimes_tokenizer *t, otimes_scratch *s, const otimes_flow *flow,
                  const otimes_trie *trie, stage next, otimes_err *err)
{
    int64_t done = 0, from = 0;
    int rc = OTIMES_OK;
    while (rc == OTIMES_OK) {
        const otimes_found_token found =
            otimes_added_find(&t->added, trie, flow->text, flow->length, &from, done);
        const int64_t stop = found.token ? found.begin : flow->length;
        if (stop > done) {
            rc = next(t, s, otimes_flow_part(flow, done, stop), err);
        }
        if (!found.token) {
            break;
        }
        if (rc == OTIMES_OK) {
            const otimes_span span = otimes_flow_span(flow, found.begin, found.end);
            rc = otimes_scratch_add(s, found.token->id, span.begin, span.end, err);
        }
        if (rc == OTIMES_OK && t->trim_offsets) { /* with the blanks that it took in */
            trim(t, s, &s->token[s->count - 1], flow->text + found.begin, found.end - found.begin);
        }
        done = found.end;
    }
    return rc;
}

static int encode_normalised(const otimes_tokenizer *t, otimes_scratch *s, otimes_flow flow,
                             otimes_err *err)
{
    const int rc = otimes_normalize(&t->normalizer, s, &flow, err);
    return rc == OTIMES_OK ? around(t, s, &flow, &t->added.normalized, encode_words, err) : rc;
}

/* Tokens for BOS and what else stands at the ends, then three arrays in one block. */
static int finish(const otimes_tokenizer *t, const otimes_scratch *s, otimes_bos bos,
                  otimes_encoding *encoding, otimes_err *err)
{
    const otimes_ids none = {0};
    const otimes_ids *before = bos == OTIMES_BOS_NEVER ? &none : &t->before;
    const otimes_ids *after = bos == OTIMES_BOS_NEVER ? &none : &t->after;
    const bool lacks =
        bos == OTIMES_BOS_ALWAYS && (before->count == 0 || before->id[0] != t->info.bos);
    const int64_t count = lacks + before->count + s->count + after->count;
    int64_t *block;
    const int rc = OTIMES_NEW(&block, 3 * count, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    *encoding = (otimes_encoding){count, block, block + count, block + 2 * count, block};
    int64_t at = 0;
    if (lacks) {
        block[at++] = t->info.bos;
    }
    for (int64_t i = 0; i < before->count; i++) {
        block[at++] = before->id[i];
    }
    for (int64_t i = 0; i < s->count; i++, at++) {
        encoding->id[at] = s->token[i].id;
        encoding->begin[at] = s->token[i].begin;
        encoding->end[at] = s->token[i].end;
    }
    for (int64_t i = 0; i < after->count; i++) {
        block[at++] = after->id[i];
    }
    return OTIMES_OK;
}

static int check(const otimes_tokenizer *t, const char *text, int64_t bytes, otimes_bos bos,
                 otimes_err *err)
{
    if (bytes < 0 || bytes > INT32_MAX || (!text && bytes > 0)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "text: expected 0 to %d bytes, got %lld; encode more in parts",
                           INT32_MAX, (long long)bytes);
    }
    if (bos == OTIMES_BOS_ALWAYS && t->info.bos < 0) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: the tokenizer names no token that begins a text (BOS)", t->path);
    }
    return OTIMES_OK;
}

/* A table of words pays in a text of some length. */
static int remember(otimes_scratch *scratch, int64_t bytes, otimes_err *err)
{
    if (bytes < KNOWN_LEAST_TEXT) {
        return OTIMES_OK;
    }
    int64_t slots = 64;
    while (slots < KNOWN_MOST && slots < bytes / 4) {
        slots *= 2;
    }
    const int rc = OTIMES_NEW(&scratch->known, slots, err);
    scratch->known_slots = rc == OTIMES_OK ? slots : 0;
    return rc;
}

int otimes_encode(const otimes_tokenizer *tokenizer, const char *text, int64_t bytes,
                  otimes_bos bos, otimes_encoding *encoding, otimes_err *err)
{
    *encoding = (otimes_encoding){0};
    int rc = check(tokenizer, text, bytes, bos, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_scratch scratch = {0};
    otimes_flow flow;
    rc = otimes_flow_clean(&flow, text ? text : "", bytes, &scratch.clean, err);
    scratch.given = flow;
    if (rc == OTIMES_OK) {
        rc = remember(&scratch, bytes, err);
    }
    if (rc == OTIMES_OK) {
        rc = around(tokenizer, &scratch, &flow, &tokenizer->added.raw, encode_normalised, err);
    }
    if (rc == OTIMES_OK) {
        rc = finish(tokenizer, &scratch, bos, encoding, err);
    }
    otimes_scratch_free(&scratch);
    return rc;
}

void otimes_encoding_free(otimes_encoding *encoding)
{
    if (encoding) {
        otimes_free(encoding->memory);
        *encoding = (otimes_encoding){0};
    }
}
