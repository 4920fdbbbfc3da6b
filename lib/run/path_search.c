/* SPDX-License-Identifier: MIT
 *
 * Best-first search from the target back. Each chain of links waits in a queue under a bound on
 * what any path through it is worth. Expanding it values the paths that end there, one for each
 * source, and puts its continuations into the queue. Once the largest bound is below the least
 * value of a full list, the list is exact; wherever the search stops, no path that is not listed
 * exceeds the larger of the two.
 *
 * Chains are expanded in batches of a fixed size and looked at in their order, so that the result
 * does not depend on the number of threads. A chain keeps a few bytes; its suffix is made anew
 * from its nearest ancestor in a cache.
 */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/par.h"
#include "model/model.h"
#include "run/path_tree.h"

enum {
    CACHE_BYTES = 64 << 20,
    MOST_CHAINS = 100000000, /* kept at a time: the search stops here as at a budget */
    TICKS = 4                /* batches between two */
};

typedef struct search {
    otimes_path_engine engine;
    const otimes_path_settings *settings;
    otimes_path_tree tree;
    int32_t *queue; /* a heap of nodes, the largest bound on top */
    int64_t waiting, capacity;
    int64_t slots;
    int32_t *owner; /* [slots] node + 1 */
    float *cache;   /* [slots, state] */
    float *states;  /* [OTIMES_PATH_BATCH, state] */
    float *between; /* [workers, 2, state] */
    int32_t *chain; /* [workers, longest + 1] */
    double *value, *bound;
    int32_t batch[OTIMES_PATH_BATCH];
    int64_t batched;
    int64_t expanded, valued;
    struct timespec begin;
    otimes_pool pool;
} search;

/* ---- the queue ---- */

static bool goes_first(const search *s, int32_t a, int32_t b)
{
    const float x = s->tree.node[a].bound, y = s->tree.node[b].bound;
    return x != y ? x > y : a < b;
}

static int push(search *s, int32_t node, otimes_err *err)
{
    const int rc = OTIMES_GROW(&s->queue, s->waiting, &s->capacity, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    int64_t at = s->waiting++;
    for (; at > 0 && goes_first(s, node, s->queue[(at - 1) / 2]); at = (at - 1) / 2) {
        s->queue[at] = s->queue[(at - 1) / 2];
    }
    s->queue[at] = node;
    return OTIMES_OK;
}

static int32_t pop(search *s)
{
    const int32_t top = s->queue[0], last = s->queue[--s->waiting];
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < s->waiting; at = child) {
        if (child + 1 < s->waiting && goes_first(s, s->queue[child + 1], s->queue[child])) {
            child++;
        }
        if (!goes_first(s, s->queue[child], last)) {
            break;
        }
        s->queue[at] = s->queue[child];
    }
    s->queue[at] = last;
    return top;
}

static double largest_bound(const search *s)
{
    return s->waiting ? (double)s->tree.node[s->queue[0]].bound : 0;
}

/* ---- suffixes ---- */

static const float *cached(const search *s, int32_t node)
{
    const int64_t slot = node % s->slots;
    return s->owner[slot] == node + 1 ? s->cache + slot * s->engine.state : NULL;
}

/* The suffix of batch[item] into its place. */
static int make_state(void *context, int64_t item, int worker, otimes_err *err)
{
    search *s = context;
    otimes_path_engine *engine = &s->engine;
    const int64_t size = engine->state;
    int32_t *chain = s->chain + worker * (engine->longest + 1);
    int64_t length = 0;
    int rc = OTIMES_OK;
    int32_t node = s->batch[item];
    const float *from = NULL;
    float *to = s->states + item * size, *spare = s->between + worker * 2 * size;
    while (!(from = cached(s, node)) && s->tree.node[node].parent >= 0) {
        chain[length++] = node;
        node = s->tree.node[node].parent;
    }
    if (!from) {
        engine->ops->root(engine, length ? spare + size : to);
        from = length ? spare + size : to;
    }
    while (rc == OTIMES_OK && length > 0) {
        length--;
        float *next = length == 0 ? to : (from == spare ? spare + size : spare);
        rc = engine->ops->step(engine, from, s->tree.node[chain[length]].link, worker, next, err);
        from = next;
    }
    if (rc == OTIMES_OK && from != to) { /* unreached: no chain is expanded twice */
        memcpy(to, from, (size_t)size * sizeof *to);
    }
    return rc;
}

