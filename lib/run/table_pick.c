/* SPDX-License-Identifier: MIT */
#include "run/table_pick.h"

#include <math.h>
#include <string.h>

int64_t otimes_table_pick_room(int64_t capacity)
{
    return 4 * capacity + 1024;
}

void otimes_table_pick_begin(otimes_table_pick *pick, double bar)
{
    pick->sure = pick->count = 0;
    pick->bar = bar;
    pick->lost = false;
}

int64_t otimes_table_pick_place(int64_t capacity, double share)
{
    const double expected = (double)capacity * share;
    const double place = ceil(expected + 3 * sqrt(expected * (1 - share)) + 2);
    return place < (double)capacity ? (int64_t)place - 1 : capacity - 1;
}

/* Candidates that reach the bar, in their order. */
static void prune(otimes_table_pick *pick, double bar)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < pick->count; i++) {
        if (pick->most[i] >= bar) {
            pick->column[kept] = pick->column[i];
            pick->most[kept++] = pick->most[i];
        }
    }
    pick->count = kept;
}

/* Into the order of lower bounds, the smallest of which falls out. */
static void insert(otimes_table_pick *pick, double least)
{
    int64_t low = 0, high = pick->sure;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (pick->least[middle] >= least) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == pick->capacity) {
        return;
    }
    pick->sure += pick->sure < pick->capacity;
    memmove(pick->least + low + 1, pick->least + low,
            (size_t)(pick->sure - 1 - low) * sizeof *pick->least);
    pick->least[low] = least;
}

void otimes_table_pick_add(otimes_table_pick *pick, int32_t column, double least, double most)
{
    if (!(most >= pick->bar) || pick->lost) {
        return;
    }
    if (pick->count == pick->room) {
        prune(pick, pick->bar);
        pick->lost = pick->count > pick->room / 2; /* too many that are alike */
        if (pick->lost) {
            pick->bar = INFINITY;
            return;
        }
    }
    pick->column[pick->count] = column;
    pick->most[pick->count++] = most;
    insert(pick, least);
}

void otimes_table_pick_end(otimes_table_pick *pick)
{
    const double last = pick->sure == pick->capacity ? pick->least[pick->capacity - 1] : -INFINITY;
    pick->lost = pick->lost || pick->bar > last;
    if (!pick->lost) {
        prune(pick, last);
    }
}
