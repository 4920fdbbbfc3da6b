/* SPDX-License-Identifier: MIT
 *
 * Properties of characters, through utf8proc.
 */
#ifndef OTIMES_TOKEN_UNICODE_H
#define OTIMES_TOKEN_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

/* Property White_Space. */
bool otimes_is_space(uint32_t code);
/* \w of Unicode (UTS 18, annex C): alphabetic, marks, decimal digits, connectors, joiners. */
bool otimes_is_word(uint32_t code);
/* General category N. */
bool otimes_is_number(uint32_t code);
/* General category P, or ASCII punctuation, which includes symbols such as $ and +. */
bool otimes_is_punctuation(uint32_t code);
/* General category M, and Mn alone. */
bool otimes_is_mark(uint32_t code);
bool otimes_is_nonspacing(uint32_t code);
/* Controls, formats and private use, as the crate unicode_categories has them (of Unicode 8). */
bool otimes_is_other(uint32_t code);

/* Lower case of a character by itself: one character, or two ("i" and U+0307 for U+0130). */
int otimes_lower(uint32_t code, uint32_t out[2]);

enum { OTIMES_DECOMPOSITION_MOST = 32 };

/* Full canonical or compatibility decomposition, at least 1 character. */
int otimes_unicode_decompose(uint32_t code, bool compatibility,
                             uint32_t out[OTIMES_DECOMPOSITION_MOST]);
/* Canonical combining class; 0 is a starter. */
int otimes_combining_class(uint32_t code);
/* The primary composite of the pair, or 0. */
uint32_t otimes_unicode_compose(uint32_t first, uint32_t second);

/* Whether a grapheme ends between two characters; *state is 0 at the start of a text. */
bool otimes_grapheme_ends(uint32_t before, uint32_t after, int32_t *state);

#endif
