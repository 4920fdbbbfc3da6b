/* SPDX-License-Identifier: MIT
 *
 * Statistics of streamed rows against two passes in long double.
 */
#include "support.h"

#include "la_matrix.h"

#include "num/stats.h"

enum { MOST = 3000 };

typedef struct moments {
    long double mean, std, logsumexp;
} moments;

static moments two_pass(const float *x, int64_t n)
{
    moments m = {0};
    long double most = -INFINITY, exps = 0;
    for (int64_t i = 0; i < n; i++) {
        m.mean += (long double)x[i] / n;
        most = (long double)x[i] > most ? (long double)x[i] : most;
    }
    for (int64_t i = 0; i < n; i++) {
        m.std += ((long double)x[i] - m.mean) * ((long double)x[i] - m.mean) / n;
        exps += expl((long double)x[i] - most);
    }
    m.std = sqrtl(m.std);
    m.logsumexp = most + logl(exps);
    return m;
}

/* Deviations are taken from a mean in double: what is lost is eps times the offset, where a running
 * sum of squares loses eps offset^2 / spread. */
static void check_row(const otimes_row_stats *stats, const float *x, int64_t n)
{
    const moments m = two_pass(x, n);
    const double offset = (double)fabsl(m.mean), spread = (double)m.std;
    assert_int_equal(stats->count, n);
    assert_at_most((double)fabsl(stats->mean - m.mean), 32 * DBL_EPSILON * (offset + spread));
    assert_at_most((double)fabsl(otimes_row_stats_std(stats) - m.std),
                   32 * DBL_EPSILON * (offset + spread));
    assert_at_most((double)fabsl(otimes_row_stats_logsumexp(stats) - m.logsumexp),
                   4e-7 + 4 * DBL_EPSILON * fabs((double)m.logsumexp));
}

static void rows_of_all_kinds(void **state)
{
    (void)state;
    static const double offsets[] = {0, 1, -50, 1e4, -1e6, 1e8};
    static const double spreads[] = {0, 1e-3, 1, 10, 1e5};
    static float x[MOST];
    for (int round = 0; round < 600; round++) {
        const double offset = offsets[round % 6], spread = spreads[round / 6 % 5];
        const int64_t n = 1 + below(round % 2 ? 40 : MOST);
        float least = INFINITY;
        for (int64_t i = 0; i < n; i++) {
            x[i] = (float)(offset + spread * normal());
            least = fminf(least, x[i]);
        }
        assert_true(otimes_min(x, n) == least);
        otimes_row_stats stats = {0};
        otimes_row_stats_add(&stats, x, n);
        check_row(&stats, x, n);
    }
}

/* However a row is cut, empty pieces included. */
static void pieces_of_any_split(void **state)
{
    (void)state;
    static float x[MOST];
    for (int round = 0; round < 600; round++) {
        const double offset = round % 3 ? 1e5 : -3, spread = round % 4 ? 1 : 30;
        const int64_t n = 1 + below(MOST), longest = 1 + below(round % 2 ? 20 : n);
        for (int64_t i = 0; i < n; i++) { /* rising and falling, so that the maximum moves */
            x[i] = (float)(offset + spread * normal() + spread * sin((double)i / 99));
        }
        otimes_row_stats stats = {0};
        for (int64_t at = 0, run; at < n; at += run) {
            run = below(longest + 1);
            run = run < n - at ? run : n - at;
            otimes_row_stats_add(&stats, x + at, run);
        }
        check_row(&stats, x, n);
    }
}

static void rows_of_nothing_and_one(void **state)
{
    (void)state;
    otimes_row_stats stats = {0};
    assert_true(isnan(otimes_row_stats_std(&stats)));
    assert_true(otimes_row_stats_logsumexp(&stats) == -INFINITY);
    otimes_row_stats_add(&stats, NULL, 0);
    assert_int_equal(stats.count, 0);
    const float one = -3.5f;
    otimes_row_stats_add(&stats, &one, 1);
    assert_true(stats.mean == -3.5 && otimes_row_stats_std(&stats) == 0);
    assert_true(otimes_row_stats_logsumexp(&stats) == -3.5);
    const float ends[] = {FLT_MAX, -FLT_MAX};
    otimes_row_stats_add(&stats, ends, 2);
    assert_true(isfinite(otimes_row_stats_std(&stats)));
    assert_true(otimes_row_stats_logsumexp(&stats) == (double)FLT_MAX);
}

