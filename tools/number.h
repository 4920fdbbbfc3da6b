/* SPDX-License-Identifier: MIT
 *
 * Numbers in the tables that commands print: what is undefined is "-", and what rounds to 0 has no
 * sign of its own.
 */
#ifndef TOOLS_NUMBER_H
#define TOOLS_NUMBER_H

#include <stdio.h>

/* At the right of `width` columns. */
void number_put(FILE *to, int width, int decimals, double value);

/* The same with a sign always: "+0.250". */
void number_put_signed(FILE *to, int width, int decimals, double value);

/* So many digits, as %g has them. */
void number_put_digits(FILE *to, int width, int digits, double value);

/* A share as "12.5%", the sign included in `width`. */
void number_put_percent(FILE *to, int width, int decimals, double share);

#endif