static int make_states(search *s, otimes_err *err)
{
    const int threads = s->engine.ops->parallel ? s->engine.linear->model->threads : 1;
    const int rc = otimes_par_for(s->batched, threads, make_state, s, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < s->batched; i++) {
        const int64_t slot = s->batch[i] % s->slots;
        s->owner[slot] = s->batch[i] + 1;
        memcpy(s->cache + slot * s->engine.state, s->states + i * s->engine.state,
               (size_t)s->engine.state * sizeof *s->cache);
    }
    return rc;
}

/* ---- expansion ---- */

static int offer_values(search *s, int64_t i, otimes_err *err)
{
    const otimes_path_engine *engine = &s->engine;
    const int64_t sources = engine->linear->source_count;
    const int32_t reader = s->tree.node[s->batch[i]].link;
    int rc = OTIMES_OK;
    for (int64_t x = 0; rc == OTIMES_OK && x < sources; x++) {
        if (otimes_path_reads_source(engine, reader, x)) {
            rc = otimes_path_tree_offer(&s->tree, s->value[i * sources + x], s->batch[i],
                                        (int32_t)x, err);
            s->valued++;
        }
    }
    return rc;
}

static int add_children(search *s, int64_t i, otimes_err *err)
{
    const otimes_path_engine *engine = &s->engine;
    const otimes_path_node own = s->tree.node[s->batch[i]];
    const double floor = otimes_path_tree_floor(&s->tree);
    int rc = OTIMES_OK;
    for (int64_t link = 0; rc == OTIMES_OK && link < engine->links; link++) {
        const bool head = otimes_path_is_head(engine, link);
        double bound = s->bound[i * engine->links + link];
        bound = bound < (double)own.bound ? bound : (double)own.bound;
        if (!(bound > 0) || bound < floor) {
            continue;
        }
        rc = otimes_path_tree_add(&s->tree, s->batch[i], (int32_t)link, own.order + head,
                                  (float)(bound * (1 + 1e-6)), err);
        if (rc == OTIMES_OK) {
            rc = push(s, (int32_t)(s->tree.count - 1), err);
        }
    }
    return rc;
}

static int expand(search *s, otimes_err *err)
{
    otimes_path_engine *engine = &s->engine;
    int64_t reader[OTIMES_PATH_BATCH], left[OTIMES_PATH_BATCH];
    for (int64_t i = 0; i < s->batched; i++) {
        const otimes_path_node *node = &s->tree.node[s->batch[i]];
        reader[i] = node->link;
        left[i] = engine->max_order < 0 ? -1 : engine->max_order - node->order;
    }
    int rc = make_states(s, err);
    if (rc == OTIMES_OK) {
        rc = engine->ops->values(engine, s->batched, s->states, reader,
                                 otimes_path_tree_floor(&s->tree), s->value, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < s->batched; i++) {
        rc = offer_values(s, i, err);
    }
    if (rc == OTIMES_OK) {
        rc = engine->ops->bounds(engine, s->batched, s->states, reader, left, s->bound, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < s->batched; i++) {
        rc = add_children(s, i, err);
    }
    s->expanded += s->batched;
    return rc;
}

/* ---- the search ---- */

static bool is_exact(const search *s)
{
    return s->waiting == 0 || largest_bound(s) < otimes_path_tree_floor(&s->tree);
}

static double seconds_since(const struct timespec *begin)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin->tv_sec) + 1e-9 * (double)(now.tv_nsec - begin->tv_nsec);
}

static bool is_spent(const search *s)
{
    const otimes_path_settings *settings = s->settings;
    return (settings->budget > 0 && s->expanded >= settings->budget) ||
           (settings->seconds > 0 && seconds_since(&s->begin) >= settings->seconds) ||
           s->tree.count > MOST_CHAINS;
}

static double share_done(const search *s)
{
    const otimes_path_settings *settings = s->settings;
    const double top = largest_bound(s), floor = otimes_path_tree_floor(&s->tree);
    double share = top > floor ? floor / top : 1;
    if (settings->budget > 0 && share < (double)s->expanded / (double)settings->budget) {
        share = (double)s->expanded / (double)settings->budget;
    }
    if (settings->seconds > 0 && share < seconds_since(&s->begin) / settings->seconds) {
        share = seconds_since(&s->begin) / settings->seconds;
    }
    return share < 1 ? share : 1;
}

