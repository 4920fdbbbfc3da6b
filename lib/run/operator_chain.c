/* SPDX-License-Identifier: MIT */
#include "run/operator_chain.h"

#include <math.h>
#include <string.h>

/* ---- matrices ---- */

static bool is_dense(const otimes_matrix *m)
{
    return m->kind == OTIMES_FACTOR_DENSE;
}

static otimes_matrix transpose_of(otimes_matrix m)
{
    const otimes_view v = m.view;
    if (is_dense(&m)) {
        m.view = otimes_view_transpose(v);
    } else {
        m.view.rows = v.columns;
        m.view.columns = v.rows;
        m.transposed = !m.transposed;
    }
    return m;
}

static int add(otimes_chain *chain, const otimes_matrix *matrix, otimes_err *err)
{
    const int rc = OTIMES_GROW(&chain->matrix, chain->count, &chain->capacity, err);
    if (rc == OTIMES_OK) {
        chain->matrix[chain->count++] = *matrix;
    }
    return rc;
}

static int add_factor(otimes_chain *chain, const otimes_factor *f, otimes_err *err)
{
    otimes_matrix m = {
        .kind = f->kind,
        .transposed = f->transposed,
        .index = f->index,
        .view = {f->rows, f->columns, f->stride[0], f->stride[1], f->data, NULL},
    };
    if (f->kind != OTIMES_FACTOR_PAIR) {
        return add(chain, &m, err);
    }
    m.kind = OTIMES_FACTOR_DENSE;
    m.view.columns = f->rank;
    const int rc = add(chain, &m, err);
    m.view =
        (otimes_view){f->rank, f->columns, f->right_stride[0], f->right_stride[1], f->right, NULL};
    return rc == OTIMES_OK ? add(chain, &m, err) : rc;
}

int otimes_chain_add_factors(otimes_chain *chain, const otimes_factor *factor, int64_t count,
                             bool transpose, otimes_err *err)
{
    const int64_t first = chain->count;
    for (int64_t i = 0; i < count; i++) {
        const int rc = add_factor(chain, &factor[i], err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    }
    if (transpose) {
        for (int64_t i = first, j = chain->count - 1; i <= j; i++, j--) {
            const otimes_matrix m = transpose_of(chain->matrix[i]);
            chain->matrix[i] = transpose_of(chain->matrix[j]);
            chain->matrix[j] = m;
        }
    }
    return OTIMES_OK;
}

int otimes_chain_add_dense(otimes_chain *chain, const otimes_view *view, otimes_err *err)
{
    return add(chain, &(otimes_matrix){.kind = OTIMES_FACTOR_DENSE, .view = *view}, err);
}

void otimes_chain_free(otimes_chain *chain)
{
    otimes_free(chain->matrix);
    otimes_free(chain->cost);
    otimes_free(chain->split);
    *chain = (otimes_chain){0};
}

/* ---- the order ---- */

static const otimes_matrix *at(const otimes_chain *chain, int64_t i)
{
    return &chain->matrix[i % chain->count];
}

/* Flops of the last product, of i .. k with k+1 .. j. What is not dense acts on a dense matrix entry
 * by entry; two such are not multiplied with each other. */
static double step(const otimes_chain *chain, int64_t i, int64_t k, int64_t j)
{
    const otimes_matrix *left = at(chain, i), *right = at(chain, j);
    const double entries = (double)left->view.rows * (double)right->view.columns;
    const bool left_acts = i == k && !is_dense(left), right_acts = k + 1 == j && !is_dense(right);
    if (left_acts && right_acts) {
        return INFINITY;
    }
    return left_acts || right_acts ? entries : 2 * entries * (double)at(chain, k)->view.columns;
}

/* The tables of all sub-chains of at most `longest` matrices that begin in 0 .. span-1. */
static int tabulate(otimes_chain *chain, int64_t span, int64_t longest, otimes_err *err)
{
    int64_t entries = 0;
    otimes_free(chain->cost);
    otimes_free(chain->split);
    chain->cost = NULL;
    chain->split = NULL;
    chain->span = span;
    if (!otimes_mul_i64(span, span, &entries)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "a product of %lld matrices", (long long)span);
    }
    int rc = OTIMES_NEW(&chain->cost, entries, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&chain->split, entries, err);
    }
    for (int64_t length = 2; rc == OTIMES_OK && length <= longest; length++) {
        for (int64_t i = 0, j = length - 1; j < span; i++, j++) {
            double best = INFINITY;
            int64_t split = i;
            for (int64_t k = i; k < j; k++) {
                const double cost = chain->cost[i * span + k] + chain->cost[(k + 1) * span + j] +
                                    step(chain, i, k, j);
                if (cost < best) {
                    best = cost;
                    split = k;
                }
            }
            chain->cost[i * span + j] = best;
            chain->split[i * span + j] = split;
        }
    }
    return rc;
}

