/* SPDX-License-Identifier: MIT
 *
 * Links by both routes against dense products in double; bases and cores; what random subspaces give.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "num/la.h"
#include "num/orthonormal.h"
#include "num/sample.h"
#include "run/links.h"

/* ---- numbers ---- */

static uint64_t drawn;

/* Standard normal, by Box and Muller. */
static double normal(void)
{
    const double u = otimes_uniform_of(7, drawn, 0), v = otimes_uniform_of(7, drawn, 1);
    drawn++;
    return sqrt(-2 * log(1 - u)) * cos(2 * M_PI * v);
}

static double *new_matrix(int64_t rows, int64_t columns)
{
    double *x = calloc((size_t)(rows * columns) + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static double *random_matrix(int64_t rows, int64_t columns)
{
    double *x = new_matrix(rows, columns);
    for (int64_t i = 0; i < rows * columns; i++) {
        x[i] = normal();
    }
    return x;
}

/* C [m, n] = A [m, k] B [k, n], or with B [n, k] transposed. */
static double *product(int64_t m, int64_t k, int64_t n, const double *A, const double *B,
                       bool transposed)
{
    double *C = new_matrix(m, n);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            for (int64_t l = 0; l < k; l++) {
                C[i * n + j] += A[i * k + l] * (transposed ? B[j * k + l] : B[l * n + j]);
            }
        }
    }
    return C;
}

static double norm_of(const double *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum);
}

/* ---- orthonormal bases ---- */

static void check_basis(int64_t rows, int64_t n, const double *x)
{
    const int64_t r = rows < n ? rows : n;
    otimes_err err = {0};
    float *b = calloc((size_t)(r * rows) + 1, sizeof *b);
    double *factor = new_matrix(r, n), scale = norm_of(x, rows * n);
    assert_ok(otimes_orthonormal_rows(rows, n, x, b, factor, &err), &err);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < r; k++) {
                sum += (double)b[k * rows + i] * factor[k * n + j];
            }
            /* entries of B are rounded to float, 6e-8 of at most 1 */
            assert_true(fabs(sum - x[i * n + j]) <= 1.2e-7 * scale);
        }
    }
    for (int64_t i = 0; i < r; i++) {
        for (int64_t j = 0; j < r; j++) {
            double sum = 0;
            for (int64_t k = 0; k < rows; k++) {
                sum += (double)b[i * rows + k] * (double)b[j * rows + k];
            }
            assert_true(fabs(sum - (i == j)) <= 2.4e-7);
        }
    }
    free(b);
    free(factor);
}

static void orthonormal(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1}, {9, 4}, {4, 9}, {70, 64}, {33, 1}, {12, 12}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const int64_t rows = shapes[s][0], n = shapes[s][1];
        double *x = random_matrix(rows, n);
        check_basis(rows, n, x);
        for (int turn = 0; turn < 2; turn++) { /* nearly dependent columns: conditions 1e6, 1e13 */
            for (int64_t i = 0; i < rows; i++) {
                for (int64_t j = 1; j < n; j++) {
                    x[i * n + j] = x[i * n] + (turn ? 1e-7 : 1e-6) * x[i * n + j];
                }
            }
            check_basis(rows, n, x);
        }
        for (int64_t i = 0; i < rows && n > 1; i++) { /* dependent ones, and none at all */
            x[i * n + 1] = 0;
        }
        check_basis(rows, n, x);
        memset(x, 0, (size_t)(rows * n) * sizeof *x);
        check_basis(rows, n, x);
        free(x);
    }
}

/* ---- links ---- */

/* Ends with what they were made of: a form on the stream is X Y^T Y X^T, X [d, e], Y [f, e]. */
typedef struct world {
    int64_t d, count[2];
    bool centred;
    otimes_link_end *end[2]; /* writers, readers */
    double **x, **y, *scale; /* writers, then readers; |X Y^T| */
    int64_t *rank, *rows;    /* e, f */
    otimes_pool pool;
} world;

static int64_t place_of(const world *w, int side, int64_t at)
{
    return side * w->count[0] + at;
}

