/* SPDX-License-Identifier: MIT */
#include "run/order_streams.h"

#include <string.h>

#include "model/model.h"
#include "num/dot.h"
#include "num/product.h"

enum {
    GROUP_ROWS = 1024 /* rows of streams that go through a layer together, or one stream */
};

static bool takes_part(const bool *layers, int64_t layer)
{
    return !layers || layers[layer];
}

/* ---- streams of every order ---- */

typedef struct sweep {
    otimes_linear *linear;
    int64_t orders, filled, size; /* streams 0 .. filled hold something; entries of one */
    int64_t group;                /* streams that go through a layer together */
    int64_t next_source;
    float *streams;
    float *z, *out, *mlp_out; /* of a group */
    otimes_pool pool;
} sweep;

/* Sources that heads (mlp false) or the MLP of a layer are the first to read; those of the last
 * layer are read at the end. Sources are in order of layer, within one the attention's first. */
static void add_sources(sweep *s, int64_t layer, bool mlp)
{
    const otimes_linear *linear = s->linear;
    while (s->next_source < linear->source_count) {
        const otimes_linear_source *source = &linear->source[s->next_source];
        if (source->layer >= layer && !(mlp && source->mlp_layer <= layer)) {
            break;
        }
        otimes_add(s->linear->model->threads, s->size, source->rows, s->streams);
        s->next_source++;
    }
}

/* Streams first .. first+count-1 through the MLP, in place. */
static int through_mlp(sweep *s, const otimes_ready_layer *layer, int64_t first, int64_t count,
                       otimes_err *err)
{
    float *x = s->streams + first * s->size;
    const int rc = otimes_linear_mlp(s->linear, layer, count, x, s->mlp_out, err);
    if (rc == OTIMES_OK) {
        otimes_add(s->linear->model->threads, count * s->size, s->mlp_out, x);
    }
    return rc;
}

/* x_{k+1} += heads(x_k), from the highest order down, so that each is read before it grows. In a
 * parallel block the MLP reads what the heads read. */
static int through_heads(sweep *s, const otimes_ready_layer *layer, otimes_err *err)
{
    const bool together =
        otimes_linear_is_parallel(s->linear) && otimes_linear_has_mlp(s->linear, layer->layer);
    const int64_t count = s->filled + 1; /* read */
    int rc = OTIMES_OK;
    for (int64_t end = count, first; rc == OTIMES_OK && end > 0; end = first) {
        first = end > s->group ? end - s->group : 0;
        const int64_t heads = end <= s->orders ? end - first : s->orders - first;
        float *x = s->streams + first * s->size;
        if (heads > 0) {
            rc = otimes_linear_attention(s->linear, layer, heads, x, NULL, s->z, s->out, err);
        }
        if (rc == OTIMES_OK && together) {
            rc = through_mlp(s, layer, first, end - first, err);
        }
        if (rc == OTIMES_OK && heads > 0) {
            otimes_add(s->linear->model->threads, heads * s->size, s->out, x + s->size);
        }
    }
    s->filled += s->filled < s->orders;
    return rc;
}

static int through_mlps(sweep *s, const otimes_ready_layer *layer, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t first = 0; rc == OTIMES_OK && first <= s->filled; first += s->group) {
        const int64_t left = s->filled + 1 - first;
        rc = through_mlp(s, layer, first, left < s->group ? left : s->group, err);
    }
    return rc;
}

static int through_layer(sweep *s, int64_t l, bool heads, otimes_err *err)
{
    const bool has_mlp = otimes_linear_has_mlp(s->linear, l);
    const otimes_ready_layer *layer;
    add_sources(s, l, false);
    if (!heads && !has_mlp) {
        return OTIMES_OK;
    }
    int rc = otimes_layers_get(s->linear->layers, l, &layer, err);
    if (rc == OTIMES_OK && heads) {
        rc = through_heads(s, layer, err);
    }
    if (rc == OTIMES_OK && has_mlp && !(heads && otimes_linear_is_parallel(s->linear))) {
        add_sources(s, l, true);
        rc = through_mlps(s, layer, err);
    }
    return rc;
}

