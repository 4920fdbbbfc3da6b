/* SPDX-License-Identifier: MIT
 *
 * Clustering held against the definition of its linkages, and orders of leaves against all flips of
 * a tree. With --bench the program prints times instead.
 */
#include "la_matrix.h"

#include <stdio.h>
#include <time.h>

#include "num/cluster.h"

enum { MOST = 70 };

enum { EVEN, POINTS, INTEGERS, EQUAL, LINE, SIGNED, CONTENTS };

static const otimes_linkage linkages[] = {OTIMES_LINKAGE_SINGLE, OTIMES_LINKAGE_COMPLETE,
                                          OTIMES_LINKAGE_AVERAGE};

/* Distances above the diagonal; the rest is NaN, since nothing may read it. */
static matrix filled(int contents, int64_t n)
{
    matrix a = constant_d(n, n, NAN), x = random_d(n, 3, 1);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i + 1; j < n; j++) {
            double square = 0;
            for (int64_t k = 0; k < 3; k++) {
                square += (at(&x, i, k) - at(&x, j, k)) * (at(&x, i, k) - at(&x, j, k));
            }
            const double of[] = {uniform(), sqrt(square),    (double)below(4),
                                 0.1,       (double)(j - i), normal() - 1};
            put(&a, i, j, of[contents]);
        }
    }
    drop(&x);
    return a;
}

static double between(const matrix *a, int64_t i, int64_t j)
{
    return i < j ? at(a, i, j) : at(a, j, i);
}

/* Clusters as what they hold: in[id][item]. */
typedef struct clusters {
    int64_t n, count;
    bool in[2 * MOST][MOST], live[2 * MOST];
} clusters;

static double linked(const clusters *c, const matrix *a, otimes_linkage linkage, int64_t x,
                     int64_t y)
{
    double least = INFINITY, most = -INFINITY, sum = 0;
    int64_t pairs = 0;
    for (int64_t i = 0; i < c->n; i++) {
        for (int64_t j = 0; j < c->n && c->in[x][i]; j++) {
            if (c->in[y][j]) {
                const double d = between(a, i, j);
                least = fmin(least, d);
                most = fmax(most, d);
                sum += d;
                pairs++;
            }
        }
    }
    return linkage == OTIMES_LINKAGE_SINGLE     ? least
           : linkage == OTIMES_LINKAGE_COMPLETE ? most
                                                : sum / (double)pairs;
}

/* The closest two live clusters, lower ids first. */
static double closest(const clusters *c, const matrix *a, otimes_linkage linkage, int64_t pair[2])
{
    double least = INFINITY;
    for (int64_t x = 0; x < c->count; x++) {
        for (int64_t y = x + 1; y < c->count && c->live[x]; y++) {
            const double d = c->live[y] ? linked(c, a, linkage, x, y) : INFINITY;
            if (d < least) {
                least = d;
                pair[0] = x;
                pair[1] = y;
            }
        }
    }
    return least;
}

static void start(clusters *c, int64_t n)
{
    memset(c, 0, sizeof *c);
    c->n = c->count = n;
    for (int64_t i = 0; i < n; i++) {
        c->in[i][i] = c->live[i] = true;
    }
}

static void merge(clusters *c, int64_t x, int64_t y)
{
    for (int64_t i = 0; i < c->n; i++) {
        c->in[c->count][i] = c->in[x][i] || c->in[y][i];
    }
    c->live[x] = c->live[y] = false;
    c->live[c->count++] = true;
}

static int64_t items_of(const clusters *c, int64_t id)
{
    int64_t items = 0;
    for (int64_t i = 0; i < c->n; i++) {
        items += c->in[id][i];
    }
    return items;
}

/* Every row merges two live clusters than which no two are closer; without ties these are the very
 * two. A mean of up to n^2 / 4 distances errs by at most about that many eps in the test's sum, by
 * n eps in the tree's. */
static void check_tree(const matrix *a, otimes_linkage linkage, bool tied, const double *tree)
{
    static clusters c;
    start(&c, a->m);
    for (int64_t row = 0; row + 1 < a->m; row++) {
        const double *r = tree + row * OTIMES_TREE_COLUMNS;
        const int64_t x = (int64_t)r[0], y = (int64_t)r[1];
        int64_t pair[2] = {-1, -1};
        const double least = closest(&c, a, linkage, pair);
        const double allowed = linkage == OTIMES_LINKAGE_AVERAGE
                                   ? (double)(a->m * a->m) * DBL_EPSILON * (1 + fabs(least))
                                   : 0;
        assert_true(x >= 0 && x < y && y < c.count && c.live[x] && c.live[y]);
        assert_true((double)x == r[0] && (double)y == r[1]);
        assert_true(tied || (x == pair[0] && y == pair[1]));
        assert_at_most(fabs(r[2] - linked(&c, a, linkage, x, y)), allowed);
        assert_at_most(fabs(r[2] - least), allowed);
        assert_true(row == 0 || r[2] >= r[2 - OTIMES_TREE_COLUMNS]);
        merge(&c, x, y);
        assert_true(r[3] == (double)items_of(&c, c.count - 1));
    }
}

