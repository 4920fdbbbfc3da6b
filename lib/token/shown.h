/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_TOKEN_SHOWN_H
#define OTIMES_TOKEN_SHOWN_H

#include "base/mem.h"

/* Adds text as a result can hold it, UTF-8 without NUL: U+FFFD for what is no UTF-8, <0x00> for
 * NUL. */
int otimes_shown_add(otimes_text *to, const char *text, int64_t bytes, otimes_err *err);

#endif
