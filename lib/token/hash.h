/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_TOKEN_HASH_H
#define OTIMES_TOKEN_HASH_H

#include <stdint.h>
#include <string.h>

/* Multiplication by an odd constant mixes upwards, the shifts bring the high bits back down. */
static inline uint64_t otimes_hash_mix(uint64_t hash)
{
    hash *= 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

static inline uint64_t otimes_hash(const char *bytes, int64_t length)
{
    uint64_t hash = (uint64_t)length;
    uint64_t eight;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&eight, bytes, 8);
        hash = otimes_hash_mix(hash ^ eight);
    }
    eight = 0;
    for (int64_t i = 0; i < length; i++) {
        eight = eight << 8 | (unsigned char)bytes[i];
    }
    return otimes_hash_mix(hash ^ eight);
}

/* The smallest power of two that is at least twice `count`, so that an open-addressed table stays
 * half empty. */
static inline int64_t otimes_hash_slots(int64_t count)
{
    int64_t slots = 16;
    while (slots < 2 * count) {
        slots *= 2;
    }
    return slots;
}

#endif
