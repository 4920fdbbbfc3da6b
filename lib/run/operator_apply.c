/* SPDX-License-Identifier: MIT
 *
 * Numbers of operators. Each term is a chain of matrices (operator_chain.h): applied to x it is
 * A's factors, x, B^T's factors, so that positions first or features first is one more place where a
 * product may be split.
 */
#include <math.h>

#include "run/operator.h"
#include "run/operator_chain.h"

/* A x B^T, planned. */
static int prepare(otimes_chain *chain, const otimes_operator *op, const otimes_term *term,
                   const float *x, double *flops, otimes_err *err)
{
    const otimes_view stream = {op->n_in, op->d_in, op->d_in, 1, x, NULL};
    otimes_chain_clear(chain);
    int rc = otimes_chain_add_factors(chain, term->over, term->over_count, false, err);
    if (rc == OTIMES_OK) {
        rc = otimes_chain_add_dense(chain, &stream, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_chain_add_factors(chain, otimes_term_through(term), term->through_count, true,
                                      err);
    }
    return rc == OTIMES_OK ? otimes_chain_plan(chain, flops, err) : rc;
}

int otimes_operator_apply(const otimes_operator *op, int threads, const float *x, float *y,
                          otimes_err *err)
{
    otimes_chain chain = {.threads = threads};
    int rc = OTIMES_OK;
    for (int64_t i = 0; op->count == 0 && i < op->n_out; i++) {
        for (int64_t j = 0; j < op->d_out; j++) {
            y[i * op->d_out + j] = 0;
        }
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < op->count; i++) {
        rc = prepare(&chain, op, &op->term[i], x, NULL, err);
        if (rc == OTIMES_OK) {
            rc = otimes_chain_product(&chain, op->term[i].scale, i > 0, y, err);
        }
    }
    otimes_chain_free(&chain);
    return rc;
}

int otimes_operator_cost(const otimes_operator *op, double *flops, otimes_err *err)
{
    otimes_chain chain = {0};
    int rc = OTIMES_OK;
    *flops = 0;
    for (int64_t i = 0; rc == OTIMES_OK && i < op->count; i++) {
        double own = 0;
        rc = prepare(&chain, op, &op->term[i], NULL, &own, err);
        *flops += own;
    }
    otimes_chain_free(&chain);
    return rc;
}

/* tr(L^T R) [n, n] of two products of factors; L may be empty. */
static int trace_of(otimes_chain *chain, const otimes_factor *left, int64_t left_count,
                    const otimes_factor *right, int64_t right_count, int64_t n, double *trace,
                    otimes_err *err)
{
    otimes_chain_clear(chain);
    int rc = otimes_chain_add_factors(chain, left, left_count, true, err);
    if (rc == OTIMES_OK) {
        rc = otimes_chain_add_factors(chain, right, right_count, false, err);
    }
    return rc == OTIMES_OK ? otimes_chain_trace(chain, n, trace, err) : rc;
}

/* scales tr(A_l^T A_r) tr(B_l^T B_r), acting on [n, d]. */
static int trace_of_terms(otimes_chain *chain, const otimes_term *l, const otimes_term *r,
                          int64_t n, int64_t d, double *trace, otimes_err *err)
{
    double over = 0, through = 0;
    int rc = trace_of(chain, l->over, l->over_count, r->over, r->over_count, n, &over, err);
    if (rc == OTIMES_OK) {
        rc = trace_of(chain, otimes_term_through(l), l->through_count, otimes_term_through(r),
                      r->through_count, d, &through, err);
    }
    *trace = l->scale * r->scale * over * through;
    return rc;
}

int otimes_operator_trace(const otimes_operator *op, int threads, double *trace, otimes_err *err)
{
    static const otimes_term identity = {.scale = 1};
    otimes_chain chain = {.wide = true, .threads = threads};
    int rc = OTIMES_OK;
    *trace = 0;
    if (op->n_out != op->n_in || op->d_out != op->d_in) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "operator: a trace: expected a square one, got from [%lld, %lld] to "
                           "[%lld, %lld]",
                           (long long)op->n_in, (long long)op->d_in, (long long)op->n_out,
                           (long long)op->d_out);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < op->count; i++) {
        double own = 0;
        rc = trace_of_terms(&chain, &identity, &op->term[i], op->n_in, op->d_in, &own, err);
        *trace += own;
    }
    otimes_chain_free(&chain);
    return rc;
}

int otimes_operator_inner(const otimes_operator *left, const otimes_operator *right, int threads,
                          double *inner, otimes_err *err)
{
    otimes_chain chain = {.wide = true, .threads = threads};
    const bool same = left == right; /* then a pair of terms stands for both orders */
    int rc = OTIMES_OK;
    *inner = 0;
    if (left->n_out != right->n_out || left->n_in != right->n_in || left->d_out != right->d_out ||
        left->d_in != right->d_in) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "operator: an inner product: expected both of one shape, got from "
                           "[%lld, %lld] to [%lld, %lld] and from [%lld, %lld] to [%lld, %lld]",
                           (long long)left->n_in, (long long)left->d_in, (long long)left->n_out,
                           (long long)left->d_out, (long long)right->n_in, (long long)right->d_in,
                           (long long)right->n_out, (long long)right->d_out);
    }
    for (int64_t i = 0; i < left->count; i++) {
        for (int64_t j = same ? i : 0; rc == OTIMES_OK && j < right->count; j++) {
            double own = 0;
            rc = trace_of_terms(&chain, &left->term[i], &right->term[j], right->n_in, right->d_in,
                                &own, err);
            *inner += same && j > i ? 2 * own : own;
        }
    }
    otimes_chain_free(&chain);
    return rc;
}

int otimes_operator_norm(const otimes_operator *op, int threads, double *norm, otimes_err *err)
{
    double square = 0;
    const int rc = otimes_operator_inner(op, op, threads, &square, err);
    *norm = sqrt(square < 0 ? 0 : square); /* NaN stays NaN */
    return rc;
}
