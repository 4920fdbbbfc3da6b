/* SPDX-License-Identifier: MIT
 *
 * Factored matrices, with the cases of TransformerLens' own tests of FactoredMatrix: everything
 * from the factors against the dense product.
 */
#include "support.h"

#include "la_matrix.h"

#include "num/factored.h"

/* A [rows, rank], B [cols, rank] and the product by plain sums. */
typedef struct specimen_pair {
    otimes_side a, b;
    matrix dense;
} specimen_pair;

enum { FULL, DEFICIENT, EMPTY, LARGE, SMALL, FILLINGS };

static const double filling_scale[FILLINGS] = {1, 1, 0, 1e15, 1e-15};

typedef struct shape {
    int64_t rows, rank, cols;
} shape;

/* d_model = rows = cols and d_head = rank mostly; TransformerLens takes 6x3x7 and the like. */
static const shape shapes[] = {
    {3, 2, 3}, {6, 7, 3},   {3, 7, 6},    {1, 1, 1},    {5, 1, 5},   {1, 4, 1},   {8, 8, 8},
    {2, 9, 2}, {17, 5, 17}, {64, 16, 64}, {16, 64, 16}, {40, 7, 23}, {23, 7, 40}, {70, 65, 70},
};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* Strided as weights are: by rows, or by columns (transposed storage). */
static otimes_side make_side(int64_t rows, int64_t rank, int filling, bool transposed)
{
    otimes_side side;
    otimes_err err = {0};
    const int64_t pitch = (transposed ? rows : rank) + 2;
    const int64_t row_stride = transposed ? 1 : pitch, column_stride = transposed ? pitch : 1;
    float *source = malloc((size_t)((rows + rank) * pitch + 1) * sizeof *source);
    assert_non_null(source);
    for (int64_t i = 0; i < (rows + rank) * pitch; i++) {
        source[i] = NAN;
    }
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < rank; j++) {
            const bool twin = filling == DEFICIENT && j > 0 && j % 2 == 1;
            float *place = &source[i * row_stride + j * column_stride];
            *place = twin ? place[-column_stride] : (float)(filling_scale[filling] * normal());
        }
    }
    assert_ok(otimes_side_init(&side, rows, rank, source, row_stride, column_stride, &err), &err);
    for (int64_t i = 0; i < rows * rank; i++) {
        assert_true(side.x[i] == (double)source[i / rank * row_stride + i % rank * column_stride]);
    }
    free(source);
    return side;
}

static void factorise(otimes_side *side)
{
    otimes_err err = {0};
    assert_ok(otimes_side_factorise(side, true, &err), &err);
}

static specimen_pair make_pair(const shape *s, int filling)
{
    specimen_pair p = {.a = make_side(s->rows, s->rank, filling, below(2)),
                       .b = make_side(s->cols, s->rank, filling, below(2)),
                       .dense = make_d(s->rows, s->cols)};
    for (int64_t i = 0; i < s->rows; i++) {
        for (int64_t j = 0; j < s->cols; j++) {
            long double sum = 0;
            for (int64_t k = 0; k < s->rank; k++) {
                sum += (long double)p.a.x[i * s->rank + k] * p.b.x[j * s->rank + k];
            }
            put(&p.dense, i, j, (double)sum);
        }
    }
    factorise(&p.a);
    factorise(&p.b);
    return p;
}

static void drop_pair(specimen_pair *p)
{
    otimes_side_free(&p->a);
    otimes_side_free(&p->b);
    drop(&p->dense);
}

/* What rounding may do to M: c eps |A| |B|, by the shape. */
static double allowed(const specimen_pair *p, double c)
{
    const double a = otimes_norm_of_singular_values(p->a.x, p->a.rows * p->a.rank);
    const double b = otimes_norm_of_singular_values(p->b.x, p->b.rows * p->b.rank);
    return c * (double)(p->a.rows + p->b.rows + p->a.rank) * DBL_EPSILON * a * b;
}

/* |got - M| in the Frobenius norm, got tight, turned: M^T. */
static double distance(const matrix *dense, const double *got, bool turned)
{
    double sum = 0;
    for (int64_t i = 0; i < dense->m; i++) {
        for (int64_t j = 0; j < dense->n; j++) {
            const double x = got[turned ? j * dense->m + i : i * dense->n + j] - at(dense, i, j);
            sum += x * x;
        }
    }
    return sqrt(sum);
}

static double *new_doubles(int64_t count)
{
    double *values = malloc((size_t)(count + 1) * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < count; i++) {
        values[i] = NAN;
    }
    return values;
}

