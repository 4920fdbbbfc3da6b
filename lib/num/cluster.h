/* SPDX-License-Identifier: MIT
 *
 * Hierarchical clustering and the order in which to draw what was clustered.
 */
#ifndef OTIMES_NUM_CLUSTER_H
#define OTIMES_NUM_CLUSTER_H

#include "base/err.h"

/* The distance of two clusters: the least, the largest or the mean distance of their members. */
typedef enum otimes_linkage {
    OTIMES_LINKAGE_SINGLE,
    OTIMES_LINKAGE_COMPLETE,
    OTIMES_LINKAGE_AVERAGE
} otimes_linkage;

enum { OTIMES_TREE_COLUMNS = 4 };

/* Merges the two closest clusters until one is left. distance [n, n], row-major with ld >= n: the
 * part above the diagonal is read; any finite numbers. tree [n - 1, 4] in the form of scipy's
 * linkage(): row k makes cluster n + k of clusters (0), (1), the lower id first, at height (2), of
 * (3) items; ids below n are the items. Heights never fall.
 *
 * By chains of nearest neighbours (Murtagh 1983; Müllner 2011, arXiv 1109.2378), equal distances by
 * the lower index: where distances are tied, the tree is one of those that merging the closest pair
 * can give. Distances of merged clusters by Lance and Williams 1967.
 * Cost: about 3 n^2 operations; memory 8 n^2 bytes. n below 2: nothing is written.
 * OTIMES_ERR_ARGUMENT: a distance that is NaN or infinite. OTIMES_ERR_MEMORY. */
int otimes_cluster(int64_t n, const double *distance, int64_t ld, otimes_linkage linkage,
                   double *tree, otimes_err *err);

/* The leaves of a tree of otimes_cluster from left to right, the child with the lower id first,
 * into order [n]. OTIMES_ERR_MEMORY. */
int otimes_tree_order(int64_t n, const double *tree, int64_t *order, otimes_err *err);

/* Of the 2^(n-1) orders that flipping the children of clusters gives, one with the least sum of
 * distances of neighbours (Bar-Joseph, Gifford and Jaakkola 2001, "Fast optimal leaf ordering for
 * hierarchical clustering"), the end with the lower index first.
 * *sum, where not NULL: that sum. Cost: at most n^3 operations, n^3 / 3 for a balanced tree (about
 * a second for n = 2000); memory 16 n^2 bytes. Beyond some thousands take otimes_tree_order.
 * OTIMES_ERR_MEMORY. */
int otimes_tree_order_optimal(int64_t n, const double *distance, int64_t ld, const double *tree,
                              int64_t *order, double *sum, otimes_err *err);

#endif
