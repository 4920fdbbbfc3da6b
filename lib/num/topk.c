/* SPDX-License-Identifier: MIT */
#include "num/topk.h"

#include <math.h>
#include <stdbool.h>

/* A binary heap with the worst kept entry at its root: of n numbers in random order about
 * k log(n / k) enter, so the scan below is what costs, not the heap. */

static bool worse(const otimes_topk *top, int64_t a, int64_t b)
{
    const float va = top->sign * top->value[a], vb = top->sign * top->value[b];
    return va < vb || (va == vb && top->index[a] > top->index[b]);
}

static void swap(otimes_topk *top, int64_t a, int64_t b)
{
    const float value = top->value[a];
    const int32_t index = top->index[a];
    top->value[a] = top->value[b];
    top->index[a] = top->index[b];
    top->value[b] = value;
    top->index[b] = index;
}

static void sift_down(otimes_topk *top, int64_t at, int64_t count)
{
    for (;;) {
        int64_t worst = at;
        for (int64_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            worst = worse(top, child, worst) ? child : worst;
        }
        if (worst == at) {
            return;
        }
        swap(top, at, worst);
        at = worst;
    }
}

static void sift_up(otimes_topk *top, int64_t at)
{
    while (at > 0 && worse(top, at, (at - 1) / 2)) {
        swap(top, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

static void insert(otimes_topk *top, float value, int32_t index)
{
    if (top->count < top->capacity) {
        top->value[top->count] = value;
        top->index[top->count] = index;
        sift_up(top, top->count++);
        return;
    }
    top->value[0] = value;
    top->index[0] = index;
    sift_down(top, 0, top->count);
}

void otimes_topk_scan(otimes_topk *top, const float *values, int64_t count, int32_t first_index)
{
    enum { RUN = 64 };
    const float sign = top->sign;
    int64_t at = 0;
    if (top->capacity == 0) {
        return;
    }
    for (; at < count && top->count < top->capacity; at++) {
        if (!isnan(values[at])) { /* has no place in an order */
            insert(top, values[at], first_index + (int32_t)at);
        }
    }
    while (at < count) {
        const float threshold = sign * top->value[0];
        const int64_t end = count - at < RUN ? count : at + RUN;
        int enters = 0; /* one comparison a number, vectorised */
        for (int64_t i = at; i < end; i++) {
            enters |= sign * values[i] > threshold;
        }
        for (int64_t i = at; enters && i < end; i++) {
            if (sign * values[i] > sign * top->value[0]) {
                insert(top, values[i], first_index + (int32_t)i);
            }
        }
        at = end;
    }
}

void otimes_topk_finish(otimes_topk *top)
{
    for (int64_t last = top->count - 1; last > 0; last--) {
        swap(top, 0, last);
        sift_down(top, 0, last);
    }
    for (int64_t i = top->count; i < top->capacity; i++) {
        top->value[i] = NAN;
        top->index[i] = -1;
    }
}
