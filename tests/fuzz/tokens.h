/* SPDX-License-Identifier: MIT
 *
 * What the targets that open tokenizers share.
 */
#ifndef OTIMES_TESTS_FUZZ_TOKENS_H
#define OTIMES_TESTS_FUZZ_TOKENS_H

#include "parts.h"
#include "token/tokenizer.h"

/* An execution begins with fuzz_begin of so many times the input: steps make a text 64 times as long,
 * in two buffers each for normalizers and pre-tokenizers, with eight bytes for the range of each. */
enum { FUZZ_GROWTH = 16 };

/* Settles what a format filled in, when `rc` says that it did, and tries the tokenizer on some texts
 * and on this one; closes it. */
void fuzz_settle(otimes_tokenizer *tokenizer, int rc, const char *text, int64_t bytes);

/* Encodes and decodes some texts and this one, and looks at every label. */
void fuzz_use(const otimes_tokenizer *tokenizer, const char *text, int64_t bytes);

#endif
