/* SPDX-License-Identifier: MIT
 *
 * The activations over a table's exp, tanh and erf, a block that stays in the first cache at a
 * time. Blocks are whole vectors; the rest of an array goes through the same code in a padded one.
 */
#include "num/vmath.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "num/vmath_table.h"

enum { LANES = OTIMES_VMATH_LANES, BLOCK = 512 };

/* -inf times a factor that has vanished would be NaN and not the limit. A choice of operands, so
 * that the loops around it are vectorised. */
static float finite_below(float x)
{
    return x < -FLT_MAX ? -FLT_MAX : x;
}

/* x := x sigmoid(z). The exponential of -|z| never overflows: sigmoid is 1 / (1 + e) or, of a
 * negative z, e / (1 + e), which keeps its digits where 1 / (1 + exp(-z)) would be 1 / inf. */
static void gate(const otimes_vmath *table, int64_t count, float *restrict x,
                 const float *restrict z)
{
    float e[BLOCK];
    for (int64_t i = 0; i < count; i++) {
        e[i] = -fabsf(z[i]);
    }
    table->exp(count, e);
    for (int64_t i = 0; i < count; i++) {
        const float above = z[i] < 0 ? e[i] : 1;
        x[i] = finite_below(x[i]) * (above / (1 + e[i]));
    }
}

static void swish(const otimes_vmath *table, float alpha, int64_t count, float *x)
{
    float z[BLOCK];
    for (int64_t i = 0; i < count; i++) {
        z[i] = alpha * x[i];
    }
    gate(table, count, x, z);
}

/* (1 + tanh u) / 2 is sigmoid(2 u), in half the time and without the cancellation. */
static void gelu_tanh(const otimes_vmath *table, float slope, int64_t count, float *x)
{
    float z[BLOCK];
    for (int64_t i = 0; i < count; i++) {
        z[i] = 2 * slope * (x[i] * (1 + 0.044715f * (x[i] * x[i])));
    }
    gate(table, count, x, z);
}

static void gelu(const otimes_vmath *table, int64_t count, float *x)
{
    float t[BLOCK];
    for (int64_t i = 0; i < count; i++) {
        t[i] = 0.70710678f * x[i];
    }
    table->erf(count, t);
    for (int64_t i = 0; i < count; i++) {
        x[i] = finite_below(x[i]) * (0.5f + 0.5f * t[i]);
    }
}

static void softcap(const otimes_vmath *table, float cap, int64_t count, float *x)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] /= cap;
    }
    table->tanh(count, x);
    for (int64_t i = 0; i < count; i++) {
        x[i] *= cap;
    }
}

/* Whole vectors, at most BLOCK. */
static void map_block(const otimes_vmath *table, otimes_vmath_kind kind, float parameter,
                      int64_t count, float *x)
{
    switch (kind) {
    case OTIMES_VMATH_EXP:
        table->exp(count, x);
        break;
    case OTIMES_VMATH_TANH:
        table->tanh(count, x);
        break;
    case OTIMES_VMATH_ERF:
        table->erf(count, x);
        break;
    case OTIMES_VMATH_SWISH:
        swish(table, parameter, count, x);
        break;
    case OTIMES_VMATH_GELU:
        gelu(table, count, x);
        break;
    case OTIMES_VMATH_GELU_TANH:
        gelu_tanh(table, parameter, count, x);
        break;
    case OTIMES_VMATH_SOFTCAP:
        softcap(table, parameter, count, x);
        break;
    }
}

/* How many of the entries from `at` make the next block: 0 when less than a vector is left. */
static int64_t next_block(int64_t count, int64_t at)
{
    const int64_t left = count - at;
    return left < BLOCK ? left - left % LANES : BLOCK;
}

void otimes_vmath_map(const otimes_vmath *table, otimes_vmath_kind kind, float parameter,
                      int64_t count, float *x)
{
    int64_t at = 0;
    for (int64_t run; (run = next_block(count, at)) > 0; at += run) {
        map_block(table, kind, parameter, run, x + at);
    }
    if (at < count) {
        const size_t left = (size_t)(count - at) * sizeof *x;
        float padded[LANES] = {0};
        memcpy(padded, x + at, left);
        map_block(table, kind, parameter, LANES, padded);
        memcpy(x + at, padded, left);
    }
}

