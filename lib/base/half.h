/* SPDX-License-Identifier: MIT
 *
 * Floats as bits and IEEE half precision, inline for loops over many.
 */
#ifndef OTIMES_BASE_HALF_H
#define OTIMES_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float otimes_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t otimes_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Without branches, a choice between two values included, so that loops over it are vectorised: the
 * half's exponent and fraction are moved into place and the product with 2^112 corrects the bias,
 * subnormals included. Infinities and NaNs get the exponent's remaining bits by a mask. */
static inline float otimes_float_of_half(uint16_t half)
{
    const int32_t magnitude = (int32_t)(half & 0x7fff) << 13;
    const float scaled = otimes_float_of_bits((uint32_t)magnitude) * 0x1p112f;
    const uint32_t special = -(uint32_t)(magnitude >= 0x0f800000) & 0x7f800000;
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    return otimes_float_of_bits(otimes_bits_of_float(scaled) | special | sign);
}

#endif
