/* SPDX-License-Identifier: MIT */
#include "counted.h"

int64_t counted_draw(uint64_t *state, int64_t limit)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    const double x = (double)(*state >> 11) / 9007199254740992.0;
    return (int64_t)((double)limit * x * x * x);
}

otimes_bigram_counts *counted_none(void)
{
    otimes_bigram_counts *counts;
    otimes_err err = {0};
    assert_ok(otimes_bigram_counts_new(&counts, &err), &err);
    return counts;
}

otimes_bigram_counts *counted_texts(uint64_t seed, int64_t limit, int64_t texts, double *n)
{
    enum { MOST = 400 };
    int64_t id[MOST];
    otimes_err err = {0};
    otimes_bigram_counts *counts = counted_none();
    for (int64_t t = 0; t < texts; t++) {
        const int64_t length = counted_draw(&seed, MOST);
        for (int64_t i = 0; i < length; i++) {
            id[i] = counted_draw(&seed, limit);
            if (i) {
                n[id[i - 1] * limit + id[i]]++;
            }
        }
        assert_ok(otimes_bigram_counts_add(counts, id, length, &err), &err);
    }
    return counts;
}
