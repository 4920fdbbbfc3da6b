/* SPDX-License-Identifier: MIT
 *
 * The plain-C kernels, and the choice among those of this machine.
 */
#include "num/screen.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "num/dot.h"
#include "num/screen_x86.h"

enum { COLUMNS = OTIMES_SCREEN_COLUMNS, STEP = OTIMES_SCREEN_STEP };

static void find(int64_t rows, int64_t steps, const int8_t *row, const uint8_t *panel,
                 const int32_t *above, const int32_t *below, uint64_t *mask)
{
    for (int64_t i = 0; i < rows; i++, row += STEP * steps) {
        int32_t sum[COLUMNS] = {0};
        for (int64_t k = 0; k < steps; k++) {
            for (int j = 0; j < COLUMNS; j++) {
                for (int s = 0; s < STEP; s++) {
                    sum[j] += row[STEP * k + s] * panel[(k * COLUMNS + j) * STEP + s];
                }
            }
        }
        mask[i] = 0;
        for (int j = 0; j < COLUMNS; j++) {
            mask[i] |= (uint64_t)(sum[j] >= above[i] || sum[j] <= below[i]) << j;
        }
    }
}

static int64_t dot(int64_t count, const int16_t *a, const int16_t *b)
{
    enum { LANES = OTIMES_SCREEN_WIDE / 2 };
    int32_t lane[LANES] = {0};
    int64_t sum = 0;
    for (int64_t k = 0; k < count; k += LANES) {
        for (int j = 0; j < LANES; j++) {
            lane[j] += a[k + j] * b[k + j];
        }
    }
    for (int j = 0; j < LANES; j++) {
        sum += lane[j];
    }
    return sum;
}

const otimes_screen otimes_screen_reference = {
    .name = "plain C", .fast = 0, .levels = 127, .find = find, .dot = dot};

const otimes_screen *otimes_screen_choice(int rank)
{
    const otimes_screen *choices[3] = {NULL};
    int count = 0;
    for (int i = 0; i < OTIMES_SCREEN_X86; i++) {
        if (otimes_screen_x86(i)) {
            choices[count++] = otimes_screen_x86(i);
        }
    }
    choices[count++] = &otimes_screen_reference;
    return rank < count ? choices[rank] : NULL;
}

int32_t otimes_screen_wide_levels(int64_t count)
{
    const int64_t products = count > OTIMES_SCREEN_WIDE / 2 ? count / (OTIMES_SCREEN_WIDE / 2) : 1;
    const double levels = floor(sqrt(2147483647.0 / (double)products));
    return levels < 32767 ? (int32_t)levels : 32767;
}

double otimes_screen_narrow(int64_t count, const float *x, double step, int16_t *q)
{
    enum { PIECE = 128 };
    const float per_step = (float)fmin(1 / step, FLT_MAX);
    float lost[PIECE]; /* each rounded once to float32 */
    double sum = 0;
    for (int64_t from = 0; from < count; from += PIECE) {
        const int64_t piece = count - from < PIECE ? count - from : PIECE;
        for (int64_t k = 0; k < piece; k++) {
            const float steps = x[from + k] * per_step;
            const int32_t nearest = (int32_t)(steps + (steps < 0 ? -0.5f : 0.5f));
            q[from + k] = (int16_t)nearest;
            lost[k] = (float)((double)x[from + k] - (double)nearest * step);
        }
        sum += otimes_dot(lost, lost, piece);
    }
    return sqrt(sum) * (1 + 0x1p-22);
}
