/* SPDX-License-Identifier: MIT */
#include "num/factored.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "num/la.h"

static int new_matrix(double **matrix, int64_t rows, int64_t columns, otimes_err *err)
{
    int64_t count;
    if (!otimes_mul_i64(rows, columns, &count)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "matrix: %lld x %lld is too large",
                           (long long)rows, (long long)columns);
    }
    return otimes_new_((void **)matrix, count, sizeof **matrix, "matrix", err);
}

/* The table's routines return bare codes: give them words. */
static int check(int code, const char *routine, otimes_err *err)
{
    return code == OTIMES_OK ? OTIMES_OK
                             : otimes_fail(err, code, "%s: %s", routine, otimes_strerror(code));
}

int otimes_side_init(otimes_side *side, int64_t rows, int64_t rank, const float *source,
                     int64_t row_stride, int64_t column_stride, otimes_err *err)
{
    *side = (otimes_side){.rows = rows, .rank = rank, .r_rows = rows < rank ? rows : rank};
    const int rc = new_matrix(&side->x, rows, rank, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (row_stride == 1) { /* a stored row is our column: walk memory in its order */
        for (int64_t j = 0; j < rank; j++) {
            for (int64_t i = 0; i < rows; i++) {
                side->x[i * rank + j] = (double)source[i + j * column_stride];
            }
        }
    } else {
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < rank; j++) {
                side->x[i * rank + j] = (double)source[i * row_stride + j * column_stride];
            }
        }
    }
    return OTIMES_OK;
}

int otimes_side_append_row(otimes_side *side, const float *last, otimes_err *err)
{
    double *grown;
    const int rc = new_matrix(&grown, side->rows + 1, side->rank, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    memcpy(grown, side->x, (size_t)(side->rows * side->rank) * sizeof *grown);
    for (int64_t j = 0; last && j < side->rank; j++) {
        grown[side->rows * side->rank + j] = (double)last[j];
    }
    otimes_free(side->x);
    side->x = grown;
    side->rows++;
    side->r_rows = side->rows < side->rank ? side->rows : side->rank;
    return OTIMES_OK;
}

int otimes_side_map(otimes_side *mapped, int64_t rows, const double *f, const otimes_side *side,
                    otimes_err *err)
{
    *mapped = (otimes_side){
        .rows = rows, .rank = side->rank, .r_rows = rows < side->rank ? rows : side->rank};
    const int rc = new_matrix(&mapped->x, rows, side->rank, err);
    if (rc == OTIMES_OK) {
        otimes_la_default->dgemm(false, false, rows, side->rank, side->rows, 1.0, f, side->rows,
                                 side->x, side->rank, 0.0, mapped->x, side->rank);
    }
    return rc;
}

int otimes_side_factorise(otimes_side *side, bool keep_q, otimes_err *err)
{
    double *work = NULL;
    int rc = new_matrix(&work, side->rows, side->rank, err);
    if (rc == OTIMES_OK) {
        rc = new_matrix(&side->r, side->r_rows, side->rank, err);
    }
    if (rc == OTIMES_OK && keep_q) {
        rc = new_matrix(&side->q, side->rows, side->r_rows, err);
    }
    if (rc == OTIMES_OK) {
        memcpy(work, side->x, (size_t)(side->rows * side->rank) * sizeof *work);
        rc = check(otimes_la_default->dqr(side->rows, side->rank, work, side->rank, side->q,
                                          side->r_rows, side->r, side->rank),
                   "QR", err);
    }
    otimes_free(work);
    return rc;
}

void otimes_side_free(otimes_side *side)
{
    if (side) {
        otimes_free(side->x);
        otimes_free(side->q);
        otimes_free(side->r);
        *side = (otimes_side){0};
    }
}

otimes_factored otimes_factored_transpose(otimes_factored m)
{
    return (otimes_factored){m.b, m.a};
}

int64_t otimes_factored_rank(otimes_factored m)
{
    return m.a->r_rows < m.b->r_rows ? m.a->r_rows : m.b->r_rows;
}

/* Singular vectors of the whole as rows: Q times the leading columns of the core's vectors. */
static void lift(const otimes_side *side, int64_t components, int64_t rank, const double *core,
                 double *out)
{
    otimes_la_default->dgemm(true, true, components, side->rows, side->r_rows, 1.0, core, rank,
                             side->q, side->r_rows, 0.0, out, side->rows);
}

static void fix_sign(double *u, int64_t rows, double *v, int64_t cols)
{
    int64_t largest = 0;
    for (int64_t i = 1; i < rows; i++) {
        largest = fabs(u[i]) > fabs(u[largest]) ? i : largest;
    }
    if (rows > 0 && u[largest] < 0) {
        for (int64_t i = 0; i < rows; i++) {
            u[i] = -u[i];
        }
        for (int64_t i = 0; i < cols; i++) {
            v[i] = -v[i];
        }
    }
}

int otimes_factored_svd(otimes_factored m, double *values, int64_t components, double *u, double *v,
                        otimes_err *err)
{
    const int64_t rank = otimes_factored_rank(m);
    const int64_t ra = m.a->r_rows, rb = m.b->r_rows;
    double *core = NULL, *core_u = NULL, *core_v = NULL;
    int rc = new_matrix(&core, ra, rb, err);
    if (rc == OTIMES_OK && u) {
        rc = new_matrix(&core_u, ra, rank, err);
    }
    if (rc == OTIMES_OK && u) {
        rc = new_matrix(&core_v, rb, rank, err);
    }
    if (rc != OTIMES_OK) {
        goto done;
    }
    otimes_la_default->dgemm(false, true, ra, rb, m.a->rank, 1.0, m.a->r, m.a->rank, m.b->r,
                             m.b->rank, 0.0, core, rb);
    rc = check(otimes_la_default->dsvd(ra, rb, core, rb, values, core_u, rank, core_v, rank), "SVD",
               err);
    if (rc != OTIMES_OK || !u) {
        goto done;
    }
    lift(m.a, components, rank, core_u, u);
    lift(m.b, components, rank, core_v, v);
    for (int64_t c = 0; c < components; c++) {
        fix_sign(u + c * m.a->rows, m.a->rows, v + c * m.b->rows, m.b->rows);
    }
done:
    otimes_free(core);
    otimes_free(core_u);
    otimes_free(core_v);
    return rc;
}

int otimes_factored_norm(otimes_factored m, double *norm, otimes_err *err)
{
    const int64_t ra = m.a->r_rows, rb = m.b->r_rows;
    double *core;
    const int rc = new_matrix(&core, ra, rb, err);
    if (rc == OTIMES_OK) {
        otimes_la_default->dgemm(false, true, ra, rb, m.a->rank, 1.0, m.a->r, m.a->rank, m.b->r,
                                 m.b->rank, 0.0, core, rb);
        *norm = otimes_norm_of_singular_values(core, ra * rb);
    }
    otimes_free(core);
    return rc;
}

void otimes_factored_inner(otimes_factored m, double *inner)
{
    otimes_la_default->dgemm(true, false, m.b->rank, m.a->rank, m.a->rows, 1.0, m.b->x, m.b->rank,
                             m.a->x, m.a->rank, 0.0, inner, m.a->rank);
}

int otimes_inner_eigenvalues(int64_t rank, double *inner, double *re, double *im, double *trace,
                             otimes_err *err)
{
    *trace = 0;
    for (int64_t i = 0; i < rank; i++) {
        *trace += inner[i * rank + i];
    }
    return check(otimes_la_default->deig(rank, inner, rank, re, im), "eigenvalues", err);
}

double otimes_norm_of_singular_values(const double *values, int64_t count)
{
    double squares = 0;
    for (int64_t i = 0; i < count; i++) {
        squares += values[i] * values[i];
    }
    return sqrt(squares);
}

double otimes_positivity(const double *re, const double *im, int64_t count)
{
    double sum = 0, moduli = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += re[i];
        moduli += hypot(re[i], im[i]);
    }
    return moduli > 0 ? sum / moduli : NAN;
}

