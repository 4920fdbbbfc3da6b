/* SPDX-License-Identifier: MIT
 *
 * What the screen of a table stands on: each set of kernels against plain sums, vectors in few bits within
 * what they say they lose, and the change of basis that leaves products alone.
 */
#include "support.h"

#include "la_matrix.h"

#include "num/mix.h"
#include "num/screen.h"

enum { COLUMNS = OTIMES_SCREEN_COLUMNS, STEP = OTIMES_SCREEN_STEP, WIDE = OTIMES_SCREEN_WIDE };
enum { MOST_ROWS = 4 * OTIMES_SCREEN_ROWS, GUARD = 3 };

/* ---- products of 8 bits ---- */

typedef struct panel_case {
    int64_t rows, steps;
    int8_t *row;
    uint8_t *panel;
    int32_t above[MOST_ROWS], below[MOST_ROWS];
} panel_case;

/* The largest numbers there are, on one side of zero or on both, or any. */
static int32_t entry(int64_t kind, int32_t low, int32_t high)
{
    switch (kind) {
    case 0:
        return high;
    case 1:
        return low;
    case 2:
        return below(2) ? low : high;
    default:
        return low + (int32_t)below(high - low + 1);
    }
}

static panel_case new_case(int64_t steps, int32_t levels)
{
    panel_case p = {.rows = OTIMES_SCREEN_ROWS * (1 + below(MOST_ROWS / OTIMES_SCREEN_ROWS)),
                    .steps = steps};
    const int64_t row_kind = below(5), panel_kind = below(5);
    p.row = malloc((size_t)(p.rows * steps * STEP) + 1);
    p.panel = malloc((size_t)(steps * STEP * COLUMNS) + 1);
    assert_true(p.row && p.panel);
    for (int64_t k = 0; k < p.rows * steps * STEP; k++) {
        p.row[k] = (int8_t)entry(row_kind, -levels, levels);
    }
    for (int64_t k = 0; k < steps * STEP * COLUMNS; k++) {
        p.panel[k] = (uint8_t)entry(panel_kind, 1, 255);
    }
    return p;
}

static int64_t sum_of(const panel_case *p, int64_t row, int column)
{
    int64_t sum = 0;
    for (int64_t k = 0; k < p->steps; k++) {
        for (int s = 0; s < STEP; s++) {
            sum += (int64_t)p->row[(row * p->steps + k) * STEP + s] *
                   p->panel[(k * COLUMNS + column) * STEP + s];
        }
    }
    return sum;
}

/* A limit at one of the row's sums, or next to it, or out of reach. */
static int32_t some_limit(const panel_case *p, int64_t row, bool above)
{
    const int64_t sum = sum_of(p, row, (int)below(COLUMNS));
    switch (below(6)) {
    case 0:
        return above ? INT32_MAX : INT32_MIN;
    case 1:
        return above ? INT32_MIN : INT32_MAX;
    case 2:
        return (int32_t)(sum + 1);
    case 3:
        return (int32_t)(sum - 1);
    default:
        return (int32_t)sum;
    }
}

static void check_find(const otimes_screen *screen, int64_t steps)
{
    panel_case p = new_case(steps, screen->levels);
    uint64_t mask[MOST_ROWS + GUARD];
    for (int64_t i = 0; i < p.rows; i++) {
        p.above[i] = some_limit(&p, i, true);
        p.below[i] = some_limit(&p, i, false);
    }
    memset(mask, 0x5a, sizeof mask);
    screen->find(p.rows, steps, p.row, p.panel, p.above, p.below, mask);
    for (int64_t i = 0; i < p.rows; i++) {
        for (int j = 0; j < COLUMNS; j++) {
            const int64_t sum = sum_of(&p, i, j);
            const bool outside = sum >= p.above[i] || sum <= p.below[i];
            if ((mask[i] >> j & 1) != outside) {
                fail_msg("%s: row %d, column %d of %d steps: %lld is %soutside (%d, %d)",
                         screen->name, (int)i, j, (int)steps, (long long)sum, outside ? "" : "not ",
                         p.below[i], p.above[i]);
            }
        }
    }
    for (int64_t i = p.rows; i < MOST_ROWS + GUARD; i++) {
        assert_true(mask[i] == 0x5a5a5a5a5a5a5a5aU);
    }
    free(p.row);
    free(p.panel);
}

