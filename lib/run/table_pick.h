/* SPDX-License-Identifier: MIT
 *
 * Which of a row's entries can be among its k best, from values known to within an error each. The k-th
 * best of the lower bounds is a bar that only rises; what cannot reach it is out. Along the way the
 * bar may be set where it is expected to end: after a share f of the columns, in an order that has nothing
 * to do with their values, at the entry of rank k f and three standard deviations. Where that was
 * too high in the end, the row is lost and has to be found in another way.
 */
#ifndef OTIMES_RUN_TABLE_PICK_H
#define OTIMES_RUN_TABLE_PICK_H

#include <stdbool.h>

#include "base/mem.h"

typedef struct otimes_table_pick {
    int64_t capacity; /* k > 0 */
    int64_t sure;     /* bounds kept so far */
    double *least;    /* [capacity] largest lower bounds, descending */
    double bar;       /* what has no chance to reach this was left out */
    int64_t count, room;
    int32_t *column; /* [room] candidates */
    double *most;    /* [room] their upper bounds */
    bool lost;
} otimes_table_pick;

/* Candidates that there is room for. */
int64_t otimes_table_pick_room(int64_t capacity);

/* Starts anew, with a bar to begin with; -INFINITY: none. */
void otimes_table_pick_begin(otimes_table_pick *pick, double bar);

/* The place in `least` at which the bar stands after a share of the columns. */
int64_t otimes_table_pick_place(int64_t capacity, double share);

/* Raises the bar to what stands at the place. */
static inline void otimes_table_pick_raise(otimes_table_pick *pick, int64_t place)
{
    if (place < pick->sure && pick->least[place] > pick->bar) {
        pick->bar = pick->least[place];
    }
}

/* An entry between least and most. */
void otimes_table_pick_add(otimes_table_pick *pick, int32_t column, double least, double most);

/* Leaves the candidates that can be among the best, or a lost pick. */
void otimes_table_pick_end(otimes_table_pick *pick);

#endif
