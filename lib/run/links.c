/* SPDX-License-Identifier: MIT */
#include "run/links.h"

#include "base/mem.h"
#include "num/la.h"
#include "run/links_job.h"

/* By Grams a score^2 errs by some eps of its spreads' product; below this share of them it is done again
 * by cores. test_links holds every score to 1e-5 of itself. */
static const double least_share = 2e-3;

int otimes_link_end_make(int64_t rank, int64_t depth, const double *exact, int64_t dimension,
                         float *root, float *core, otimes_link_end *end, double *norm,
                         otimes_err *err)
{
    double sum = 0, square = 0, *gram;
    for (int64_t i = 0; i < rank * depth; i++) {
        sum += exact[i] * exact[i];
    }
    *norm = sqrt(sum);
    if (!(*norm > 0)) {
        return OTIMES_OK;
    }
    const int rc = OTIMES_NEW(&gram, rank * rank, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_la_default->dgemm(false, true, rank, rank, depth, 1 / sum, exact, depth, exact, depth,
                             0.0, gram, rank);
    for (int64_t i = 0; i < rank * rank; i++) {
        square += gram[i] * gram[i];
        if (core) {
            core[i] = (float)gram[i];
        }
    }
    for (int64_t i = 0; i < rank * depth; i++) {
        root[i] = (float)(exact[i] / *norm);
    }
    otimes_free(gram);
    square -= 1 / (double)dimension;
    end->rank = rank;
    end->depth = depth;
    end->root = root;
    end->core = core;
    end->spread = square > 0 ? sqrt(square) : 0;
    return OTIMES_OK;
}

/* ---- which way ---- */

static double core_flops(const otimes_links *links)
{
    const double d = (double)links->d_model;
    double flops = 0;
    for (int64_t i = 0; i < links->writers; i++) {
        const otimes_link_end *w = &links->writer[i];
        const float *last = NULL;
        flops += 2 * (double)(w->rank * w->depth) * d;
        for (int64_t j = 0; j < links->readers; j++) {
            const otimes_link_end *r = &links->reader[j];
            if (otimes_link_exists(w, r)) {
                flops += r->basis && r->basis != last ? 2 * (double)(w->depth * r->rank) * d : 0;
                flops += 2 * (double)(w->depth * r->rank) * (double)r->depth;
                last = r->basis;
            }
        }
    }
    return flops;
}

otimes_link_route otimes_links_plan(const otimes_links *links, double *by_cores, double *by_grams)
{
    const double cores = core_flops(links), grams = otimes_links_gram_flops(links);
    if (by_cores) {
        *by_cores = cores;
    }
    if (by_grams) {
        *by_grams = grams;
    }
    if (links->route != OTIMES_LINKS_CHEAPEST) {
        return links->route;
    }
    return grams < cores ? OTIMES_LINKS_BY_GRAMS : OTIMES_LINKS_BY_CORES;
}

/* ---- all pairs ---- */

static bool is_small(const otimes_links *links, const double *square, int64_t writer,
                     int64_t reader)
{
    const double spreads = links->writer[writer].spread * links->reader[reader].spread;
    return square[writer * links->readers + reader] < least_share * spreads;
}

static void blank(const otimes_links *links, double *square)
{
    for (int64_t i = 0; i < links->writers; i++) {
        for (int64_t j = 0; j < links->readers; j++) {
            if (!otimes_link_exists(&links->writer[i], &links->reader[j])) {
                square[i * links->readers + j] = NAN;
            }
        }
    }
}

int otimes_links_compute(const otimes_links *links, double *square, otimes_err *err)
{
    const bool grams = otimes_links_plan(links, NULL, NULL) == OTIMES_LINKS_BY_GRAMS;
    int rc = OTIMES_OK;
    if (grams) {
        rc = otimes_links_by_grams(links, square, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_links_by_cores(links, grams ? is_small : NULL, square, err);
    }
    if (rc == OTIMES_OK) {
        blank(links, square);
    }
    return rc;
}

double otimes_link_z(int64_t dimension, const otimes_link_end *writer,
                     const otimes_link_end *reader, double square)
{
    const double d = (double)dimension;
    const double deviation = writer->spread * reader->spread * sqrt(2 / ((d - 1) * (d + 2)));
    return dimension >= 2 && deviation > 0 ? (square - 1 / d) / deviation : NAN;
}
