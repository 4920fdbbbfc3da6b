/* SPDX-License-Identifier: MIT
 *
 * What two models' heads would give if they lay in the space at random: values that hold for all pairs
 * of full rank.
 */
#include <math.h>
#include <string.h>

#include "analysis/compare_job.h"
#include "num/la.h"

enum { SAMPLES = 64, SEED = 1 };

static int side_expected(const compare_job *job, int side, int64_t p, int64_t q, double dimension,
                         bool haar, compare_expected *e, otimes_err *err)
{
    const int64_t d = (int64_t)dimension, n = p < q ? p : q;
    if (job->measures & OTIMES_COMPARE_KERNEL) {
        e->kernel[side] = (double)p * (double)q / (dimension * (double)n);
    }
    if (!(job->measures & OTIMES_COMPARE_ANGLES) || !haar || p > d || q > d) {
        return OTIMES_OK;
    }
    otimes_estimate largest, average;
    const int rc = otimes_haar_angles(d, p, q, SAMPLES, SEED, &largest, &average, NULL, err);
    if (rc == OTIMES_OK) {
        e->largest[side] = largest.mean;
        e->mean[side] = average.mean;
    }
    return rc;
}

/* values [min of rows] = root mean square over heads of the singular values of W / |W|. */
static int mean_spectrum(const compare_model *m, int c, double *values, otimes_err *err)
{
    const int64_t l = m->side[compare_left[c]].rows, r = m->side[compare_right[c]].rows;
    const int64_t n = l < r ? l : r;
    const compare_circuit *w = &m->circuit[c];
    int64_t counted = 0;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    double *copy = otimes_pool_new(&pool, l * r, sizeof *copy, &rc, err);
    double *own = otimes_pool_new(&pool, n, sizeof *own, &rc, err);
    memset(values, 0, (size_t)n * sizeof *values);
    for (int64_t i = 0; rc == OTIMES_OK && i < m->nodes; i++) {
        if (!(w->norm[i] > 0)) {
            continue;
        }
        memcpy(copy, w->core + i * l * r, (size_t)(l * r) * sizeof *copy);
        rc = otimes_la_default->dsvd(l, r, copy, r, own, NULL, n, NULL, n);
        rc = rc == OTIMES_OK ? rc : otimes_fail(err, rc, "SVD: %s", otimes_strerror(rc));
        for (int64_t k = 0; rc == OTIMES_OK && k < n; k++) {
            values[k] += own[k] * own[k] / (w->norm[i] * w->norm[i]);
        }
        counted++;
    }
    for (int64_t k = 0; k < n; k++) {
        values[k] = counted ? sqrt(values[k] / (double)counted) : 0;
    }
    otimes_pool_free(&pool);
    return rc;
}

static int circuit_expected(const compare_model *a, const compare_model *b,
                            const compare_bridge *bridge, int c, double *expected, otimes_err *err)
{
    const int64_t d = (int64_t)bridge->dimension[compare_left[c]];
    int64_t n[2];
    const compare_model *const both[2] = {a, b};
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    double *values[2] = {NULL, NULL};
    for (int k = 0; k < 2; k++) {
        const int64_t l = both[k]->side[compare_left[c]].rows;
        const int64_t r = both[k]->side[compare_right[c]].rows;
        n[k] = l < r ? l : r;
        values[k] = otimes_pool_new(&pool, n[k], sizeof(double), &rc, err);
        if (rc == OTIMES_OK) {
            rc = mean_spectrum(both[k], c, values[k], err);
        }
    }
    if (rc == OTIMES_OK && n[0] <= d && n[1] <= d && values[0][0] > 0 && values[1][0] > 0) {
        otimes_estimate estimate;
        rc = otimes_haar_procrustes(d, n[0], values[0], n[1], values[1], true, SAMPLES, SEED,
                                    &estimate, err);
        *expected = rc == OTIMES_OK ? estimate.mean : NAN;
    }
    otimes_pool_free(&pool);
    return rc;
}

int otimes_compare_expected(compare_job *job, const compare_model *a, const compare_model *b,
                            const compare_bridge *bridge, otimes_err *err)
{
    compare_expected *e = &job->expected;
    int rc = OTIMES_OK;
    for (int x = 0; x < OTIMES_SIDES; x++) {
        e->kernel[x] = e->largest[x] = e->mean[x] = NAN;
        if (rc == OTIMES_OK) {
            rc = side_expected(job, x, a->side[x].rows, b->side[x].rows, bridge->dimension[x],
                               bridge->haar, e, err);
        }
    }
    for (int c = 0; c < COMPARE_CIRCUITS; c++) {
        e->procrustes[c] = NAN;
        if (rc == OTIMES_OK && bridge->haar && (job->measures & OTIMES_COMPARE_PROCRUSTES)) {
            rc = circuit_expected(a, b, bridge, c, &e->procrustes[c], err);
        }
    }
    return rc;
}
