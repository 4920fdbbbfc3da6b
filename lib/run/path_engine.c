/* SPDX-License-Identifier: MIT */
#include "run/path_engine.h"

#include <math.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "run/linear_layer.h"

int64_t otimes_path_heads_below(const otimes_path_engine *engine, int64_t reader)
{
    const otimes_model_info *info = engine->linear->info;
    if (reader < 0) {
        return info->n_layers;
    }
    if (reader < engine->heads) {
        return reader / info->n_heads;
    }
    return reader - engine->heads + (info->parallel ? 0 : 1);
}

int64_t otimes_path_mlps_below(const otimes_path_engine *engine, int64_t reader)
{
    const otimes_model_info *info = engine->linear->info;
    if (reader < 0) {
        return info->n_layers;
    }
    return reader < engine->heads ? reader / info->n_heads : reader - engine->heads;
}

bool otimes_path_reads_source(const otimes_path_engine *engine, int64_t reader, int64_t source)
{
    const otimes_linear_source *s = &engine->linear->source[source];
    if (reader < 0) {
        return true;
    }
    return reader < engine->heads ? s->layer < reader / engine->linear->info->n_heads
                                  : s->mlp_layer <= reader - engine->heads;
}

/* Frobenius norms of blocks of d_head rows. */
static void block_sizes(const otimes_path_engine *engine, const float *w, int64_t blocks,
                        double *size)
{
    const int64_t block = engine->width * engine->d;
    for (int64_t i = 0; i < blocks; i++) {
        size[i] = sqrt(otimes_dot(w + i * block, w + i * block, block));
    }
}

/* 1/s, or ones where there is no norm. */
static void invert(const float *scale, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        out[i] = scale ? (float)(1 / (double)scale[i]) : 1;
    }
}

static void take_layer(const otimes_path_engine *engine, const otimes_ready_layer *layer,
                       const float *one)
{
    const otimes_linear *linear = engine->linear;
    const otimes_model_info *info = linear->info;
    const int64_t l = layer->layer, d = engine->d, wide = info->n_heads * engine->width;
    const int64_t kv = info->n_kv_heads * engine->width, stride = wide + 2 * kv;
    const float *scale = otimes_frozen_at(&linear->frozen, OTIMES_HOOK_LN1_SCALE, l);
    const float *post = otimes_frozen_at(&linear->frozen, OTIMES_HOOK_LN1_POST_SCALE, l);
    float *out = engine->W_O + l * wide * d, *in = engine->W_V + l * kv * d;
    otimes_linear_scale_rows(linear, layer->rest.ln1_post_w.data, post ? one : NULL, false, 0, wide,
                             layer->rest.W_O.data, out);
    for (int64_t c = 0; c < kv; c++) {
        for (int64_t i = 0; i < d; i++) {
            in[c * d + i] = layer->W_QKV[i * stride + wide + kv + c];
        }
    }
    otimes_linear_scale_rows(linear, layer->rest.ln1_w.data, scale ? one : NULL, true, 0, kv, in,
                             in);
    invert(scale, engine->n, engine->unscale[l]);
    invert(post, engine->n, engine->unpost[l]);
}

int otimes_path_engine_weights(otimes_path_engine *engine, otimes_err *err)
{
    const otimes_linear *linear = engine->linear;
    const otimes_model_info *info = linear->info;
    const int64_t layers = info->n_layers, values = layers * info->n_kv_heads, d = engine->d;
    otimes_pool *pool = &engine->pool;
    int rc = OTIMES_OK;
    engine->W_O = otimes_pool_new(pool, engine->heads * engine->width * d, sizeof(float), &rc, err);
    engine->W_V = otimes_pool_new(pool, values * engine->width * d, sizeof(float), &rc, err);
    engine->size_O = otimes_pool_new(pool, engine->heads, sizeof(double), &rc, err);
    engine->size_V = otimes_pool_new(pool, values, sizeof(double), &rc, err);
    engine->unscale = otimes_pool_new(pool, layers, sizeof(float *), &rc, err);
    engine->unpost = otimes_pool_new(pool, layers, sizeof(float *), &rc, err);
    float *one = otimes_pool_new(pool, linear->n, sizeof *one, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < linear->n; i++) {
        one[i] = 1;
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < layers; l++) {
        const otimes_ready_layer *layer = NULL;
        engine->unscale[l] = otimes_pool_new(pool, engine->n, sizeof(float), &rc, err);
        engine->unpost[l] = otimes_pool_new(pool, engine->n, sizeof(float), &rc, err);
        if (rc == OTIMES_OK) {
            rc = otimes_layers_get(linear->layers, l, &layer, err);
        }
        if (rc == OTIMES_OK) {
            take_layer(engine, layer, one);
        }
    }
    if (rc == OTIMES_OK) {
        block_sizes(engine, engine->W_O, engine->heads, engine->size_O);
        block_sizes(engine, engine->W_V, values, engine->size_V);
    }
    return rc;
}

static int check(const otimes_linear *linear, const otimes_linear_target *target,
                 const otimes_path_settings *settings, otimes_err *err)
{
    if (target->position < 0 || target->position >= linear->n) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "position: expected 0 to %lld, got %lld",
                           (long long)linear->n - 1, (long long)target->position);
    }
    if (settings->max_order < -1 || settings->count < 0 || settings->budget < 0 ||
        !(settings->seconds >= 0)) {
        return otimes_fail(
            err, OTIMES_ERR_ARGUMENT,
            "paths: expected a count, budget and time of at least 0, and an order of "
            "at least -1; got %lld, %lld, %g, %lld",
            (long long)settings->count, (long long)settings->budget, settings->seconds,
            (long long)settings->max_order);
    }
    return OTIMES_OK;
}

int otimes_path_engine_open(otimes_path_engine *engine, otimes_linear *linear,
                            const otimes_linear_target *target,
                            const otimes_path_settings *settings, bool search, otimes_err *err)
{
    const otimes_model_info *info = linear->info;
    bool fields = false;
    for (int64_t l = 0; l < info->n_layers; l++) {
        fields = fields || otimes_linear_has_mlp(linear, l);
    }
    *engine = (otimes_path_engine){.ops = fields ? &otimes_path_fields : &otimes_path_rows,
                                   .linear = linear,
                                   .target = target,
                                   .layers = settings->layers,
                                   .max_order = settings->max_order,
                                   .n = info->bidirectional ? linear->n : target->position + 1,
                                   .d = info->d_model,
                                   .width = info->d_head,
                                   .heads = info->n_layers * info->n_heads,
                                   .links = info->n_layers * (info->n_heads + 1),
                                   .longest = info->n_layers * (fields ? 2 : 1)};
    const int rc = check(linear, target, settings, err);
    engine->workers = otimes_par_workers(INT32_MAX, linear->model->threads);
    return rc == OTIMES_OK ? engine->ops->open(engine, search, err) : rc;
}

void otimes_path_engine_close(otimes_path_engine *engine)
{
    otimes_pool_free(&engine->pool);
    *engine = (otimes_path_engine){0};
}