typedef void check(const specimen_pair *p);

static void for_all(check *run)
{
    for (int s = 0; s < SHAPES; s++) {
        for (int filling = 0; filling < FILLINGS; filling++) {
            specimen_pair p = make_pair(&shapes[s], filling);
            run(&p);
            drop_pair(&p);
        }
    }
}

static otimes_factored factored(const specimen_pair *p)
{
    return (otimes_factored){&p->a, &p->b};
}

/* ---- product, transpose, corner ---- */

static void check_product(const specimen_pair *p)
{
    const int64_t rows = p->a.rows, cols = p->b.rows, least = rows < cols ? rows : cols;
    double *out = new_doubles(rows * cols);
    otimes_factored_product(factored(p), out);
    assert_at_most(distance(&p->dense, out, false), allowed(p, 1));
    otimes_factored_product(otimes_factored_transpose(factored(p)), out);
    assert_at_most(distance(&p->dense, out, true), allowed(p, 1));
    for (int64_t n = 0; n <= least && n < 9; n++) {
        otimes_factored_corner(factored(p), n, out);
        for (int64_t i = 0; i < n * n; i++) {
            assert_at_most(fabs(out[i] - at(&p->dense, i / n, i % n)), allowed(p, 1));
        }
    }
    free(out);
}

static void product_transpose_corner(void **state)
{
    (void)state;
    for_all(check_product);
}

/* ---- singular values and vectors ---- */

static double unorthonormal_rows(const double *x, int64_t count, int64_t length)
{
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j <= i; j++) {
            long double sum = i == j ? -1 : 0;
            for (int64_t k = 0; k < length; k++) {
                sum += (long double)x[i * length + k] * x[j * length + k];
            }
            worst = fmax(worst, fabs((double)sum));
        }
    }
    return worst;
}

static void check_signs(const double *u, int64_t count, int64_t length)
{
    for (int64_t c = 0; c < count; c++) {
        int64_t largest_at = 0;
        for (int64_t i = 1; i < length; i++) {
            largest_at =
                fabs(u[c * length + i]) > fabs(u[c * length + largest_at]) ? i : largest_at;
        }
        assert_true(u[c * length + largest_at] > 0);
    }
}

static void check_svd(const specimen_pair *p)
{
    const int64_t rows = p->a.rows, cols = p->b.rows, rank = otimes_factored_rank(factored(p));
    double *s = new_doubles(rank), *alone = new_doubles(rank);
    double *u = new_doubles(rank * rows), *v = new_doubles(rank * cols);
    double *rebuilt = calloc((size_t)(rows * cols) + 1, sizeof *rebuilt), norm_of_core = NAN;
    otimes_err err = {0};
    assert_ok(otimes_factored_svd(factored(p), s, rank, u, v, &err), &err);
    assert_ok(otimes_factored_svd(factored(p), alone, 0, NULL, NULL, &err), &err);
    for (int64_t c = 0; c < rank; c++) {
        assert_true(s[c] >= 0 && (c == 0 || s[c] <= s[c - 1]));
        assert_at_most(fabs(s[c] - alone[c]), allowed(p, 4));
        for (int64_t i = 0; i < rows * cols; i++) {
            rebuilt[i] += s[c] * u[c * rows + i / cols] * v[c * cols + i % cols];
        }
    }
    assert_at_most(distance(&p->dense, rebuilt, false), allowed(p, 8));
    const double size = (double)(rows + cols + rank);
    assert_at_most(unorthonormal_rows(u, rank, rows), 16 * size * DBL_EPSILON);
    assert_at_most(unorthonormal_rows(v, rank, cols), 16 * size * DBL_EPSILON);
    check_signs(u, rank, rows);
    assert_ok(otimes_factored_norm(factored(p), &norm_of_core, &err), &err);
    assert_at_most(fabs(norm_of_core - norm(&p->dense)), allowed(p, 4));
    assert_at_most(fabs(otimes_norm_of_singular_values(s, rank) - norm(&p->dense)), allowed(p, 4));
    free(s);
    free(alone);
    free(u);
    free(v);
    free(rebuilt);
}

static void singular_values_and_norm(void **state)
{
    (void)state;
    for_all(check_svd);
}

