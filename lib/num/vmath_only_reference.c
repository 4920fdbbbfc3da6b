/* SPDX-License-Identifier: MIT
 *
 * Stands in for vmath_sleef.c in builds with -Dvmath=reference or without SLEEF.
 */
#include "num/vmath_table.h"

#include <stddef.h>

const otimes_vmath *otimes_vmath_choice(int rank)
{
    return rank == 0 ? &otimes_vmath_reference : NULL;
}
