/* SPDX-License-Identifier: MIT */
#ifndef DECOMPOSE_CARD_H
#define DECOMPOSE_CARD_H

#include <stdio.h>

#include <otimes/model.h>

/* A result of otimes_decompose (with `lens`) as tables to read: of each text and position that was
 * taken apart, each target's largest `top` components and the lens. OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int decompose_card(const otimes_model *model, const otimes_memory_sink *result,
                                     int64_t top, FILE *to, otimes_err *err);

#endif
