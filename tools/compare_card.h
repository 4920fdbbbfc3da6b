/* SPDX-License-Identifier: MIT */
#ifndef COMPARE_CARD_H
#define COMPARE_CARD_H

#include <stdio.h>

#include <otimes/model.h>
#include <otimes/sink.h>

/* The result of `compare` for people: how checkpoints drift, and for each head its match and those
 * nearest to it. */
void compare_card(const otimes_model *model, const otimes_memory_sink *result, FILE *to);

#endif
