/* SPDX-License-Identifier: MIT
 *
 * What random subspaces give, held against subspaces drawn at random: Gaussian matrices made
 * orthonormal by Gram and Schmidt, singular values by one-sided Jacobi rotations, all in plain
 * loops. A difference of five standard errors is a failure; the numbers are seeded.
 */
#include "la_matrix.h"

#include "num/haar.h"

#include <otimes/common.h>

enum { DRAWS = 3000, SAMPLES = 3000, MOST = 16 };

/* ---- draws ---- */

/* Orthonormal columns [d, k], Haar: R of a Gaussian has a positive diagonal. Twice is enough. */
static void haar(int64_t d, int64_t k, double q[MOST][MOST])
{
    for (int64_t j = 0; j < k; j++) {
        for (int64_t i = 0; i < d; i++) {
            q[i][j] = normal();
        }
        for (int64_t pass = 0; pass < 2 * j; pass++) {
            double dot = 0;
            for (int64_t i = 0; i < d; i++) {
                dot += q[i][pass % j] * q[i][j];
            }
            for (int64_t i = 0; i < d; i++) {
                q[i][j] -= dot * q[i][pass % j];
            }
        }
        double square = 0;
        for (int64_t i = 0; i < d; i++) {
            square += q[i][j] * q[i][j];
        }
        for (int64_t i = 0; i < d; i++) {
            q[i][j] /= sqrt(square);
        }
    }
}

static int falling(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a < b) - (a > b);
}

/* Singular values of a [m, n], falling: rotations make columns orthogonal, in pairs (Hestenes). */
static void singular_values(int64_t m, int64_t n, double a[MOST][MOST], double *values)
{
    for (int sweep = 0; sweep < 30; sweep++) {
        double most = 0;
        for (int64_t x = 0; x < n; x++) {
            for (int64_t y = x + 1; y < n; y++) {
                double xx = 0, yy = 0, xy = 0;
                for (int64_t i = 0; i < m; i++) {
                    xx += a[i][x] * a[i][x];
                    yy += a[i][y] * a[i][y];
                    xy += a[i][x] * a[i][y];
                }
                most = fmax(most, fabs(xy));
                const double angle = 0.5 * atan2(2 * xy, xx - yy);
                for (int64_t i = 0; i < m; i++) {
                    const double left = a[i][x], right = a[i][y];
                    a[i][x] = cos(angle) * left + sin(angle) * right;
                    a[i][y] = cos(angle) * right - sin(angle) * left;
                }
            }
        }
        if (most < 1e-14) {
            break;
        }
    }
    for (int64_t j = 0; j < n; j++) {
        values[j] = 0;
        for (int64_t i = 0; i < m; i++) {
            values[j] += a[i][j] * a[i][j];
        }
        values[j] = sqrt(values[j]);
    }
    qsort(values, (size_t)n, sizeof *values, falling);
}

/* ---- what was drawn, beside what is expected ---- */

typedef struct sample {
    double mean, variance, fourth; /* the last two about the mean */
} sample;

static sample of(const double *x)
{
    sample s = {0};
    for (int i = 0; i < DRAWS; i++) {
        s.mean += x[i] / DRAWS;
    }
    for (int i = 0; i < DRAWS; i++) {
        const double square = (x[i] - s.mean) * (x[i] - s.mean);
        s.variance += square / DRAWS;
        s.fourth += square * square / DRAWS;
    }
    return s;
}

/* The second number of draws is that of the estimate; a closed form has no error of its own. */
static void assert_same(const double *drawn, double mean, double variance, double share)
{
    const sample s = of(drawn);
    assert_at_most(fabs(s.mean - mean), 5 * sqrt(share * variance / DRAWS) + 1e-13);
    const double spread = s.fourth - s.variance * s.variance;
    assert_at_most(fabs(s.variance - variance), 5 * sqrt(share * spread / DRAWS) + 1e-13);
}

