/* SPDX-License-Identifier: MIT
 *
 * Memory that is released as a whole and has an end: a small file can claim any number of copies of
 * one long text.
 */
#ifndef ARENA_H
#define ARENA_H

#include <stddef.h>

/* Set `most` bytes; the rest zero. */
typedef struct arena {
    struct arena_piece *first;
    size_t total, most;
} arena;

/* Aligned for any type; NULL: the end is reached, or the system's. */
void *arena_take(arena *a, size_t size);
char *arena_copy(arena *a, const char *text);
void arena_free(arena *a);

#endif