static void centre(int64_t d, int64_t e, double *x)
{
    for (int64_t j = 0; j < e; j++) {
        double mean = 0;
        for (int64_t i = 0; i < d; i++) {
            mean += x[i * e + j] / (double)d;
        }
        for (int64_t i = 0; i < d; i++) {
            x[i * e + j] -= mean;
        }
    }
}

/* Fills one end from x and y; wide: as a form on the identity. */
static void fill(world *w, int side, int64_t at, double *x, double *y, int64_t e, int64_t f,
                 bool wide, double place)
{
    otimes_err err = {0};
    int rc = OTIMES_OK;
    const int64_t d = w->d, p = place_of(w, side, at), rank = e < d ? e : d;
    otimes_link_end *end = &w->end[side][at];
    double *whole = product(d, e, f, x, y, true), norm;
    w->x[p] = x;
    w->y[p] = y;
    w->rank[p] = e;
    w->rows[p] = f;
    w->scale[p] = norm_of(whole, d * f);
    if (wide) {
        float *root = otimes_pool_new(&w->pool, d * f, sizeof *root, &rc, &err);
        float *core = otimes_pool_new(&w->pool, d * d, sizeof *core, &rc, &err);
        assert_ok(rc, &err);
        *end = (otimes_link_end){.rank = d, .place = place};
        assert_ok(otimes_link_end_make(d, f, whole, d - w->centred, root, core, end, &norm, &err),
                  &err);
    } else {
        float *basis = otimes_pool_new(&w->pool, rank * d, sizeof *basis, &rc, &err);
        float *root = otimes_pool_new(&w->pool, rank * f, sizeof *root, &rc, &err);
        float *core = otimes_pool_new(&w->pool, rank * rank, sizeof *core, &rc, &err);
        double *factor = new_matrix(rank, e);
        assert_ok(rc, &err);
        assert_ok(otimes_orthonormal_rows(d, e, x, basis, factor, &err), &err);
        double *exact = product(rank, e, f, factor, y, true);
        *end = (otimes_link_end){.basis = basis, .rank = rank, .place = place};
        assert_ok(
            otimes_link_end_make(rank, f, exact, d - w->centred, root, core, end, &norm, &err),
            &err);
        free(exact);
        free(factor);
    }
    assert_true(fabs(norm - w->scale[p]) <= 1e-6 * w->scale[p]);
    free(whole);
}

static void new_world(world *w, int64_t d, int64_t writers, int64_t readers, bool centred)
{
    const int64_t all = writers + readers;
    *w = (world){.d = d, .count = {writers, readers}, .centred = centred};
    for (int side = 0; side < 2; side++) {
        w->end[side] = calloc((size_t)w->count[side], sizeof *w->end[side]);
    }
    w->x = calloc((size_t)all, sizeof *w->x);
    w->y = calloc((size_t)all, sizeof *w->y);
    w->scale = new_matrix(all, 1);
    w->rank = calloc((size_t)all, sizeof *w->rank);
    w->rows = calloc((size_t)all, sizeof *w->rows);
}

static void free_world(world *w)
{
    for (int64_t i = 0; i < w->count[0] + w->count[1]; i++) {
        free(w->x[i]);
        free(w->y[i]);
    }
    free(w->end[0]);
    free(w->end[1]);
    free(w->x);
    free(w->y);
    free(w->scale);
    free(w->rank);
    free(w->rows);
    otimes_pool_free(&w->pool);
}

/* Ends with e columns and random spectra, some zero, some wide, and some readers in all but the same
 * span as a writer is: scores far below and far above the baseline. */
static void fill_world(world *w, int64_t e)
{
    const int64_t d = w->d;
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < w->count[side]; i++) {
            const bool wide = i % 11 == 5;
            const int64_t f = wide ? e + 2 : e;
            double *x = random_matrix(d, e), *y = random_matrix(f, e);
            for (int64_t k = 0; k < f * e; k++) {
                y[k] *= exp(-(double)(k % e) * (double)(i % 3)); /* flat and steep spectra */
            }
            if (side == 1 && i % 5 == 3) { /* nothing, or nearly, of what the first writer writes */
                for (int64_t k = 0; k < d; k++) {
                    for (int64_t j = 0; j < e; j++) {
                        x[k * e + j] = k < d / 2 ? (i % 2 ? 1e-4 : 0) * x[k * e + j] : x[k * e + j];
                    }
                }
            }
            if (side == 0 && i % 5 == 0) {
                memset(x + d / 2 * e, 0, (size_t)((d - d / 2) * e) * sizeof *x);
            }
            if (w->centred) { /* each half by itself, so that what is apart stays apart */
                centre(d / 2, e, x);
                centre(d - d / 2, e, x + d / 2 * e);
            }
            if (i % 13 == 7) {
                memset(y, 0, (size_t)(f * e) * sizeof *y);
            }
            fill(w, side, i, x, y, e, f, wide, (double)(side ? i % 7 : i % 6));
        }
    }
}

