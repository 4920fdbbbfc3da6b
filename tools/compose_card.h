/* SPDX-License-Identifier: MIT */
#ifndef COMPOSE_CARD_H
#define COMPOSE_CARD_H

#include <stdio.h>

#include <otimes/model.h>
#include <otimes/sink.h>

/* The result of `compose` for people: the `top` strongest links of each kind. OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int compose_card(const otimes_model *model, const otimes_memory_sink *result,
                                   int64_t top, FILE *to, otimes_err *err);

#endif
