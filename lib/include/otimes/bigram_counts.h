/* SPDX-License-Identifier: MIT
 *
 * Bigrams of a corpus, counted as it streams by.
 */
#ifndef OTIMES_BIGRAM_COUNTS_H
#define OTIMES_BIGRAM_COUNTS_H

#include <otimes/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/* n(s, o): how often token o stands right after token s in one text. */
typedef struct otimes_bigram_counts otimes_bigram_counts;

/* None as yet; release with otimes_bigram_counts_free. OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_bigram_counts_new(otimes_bigram_counts **counts,
                                                          otimes_err *err);

/* Adds a text of `count` tokens, count - 1 pairs. Takes up to 43 bytes for each different pair, however
 * long the corpus.
 * Errors: OTIMES_ERR_ARGUMENT (an id below 0 or above 2^31 - 1: nothing was added), OTIMES_ERR_MEMORY (a
 * part of the text may have been added). */
OTIMES_API OTIMES_MUST_CHECK int otimes_bigram_counts_add(otimes_bigram_counts *counts,
                                                          const int64_t *id, int64_t count,
                                                          otimes_err *err);

/* Releases and sets *counts to NULL; NULL is fine. */
OTIMES_API void otimes_bigram_counts_free(otimes_bigram_counts **counts);

#ifdef __cplusplus
}
#endif

#endif
