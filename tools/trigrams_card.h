/* SPDX-License-Identifier: MIT */
#ifndef TRIGRAMS_CARD_H
#define TRIGRAMS_CARD_H

#include <stdio.h>

#include <otimes/model.h>

/* A result of otimes_trigrams to read: the lists of the `heads` strongest, strongest first.
 * OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int trigrams_card(const otimes_model *model, const otimes_memory_sink *result,
                                    int64_t heads, FILE *to, otimes_err *err);

#endif
