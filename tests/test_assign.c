/* SPDX-License-Identifier: MIT
 *
 * The assignment problem: prices that prove each matching optimal, all matchings of small ones,
 * ties, what cannot be matched. With --bench the program prints times instead.
 */
#include "la_matrix.h"

#include <stdio.h>
#include <time.h>

#include "num/assign.h"

enum { MOST = 400 };

enum { EVEN, NORMAL, INTEGERS, EQUAL, PRODUCTS, NEAR_DIAGONAL, TWINS, CONTENTS };

/* Contents whose sums are exact in double: then prices must be, too. */
static bool exact(int contents)
{
    return contents == INTEGERS || contents == EQUAL || contents == PRODUCTS || contents == TWINS;
}

static double entry(int contents, int64_t i, int64_t j)
{
    switch (contents) {
    case EVEN:
        return uniform();
    case NORMAL:
        return 1e3 * normal();
    case INTEGERS:
        return (double)below(6) - 2;
    case EQUAL:
        return 7;
    case PRODUCTS: /* Machol and Wien 1976: hard for augmenting paths */
        return (double)((i + 1) * (j + 1));
    case NEAR_DIAGONAL:
        return fabs((double)(i - j)) + 0.1 * uniform();
    default: /* equal rows and columns in pairs */
        return (double)((i / 2 - j / 2) * (i / 2 - j / 2));
    }
}

static matrix filled(int contents, int64_t rows, int64_t columns)
{
    matrix a = make_d(rows, columns);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            put(&a, i, j, entry(contents, i, j));
        }
    }
    return a;
}

typedef struct solution {
    int64_t column_of[MOST];
    double u[MOST], v[MOST], total;
} solution;

static int solve(const matrix *a, bool largest, solution *s, otimes_err *err)
{
    return otimes_assign(a->m, a->n, a->d, a->ld, largest, s->column_of, s->u, s->v, &s->total,
                         err);
}

/* No row or column twice, as many pairs as there can be, none forbidden; and the prices are
 * feasible and tight at the pairs: by weak duality nothing else is better. */
static void check(const matrix *a, bool largest, double allowed, const solution *s)
{
    const double sign = largest ? -1 : 1;
    int64_t row_of[MOST], pairs = 0;
    double total = 0;
    for (int64_t j = 0; j < a->n; j++) {
        row_of[j] = -1;
    }
    for (int64_t i = 0; i < a->m; i++) {
        const int64_t j = s->column_of[i];
        assert_true(j >= -1 && j < a->n);
        if (j >= 0) {
            assert_true(row_of[j] == -1 && isfinite(at(a, i, j)));
            row_of[j] = i;
            pairs++;
            total += at(a, i, j);
            assert_at_most(fabs(at(a, i, j) - s->u[i] - s->v[j]), allowed);
        }
    }
    assert_int_equal(pairs, a->m < a->n ? a->m : a->n);
    assert_true(total == s->total);
    for (int64_t i = 0; i < a->m; i++) {
        for (int64_t j = 0; j < a->n; j++) {
            assert_at_most(-sign * (at(a, i, j) - s->u[i] - s->v[j]), allowed);
        }
        if (a->m > a->n) {
            assert_at_most(sign * s->u[i], allowed);
        }
        assert_true(s->column_of[i] >= 0 || s->u[i] == 0);
    }
    for (int64_t j = 0; j < a->n; j++) {
        if (a->n > a->m) {
            assert_at_most(sign * s->v[j], allowed);
        }
        assert_true(row_of[j] >= 0 || s->v[j] == 0);
    }
}

/* A price is a sum of at most as many differences of entries as there are pairs. */
static double rounding(const matrix *a, int contents, const solution *s)
{
    double most = 0;
    for (int64_t i = 0; i < a->m; i++) {
        most = fmax(most, fabs(s->u[i]));
        for (int64_t j = 0; j < a->n; j++) {
            most = fmax(most, isfinite(at(a, i, j)) ? fabs(at(a, i, j)) : 0);
        }
    }
    return exact(contents) ? 0 : 4 * (double)(a->m + a->n) * DBL_EPSILON * most;
}

