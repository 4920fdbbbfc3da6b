/* SPDX-License-Identifier: MIT
 *
 * Edges: what each part writes times what each later head asks for, summed over positions. All
 * pairs are one product over (position, d_model), of which a tile of positions exists at a time,
 * cut into parts that threads work on. Layers ascend: what a layer's heads ask for meets all that
 * was written below, then what they write joins it.
 */
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "num/la.h"
#include "run/flows_job.h"

enum { PARTS = 16 };

typedef struct edges {
    flow_job *job;
    const otimes_ready_layer *layer;
    int64_t heads, ways, first_way; /* of a layer; of OTIMES_EDGE_* */
    int64_t parts, part_rows;       /* of a tile; positions of each part */
    int64_t most, written;          /* writers in all; so far, those below the layer */
    int64_t *writer_at;             /* [most] index among its kind: heads, sources, MLPs */
    int *writer_kind;
    int64_t first; /* position of the tile */
    float *writes; /* [parts][most][part_rows * d_model] */
    float *asks;   /* [parts][ways * heads][part_rows * d_model] */
    float *z;      /* [parts][part_rows * d_head] */
    float *edge;   /* [parts][ways * heads][most] */
    otimes_pool pool;
} edges;

enum { HEAD, SOURCE, MLP };

static int64_t part_first(const edges *w, int64_t part)
{
    return w->first + part * w->part_rows;
}

/* Positions of a part of this tile: fewer at the end, then none. */
static int64_t part_length(const edges *w, int64_t part)
{
    const int64_t left = w->job->live - part_first(w, part);
    return left < 0 ? 0 : left < w->part_rows ? left : w->part_rows;
}

static float *write_of(const edges *w, int64_t part, int64_t writer)
{
    return w->writes + (part * w->most + writer) * w->part_rows * w->job->d;
}

/* ---- what is asked ---- */

/* r_h = N* diag(1/s) asked W^T of a way and head. */
static void ask(const edges *w, int64_t part, int64_t way, int64_t h, float *r)
{
    const flow_job *job = w->job;
    const int64_t e = job->e, first = part_first(w, part), rows = part_length(w, part);
    const int64_t group = job->info->n_heads / job->info->n_kv_heads;
    const int64_t column = way == OTIMES_EDGE_Q   ? h * e
                           : way == OTIMES_EDGE_K ? job->wide + h / group * e
                                                  : job->wide + job->kv + h / group * e;
    const float *asked = job->asked[way][w->layer->layer] + first * job->wide + h * e;
    otimes_la_default->sgemm(false, true, rows, job->d, e, 1, asked, job->wide,
                             w->layer->W_QKV + column, job->wide + 2 * job->kv, 0, r, job->d);
    otimes_linear_norm_back(job->linear, w->layer, false, first, rows, r, r);
}

static void write_heads(const edges *w, int64_t part)
{
    const flow_job *job = w->job;
    const int64_t first = part_first(w, part), rows = part_length(w, part), d = job->d;
    const int64_t q = job->target->position;
    float *z = w->z + part * w->part_rows * job->e;
    for (int64_t h = 0; h < w->heads; h++) {
        float *out = write_of(w, part, w->written + h);
        otimes_flow_z(job, w->layer->layer, h, first, rows, z, job->e);
        otimes_la_default->sgemm(false, false, rows, d, job->e, 1, z, job->e,
                                 w->layer->rest.W_O.data + h * job->e * d, d, 0, out, d);
        otimes_linear_post(job->linear, w->layer, false, first, rows, out, out);
        if (q >= first && q < first + rows) {
            job->flows->head_direct[w->layer->layer * w->heads + h] =
                otimes_dot(job->target->direction, out + (q - first) * d, d);
        }
    }
}

static int run_part(void *context, int64_t part, int worker, otimes_err *err)
{
    const edges *w = context;
    const int64_t d = w->job->d, rows = part_length(w, part), stride = w->part_rows * d;
    const int64_t asks = w->ways * w->heads;
    float *r = w->asks + part * asks * stride;
    (void)worker, (void)err;
    if (rows == 0) {
        return OTIMES_OK;
    }
    for (int64_t i = 0; i < asks; i++) {
        ask(w, part, w->first_way + i / w->heads, i % w->heads, r + i * stride);
    }
    otimes_la_default->sgemm(false, true, asks, w->written, rows * d, 1, r, stride,
                             write_of(w, part, 0), stride, 0, w->edge + part * asks * w->most,
                             w->most);
    write_heads(w, part);
    return OTIMES_OK;
}

/* ---- sums ---- */

/* Where an edge from a writer is summed. */
static double *entry(const edges *w, int64_t way, int64_t later, int64_t writer)
{
    const otimes_flows *f = w->job->flows;
    const int64_t at = w->writer_at[writer];
    switch (w->writer_kind[writer]) {
    case HEAD:
        return &f->edge[way][later * f->heads + at];
    case SOURCE:
        return &f->source_edge[way][later * f->sources + at];
    default:
        return &f->mlp_edge[way][later * w->job->info->n_layers + at];
    }
}