/* One term each, shift 0: the difference is exact, what is left is the polynomial. */
static void one_exponential(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = 0; i <= 870000; i++) {
        const float x = (float)-i * 1e-4f;
        if (x > -87) {
            const double exact = exp((double)x);
            worst = fmax(worst, fabs(otimes_sum_exp(&x, 1, 0) - exact) / exact);
        }
    }
    assert_at_most(worst, 3e-7);
    static const float below_normal[] = {-87.5f, -88, -104, -1e4f, -FLT_MAX};
    for (int i = 0; i < 5; i++) {
        assert_at_most(otimes_sum_exp(&below_normal[i], 1, 0), 2e-38);
    }
    const float zero = 0;
    assert_true(otimes_sum_exp(&zero, 1, 0) == 1);
    assert_true(otimes_sum_exp(NULL, 0, 0) == 0);
}

static void sums_of_exponentials(void **state)
{
    (void)state;
    static float x[MOST];
    for (int round = 0; round < 500; round++) {
        const int64_t n = 1 + below(MOST);
        const double spread = pow(10, (double)below(5) - 2), offset = (double)below(2000) - 1000;
        float most = -INFINITY;
        long double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            x[i] = (float)(offset + spread * normal());
            most = fmaxf(most, x[i]);
        }
        for (int64_t i = 0; i < n; i++) {
            sum += expl((long double)x[i] - (long double)most);
        }
        assert_at_most((double)(fabsl(otimes_sum_exp(x, n, most) - sum) / sum), 3e-7);
    }
}

static void counts_above(void **state)
{
    (void)state;
    static const float x[] = {3, -1, 3, 0, -0.0f, 5, 3};
    assert_int_equal(otimes_count_above(x, 7, 3), 1);
    assert_int_equal(otimes_count_above(x, 7, 0), 4);
    assert_int_equal(otimes_count_above(x, 7, -2), 7);
    assert_int_equal(otimes_count_above(x, 7, 5), 0);
    assert_int_equal(otimes_count_above(x, 0, 0), 0);
}

static void effective_counts(void **state)
{
    (void)state;
    double equal[64], mixed[3] = {0.5, 0.25, 0.25}, zeros[4] = {0};
    for (int n = 1; n <= 64; n++) {
        for (int i = 0; i < n; i++) {
            equal[i] = 1e-200;
        }
        assert_at_most(fabs(otimes_effective_count(equal, n) - n), 1e-12 * n);
    }
    assert_at_most(fabs(otimes_effective_count(mixed, 3) - exp(1.5 * log(2))), 1e-14);
    zeros[2] = 7;
    assert_true(otimes_effective_count(zeros, 4) == 1);
    zeros[2] = 0;
    assert_true(otimes_effective_count(zeros, 4) == 0);
    assert_true(otimes_effective_count(NULL, 0) == 0);
}

/* Rows, and columns, of mean zero; centring twice changes nothing more than rounding. */
static void centring(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        const int64_t m = 1 + below(40), n = 1 + below(70);
        const double offset = round % 2 ? 1000 : 0;
        float *rows = malloc((size_t)(m * n) * sizeof *rows),
              *columns = malloc((size_t)(m * n) * sizeof *columns);
        double *scratch = malloc((size_t)n * sizeof *scratch);
        assert_true(rows && columns && scratch);
        for (int64_t i = 0; i < m * n; i++) {
            rows[i] = columns[i] = (float)(offset + normal());
        }
        const float first = rows[0];
        long double mean = 0;
        for (int64_t j = 0; j < n; j++) {
            mean += (long double)rows[j] / n;
        }
        otimes_center_rows(rows, m, n);
        otimes_center_columns(columns, m, n, scratch);
        assert_at_most((double)fabsl((long double)first - mean - (long double)rows[0]),
                       4 * FLT_EPSILON);
        for (int64_t i = 0; i < m; i++) {
            long double sum = 0;
            for (int64_t j = 0; j < n; j++) {
                sum += (long double)rows[i * n + j];
            }
            assert_at_most((double)fabsl(sum), 4 * (double)n * FLT_EPSILON);
        }
        for (int64_t j = 0; j < n; j++) {
            long double sum = 0;
            for (int64_t i = 0; i < m; i++) {
                sum += (long double)columns[i * n + j];
            }
            assert_at_most((double)fabsl(sum), 4 * (double)m * FLT_EPSILON);
        }
        free(rows);
        free(columns);
        free(scratch);
    }
    otimes_center_rows(NULL, 0, 5);
    otimes_center_rows(NULL, 5, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_all_kinds),       cmocka_unit_test(pieces_of_any_split),
        cmocka_unit_test(rows_of_nothing_and_one), cmocka_unit_test(one_exponential),
        cmocka_unit_test(sums_of_exponentials),    cmocka_unit_test(counts_above),
        cmocka_unit_test(effective_counts),        cmocka_unit_test(centring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
