/* SPDX-License-Identifier: MIT
 *
 * Orders of a tree's leaves.
 *
 * In the plain order each cluster is a run of places, its children one after the other, so that the
 * search for the best order is loops over runs of matrices whose rows and columns are places.
 */
#include <math.h>
#include <stdbool.h>

#include "num/cluster.h"

#include "base/mem.h"

/* Places [begin, middle) and [middle, end) of a cluster's children. */
typedef struct run {
    int64_t begin, middle, end;
} run;

static int64_t size_of(int64_t n, const double *tree, int64_t id)
{
    return id < n ? 1 : (int64_t)tree[(id - n) * OTIMES_TREE_COLUMNS + 3];
}

/* Runs of the clusters from the last merge, the whole, to the first; leaves into their places. */
static void lay_out(int64_t n, const double *tree, run *runs, int64_t *order)
{
    if (n == 1) {
        order[0] = 0;
    }
    for (int64_t row = n - 2; row >= 0; row--) { /* a cluster stands behind its parts */
        const double *merge = tree + row * OTIMES_TREE_COLUMNS;
        run *r = &runs[row];
        r->begin = row == n - 2 ? 0 : r->begin;
        r->middle = r->begin + size_of(n, tree, (int64_t)merge[0]);
        r->end = r->begin + (int64_t)merge[3];
        for (int side = 0; side < 2; side++) {
            const int64_t id = (int64_t)merge[side], place = side ? r->middle : r->begin;
            if (id < n) {
                order[place] = id;
            } else {
                runs[id - n].begin = place;
            }
        }
    }
}

int otimes_tree_order(int64_t n, const double *tree, int64_t *order, otimes_err *err)
{
    run *runs = NULL;
    int rc = OTIMES_NEW(&runs, n, err);
    if (rc == OTIMES_OK) {
        lay_out(n, tree, runs, order);
    }
    otimes_free(runs);
    return rc;
}

typedef struct job {
    int64_t n;
    run *runs;
    const double *tree;
    double *distance; /* [n, n] by places */
    double *best;     /* [n, n] the least sum of an order of i's and j's lowest common cluster whose
                         ends are i and j; 0 on the diagonal: a cluster of one leaf */
    double *half;     /* [begin .. middle, middle .. end] see join */
} job;

/* Places that can be the other end of child `side` of cluster `row` when `place` is one end: those
 * of the child's own other child. */
static void other_ends(const job *w, int64_t row, int side, int64_t place, int64_t *from,
                       int64_t *to)
{
    const int64_t id = (int64_t)w->tree[row * OTIMES_TREE_COLUMNS + side];
    if (id < w->n) {
        *from = place;
        *to = place + 1;
        return;
    }
    const run *r = &w->runs[id - w->n];
    *from = place < r->middle ? r->middle : r->begin;
    *to = place < r->middle ? r->end : r->middle;
}

/* to[j] = min(to[j], add + from[j]) */
static void lower(int64_t count, double *restrict to, double add, const double *restrict from)
{
    for (int64_t j = 0; j < count; j++) {
        const double sum = add + from[j];
        to[j] = sum < to[j] ? sum : to[j];
    }
}

/* best(i, j) over i in one child and j in the other, by way of half(i, l): the least sum with ends
 * i and l where l, in the other child, is but the neighbour of the first child's inner end. */
static void join(job *w, int64_t row)
{
    const run *r = &w->runs[row];
    const int64_t n = w->n, right = r->end - r->middle;
    int64_t from, to;
    for (int64_t i = r->begin; i < r->middle; i++) {
        double *half = w->half, *best = w->best + i * n + r->middle;
        for (int64_t l = 0; l < right; l++) {
            half[l] = best[l] = INFINITY;
        }
        other_ends(w, row, 0, i, &from, &to);
        for (int64_t k = from; k < to; k++) {
            lower(right, half, w->best[i * n + k], w->distance + k * n + r->middle);
        }
        for (int64_t l = r->middle; l < r->end; l++) {
            other_ends(w, row, 1, l, &from, &to);
            lower(to - from, best + (from - r->middle), half[l - r->middle],
                  w->best + l * n + from);
        }
        for (int64_t j = r->middle; j < r->end; j++) {
            w->best[j * n + i] = w->best[i * n + j];
        }
    }
}

/* Where an order of cluster `row` is cut in two, its ends being i in the first child and j in the
 * second: the inner ends k and l of the least sum, the lower places where sums are equal. */
static void cut(const job *w, int64_t row, int64_t i, int64_t j, int64_t *k, int64_t *l)
{
    int64_t from[2], to[2];
    double least = INFINITY;
    other_ends(w, row, 0, i, &from[0], &to[0]);
    other_ends(w, row, 1, j, &from[1], &to[1]);
    for (int64_t a = from[0]; a < to[0]; a++) {
        for (int64_t b = from[1]; b < to[1]; b++) {
            const double sum =
                w->best[i * w->n + a] + w->distance[a * w->n + b] + w->best[b * w->n + j];
            if (sum < least) {
                least = sum;
                *k = a;
                *l = b;
            }
        }
    }
}

