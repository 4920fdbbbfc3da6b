/* SPDX-License-Identifier: MIT */
#ifndef CIRCUIT_CARD_H
#define CIRCUIT_CARD_H

#include <stdio.h>

#include <otimes/model.h>

/* A result of otimes_circuit with `largest` to read: the strongest entries of the `heads` tables with
 * the largest ones, those first; with entries beyond a threshold how many there are, with lists of rows
 * or columns their first ones. OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int circuit_card(const otimes_model *model, const otimes_memory_sink *result,
                                   int64_t heads, FILE *to, otimes_err *err);

#endif