static void assert_moments(const double *drawn, otimes_moments expected)
{
    assert_same(drawn, expected.mean, expected.variance, 1);
}

static void assert_estimate(const double *drawn, otimes_estimate estimate)
{
    assert_same(drawn, estimate.mean, estimate.variance, 1 + (double)DRAWS / SAMPLES);
    assert_at_most(fabs(estimate.error - sqrt(estimate.variance / SAMPLES)),
                   1e-15 * estimate.error);
}

/* ---- closed forms ---- */

static void kernels(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{2, 1, 1}, {3, 1, 2}, {3, 2, 2},  {5, 2, 3},
                                       {9, 4, 4}, {9, 8, 7}, {12, 3, 6}, {7, 7, 2}};
    static double drawn[DRAWS];
    for (size_t at_size = 0; at_size < sizeof sizes / sizeof *sizes; at_size++) {
        const int64_t d = sizes[at_size][0], p = sizes[at_size][1], q = sizes[at_size][2];
        for (int k = 0; k < DRAWS; k++) {
            double u[MOST][MOST], v[MOST][MOST];
            haar(d, p, u);
            haar(d, q, v);
            drawn[k] = 0;
            for (int64_t i = 0; i < p * q; i++) {
                double dot = 0;
                for (int64_t x = 0; x < d; x++) {
                    dot += u[x][i / q] * v[x][i % q];
                }
                drawn[k] += dot * dot;
            }
        }
        assert_moments(drawn, otimes_haar_kernel(d, p, q));
    }
    const otimes_moments stated = otimes_haar_kernel(64, 8, 16);
    assert_true(stated.mean == 2);
    assert_at_most(fabs(stated.variance - 2.0 * 8 * 16 * 56 * 48 / (64.0 * 64 * 63 * 66)), 1e-15);
}

static otimes_spectrum_sums sums_of(int64_t count, const double *eigenvalues)
{
    otimes_spectrum_sums sums = {0};
    for (int64_t i = 0; i < count; i++) {
        sums.trace += eigenvalues[i];
        sums.squares += eigenvalues[i] * eigenvalues[i];
    }
    return sums;
}

static const double steep[] = {3, 1, 0.3, 0.2, 0.05, 0.01, 0.001},
                    flat[] = {1, 0.9, 0.9, 0.8, 0.8, 0.7, 0.7};

/* tr(A Q B Q^T) for diagonal A and B, and the CKA of maps diag(a) and Q diag(b), by its definition
 * |X^T Y|^2 / (|X^T X| |Y^T Y|). */
static void traces_and_cka(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{2, 2, 1}, {3, 2, 3}, {7, 7, 7}, {12, 5, 7}};
    static double trace[DRAWS], cka[DRAWS];
    for (size_t at_size = 0; at_size < 4; at_size++) {
        const int64_t d = sizes[at_size][0], p = sizes[at_size][1], q = sizes[at_size][2];
        double norms[2] = {0};
        for (int64_t i = 0; i < p || i < q; i++) {
            norms[0] += i < p ? pow(steep[i], 4) : 0;
            norms[1] += i < q ? pow(flat[i], 4) : 0;
        }
        for (int k = 0; k < DRAWS; k++) {
            double v[MOST][MOST], cross = 0;
            haar(d, d, v);
            trace[k] = 0;
            for (int64_t i = 0; i < p; i++) {
                for (int64_t j = 0; j < q; j++) {
                    const double entry = steep[i] * v[i][j] * flat[j];
                    trace[k] += steep[i] * flat[j] * v[i][j] * v[i][j];
                    cross += entry * entry;
                }
            }
            cka[k] = cross / sqrt(norms[0] * norms[1]);
        }
        assert_moments(trace, otimes_haar_trace(d, sums_of(p, steep), sums_of(q, flat)));
        assert_moments(cka,
                       otimes_haar_cka(d, otimes_gram_sums(p, steep), otimes_gram_sums(q, flat)));
    }
}

