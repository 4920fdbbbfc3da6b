/* SPDX-License-Identifier: MIT
 *
 * Streams that leave out layers of heads, one layer at a time or all but one, in one sweep.
 */
#include <string.h>

#include "analysis/orders_job.h"
#include "model/model.h"

enum { GROUP_ROWS = 4096 }; /* rows of streams that go through a layer together, or one stream */

typedef struct sweep {
    otimes_linear *linear;
    int64_t size;  /* entries of a stream */
    int64_t group; /* streams that go through a layer together */
    int64_t next_source;
    float *z, *out, *mlp_out; /* of a group */
    otimes_pool pool;
} sweep;

/* Streams [0] and, behind layer l, [1] .. [1 + l]. Those that layer l's heads write to are the new
 * one alone, or all but the new one. */
typedef struct family {
    float *streams;
    bool new_alone;
} family;

static int64_t group_of(const otimes_model_info *info, int64_t n)
{
    const int64_t most = info->n_layers + 1, fit = n < GROUP_ROWS ? GROUP_ROWS / n : 1;
    return fit < most ? fit : most;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void add(int64_t count, const float *x, float *y)
{
    for (int64_t i = 0; i < count; i++) {
        y[i] += x[i];
    }
}

/* Sources that heads (mlp false) or the MLP of a layer are the first to read, to the first `count`
 * streams of both families. Sources are in order of layer, the attention's before the MLP's. */
static void add_sources(sweep *s, const family *families, int64_t count, int64_t layer, bool mlp)
{
    const otimes_linear *linear = s->linear;
    for (; s->next_source < linear->source_count; s->next_source++) {
        const otimes_linear_source *source = &linear->source[s->next_source];
        if (source->layer >= layer && !(mlp && source->mlp_layer <= layer)) {
            break;
        }
        for (int f = 0; f < 2; f++) {
            for (int64_t i = 0; i < count; i++) {
                add(s->size, source->rows, families[f].streams + i * s->size);
            }
        }
    }
}

/* `count` streams from x on, of which `heads` from `begin` on go through the layer's heads; MLPs
 * that stand beside the heads read what these read. */
static int through_group(sweep *s, const otimes_ready_layer *layer, float *x, int64_t count,
                         int64_t begin, int64_t heads, bool mlp, otimes_err *err)
{
    float *read = x + begin * s->size;
    int rc = OTIMES_OK;
    if (mlp) {
        rc = otimes_linear_mlp(s->linear, layer, count, x, s->mlp_out, err);
    }
    if (rc == OTIMES_OK && heads > 0) {
        rc = otimes_linear_attention(s->linear, layer, heads, read, NULL, s->z, s->out, err);
    }
    if (rc == OTIMES_OK && mlp) {
        add(count * s->size, s->mlp_out, x);
    }
    if (rc == OTIMES_OK && heads > 0) {
        add(heads * s->size, s->out, read);
    }
    return rc;
}

/* All streams that are there, group by group. `heads` false: through the MLP alone. */
static int through_family(sweep *s, const otimes_ready_layer *layer, const family *f, bool heads,
                          bool mlp, otimes_err *err)
{
    const int64_t newest = layer->layer + 1;
    const int64_t first = f->new_alone ? newest : 0, end = f->new_alone ? newest + 1 : newest;
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at <= newest; at += s->group) {
        const int64_t count = least(s->group, newest + 1 - at);
        const int64_t from = first > at ? first : at, to = least(end, at + count);
        rc = through_group(s, layer, f->streams + at * s->size, count, from - at,
                           heads && to > from ? to - from : 0, mlp, err);
    }
    return rc;
}

static int through_layer(sweep *s, const family *families, int64_t l, otimes_err *err)
{
    const bool has_mlp = otimes_linear_has_mlp(s->linear, l);
    const bool parallel = otimes_linear_is_parallel(s->linear);
    const otimes_ready_layer *layer;
    add_sources(s, families, l + 1, l, false);
    int rc = otimes_layers_get(s->linear->layers, l, &layer, err);
    for (int f = 0; rc == OTIMES_OK && f < 2; f++) {
        float *streams = families[f].streams;
        memcpy(streams + (l + 1) * s->size, streams, (size_t)s->size * sizeof *streams);
        rc = through_family(s, layer, &families[f], true, has_mlp && parallel, err);
    }
    if (rc != OTIMES_OK || !has_mlp || parallel) {
        return rc;
    }
    add_sources(s, families, l + 2, l, true);
    for (int f = 0; rc == OTIMES_OK && f < 2; f++) {
        rc = through_family(s, layer, &families[f], false, true, err);
    }
    return rc;
}

int otimes_orders_layers(otimes_linear *linear, float *only, float *without, otimes_err *err)
{
    const otimes_model_info *info = linear->info;
    const family families[] = {{only, true}, {without, false}};
    const int64_t layers = info->n_layers;
    const bool links = linear->role == OTIMES_MLP_AS_LINK;
    sweep s = {
        .linear = linear, .size = linear->n * info->d_model, .group = group_of(info, linear->n)};
    const int64_t rows = s.group * linear->n;
    int rc = OTIMES_OK;
    s.z = otimes_pool_new(&s.pool, rows * info->n_heads * info->d_head, sizeof(float), &rc, err);
    s.out = otimes_pool_new(&s.pool, rows * info->d_model, sizeof(float), &rc, err);
    s.mlp_out = otimes_pool_new(&s.pool, links ? rows * info->d_model : 0, sizeof(float), &rc, err);
    memset(only, 0, (size_t)s.size * sizeof *only);
    memset(without, 0, (size_t)s.size * sizeof *without);
    for (int64_t l = 0; rc == OTIMES_OK && l < layers; l++) {
        rc = through_layer(&s, families, l, err);
    }
    if (rc == OTIMES_OK) {
        add_sources(&s, families, layers + 1, layers, false);
    }
    otimes_pool_free(&s.pool);
    return rc;
}

int64_t otimes_orders_layers_bytes(const otimes_model *model, int64_t n)
{
    const otimes_model_info *info = &model->info;
    const int64_t wide = info->n_heads * info->d_head, kv = info->n_kv_heads * info->d_head;
    /* Here, and what the operators work on: a row's input, values, z and neurons. */
    const int64_t row = 3 * info->d_model + 2 * wide + kv + info->d_mlp;
    return group_of(info, n) * n * row * (int64_t)sizeof(float);
}
