/* SPDX-License-Identifier: MIT
 *
 * The parallel loop: each item once, workers apart, the lowest failure wins, results that do not
 * depend on the number of threads.
 */
#include "support.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/par.h"

enum { MOST = 700, MOST_WORKERS = 64 };

typedef struct visit {
    atomic_int seen[MOST];
    atomic_int busy[MOST_WORKERS];
    atomic_int clashes;
    int workers;
} visit;

static int note(void *context, int64_t item, int worker, otimes_err *err)
{
    visit *v = context;
    (void)err;
    if (worker < 0 || worker >= v->workers) {
        atomic_fetch_add(&v->clashes, 1);
        return OTIMES_OK;
    }
    atomic_fetch_add(&v->clashes, atomic_exchange(&v->busy[worker], 1));
    atomic_fetch_add(&v->seen[item], 1);
    atomic_store(&v->busy[worker], 0);
    return OTIMES_OK;
}

static void each_item_once(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 3, 7, 64, MOST};
    for (int threads = 0; threads <= 8; threads++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            static visit v;
            otimes_err err = {0};
            memset(&v, 0, sizeof v);
            v.workers = otimes_par_workers(counts[c], threads);
            assert_in_range(v.workers, 1, MOST_WORKERS);
            assert_ok(otimes_par_for(counts[c], threads, note, &v, &err), &err);
            for (int64_t i = 0; i < MOST; i++) {
                assert_int_equal(v.seen[i], i < counts[c]);
            }
            assert_int_equal(v.clashes, 0);
        }
    }
}

static void threads_reserved(void **state)
{
    (void)state;
    otimes_err err = {0};
    for (int threads = 0; threads < 5; threads++) {
        assert_ok(otimes_reserve_threads(threads, &err), &err);
    }
    assert_int_equal(otimes_reserve_threads(-1, &err), OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "threads: expected 0 or more, got -1"));
}

static void number_of_workers(void **state)
{
    (void)state;
    static const struct {
        int64_t count;
        int threads, workers;
    } cases[] = {{0, 4, 1}, {1, 4, 1}, {3, 4, 3}, {4, 4, 4}, {5, 4, 4}, {1000, 1, 1}, {-1, 3, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(otimes_par_workers(cases[i].count, cases[i].threads), cases[i].workers);
    }
    assert_true(otimes_threads_available() >= 1);
    assert_int_equal(otimes_par_workers(1 << 20, 0), otimes_threads_available());
    assert_int_equal(otimes_par_workers(1 << 20, -3), otimes_threads_available());
}

/* Items of `bad` fail, each with a code and a text of its own. */
typedef struct failing {
    bool bad[MOST];
    atomic_int ran[MOST];
} failing;

static int fail_some(void *context, int64_t item, int worker, otimes_err *err)
{
    failing *f = context;
    (void)worker;
    atomic_fetch_add(&f->ran[item], 1);
    return f->bad[item] ? otimes_fail(err, -1 - (int)(item % 9), "item %d", (int)item) : OTIMES_OK;
}

static void lowest_failure_wins(void **state)
{
    (void)state;
    unsigned seed = 12345;
    for (int round = 0; round < 400; round++) {
        static failing f;
        int64_t lowest = MOST;
        char expected[32];
        otimes_err err = {0};
        memset(&f, 0, sizeof f);
        for (int k = 0; k < 1 + round % 5; k++) {
            seed = seed * 1664525 + 1013904223;
            const int64_t item = seed >> 16 & 511;
            f.bad[item] = true;
            lowest = item < lowest ? item : lowest;
        }
        const int rc = otimes_par_for(MOST, 1 + round % 6, fail_some, &f, &err);
        assert_int_equal(rc, -1 - (int)(lowest % 9));
        assert_int_equal(err.code, rc);
        snprintf(expected, sizeof expected, "item %d", (int)lowest);
        assert_string_equal(err.msg, expected);
        for (int64_t i = 0; i < MOST; i++) {
            assert_true(i <= lowest ? f.ran[i] == 1 : f.ran[i] <= 1);
            assert_true(round % 6 != 0 || i <= lowest ||
                        f.ran[i] == 0); /* one thread: the rest is left */
        }
        assert_int_equal(otimes_par_for(MOST, 1 + round % 6, fail_some, &f, NULL), rc);
    }
}

/* An item of uneven cost that writes its own slice. */
static int fill_slice(void *context, int64_t item, int worker, otimes_err *err)
{
    double *out = (double *)context + 3 * item;
    (void)worker;
    (void)err;
    for (int64_t k = 0; k < 100 + item % 17 * 300; k++) {
        out[k % 3] += sin((double)(k * item)) / (double)(k + 1);
    }
    return OTIMES_OK;
}

static void same_bits_at_any_thread_count(void **state)
{
    (void)state;
    static double first[3 * MOST], again[3 * MOST];
    otimes_err err = {0};
    assert_ok(otimes_par_for(MOST, 1, fill_slice, first, &err), &err);
    for (int threads = 1; threads <= 4; threads++) {
        memset(again, 0, sizeof again);
        assert_ok(otimes_par_for(MOST, threads, fill_slice, again, &err), &err);
        assert_memory_equal(first, again, sizeof first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_item_once),
        cmocka_unit_test(number_of_workers),
        cmocka_unit_test(lowest_failure_wins),
        cmocka_unit_test(threads_reserved),
        cmocka_unit_test(same_bits_at_any_thread_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