static void frobenius_cosines(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{1, 2}, {2, 2}, {3, 5}, {7, 4}};
    static double drawn[DRAWS];
    for (size_t at_size = 0; at_size < 4; at_size++) {
        const int64_t m = sizes[at_size][0], n = sizes[at_size][1];
        double first[MOST][MOST], second[MOST][MOST], squares[2] = {0};
        for (int64_t i = 0; i < m; i++) {
            for (int64_t j = 0; j < n; j++) {
                first[i][j] = (double)(i + 1) * (j == 0 ? 3 : 0.5); /* far from a flat spectrum */
                second[i][j] = i == j ? 1 : 0.2 * (double)j;
                squares[0] += first[i][j] * first[i][j];
                squares[1] += second[i][j] * second[i][j];
            }
        }
        for (int k = 0; k < DRAWS; k++) {
            double left[MOST][MOST], right[MOST][MOST];
            haar(m, m, left);
            haar(n, n, right);
            drawn[k] = 0;
            for (int64_t i = 0; i < m * m; i++) {
                for (int64_t j = 0; j < n * n; j++) {
                    drawn[k] += first[i / m][j / n] * left[i / m][i % m] * second[i % m][j % n] *
                                right[j % n][j / n];
                }
            }
            drawn[k] /= sqrt(squares[0] * squares[1]);
        }
        assert_moments(drawn, otimes_haar_cosine(m, n));
    }
}

static void assert_undefined(otimes_moments m)
{
    assert_true(isnan(m.mean) && isnan(m.variance));
}

static void what_is_not_defined(void **state)
{
    (void)state;
    const otimes_spectrum_sums one = {1, 1}, none = {0, 0};
    otimes_moments m = otimes_haar_kernel(1, 1, 1);
    assert_true(m.mean == 1 && isnan(m.variance) && isnan(otimes_haar_z(m, 1)));
    m = otimes_haar_trace(1, one, one);
    assert_true(m.mean == 1 && isnan(m.variance));
    m = otimes_haar_kernel(5, 5, 2); /* always 2 */
    assert_true(m.mean == 2 && m.variance == 0 && isnan(otimes_haar_z(m, 2)));
    m = otimes_haar_kernel(5, 0, 2);
    assert_true(m.mean == 0 && m.variance == 0);
    assert_undefined(otimes_haar_kernel(5, 6, 2));
    assert_undefined(otimes_haar_kernel(5, 2, -1));
    assert_undefined(otimes_haar_kernel(0, 0, 0));
    assert_undefined(otimes_haar_trace(0, one, one));
    assert_undefined(otimes_haar_cka(4, one, none));
    assert_undefined(otimes_haar_cosine(0, 3));
    assert_true(otimes_haar_z((otimes_moments){2, 4}, 5) == 1.5);
}

/* Values of the normal distribution's tail from tables. */
static void tails(void **state)
{
    (void)state;
    static const double known[][2] = {{0, 0.5},
                                      {1, 0.15865525393145705},
                                      {-1, 0.84134474606854295},
                                      {1.6448536269514722, 0.05},
                                      {10, 7.6198530241605261e-24},
                                      {35, 1.1249107064724062e-268}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_at_most(fabs(otimes_upper_tail(known[i][0]) / known[i][1] - 1), 1e-12);
    }
    assert_true(isnan(otimes_upper_tail(NAN)));
}

/* ---- sampled ---- */