static void take_batch(search *s)
{
    const int64_t budget = s->settings->budget;
    const double floor = otimes_path_tree_floor(&s->tree);
    const int64_t left = budget > 0 ? budget - s->expanded : OTIMES_PATH_BATCH;
    s->batched = 0;
    while (s->batched < OTIMES_PATH_BATCH && s->batched < left && s->waiting &&
           largest_bound(s) >= floor) {
        s->batch[s->batched++] = pop(s);
    }
}

/* Of all paths, which are no fewer than chains: the embedding is read through each of them. */
static int make_room(search *s, double paths, otimes_err *err)
{
    const otimes_path_engine *engine = &s->engine;
    const int64_t size = engine->state;
    const int64_t fit = CACHE_BYTES / (size * (int64_t)sizeof(float));
    int rc = OTIMES_OK;
    s->slots = fit > 2 * OTIMES_PATH_BATCH ? fit : 2 * OTIMES_PATH_BATCH;
    if (paths + 1 < (double)s->slots) {
        s->slots = (int64_t)paths + 1;
    }
    s->owner = otimes_pool_new(&s->pool, s->slots, sizeof *s->owner, &rc, err);
    s->cache = otimes_pool_new(&s->pool, s->slots * size, sizeof *s->cache, &rc, err);
    s->states = otimes_pool_new(&s->pool, OTIMES_PATH_BATCH * size, sizeof(float), &rc, err);
    s->between = otimes_pool_new(&s->pool, 2 * engine->workers * size, sizeof(float), &rc, err);
    s->chain = otimes_pool_new(&s->pool, engine->workers * (engine->longest + 1), sizeof(int32_t),
                               &rc, err);
    s->value = otimes_pool_new(&s->pool, OTIMES_PATH_BATCH * engine->linear->source_count,
                               sizeof(double), &rc, err);
    s->bound =
        otimes_pool_new(&s->pool, OTIMES_PATH_BATCH * engine->links, sizeof(double), &rc, err);
    return rc;
}

static int run(search *s, otimes_err *err)
{
    int rc = otimes_path_tree_init(&s->tree, s->settings->count, err);
    if (rc == OTIMES_OK && s->engine.target->offset != 0) {
        rc = otimes_path_tree_offer(&s->tree, s->engine.target->offset, 0, -1, err);
    }
    if (rc == OTIMES_OK) {
        rc = push(s, 0, err);
    }
    for (int64_t turn = 0; rc == OTIMES_OK && !is_exact(s) && !is_spent(s); turn++) {
        take_batch(s);
        rc = expand(s, err);
        if (rc == OTIMES_OK && s->settings->tick && turn % TICKS == 0) {
            rc = s->settings->tick(s->settings->context, share_done(s), err);
        }
    }
    return rc;
}

static int report(search *s, otimes_path_list *paths, otimes_err *err)
{
    const double top = largest_bound(s), floor = otimes_path_tree_floor(&s->tree);
    paths->complete = is_exact(s);
    paths->bound = !paths->complete && top > floor ? top : floor;
    paths->expanded = s->expanded;
    paths->valued = s->valued;
    paths->total += s->engine.target->offset != 0;
    return otimes_path_tree_list(&s->tree, paths, err);
}

int otimes_paths_search(otimes_linear *linear, const otimes_linear_target *target,
                        const otimes_path_settings *settings, otimes_path_list *paths,
                        otimes_err *err)
{
    *paths = (otimes_path_list){0};
    if (settings->count == 0) {
        return otimes_paths_all(linear, target, settings, MOST_CHAINS, paths, err);
    }
    search s = {.settings = settings};
    clock_gettime(CLOCK_MONOTONIC, &s.begin);
    int rc = otimes_path_engine_open(&s.engine, linear, target, settings, true, err);
    if (rc == OTIMES_OK) {
        rc = otimes_path_count(linear, settings->max_order, settings->layers, &paths->total, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_room(&s, paths->total, err);
    }
    if (rc == OTIMES_OK) {
        rc = run(&s, err);
    }
    if (rc == OTIMES_OK) {
        rc = report(&s, paths, err);
    }
    otimes_free(s.queue);
    otimes_path_tree_free(&s.tree);
    otimes_pool_free(&s.pool);
    otimes_path_engine_close(&s.engine);
    return rc;
}

void otimes_paths_free(otimes_path_list *paths)
{
    otimes_pool_free(&paths->pool);
    *paths = (otimes_path_list){0};
}
