/* SPDX-License-Identifier: MIT */
#include "run/flows.h"

#include <math.h>
#include <string.h>

#include "model/model.h"
#include "num/dot.h"
#include "num/product.h"
#include "run/flows_job.h"

/* ---- room ---- */

static void fill_nan(double *x, int64_t count)
{
    for (int64_t i = 0; x && i < count; i++) {
        x[i] = NAN;
    }
}

static double *undefined(otimes_pool *pool, int64_t rows, int64_t columns, int *rc, otimes_err *err)
{
    int64_t count = 0;
    if (*rc == OTIMES_OK &&
        !otimes_mul_i64(rows, columns, &count)) { /* unreached: too many to hold */
        *rc = otimes_fail(err, OTIMES_ERR_MEMORY, "edges: too many heads");
    }
    double *x = otimes_pool_new(pool, count, sizeof *x, rc, err);
    fill_nan(x, count);
    return x;
}

static int flows_init(flow_job *job, otimes_err *err)
{
    otimes_flows *f = job->flows;
    const int64_t layers = job->info->n_layers;
    int rc = OTIMES_OK;
    *f = (otimes_flows){.heads = layers * job->info->n_heads, .sources = job->linear->source_count};
    f->head = undefined(&f->pool, f->heads, 1, &rc, err);
    f->mlp = undefined(&f->pool, layers, 1, &rc, err);
    f->head_direct = undefined(&f->pool, f->heads, 1, &rc, err);
    f->source_direct = undefined(&f->pool, f->sources, 1, &rc, err);
    f->mlp_direct = undefined(&f->pool, layers, 1, &rc, err);
    f->source = otimes_pool_new(&f->pool, f->sources * job->n, sizeof *f->source, &rc, err);
    for (int way = job->scores ? 0 : OTIMES_EDGE_V; way < OTIMES_EDGE_WAYS; way++) {
        f->edge[way] = undefined(&f->pool, f->heads, f->heads, &rc, err);
        f->source_edge[way] = undefined(&f->pool, f->heads, f->sources, &rc, err);
        f->mlp_edge[way] = undefined(&f->pool, f->heads, layers, &rc, err);
    }
    return rc;
}

static float **by_layer(flow_job *job, int64_t count, int *rc, otimes_err *err)
{
    float **rows = otimes_pool_new(&job->pool, job->info->n_layers, sizeof *rows, rc, err);
    for (int64_t l = 0; *rc == OTIMES_OK && l < job->info->n_layers; l++) {
        rows[l] = otimes_pool_new(&job->pool, count, sizeof **rows, rc, err);
    }
    return rows;
}

static int job_init(flow_job *job, otimes_err *err)
{
    const otimes_linear *linear = job->linear;
    int rc = OTIMES_OK;
    for (int way = job->scores ? 0 : OTIMES_EDGE_V; way < OTIMES_EDGE_WAYS; way++) {
        job->asked[way] = by_layer(job, job->n * job->wide, &rc, err);
    }
    job->mlp_out = otimes_pool_new(&job->pool, job->info->n_layers, sizeof(float *), &rc, err);
    job->value_bias = otimes_pool_new(&job->pool, job->info->n_layers, sizeof(float *), &rc, err);
    for (int64_t l = 0; rc == OTIMES_OK && l < job->info->n_layers; l++) {
        if (otimes_linear_has_mlp(linear, l)) {
            job->mlp_out[l] = otimes_pool_new(&job->pool, job->n * job->d, sizeof(float), &rc, err);
        }
    }
    return rc;
}

/* ---- what heads and MLPs write, without biases ---- */