static void principal_angles(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{2, 1, 1}, {8, 1, 3}, {8, 2, 3}, {8, 4, 4},  {5, 2, 3},
                                       {8, 6, 5}, {8, 3, 7}, {8, 8, 3}, {16, 3, 5}, {1, 1, 1}};
    static double drawn[MOST][DRAWS], all[DRAWS];
    for (size_t at_size = 0; at_size < sizeof sizes / sizeof *sizes; at_size++) {
        const int64_t d = sizes[at_size][0], p = sizes[at_size][1], q = sizes[at_size][2];
        const int64_t count = p < q ? p : q;
        otimes_err err = {0};
        otimes_estimate largest, average;
        double cosine[MOST];
        for (int k = 0; k < DRAWS; k++) { /* the first subspace may as well be the first axes */
            double v[MOST][MOST], turned[MOST][MOST], values[MOST];
            haar(d, q, v);
            for (int64_t i = 0; i < p * q; i++) {
                turned[p < q ? i % q : i / q][p < q ? i / q : i % q] = v[i / q][i % q];
            }
            singular_values(p < q ? q : p, count, turned, values);
            all[k] = 0;
            for (int64_t i = 0; i < count; i++) {
                drawn[i][k] = values[i];
                all[k] += values[i] / (double)count;
            }
        }
        assert_int_equal(otimes_haar_angles(d, p, q, SAMPLES, 11, &largest, &average, cosine, &err),
                         OTIMES_OK);
        assert_estimate(drawn[0], largest);
        assert_estimate(all, average);
        assert_true(cosine[0] == largest.mean);
        for (int64_t i = 0; i < count; i++) {
            const sample s = of(drawn[i]);
            assert_at_most(fabs(s.mean - cosine[i]),
                           5 * sqrt((1 + (double)DRAWS / SAMPLES) * s.variance / DRAWS) + 1e-13);
        }
    }
}

/* As the dimensions grow with p / d and q / d fixed, the largest squared cosine goes to the edge
 * (sqrt(x (1 - y)) + sqrt(y (1 - x)))^2 of the limit law (Wachter 1980), from below and with
 * fluctuations of about p^(-2/3); the mean of the squares is q / d exactly. */
static void angles_of_many_dimensions(void **state)
{
    (void)state;
    const int64_t d = 1500, p = 150, q = 250;
    const double x = (double)p / (double)d, y = (double)q / (double)d;
    const double edge = sqrt(x * (1 - y)) + sqrt(y * (1 - x));
    otimes_estimate largest, average;
    otimes_err err = {0};
    static double cosine[150];
    assert_int_equal(otimes_haar_angles(d, p, q, 8, 3, &largest, &average, cosine, &err),
                     OTIMES_OK);
    assert_at_most(fabs(largest.mean * largest.mean - edge * edge), 0.05 * edge * edge);
    double squares = 0;
    for (int64_t i = 0; i < p; i++) {
        squares += cosine[i] * cosine[i] / (double)p;
        assert_true(i == 0 || cosine[i] <= cosine[i - 1]);
    }
    assert_at_most(fabs(squares - y), 0.02 * y); /* the angles hardly move from draw to draw */
}

static void procrustes(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{2, 1, 1}, {8, 2, 3}, {8, 5, 2}, {8, 5, 6},
                                       {7, 7, 7}, {9, 4, 4}, {6, 6, 1}};
    static double drawn[DRAWS];
    for (size_t at_size = 0; at_size < sizeof sizes / sizeof *sizes; at_size++) {
        const int64_t d = sizes[at_size][0], p = sizes[at_size][1], q = sizes[at_size][2];
        const bool normalised = at_size % 2;
        const double size =
            normalised ? sqrt(otimes_gram_sums(p, steep).trace * otimes_gram_sums(q, flat).trace)
                       : 1;
        otimes_err err = {0};
        otimes_estimate estimate;
        for (int k = 0; k < DRAWS; k++) {
            double v[MOST][MOST], cross[MOST][MOST], values[MOST];
            haar(d, q, v);
            for (int64_t i = 0; i < p * q; i++) {
                cross[i / q][i % q] = steep[i / q] * v[i / q][i % q] * flat[i % q];
            }
            singular_values(p, q, cross, values);
            drawn[k] = 0;
            for (int64_t i = 0; i < q; i++) {
                drawn[k] += values[i] / size;
            }
        }
        assert_int_equal(
            otimes_haar_procrustes(d, p, steep, q, flat, normalised, SAMPLES, 5, &estimate, &err),
            OTIMES_OK);
        assert_estimate(drawn, estimate);
    }
}