/* The largest of the entries and `least`. A NaN is passed over here: it spoils the sum instead.
 * More lanes than compilers unroll, so that the loop over them is vectorised. */
static float max(int64_t count, const float *x, float least)
{
    enum { WIDE = 2 * LANES };
    float most[WIDE], largest = least;
    for (int j = 0; j < WIDE; j++) {
        most[j] = least;
    }
    int64_t i = 0;
    for (; i + WIDE <= count; i += WIDE) {
        for (int j = 0; j < WIDE; j++) {
            most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
        }
    }
    for (; i < count; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    for (int j = 0; j < WIDE; j++) {
        largest = most[j] > largest ? most[j] : largest;
    }
    return largest;
}

/* x := exp(x - shift) over whole vectors, added to the sums lane by lane. */
static void exp_block(const otimes_vmath *table, float shift, int64_t count, float *x,
                      double *restrict sums)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] -= shift;
    }
    table->exp(count, x);
    for (int64_t i = 0; i < count; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            sums[j] += (double)x[i + j];
        }
    }
}

static double exp_and_sum(const otimes_vmath *table, float shift, int64_t count, float *x)
{
    double sums[LANES] = {0}, total = 0;
    int64_t at = 0;
    for (int64_t run; (run = next_block(count, at)) > 0; at += run) {
        exp_block(table, shift, run, x + at, sums);
    }
    if (at < count) {
        const size_t left = (size_t)(count - at) * sizeof *x;
        float padded[LANES];
        for (int j = 0; j < LANES; j++) {
            padded[j] = -INFINITY;
        }
        memcpy(padded, x + at, left);
        exp_block(table, shift, LANES, padded, sums);
        memcpy(x + at, padded, left);
    }
    for (int j = 0; j < LANES; j++) {
        total += sums[j];
    }
    return total;
}

void otimes_vmath_softmax(const otimes_vmath *table, int64_t count, float *x, float sink)
{
    const float most = max(count, x, sink);
    /* With nothing above -inf the shift is 0: each exponential is 0, or NaN for a NaN. */
    const float shift = most == -INFINITY ? 0 : most;
    const double total = exp_and_sum(table, shift, count, x) + exp((double)sink - (double)shift);
    const float scale = total == 0 ? 0 : (float)(1 / total);
    for (int64_t i = 0; i < count; i++) {
        x[i] *= scale;
    }
}

void otimes_vexp(int64_t count, float *x)
{
    otimes_vmath_map(otimes_vmath_choice(0), OTIMES_VMATH_EXP, 0, count, x);
}

void otimes_vtanh(int64_t count, float *x)
{
    otimes_vmath_map(otimes_vmath_choice(0), OTIMES_VMATH_TANH, 0, count, x);
}

void otimes_verf(int64_t count, float *x)
{
    otimes_vmath_map(otimes_vmath_choice(0), OTIMES_VMATH_ERF, 0, count, x);
}

void otimes_softmax(int64_t count, float *x, float sink)
{
    otimes_vmath_softmax(otimes_vmath_choice(0), count, x, sink);
}

void otimes_vsilu(int64_t count, float *x)
{
    otimes_vswish(count, x, 1);
}

void otimes_vswish(int64_t count, float *x, float alpha)
{
    otimes_vmath_map(otimes_vmath_choice(0), OTIMES_VMATH_SWISH, alpha, count, x);
}

void otimes_vgelu(int64_t count, float *x)
{
    otimes_vmath_map(otimes_vmath_choice(0), OTIMES_VMATH_GELU, 0, count, x);
}

void otimes_vgelu_tanh(int64_t count, float *x, float slope)
{
    otimes_vmath_map(otimes_vmath_choice(0), OTIMES_VMATH_GELU_TANH, slope, count, x);
}

void otimes_vsoftcap(int64_t count, float *x, float cap)
{
    otimes_vmath_map(otimes_vmath_choice(0), OTIMES_VMATH_SOFTCAP, cap, count, x);
}
