/* SPDX-License-Identifier: MIT
 *
 * What `otimes ablate` prints for people.
 */
#ifndef ABLATE_CARD_H
#define ABLATE_CARD_H

#include <stdio.h>

#include <otimes/sink.h>

/* The clean run, the ablations that change most, and the change of each head by layer. `target`
 * names what logits were measured; NULL: none were. */
OTIMES_MUST_CHECK int ablate_card(FILE *to, const otimes_memory_sink *result, const char *target,
                                  otimes_err *err);

#endif
