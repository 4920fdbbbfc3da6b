/* SPDX-License-Identifier: MIT
 *
 * Pre-tokenizers: a text is cut into words, which are spelt each by itself. Semantics are those of
 * huggingface/tokenizers, tokenizers/src/pre_tokenizers.
 */
#include "token/run.h"

#include <string.h>

#include "token/unicode.h"
#include "token/utf8.h"

/* The pieces of one word as a step finds them, folded into new words. */
typedef struct cutter {
    otimes_scratch *scratch;
    const otimes_step *step;
    otimes_behaviour behaviour;
    int64_t base;     /* where the word begins */
    int64_t first;    /* new words before this one */
    bool matched;     /* the piece before was a match */
    otimes_span held; /* MERGED_WITH_NEXT: a match that waits for what follows; or empty */
    int rc;
    otimes_err *err;
} cutter;

static void push(cutter *c, int64_t begin, int64_t end)
{
    otimes_scratch *s = c->scratch;
    if (c->rc == OTIMES_OK && begin < end) {
        c->rc = OTIMES_GROW(&s->other, s->other_count, &s->other_capacity, c->err);
        if (c->rc == OTIMES_OK) {
            s->other[s->other_count++] =
                (otimes_span){(int32_t)(c->base + begin), (int32_t)(c->base + end)};
        }
    }
}

/* Lengthens the last word of this one to `end`, or begins one. */
static void extend(cutter *c, int64_t begin, int64_t end)
{
    otimes_scratch *s = c->scratch;
    if (c->rc == OTIMES_OK && s->other_count > c->first) {
        s->other[s->other_count - 1].end = (int32_t)(c->base + end);
    } else {
        push(c, begin, end);
    }
}

static void piece(cutter *c, int64_t begin, int64_t end, bool match)
{
    match = match != c->step->invert;
    switch (c->behaviour) {
    case OTIMES_REMOVED:
        if (!match) {
            push(c, begin, end);
        }
        break;
    case OTIMES_ISOLATED:
        push(c, begin, end);
        break;
    case OTIMES_CONTIGUOUS:
        if (match == c->matched) {
            extend(c, begin, end);
        } else {
            push(c, begin, end);
        }
        break;
    case OTIMES_MERGED_WITH_PREVIOUS:
        if (match && !c->matched) {
            extend(c, begin, end);
        } else {
            push(c, begin, end);
        }
        break;
    case OTIMES_MERGED_WITH_NEXT:
        if (match) {
            push(c, c->held.begin, c->held.end);
            c->held = (otimes_span){(int32_t)begin, (int32_t)end};
        } else {
            push(c, c->held.end > c->held.begin ? c->held.begin : begin, end);
            c->held = (otimes_span){0, 0};
        }
        break;
    }
    c->matched = match;
}

/* Matches of one string, left to right. */
static void cut_by_string(cutter *c, const char *text, int64_t length, const otimes_string *string)
{
    int64_t done = 0;
    while (c->rc == OTIMES_OK && done < length && string->length > 0) {
        const char *found =
            memmem(text + done, (size_t)(length - done), string->data, (size_t)string->length);
        if (!found) {
            break;
        }
        const int64_t begin = found - text;
        if (begin > done) {
            piece(c, done, begin, false);
        }
        done = begin + string->length;
        piece(c, begin, done, true);
    }
    if (done < length) {
        piece(c, done, length, false);
    }
}

static void cut_by_pattern(cutter *c, const char *text, int64_t length)
{
    int64_t done = 0, from = 0;
    while (c->rc == OTIMES_OK && from <= length) {
        bool found;
        int64_t begin, end;
        c->rc = otimes_pattern_match(c->step->pattern, &c->scratch->matcher, text, length, from,
                                     &found, &begin, &end, c->err);
        if (c->rc != OTIMES_OK || !found) {
            break;
        }
        if (end == begin && begin == done && from == done && done > 0) {
            /* Nothing right behind a match is no match. */
            from += from < length ? otimes_utf8_size(text[from]) : 1;
            continue;
        }
        if (begin > done) {
            piece(c, done, begin, false);
        }
        piece(c, begin, end, true);
        done = end;
        from = end > begin ? end : end < length ? end + otimes_utf8_size(text[end]) : end + 1;
    }
    if (done < length) {
        piece(c, done, length, false);
    }
}

