/* SPDX-License-Identifier: MIT
 *
 * Little-endian integers at any address.
 */
#ifndef OTIMES_FORMAT_LE_H
#define OTIMES_FORMAT_LE_H

#include <stdint.h>

static inline uint64_t otimes_le(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) {
        value = value << 8 | at[i];
    }
    return value;
}

static inline uint16_t otimes_le16(const unsigned char *at)
{
    return (uint16_t)otimes_le(at, 2);
}

static inline uint32_t otimes_le32(const unsigned char *at)
{
    return (uint32_t)otimes_le(at, 4);
}

static inline uint64_t otimes_le64(const unsigned char *at)
{
    return otimes_le(at, 8);
}

#endif
