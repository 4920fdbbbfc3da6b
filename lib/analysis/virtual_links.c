/* SPDX-License-Identifier: MIT
 *
 * Pairs of heads. With W_OV = U S Y^T of every head the chain h1 .. hn is
 *   U1 Z Yn^T,  Z = S1 K12 K23 ... K(n-1)n,  Kij = Yi^T Uj Sj  [rank, rank],
 * so that each further head costs one small product and |chain| = |Z|. No continuation multiplies
 * the norm by more than the largest singular value of its links:
 *   reach[0][i] = 1,  reach[a][i] = max over later j of sigma_1(Kij) reach[a - 1][j].
 */
#include <math.h>
#include <string.h>

#include "analysis/virtual_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/la.h"

#define MOST_LINK_BYTES (INT64_C(8) << 30)

double *otimes_virtual_link_of(const virtual_job *job, int64_t i, int64_t j)
{
    const int64_t H = job->head_count, n = job->nodes, layer = i / H;
    const int64_t later = n - (layer + 1) * H;
    /* heads of the layers before: H times (n - H) + (n - 2 H) + ... */
    const int64_t before = H * (layer * n - H * (layer * (layer + 1) / 2));
    const int64_t pair = before + i % H * later + j - (layer + 1) * H;
    return job->link + pair * job->rank * job->rank;
}

/* Kij into link, its Frobenius norm behind S_i into the table, its largest singular value. */
static int make_link(virtual_job *job, int64_t i, int64_t j, double *link, double *scratch,
                     otimes_err *err)
{
    const int64_t r = job->rank, d = job->info->d_model;
    double squares = 0;
    otimes_la_default->dgemm(false, true, r, r, d, 1.0, job->write + i * r * d, d,
                             job->read + j * r * d, d, 0.0, link, r);
    for (int64_t a = 0; a < r; a++) {
        for (int64_t b = 0; b < r; b++) {
            link[a * r + b] *= job->sigma[j * r + b] / job->unit[j];
            const double z = job->sigma[i * r + a] * link[a * r + b];
            squares += z * z;
        }
    }
    job->pair_norm[i * job->nodes + j] = sqrt(squares) * job->unit[j];
    if (!job->link) {
        return OTIMES_OK;
    }
    memcpy(scratch, link, (size_t)(r * r) * sizeof *link);
    double *values = scratch + r * r;
    const int rc = otimes_la_default->dsvd(r, r, scratch, r, values, NULL, r, NULL, r);
    if (rc != OTIMES_OK) {
        return otimes_fail(err, rc, "SVD of a link: %s", otimes_strerror(rc));
    }
    job->link_largest[i * job->nodes + j] = r > 0 ? values[0] : 0;
    return OTIMES_OK;
}

typedef struct links_part {
    virtual_job *job;
    int64_t first; /* node */
} links_part;

static int links_of_node(void *context, int64_t item, int worker, otimes_err *err)
{
    const links_part *part = context;
    virtual_job *job = part->job;
    const int64_t r = job->rank, i = part->first + item;
    double *scratch;
    int rc = OTIMES_NEW(&scratch, 2 * r * r + r, err);
    (void)worker;
    for (int64_t j = otimes_virtual_later(job, i); rc == OTIMES_OK && j < job->nodes; j++) {
        double *link = job->link ? otimes_virtual_link_of(job, i, j) : scratch + r * r + r;
        rc = make_link(job, i, j, link, scratch, err);
    }
    otimes_free(scratch);
    return rc;
}

static int new_links(virtual_job *job, otimes_err *err)
{
    const int64_t n = job->nodes, H = job->head_count, layers = job->layer_count;
    int64_t pairs = H * H * (layers * (layers - 1) / 2), bytes;
    const int64_t each = job->rank * job->rank * (int64_t)sizeof(double);
    if (!otimes_mul_i64(pairs, each, &bytes) ||
        bytes > MOST_LINK_BYTES) { /* unreached: takes a model larger than tests have */
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "length: chains of more than two heads: expected at most %lld bytes of "
                           "links between heads, got %lld pairs of %lld; choose layers or heads",
                           (long long)MOST_LINK_BYTES, (long long)pairs, (long long)each);
    }
    int rc = OTIMES_OK;
    job->link =
        otimes_pool_new(&job->pool, pairs * job->rank * job->rank, sizeof *job->link, &rc, err);
    job->link_largest = otimes_pool_new(&job->pool, n * n, sizeof(double), &rc, err);
    job->reach = otimes_pool_new(&job->pool, job->length * n, sizeof(double), &rc, err);
    return rc;
}

static void measure_reach(virtual_job *job)
{
    const int64_t n = job->nodes;
    for (int64_t a = 0; a < job->length; a++) {
        const double *next = a > 0 ? job->reach + (a - 1) * n : NULL;
        for (int64_t i = 0; i < n; i++) {
            double most = a == 0 ? 1 : -INFINITY; /* no such chain */
            for (int64_t j = otimes_virtual_later(job, i); a > 0 && j < n; j++) {
                const double through = job->link_largest[i * n + j] * next[j];
                most = through > most ? through : most;
            }
            job->reach[a * n + i] = most;
        }
    }
}

int otimes_virtual_links(virtual_job *job, otimes_err *err)
{
    enum { PART = 16 }; /* nodes between two words about progress */
    const int64_t n = job->nodes;
    int rc = OTIMES_OK;
    job->pair_norm = otimes_pool_new(&job->pool, n * n, sizeof *job->pair_norm, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < n * n; i++) {
        job->pair_norm[i] = NAN;
    }
    if (rc == OTIMES_OK && job->length > 2) {
        rc = new_links(job, err);
    }
    for (int64_t first = 0; rc == OTIMES_OK && first < n; first += PART) {
        const int64_t count = n - first < PART ? n - first : PART;
        links_part part = {job, first};
        rc = otimes_par_for(count, job->model->threads, links_of_node, &part, err);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, 1 + (double)(first + count) / (double)n, 4, err);
        }
    }
    if (rc == OTIMES_OK && job->length > 2) {
        measure_reach(job);
    }
    return rc;
}
