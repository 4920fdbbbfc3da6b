/* SPDX-License-Identifier: MIT */
#ifndef NEURONS_CARD_H
#define NEURONS_CARD_H

#include <stdio.h>

#include <otimes/model.h>
#include <otimes/sink.h>

/* What the most extreme neurons are the most extreme by. */
typedef enum neurons_sort {
    NEURONS_BY_KURTOSIS,
    NEURONS_BY_SKEW,
    NEURONS_BY_VARIANCE,
    NEURONS_BY_NORM,
    NEURONS_BY_COS,
    NEURONS_BY_NULL,
    NEURONS_BY_HEADS
} neurons_sort;

/* The result of `neurons` for people: the `show` most extreme ones (of those by skew and cosine, on
 * either side of 0), with what they promote, suppress and read and the heads they are tied to. */
OTIMES_MUST_CHECK int neurons_card(const otimes_model *model, const otimes_memory_sink *result,
                                   neurons_sort sort, int64_t show, FILE *to, otimes_err *err);

#endif
