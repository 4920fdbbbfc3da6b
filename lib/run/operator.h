/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_RUN_OPERATOR_H
#define OTIMES_RUN_OPERATOR_H

#include <otimes/operator.h>

/* scale (A ⊗ B). */
typedef struct otimes_term {
    double scale;
    int64_t over_count, through_count;
    otimes_factor *over; /* A's factors, and behind them B's; owned */
} otimes_term;

struct otimes_operator {
    int64_t n_out, n_in, d_out, d_in;
    int64_t count, capacity;
    otimes_term *term;
};

static inline const otimes_factor *otimes_term_through(const otimes_term *term)
{
    return term->over + term->over_count;
}

#endif