static void one(int contents, int64_t rows, int64_t columns, int forbidden_of_8, bool largest)
{
    static solution s;
    otimes_err err = {0};
    matrix a = filled(contents, rows, columns);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            const bool kept = i % columns == j % columns && i % rows == j % rows; /* a way out */
            if (!kept && below(8) < forbidden_of_8) {
                put(&a, i, j, largest ? -INFINITY : INFINITY);
            }
        }
    }
    assert_int_equal(solve(&a, largest, &s, &err), OTIMES_OK);
    check(&a, largest, rounding(&a, contents, &s), &s);
    drop(&a);
}

static void prices_prove_it(void **state)
{
    (void)state;
    for (int round = 0; round < 1400; round++) {
        one(round % CONTENTS, below(31), below(31), round / CONTENTS % 3 ? 0 : (int)below(8),
            round / 21 % 2);
    }
    for (int contents = 0; contents < CONTENTS; contents++) {
        one(contents, 150, 150, 0, contents % 2);
        one(contents, 90, 130, 5, false);
        one(contents, 130, 90, 0, true);
    }
}

/* The best sum over all matchings from row i on; INFINITY where there is none. */
static double best_of_all(const matrix *a, double sign, int64_t i, unsigned used, int64_t to_skip)
{
    double best = INFINITY;
    if (i == a->m) {
        return 0;
    }
    if (to_skip > 0) {
        best = best_of_all(a, sign, i + 1, used, to_skip - 1);
    }
    for (int64_t j = 0; j < a->n; j++) {
        if (!(used >> j & 1)) {
            best = fmin(best,
                        sign * at(a, i, j) + best_of_all(a, sign, i + 1, used | 1u << j, to_skip));
        }
    }
    return best;
}

static void as_good_as_any(void **state)
{
    (void)state;
    static solution s;
    int refused = 0;
    for (int round = 0; round < 600; round++) {
        otimes_err err = {0};
        const int64_t most = round % 50 ? 5 : 7, rows = 1 + below(most), columns = 1 + below(most);
        const int contents = round % CONTENTS;
        const bool largest = round / CONTENTS % 2;
        const double sign = largest ? -1 : 1;
        matrix a = filled(contents, rows, columns);
        for (int64_t i = 0; i < rows && round % 3 == 0; i++) {
            for (int64_t j = 0; j < columns; j++) {
                put(&a, i, j, below(3) ? sign * INFINITY : at(&a, i, j));
            }
        }
        const double best = best_of_all(&a, sign, 0, 0, rows > columns ? rows - columns : 0);
        const int rc = solve(&a, largest, &s, &err);
        if (best == INFINITY) {
            refused++;
            assert_int_equal(rc, OTIMES_ERR_ARGUMENT);
            assert_int_equal(err.code, rc);
        } else {
            assert_int_equal(rc, OTIMES_OK);
            check(&a, largest, rounding(&a, contents, &s), &s);
            assert_at_most(fabs(sign * best - s.total),
                           8 * DBL_EPSILON * (double)(rows + columns) * 1e4);
        }
        drop(&a);
    }
    assert_true(refused > 20);
}

/* What all entries leave open, and rows that are twins, fall on the diagonal. */
static void ties_go_to_the_diagonal(void **state)
{
    (void)state;
    static solution s;
    for (int64_t rows = 1; rows < 20; rows++) {
        for (int64_t columns = 1; columns < 20; columns++) {
            for (int kind = 0; kind < 4; kind++) {
                otimes_err err = {0};
                matrix a = filled(kind / 2 ? TWINS : EQUAL, rows, columns);
                for (int64_t i = 0; i < rows * columns && kind % 2; i++) {
                    put(&a, i / columns, i % columns, -at(&a, i / columns, i % columns));
                }
                assert_int_equal(solve(&a, kind % 2, &s, &err), OTIMES_OK);
                for (int64_t i = 0; i < rows; i++) {
                    assert_int_equal(s.column_of[i], i < columns ? i : -1);
                }
                drop(&a);
            }
        }
    }
}

