/* SPDX-License-Identifier: MIT
 *
 * Only screen.c and its twins look in here.
 */
#ifndef OTIMES_NUM_SCREEN_X86_H
#define OTIMES_NUM_SCREEN_X86_H

#include "num/screen.h"

enum { OTIMES_SCREEN_X86 = 2 };

/* AVX-512 with VNNI, then AVX2; NULL where the processor lacks it or is of another kind. */
const otimes_screen *otimes_screen_x86(int which);

#endif