static void cluster(const matrix *a, otimes_linkage linkage, double *tree)
{
    otimes_err err = {0};
    assert_int_equal(otimes_cluster(a->m, a->d, a->ld, linkage, tree, &err), OTIMES_OK);
}

static void closest_first(void **state)
{
    (void)state;
    double tree[MOST * OTIMES_TREE_COLUMNS];
    for (int round = 0; round < 360; round++) {
        const int contents = round % CONTENTS;
        const int64_t n = round < 330 ? below(18) : 40;
        matrix a = filled(contents, n);
        for (int l = 0; l < 3; l++) {
            cluster(&a, linkages[l], tree);
            check_tree(&a, linkages[l],
                       contents == INTEGERS || contents == EQUAL || contents == LINE, tree);
        }
        drop(&a);
    }
}

/* Nothing but ties: the items join one by one, and no mean is rounded away from what it is of. */
static void ties_by_lower_index(void **state)
{
    (void)state;
    double tree[MOST * OTIMES_TREE_COLUMNS];
    const int64_t n = 40;
    matrix a = filled(EQUAL, n);
    for (int l = 0; l < 3; l++) {
        cluster(&a, linkages[l], tree);
        for (int64_t row = 0; row + 1 < n; row++) {
            const double expected[] = {row ? (double)row + 1 : 0, row ? (double)(n + row) - 1 : 1,
                                       0.1, (double)row + 2};
            assert_memory_equal(tree + row * OTIMES_TREE_COLUMNS, expected, sizeof expected);
        }
    }
    drop(&a);
}

static void refused(void **state)
{
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    double tree[MOST * OTIMES_TREE_COLUMNS];
    for (int k = 0; k < 3; k++) {
        otimes_err err = {0};
        matrix a = filled(EVEN, 5);
        put(&a, 1, 4, bad[k]);
        assert_int_equal(otimes_cluster(5, a.d, a.ld, OTIMES_LINKAGE_SINGLE, tree, &err),
                         OTIMES_ERR_ARGUMENT);
        assert_non_null(strstr(err.msg, "distance [1, 4]: expected a finite number, got"));
        drop(&a);
    }
}

/* ---- orders ---- */

static double sum_along(const matrix *a, const int64_t *order)
{
    double sum = 0;
    for (int64_t i = 0; i + 1 < a->m; i++) {
        sum += between(a, order[i], order[i + 1]);
    }
    return sum;
}

/* Leaves of cluster `id`, flipped where its merge's bit says so; how many. */
static int64_t leaves(int64_t n, const double *tree, int64_t id, uint64_t flips, int64_t *out)
{
    if (id < n) {
        out[0] = id;
        return 1;
    }
    const double *r = tree + (id - n) * OTIMES_TREE_COLUMNS;
    const int flipped = (int)(flips >> (id - n) & 1);
    const int64_t first = leaves(n, tree, (int64_t)r[flipped], flips, out);
    return first + leaves(n, tree, (int64_t)r[1 - flipped], flips, out + first);
}

/* An order that flips can give: each cluster is a run. */
static void check_order(int64_t n, const double *tree, const int64_t *order)
{
    static clusters c;
    start(&c, n);
    for (int64_t row = 0; row + 1 < n; row++) {
        const double *r = tree + row * OTIMES_TREE_COLUMNS;
        int64_t from = n, to = -1;
        merge(&c, (int64_t)r[0], (int64_t)r[1]);
        for (int64_t i = 0; i < n; i++) {
            assert_true(order[i] >= 0 && order[i] < n);
            if (c.in[c.count - 1][order[i]]) {
                from = from < i ? from : i;
                to = i;
            }
        }
        assert_int_equal(to + 1 - from, (int64_t)r[3]);
    }
    assert_true(n < 2 || c.live[2 * n - 2]);
}

static double order_of(const matrix *a, const double *tree, int64_t *order)
{
    double sum = NAN;
    otimes_err err = {0};
    assert_int_equal(otimes_tree_order_optimal(a->m, a->d, a->ld, tree, order, &sum, &err),
                     OTIMES_OK);
    check_order(a->m, tree, order);
    assert_true(a->m < 2 || order[0] < order[a->m - 1]);
    assert_true(sum == sum_along(a, order));
    return sum;
}

/* Sums of n terms in two orders. */
static double rounding(const matrix *a)
{
    double most = 0;
    for (int64_t i = 0; i < a->m; i++) {
        for (int64_t j = i + 1; j < a->m; j++) {
            most = fmax(most, fabs(at(a, i, j)));
        }
    }
    return 2 * (double)(a->m * a->m) * DBL_EPSILON * most;
}

