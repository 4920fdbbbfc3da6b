/* SPDX-License-Identifier: MIT
 *
 * All paths there are: how many, each of them by a walk in depth, and where one comes from.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "num/dot.h"
#include "run/path_tree.h"

/* ---- how many ---- */

/* chains[k] of k heads that end in front of a reader, counted from the source up: paths in front of
 * layer l are the sources there and one more link behind paths in front of lower layers. */
typedef struct counts {
    const otimes_linear *linear;
    const bool *layers;
    int64_t orders;  /* heads at most */
    double *stream;  /* [orders + 1] paths in the stream by the number of their heads */
    double *written; /* [orders + 1] */
} counts;

static void add_sources(counts *c, int64_t layer, bool before_mlp)
{
    for (int64_t s = 0; s < c->linear->source_count; s++) {
        const otimes_linear_source *source = &c->linear->source[s];
        const bool early = source->layer >= 0 && source->mlp_layer == source->layer;
        c->stream[0] += source->layer == layer && early == before_mlp ? 1 : 0;
    }
}

static void count_layer(counts *c, int64_t l)
{
    const otimes_model_info *info = c->linear->info;
    const bool heads = !c->layers || c->layers[l], mlp = otimes_linear_has_mlp(c->linear, l);
    for (int64_t k = 0; k <= c->orders; k++) { /* read before anything is written */
        c->written[k] = info->parallel && mlp ? c->stream[k] : 0;
    }
    for (int64_t k = c->orders; heads && k > 0; k--) {
        c->stream[k] += (double)info->n_heads * c->stream[k - 1];
    }
    add_sources(c, l, true);
    for (int64_t k = 0; k <= c->orders; k++) {
        c->stream[k] += mlp && !info->parallel ? c->stream[k] : c->written[k];
    }
    add_sources(c, l, false);
}

int otimes_path_count(const otimes_linear *linear, int64_t max_order, const bool *layers,
                      double *total, otimes_err *err)
{
    const int64_t n_layers = linear->info->n_layers;
    const int64_t orders = max_order < 0 || max_order > n_layers ? n_layers : max_order;
    counts c = {.linear = linear, .layers = layers, .orders = orders};
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    c.stream = otimes_pool_new(&pool, orders + 1, sizeof(double), &rc, err);
    c.written = otimes_pool_new(&pool, orders + 1, sizeof(double), &rc, err);
    *total = rc == OTIMES_OK ? 0 : NAN;
    if (rc == OTIMES_OK) {
        add_sources(&c, -1, false);
        for (int64_t l = 0; l < n_layers; l++) {
            count_layer(&c, l);
        }
        for (int64_t k = 0; k <= orders; k++) {
            *total += c.stream[k];
        }
    }
    otimes_pool_free(&pool);
    return rc;
}

double otimes_paths_total(const otimes_linear *linear, int64_t max_order, const bool *layers)
{
    double total;
    (void)otimes_path_count(linear, max_order, layers, &total, NULL);
    return total;
}

/* ---- each of them ---- */

typedef struct walk {
    otimes_path_engine engine;
    const otimes_path_settings *settings;
    otimes_path_tree tree;
    float *states; /* [links + 1, state] by depth */
    double *value;
    double total;
    int64_t expanded, valued;
    otimes_pool pool;
} walk;

static bool may_follow(const walk *w, int64_t reader, int64_t link, int64_t order)
{
    const otimes_path_engine *engine = &w->engine;
    const int64_t n_heads = engine->linear->info->n_heads;
    if (otimes_path_is_head(engine, link)) {
        const int64_t l = link / n_heads;
        return l < otimes_path_heads_below(engine, reader) &&
               otimes_path_layer_takes_part(engine, l) && order != engine->max_order;
    }
    const int64_t l = link - engine->heads;
    return l < otimes_path_mlps_below(engine, reader) && otimes_linear_has_mlp(engine->linear, l);
}

static int visit(walk *w, int32_t node, int64_t depth, otimes_err *err)
{
    otimes_path_engine *engine = &w->engine;
    const otimes_path_node own = w->tree.node[node];
    const int64_t reader = own.link;
    int rc = engine->ops->values(engine, 1, w->states + depth * engine->state, &reader, 0, w->value,
                                 err);
    for (int64_t s = 0; rc == OTIMES_OK && s < engine->linear->source_count; s++) {
        if (otimes_path_reads_source(engine, own.link, s)) {
            rc = otimes_path_tree_offer(&w->tree, w->value[s], node, (int32_t)s, err);
            w->valued++;
        }
    }
    if (rc == OTIMES_OK && w->settings->tick && w->expanded % 256 == 0) {
        rc = w->settings->tick(w->settings->context, (double)w->valued / w->total, err);
    }
    w->expanded++;
    return rc;
}

