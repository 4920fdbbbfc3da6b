/* SPDX-License-Identifier: MIT
 *
 * Elementary functions over whole arrays of float32, and the activations made of them.
 *
 * An entry's bits depend on its value and on the processor's instruction set alone, never on the
 * place, the alignment, the count or the thread. Arrays have any count and any alignment. A NaN
 * stays NaN; of an infinity comes the limit of the function.
 *
 * Errors against exact values of the same float32 inputs, as test_vmath.c asserts them for each
 * table of functions (vmath_table.h), with eps = 2^-24 and step = 2^-149, the distance of subnormal
 * numbers. In brackets the largest seen over 1e8 inputs of every size.
 *
 *     vexp         4e-7 relative (8.2e-8)        vtanh, verf   4e-7 relative (1.7e-7, 2.2e-7)
 *     vsilu        4e-7 relative (2.2e-7)        vsoftcap      4e-7 relative (2.5e-7)
 *     vswish       4e-7 + eps |alpha x| relative
 *     vgelu_tanh   4e-7 + 8 eps |slope (x + 0.044715 x^3)| relative
 *     vgelu        2e-7 |x| absolute (1.1e-7 |x|): where x is below -5.6 no digit is left, as in
 *                  every 1 + erf in float32
 *     softmax      4e-7 + eps |x - max| relative
 *
 * and two steps besides. A subnormal factor on the way costs a step times the other factor: |x| in
 * vsilu, vswish and vgelu_tanh, cap in vsoftcap.
 */
#ifndef OTIMES_NUM_VMATH_H
#define OTIMES_NUM_VMATH_H

#include <stdint.h>

/* x[i] := f(x[i]), in place. */
void otimes_vexp(int64_t count, float *x);
void otimes_vtanh(int64_t count, float *x);
void otimes_verf(int64_t count, float *x);

/* x := exp(x - max) / (sum exp(x - max) + extra): the softmax of a row. `sink` is one more score
 * that takes its share and gets no entry: extra = exp(sink - max), with the sink among those max is
 * taken over (-INFINITY: none). Entries of -INFINITY become exactly 0. The sum is taken in double,
 * in an order that the count alone sets. A row that is all -INFINITY becomes zeros, with a sink or
 * without. A NaN or +INFINITY among the scores makes the whole row NaN. */
void otimes_softmax(int64_t count, float *x, float sink);

/* x := silu(x) = x / (1 + exp(-x)) */
void otimes_vsilu(int64_t count, float *x);

/* x := x sigmoid(alpha x), alpha > 0 */
void otimes_vswish(int64_t count, float *x, float alpha);

/* x := 0.5 x (1 + erf(x / sqrt 2)) */
void otimes_vgelu(int64_t count, float *x);

/* x := 0.5 x (1 + tanh(slope (x + 0.044715 x^3))), slope > 0 */
void otimes_vgelu_tanh(int64_t count, float *x, float slope);

/* x := cap tanh(x / cap), cap > 0 */
void otimes_vsoftcap(int64_t count, float *x, float cap);

#endif