static void finding(void **state)
{
    (void)state;
    for (int c = 0; otimes_screen_choice(c); c++) {
        for (int round = 0; round < 400; round++) {
            check_find(otimes_screen_choice(c), 1 + below(round % 8 ? 12 : 300));
        }
        for (int round = 0; round < 12; round++) {
            check_find(otimes_screen_choice(c), OTIMES_SCREEN_RANK / STEP);
        }
    }
}

/* ---- products of 16 bits ---- */

static void check_dot(const otimes_screen *screen, int64_t count)
{
    const int32_t levels = otimes_screen_wide_levels(count);
    const int64_t kinds[] = {below(5), below(5)};
    int16_t *a = malloc((size_t)count * sizeof *a + 1), *b = malloc((size_t)count * sizeof *b + 1);
    int64_t sum = 0;
    assert_true(a && b);
    for (int64_t k = 0; k < count; k++) {
        a[k] = (int16_t)entry(kinds[0], -levels, levels);
        b[k] = (int16_t)entry(kinds[1], -levels, levels);
        sum += (int64_t)a[k] * b[k];
    }
    if (screen->dot(count, a, b) != sum) {
        fail_msg("%s: %lld of %d, expected %lld", screen->name, (long long)screen->dot(count, a, b),
                 (int)count, (long long)sum);
    }
    free(a);
    free(b);
}

static void wide_dots(void **state)
{
    (void)state;
    for (int c = 0; otimes_screen_choice(c); c++) {
        for (int round = 0; round < 3000; round++) {
            check_dot(otimes_screen_choice(c), WIDE * below(round % 8 ? 40 : 400));
        }
        for (int round = 0; round < 60; round++) {
            check_dot(otimes_screen_choice(c), (OTIMES_SCREEN_RANK + WIDE - 1) / WIDE * WIDE);
        }
    }
}

/* As many levels as fit, and no more. */
static void levels_that_fit(void **state)
{
    (void)state;
    for (int64_t count = 0; count < 70000; count += WIDE) {
        const int64_t levels = otimes_screen_wide_levels(count), sixteenth = count / 16;
        assert_true(levels > 0 && levels <= 32767);
        assert_true(sixteenth * levels * levels <= INT32_MAX);
        assert_true(levels == 32767 || sixteenth * (levels + 1) * (levels + 1) > INT32_MAX);
    }
}

/* ---- few bits ---- */

/* All together no further from x than is said; each within the step's half, but for the rounding of x / step
 * in float32, where float32 holds 1 / step, and what is said not much more. */
static void narrowing(void **state)
{
    enum { MOST = 700 };
    static const int32_t levels[] = {63, 127, 1000, 32767};
    static float x[MOST];
    static int16_t q[MOST + GUARD];
    (void)state;
    for (int round = 0; round < 4000; round++) {
        const int64_t count = below(round % 8 ? 40 : MOST + 1), kind = below(4);
        const int32_t top = levels[below(4)];
        const double size = pow(10, 64 * uniform() - 34);
        double most = 0, sum = 0;
        for (int64_t k = 0; k < count; k++) {
            const double number = kind == 0   ? normal()
                                  : kind == 1 ? (double)below(3) - 1
                                  : kind == 2 ? ((double)below(2 * top + 1) - top) / 2 + 0.25
                                              : normal() * (below(9) ? 1e-6 : 1);
            x[k] = (float)(size * number);
            most = fmax(most, fabs((double)x[k]));
        }
        const double step = most > 0 ? most / top : 1;
        memset(q, 0x5a, sizeof q);
        const double lost = otimes_screen_narrow(count, x, step, q);
        for (int64_t k = 0; k < count; k++) {
            const double off = (double)x[k] - step * q[k];
            assert_true(abs(q[k]) <= top);
            assert_true(fabs(off) <= step * (0.5 + top * 0x1p-22) || step < 1 / FLT_MAX);
            sum += off * off;
        }
        /* What vanishes below float32 is in otimes_table_least_error. */
        if (sqrt(sum) > lost + sqrt((double)count) * 0x1p-150) {
            fail_msg("%d numbers in steps of %a lose %a, said %a", (int)count, step, sqrt(sum),
                     lost);
        }
        assert_true(lost <= sqrt(sum) * (1 + 1e-6) + step * 1e-7 || step < 1 / FLT_MAX);
        for (int i = 0; i < GUARD; i++) {
            assert_int_equal(q[count + i], 0x5a5a);
        }
    }
}

/* ---- the basis ---- */

static double product(int64_t count, const float *a, const float *b, double *sizes)
{
    double sum = 0, left = 0, right = 0;
    for (int64_t k = 0; k < count; k++) {
        sum += (double)a[k] * (double)b[k];
        left += (double)a[k] * (double)a[k];
        right += (double)b[k] * (double)b[k];
    }
    *sizes = sqrt(left) * sqrt(right);
    return sum;
}