/* Fewer components are the first of all. */
static void leading_components(void **state)
{
    (void)state;
    specimen_pair p = make_pair(&(shape){20, 6, 15}, FULL);
    double s[6], u[6 * 20], v[6 * 15], first_u[2 * 20], first_v[2 * 15];
    otimes_err err = {0};
    assert_ok(otimes_factored_svd(factored(&p), s, 6, u, v, &err), &err);
    assert_ok(otimes_factored_svd(factored(&p), s, 2, first_u, first_v, &err), &err);
    for (int i = 0; i < 40; i++) {
        assert_at_most(fabs(u[i] - first_u[i]), 1e-13);
    }
    for (int i = 0; i < 30; i++) {
        assert_at_most(fabs(v[i] - first_v[i]), 1e-13);
    }
    drop_pair(&p);
}

/* ---- eigenvalues ---- */

/* Every eigenvalue of the dense product has one of the factored product near it, and the others of
 * the longer list are zero. */
static void check_eigenvalues(const specimen_pair *p)
{
    const int64_t n = p->a.rows, rank = p->a.rank;
    if (n != p->b.rows) {
        return;
    }
    double *inner = new_doubles(rank * rank), *re = new_doubles(rank), *im = new_doubles(rank);
    double *all_re = new_doubles(n), *all_im = new_doubles(n), trace = NAN, sum = 0,
           dense_trace = 0;
    matrix spent = copy_of(&p->dense);
    otimes_err err = {0};
    otimes_factored_inner(factored(p), inner);
    assert_ok(otimes_inner_eigenvalues(rank, inner, re, im, &trace, &err), &err);
    assert_int_equal(otimes_la_reference.deig(n, spent.d, spent.ld, all_re, all_im), 0);
    /* Defective clusters at zero move by the root of eps; well separated ones do not. */
    const double near = sqrt(DBL_EPSILON) * 40 * (norm(&p->dense) + allowed(p, 1));
    for (int64_t i = 0; i < (rank > n ? rank : n); i++) {
        const double x = i < rank ? re[i] : 0, y = i < rank ? im[i] : 0;
        double best = i < n ? INFINITY : hypot(x, y);
        for (int64_t j = 0; j < n; j++) {
            best = fmin(best, hypot(x - all_re[j], y - all_im[j]));
        }
        assert_at_most(best, near);
        sum += x;
        assert_true(i == 0 || i >= rank ||
                    hypot(re[i], im[i]) <= hypot(re[i - 1], im[i - 1]) * (1 + 1e-12));
    }
    for (int64_t i = 0; i < n; i++) {
        dense_trace += at(&p->dense, i, i);
    }
    assert_at_most(fabs(trace - dense_trace), allowed(p, 2));
    assert_at_most(fabs(sum - dense_trace), allowed(p, 32));
    free(inner);
    free(re);
    free(im);
    free(all_re);
    free(all_im);
    drop(&spent);
}

static void eigenvalues_of_the_inner_product(void **state)
{
    (void)state;
    for_all(check_eigenvalues);
}

static void positivity(void **state)
{
    (void)state;
    const double re[] = {3, -1, 2, 2}, im[] = {4, 0, 1, -1}, none[4] = {0};
    assert_at_most(fabs(otimes_positivity(re, im, 4) - 6 / (5 + 1 + 2 * sqrt(5))), 1e-15);
    assert_true(otimes_positivity(re, none, 1) == 1 && otimes_positivity(re + 1, none, 1) == -1);
    assert_true(isnan(otimes_positivity(none, none, 4)) && isnan(otimes_positivity(NULL, NULL, 0)));
}

/* ---- apply, compose, map ---- */

static void check_apply(const specimen_pair *p)
{
    enum { COUNT = 5 };
    const int64_t rows = p->a.rows, cols = p->b.rows;
    double *x = new_doubles(COUNT * rows), *y = new_doubles(COUNT * cols);
    double *scratch = new_doubles(COUNT * p->a.rank), x_norm = 0;
    for (int64_t i = 0; i < COUNT * rows; i++) {
        x[i] = normal();
        x_norm = hypot(x_norm, x[i]);
    }
    for (int64_t count = 0; count <= COUNT; count += 1 + COUNT / 2) {
        otimes_factored_apply(factored(p), count, x, scratch, y);
        for (int64_t i = 0; i < count * cols; i++) {
            long double sum = 0;
            for (int64_t k = 0; k < rows; k++) {
                sum += (long double)x[i / cols * rows + k] * at(&p->dense, k, i % cols);
            }
            assert_at_most((double)fabsl(sum - y[i]), allowed(p, 2) * x_norm);
        }
    }
    free(x);
    free(y);
    free(scratch);
}

static void applied_to_rows(void **state)
{
    (void)state;
    for_all(check_apply);
}

