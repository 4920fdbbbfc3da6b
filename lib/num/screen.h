/* SPDX-License-Identifier: MIT
 *
 * Kernels that look for large products among many, in integers: 8 bits, a quarter of float32 and four times
 * as fast where the processor has dot products of bytes, and 16 bits for what those let through. One
 * table of functions for each instruction set; all of them give the same integers, so that tests hold
 * each against the plain-C one.
 */
#ifndef OTIMES_NUM_SCREEN_H
#define OTIMES_NUM_SCREEN_H

#include <stdint.h>

/* Columns of a panel and rows that a kernel takes at once; entries of a vector come by fours. */
enum {
    OTIMES_SCREEN_COLUMNS = 64,
    OTIMES_SCREEN_ROWS = 6,
    OTIMES_SCREEN_STEP = 4,
    OTIMES_SCREEN_WIDE = 32
};

/* Vectors longer than this could overflow 32 bits: 255 * 127 * rank < 2^31. */
enum { OTIMES_SCREEN_RANK = 66000 };

typedef struct otimes_screen {
    const char *name;
    int fast;       /* whether it beats a float32 product */
    int32_t levels; /* entries of rows lie in -levels .. levels: what adds up without saturation */

    /* mask[i], bit j := sum_k row[i, k] panel[k, j] lies outside (below[i], above[i]): at least above or
     * at most below. row [rows, 4 steps], rows a multiple of OTIMES_SCREEN_ROWS; panel
     * [steps, OTIMES_SCREEN_COLUMNS, 4]: four entries of each column side by side, plus 128. */
    void (*find)(int64_t rows, int64_t steps, const int8_t *row, const uint8_t *panel,
                 const int32_t *above, const int32_t *below, uint64_t *mask);

    /* sum_k a[k] b[k]; count is a multiple of OTIMES_SCREEN_WIDE, entries are no larger than
     * otimes_screen_wide_levels of it. */
    int64_t (*dot)(int64_t count, const int16_t *a, const int16_t *b);
} otimes_screen;

/* The tables that this machine can run, fastest first; the last is the plain-C one, past it comes NULL. */
const otimes_screen *otimes_screen_choice(int rank);

extern const otimes_screen otimes_screen_reference;

/* The largest entries in 16 bits of which a sixteenth of the products fits 31. */
int32_t otimes_screen_wide_levels(int64_t count);

/* q[k] := x[k] / step rounded; returns |x - step q|, not less. |x[k]| is at most 32767 step. */
double otimes_screen_narrow(int64_t count, const float *x, double step, int16_t *q);

#endif
