/* SPDX-License-Identifier: MIT
 *
 * Memory that ends in numerical work of its own; oom.h says how.
 */
#include "oom.h"

#include <math.h>

#include "num/assign.h"
#include "num/cluster.h"
#include "num/haar.h"
#include "num/la.h"

enum { N = 6 };

/* Distances of points on a line, which no call changes. */
static void distances(double d[N * N])
{
    static const double at[N] = {0, 5, 1, 7, 2.5, 20};
    for (int i = 0; i < N * N; i++) {
        d[i] = fabs(at[i / N] - at[i % N]);
    }
}

static int assign(void *context, otimes_err *err)
{
    int64_t column_of[N];
    return otimes_assign(N, N - 1, context, N, true, column_of, NULL, NULL, NULL, err);
}

static int cluster(void *context, otimes_err *err)
{
    double tree[N * OTIMES_TREE_COLUMNS];
    return otimes_cluster(N, context, N, OTIMES_LINKAGE_AVERAGE, tree, err);
}

typedef struct planted {
    const double *distance, *tree;
} planted;

static int order(void *context, otimes_err *err)
{
    const planted *p = context;
    int64_t places[N];
    return otimes_tree_order(N, p->tree, places, err);
}

static int best_order(void *context, otimes_err *err)
{
    const planted *p = context;
    int64_t places[N];
    return otimes_tree_order_optimal(N, p->distance, N, p->tree, places, NULL, err);
}

static int angles(void *context, otimes_err *err)
{
    otimes_estimate *estimate = context;
    return otimes_haar_angles(9, 3, 4, 2, 0, estimate, NULL, NULL, err);
}

static int procrustes(void *context, otimes_err *err)
{
    static const double ones[] = {1, 1, 1};
    return otimes_haar_procrustes(9, 2, ones, 3, ones, true, 2, 0, context, err);
}

/* The plain-C decompositions, wide so that the matrix is turned too. Their error has no text. */
static int decompose(void *context, otimes_err *err)
{
    const otimes_la *la = context;
    double a[2 * N], s[2], u[4], v[2 * N], q[4], r[2 * N];
    for (int i = 0; i < 2 * N; i++) {
        a[i] = 1.0 / (i + 1);
    }
    int rc = la->dsvd(2, N, a, N, s, u, 2, v, 2);
    if (rc == OTIMES_OK) {
        rc = la->dqr(2, N, a, N, q, 2, r, N);
    }
    return rc == OTIMES_OK ? rc : otimes_fail(err, rc, "decompositions: out of memory");
}

static void memory_ends(void **state)
{
    (void)state;
    double d[N * N], tree[N * OTIMES_TREE_COLUMNS];
    planted p = {d, tree};
    otimes_estimate estimate;
    distances(d);
    assert_int_equal(otimes_cluster(N, d, N, OTIMES_LINKAGE_AVERAGE, tree, NULL), OTIMES_OK);
    until_it_succeeds("decompositions", decompose, (void *)&otimes_la_reference, 8);
    until_it_succeeds("assignment", assign, d, 11);
    until_it_succeeds("clustering", cluster, d, 7);
    until_it_succeeds("order of a tree", order, &p, 1);
    until_it_succeeds("best order of a tree", best_order, &p, 7);
    until_it_succeeds("principal angles", angles, &estimate, 3);
    until_it_succeeds("Procrustes", procrustes, &estimate, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(memory_ends, oom_end)};
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