/* (A1 B1^T)(A2 B2^T), of two ranks: M1 [m, n] M2 [n, p]. */
static void check_compose(int64_t m, int64_t r1, int64_t n, int64_t r2, int64_t q, int filling)
{
    specimen_pair first = make_pair(&(shape){m, r1, n}, filling);
    specimen_pair second = make_pair(&(shape){n, r2, q}, FULL);
    otimes_side left;
    otimes_err err = {0};
    assert_ok(otimes_factored_compose(&left, factored(&first), factored(&second), &err), &err);
    assert_true(left.rows == m && left.rank == r2 && left.r_rows == (m < r2 ? m : r2));
    double *out = new_doubles(m * q);
    otimes_factored_product((otimes_factored){&left, &second.b}, out);
    for (int64_t i = 0; i < m * q; i++) {
        long double sum = 0;
        for (int64_t k = 0; k < n; k++) {
            sum += (long double)at(&first.dense, i / q, k) * at(&second.dense, k, i % q);
        }
        assert_at_most((double)fabsl(sum - out[i]),
                       allowed(&first, 1) * allowed(&second, 1) / DBL_EPSILON);
    }
    free(out);
    otimes_side_free(&left);
    drop_pair(&first);
    drop_pair(&second);
}

static void composed(void **state)
{
    (void)state;
    for (int filling = 0; filling < FILLINGS; filling++) {
        check_compose(6, 3, 6, 3, 6, filling);
        check_compose(5, 2, 7, 4, 3, filling);
        check_compose(3, 8, 4, 9, 2, filling);
        check_compose(1, 1, 1, 1, 1, filling);
        check_compose(30, 4, 31, 5, 32, filling);
    }
}

static void mapped_and_extended(void **state)
{
    (void)state;
    enum { ROWS = 4, D = 7, RANK = 3 };
    otimes_side side = make_side(D, RANK, FULL, false), mapped;
    otimes_err err = {0};
    double f[ROWS * D];
    for (int i = 0; i < ROWS * D; i++) {
        f[i] = normal();
    }
    assert_ok(otimes_side_map(&mapped, ROWS, f, &side, &err), &err);
    assert_true(mapped.rows == ROWS && mapped.rank == RANK && mapped.r_rows == RANK);
    for (int i = 0; i < ROWS * RANK; i++) {
        double sum = 0;
        for (int k = 0; k < D; k++) {
            sum += f[i / RANK * D + k] * side.x[k * RANK + i % RANK];
        }
        assert_at_most(fabs(sum - mapped.x[i]), 1e-14);
    }
    const float last[RANK] = {1, 2, 3};
    double before[D * RANK];
    memcpy(before, side.x, sizeof before);
    assert_ok(otimes_side_append_row(&side, last, &err), &err);
    assert_ok(otimes_side_append_row(&side, NULL, &err), &err);
    assert_int_equal(side.rows, D + 2);
    assert_memory_equal(side.x, before, sizeof before);
    for (int j = 0; j < RANK; j++) {
        assert_true(side.x[D * RANK + j] == (double)last[j] && side.x[(D + 1) * RANK + j] == 0);
    }
    factorise(&side);
    otimes_side_free(&side);
    otimes_side_free(&side);
    otimes_side_free(&mapped);
    otimes_side_free(NULL);
}

/* One more row may raise the rank of R where rank exceeded rows. */
static void extended_beyond_its_rank(void **state)
{
    (void)state;
    otimes_side side = make_side(2, 5, FULL, true);
    otimes_err err = {0};
    assert_int_equal(side.r_rows, 2);
    assert_ok(otimes_side_append_row(&side, NULL, &err), &err);
    assert_int_equal(side.r_rows, 3);
    factorise(&side);
    otimes_side_free(&side);
}

static void too_large(void **state)
{
    (void)state;
    const float none = 0;
    otimes_side side;
    otimes_err err = {0};
    assert_int_equal(otimes_side_init(&side, (int64_t)1 << 40, (int64_t)1 << 40, &none, 1, 1, &err),
                     OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "too large"));
    otimes_side_free(&side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(product_transpose_corner),
        cmocka_unit_test(singular_values_and_norm),
        cmocka_unit_test(leading_components),
        cmocka_unit_test(eigenvalues_of_the_inner_product),
        cmocka_unit_test(positivity),
        cmocka_unit_test(applied_to_rows),
        cmocka_unit_test(composed),
        cmocka_unit_test(mapped_and_extended),
        cmocka_unit_test(extended_beyond_its_rank),
        cmocka_unit_test(too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
