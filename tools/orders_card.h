/* SPDX-License-Identifier: MIT
 *
 * What `orders` prints for people.
 */
#ifndef ORDERS_CARD_H
#define ORDERS_CARD_H

#include <stdio.h>

#include <otimes/sink.h>

/* Loss by order and shares of layers, over all texts. */
void orders_card(FILE *to, const otimes_memory_sink *result);

#endif