static int sweep_init(sweep *s, otimes_linear *linear, int64_t orders, float *streams,
                      otimes_err *err)
{
    const otimes_model_info *info = linear->info;
    int rc = OTIMES_OK;
    *s = (sweep){
        .linear = linear, .orders = orders, .size = linear->n * info->d_model, .streams = streams};
    s->group = linear->n < GROUP_ROWS ? GROUP_ROWS / linear->n : 1;
    s->group = s->group < orders + 1 ? s->group : orders + 1;
    const int64_t rows = s->group * linear->n;
    const bool links = linear->role == OTIMES_MLP_AS_LINK;
    s->z = otimes_pool_new(&s->pool, rows * info->n_heads * info->d_head, sizeof(float), &rc, err);
    s->out = otimes_pool_new(&s->pool, rows * info->d_model, sizeof(float), &rc, err);
    s->mlp_out =
        otimes_pool_new(&s->pool, links ? rows * info->d_model : 0, sizeof(float), &rc, err);
    return rc;
}

int otimes_order_streams(otimes_linear *linear, int64_t orders, const bool *layers, float *streams,
                         otimes_err *err)
{
    const int64_t n_layers = linear->info->n_layers;
    sweep s;
    int rc = sweep_init(&s, linear, orders, streams, err);
    memset(streams, 0, (size_t)((orders + 1) * s.size) * sizeof *streams);
    for (int64_t l = 0; rc == OTIMES_OK && l < n_layers; l++) {
        rc = through_layer(&s, l, takes_part(layers, l) && orders > 0, err);
    }
    if (rc == OTIMES_OK) {
        add_sources(&s, n_layers, false);
    }
    otimes_pool_free(&s.pool);
    return rc;
}

/* ---- sets of layers ---- */

/* Paths through exactly one head of each layer of a set: their value is <g, x>, where x is the
 * stream of order 0 before the set's first layer and g the target's adjoint, led back through the
 * heads of the set's layers and around those of the others. The empty set has the end itself. */
typedef struct walk {
    otimes_linear *linear;
    int64_t most, size;
    float **order0;    /* [n_layers + 1] [n, d_model] before the heads of each layer; the end */
    float **g;         /* [most + 1] by members: the adjoint on its way down */
    float *child;      /* scratch [n, d_model] */
    float *u;          /* scratch [n, n_heads * d_head] */
    int64_t *up, *set; /* members from the last layer down, and ascending */
    otimes_layer_set_visit visit;
    void *context;
    otimes_pool pool;
} walk;

/* The stream of order 0 at every layer. */
static int keep_order0(walk *w, otimes_err *err)
{
    otimes_linear *linear = w->linear;
    const int64_t n_layers = linear->info->n_layers;
    sweep s;
    int rc = sweep_init(&s, linear, 0, w->order0[n_layers], err);
    for (int64_t l = 0; rc == OTIMES_OK && l < n_layers; l++) {
        add_sources(&s, l, false);
        memcpy(w->order0[l], s.streams, (size_t)w->size * sizeof(float));
        rc = through_layer(&s, l, false, err);
    }
    if (rc == OTIMES_OK) {
        add_sources(&s, n_layers, false);
    }
    otimes_pool_free(&s.pool);
    return rc;
}

static int visit_set(walk *w, int64_t members, double value, otimes_err *err)
{
    for (int64_t i = 0; i < members; i++) {
        w->set[i] = w->up[members - 1 - i];
    }
    return w->visit(w->context, members, w->set, value, err);
}

/* g [members] arrives behind layer l: the child's g, through one of its heads, and its own, around
 * them. Both go back through the MLP that stands behind the heads, or beside them. */
