/* SPDX-License-Identifier: MIT
 *
 * Moments of a stream in pieces against sums of powers in long double.
 */
#include "support.h"

#include <float.h>
#include <math.h>

#include "num/moments.h"

/* Pieces of any length, with a mean a million times the spread, against sums in long double. */
static void moments_of_pieces(void **state)
{
    enum { MOST = 3000 };
    static float values[MOST];
    uint64_t seed = 5;
    (void)state;
    for (int turn = 0; turn < 60; turn++) {
        const int64_t count = 2 + (int64_t)(seed >> 33) % (MOST - 2);
        const double offset = turn % 3 == 0 ? 0 : turn % 3 == 1 ? 1e3 : -1e6;
        otimes_moments m = {0};
        long double mean = 0, power[5] = {0};
        for (int64_t i = 0; i < count; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const double u = (double)(seed >> 11) / 9007199254740992.0;
            values[i] = (float)(offset + u * u * u * (turn % 2 ? 1 : 300));
            mean += (long double)values[i] / count;
        }
        for (int64_t i = 0; i < count; i++) {
            const long double y = (long double)values[i] - mean;
            power[2] += y * y;
            power[3] += y * y * y;
            power[4] += y * y * y * y;
        }
        for (int64_t at = 0; at < count;) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const int64_t length = 1 + (int64_t)(seed >> 33) % (turn % 4 ? 700 : 3);
            const int64_t piece = count - at < length ? count - at : length;
            otimes_moments_add(&m, values + at, piece);
            otimes_moments_add(&m, values, 0);
            at += piece;
        }
        if (power[2] == 0) {
            assert_true(isnan(otimes_moments_kurtosis(&m)) && isnan(otimes_moments_skew(&m)));
            continue;
        }
        const double n = (double)count, variance = (double)(power[2] / count);
        const double skew = (double)(power[3] / count) / pow(variance, 1.5);
        const double tail = (double)(power[4] / count) / (variance * variance);
        /* the mean rounds by n eps |mean|, which is z standard deviations */
        const double z = n * DBL_EPSILON * (fabs((double)mean) / sqrt(variance) + 4);
        assert_true(fabs(otimes_moments_mean(&m) - (double)mean) <= z * sqrt(variance));
        assert_true(fabs(otimes_moments_variance(&m) / variance - 1) <= 4 * z);
        assert_true(fabs(otimes_moments_skew(&m) - skew) <= 8 * z * tail);
        assert_true(fabs(otimes_moments_kurtosis(&m) - (tail - 3)) <= 10 * z * tail);
    }
    const otimes_moments none = {0};
    assert_true(isnan(otimes_moments_mean(&none)) && isnan(otimes_moments_variance(&none)));
    assert_true(isnan(otimes_moments_skew(&none)) && isnan(otimes_moments_kurtosis(&none)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(moments_of_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