/* |Y1 X1^T X2 Y2^T| / (|X1 Y1^T| |X2 Y2^T|) */
static double expected(const world *w, int64_t i, int64_t j)
{
    const int64_t a = i, b = place_of(w, 1, j), d = w->d;
    double *cross = new_matrix(w->rank[a], w->rank[b]);
    for (int64_t k = 0; k < d; k++) {
        for (int64_t m = 0; m < w->rank[a]; m++) {
            for (int64_t n = 0; n < w->rank[b]; n++) {
                cross[m * w->rank[b] + n] +=
                    w->x[a][k * w->rank[a] + m] * w->x[b][k * w->rank[b] + n];
            }
        }
    }
    double *left = product(w->rows[a], w->rank[a], w->rank[b], w->y[a], cross, false);
    double *both = product(w->rows[a], w->rank[b], w->rows[b], left, w->y[b], true);
    const double score = norm_of(both, w->rows[a] * w->rows[b]) / (w->scale[a] * w->scale[b]);
    free(cross);
    free(left);
    free(both);
    return score;
}

static double *compute(const world *w, otimes_link_route route, int threads)
{
    otimes_err err = {0};
    double *square = new_matrix(w->count[0], w->count[1]);
    const otimes_links links = {.d_model = w->d,
                                .centred = w->centred,
                                .writer = w->end[0],
                                .reader = w->end[1],
                                .writers = w->count[0],
                                .readers = w->count[1],
                                .route = route,
                                .threads = threads};
    assert_ok(otimes_links_compute(&links, square, &err), &err);
    return square;
}

/* Every pair, whose score must keep five digits; below 1e-6 it has no digits left to keep in weights of
 * float32 and must be that small. */
static void check_links(const world *w, otimes_link_route route)
{
    double *square = compute(w, route, 2), *alone = compute(w, route, 1);
    int64_t seen = 0, near = 0;
    assert_memory_equal(square, alone, (size_t)(w->count[0] * w->count[1]) * sizeof *square);
    for (int64_t i = 0; i < w->count[0]; i++) {
        for (int64_t j = 0; j < w->count[1]; j++) {
            const double got = square[i * w->count[1] + j];
            const bool exists =
                w->end[0][i].root && w->end[1][j].root && w->end[0][i].place < w->end[1][j].place;
            if (!exists) {
                assert_true(isnan(got));
                continue;
            }
            const double want = expected(w, i, j), score = sqrt(got);
            if (!(fabs(score - want) <= 1e-5 * want + 1e-6)) {
                fail_msg("d %lld, %lld -> %lld: %.9g, expected %.9g", (long long)w->d, (long long)i,
                         (long long)j, score, want);
            }
            seen++;
            near += want < 1e-3;
        }
    }
    assert_true(seen > w->count[0] && near > 0);
    free(square);
    free(alone);
}

static void both_routes(void **state)
{
    (void)state;
    static const int64_t shapes[][4] = {
        /* d_model, d_head, writers, readers */
        {8, 3, 9, 12},     {33, 4, 12, 20},   {64, 16, 10, 20},
        {130, 5, 70, 140}, {330, 2, 12, 130}, {5, 5, 8, 30},
    };
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        for (int centred = 0; centred < 2; centred++) {
            world w;
            drawn = 1000 * s;
            new_world(&w, shapes[s][0], shapes[s][2], shapes[s][3], centred);
            fill_world(&w, shapes[s][1]);
            check_links(&w, OTIMES_LINKS_BY_CORES);
            check_links(&w, OTIMES_LINKS_BY_GRAMS);
            free_world(&w);
        }
    }
}

