/* SPDX-License-Identifier: MIT */
#ifndef PATTERNS_CARD_H
#define PATTERNS_CARD_H

#include <stdio.h>

#include <otimes/model.h>
#include <otimes/sink.h>

/* The result of `patterns` for people: the heads of each role, every head's scores where there are
 * few, and the strongest keys of the first text where they were asked for. OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int patterns_card(const otimes_model *model, const otimes_memory_sink *result,
                                    FILE *to, otimes_err *err);

#endif
