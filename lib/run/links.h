/* SPDX-License-Identifier: MIT
 *
 * Links through the residual stream: how much of what one part of a model writes another reads. For a
 * writer L [., d] (rows: what it reads; columns: the stream) and a reader R [d, .]
 *   score = |L R|_F / (|L|_F |R|_F)
 * Elhage et al. 2021, A Mathematical Framework for Transformer Circuits, "composition". Both enter as
 * forms on the stream, G_L = L^T L / |L|^2 and G_R = R R^T / |R|^2, of trace 1: score^2 = <G_L, G_R>.
 *
 * Two ways to all pairs. By cores: |root_L^T B_L B_R^T root_R|_F, 2 rank^2 d flops a pair. By Grams:
 * with the trace taken away, score^2 = 1/D + <G_L', G_R'>, one product of symmetric matrices written
 * as vectors, d^2 flops a pair, for many pairs at once; cut into blocks of the d x d matrices, so that
 * none is ever whole. Sums are float within a block and double between blocks, relative to what the
 * score exceeds its baseline by; scores so far below the baseline that this loses digits are done again
 * by cores.
 */
#ifndef OTIMES_RUN_LINKS_H
#define OTIMES_RUN_LINKS_H

#include <stdbool.h>

#include "base/err.h"

/* A writer or a reader: G = B^T (root root^T) B of trace 1. A zeroed one links with nothing: NaN. */
typedef struct otimes_link_end {
    const float *basis; /* B [rank, d] orthonormal rows; NULL: the identity, rank d */
    int64_t rank, depth;
    const float *root; /* [rank, depth], Frobenius norm 1 */
    const float *core; /* [rank, rank] root root^T; may be NULL where all goes by cores */
    double spread;     /* |G - I/D|_F in the space of dimension D */
    double place;      /* a writer is read by readers of a greater place */
} otimes_link_end;

typedef enum otimes_link_route {
    OTIMES_LINKS_CHEAPEST, /* by the flops that each takes */
    OTIMES_LINKS_BY_CORES,
    OTIMES_LINKS_BY_GRAMS
} otimes_link_route;

typedef struct otimes_links {
    int64_t d_model;
    bool
        centred; /* writers and readers all lack the mean direction: D = d_model - 1, else d_model */
    const otimes_link_end *writer, *reader;
    int64_t writers, readers;
    otimes_link_route route;
    int threads;
    int (*tick)(void *context, double share, otimes_err *err); /* may be NULL */
    void *context;
} otimes_links;

/* A root [rank, depth] in double, scaled to norm 1 and rounded into root (and core [rank, rank] where
 * not NULL); *norm is what it was. Of a zero root nothing is set but *norm = 0. OTIMES_ERR_MEMORY. */
int otimes_link_end_make(int64_t rank, int64_t depth, const double *exact, int64_t dimension,
                         float *root, float *core, otimes_link_end *end, double *norm,
                         otimes_err *err);

/* square [writers, readers] = score^2, NaN where the writer is not before the reader. Spreads and
 * places must be set. The same bits at any number of threads. OTIMES_ERR_MEMORY, what tick returns. */
int otimes_links_compute(const otimes_links *links, double *square, otimes_err *err);

/* The route that otimes_links_compute takes, and the flops of each (may be NULL). */
otimes_link_route otimes_links_plan(const otimes_links *links, double *by_cores, double *by_grams);

/* What random subspaces give for score^2: mean 1/D, and a deviation of
 *   spread_L spread_R sqrt(2 / ((D - 1)(D + 2))),
 * since <G_L', U G_R' U^T> with Haar U is a product with a random direction of the traceless symmetric
 * matrices. So z is the correlation of the two times sqrt((D - 1)(D + 2) / 2). NaN where D < 2 or a
 * spread is 0. */
double otimes_link_z(int64_t dimension, const otimes_link_end *writer,
                     const otimes_link_end *reader, double square);

#endif
