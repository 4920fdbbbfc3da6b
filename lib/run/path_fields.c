/* SPDX-License-Identifier: MIT
 *
 * Suffixes of heads and MLPs with frozen gates: gates differ from position to position, so that a
 * suffix is a field G [n_tokens, d_model], and a link one layer's adjoint.
 *   head:  G' = diag(1/s) A^T (G N_post^T W_O^T) (N W_V)^T
 *   MLP:   G' = diag(1/s) (gate ∘ (G N_post^T W_out^T)) (N W_in)^T
 */
#include <math.h>
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "run/path_engine.h"

static int open(otimes_path_engine *engine, bool search, otimes_err *err)
{
    const otimes_model_info *info = engine->linear->info;
    const int64_t n = engine->linear->n;
    int rc = search ? otimes_path_engine_weights(engine, err) : OTIMES_OK;
    engine->state = n * engine->d;
    engine->work_size = n * info->n_heads * engine->width;
    engine->work = otimes_pool_new(&engine->pool, engine->work_size, sizeof(float), &rc, err);
    engine->wide = otimes_pool_new(&engine->pool, engine->state, sizeof(float), &rc, err);
    engine->only = otimes_pool_new(&engine->pool, info->n_heads, sizeof(bool), &rc, err);
    return rc == OTIMES_OK && search ? otimes_path_reach_fields(engine, err) : rc;
}

static void root(const otimes_path_engine *engine, float *state)
{
    memset(state, 0, (size_t)engine->state * sizeof *state);
    memcpy(state + engine->target->position * engine->d, engine->target->direction,
           (size_t)engine->d * sizeof *state);
}

static int layer_of(otimes_path_engine *engine, int64_t layer, const otimes_ready_layer **ready,
                    otimes_err *err)
{
    return otimes_layers_get(engine->linear->layers, layer, ready, err);
}

static int step(otimes_path_engine *engine, const float *from, int64_t link, int worker, float *to,
                otimes_err *err)
{
    const otimes_ready_layer *layer;
    const int64_t n_heads = engine->linear->info->n_heads;
    const bool head = otimes_path_is_head(engine, link);
    (void)worker;
    int rc = layer_of(engine, head ? link / n_heads : link - engine->heads, &layer, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (!head) {
        return otimes_linear_mlp_back(engine->linear, layer, 1, from, to, err);
    }
    engine->only[link % n_heads] = true;
    rc = otimes_linear_attention_back(engine->linear, layer, 1, from, engine->only, engine->work,
                                      to, err);
    engine->only[link % n_heads] = false;
    return rc;
}

/* ---- values ---- */

static void positions(const otimes_path_engine *engine, const float *state, const float *x,
                      double *carried)
{
    for (int64_t t = 0; t < engine->n; t++) {
        carried[t] = otimes_dot(state + t * engine->d, x + t * engine->d, engine->d);
    }
}

typedef struct value_job {
    const otimes_path_engine *engine;
    const float *states;
    const int64_t *reader;
    double *value;
} value_job;

static int value_item(void *context, int64_t item, int worker, otimes_err *err)
{
    const value_job *j = context;
    const otimes_path_engine *engine = j->engine;
    const int64_t sources = engine->linear->source_count, i = item / sources, s = item % sources;
    const float *state = j->states + i * engine->state, *x = engine->linear->source[s].rows;
    double sum = 0;
    (void)worker, (void)err;
    if (otimes_path_reads_source(engine, j->reader[i], s)) {
        for (int64_t t = 0; t < engine->n; t++) {
            sum += otimes_dot(state + t * engine->d, x + t * engine->d, engine->d);
        }
    }
    j->value[item] = sum;
    return OTIMES_OK;
}

static int values(otimes_path_engine *engine, int64_t count, const float *states,
                  const int64_t *reader, double floor, double *value, otimes_err *err)
{
    value_job j = {engine, states, reader, value};
    const int64_t items = count * engine->linear->source_count;
    (void)floor;
    return otimes_par_for(
        items, otimes_par_worth(engine->linear->model->threads, (double)(items * engine->state)),
        value_item, &j, err);
}

/* ---- bounds ---- */

/* sum_t ||G[t]|| reach[t], rows of `width` that are `stride` apart. */
static double mass(const otimes_path_engine *engine, const float *g, int64_t width, int64_t stride,
                   const float *reach)
{
    double sum = 0;
    for (int64_t t = 0; t < engine->n; t++) {
        const float *row = g + t * stride;
        sum += sqrt(otimes_dot(row, row, width)) * (double)reach[t];
    }
    return sum * (1 + 1e-5);
}

/* Bounds of the links of one layer. */
static int bound_layer(otimes_path_engine *engine, const float *state, int64_t reader, int64_t l,
                       int64_t left, double *bound, otimes_err *err)
{
    const otimes_ready_layer *layer;
    otimes_linear *linear = engine->linear;
    const int64_t n_heads = linear->info->n_heads, e = engine->width, n = engine->n;
    const bool heads = left != 0 && l < otimes_path_heads_below(engine, reader) &&
                       otimes_path_layer_takes_part(engine, l);
    const int64_t before = otimes_path_level(engine, left < 0 ? -1 : left - 1);
    const bool mlp = l < otimes_path_mlps_below(engine, reader) && otimes_linear_has_mlp(linear, l);
    int rc = heads || mlp ? layer_of(engine, l, &layer, err) : OTIMES_OK;
    if (rc == OTIMES_OK && heads) {
        rc = otimes_linear_attention_back(linear, layer, 1, state, NULL, engine->work, NULL, err);
    }
    for (int64_t h = 0; rc == OTIMES_OK && heads && h < n_heads; h++) {
        const int64_t link = l * n_heads + h;
        bound[link] = mass(engine, engine->work + h * e, e, n_heads * e,
                           engine->reach + (before * engine->heads + link) * n);
    }
    if (rc == OTIMES_OK && mlp) {
        rc = otimes_linear_mlp_back(linear, layer, 1, state, engine->wide, err);
    }
    if (rc == OTIMES_OK && mlp) {
        const int64_t layers = linear->info->n_layers, level = otimes_path_level(engine, left);
        bound[engine->heads + l] = mass(engine, engine->wide, engine->d, engine->d,
                                        engine->mlp_reach + (level * layers + l) * n);
    }
    return rc;
}

static int bounds(otimes_path_engine *engine, int64_t count, const float *states,
                  const int64_t *reader, const int64_t *left, double *bound, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t i = 0; i < count; i++) {
        double *own = bound + i * engine->links;
        for (int64_t link = 0; link < engine->links; link++) {
            own[link] = 0;
        }
        for (int64_t l = 0; rc == OTIMES_OK && l < engine->linear->info->n_layers; l++) {
            rc = bound_layer(engine, states + i * engine->state, reader[i], l, left[i], own, err);
        }
    }
    return rc;
}

const otimes_path_ops otimes_path_fields = {.open = open,
                                            .root = root,
                                            .step = step,
                                            .values = values,
                                            .bounds = bounds,
                                            .positions = positions,
                                            .parallel = false};
