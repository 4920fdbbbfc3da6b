/* SPDX-License-Identifier: MIT
 *
 * Chains of links from the target back, as a tree, and the largest paths found along it.
 */
#ifndef OTIMES_RUN_PATH_TREE_H
#define OTIMES_RUN_PATH_TREE_H

#include "run/path_engine.h"

typedef struct otimes_path_node {
    int32_t parent; /* -1 of the root */
    int32_t link;   /* the reader that this chain ends in; -1 of the root */
    int32_t order;  /* heads */
    float bound;    /* of whatever goes on through it */
} otimes_path_node;

typedef struct otimes_path_found {
    double value;
    int32_t node;
    int32_t source; /* -1: the offset */
} otimes_path_found;

typedef struct otimes_path_tree {
    otimes_path_node *node;
    int64_t count, capacity;
    otimes_path_found *found; /* a heap, the least on top, once there are `wanted` */
    int64_t found_count, found_capacity, wanted;
} otimes_path_tree;

/* A root. */
int otimes_path_tree_init(otimes_path_tree *tree, int64_t wanted, otimes_err *err);
void otimes_path_tree_free(otimes_path_tree *tree);

int otimes_path_tree_add(otimes_path_tree *tree, int32_t parent, int32_t link, int32_t order,
                         float bound, otimes_err *err);

/* Considers a path. */
int otimes_path_tree_offer(otimes_path_tree *tree, double value, int32_t node, int32_t source,
                           otimes_err *err);

/* What a path must reach to be listed; 0 while there is room. */
double otimes_path_tree_floor(const otimes_path_tree *tree);

/* Sorts what was found, and writes it out. */
int otimes_path_tree_list(otimes_path_tree *tree, otimes_path_list *paths, otimes_err *err);

#endif
