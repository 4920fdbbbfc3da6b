/* SPDX-License-Identifier: MIT
 *
 * Memory that ends while operators are made and applied; oom.h says how.
 */
#include "oom.h"

#include <otimes/operator.h>

enum { N = 3, D = 4 };

/* (A D + Id) ⊗ (OV C) and 2 A ⊗ P, P read by neither rows nor columns. */
static int make(otimes_operator **op, otimes_err *err)
{
    static const float x[2 * D * D] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6, 5, 4, 3, 2};
    const otimes_factor left = otimes_factor_dense("L", x, D, 2, 2, 1);
    const otimes_factor right = otimes_factor_dense("R", x, 2, D, D, 1);
    const otimes_factor over[] = {otimes_factor_pattern(0, 0, x, N),
                                  otimes_factor_diagonal("D", x, N)};
    const otimes_factor through[] = {otimes_factor_pair("OV", &left, &right),
                                     otimes_factor_centring("C", D)};
    const otimes_factor odd = otimes_factor_dense("P", x, D, D, 2, 2);
    int rc = otimes_operator_new(op, N, N, D, D, err);
    if (rc == OTIMES_OK) {
        rc = otimes_operator_add_term(*op, 1, over, 2, through, 2, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_operator_add_term(*op, 1, NULL, 0, through, 2, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_operator_add_term(*op, 2, over, 1, &odd, 1, err);
    }
    if (rc == OTIMES_OK) { /* nothing dense at all */
        rc = otimes_operator_add_term(*op, 1, over + 1, 1, through + 1, 1, err);
    }
    return rc;
}

static int make_one(void *context, otimes_err *err)
{
    otimes_operator *op = context;
    const int rc = make(&op, err);
    otimes_operator_free(&op);
    return rc;
}

static int add_up(void *context, otimes_err *err)
{
    otimes_operator *op = context;
    int rc = make(&op, err);
    if (rc == OTIMES_OK) {
        const int64_t terms = otimes_operator_terms(op);
        rc = otimes_operator_add(op, 2, op, err);
        assert_int_equal(otimes_operator_terms(op), rc == OTIMES_OK ? 2 * terms : terms);
    }
    otimes_operator_free(&op);
    return rc;
}

static int compose(void *context, otimes_err *err)
{
    otimes_operator *product = context;
    const int rc = otimes_operator_compose(&product, context, context, err);
    assert_true(rc == OTIMES_OK || !product);
    otimes_operator_free(&product);
    return rc;
}

static int transpose(void *context, otimes_err *err)
{
    otimes_operator *back = context;
    const int rc = otimes_operator_transpose(&back, context, err);
    assert_true(rc == OTIMES_OK || !back);
    otimes_operator_free(&back);
    return rc;
}

static int apply(void *context, otimes_err *err)
{
    const float x[N * D] = {1, 2, 3};
    float y[N * D];
    return otimes_operator_apply(context, 1, x, y, err);
}

static int cost(void *context, otimes_err *err)
{
    double flops;
    return otimes_operator_cost(context, &flops, err);
}

static int trace(void *context, otimes_err *err)
{
    double sum;
    return otimes_operator_trace(context, 1, &sum, err);
}

static int norm(void *context, otimes_err *err)
{
    double length;
    return otimes_operator_norm(context, 1, &length, err);
}

static void operators(void **state)
{
    (void)state;
    otimes_err err = {0};
    otimes_operator *op;
    until_it_succeeds("otimes_operator_add_term", make_one, NULL, 5);
    until_it_succeeds("otimes_operator_add", add_up, NULL, 10);
    assert_ok(make(&op, &err), &err);
    until_it_succeeds("otimes_operator_compose", compose, op, 15);
    until_it_succeeds("otimes_operator_transpose", transpose, op, 5);
    until_it_succeeds("otimes_operator_apply", apply, op, 10);
    until_it_succeeds("otimes_operator_cost", cost, op, 5);
    until_it_succeeds("otimes_operator_trace", trace, op, 15);
    until_it_succeeds("otimes_operator_norm", norm, op, 50);
    otimes_operator_free(&op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(operators, oom_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