/* A cluster, its ends in order, and where its order goes. */
typedef struct piece {
    int64_t id, first, last, at;
} piece;

/* Writes places in the best order from `first` to `last`. */
static void trace(const job *w, int64_t first, int64_t last, piece *stack, int64_t *places)
{
    int64_t depth = 0;
    stack[depth++] = (piece){2 * w->n - 2, first, last, 0};
    while (depth > 0) {
        const piece p = stack[--depth];
        if (p.id < w->n) {
            places[p.at] = p.first;
            continue;
        }
        const int64_t row = p.id - w->n;
        const run *r = &w->runs[row];
        const bool turned = p.first >= r->middle; /* the second child comes first */
        const int64_t i = turned ? p.last : p.first, j = turned ? p.first : p.last;
        int64_t k = i, l = j;
        cut(w, row, i, j, &k, &l);
        const double *merge = w->tree + row * OTIMES_TREE_COLUMNS;
        const int64_t left = r->middle - r->begin, right = r->end - r->middle;
        stack[depth++] = (piece){(int64_t)merge[0], turned ? k : i, turned ? i : k,
                                 turned ? p.at + right : p.at};
        stack[depth++] =
            (piece){(int64_t)merge[1], turned ? j : l, turned ? l : j, turned ? p.at : p.at + left};
    }
}

/* The ends of the least sum over the whole tree. */
static void best_ends(const job *w, int64_t *first, int64_t *last)
{
    const run *whole = &w->runs[w->n - 2];
    double least = INFINITY;
    for (int64_t i = 0; i < whole->middle; i++) {
        for (int64_t j = whole->middle; j < w->n; j++) {
            if (w->best[i * w->n + j] < least) {
                least = w->best[i * w->n + j];
                *first = i;
                *last = j;
            }
        }
    }
}

static void search(job *w, const double *distance, int64_t ld, const int64_t *plain, piece *stack,
                   int64_t *places, int64_t *order)
{
    int64_t first = 0, last = w->n - 1;
    for (int64_t i = 0; i < w->n; i++) {
        for (int64_t j = 0; j < w->n; j++) {
            const int64_t a = plain[i] < plain[j] ? plain[i] : plain[j],
                          b = plain[i] + plain[j] - a;
            w->distance[i * w->n + j] = a == b ? 0 : distance[a * ld + b];
        }
    }
    for (int64_t row = 0; row + 1 < w->n; row++) {
        join(w, row);
    }
    best_ends(w, &first, &last);
    if (plain[first] > plain[last]) {
        const int64_t end = first;
        first = last;
        last = end;
    }
    trace(w, first, last, stack, places);
    for (int64_t i = 0; i < w->n; i++) {
        order[i] = plain[places[i]];
    }
}

static double sum_along(const int64_t *order, int64_t n, const double *distance, int64_t ld)
{
    double sum = 0;
    for (int64_t i = 0; i + 1 < n; i++) {
        const int64_t a = order[i] < order[i + 1] ? order[i] : order[i + 1];
        sum += distance[a * ld + order[i] + order[i + 1] - a];
    }
    return sum;
}

int otimes_tree_order_optimal(int64_t n, const double *distance, int64_t ld, const double *tree,
                              int64_t *order, double *sum, otimes_err *err)
{
    job w = {.n = n, .tree = tree};
    otimes_pool pool = {0};
    int64_t entries = 0;
    int rc = otimes_mul_i64(n, n, &entries)
                 ? OTIMES_OK
                 : otimes_fail(err, OTIMES_ERR_MEMORY, "order of a tree: too many distances");
    w.runs = otimes_pool_new(&pool, n, sizeof *w.runs, &rc, err);
    w.distance = otimes_pool_new(&pool, entries, sizeof *w.distance, &rc, err);
    w.best = otimes_pool_new(&pool, entries, sizeof *w.best, &rc, err);
    w.half = otimes_pool_new(&pool, n, sizeof *w.half, &rc, err);
    int64_t *plain = otimes_pool_new(&pool, n, sizeof *plain, &rc, err);
    int64_t *places = otimes_pool_new(&pool, n, sizeof *places, &rc, err);
    piece *stack = otimes_pool_new(&pool, n, sizeof *stack, &rc, err);
    if (rc == OTIMES_OK) {
        lay_out(n, tree, w.runs, plain);
        if (n < 2) {
            for (int64_t i = 0; i < n; i++) {
                order[i] = i;
            }
        } else {
            search(&w, distance, ld, plain, stack, places, order);
        }
        if (sum) {
            *sum = sum_along(order, n, distance, ld);
        }
    }
    otimes_pool_free(&pool);
    return rc;
}