/* Readers that share a basis, as grouped heads' keys do, in runs of bases one behind the other. */
static void shared_bases(void **state)
{
    (void)state;
    enum { D = 40, E = 3, BASES = 20, GROUP = 4 };
    otimes_err err = {0};
    world w;
    float *bases = calloc(BASES * E * D, sizeof *bases);
    double factor[E * E];
    drawn = 5;
    new_world(&w, D, 6, BASES * GROUP, false);
    for (int64_t i = 0; i < 6; i++) {
        fill(&w, 0, i, random_matrix(D, E), random_matrix(E, E), E, E, false, 0);
    }
    for (int64_t b = 0; b < BASES; b++) {
        double *x = random_matrix(D, E);
        assert_ok(otimes_orthonormal_rows(D, E, x, bases + b * E * D, factor, &err), &err);
        for (int64_t g = 0; g < GROUP; g++) {
            double *own = new_matrix(D, E);
            memcpy(own, x, D * E * sizeof *own);
            fill(&w, 1, b * GROUP + g, own, random_matrix(E, E), E, E, false, 1 + (double)(g % 2));
            w.end[1][b * GROUP + g].basis = bases + b * E * D;
        }
        free(x);
    }
    double *cores = compute(&w, OTIMES_LINKS_BY_CORES, 2);
    for (int64_t i = 0; i < 6; i++) {
        for (int64_t j = 0; j < BASES * GROUP; j++) {
            const double want = expected(&w, i, j);
            assert_true(fabs(sqrt(cores[i * BASES * GROUP + j]) - want) <= 1e-5 * want);
        }
    }
    free(cores);
    free_world(&w);
    free(bases);
}

/* X Y^T = (X M) (Y M^-T)^T: the basis that a head's own dimensions are written in changes nothing. */
static void another_basis(void **state)
{
    (void)state;
    enum { D = 48, E = 4, N = 6 };
    world plain, turned;
    new_world(&plain, D, N, N, false);
    new_world(&turned, D, N, N, false);
    drawn = 31;
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < N; i++) {
            /* M = L with ones on the diagonal, M^-T = by substitution: exact up to rounding */
            double *x = random_matrix(D, E), *y = random_matrix(E, E), M[E * E] = {0};
            double *x_turned = new_matrix(D, E), *y_turned = new_matrix(E, E);
            for (int64_t a = 0; a < E * E; a++) {
                M[a] = a / E == a % E ? (double)(1 + a % E) * .5 : a / E > a % E ? normal() : 0;
            }
            for (int64_t k = 0; k < D * E; k++) {
                for (int64_t l = 0; l < E; l++) {
                    x_turned[k] += x[k / E * E + l] * M[l * E + k % E];
                }
            }
            for (int64_t k = 0; k < E; k++) { /* rows z of Y M^-T: M z = y, M lower */
                for (int64_t a = 0; a < E; a++) {
                    double left = y[k * E + a];
                    for (int64_t b = 0; b < a; b++) {
                        left -= M[a * E + b] * y_turned[k * E + b];
                    }
                    y_turned[k * E + a] = left / M[a * E + a];
                }
            }
            fill(&plain, side, i, x, y, E, E, false, side);
            fill(&turned, side, i, x_turned, y_turned, E, E, false, side);
        }
    }
    for (int route = OTIMES_LINKS_BY_CORES; route <= OTIMES_LINKS_BY_GRAMS; route++) {
        double *a = compute(&plain, (otimes_link_route)route, 1);
        double *b = compute(&turned, (otimes_link_route)route, 1);
        for (int64_t i = 0; i < N * N; i++) {
            assert_true(fabs(sqrt(a[i]) - sqrt(b[i])) <= 2e-6 * sqrt(a[i])); /* float sums */
        }
        free(a);
        free(b);
    }
    free_world(&plain);
    free_world(&turned);
}

