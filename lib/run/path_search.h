/* SPDX-License-Identifier: MIT
 *
 * Paths through a pass made linear: a source, then links in ascending layers (heads, and MLPs where
 * these are links), then the target. Each is worth a number, and the sum over all is the target's.
 *
 * For one target position q and links that are heads, a path is A ⊗ B with a single row of A: what
 * a chain of heads does to the adjoint of the target is the outer product of
 *   alpha [n]      = e_q^T A^hn diag(1/s) ... A^h1 diag(1/s)      (positions)
 *   beta [d_model] = N W_V^h1 W_O^h1 ... N W_V^hn W_O^hn direction  (features)
 * so that a link costs n^2/2 + 2 d_model d_head multiplications instead of n times that, and a
 * source x [n, d_model] is worth alpha^T x beta. With MLPs as links the adjoint is a full [n, d_model].
 */
#ifndef OTIMES_RUN_PATH_SEARCH_H
#define OTIMES_RUN_PATH_SEARCH_H

#include "run/linear.h"

/* Link number l * n_heads + h is a head, n_layers * n_heads + l an MLP. */
typedef struct otimes_path_list {
    int64_t count;
    int64_t links;    /* width of `link` */
    int32_t *source;  /* [count] of linear->source; -1: the target's offset, a path of its own */
    int32_t *order;   /* [count] heads that it goes through */
    int32_t *link;    /* [count, links] from the source on; -1 beyond */
    double *value;    /* [count] by falling modulus; ties: fewer links, lower links, lower source */
    double bound;     /* no path that is not listed (of at most max_order heads) is worth more than
                         this in modulus */
    bool complete;    /* the list is exact: these are the largest there are */
    int64_t expanded; /* chains whose continuations were all looked at */
    int64_t valued;   /* paths whose value was computed */
    double total;     /* paths of at most max_order heads, and the offset unless it is 0 */
    otimes_pool pool;
} otimes_path_list;

typedef struct otimes_path_settings {
    int64_t count;     /* largest paths wanted; 0: all of them (otimes_paths_all) */
    int64_t max_order; /* heads of a path at most; -1: any number */
    int64_t budget;    /* chains that are expanded at most; 0: until the list is exact */
    double seconds; /* likewise of wall time; 0: any. Where it ends the search, two runs differ */
    const bool *layers; /* [n_layers] whose heads may be links; NULL: all. MLPs always may */
    /* Called now and then with the share done, as far as it can be told; non-zero stops with it. */
    int (*tick)(void *context, double share, otimes_err *err);
    void *context;
} otimes_path_settings;

/* The number of paths of at most max_order heads (-1: any), exact up to 2^53, without the target's
 * offset. NaN where memory lacks. */
double otimes_paths_total(const otimes_linear *linear, int64_t max_order, const bool *layers);

/* The `count` largest by best-first search from the target back, with an admissible bound on what
 * any continuation is worth. Paths worth exactly 0 may be left out. While links are heads, an
 * expansion takes d_model (heads below * d_head + n * sources) multiplications; with MLPs as links
 * an adjoint sweep of the layers below, under looser bounds. Released by otimes_paths_free in any
 * case. OTIMES_ERR_MEMORY, what tick returned, OTIMES_ERR_ARGUMENT. */
int otimes_paths_search(otimes_linear *linear, const otimes_linear_target *target,
                        const otimes_path_settings *settings, otimes_path_list *paths,
                        otimes_err *err);

/* All paths of at most max_order heads. OTIMES_ERR_ARGUMENT, with their number, for more than
 * `limit`. */
int otimes_paths_all(otimes_linear *linear, const otimes_linear_target *target,
                     const otimes_path_settings *settings, int64_t limit, otimes_path_list *paths,
                     otimes_err *err);

void otimes_paths_free(otimes_path_list *paths);

/* For each path in turn carried [n] := what it brings from each source position, zeros for the target's
 * offset; the sum is its value. Errors: OTIMES_ERR_MEMORY, what visit returned, the pulse's. */
typedef int (*otimes_path_visit)(void *context, int64_t path, const double *carried,
                                 otimes_err *err);
int otimes_path_positions(otimes_linear *linear, const otimes_linear_target *target,
                          const otimes_path_list *paths, otimes_path_visit visit, void *context,
                          otimes_err *err);

#endif