void otimes_factored_corner(otimes_factored m, int64_t n, double *out)
{
    otimes_la_default->dgemm(false, true, n, n, m.a->rank, 1.0, m.a->x, m.a->rank, m.b->x,
                             m.b->rank, 0.0, out, n);
}

void otimes_factored_product(otimes_factored m, double *out)
{
    otimes_la_default->dgemm(false, true, m.a->rows, m.b->rows, m.a->rank, 1.0, m.a->x, m.a->rank,
                             m.b->x, m.b->rank, 0.0, out, m.b->rows);
}

void otimes_factored_apply(otimes_factored m, int64_t count, const double *x, double *scratch,
                           double *y)
{
    const otimes_la *la = otimes_la_default;
    la->dgemm(false, false, count, m.a->rank, m.a->rows, 1.0, x, m.a->rows, m.a->x, m.a->rank, 0.0,
              scratch, m.a->rank);
    la->dgemm(false, true, count, m.b->rows, m.b->rank, 1.0, scratch, m.b->rank, m.b->x, m.b->rank,
              0.0, y, m.b->rows);
}

int otimes_factored_compose(otimes_side *left, otimes_factored first, otimes_factored second,
                            otimes_err *err)
{
    const int64_t rows = first.a->rows, rank = second.a->rank;
    double *middle = NULL;
    *left = (otimes_side){.rows = rows, .rank = rank, .r_rows = rows < rank ? rows : rank};
    int rc = new_matrix(&middle, first.b->rank, rank, err);
    if (rc == OTIMES_OK) {
        rc = new_matrix(&left->x, rows, rank, err);
    }
    if (rc == OTIMES_OK) {
        otimes_la_default->dgemm(true, false, first.b->rank, rank, first.b->rows, 1.0, first.b->x,
                                 first.b->rank, second.a->x, rank, 0.0, middle, rank);
        otimes_la_default->dgemm(false, false, rows, rank, first.a->rank, 1.0, first.a->x,
                                 first.a->rank, middle, rank, 0.0, left->x, rank);
    }
    otimes_free(middle);
    return rc;
}