/* Chains below `node`, at most as deep as there are layers, twice with MLPs. */
static int walk_from(walk *w, int32_t node, int64_t depth, otimes_err *err)
{
    otimes_path_engine *engine = &w->engine;
    const otimes_path_node own = w->tree.node[node];
    float *state = w->states + depth * engine->state;
    int rc = visit(w, node, depth, err);
    for (int64_t link = 0; rc == OTIMES_OK && link < engine->links; link++) {
        if (!may_follow(w, own.link, link, own.order)) {
            continue;
        }
        rc = engine->ops->step(engine, state, link, 0, state + engine->state, err);
        if (rc == OTIMES_OK) {
            rc = otimes_path_tree_add(&w->tree, node, (int32_t)link,
                                      own.order + otimes_path_is_head(engine, link), 0, err);
        }
        if (rc == OTIMES_OK) {
            rc = walk_from(w, (int32_t)(w->tree.count - 1), depth + 1, err);
        }
    }
    return rc;
}

static int walk_all(walk *w, otimes_path_list *paths, otimes_err *err)
{
    otimes_path_engine *engine = &w->engine;
    const double offset = engine->target->offset;
    int rc = OTIMES_OK;
    w->states = otimes_pool_new(&w->pool, (engine->longest + 1) * engine->state, sizeof *w->states,
                                &rc, err);
    w->value = otimes_pool_new(&w->pool, engine->linear->source_count, sizeof(double), &rc, err);
    if (rc == OTIMES_OK) {
        engine->ops->root(engine, w->states);
        rc = otimes_path_tree_init(&w->tree, w->settings->count ? w->settings->count : INT64_MAX,
                                   err);
    }
    if (rc == OTIMES_OK && offset != 0) {
        rc = otimes_path_tree_offer(&w->tree, offset, 0, -1, err);
    }
    if (rc == OTIMES_OK) {
        rc = walk_from(w, 0, 0, err);
    }
    if (rc == OTIMES_OK) {
        paths->bound = otimes_path_tree_floor(&w->tree);
        paths->complete = true;
        paths->expanded = w->expanded;
        paths->valued = w->valued;
        paths->total = w->total + (offset != 0);
        rc = otimes_path_tree_list(&w->tree, paths, err);
    }
    return rc;
}

int otimes_paths_all(otimes_linear *linear, const otimes_linear_target *target,
                     const otimes_path_settings *settings, int64_t limit, otimes_path_list *paths,
                     otimes_err *err)
{
    walk w = {.settings = settings};
    *paths = (otimes_path_list){0};
    int rc = otimes_path_count(linear, settings->max_order, settings->layers, &w.total, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (!(w.total <= (double)limit)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "paths: expected at most %" PRId64 " in all, got %.6g", limit, w.total);
    }
    rc = otimes_path_engine_open(&w.engine, linear, target, settings, false, err);
    if (rc == OTIMES_OK) {
        rc = walk_all(&w, paths, err);
    }
    otimes_path_tree_free(&w.tree);
    otimes_pool_free(&w.pool);
    otimes_path_engine_close(&w.engine);
    return rc;
}

/* ---- where they come from ---- */

static int carry(otimes_path_engine *engine, const otimes_path_list *paths, int64_t path,
                 double *carried, otimes_err *err)
{
    const float *x = engine->linear->source[paths->source[path]].rows;
    const int32_t *link = paths->link + path * paths->links;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    int64_t length = 0;
    float *state = otimes_pool_new(&pool, engine->state, sizeof *state, &rc, err);
    float *next = otimes_pool_new(&pool, engine->state, sizeof *next, &rc, err);
    while (length < paths->links && link[length] >= 0) {
        length++;
    }
    if (rc == OTIMES_OK) {
        engine->ops->root(engine, state);
    }
    while (rc == OTIMES_OK && length-- > 0) {
        float *swap = state;
        rc = engine->ops->step(engine, state, link[length], 0, next, err);
        state = next;
        next = swap;
    }
    if (rc == OTIMES_OK) {
        engine->ops->positions(engine, state, x, carried);
    }
    otimes_pool_free(&pool);
    return rc;
}

int otimes_path_positions(otimes_linear *linear, const otimes_linear_target *target,
                          const otimes_path_list *paths, otimes_path_visit visit_path,
                          void *context, otimes_err *err)
{
    const otimes_path_settings settings = {.max_order = -1};
    otimes_path_engine engine;
    double *carried = NULL;
    int rc = otimes_path_engine_open(&engine, linear, target, &settings, false, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&carried, linear->n, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < paths->count; i++) {
        memset(carried, 0, (size_t)linear->n * sizeof *carried);
        if (paths->source[i] >= 0) { /* the offset comes from no position */
            rc = carry(&engine, paths, i, carried, err);
        }
        if (rc == OTIMES_OK) {
            rc = visit_path(context, i, carried, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_pulse_beat(linear->layers->pulse, err);
        }
    }
    otimes_free(carried);
    otimes_path_engine_close(&engine);
    return rc;
}
