/* SPDX-License-Identifier: MIT */
#include "run/repeated.h"

#include <stddef.h>

/* splitmix64 (Steele, Lea, Flood 2014): the k-th number is a hash of seed + k times a constant. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform below `limit`: the last, incomplete multiple of it is drawn anew. */
static int64_t random_below(uint64_t *state, int64_t limit)
{
    const uint64_t n = (uint64_t)limit, end = UINT64_MAX - UINT64_MAX % n;
    uint64_t x;
    do {
        x = next_random(state);
    } while (x >= end);
    return (int64_t)(x % n);
}

int64_t otimes_repeated_length(const otimes_repeated *r)
{
    return 2 * r->period + (r->bos >= 0);
}

void otimes_repeated_draw(const otimes_repeated *r, int64_t *ids)
{
    uint64_t state = r->seed;
    for (int64_t n = 0; n < r->count; n++) {
        if (r->bos >= 0) {
            *ids++ = r->bos;
        }
        for (int64_t i = 0; i < r->period; i++) {
            const int64_t place = random_below(&state, r->from_count);
            ids[i] = ids[i + r->period] = r->from ? r->from[place] : place;
        }
        ids += 2 * r->period;
    }
}
