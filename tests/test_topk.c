/* SPDX-License-Identifier: MIT
 *
 * The streaming top-k against sorting everything: random lengths, many ties, any k, both ends, any
 * cutting of the stream.
 */
#include "support.h"

#include "la_matrix.h"

#include "num/topk.h"

enum { MOST = 1500, GUARD = 3 };

typedef struct numbered {
    float value;
    int32_t index;
} numbered;

static float sign_of_sort; /* qsort takes no context */

static int better_first(const void *a, const void *b)
{
    const numbered *x = a, *y = b;
    const float vx = sign_of_sort * x->value, vy = sign_of_sort * y->value;
    if (vx != vy) {
        return vx > vy ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

/* A few values only, so that ties are everywhere; or none alike; or sorted either way. */
static void fill(float *values, int64_t count, int kind)
{
    for (int64_t i = 0; i < count; i++) {
        switch (kind) {
        case 0:
            values[i] = (float)below(5);
            break;
        case 1:
            values[i] = (float)normal();
            break;
        case 2:
            values[i] = (float)i;
            break;
        case 3:
            values[i] = (float)-i / 7;
            break;
        case 4:
            values[i] = below(50) ? 0.0f : (float)normal() * 1e30f;
            break;
        case 5:
            values[i] = below(2) ? -0.0f : 0.0f;
            break;
        default:
            values[i] = 1;
            break;
        }
    }
}

typedef struct result {
    float value[100 + GUARD];
    int32_t index[100 + GUARD];
} result;

/* Scans in pieces of up to `longest`, of indices that begin at `first`. */
static int64_t scan(result *out, const float *values, int64_t count, int64_t k, float sign,
                    int64_t longest, int32_t first)
{
    otimes_topk top = {.capacity = k, .sign = sign, .value = out->value, .index = out->index};
    for (int i = 0; i < GUARD; i++) {
        out->value[k + i] = 12345;
        out->index[k + i] = 54321;
    }
    for (int64_t at = 0, run; at < count; at += run) {
        run = below(longest + 1);
        run = run < count - at ? run : count - at;
        otimes_topk_scan(&top, values + at, run, first + (int32_t)at);
    }
    otimes_topk_finish(&top);
    for (int i = 0; i < GUARD; i++) {
        assert_true(out->value[k + i] == 12345 && out->index[k + i] == 54321);
    }
    return top.count;
}

static void against_sorting(void **state)
{
    (void)state;
    static float values[MOST];
    static numbered sorted[MOST];
    static result out;
    for (int round = 0; round < 6000; round++) {
        const int64_t count = below(round % 3 ? 200 : MOST), k = below(round % 4 ? 101 : 8);
        const int64_t longest = round % 2 ? 1 + below(70) : MOST;
        const int32_t first = (int32_t)below(1000000);
        sign_of_sort = round / 7 % 2 ? 1 : -1;
        fill(values, count, round % 7);
        for (int64_t i = 0; i < count; i++) {
            sorted[i] = (numbered){values[i], first + (int32_t)i};
        }
        qsort(sorted, (size_t)count, sizeof *sorted, better_first);
        const int64_t kept = scan(&out, values, count, k, sign_of_sort, longest, first);
        assert_int_equal(kept, k < count ? k : count);
        for (int64_t i = 0; i < k; i++) {
            if (i < kept) {
                assert_true(out.value[i] == sorted[i].value);
                assert_int_equal(out.index[i], sorted[i].index);
            } else {
                assert_true(isnan(out.value[i]));
                assert_int_equal(out.index[i], -1);
            }
        }
    }
}

/* The better value enters wherever it stands, also at the edges of the inner runs. */
static void one_outlier(void **state)
{
    (void)state;
    static float values[MOST];
    static result out;
    for (int64_t place = 0; place < 300; place++) {
        fill(values, 300, 6);
        values[place] = 2;
        scan(&out, values, 300, 1, 1, MOST, 0);
        assert_true(out.value[0] == 2 && out.index[0] == place);
        values[place] = -2;
        scan(&out, values, 300, 2, -1, MOST, 0);
        assert_true(out.value[0] == -2 && out.index[0] == place);
        assert_true(out.value[1] == 1 && out.index[1] == (place == 0));
    }
}

/* A zeroed count starts anew in the same storage. */
static void storage_again(void **state)
{
    (void)state;
    static result out;
    const float first[] = {9, 8, 7}, second[] = {1, 2};
    otimes_topk top = {.capacity = 3, .sign = 1, .value = out.value, .index = out.index};
    otimes_topk_scan(&top, first, 3, 0);
    otimes_topk_finish(&top);
    assert_true(out.value[0] == 9 && out.value[2] == 7);
    top.count = 0;
    otimes_topk_scan(&top, second, 2, 5);
    otimes_topk_finish(&top);
    assert_true(out.value[0] == 2 && out.value[1] == 1 && isnan(out.value[2]));
    assert_true(out.index[0] == 6 && out.index[1] == 5 && out.index[2] == -1);
}

/* A NaN is never among the best, wherever it stands and however few others there are. */
static void not_numbers(void **state)
{
    (void)state;
    static float values[200];
    static result out;
    for (int round = 0; round < 300; round++) {
        const int64_t count = below(200), k = 1 + below(20), every = 1 + below(4);
        int64_t numbers = 0;
        float largest = -INFINITY;
        for (int64_t i = 0; i < count; i++) {
            values[i] = i % every ? (float)below(50) : NAN;
            numbers += !isnan(values[i]);
            largest = values[i] > largest ? values[i] : largest;
        }
        const int64_t kept = scan(&out, values, count, k, 1, 1 + below(70), 0);
        assert_int_equal(kept, k < numbers ? k : numbers);
        assert_true(kept == 0 || out.value[0] == largest);
        for (int64_t i = 0; i < kept; i++) {
            assert_true(values[out.index[i]] == out.value[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_sorting),
        cmocka_unit_test(not_numbers),
        cmocka_unit_test(one_outlier),
        cmocka_unit_test(storage_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
