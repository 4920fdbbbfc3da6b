/* SPDX-License-Identifier: MIT
 *
 * Bigrams of seeded texts.
 */
#ifndef OTIMES_TESTS_COUNTED_H
#define OTIMES_TESTS_COUNTED_H

#include "support.h"

#include <otimes/bigram_counts.h>

/* The next number below `limit`; low ones come far more often. */
int64_t counted_draw(uint64_t *state, int64_t limit);

/* Released with otimes_bigram_counts_free. */
otimes_bigram_counts *counted_none(void);

/* Texts of such tokens, also counted in n [limit, limit], zero before. */
otimes_bigram_counts *counted_texts(uint64_t seed, int64_t limit, int64_t texts, double *n);

#endif
