/* SPDX-License-Identifier: MIT
 *
 * Counts of bigrams against dense ones.
 */
#include "counted.h"

#include <stdlib.h>

#include "run/bigram_counts.h"

static void check_rows(const otimes_bigram_counts *counts, const double *n, int64_t limit,
                       const int64_t *ids, int64_t count)
{
    otimes_pool pool = {0};
    otimes_bigram_rows rows;
    otimes_err err = {0};
    assert_ok(otimes_bigram_counts_rows(counts, ids, count, 2, &pool, &rows, &err), &err);
    int64_t row = 0;
    for (int64_t at = 0; at < count; at++) {
        const double *want = n + (ids ? ids[at] : at) * limit;
        int64_t total = 0, k = 0;
        for (int64_t o = 0; o < limit; o++) {
            total += (int64_t)want[o];
        }
        if (!total) {
            continue;
        }
        assert_in_range(row, 0, rows.count - 1);
        assert_int_equal(rows.place[row], at);
        assert_int_equal(rows.total[row], total);
        const otimes_bigram_successor *got = rows.successor + rows.first[row];
        for (int64_t o = 0; o < limit; o++) {
            if (want[o] > 0) {
                assert_int_equal(got[k].token, o);
                assert_int_equal(got[k].count, (int64_t)want[o]);
                k++;
            }
        }
        assert_int_equal(rows.first[row + 1] - rows.first[row], k);
        row++;
    }
    assert_int_equal(row, rows.count);
    otimes_pool_free(&pool);
}

static void counts_are_dense_ones(void **state)
{
    (void)state;
    enum { LIMIT = 700 };
    static const int64_t few[] = {0, 2, 5, 699}, far[] = {3, 5000};
    double *n = calloc((size_t)LIMIT * LIMIT, sizeof *n);
    assert_non_null(n);
    otimes_bigram_counts *counts = counted_texts(1, LIMIT, 600, n);
    check_rows(counts, n, LIMIT, NULL, LIMIT);
    check_rows(counts, n, LIMIT, few, 4);
    otimes_pool pool = {0};
    otimes_bigram_rows rows;
    otimes_err err = {0};
    assert_ok(otimes_bigram_counts_rows(counts, far, 2, 1, &pool, &rows, &err), &err);
    assert_int_equal(rows.count, 1);
    assert_true(rows.first[1] > 1);
    otimes_pool_free(&pool);
    otimes_bigram_counts_free(&counts);
    otimes_bigram_counts_free(&counts);
    free(n);
}

static void ids_that_are_none(void **state)
{
    (void)state;
    static const int64_t negative[] = {1, 2, -1}, large[] = {1, (int64_t)INT32_MAX + 1},
                         one[] = {7};
    otimes_err err = {0};
    otimes_bigram_counts *counts = counted_none();
    assert_int_equal(otimes_bigram_counts_largest(counts), -1);
    assert_int_equal(otimes_bigram_counts_add(counts, negative, 3, &err), OTIMES_ERR_ARGUMENT);
    assert_string_equal(err.msg,
                        "token 2 of the text: expected an id from 0 to 2147483647, got -1");
    assert_int_equal(otimes_bigram_counts_add(counts, large, 2, &err), OTIMES_ERR_ARGUMENT);
    assert_int_equal(otimes_bigram_counts_tokens(counts), 0);
    assert_ok(otimes_bigram_counts_add(counts, NULL, 0, &err), &err);
    assert_ok(otimes_bigram_counts_add(counts, one, 1, &err), &err);
    assert_int_equal(otimes_bigram_counts_tokens(counts), 1);
    assert_int_equal(otimes_bigram_counts_largest(counts), 7);
    assert_int_equal(otimes_bigram_counts_unigrams(counts)[7], 1);
    otimes_bigram_counts_free(&counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_dense_ones),
        cmocka_unit_test(ids_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
