/* SPDX-License-Identifier: MIT */
#ifndef DIFF_CARD_H
#define DIFF_CARD_H

#include <stdio.h>

#include <otimes/sink.h>

/* What otimes diff prints for people: facts and labels that differ, each array that differs, the
 * worst first, and a line that sums up. OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int diff_card(const otimes_memory_sink *result, FILE *to, otimes_err *err);

#endif
