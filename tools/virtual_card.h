/* SPDX-License-Identifier: MIT */
#ifndef VIRTUAL_CARD_H
#define VIRTUAL_CARD_H

#include <stdio.h>

#include <otimes/model.h>
#include <otimes/sink.h>

/* The result of `virtual` for people: a line for each chain, with what it maps to what. */
void virtual_card(const otimes_model *model, const otimes_memory_sink *result, FILE *to);

#endif
