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

/* Without branches, so that the loop over it is vectorised: the half's exponent and fraction are
 * moved into place and the product with 2^112 corrects the bias, subnormals included. */
static inline float otimes_float_of_half(uint16_t half)
{
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    const uint32_t scaled = otimes_bits_of_float(otimes_float_of_bits(magnitude) * 0x1p112f);
    const uint32_t special = magnitude >= 0x0f800000 ? 0x7f800000 | magnitude : scaled;
    return otimes_float_of_bits(special | (uint32_t)(half & 0x8000) << 16);
}

#endif
