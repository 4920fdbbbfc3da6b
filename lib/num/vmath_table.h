/* SPDX-License-Identifier: MIT
 *
 * What stands below vmath.h: one table of three functions for each instruction set, and the choice
 * among them. Only vmath.c, the tables and their test look in here.
 */
#ifndef OTIMES_NUM_VMATH_TABLE_H
#define OTIMES_NUM_VMATH_TABLE_H

#include <stdint.h>

/* Tables see whole vectors alone: what is left at the end of an array is padded above them. */
enum { OTIMES_VMATH_LANES = 16 };

typedef struct otimes_vmath {
    const char *name;

    /* x[i] := f(x[i]) for a count that is a multiple of OTIMES_VMATH_LANES; any alignment. */
    void (*exp)(int64_t count, float *x);
    void (*tanh)(int64_t count, float *x);
    void (*erf)(int64_t count, float *x);
} otimes_vmath;

/* The tables that this machine can run, fastest first: 0 is the one computed with, the last is the
 * plain-C one, and past it comes NULL. */
const otimes_vmath *otimes_vmath_choice(int rank);

/* libm's functions, always built: the twin that tests hold the others against. */
extern const otimes_vmath otimes_vmath_reference;

typedef enum otimes_vmath_kind {
    OTIMES_VMATH_EXP,
    OTIMES_VMATH_TANH,
    OTIMES_VMATH_ERF,
    OTIMES_VMATH_SWISH,     /* parameter: alpha */
    OTIMES_VMATH_GELU,      /* none */
    OTIMES_VMATH_GELU_TANH, /* slope */
    OTIMES_VMATH_SOFTCAP,   /* cap */
} otimes_vmath_kind;

/* The functions of vmath.h by a table of the caller's choice. */
void otimes_vmath_map(const otimes_vmath *table, otimes_vmath_kind kind, float parameter,
                      int64_t count, float *x);
void otimes_vmath_softmax(const otimes_vmath *table, int64_t count, float *x, float sink);

#endif
