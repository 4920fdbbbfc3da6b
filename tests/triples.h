/* SPDX-License-Identifier: MIT
 *
 * Skip-trigrams of one head by plain float64 loops from the weights.
 */
#ifndef OTIMES_TESTS_TRIPLES_H
#define OTIMES_TESTS_TRIPLES_H

#include "support.h"

#include <otimes/trigrams.h>

/* Scores [d_vocab, d_vocab] (destination, source) and effects [d_vocab, d_vocab_out] of a head. */
typedef struct triples {
    int64_t vocab, outs;
    double *score, *effect;
    double largest_score, largest_effect;
} triples;

/* Of head h of layer l; at *offset in a rotary layer (NULL: unturned). Released with triples_free. */
triples triples_of(const otimes_model *model, const otimes_trigrams_settings *s, int64_t l,
                   int64_t h, const int64_t *offset);
void triples_free(triples *t);

#endif