/* b_V, and the norm's bias through W_V. */
static int read_value_bias(flow_job *job, const otimes_ready_layer *layer, otimes_err *err)
{
    const float *b = layer->b_QKV, *ln_b = layer->rest.ln1_b.data;
    const int64_t qk = job->wide + job->kv, width = qk + job->kv;
    int rc = OTIMES_OK;
    if (!b && !ln_b) {
        return rc;
    }
    float *bias = otimes_pool_new(&job->pool, job->kv, sizeof *bias, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (b) {
        memcpy(bias, b + qk, (size_t)job->kv * sizeof *bias);
    }
    if (ln_b) {
        otimes_product(1, false, 1, job->kv, job->d, ln_b, job->d, layer->W_QKV + qk, width, NULL,
                       true, bias, job->kv);
    }
    job->value_bias[layer->layer] = bias;
    return rc;
}

void otimes_flow_z(const flow_job *job, int64_t layer, int64_t head, int64_t first, int64_t rows,
                   float *z, int64_t stride)
{
    const int64_t n = job->n, e = job->e, group = job->info->n_heads / job->info->n_kv_heads;
    const float *bias = job->value_bias[layer] ? job->value_bias[layer] + head / group * e : NULL;
    const float *pattern =
        otimes_frozen_at(&job->linear->frozen, OTIMES_HOOK_PATTERN, layer) + head * n * n;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t t = first + i;
        double share = 0; /* below 1 where a sink takes some */
        memcpy(z + i * stride, job->linear->z[layer] + t * job->wide + head * e,
               (size_t)e * sizeof *z);
        for (int64_t key = 0; bias && key < n; key++) {
            share += (double)pattern[t * n + key];
        }
        for (int64_t k = 0; bias && k < e; k++) {
            z[i * stride + k] -= (float)(share * (double)bias[k]);
        }
    }
}

/* Sources that heads (mlp false) or the MLP of a layer are the first to read. */
static bool comes_in(const otimes_linear_source *source, int64_t layer, bool mlp)
{
    const bool before_mlp = source->layer >= 0 && source->mlp_layer == source->layer;
    return mlp ? before_mlp && source->layer == layer : !before_mlp && source->layer == layer - 1;
}

static void add_sources(const flow_job *job, int64_t layer, bool mlp, float *x)
{
    for (int64_t s = 0; s < job->linear->source_count; s++) {
        const otimes_linear_source *source = &job->linear->source[s];
        if (comes_in(source, layer, mlp)) {
            otimes_add(job->linear->model->threads, job->n * job->d, source->rows, x);
        }
    }
}

/* The sum over a layer's heads of what they write, into out; z [n, wide] is scratch. */
static void heads_out(const flow_job *job, const otimes_ready_layer *layer, float *z, float *out)
{
    for (int64_t h = 0; h < job->info->n_heads; h++) {
        otimes_flow_z(job, layer->layer, h, 0, job->n, z + h * job->e, job->wide);
    }
    otimes_product(job->linear->model->threads, false, job->n, job->d, job->wide, z, job->wide,
                   layer->rest.W_O.data, job->d, NULL, false, out, job->d);
    otimes_linear_post(job->linear, layer, false, 0, job->n, out, out);
}

/* Up through the layers, for what the MLPs that are links write and for biases of values. */
static int go_up(flow_job *job, float *z, otimes_err *err)
{
    const int64_t count = job->n * job->d;
    const bool parallel = otimes_linear_is_parallel(job->linear);
    int rc = OTIMES_OK;
    float *x = otimes_pool_new(&job->pool, count, sizeof *x, &rc, err);
    float *out = otimes_pool_new(&job->pool, count, sizeof *out, &rc, err);
    for (int64_t l = 0; rc == OTIMES_OK && l < job->info->n_layers; l++) {
        const otimes_ready_layer *layer;
        rc = otimes_layers_get(job->linear->layers, l, &layer, err);
        if (rc == OTIMES_OK) {
            rc = read_value_bias(job, layer, err);
        }
        if (rc != OTIMES_OK || job->linear->role != OTIMES_MLP_AS_LINK) {
            continue;
        }
        add_sources(job, l, false, x);
        heads_out(job, layer, z, out);
        if (!parallel) {
            otimes_add(job->linear->model->threads, count, out, x);
            add_sources(job, l, true, x);
        }
        if (job->mlp_out[l]) {
            rc = otimes_linear_mlp(job->linear, layer, 1, x, job->mlp_out[l], err);
            otimes_add(job->linear->model->threads, count, job->mlp_out[l], x);
        }
        if (parallel) {
            otimes_add(job->linear->model->threads, count, out, x);
        }
    }
    return rc;
}

