/* SPDX-License-Identifier: MIT
 *
 * What prefixes can bring where MLPs are links, at position t, with at most j heads before:
 *   values[j, e, t] >= ||v[t]||, v = diag(1/s) x N W_V what head e is given
 *   stream[j, m, t] >= ||x[t]|| in front of MLP m
 *   wrote [j, m, t] >= what MLP m writes of it, by
 *                      ||J_t|| <= sigma(N W_in) max|gate_t| sigma(W_out N_post)
 * A forward recursion over the layers as in path_reach.c.
 */
#include <math.h>
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "num/la.h"
#include "num/product.h"
#include "run/path_engine.h"

#define ROUNDING 1e-5f

typedef struct reach_job {
    otimes_path_engine *engine;
    float *kappa;            /* [heads, n_kv_heads] of a layer */
    float *by_sources;       /* [n_heads or 1, n] of a layer */
    float *wrote_heads;      /* [levels, heads, n] in front of W_O, behind 1/s_post */
    float *wrote_mlps;       /* [levels, n_layers, n] */
    double *norm_O, *norm_V; /* operator norms by head, by key/value head */
    float *lipschitz;        /* [n_layers, n] ||J_t|| */
    float *values;           /* [n, n_kv_heads * d_head] */
    double *work;
    otimes_pool pool;
} reach_job;

static void larger(float *to, const float *from, double factor, int64_t n)
{
    for (int64_t t = 0; t < n; t++) {
        const float x = (float)(factor * (double)from[t]);
        to[t] = x > to[t] ? x : to[t];
    }
}

/* ---- what a layer does to norms ---- */

/* Scaled columns or rows of a weight, and its operator norm. */
static double norm_of_matrix(const reach_job *j, int64_t rows, int64_t columns, float *scaled)
{
    return otimes_path_operator_norm(rows, columns, scaled, columns, j->work) * (1 + 1e-6);
}

/* scaled [d, m] := diag(w) W_in. Centring is a projection: it makes nothing larger. */
static void scale_in(const float *w, const float *W_in, int64_t d, int64_t m, float *scaled)
{
    for (int64_t i = 0; i < d * m; i++) {
        scaled[i] = W_in[i] * (w ? w[i / m] : 1);
    }
}

/* scaled [d, m] := (W_out N_post)^T. */
static void scale_out(const float *w, bool centre, const float *W_out, int64_t d, int64_t m,
                      float *scaled)
{
    for (int64_t k = 0; k < m; k++) {
        double mean = 0;
        for (int64_t i = 0; centre && i < d; i++) {
            mean += (double)W_out[k * d + i] / (double)d;
        }
        for (int64_t i = 0; i < d; i++) {
            scaled[i * m + k] = (float)(((double)W_out[k * d + i] - mean) * (w ? (double)w[i] : 1));
        }
    }
}

static void measure_mlp(reach_job *j, const otimes_ready_layer *layer, float *scaled)
{
    const otimes_path_engine *engine = j->engine;
    const otimes_linear *linear = engine->linear;
    const int64_t l = layer->layer, d = engine->d, m = linear->info->d_mlp, n = engine->n;
    const float *gate = otimes_frozen_at(&linear->frozen, OTIMES_HOOK_MLP_GATE, l);
    const float *scale = otimes_frozen_at(&linear->frozen, OTIMES_HOOK_LN2_SCALE, l);
    const float *post = otimes_frozen_at(&linear->frozen, OTIMES_HOOK_LN2_POST_SCALE, l);
    scale_in(scale ? layer->rest.ln2_w.data : NULL, layer->rest.W_in.data, d, m, scaled);
    double norm = norm_of_matrix(j, d, m, scaled);
    scale_out(post ? layer->rest.ln2_post_w.data : NULL,
              post && linear->info->norm == OTIMES_NORM_LN, layer->rest.W_out.data, d, m, scaled);
    norm *= norm_of_matrix(j, d, m, scaled);
    for (int64_t t = 0; t < n; t++) {
        float most = 0;
        for (int64_t i = 0; i < m; i++) {
            most = fabsf(gate[t * m + i]) > most ? fabsf(gate[t * m + i]) : most;
        }
        j->lipschitz[l * n + t] = (float)(norm * (double)most / (scale ? (double)scale[t] : 1) /
                                          (post ? (double)post[t] : 1)) *
                                  (1 + ROUNDING);
    }
}

