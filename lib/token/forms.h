/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_TOKEN_FORMS_H
#define OTIMES_TOKEN_FORMS_H

#include "base/mem.h"
#include "token/flow.h"

/* Brings the source to NFC, NFD, NFKC or NFKD. *changed false: it is in that form already, and the
 * draft holds nothing of use. */
int otimes_form(otimes_rewrite *rewrite, bool composed, bool compatibility, bool *changed);

#endif
