/* SPDX-License-Identifier: MIT */
#ifndef ROLES_CARD_H
#define ROLES_CARD_H

#include <stdio.h>

#include <otimes/model.h>
#include <otimes/sink.h>

/* The result of `roles` for people: every head's scores with its roles, and each role's heads. */
void roles_card(const otimes_model *model, const otimes_memory_sink *result, FILE *to);

#endif
