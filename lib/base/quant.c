/* SPDX-License-Identifier: MIT
 *
 * Block layouts: ggml-common.h of github.com/ggml-org/ggml. Quants are unsigned integers of a few
 * bits; an element is scale * quant, less an offset that is fixed (the _0 types, Q3_K, Q6_K) or
 * stored (the _1 types, Q2_K, Q4_K, Q5_K). The K types are 256 elements in groups of 16 or 32 whose
 * own scales are small integers times the block's.
 *
 * Inner loops have constant lengths and no branches, so that compilers vectorise them.
 */
#include "base/quant.h"

#include "base/half.h"

enum { HALF_BLOCK = 16, K_GROUPS = 16, K_WIDE_GROUPS = 8, K_PLANE = 32 };

static float half_at(const unsigned char *bytes)
{
    return otimes_float_of_half((uint16_t)(bytes[0] | bytes[1] << 8));
}

static uint32_t word_at(const unsigned char *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* ---- 32 elements: the first 16 in low nibbles, the rest in high ones ---- */

static void decode_q4_0(const unsigned char *restrict block, float *restrict out)
{
    const float d = half_at(block);
    const unsigned char *quants = block + 2;
    for (int i = 0; i < HALF_BLOCK; i++) {
        out[i] = d * (float)((quants[i] & 15) - 8);
        out[i + HALF_BLOCK] = d * (float)((quants[i] >> 4) - 8);
    }
}

static void decode_q4_1(const unsigned char *restrict block, float *restrict out)
{
    const float d = half_at(block), m = half_at(block + 2);
    const unsigned char *quants = block + 4;
    for (int i = 0; i < HALF_BLOCK; i++) {
        out[i] = d * (float)(quants[i] & 15) + m;
        out[i + HALF_BLOCK] = d * (float)(quants[i] >> 4) + m;
    }
}

/* Bit i of `fifth` is the highest bit of element i. */
static void decode_q5_0(const unsigned char *restrict block, float *restrict out)
{
    const float d = half_at(block);
    const uint32_t fifth = word_at(block + 2);
    const unsigned char *quants = block + 6;
    for (int i = 0; i < HALF_BLOCK; i++) {
        const int low = (int)(fifth >> i & 1) << 4, high = (int)(fifth >> (i + 16) & 1) << 4;
        out[i] = d * (float)(((quants[i] & 15) | low) - 16);
        out[i + HALF_BLOCK] = d * (float)((quants[i] >> 4 | high) - 16);
    }
}

static void decode_q5_1(const unsigned char *restrict block, float *restrict out)
{
    const float d = half_at(block), m = half_at(block + 2);
    const uint32_t fifth = word_at(block + 4);
    const unsigned char *quants = block + 8;
    for (int i = 0; i < HALF_BLOCK; i++) {
        const int low = (int)(fifth >> i & 1) << 4, high = (int)(fifth >> (i + 16) & 1) << 4;
        out[i] = d * (float)((quants[i] & 15) | low) + m;
        out[i + HALF_BLOCK] = d * (float)(quants[i] >> 4 | high) + m;
    }
}

static void decode_q8_0(const unsigned char *restrict block, float *restrict out)
{
    const float d = half_at(block);
    for (int i = 0; i < 2 * HALF_BLOCK; i++) {
        out[i] = d * (float)(signed char)block[2 + i];
    }
}

/* ---- 256 elements ---- */

/* Two bits of element 128 h + 32 j + i stand in byte 32 h + i at bit 2 j. Groups of 16. */
static void decode_q2_k(const unsigned char *restrict block, float *restrict out)
{
    const unsigned char *scales = block, *quants = block + 16;
    const float d = half_at(block + 80), dmin = half_at(block + 82);
    for (int group = 0; group < K_GROUPS; group++) {
        const float scale = d * (float)(scales[group] & 15);
        const float least = dmin * (float)(scales[group] >> 4);
        const unsigned char *from = quants + group / 8 * K_PLANE + group % 2 * 16;
        const int shift = group % 8 / 2 * 2;
        for (int i = 0; i < 16; i++) {
            out[16 * group + i] = scale * (float)(from[i] >> shift & 3) - least;
        }
    }
}

/* Low bits and groups as Q2_K. The third bit of element 32 k + i is bit k of byte i in front; where
 * it is 0, 4 is taken off. The 16 scales have 6 bits, 32 for zero: four low ones in nibbles of 8
 * bytes, two high ones in the 4 bytes after. */
static void decode_q3_k(const unsigned char *restrict block, float *restrict out)
{
    const unsigned char *third = block, *quants = block + 32, *scales = block + 96;
    const float d = half_at(block + 108);
    for (int group = 0; group < K_GROUPS; group++) {
        const int low = scales[group % 8] >> (group / 8 * 4) & 15;
        const int high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
        const float scale = d * (float)((low | high << 4) - 32);
        const unsigned char *from = quants + group / 8 * K_PLANE + group % 2 * 16;
        const unsigned char *top = third + group % 2 * 16;
        const int shift = group % 8 / 2 * 2, bit = group / 2;
        for (int i = 0; i < 16; i++) {
            const int quant = (from[i] >> shift & 3) - 4 + (top[i] >> bit & 1) * 4;
            out[16 * group + i] = scale * (float)quant;
        }
    }
}

/* Scale and offset of group 0 .. 7 of Q4_K and Q5_K, 6 bits each in 12 bytes: those of groups
 * 0 .. 3 are the low bits of bytes 0 .. 3 and 4 .. 7; those of groups 4 .. 7 have their four low
 * bits in bytes 8 .. 11 and their two high bits above the former. */
static void wide_scale(const unsigned char *packed, int group, int *scale, int *least)
{
    const int at = group % 4;
    if (group < 4) {
        *scale = packed[at] & 63;
        *least = packed[4 + at] & 63;
    } else {
        *scale = (packed[8 + at] & 15) | packed[at] >> 6 << 4;
        *least = packed[8 + at] >> 4 | packed[4 + at] >> 6 << 4;
    }
}

/* Element 64 g + i is the low nibble of byte 32 g + i, element 64 g + 32 + i the high one. */
static void decode_q4_k(const unsigned char *restrict block, float *restrict out)
{
    const float d = half_at(block), dmin = half_at(block + 2);
    for (int group = 0; group < K_WIDE_GROUPS; group++) {
        int scale, least;
        wide_scale(block + 4, group, &scale, &least);
        const float times = d * (float)scale, minus = dmin * (float)least;
        const unsigned char *from = block + 16 + group / 2 * K_PLANE;
        const int shift = group % 2 * 4;
        for (int i = 0; i < K_PLANE; i++) {
            out[K_PLANE * group + i] = times * (float)(from[i] >> shift & 15) - minus;
        }
    }
}

/* As Q4_K, and the fifth bit of element 32 k + i is bit k of byte i of a plane of its own. */
static void decode_q5_k(const unsigned char *restrict block, float *restrict out)
{
    const float d = half_at(block), dmin = half_at(block + 2);
    const unsigned char *fifth = block + 16;
    for (int group = 0; group < K_WIDE_GROUPS; group++) {
        int scale, least;
        wide_scale(block + 4, group, &scale, &least);
        const float times = d * (float)scale, minus = dmin * (float)least;
        const unsigned char *from = block + 48 + group / 2 * K_PLANE;
        const int shift = group % 2 * 4;
        for (int i = 0; i < K_PLANE; i++) {
            const int quant = (from[i] >> shift & 15) | (fifth[i] >> group & 1) << 4;
            out[K_PLANE * group + i] = times * (float)quant - minus;
        }
    }
}

/* Of element 128 h + 32 j + i the four low bits are a nibble of byte 64 h + 32 (j % 2) + i, the low
 * one for j < 2, and the two high bits stand in byte 32 h + i of a second plane at bit 2 j. */
static void decode_q6_k(const unsigned char *restrict block, float *restrict out)
{
    const unsigned char *low = block, *high = block + 128, *scales = block + 192;
    const float d = half_at(block + 208);
    for (int group = 0; group < K_GROUPS; group++) {
        const int half = group / 8, plane = group % 8 / 2, odd = group % 2 * 16;
        const float scale = d * (float)(signed char)scales[group];
        const unsigned char *from = low + 64 * half + plane % 2 * K_PLANE + odd;
        const unsigned char *top = high + K_PLANE * half + odd;
        const int shift = plane / 2 * 4, above = 2 * plane;
        for (int i = 0; i < 16; i++) {
            const int quant = (from[i] >> shift & 15) | (top[i] >> above & 3) << 4;
            out[16 * group + i] = scale * (float)(quant - 32);
        }
    }
}

/* ---- 32 elements of 4 bits that are floating-point numbers themselves ---- */

/* MXFP4 of the OCP's Microscaling Formats Specification 1.0: E2M1 numbers, a sign and three bits,
 * that share a power of two. As in ggml -0 reads 0. */
static const float e2m1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/* E8M0: 2^(e - 127), subnormal for e = 0. 255 is NaN, as the specification has it, and with it the
 * whole block; ggml and transformers do not look and read 2^128. */
static float power_of(unsigned char e)
{
    return otimes_float_of_bits(e == 0 ? 0x00400000 : e == 255 ? 0x7fc00000 : (uint32_t)e << 23);
}

static void decode_mxfp4(const unsigned char *restrict block, float *restrict out)
{
    const float d = power_of(block[0]);
    const unsigned char *quants = block + 1;
    for (int i = 0; i < HALF_BLOCK; i++) {
        out[i] = d * e2m1[quants[i] & 15];
        out[i + HALF_BLOCK] = d * e2m1[quants[i] >> 4];
    }
}

/* Element 2 i is the low nibble of byte i, element 2 i + 1 the high one (transformers'
 * integrations/mxfp4.py). */
static void decode_mxfp4_apart(const unsigned char *restrict quants, unsigned char scale,
                               float *restrict out)
{
    const float d = power_of(scale);
    for (int i = 0; i < HALF_BLOCK; i++) {
        out[2 * i] = d * e2m1[quants[i] & 15];
        out[2 * i + 1] = d * e2m1[quants[i] >> 4];
    }
}

static void (*const decoders[OTIMES_DTYPE_COUNT])(const unsigned char *block, float *out) = {
    [OTIMES_DTYPE_Q4_0] = decode_q4_0,   [OTIMES_DTYPE_Q4_1] = decode_q4_1,
    [OTIMES_DTYPE_Q5_0] = decode_q5_0,   [OTIMES_DTYPE_Q5_1] = decode_q5_1,
    [OTIMES_DTYPE_Q8_0] = decode_q8_0,   [OTIMES_DTYPE_Q2_K] = decode_q2_k,
    [OTIMES_DTYPE_Q3_K] = decode_q3_k,   [OTIMES_DTYPE_Q4_K] = decode_q4_k,
    [OTIMES_DTYPE_Q5_K] = decode_q5_k,   [OTIMES_DTYPE_Q6_K] = decode_q6_k,
    [OTIMES_DTYPE_MXFP4] = decode_mxfp4,
};

void otimes_quant_decode(otimes_source source, int64_t first, int64_t count, float *out)
{
    const int64_t bytes = (int64_t)otimes_dtype_size(source.dtype);
    const int64_t block = otimes_dtype_block(source.dtype);
    const unsigned char *at = source.data + first * bytes;
    if (source.dtype == OTIMES_DTYPE_MXFP4_APART) {
        for (int64_t i = 0; i < count; i++) {
            decode_mxfp4_apart(at + i * bytes, source.scales[first + i], out + i * block);
        }
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        decoders[source.dtype](at + i * bytes, out + i * block);
    }
}
