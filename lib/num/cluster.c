/* SPDX-License-Identifier: MIT */
#include "num/cluster.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"

/* One merge, in the order in which the chain meets it. A cluster lives in the slot of its lowest
 * item. */
typedef struct merge {
    double height;
    int64_t made;    /* this merge's number */
    int64_t part[2]; /* below n: items; else n + number of a merge */
    int64_t size;
} merge;

typedef struct job {
    int64_t n;
    otimes_linkage linkage;
    double *distance; /* [n, n] of the clusters in the slots, symmetric */
    int64_t *live;    /* slots in use, ascending */
    int64_t live_count;
    int64_t *size, *id; /* [n] of the cluster in a slot; id as merge.part */
    int64_t *chain;     /* each slot the nearest neighbour of the one before */
    merge *merges;
    int64_t *row_of; /* [n - 1] where a merge stands once sorted */
} job;

static int fill(job *w, const double *distance, int64_t ld, otimes_err *err)
{
    for (int64_t i = 0; i < w->n; i++) {
        w->live[i] = w->id[i] = i;
        w->size[i] = 1;
        for (int64_t j = i + 1; j < w->n; j++) {
            const double x = distance[i * ld + j];
            if (!isfinite(x)) {
                return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                                   "clustering: distance [%lld, %lld]: expected a finite number, "
                                   "got %g",
                                   (long long)i, (long long)j, x);
            }
            w->distance[i * w->n + j] = w->distance[j * w->n + i] = x;
        }
    }
    w->live_count = w->n;
    return OTIMES_OK;
}

/* The slot nearest to slot i: of equal ones `preferred` (-1: none), which ends the chain, then the
 * lowest. */
static int64_t nearest(const job *w, int64_t i, int64_t preferred)
{
    const double *distance = w->distance + i * w->n;
    int64_t best = preferred;
    double least = preferred < 0 ? INFINITY : distance[preferred];
    for (int64_t k = 0; k < w->live_count; k++) {
        const int64_t j = w->live[k];
        if (distance[j] < least && j != i) {
            least = distance[j];
            best = j;
        }
    }
    return best;
}

/* Distance to the union of clusters a and b. The mean is held between both whatever its rounding:
 * no merge then brings clusters closer, exactly, and on that the chain and the order of heights
 * rest. */
static double joined(const job *w, double to_a, double to_b, int64_t a, int64_t b)
{
    const double least = to_a < to_b ? to_a : to_b, most = to_a < to_b ? to_b : to_a;
    switch (w->linkage) {
    case OTIMES_LINKAGE_SINGLE:
        return least;
    case OTIMES_LINKAGE_COMPLETE:
        return most;
    case OTIMES_LINKAGE_AVERAGE:
        break;
    }
    const double na = (double)w->size[a], nb = (double)w->size[b];
    const double mean = (na * to_a + nb * to_b) / (na + nb);
    return mean < least ? least : mean > most ? most : mean;
}

static void drop_slot(job *w, int64_t slot)
{
    int64_t kept = 0;
    for (int64_t k = 0; k < w->live_count; k++) {
        if (w->live[k] != slot) {
            w->live[kept++] = w->live[k];
        }
    }
    w->live_count = kept;
}

/* Merges the clusters of slots a < b into a. */
static void join(job *w, int64_t a, int64_t b, int64_t made)
{
    w->merges[made] = (merge){.height = w->distance[a * w->n + b],
                              .made = made,
                              .part = {w->id[a], w->id[b]},
                              .size = w->size[a] + w->size[b]};
    drop_slot(w, b);
    for (int64_t k = 0; k < w->live_count; k++) {
        const int64_t j = w->live[k];
        if (j != a) {
            double *to_a = w->distance + j * w->n + a;
            *to_a = joined(w, *to_a, w->distance[j * w->n + b], a, b);
            w->distance[a * w->n + j] = *to_a;
        }
    }
    w->size[a] += w->size[b];
    w->id[a] = w->n + made;
}

/* Two clusters that are each other's nearest may be merged at once: for these linkages no later
 * merge brings either closer to anything. */
static void merge_all(job *w)
{
    int64_t length = 0;
    for (int64_t made = 0; made + 1 < w->n;) {
        if (length == 0) {
            w->chain[length++] = w->live[0];
        }
        const int64_t last = w->chain[length - 1], before = length > 1 ? w->chain[length - 2] : -1;
        const int64_t next = nearest(w, last, before);
        if (next != before) {
            w->chain[length++] = next;
            continue;
        }
        length -= 2;
        join(w, last < before ? last : before, last < before ? before : last, made++);
    }
}

/* Total, and a cluster behind its parts: they are no higher and were made before. */
static int by_height(const void *left, const void *right)
{
    const merge *a = left, *b = right;
    return a->height != b->height ? (a->height > b->height) - (a->height < b->height)
                                  : (a->made > b->made) - (a->made < b->made);
}

static void write_tree(job *w, double *tree)
{
    qsort(w->merges, (size_t)(w->n - 1), sizeof *w->merges, by_height);
    for (int64_t row = 0; row + 1 < w->n; row++) {
        const merge *m = &w->merges[row];
        double *out = tree + row * OTIMES_TREE_COLUMNS, part[2];
        w->row_of[m->made] = row;
        for (int side = 0; side < 2; side++) {
            const int64_t id = m->part[side];
            part[side] = (double)(id < w->n ? id : w->n + w->row_of[id - w->n]);
        }
        out[0] = part[0] < part[1] ? part[0] : part[1];
        out[1] = part[0] < part[1] ? part[1] : part[0];
        out[2] = m->height;
        out[3] = (double)m->size;
    }
}

int otimes_cluster(int64_t n, const double *distance, int64_t ld, otimes_linkage linkage,
                   double *tree, otimes_err *err)
{
    job w = {.n = n, .linkage = linkage};
    otimes_pool pool = {0};
    int64_t entries;
    if (n < 2) {
        return OTIMES_OK;
    }
    int rc = otimes_mul_i64(n, n, &entries)
                 ? OTIMES_OK
                 : otimes_fail(err, OTIMES_ERR_MEMORY, "clustering: too many distances");
    w.distance = otimes_pool_new(&pool, entries, sizeof *w.distance, &rc, err);
    w.live = otimes_pool_new(&pool, n, sizeof *w.live, &rc, err);
    w.size = otimes_pool_new(&pool, n, sizeof *w.size, &rc, err);
    w.id = otimes_pool_new(&pool, n, sizeof *w.id, &rc, err);
    w.chain = otimes_pool_new(&pool, n, sizeof *w.chain, &rc, err);
    w.merges = otimes_pool_new(&pool, n, sizeof *w.merges, &rc, err);
    w.row_of = otimes_pool_new(&pool, n, sizeof *w.row_of, &rc, err);
    rc = rc == OTIMES_OK ? fill(&w, distance, ld, err) : rc;
    if (rc == OTIMES_OK) {
        merge_all(&w);
        write_tree(&w, tree);
    }
    otimes_pool_free(&pool);
    return rc;
}