static void cut_by_class(cutter *c, const char *text, int64_t length, bool (*is)(uint32_t))
{
    int64_t done = 0;
    int step;
    for (int64_t at = 0; c->rc == OTIMES_OK && at < length; at += step) {
        if (!is(otimes_utf8_get(text + at, &step))) {
            continue;
        }
        if (at > done) {
            piece(c, done, at, false);
        }
        piece(c, at, at + step, true);
        done = at + step;
    }
    if (done < length) {
        piece(c, done, length, false);
    }
}

/* Blanks are removed, then punctuation stands alone. */
static void cut_as_bert(cutter *c, const char *text, int64_t length)
{
    int64_t done = 0;
    int step;
    for (int64_t at = 0; c->rc == OTIMES_OK && at < length; at += step) {
        const uint32_t code = otimes_utf8_get(text + at, &step);
        const bool space = otimes_is_space(code);
        if (!space && !otimes_is_punctuation(code)) {
            continue;
        }
        push(c, done, at);
        if (!space) {
            push(c, at, at + step);
        }
        done = at + step;
    }
    push(c, done, length);
}

static void cut_word(cutter *c, const char *text, int64_t length)
{
    const otimes_step *step = c->step;
    switch (step->kind) {
    case OTIMES_STEP_SPLIT:
    case OTIMES_STEP_BYTE_LEVEL:
    case OTIMES_STEP_METASPACE:
        if (!step->cut) {
            push(c, 0, length);
        } else if (step->pattern) {
            cut_by_pattern(c, text, length);
        } else {
            cut_by_string(c, text, length, &step->text);
        }
        break;
    case OTIMES_STEP_DIGITS:
        cut_by_class(c, text, length, otimes_is_number);
        break;
    case OTIMES_STEP_PUNCTUATION:
        cut_by_class(c, text, length, otimes_is_punctuation);
        break;
    case OTIMES_STEP_WHITESPACE_SPLIT:
        cut_by_class(c, text, length, otimes_is_space);
        break;
    case OTIMES_STEP_BERT_SPLIT:
        cut_as_bert(c, text, length);
        break;
    default:
        break; /* no pre-tokenizer */
    }
    if (c->held.end > c->held.begin) {
        push(c, c->held.begin, c->held.end);
    }
}

static int cut(const otimes_step *step, otimes_scratch *scratch, const otimes_flow *flow,
               otimes_err *err)
{
    int rc = OTIMES_OK;
    scratch->other_count = 0;
    for (int64_t i = 0; rc == OTIMES_OK && i < scratch->word_count; i++) {
        const otimes_span word = scratch->word[i];
        cutter c = {.scratch = scratch,
                    .step = step,
                    .behaviour = step->behaviour,
                    .base = word.begin,
                    .first = scratch->other_count,
                    .err = err};
        cut_word(&c, flow->text + word.begin, word.end - word.begin);
        rc = c.rc;
    }
    otimes_span *const words = scratch->word;
    const int64_t capacity = scratch->word_capacity;
    scratch->word = scratch->other;
    scratch->word_count = scratch->other_count;
    scratch->word_capacity = scratch->other_capacity;
    scratch->other = words;
    scratch->other_capacity = capacity;
    return rc;
}

/* ---- what a step does to the text of a word before it cuts ---- */

static bool begins_with(const otimes_flow *word, const otimes_string *text)
{
    return word->length >= text->length &&
           memcmp(word->text, text->data, (size_t)text->length) == 0;
}

/* Puts `text` before a word; as NormalizedString::prepend has it, it stands for the first
 * character. */
static void prepend(otimes_rewrite *rewrite, const otimes_string *text)
{
    int first;
    if (rewrite->source->length > 0) {
        otimes_utf8_get(rewrite->source->text, &first);
        otimes_rewrite_place(rewrite, text->data, text->length,
                             otimes_flow_span(rewrite->source, 0, first));
    }
}

