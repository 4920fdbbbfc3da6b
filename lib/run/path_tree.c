/* SPDX-License-Identifier: MIT */
#include "run/path_tree.h"

#include <math.h>

int otimes_path_tree_init(otimes_path_tree *tree, int64_t wanted, otimes_err *err)
{
    *tree = (otimes_path_tree){.wanted = wanted};
    return otimes_path_tree_add(tree, -1, -1, 0, INFINITY, err);
}

void otimes_path_tree_free(otimes_path_tree *tree)
{
    otimes_free(tree->node);
    otimes_free(tree->found);
    *tree = (otimes_path_tree){0};
}

int otimes_path_tree_add(otimes_path_tree *tree, int32_t parent, int32_t link, int32_t order,
                         float bound, otimes_err *err)
{
    const int rc = OTIMES_GROW(&tree->node, tree->count, &tree->capacity, err);
    if (rc == OTIMES_OK) {
        tree->node[tree->count++] = (otimes_path_node){parent, link, order, bound};
    }
    return rc;
}

static int length_of(const otimes_path_tree *tree, int32_t node)
{
    int length = 0;
    for (; tree->node[node].parent >= 0; node = tree->node[node].parent) {
        length++;
    }
    return length;
}

/* Whether a goes before b: by falling modulus; ties: the offset, fewer links, lower links from the
 * source on, lower source. */
static bool precedes(const otimes_path_tree *tree, const otimes_path_found *a,
                     const otimes_path_found *b)
{
    const double size_a = fabs(a->value), size_b = fabs(b->value);
    if (size_a != size_b) {
        return size_a > size_b;
    }
    const int length_a = length_of(tree, a->node), length_b = length_of(tree, b->node);
    if (length_a != length_b) {
        return length_a < length_b;
    }
    int32_t x = a->node, y = b->node;
    while (x != y) {
        if (tree->node[x].link != tree->node[y].link) {
            return tree->node[x].link < tree->node[y].link;
        }
        x = tree->node[x].parent;
        y = tree->node[y].parent;
    }
    return a->source < b->source;
}

/* found[at] may stand too high in a heap of `count`: the last in order is on top. */
static void sink(otimes_path_tree *tree, int64_t at, int64_t count)
{
    otimes_path_found *found = tree->found;
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && precedes(tree, &found[child], &found[child + 1])) {
            child++;
        }
        if (!precedes(tree, &found[at], &found[child])) {
            return;
        }
        const otimes_path_found swap = found[at];
        found[at] = found[child];
        found[child] = swap;
    }
}

static void order_heap(otimes_path_tree *tree)
{
    for (int64_t i = tree->found_count / 2; i-- > 0;) {
        sink(tree, i, tree->found_count);
    }
}

int otimes_path_tree_offer(otimes_path_tree *tree, double value, int32_t node, int32_t source,
                           otimes_err *err)
{
    const otimes_path_found path = {value, node, source};
    if (tree->found_count == tree->wanted) {
        if (tree->wanted > 0 && precedes(tree, &path, &tree->found[0])) {
            tree->found[0] = path;
            sink(tree, 0, tree->found_count);
        }
        return OTIMES_OK;
    }
    const int rc = OTIMES_GROW(&tree->found, tree->found_count, &tree->found_capacity, err);
    if (rc == OTIMES_OK) {
        tree->found[tree->found_count++] = path;
        if (tree->found_count == tree->wanted) {
            order_heap(tree);
        }
    }
    return rc;
}

double otimes_path_tree_floor(const otimes_path_tree *tree)
{
    return tree->wanted > 0 && tree->found_count == tree->wanted ? fabs(tree->found[0].value) : 0;
}

static void sort(otimes_path_tree *tree)
{
    order_heap(tree);
    for (int64_t end = tree->found_count - 1; end > 0; end--) {
        const otimes_path_found swap = tree->found[0];
        tree->found[0] = tree->found[end];
        tree->found[end] = swap;
        sink(tree, 0, end);
    }
}

static void write_one(const otimes_path_tree *tree, const otimes_path_found *found, int64_t i,
                      otimes_path_list *paths)
{
    int32_t *link = paths->link + i * paths->links;
    int64_t at = 0;
    for (int32_t n = found->node; tree->node[n].parent >= 0; n = tree->node[n].parent) {
        link[at++] = tree->node[n].link;
    }
    while (at < paths->links) {
        link[at++] = -1;
    }
    paths->source[i] = found->source;
    paths->order[i] = tree->node[found->node].order;
    paths->value[i] = found->value;
}

int otimes_path_tree_list(otimes_path_tree *tree, otimes_path_list *paths, otimes_err *err)
{
    const int64_t count = tree->found_count;
    int64_t cells = 0;
    int rc = OTIMES_OK;
    sort(tree);
    paths->links = 1;
    for (int64_t i = 0; i < count; i++) {
        const int64_t length = length_of(tree, tree->found[i].node);
        paths->links = length > paths->links ? length : paths->links;
    }
    if (!otimes_mul_i64(count, paths->links, &cells)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "paths: too many");
    }
    paths->source = otimes_pool_new(&paths->pool, count, sizeof *paths->source, &rc, err);
    paths->order = otimes_pool_new(&paths->pool, count, sizeof *paths->order, &rc, err);
    paths->link = otimes_pool_new(&paths->pool, cells, sizeof *paths->link, &rc, err);
    paths->value = otimes_pool_new(&paths->pool, count, sizeof *paths->value, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        write_one(tree, &tree->found[i], i, paths);
    }
    paths->count = rc == OTIMES_OK ? count : 0;
    return rc;
}
