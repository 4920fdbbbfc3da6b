/* SPDX-License-Identifier: MIT */
#ifndef PATHS_CARD_H
#define PATHS_CARD_H

#include <stdio.h>

#include <otimes/paths.h>

/* For each case its value, order totals, the `top` largest paths, and what flows over edges. The
 * result is one of otimes_paths. */
void paths_card(const otimes_model *model, const otimes_memory_sink *memory, int64_t top, FILE *to);

#endif
