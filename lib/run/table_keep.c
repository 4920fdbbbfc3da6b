/* SPDX-License-Identifier: MIT */
#include "run/table_keep.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "base/mem.h"
#include "num/dot.h"

double otimes_table_norm(const float *vector, int64_t rank)
{
    return sqrt(otimes_dot(vector, vector, rank)) * (1 + (double)(rank + 4) * DBL_EPSILON);
}

/* A term of the product passes through at most rank roundings, whatever the order of the sum, and
 * sum |x_k y_k| <= |x| |y|: off by at most gamma_rank |x| |y| (Higham, Accuracy and Stability of
 * Numerical Algorithms, 3.1), and by 2^-150 a term that underflows. One more rounding is that of the entry
 * itself; the rest of the 4 covers the sums in double. */
double otimes_table_margin(int64_t rank, double norms)
{
    const double roundings = (double)(rank + 4) * (FLT_EPSILON / 2);
    if (norms == 0) {
        return 0;
    }
    if (!(roundings < 0.5) || !(2 * norms < (double)FLT_MAX)) {
        return INFINITY;
    }
    return roundings / (1 - roundings) * norms + (double)(rank + 1) * 0x1p-149;
}

/* The largest float32 that is not above x; of infinity less infinity the least. */
static float below(double x)
{
    const float rounded = (float)x;
    if (isnan(rounded)) {
        return -INFINITY;
    }
    return (double)rounded > x ? nextafterf(rounded, -INFINITY) : rounded;
}

/* What sign times a product must reach for the entry to be among the best. Columns ascend, so an entry
 * that equals the worst one kept is not. */
static float bar(const otimes_topk *best, double margin, float least)
{
    if (best->capacity == 0) {
        return INFINITY;
    }
    if (best->count < best->capacity) {
        return least;
    }
    const float needed = nextafterf(best->sign * best->value[0], INFINITY);
    return fmaxf(least, below((double)needed - margin));
}

/* The first block decides by its products what is worth computing: the k-th best of them less its error is
 * reached by the k-th best entry. */
static float first_bar(const otimes_topk *best, const otimes_table_block *block,
                       const float *products, double margin, float *value, int32_t *index)
{
    if (best->count > 0 || best->capacity == 0 || best->capacity > block->count ||
        !(margin < INFINITY)) {
        return -INFINITY;
    }
    otimes_topk guess = {
        .capacity = best->capacity, .sign = best->sign, .value = value, .index = index};
    otimes_topk_scan(&guess, products, block->count, 0);
    return below((double)(guess.sign * guess.value[0]) - 2 * margin);
}

/* Products that are not between the two are examined. */
typedef struct limits {
    float low, high;
} limits;

typedef struct scan {
    otimes_table_keeper *keeper;
    const otimes_table_block *block;
    otimes_table_entries *beyond;
    double margin;
    limits first;
} scan;

static limits limits_now(const scan *s)
{
    const double threshold = s->block->threshold;
    limits now = {-bar(&s->keeper->bottom, s->margin, -s->first.low),
                  bar(&s->keeper->top, s->margin, s->first.high)};
    if (threshold > 0) {
        now.high = fminf(now.high, below(threshold - s->margin));
    } else if (threshold < 0) {
        now.low = fmaxf(now.low, -below(-threshold - s->margin));
    }
    return now;
}

static int examine(const scan *s, int64_t at, otimes_err *err)
{
    const otimes_table_block *b = s->block;
    const int32_t column = (int32_t)(b->first + at);
    const float value = (float)otimes_dot(s->keeper->vector, b->vectors + at * b->rank, b->rank);
    otimes_topk_scan(&s->keeper->top, &value, 1, column);
    otimes_topk_scan(&s->keeper->bottom, &value, 1, column);
    const bool wanted = (b->threshold > 0 && (double)value >= b->threshold) ||
                        (b->threshold < 0 && (double)value <= b->threshold);
    if (!wanted) {
        return OTIMES_OK;
    }
    const int rc = OTIMES_GROW(&s->beyond->entry, s->beyond->count, &s->beyond->capacity, err);
    if (rc == OTIMES_OK) {
        s->beyond->entry[s->beyond->count++] = (otimes_table_entry){s->keeper->row, column, value};
    }
    return rc;
}

int otimes_table_keep(otimes_table_keeper *keeper, const otimes_table_block *block,
                      const float *products, float *scratch_value, int32_t *scratch_index,
                      otimes_table_entries *beyond, otimes_err *err)
{
    enum { RUN = 64 };
    scan s = {.keeper = keeper,
              .block = block,
              .beyond = beyond,
              .margin = otimes_table_margin(block->rank, keeper->norm * block->norm)};
    s.first.high = first_bar(&keeper->top, block, products, s.margin, scratch_value, scratch_index);
    s.first.low =
        -first_bar(&keeper->bottom, block, products, s.margin, scratch_value, scratch_index);
    limits now = limits_now(&s);
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < block->count; at += RUN) {
        const int64_t end = block->count - at < RUN ? block->count : at + RUN;
        int outside = 0; /* vectorised; a NaN counts */
        for (int64_t j = at; j < end; j++) {
            outside |= !(products[j] < now.high) | !(products[j] > now.low);
        }
        for (int64_t j = at; outside && rc == OTIMES_OK && j < end; j++) {
            if (!(products[j] < now.high) || !(products[j] > now.low)) {
                rc = examine(&s, j, err);
                now = limits_now(&s);
            }
        }
    }
    return rc;
}