/* Vectors of every length whose dimensions differ by up to 10^spread; those of a side may be zeros. Products
 * stay within what the basis says of its rounding. */
static void basis(void **state)
{
    enum { MOST = 400 };
    static float x[MOST], y[MOST], scratch[MOST];
    static double left[MOST], right[MOST];
    double worst = 0;
    (void)state;
    for (int64_t round = 0; round < 4000; round++) {
        const int64_t rank = 1 + (round < 300 ? round : below(MOST)), spread = below(12);
        otimes_pool pool = {0};
        otimes_err err = {0};
        otimes_mix mix;
        double before, after;
        for (int64_t k = 0; k < rank; k++) {
            left[k] = below(20) ? pow(10, -(double)spread * uniform()) : 0;
            right[k] = below(20) ? pow(10, -(double)spread * uniform()) : 0;
            x[k] = (float)(left[k] * (2 * uniform() - 1));
            y[k] = (float)(right[k] * (2 * uniform() - 1));
        }
        const double expected = product(rank, x, y, &before);
        assert_ok(otimes_mix_make(rank, left, right, &mix, &pool, &err), &err);
        otimes_mix_apply(&mix, 0, x, scratch);
        otimes_mix_apply(&mix, 1, y, scratch);
        const double off = fabs(product(rank, x, y, &after) - expected);
        if (off > mix.error * after + 1e-300) {
            fail_msg("rank %d: products %a apart, expected at most %a", (int)rank, off,
                     mix.error * after);
        }
        worst = after > 0 ? fmax(worst, off / after / mix.error) : worst;
        otimes_pool_free(&pool);
    }
    print_message("products of mixed vectors are off by up to %.2f of what is allowed\n", worst);
    assert_true(worst > 0.01);
}

/* What a basis is for: one large dimension of many no longer leads. */
static void spreading(void **state)
{
    enum { RANK = 256, VECTORS = 100 };
    static float x[RANK], scratch[RANK];
    static double left[RANK], right[RANK];
    otimes_pool pool = {0};
    otimes_err err = {0};
    otimes_mix mix;
    double ratio = 0;
    (void)state;
    for (int k = 0; k < RANK; k++) {
        left[k] = k == 77 ? 1e4 : 1;
        right[k] = 1;
    }
    assert_ok(otimes_mix_make(RANK, left, right, &mix, &pool, &err), &err);
    for (int i = 0; i < VECTORS; i++) {
        double most = 0, squares = 0;
        for (int k = 0; k < RANK; k++) {
            x[k] = (float)(left[k] * normal() / 1e5);
        }
        otimes_mix_apply(&mix, 0, x, scratch);
        for (int k = 0; k < RANK; k++) {
            most = fmax(most, fabs((double)x[k]));
            squares += (double)x[k] * (double)x[k];
        }
        ratio += most / sqrt(squares / RANK) / VECTORS;
    }
    otimes_pool_free(&pool);
    assert_true(ratio < 5); /* 16 for a single large entry, 3 for gaussian ones */
}

/* And dimensions that are large on one side and small on the other become alike: the product of the norms,
 * by which bounds go, falls to what it is for plain vectors. */
static void balancing(void **state)
{
    enum { RANK = 128 };
    static float x[RANK], y[RANK], scratch[RANK];
    static double left[RANK], right[RANK];
    otimes_pool pool = {0};
    otimes_err err = {0};
    otimes_mix mix;
    double before, after;
    (void)state;
    for (int k = 0; k < RANK; k++) {
        left[k] = pow(1e6, 2 * uniform() - 1);
        right[k] = 1 / left[k];
        x[k] = (float)(left[k] * normal() / 1e8);
        y[k] = (float)(right[k] * normal() / 1e8);
    }
    product(RANK, x, y, &before);
    assert_ok(otimes_mix_make(RANK, left, right, &mix, &pool, &err), &err);
    otimes_mix_apply(&mix, 0, x, scratch);
    otimes_mix_apply(&mix, 1, y, scratch);
    product(RANK, x, y, &after);
    otimes_pool_free(&pool);
    assert_true(after < 4e-16 * RANK && before > 1e6 * after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finding),   cmocka_unit_test(wide_dots), cmocka_unit_test(levels_that_fit),
        cmocka_unit_test(narrowing), cmocka_unit_test(basis),     cmocka_unit_test(spreading),
        cmocka_unit_test(balancing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