static void rewrite_word(const otimes_step *step, otimes_rewrite *rewrite)
{
    const otimes_flow *word = rewrite->source;
    if (step->kind == OTIMES_STEP_BYTE_LEVEL) {
        if (step->prepend != OTIMES_PREPEND_NEVER && !begins_with(word, &step->content)) {
            prepend(rewrite, &step->content);
        }
        otimes_rewrite_keep(rewrite, word->length);
        return;
    }
    const bool blank_first =
        word->length > 0 && (word->text[0] == ' ' || begins_with(word, &step->text));
    if (!blank_first &&
        (step->prepend == OTIMES_PREPEND_ALWAYS ||
         (step->prepend == OTIMES_PREPEND_FIRST && otimes_flow_span(word, 0, 0).begin == 0))) {
        prepend(rewrite, &step->text);
    }
    while (rewrite->rc == OTIMES_OK && rewrite->at < word->length) {
        const char *rest = word->text + rewrite->at;
        const char *space = memchr(rest, ' ', (size_t)(word->length - rewrite->at));
        otimes_rewrite_keep(rewrite, space ? space - word->text : word->length);
        if (space) {
            const int64_t at = rewrite->at;
            otimes_rewrite_place(rewrite, step->text.data, step->text.length,
                                 otimes_flow_span(word, at, at + 1));
            rewrite->at = at + 1;
        }
    }
}

/* Rewrites each word into a new text. */
static int rewrite_words(const otimes_step *step, otimes_scratch *scratch, otimes_flow *flow,
                         bool map, otimes_err *err)
{
    otimes_draft *draft = &scratch->cut[scratch->turn ^= 1];
    int rc = OTIMES_OK;
    draft->length = 0;
    for (int64_t i = 0; rc == OTIMES_OK && i < scratch->word_count; i++) {
        otimes_span *span = &scratch->word[i];
        const otimes_flow word = otimes_flow_part(flow, span->begin, span->end);
        otimes_rewrite rewrite = otimes_rewrite_begin(&word, draft, err);
        span->begin = (int32_t)draft->length;
        if (map) {
            otimes_rewrite_alphabet(&rewrite);
        } else {
            rewrite_word(step, &rewrite);
        }
        span->end = (int32_t)draft->length;
        rc = rewrite.rc;
    }
    *flow = otimes_flow_of(draft);
    return rc;
}

static bool rewrites(const otimes_step *step)
{
    return step->kind == OTIMES_STEP_METASPACE ||
           (step->kind == OTIMES_STEP_BYTE_LEVEL && step->prepend != OTIMES_PREPEND_NEVER);
}

int otimes_split(const otimes_steps *steps, otimes_scratch *scratch, otimes_flow *flow,
                 otimes_err *err)
{
    int rc = OTIMES_GROW(&scratch->word, 0, &scratch->word_capacity, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    /* No more than of the text that is cut, nor than its normalised whole may be. */
    const int64_t most = otimes_flow_most(flow->length), whole = scratch->normal[0].most;
    scratch->cut[0].most = scratch->cut[1].most = most < whole ? most : whole;
    scratch->word[0] = (otimes_span){0, (int32_t)flow->length};
    scratch->word_count = flow->length > 0;
    for (int64_t i = 0; rc == OTIMES_OK && i < steps->count; i++) {
        const otimes_step *step = &steps->step[i];
        if (rewrites(step)) {
            rc = rewrite_words(step, scratch, flow, false, err);
        }
        if (rc == OTIMES_OK) {
            rc = cut(step, scratch, flow, err);
        }
        /* The last step may leave the bytes as they are: spelling reads them as its alphabet. */
        if (rc == OTIMES_OK && step->kind == OTIMES_STEP_BYTE_LEVEL && i + 1 < steps->count) {
            rc = rewrite_words(step, scratch, flow, true, err);
        }
    }
    return rc;
}