int otimes_chain_plan(otimes_chain *chain, double *flops, otimes_err *err)
{
    const int rc = tabulate(chain, chain->count, chain->count, err);
    if (rc == OTIMES_OK && flops) {
        *flops = chain->cost[chain->count - 1];
    }
    return rc;
}

/* ---- products ---- */

static double acted(const otimes_matrix *s, const otimes_view *x, int64_t i, int64_t j)
{
    switch (s->kind) {
    case OTIMES_FACTOR_DIAGONAL:
        return otimes_view_at(&s->view, i, 0) * otimes_view_at(x, i, j);
    case OTIMES_FACTOR_INVERSE_DIAGONAL:
        return otimes_view_at(x, i, j) / otimes_view_at(&s->view, i, 0);
    case OTIMES_FACTOR_SELECTION:
        if (s->transposed) {
            return i == s->index ? otimes_view_at(x, 0, j) : 0;
        }
        return otimes_view_at(x, s->index, j);
    case OTIMES_FACTOR_NONE:
    case OTIMES_FACTOR_CENTRING:
    case OTIMES_FACTOR_DENSE:
    case OTIMES_FACTOR_PAIR:
        break;
    }
    return otimes_view_at(x, i, j);
}

static void column_means(const otimes_view *x, double *mean)
{
    const bool by_rows = x->row_stride >= x->column_stride;
    const int64_t outer = by_rows ? x->rows : x->columns, inner = by_rows ? x->columns : x->rows;
    for (int64_t a = 0; a < outer; a++) {
        for (int64_t b = 0; b < inner; b++) {
            mean[by_rows ? b : a] += otimes_view_at(x, by_rows ? a : b, by_rows ? b : a);
        }
    }
    for (int64_t j = 0; j < x->columns; j++) {
        mean[j] /= (double)x->rows;
    }
}

/* out = scale * s x (+ out) for s that is not dense; out with these strides. Entries are gone through
 * in the order in which x has them. */
