/* SPDX-License-Identifier: MIT */
#include "run/pattern_row.h"

#include <stdbool.h>

void otimes_pattern_link(const int64_t *id, int64_t length, int64_t *seen, int64_t *before)
{
    for (int64_t i = 0; i < length; i++) {
        before[i] = seen[id[i]];
        seen[id[i]] = i;
    }
    for (int64_t i = 0; i < length; i++) {
        seen[id[i]] = -1;
    }
}

double otimes_pattern_at(const otimes_pattern_row *row, int64_t key)
{
    return key >= 0 && key < row->columns ? (double)row->weight[key] : 0;
}

double otimes_pattern_earlier_same(const otimes_pattern_row *row, int64_t ahead)
{
    double sum = 0;
    bool any = false;
    for (int64_t key = row->before[row->query]; key >= 0; key = row->before[key]) {
        if (key + ahead < row->query) {
            sum += otimes_pattern_at(row, key + ahead);
            any = true;
        }
    }
    return any ? sum : OTIMES_PATTERN_ABSENT;
}