static int measure_mlps(reach_job *j, otimes_err *err)
{
    const otimes_path_engine *engine = j->engine;
    const otimes_model_info *info = engine->linear->info;
    float *scaled = NULL;
    int rc = OTIMES_NEW(&scaled, engine->d * info->d_mlp, err);
    for (int64_t l = 0; rc == OTIMES_OK && l < info->n_layers; l++) {
        const otimes_ready_layer *layer;
        if (otimes_linear_has_mlp(engine->linear, l)) {
            rc = otimes_layers_get(engine->linear->layers, l, &layer, err);
            if (rc == OTIMES_OK) {
                measure_mlp(j, layer, scaled);
            }
        }
    }
    otimes_free(scaled);
    return rc;
}

static void measure_heads(reach_job *j)
{
    const otimes_path_engine *engine = j->engine;
    const otimes_model_info *info = engine->linear->info;
    const int64_t block = engine->width * engine->d, groups = info->n_layers * info->n_kv_heads;
    for (int64_t i = 0; i < engine->heads; i++) {
        j->norm_O[i] = otimes_path_operator_norm(engine->width, engine->d, engine->W_O + i * block,
                                                 engine->d, j->work) *
                       (1 + 1e-6);
    }
    for (int64_t i = 0; i < groups; i++) {
        j->norm_V[i] = otimes_path_operator_norm(engine->width, engine->d, engine->W_V + i * block,
                                                 engine->d, j->work) *
                       (1 + 1e-6);
    }
}

/* ---- sources ---- */

static void sources_to_heads(reach_job *j, int64_t l)
{
    const otimes_path_engine *engine = j->engine;
    const otimes_linear *linear = engine->linear;
    const otimes_model_info *info = linear->info;
    const int64_t n = engine->n, e = engine->width, kv = info->n_kv_heads * e, d = engine->d;
    const int64_t group = info->n_heads / info->n_kv_heads;
    memset(j->by_sources, 0, (size_t)(info->n_heads * n) * sizeof *j->by_sources);
    for (int64_t s = 0; s < linear->source_count; s++) {
        if (!otimes_path_reads_source(engine, l * info->n_heads, s)) {
            continue;
        }
        const float *x = linear->source[s].rows;
        otimes_product(linear->model->threads, true, n, kv, d, x, d, engine->W_V + l * kv * d, d,
                       NULL, false, j->values, kv);
        for (int64_t i = 0; i < info->n_heads * n; i++) {
            const int64_t h = i / n, t = i % n, g = h / group;
            const float *v = j->values + t * kv + g * e;
            const double slack = 1e-6 * engine->size_V[l * info->n_kv_heads + g] *
                                 sqrt(otimes_dot(x + t * d, x + t * d, d));
            const float size = (float)(sqrt(otimes_dot(v, v, e)) + slack) * engine->unscale[l][t];
            j->by_sources[i] = size > j->by_sources[i] ? size : j->by_sources[i];
        }
    }
}

static void sources_to_mlp(reach_job *j, int64_t l)
{
    const otimes_path_engine *engine = j->engine;
    const otimes_linear *linear = engine->linear;
    const int64_t n = engine->n, d = engine->d;
    memset(j->by_sources, 0, (size_t)n * sizeof *j->by_sources);
    for (int64_t s = 0; s < linear->source_count; s++) {
        for (int64_t t = 0; otimes_path_reads_source(engine, engine->heads + l, s) && t < n; t++) {
            const float *x = linear->source[s].rows + t * d;
            const float size = (float)sqrt(otimes_dot(x, x, d));
            j->by_sources[t] = size > j->by_sources[t] ? size : j->by_sources[t];
        }
    }
}

/* ---- the recursion ---- */

static int64_t level_before(const otimes_path_engine *engine, int64_t level)
{
    return engine->max_order < 0 ? level : level - 1;
}

static void head_level(reach_job *j, int64_t l, int64_t h, int64_t level)
{
    otimes_path_engine *engine = j->engine;
    const otimes_linear *linear = engine->linear;
    const otimes_model_info *info = linear->info;
    const int64_t n = engine->n, groups = info->n_kv_heads, heads = engine->heads;
    const int64_t g = h / (info->n_heads / groups), head = l * info->n_heads + h;
    const int64_t before = level_before(engine, level);
    const float *pattern =
        otimes_frozen_at(&linear->frozen, OTIMES_HOOK_PATTERN, l) + h * linear->n * linear->n;
    float *reach = engine->reach + (level * heads + head) * n;
    float *wrote = j->wrote_heads + (level * heads + head) * n;
    for (int64_t f = 0; before >= 0 && f < l * info->n_heads; f++) {
        larger(reach, j->wrote_heads + (before * heads + f) * n, (double)j->kappa[f * groups + g],
               n);
    }
    for (int64_t m = 0; m < l; m++) {
        larger(reach, j->wrote_mlps + (level * info->n_layers + m) * n, j->norm_V[l * groups + g],
               n);
    }
    for (int64_t t = 0; t < n; t++) {
        reach[t] *= engine->unscale[l][t] * (1 + ROUNDING);
    }
    larger(reach, j->by_sources + h * n, 1, n);
    for (int64_t t = 0; t < n; t++) {
        wrote[t] = (float)otimes_dot(pattern + t * linear->n, reach, n) * engine->unpost[l][t] *
                   (1 + ROUNDING);
    }
}