static int act(const otimes_chain *chain, const otimes_matrix *s, const otimes_view *x,
               double scale, bool add_to, void *out, int64_t row_stride, int64_t column_stride,
               otimes_err *err)
{
    const bool by_rows = x->row_stride >= x->column_stride;
    const int64_t rows = s->view.rows, columns = x->columns;
    const int64_t outer = by_rows ? rows : columns, inner = by_rows ? columns : rows;
    double *mean;
    const int rc = OTIMES_NEW(&mean, columns, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (s->kind == OTIMES_FACTOR_CENTRING) {
        column_means(x, mean);
    }
    for (int64_t a = 0; a < outer; a++) {
        for (int64_t b = 0; b < inner; b++) {
            const int64_t i = by_rows ? a : b, j = by_rows ? b : a;
            const int64_t to = i * row_stride + j * column_stride;
            const double value = scale * (acted(s, x, i, j) - mean[j]);
            if (chain->wide) {
                ((double *)out)[to] = value + (add_to ? ((double *)out)[to] : 0);
            } else {
                ((float *)out)[to] = (float)(value + (add_to ? (double)((float *)out)[to] : 0));
            }
        }
    }
    otimes_free(mean);
    return OTIMES_OK;
}

/* out = scale * left right (+ out); of right that is not dense, by its transpose. */
static int multiply(const otimes_chain *chain, const otimes_matrix *left,
                    const otimes_matrix *right, double scale, bool add_to, void *out,
                    otimes_err *err)
{
    const int64_t columns = right->view.columns;
    if (!is_dense(left)) {
        return act(chain, left, &right->view, scale, add_to, out, columns, 1, err);
    }
    if (!is_dense(right)) {
        const otimes_matrix transpose = transpose_of(*right);
        const otimes_view view = otimes_view_transpose(left->view);
        return act(chain, &transpose, &view, scale, add_to, out, 1, columns, err);
    }
    return otimes_multiply(chain->threads, &left->view, &right->view, scale, add_to, chain->wide,
                           out, err);
}

/* A matrix of the chain, or a product with memory of its own. */
typedef struct piece {
    otimes_matrix matrix;
    unsigned char *memory;
} piece;

static int new_piece(const otimes_chain *chain, int64_t rows, int64_t columns, piece *p,
                     otimes_err *err)
{
    int64_t bytes = 0;
    if (!otimes_mul_i64(rows, columns, &bytes) ||
        !otimes_mul_i64(bytes, chain->wide ? sizeof(double) : sizeof(float),
                        &bytes)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "a product of matrices is [%lld, %lld]",
                           (long long)rows, (long long)columns);
    }
    const int rc = OTIMES_NEW(&p->memory, bytes, err);
    const void *data = p->memory;
    p->matrix = (otimes_matrix){
        .kind = OTIMES_FACTOR_DENSE,
        .view = {rows, columns, columns, 1, chain->wide ? NULL : data, chain->wide ? data : NULL}};
    return rc;
}

static int evaluate(const otimes_chain *chain, int64_t i, int64_t j, piece *product,
                    otimes_err *err);

/* The products of i .. k and of k+1 .. j, to be released in any case. */
static int evaluate_two(const otimes_chain *chain, int64_t i, int64_t k, int64_t j, piece two[2],
                        otimes_err *err)
{
    two[0] = two[1] = (piece){0};
    const int rc = evaluate(chain, i, k, &two[0], err);
    return rc == OTIMES_OK ? evaluate(chain, k + 1, j, &two[1], err) : rc;
}

static void release_two(piece two[2])
{
    otimes_free(two[0].memory);
    otimes_free(two[1].memory);
}

static int evaluate(const otimes_chain *chain, int64_t i, int64_t j, piece *product,
                    otimes_err *err)
{
    if (i == j) {
        product->matrix = *at(chain, i);
        return OTIMES_OK;
    }
    piece two[2];
    int rc = evaluate_two(chain, i, chain->split[i * chain->span + j], j, two, err);
    if (rc == OTIMES_OK) {
        rc = new_piece(chain, two[0].matrix.view.rows, two[1].matrix.view.columns, product, err);
    }
    if (rc == OTIMES_OK) {
        rc = multiply(chain, &two[0].matrix, &two[1].matrix, 1.0, false, product->memory, err);
    }
    release_two(two);
    return rc;
}

int otimes_chain_product(const otimes_chain *chain, double scale, bool add_to, void *out,
                         otimes_err *err)
{
    const int64_t last = chain->count - 1;
    if (last == 0) {
        const otimes_matrix identity = {.view.rows = chain->matrix->view.rows};
        return multiply(chain, &identity, chain->matrix, scale, add_to, out, err);
    }
    piece two[2];
    int rc = evaluate_two(chain, 0, chain->split[last], last, two, err);
    if (rc == OTIMES_OK) {
        rc = multiply(chain, &two[0].matrix, &two[1].matrix, scale, add_to, out, err);
    }
    release_two(two);
    return rc;
}

/* ---- traces ---- */

static double diagonal_sum(const otimes_view *v)
{
    double sum = 0;
    for (int64_t i = 0; i < v->rows; i++) {
        sum += otimes_view_at(v, i, i);
    }
    return sum;
}

