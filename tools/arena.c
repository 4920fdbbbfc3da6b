/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

typedef struct arena_piece {
    struct arena_piece *next;
    size_t used, size;
    _Alignas(max_align_t) char bytes[];
} arena_piece;

void *arena_take(arena *a, size_t size)
{
    const size_t rounded = (size + 15) & ~(size_t)15;
    if (rounded < size || rounded > a->most - a->total) {
        return NULL;
    }
    if (!a->first || rounded > a->first->size - a->first->used) {
        const size_t room = rounded > 65536 ? rounded : 65536;
        arena_piece *new = malloc(sizeof *new + room);
        if (!new) {
            return NULL;
        }
        *new = (arena_piece){.next = a->first, .size = room};
        a->first = new;
    }
    char *taken = a->first->bytes + a->first->used;
    a->first->used += rounded;
    a->total += rounded;
    return taken;
}

char *arena_copy(arena *a, const char *text)
{
    char *copy = arena_take(a, strlen(text) + 1);
    if (copy) {
        memcpy(copy, text, strlen(text) + 1);
    }
    return copy;
}

void arena_free(arena *a)
{
    while (a->first) {
        arena_piece *next = a->first->next;
        free(a->first);
        a->first = next;
    }
    a->total = 0;
}