/* Rows permuted at random are found again. */
static void a_permutation_is_undone(void **state)
{
    (void)state;
    static solution s;
    static int64_t to[MOST];
    for (int64_t n = 1; n < 80; n += 6) {
        otimes_err err = {0};
        matrix a = make_d(n, n);
        for (int64_t i = 0; i < n; i++) {
            to[i] = i;
        }
        for (int64_t i = n - 1; i > 0; i--) {
            const int64_t j = below(i + 1), keep = to[i];
            to[i] = to[j];
            to[j] = keep;
        }
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < n; j++) {
                put(&a, i, j, to[i] == j ? 1 : 0.9 * uniform());
            }
        }
        assert_int_equal(solve(&a, true, &s, &err), OTIMES_OK);
        assert_memory_equal(s.column_of, to, (size_t)n * sizeof *to);
        assert_true(s.total == (double)n);
        drop(&a);
    }
}

static void refuse(const matrix *a, bool largest, const char *text)
{
    static solution s;
    otimes_err err = {0};
    assert_int_equal(solve(a, largest, &s, &err), OTIMES_ERR_ARGUMENT);
    if (err.code != OTIMES_ERR_ARGUMENT || !strstr(err.msg, text)) {
        fail_msg("expected '%s' in '%s'", text, err.msg);
    }
}

static void what_cannot_be_matched(void **state)
{
    (void)state;
    static solution s;
    otimes_err err = {0};
    matrix a = filled(EVEN, 5, 6);
    put(&a, 3, 1, NAN);
    refuse(&a, false, "entry [3, 1]: expected a number or inf (forbidden), got nan");
    put(&a, 3, 1, -INFINITY);
    refuse(&a, false, "entry [3, 1]: expected a number or inf (forbidden), got -inf");
    put(&a, 3, 1, INFINITY);
    refuse(&a, true, "entry [3, 1]: expected a number or -inf (forbidden), got inf");
    for (int64_t j = 0; j < 6; j++) {
        put(&a, 4, j, INFINITY);
    }
    refuse(&a, false, "row 4 is one of 1 rows that have partners, expected as many columns");
    for (int64_t j = 0; j < 6; j++) { /* three rows, two columns */
        for (int64_t i = 0; i < 5; i++) {
            put(&a, i, j, i % 2 == 0 && j != 1 && j != 4 ? INFINITY : uniform());
        }
    }
    refuse(&a, false, "one of 3 rows");
    refuse(&a, false, "got 2");
    drop(&a);
    a = filled(EVEN, 4, 3);
    for (int64_t i = 0; i < 4; i++) {
        put(&a, i, 2, -INFINITY);
    }
    refuse(&a, true, "column 2 is one of 1 columns");
    drop(&a);
    a = make_d(0, 3);
    assert_int_equal(solve(&a, false, &s, &err), OTIMES_OK);
    assert_true(s.total == 0 && s.v[0] == 0 && s.v[2] == 0);
    assert_int_equal(otimes_assign(0, 3, a.d, a.ld, false, s.column_of, NULL, NULL, NULL, NULL),
                     OTIMES_OK);
    drop(&a);
}

static void bench(void)
{
    static const char *const names[] = {"even",     "normal",        "integers", "equal",
                                        "products", "near diagonal", "twins"};
    for (int contents = 0; contents < CONTENTS; contents++) {
        const int64_t n = 1200;
        matrix a = filled(contents, n, n);
        int64_t *column_of = malloc((size_t)n * sizeof *column_of);
        double total = 0;
        const clock_t start = clock();
        const int rc = otimes_assign(n, n, a.d, a.ld, false, column_of, NULL, NULL, &total, NULL);
        printf("%s: %d x %d, %s: %.3f s, sum %.9g%s\n", "assign", (int)n, (int)n, names[contents],
               (double)(clock() - start) / CLOCKS_PER_SEC, total, rc ? ", failed" : "");
        free(column_of);
        drop(&a);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prices_prove_it),         cmocka_unit_test(as_good_as_any),
        cmocka_unit_test(ties_go_to_the_diagonal), cmocka_unit_test(a_permutation_is_undone),
        cmocka_unit_test(what_cannot_be_matched),
    };
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
