/* SPDX-License-Identifier: MIT
 *
 * Text on its way from what the caller gave to what the vocabulary sees. Each byte remembers the
 * range of bytes of the caller's text that it stands for: the character it came from, so a token
 * that holds half a character is given the whole one.
 */
#ifndef OTIMES_TOKEN_FLOW_H
#define OTIMES_TOKEN_FLOW_H

#include <stdbool.h>

#include "base/err.h"

typedef struct otimes_span {
    int32_t begin, end;
} otimes_span;

/* A view of well-formed UTF-8. */
typedef struct otimes_flow {
    const char *text;
    int64_t length;
    const otimes_span *origin; /* [length]; NULL: as it was given, from byte `base` on */
    int64_t base;
} otimes_flow;

/* Text that a step writes. A zeroed one is empty. */
typedef struct otimes_draft {
    char *text;
    otimes_span *origin;
    int64_t length, text_capacity, origin_capacity;
    int64_t most; /* bytes that it may have; 0: 2^31 - 1 */
} otimes_draft;

/* How long steps may make a text. Forms and alphabets of bytes make 33 bytes of 3 and 2 of 1; steps
 * that double a text again and again would make all memory of a few bytes. */
static inline int64_t otimes_flow_most(int64_t length)
{
    return 64 * length + 4096;
}

void otimes_draft_free(otimes_draft *draft);

/* All of a draft, or a part of a flow. */
otimes_flow otimes_flow_of(const otimes_draft *draft);
otimes_flow otimes_flow_part(const otimes_flow *flow, int64_t begin, int64_t end);

/* What bytes begin .. end-1 stand for; the start of the flow when begin = end = 0. */
otimes_span otimes_flow_span(const otimes_flow *flow, int64_t begin, int64_t end);

/* Rewrites a flow character by character, appending to a draft. `change` tells how a character
 * relates to the source, as Hugging Face's NormalizedString::transform has it: 0 replaces the next
 * source character, 1 is inserted and shares the range of what is before it, -n replaces one
 * and drops the n after it. Errors stick in rc. */
typedef struct otimes_rewrite {
    const otimes_flow *source;
    otimes_draft *draft;
    int64_t at; /* next byte of the source */
    int rc;
    otimes_err *err;
} otimes_rewrite;

otimes_rewrite otimes_rewrite_begin(const otimes_flow *source, otimes_draft *draft,
                                    otimes_err *err);
void otimes_rewrite_put(otimes_rewrite *rewrite, uint32_t code, int change);
/* Text of several characters, all inserted. */
void otimes_rewrite_insert(otimes_rewrite *rewrite, const char *text, int64_t length);
/* Text that stands for a given range. */
void otimes_rewrite_place(otimes_rewrite *rewrite, const char *text, int64_t length,
                          otimes_span span);
/* Source bytes as they are, up to byte `end`. */
void otimes_rewrite_keep(otimes_rewrite *rewrite, int64_t end);

/* The whole source with GPT-2's alphabet for its bytes. */
void otimes_rewrite_alphabet(otimes_rewrite *rewrite);

/* Text as a caller gives it: bytes that form no character become U+FFFD. The result shows `bytes`
 * of text itself where nothing is to change, else the draft. */
int otimes_flow_clean(otimes_flow *flow, const char *text, int64_t bytes, otimes_draft *draft,
                      otimes_err *err);

#endif
