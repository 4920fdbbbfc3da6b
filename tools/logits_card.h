/* SPDX-License-Identifier: MIT
 *
 * What `logits` prints for people.
 */
#ifndef LOGITS_CARD_H
#define LOGITS_CARD_H

#include <stdio.h>

#include <otimes/model.h>

/* The tokens of each text down the page, with what the model expects next. */
void logits_card(const otimes_model *model, const otimes_memory_sink *result, FILE *to);

/* The continued texts. */
void logits_card_generated(const otimes_model *model, const otimes_memory_sink *result, FILE *to);

#endif