/* The cheaper way is taken: Grams for many thin... heads, cores for wide streams. */
static void plan(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        enum { N = 300 };
        const int64_t e = wide ? 2 : 48, d = wide ? 4096 : 64;
        static float number;
        otimes_link_end end[2][N];
        for (int i = 0; i < N; i++) {
            end[0][i] = (otimes_link_end){&number, e, e, &number, &number, 1, 0};
            end[1][i] = (otimes_link_end){&number + i, e, e, &number, &number, 1, 1};
        }
        const otimes_links links = {.d_model = d,
                                    .writer = end[0],
                                    .reader = end[1],
                                    .writers = N,
                                    .readers = N,
                                    .threads = 1};
        double cores, grams;
        assert_int_equal(otimes_links_plan(&links, &cores, &grams),
                         wide ? OTIMES_LINKS_BY_CORES : OTIMES_LINKS_BY_GRAMS);
        assert_true(wide ? cores < grams : grams < cores);
    }
}

/* ---- what random subspaces give ---- */

/* Over Haar-random directions and fixed spectra score^2 has mean 1/D, and z mean 0 and deviation 1. */
static void random_subspaces(void **state)
{
    (void)state;
    enum { D = 12, E = 3, N = 60 };
    for (int centred = 0; centred < 2; centred++) {
        world w;
        double mean = 0, square_mean = 0, z_square = 0;
        drawn = 77;
        new_world(&w, D, N, N, centred);
        for (int side = 0; side < 2; side++) {
            for (int64_t i = 0; i < N; i++) {
                /* orthonormal x: Haar directions whose spectrum is y's */
                double *x = random_matrix(D, E), *y = new_matrix(E, E), factor[E * E];
                float basis[E * D];
                otimes_err err = {0};
                if (centred) {
                    centre(D, E, x);
                }
                assert_ok(otimes_orthonormal_rows(D, E, x, basis, factor, &err), &err);
                for (int64_t k = 0; k < E; k++) {
                    y[k * E + k] = 1 / (double)(1 + k * (side + 1));
                    for (int64_t l = 0; l < D; l++) {
                        x[l * E + k] = (double)basis[k * D + l];
                    }
                }
                fill(&w, side, i, x, y, E, E, false, side);
            }
        }
        double *got = compute(&w, OTIMES_LINKS_BY_CORES, 1);
        for (int64_t i = 0; i < N; i++) {
            for (int64_t j = 0; j < N; j++) {
                const double z =
                    otimes_link_z(D - centred, &w.end[0][i], &w.end[1][j], got[i * N + j]);
                square_mean += got[i * N + j] / (N * N);
                mean += z / (N * N);
                z_square += z * z / (N * N);
            }
        }
        /* Pairs of one head depend on one another: the deviation of the mean of z is measured as if
         * there were but N of them, 1/sqrt(N), of which 60 * 60 pairs do far better. */
        assert_true(fabs(mean) <= 4 / sqrt(N * (double)N));
        assert_true(fabs(square_mean * (D - centred) - 1) <= 0.02);
        assert_true(fabs(z_square - 1) <= 0.12);
        free(got);
        free_world(&w);
    }
}

/* Of flat spectra score^2 p q is |U^T V|^2 of p- and q-dimensional subspaces, whose mean and variance
 * over Haar-random ones are p q / d and 2 p q (d-p)(d-q) / (d^2 (d-1)(d+2)). */
static void flat_spectra(void **state)
{
    (void)state;
    static const double sizes[][3] = {{10, 3, 4}, {64, 8, 8}, {5, 1, 4}, {768, 64, 3}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const double d = sizes[i][0], p = sizes[i][1], q = sizes[i][2], square = .37;
        const otimes_link_end writer = {.spread = sqrt(1 / p - 1 / d)};
        const otimes_link_end reader = {.spread = sqrt(1 / q - 1 / d)};
        const double variance = 2 * p * q * (d - p) * (d - q) / (d * d * (d - 1) * (d + 2));
        const double want = (p * q * square - p * q / d) / sqrt(variance);
        const double got = otimes_link_z((int64_t)d, &writer, &reader, square);
        assert_true(fabs(got - want) <= 1e-12 * want);
    }
    const otimes_link_end none = {.spread = 0};
    assert_true(isnan(otimes_link_z(8, &none, &none, .1)));
    assert_true(isnan(otimes_link_z(1, &none, &none, 1)));
}

int main(void)
{
    otimes_set_blas_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orthonormal),  cmocka_unit_test(both_routes),
        cmocka_unit_test(shared_bases), cmocka_unit_test(another_basis),
        cmocka_unit_test(plan),         cmocka_unit_test(random_subspaces),
        cmocka_unit_test(flat_spectra),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