/* Parts in their order, whoever computed them. */
static void sum_parts(const edges *w)
{
    const int64_t asks = w->ways * w->heads;
    for (int64_t i = 0; i < asks; i++) {
        const int64_t later = w->layer->layer * w->heads + i % w->heads;
        for (int64_t writer = 0; writer < w->written; writer++) {
            double sum = 0;
            for (int64_t part = 0; part < w->parts && part_length(w, part) > 0; part++) {
                sum += (double)w->edge[(part * asks + i) * w->most + writer];
            }
            double *to = entry(w, w->first_way + i / w->heads, later, writer);
            *to = w->first == 0 ? sum : *to + sum;
        }
    }
}

/* ---- who writes ---- */

static void append(edges *w, int kind, int64_t index)
{
    w->writer_kind[w->written] = kind;
    w->writer_at[w->written++] = index;
}

static void append_rows(edges *w, int kind, int64_t index, const float *rows)
{
    const int64_t d = w->job->d;
    for (int64_t part = 0; part < w->parts && part_length(w, part) > 0; part++) {
        memcpy(write_of(w, part, w->written), rows + part_first(w, part) * d,
               (size_t)(part_length(w, part) * d) * sizeof *rows);
    }
    append(w, kind, index);
}

/* All that layer `layer` leaves for those above it, its heads' already in place; -1: what is there
 * from the beginning. */
static void append_layer(edges *w, int64_t layer)
{
    const flow_job *job = w->job;
    for (int64_t h = 0; layer >= 0 && h < w->heads; h++) {
        append(w, HEAD, layer * w->heads + h);
    }
    for (int64_t s = 0; s < job->linear->source_count; s++) {
        if (job->linear->source[s].layer == layer) {
            append_rows(w, SOURCE, s, job->linear->source[s].rows);
        }
    }
    if (layer >= 0 && job->mlp_out[layer]) {
        append_rows(w, MLP, layer, job->mlp_out[layer]);
    }
}

/* ---- tiles ---- */

/* As many positions as fit, in as many parts; the same whatever the number of threads. */
static int edges_init(edges *w, otimes_err *err)
{
    const flow_job *job = w->job;
    const int64_t layers = job->info->n_layers, asks = w->ways * w->heads;
    int rc = OTIMES_OK;
    w->most = layers * w->heads + job->linear->source_count + layers;
    const int64_t row = (w->most + asks) * job->d * (int64_t)sizeof(float);
    w->parts = PARTS;
    while (w->parts > 1 && (w->parts > job->live || w->parts * row > job->tile_bytes)) {
        w->parts /= 2;
    }
    w->part_rows = (job->live + w->parts - 1) / w->parts;
    const int64_t room = job->tile_bytes / row / w->parts;
    w->part_rows = w->part_rows < room ? w->part_rows : room > 1 ? room : 1;
    const int64_t size = w->part_rows * job->d;
    w->writer_at = otimes_pool_new(&w->pool, w->most, sizeof *w->writer_at, &rc, err);
    w->writer_kind = otimes_pool_new(&w->pool, w->most, sizeof *w->writer_kind, &rc, err);
    w->writes = otimes_pool_new(&w->pool, w->parts * w->most * size, sizeof(float), &rc, err);
    w->asks = otimes_pool_new(&w->pool, w->parts * asks * size, sizeof(float), &rc, err);
    w->z = otimes_pool_new(&w->pool, w->parts * w->part_rows * job->e, sizeof(float), &rc, err);
    w->edge = otimes_pool_new(&w->pool, w->parts * asks * w->most, sizeof(float), &rc, err);
    return rc;
}

static int run_tile(edges *w, otimes_err *err)
{
    const flow_job *job = w->job;
    int rc = OTIMES_OK;
    w->written = 0;
    append_layer(w, -1);
    for (int64_t l = 0; rc == OTIMES_OK && l < job->info->n_layers; l++) {
        rc = otimes_layers_get(job->linear->layers, l, &w->layer, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(w->parts, job->linear->model->threads, run_part, w, err);
        }
        if (rc == OTIMES_OK) {
            sum_parts(w);
            append_layer(w, l);
        }
    }
    return rc;
}

int otimes_flow_edges(flow_job *job, otimes_err *err)
{
    edges w = {.job = job,
               .heads = job->info->n_heads,
               .first_way = job->scores ? OTIMES_EDGE_Q : OTIMES_EDGE_V};
    w.ways = OTIMES_EDGE_WAYS - w.first_way;
    int rc = edges_init(&w, err);
    for (; rc == OTIMES_OK && w.first < job->live; w.first += w.parts * w.part_rows) {
        rc = run_tile(&w, err);
    }
    otimes_pool_free(&w.pool);
    return rc;
}