static void plain_order(void **state)
{
    (void)state;
    double tree[MOST * OTIMES_TREE_COLUMNS];
    int64_t order[MOST], expected[MOST];
    for (int64_t n = 1; n < 40; n++) {
        matrix a = filled((int)n % CONTENTS, n);
        cluster(&a, linkages[n % 3], tree);
        assert_int_equal(otimes_tree_order(n, tree, order, NULL), OTIMES_OK);
        assert_int_equal(leaves(n, tree, 2 * n - 2, 0, expected), n);
        assert_memory_equal(order, expected, (size_t)n * sizeof *order);
        drop(&a);
    }
}

static void best_of_all_flips(void **state)
{
    (void)state;
    double tree[MOST * OTIMES_TREE_COLUMNS];
    int64_t order[MOST], other[MOST];
    int better = 0;
    for (int round = 0; round < 300; round++) {
        const int64_t n = 1 + below(round % 30 ? 8 : 10);
        matrix a = filled(round % CONTENTS, n);
        cluster(&a, linkages[round / CONTENTS % 3], tree);
        const double sum = order_of(&a, tree, order);
        double best = INFINITY;
        for (uint64_t flips = 0; flips < 1u << (n - 1); flips++) {
            leaves(n, tree, 2 * n - 2, flips, other);
            best = fmin(best, sum_along(&a, other));
            better += flips == 0 && best > sum + 0.1;
        }
        assert_at_most(fabs(sum - best), rounding(&a));
        drop(&a);
    }
    assert_true(better > 50); /* plain orders are not the best ones anyway */
}

/* Whether the places from .. to of an order are a cluster of the tree. */
static bool is_cluster(const clusters *c, const int64_t *order, int64_t from, int64_t to)
{
    for (int64_t id = c->n; id < c->count; id++) {
        bool same = items_of(c, id) == to + 1 - from;
        for (int64_t i = from; i <= to && same; i++) {
            same = c->in[id][order[i]];
        }
        if (same) {
            return true;
        }
    }
    return false;
}

/* Larger: turning one cluster round makes the sum no less, nor do flips at random. */
static void no_flip_is_better(void **state)
{
    (void)state;
    static clusters c;
    double tree[MOST * OTIMES_TREE_COLUMNS];
    int64_t order[MOST], other[MOST];
    for (int round = 0; round < 18; round++) {
        const int64_t n = 48;
        int turned = 0;
        matrix a = filled(round % CONTENTS, n);
        cluster(&a, linkages[round / CONTENTS], tree);
        const double sum = order_of(&a, tree, order), allowed = rounding(&a);
        for (int k = 0; k < 300; k++) {
            leaves(n, tree, 2 * n - 2, random_bits(), other);
            assert_at_most(sum, sum_along(&a, other) + allowed);
        }
        start(&c, n);
        for (int64_t row = 0; row + 1 < n; row++) {
            const double *r = tree + row * OTIMES_TREE_COLUMNS;
            merge(&c, (int64_t)r[0], (int64_t)r[1]);
        }
        for (int64_t from = 0; from < n; from++) {
            for (int64_t to = from + 1; to < n; to++) {
                if (!is_cluster(&c, order, from, to)) {
                    continue;
                }
                for (int64_t i = 0; i < n; i++) {
                    other[i] = order[i >= from && i <= to ? from + to - i : i];
                }
                assert_at_most(sum, sum_along(&a, other) + allowed);
                turned++;
            }
        }
        assert_int_equal(turned, n - 1);
        drop(&a);
    }
}

static void bench(void)
{
    for (int64_t n = 500; n <= 2000; n *= 2) {
        for (int contents = EVEN; contents <= LINE; contents += LINE - EVEN) {
            matrix a = filled(contents, n);
            double *tree = malloc((size_t)n * OTIMES_TREE_COLUMNS * sizeof *tree), sum = 0;
            int64_t *order = malloc((size_t)n * sizeof *order);
            const otimes_linkage linkage =
                contents == EVEN ? OTIMES_LINKAGE_AVERAGE : OTIMES_LINKAGE_SINGLE;
            const clock_t start_at = clock();
            int rc = otimes_cluster(n, a.d, a.ld, linkage, tree, NULL);
            const clock_t clustered = clock();
            rc |= otimes_tree_order_optimal(n, a.d, a.ld, tree, order, &sum, NULL);
            printf("cluster: n %d, %s: tree %.3f s, best order %.3f s%s\n", (int)n,
                   contents == EVEN ? "even, mean" : "line, single (a chain)",
                   (double)(clustered - start_at) / CLOCKS_PER_SEC,
                   (double)(clock() - clustered) / CLOCKS_PER_SEC, rc ? ", failed" : "");
            free(tree);
            free(order);
            drop(&a);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closest_first),     cmocka_unit_test(ties_by_lower_index),
        cmocka_unit_test(refused),           cmocka_unit_test(plain_order),
        cmocka_unit_test(best_of_all_flips), cmocka_unit_test(no_flip_is_better),
    };
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