/* tr(left right): nothing is formed of two dense ones. */
static int trace_of_two(const otimes_chain *chain, const otimes_matrix *left,
                        const otimes_matrix *right, double *trace, otimes_err *err)
{
    *trace = 0;
    if (is_dense(left) && is_dense(right)) {
        for (int64_t i = 0; i < left->view.rows; i++) {
            for (int64_t j = 0; j < left->view.columns; j++) {
                *trace += otimes_view_at(&left->view, i, j) * otimes_view_at(&right->view, j, i);
            }
        }
        return OTIMES_OK;
    }
    piece product = {0};
    int rc = new_piece(chain, left->view.rows, right->view.columns, &product, err);
    if (rc == OTIMES_OK) {
        rc = multiply(chain, left, right, 1.0, false, product.memory, err);
    }
    if (rc == OTIMES_OK) {
        *trace = diagonal_sum(&product.matrix.view);
    }
    otimes_free(product.memory);
    return rc;
}

/* The trace around the cycle of at least two matrices, one of them dense: it is cut before i and
 * before j, where the two parts and what they are multiplied by cost least. */
static int trace_of_cycle(otimes_chain *chain, double *trace, otimes_err *err)
{
    const int64_t count = chain->count, span = 2 * count;
    int rc = tabulate(chain, span, count - 1, err);
    double best = INFINITY;
    int64_t first = 0, second = 1;
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        for (int64_t j = i + 1; j < count; j++) {
            const double last =
                2 * (double)at(chain, i)->view.rows * (double)at(chain, j)->view.rows;
            const double cost =
                chain->cost[i * span + j - 1] + chain->cost[j * span + i + count - 1] + last;
            if (cost < best) {
                best = cost;
                first = i;
                second = j;
            }
        }
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    piece two[2];
    rc = evaluate_two(chain, first, second - 1, first + count - 1, two, err);
    if (rc == OTIMES_OK) {
        rc = trace_of_two(chain, &two[0].matrix, &two[1].matrix, trace, err);
    }
    release_two(two);
    return rc;
}

/* The trace where nothing is dense: the product acts on a few columns of the identity at a time. */
static int trace_by_columns(otimes_chain *chain, int64_t n, double *trace, otimes_err *err)
{
    enum { STRIP = 64 };
    const int64_t width = n < STRIP ? n : STRIP, count = chain->count;
    piece identity = {0}, product = {0};
    int rc = new_piece(chain, n, width, &identity, err);
    if (rc == OTIMES_OK) {
        rc = new_piece(chain, n, width, &product, err);
    }
    if (rc == OTIMES_OK) {
        rc = add(chain, &identity.matrix, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_chain_plan(chain, NULL, err);
    }
    double *one = (double *)(void *)identity.memory;
    *trace = 0;
    for (int64_t j = 0; rc == OTIMES_OK && j < n; j += width) {
        memset(one, 0, (size_t)(n * width) * sizeof *one);
        for (int64_t c = 0; c < width && j + c < n; c++) {
            one[(j + c) * width + c] = 1;
        }
        rc = otimes_chain_product(chain, 1.0, false, product.memory, err);
        for (int64_t c = 0; rc == OTIMES_OK && c < width && j + c < n; c++) {
            *trace += otimes_view_at(&product.matrix.view, j + c, c);
        }
    }
    chain->count = count;
    otimes_free(identity.memory);
    otimes_free(product.memory);
    return rc;
}

int otimes_chain_trace(otimes_chain *chain, int64_t n, double *trace, otimes_err *err)
{
    bool dense = false;
    for (int64_t i = 0; i < chain->count; i++) {
        dense = dense || is_dense(&chain->matrix[i]);
    }
    if (chain->count == 0) {
        *trace = (double)n;
        return OTIMES_OK;
    }
    if (!dense) {
        return trace_by_columns(chain, n, trace, err);
    }
    if (chain->count == 1) {
        *trace = diagonal_sum(&chain->matrix->view);
        return OTIMES_OK;
    }
    return trace_of_cycle(chain, trace, err);
}