/* ---- the sweep ---- */

typedef struct sweep {
    float *g;        /* [n, d_model] the target's adjoint, at some layer */
    float *back;     /* [n, d_model] */
    float *y;        /* [n, wide] the adjoint at z */
    float *z;        /* [n, wide] without biases */
    float *mlp_back; /* [n, d_model] */
} sweep;

static void flow_sources(const flow_job *job, const sweep *s, int64_t layer, bool mlp)
{
    for (int64_t i = 0; i < job->linear->source_count; i++) {
        const otimes_linear_source *source = &job->linear->source[i];
        for (int64_t t = 0; comes_in(source, layer, mlp) && t < job->n; t++) {
            job->flows->source[i * job->n + t] =
                otimes_dot(s->g + t * job->d, source->rows + t * job->d, job->d);
        }
    }
}

/* s->back := the adjoint through a layer's heads of s->g; flows through them, and what is asked of
 * them. */
static int back_through_heads(flow_job *job, const otimes_ready_layer *layer, sweep *s,
                              otimes_err *err)
{
    const int64_t l = layer->layer, n = job->n, heads = job->info->n_heads;
    int rc = otimes_linear_attention_back(job->linear, layer, 1, s->g, NULL,
                                          job->asked[OTIMES_EDGE_V][l], s->back, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_linear_post_back(job->linear, layer, false, 0, n, s->g, s->mlp_back);
    otimes_product(job->linear->model->threads, true, n, job->wide, job->d, s->mlp_back, job->d,
                   layer->rest.W_O.data, job->d, NULL, false, s->y, job->wide);
    for (int64_t h = 0; h < heads; h++) {
        double flow = 0;
        otimes_flow_z(job, l, h, 0, n, s->z + h * job->e, job->wide);
        for (int64_t t = 0; t < job->live; t++) {
            const int64_t at = t * job->wide + h * job->e;
            flow += otimes_dot(s->y + at, s->z + at, job->e);
        }
        job->flows->head[l * heads + h] = flow;
    }
    return job->scores ? otimes_flow_ask_scores(job, layer, s->y, err) : OTIMES_OK;
}

/* s->mlp_back := the adjoint through the MLP of s->g; zeros where it is no link. */
static int back_through_mlp(flow_job *job, const otimes_ready_layer *layer, sweep *s,
                            otimes_err *err)
{
    const int64_t l = layer->layer;
    if (job->mlp_out[l]) {
        job->flows->mlp[l] = otimes_dot(s->g, job->mlp_out[l], job->n * job->d);
    }
    return otimes_linear_mlp_back(job->linear, layer, 1, s->g, s->mlp_back, err);
}

static int back_through_layer(flow_job *job, const otimes_ready_layer *layer, sweep *s,
                              otimes_err *err)
{
    const int64_t count = job->n * job->d, l = layer->layer;
    int rc;
    if (otimes_linear_is_parallel(job->linear)) {
        rc = back_through_heads(job, layer, s, err);
        if (rc == OTIMES_OK) {
            rc = back_through_mlp(job, layer, s, err);
        }
        otimes_add(job->linear->model->threads, rc == OTIMES_OK ? count : 0, s->mlp_back, s->g);
    } else {
        rc = back_through_mlp(job, layer, s, err);
        otimes_add(job->linear->model->threads, rc == OTIMES_OK ? count : 0, s->mlp_back, s->g);
        flow_sources(job, s, l, true);
        if (rc == OTIMES_OK) {
            rc = back_through_heads(job, layer, s, err);
        }
    }
    otimes_add(job->linear->model->threads, rc == OTIMES_OK ? count : 0, s->back, s->g);
    flow_sources(job, s, l, false);
    return rc;
}

static int go_down(flow_job *job, sweep *s, otimes_err *err)
{
    const otimes_linear_target *target = job->target;
    int rc = OTIMES_OK;
    memcpy(s->g + target->position * job->d, target->direction, (size_t)job->d * sizeof(float));
    flow_sources(job, s, job->info->n_layers, false);
    for (int64_t l = job->info->n_layers - 1; rc == OTIMES_OK && l >= 0; l--) {
        const otimes_ready_layer *layer;
        rc = otimes_layers_get(job->linear->layers, l, &layer, err);
        if (rc == OTIMES_OK) {
            rc = back_through_layer(job, layer, s, err);
        }
    }
    return rc;
}

/* Straight to the target: from sources, and from MLPs. */
static void flow_direct(flow_job *job)
{
    const int64_t at = job->target->position * job->d;
    const float *direction = job->target->direction;
    for (int64_t i = 0; i < job->linear->source_count; i++) {
        job->flows->source_direct[i] =
            otimes_dot(direction, job->linear->source[i].rows + at, job->d);
    }
    for (int64_t l = 0; l < job->info->n_layers; l++) {
        if (job->mlp_out[l]) {
            job->flows->mlp_direct[l] = otimes_dot(direction, job->mlp_out[l] + at, job->d);
        }
    }
}

int otimes_flows_sweep(otimes_linear *linear, const otimes_linear_target *target,
                       const otimes_flow_scores *scores, otimes_flows *flows, otimes_err *err)
{
    return otimes_flows_sweep_tiled(linear, target, scores, OTIMES_FLOW_TILE, flows, err);
}

int otimes_flows_sweep_tiled(otimes_linear *linear, const otimes_linear_target *target,
                             const otimes_flow_scores *scores, int64_t tile_bytes,
                             otimes_flows *flows, otimes_err *err)
{
    const otimes_model_info *info = linear->info;
    flow_job job = {.linear = linear,
                    .info = info,
                    .target = target,
                    .scores = scores,
                    .flows = flows,
                    .tile_bytes = tile_bytes,
                    .n = linear->n,
                    .d = info->d_model,
                    .e = info->d_head,
                    .wide = info->n_heads * info->d_head,
                    .kv = info->n_kv_heads * info->d_head,
                    .live = info->bidirectional ? linear->n : target->position + 1};
    int rc = flows_init(&job, err);
    if (rc == OTIMES_OK) {
        rc = job_init(&job, err);
    }
    sweep s = {.g = otimes_pool_new(&job.pool, job.n * job.d, sizeof(float), &rc, err),
               .back = otimes_pool_new(&job.pool, job.n * job.d, sizeof(float), &rc, err),
               .mlp_back = otimes_pool_new(&job.pool, job.n * job.d, sizeof(float), &rc, err),
               .y = otimes_pool_new(&job.pool, job.n * job.wide, sizeof(float), &rc, err),
               .z = otimes_pool_new(&job.pool, job.n * job.wide, sizeof(float), &rc, err)};
    if (rc == OTIMES_OK) {
        rc = go_up(&job, s.z, err);
    }
    if (rc == OTIMES_OK) {
        rc = go_down(&job, &s, err);
    }
    if (rc == OTIMES_OK) {
        flow_direct(&job);
        rc = otimes_flow_edges(&job, err);
    }
    otimes_pool_free(&job.pool);
    return rc;
}

void otimes_flows_free(otimes_flows *flows)
{
    otimes_pool_free(&flows->pool);
    *flows = (otimes_flows){0};
}