/* |cos| of two lines in space is even on [0, 1]; of whole spaces nothing is random. */
static void known_procrustes(void **state)
{
    (void)state;
    const double one = 1, ones[] = {1, 1, 1, 1};
    otimes_estimate e;
    assert_int_equal(otimes_haar_procrustes(3, 1, &one, 1, &one, true, 10000, 1, &e, NULL), 0);
    assert_at_most(fabs(e.mean - 0.5), 5 * sqrt(1.0 / 12 / 10000));
    assert_at_most(fabs(e.variance - 1.0 / 12), 5 * sqrt((1.0 / 80 - 1.0 / 144) / 10000));
    assert_int_equal(otimes_haar_procrustes(4, 4, ones, 4, ones, true, 3, 1, &e, NULL), 0);
    assert_at_most(fabs(e.mean - 1), 1e-14);
    assert_at_most(e.variance, 1e-28);
}

static void the_same_for_the_same_seed(void **state)
{
    (void)state;
    otimes_estimate e[3], f[3];
    for (int k = 0; k < 3; k++) {
        assert_int_equal(otimes_haar_angles(9, 3, 4, 20, k == 2, &e[k], NULL, NULL, NULL), 0);
        assert_int_equal(
            otimes_haar_procrustes(9, 3, steep, 4, flat, false, 20, k == 2, &f[k], NULL), 0);
    }
    assert_memory_equal(&e[0], &e[1], sizeof e[0]);
    assert_memory_equal(&f[0], &f[1], sizeof f[0]);
    assert_true(e[0].mean != e[2].mean && f[0].mean != f[2].mean);
    assert_int_equal(otimes_haar_angles(9, 3, 4, 1, 0, NULL, &e[0], NULL, NULL), 0);
    assert_true(e[0].mean > 0 && isnan(e[0].variance) && isnan(e[0].error));
    /* A second sample goes on from the first. */
    assert_int_equal(otimes_haar_angles(9, 3, 4, 2, 0, NULL, &e[1], NULL, NULL), 0);
    const double first = e[0].mean, second = 2 * e[1].mean - first;
    assert_at_most(fabs(e[1].variance - (first - second) * (first - second) / 2), 1e-15);
    assert_true(e[1].variance > 0 && first != second);
}

static void refused(void **state)
{
    (void)state;
    static const int64_t bad[][4] = {{4, 0, 1, 5},  {4, 1, 5, 5}, {4, 5, 1, 5},
                                     {4, 1, -1, 5}, {0, 0, 0, 5}, {4, 1, 1, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        otimes_err err = {0};
        otimes_estimate e;
        const int64_t *b = bad[i];
        assert_int_equal(otimes_haar_angles(b[0], b[1], b[2], b[3], 0, &e, NULL, NULL, &err),
                         OTIMES_ERR_ARGUMENT);
        assert_true(err.msg[0] != '\0');
        assert_int_equal(
            otimes_haar_procrustes(b[0], b[1], steep, b[2], flat, false, b[3], 0, &e, &err),
            OTIMES_ERR_ARGUMENT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels),
        cmocka_unit_test(traces_and_cka),
        cmocka_unit_test(frobenius_cosines),
        cmocka_unit_test(what_is_not_defined),
        cmocka_unit_test(tails),
        cmocka_unit_test(principal_angles),
        cmocka_unit_test(angles_of_many_dimensions),
        cmocka_unit_test(procrustes),
        cmocka_unit_test(known_procrustes),
        cmocka_unit_test(the_same_for_the_same_seed),
        cmocka_unit_test(refused),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