static void mlp_level(reach_job *j, int64_t l, int64_t level)
{
    otimes_path_engine *engine = j->engine;
    const otimes_model_info *info = engine->linear->info;
    const int64_t n = engine->n, heads = engine->heads, before = level_before(engine, level);
    float *stream = engine->mlp_reach + (level * info->n_layers + l) * n;
    float *wrote = j->wrote_mlps + (level * info->n_layers + l) * n;
    const int64_t below = otimes_path_heads_below(engine, heads + l) * info->n_heads;
    for (int64_t f = 0; before >= 0 && f < below; f++) {
        larger(stream, j->wrote_heads + (before * heads + f) * n, j->norm_O[f], n);
    }
    for (int64_t m = 0; m < l; m++) {
        larger(stream, j->wrote_mlps + (level * info->n_layers + m) * n, 1, n);
    }
    larger(stream, j->by_sources, 1, n);
    for (int64_t t = 0; t < n; t++) {
        stream[t] *= 1 + ROUNDING;
        wrote[t] = stream[t] * j->lipschitz[l * n + t];
    }
}

static int one_layer(reach_job *j, int64_t l, otimes_err *err)
{
    otimes_path_engine *engine = j->engine;
    int rc = OTIMES_OK;
    if (otimes_path_layer_takes_part(engine, l)) {
        rc = otimes_path_cores(engine, l, j->kappa, err);
        sources_to_heads(j, l);
        for (int64_t i = 0; rc == OTIMES_OK && i < engine->levels * engine->linear->info->n_heads;
             i++) {
            head_level(j, l, i % engine->linear->info->n_heads, i / engine->linear->info->n_heads);
        }
    }
    if (rc == OTIMES_OK && otimes_linear_has_mlp(engine->linear, l)) {
        sources_to_mlp(j, l);
        for (int64_t level = 0; level < engine->levels; level++) {
            mlp_level(j, l, level);
        }
    }
    return rc;
}

static int make_room(reach_job *j, otimes_err *err)
{
    otimes_path_engine *engine = j->engine;
    const otimes_model_info *info = engine->linear->info;
    const int64_t n = engine->n, d = engine->d, e = engine->width, layers = info->n_layers;
    const int64_t heads = engine->levels * engine->heads, mlps = engine->levels * layers;
    const int64_t in_mlp = 2 * d * d + d * info->d_mlp, in_head = 2 * e * e + e * d;
    int rc = OTIMES_OK;
    engine->reach = otimes_pool_new(&engine->pool, heads * n, sizeof(float), &rc, err);
    engine->mlp_reach = otimes_pool_new(&engine->pool, mlps * n, sizeof(float), &rc, err);
    otimes_pool *pool = &j->pool;
    j->kappa = otimes_pool_new(pool, engine->heads * info->n_kv_heads, sizeof(float), &rc, err);
    j->by_sources = otimes_pool_new(pool, info->n_heads * n, sizeof(float), &rc, err);
    j->wrote_heads = otimes_pool_new(pool, heads * n, sizeof(float), &rc, err);
    j->wrote_mlps = otimes_pool_new(pool, mlps * n, sizeof(float), &rc, err);
    j->norm_O = otimes_pool_new(pool, engine->heads, sizeof(double), &rc, err);
    j->norm_V = otimes_pool_new(pool, layers * info->n_kv_heads, sizeof(double), &rc, err);
    j->lipschitz = otimes_pool_new(pool, layers * n, sizeof(float), &rc, err);
    j->values = otimes_pool_new(pool, n * info->n_kv_heads * e, sizeof(float), &rc, err);
    j->work = otimes_pool_new(pool, in_mlp > in_head ? in_mlp : in_head, sizeof(double), &rc, err);
    return rc;
}

int otimes_path_reach_fields(otimes_path_engine *engine, otimes_err *err)
{
    const int64_t layers = engine->linear->info->n_layers, orders = engine->max_order;
    reach_job j = {.engine = engine};
    engine->levels = orders < 0 ? 1 : (orders < layers ? orders : layers) + 1;
    int rc = make_room(&j, err);
    if (rc == OTIMES_OK) {
        rc = measure_mlps(&j, err);
    }
    if (rc == OTIMES_OK) {
        measure_heads(&j);
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < layers; l++) {
        rc = one_layer(&j, l, err);
    }
    otimes_pool_free(&j.pool);
    return rc;
}
