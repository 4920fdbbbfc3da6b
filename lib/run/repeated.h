/* SPDX-License-Identifier: MIT
 *
 * Random tokens written twice. Nothing but the repetition says what comes next, so what a head does
 * on the second half is induction or duplication and nothing else.
 */
#ifndef OTIMES_RUN_REPEATED_H
#define OTIMES_RUN_REPEATED_H

#include <stdint.h>

typedef struct otimes_repeated {
    int64_t count;       /* sequences */
    int64_t period;      /* tokens that are written twice */
    int64_t bos;         /* id before each; -1: none */
    uint64_t seed;       /* of splitmix64 */
    const int64_t *from; /* ids they are drawn from; NULL: 0 .. from_count-1 */
    int64_t from_count;
} otimes_repeated;

/* Tokens of one sequence: 2 period, and BOS. */
int64_t otimes_repeated_length(const otimes_repeated *repeated);

/* ids [count, length]: uniform draws. */
void otimes_repeated_draw(const otimes_repeated *repeated, int64_t *ids);

#endif