static int back_through(walk *w, const otimes_ready_layer *layer, int64_t members, otimes_err *err)
{
    otimes_linear *linear = w->linear;
    const bool parallel = otimes_linear_is_parallel(linear);
    float *own = w->g[members], *child = w->g[members + 1];
    int rc = OTIMES_OK;
    if (parallel) {
        rc = otimes_linear_attention_back(linear, layer, 1, own, NULL, w->u, child, err);
    }
    if (rc == OTIMES_OK && otimes_linear_has_mlp(linear, layer->layer)) {
        rc = otimes_linear_mlp_back(linear, layer, 1, own, w->child, err);
        otimes_add(linear->model->threads, w->size, w->child, own);
    }
    if (rc == OTIMES_OK && !parallel) {
        rc = otimes_linear_attention_back(linear, layer, 1, own, NULL, w->u, child, err);
    }
    return rc;
}

/* All sets that add layers below `below` to the `members` there are. */
static int descend(walk *w, int64_t members, int64_t below, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t l = below - 1; rc == OTIMES_OK && members < w->most && l >= 0; l--) {
        const otimes_ready_layer *layer;
        rc = otimes_layers_get(w->linear->layers, l, &layer, err);
        if (rc == OTIMES_OK) {
            rc = back_through(w, layer, members, err);
        }
        if (rc == OTIMES_OK) {
            w->up[members] = l;
            rc = visit_set(w, members + 1, otimes_dot(w->g[members + 1], w->order0[l], w->size),
                           err);
        }
        if (rc == OTIMES_OK) {
            rc = descend(w, members + 1, l, err);
        }
    }
    return rc;
}

static int walk_init(walk *w, otimes_err *err)
{
    const otimes_model_info *info = w->linear->info;
    const int64_t wide = w->linear->n * info->n_heads * info->d_head;
    int rc = OTIMES_OK;
    w->order0 = otimes_pool_new(&w->pool, info->n_layers + 1, sizeof *w->order0, &rc, err);
    w->g = otimes_pool_new(&w->pool, w->most + 1, sizeof *w->g, &rc, err);
    w->child = otimes_pool_new(&w->pool, w->size, sizeof(float), &rc, err);
    w->u = otimes_pool_new(&w->pool, wide, sizeof(float), &rc, err);
    w->up = otimes_pool_new(&w->pool, w->most, sizeof *w->up, &rc, err);
    w->set = otimes_pool_new(&w->pool, w->most, sizeof *w->set, &rc, err);
    for (int64_t l = 0; rc == OTIMES_OK && l <= info->n_layers; l++) {
        w->order0[l] = otimes_pool_new(&w->pool, w->size, sizeof(float), &rc, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i <= w->most; i++) {
        w->g[i] = otimes_pool_new(&w->pool, w->size, sizeof(float), &rc, err);
    }
    return rc;
}

int otimes_layer_sets(otimes_linear *linear, const otimes_linear_target *target, int64_t most,
                      otimes_layer_set_visit visit, void *context, otimes_err *err)
{
    const int64_t d = linear->info->d_model, n_layers = linear->info->n_layers;
    walk w = {.linear = linear,
              .most = most < n_layers ? most : n_layers,
              .size = linear->n * d,
              .visit = visit,
              .context = context};
    int rc = walk_init(&w, err);
    if (rc == OTIMES_OK) {
        rc = keep_order0(&w, err);
    }
    if (rc == OTIMES_OK) {
        float *row = w.g[0] + target->position * d;
        memcpy(row, target->direction, (size_t)d * sizeof *row);
        rc = visit_set(
            &w, 0, otimes_dot(row, w.order0[n_layers] + target->position * d, d) + target->offset,
            err);
    }
    if (rc == OTIMES_OK) {
        rc = descend(&w, 0, n_layers, err);
    }
    otimes_pool_free(&w.pool);
    return rc;
}

double otimes_layer_sets_count(int64_t n_layers, int64_t most)
{
    double total = 0, sets = 1; /* of exactly k layers */
    for (int64_t k = 0; k <= most && k <= n_layers; k++) {
        total += sets;
        sets = sets * (double)(n_layers - k) / (double)(k + 1); /* whole numbers */
    }
    return total;
}
