/* SPDX-License-Identifier: MIT
 *
 * Suffixes of heads alone: alpha [n] ⊗ rho [d_model], one after the other in a state.
 *   a head in front:  alpha' = ((alpha / s_post) A) / s,   beta = W_O N_post^T rho,   rho' = N W_V beta
 */
#include <math.h>
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "num/product.h"
#include "run/path_engine.h"

/* Products in float32, relative to the norms of what is multiplied. */
#define ROUNDING 1e-5

/* Norms of the sources' rows [sources, n]. */
static int measure_sources(otimes_path_engine *engine, otimes_err *err)
{
    const otimes_linear *linear = engine->linear;
    const int64_t n = engine->n, d = engine->d;
    int rc = OTIMES_OK;
    engine->source_size =
        otimes_pool_new(&engine->pool, linear->source_count * n, sizeof(float), &rc, err);
    for (int64_t s = 0; rc == OTIMES_OK && s < linear->source_count; s++) {
        for (int64_t t = 0; t < n; t++) {
            const float *x = linear->source[s].rows + t * d;
            engine->source_size[s * n + t] = (float)sqrt(otimes_dot(x, x, d));
        }
    }
    return rc;
}

static int open(otimes_path_engine *engine, bool search, otimes_err *err)
{
    const int64_t wide = engine->heads * engine->width;
    const int64_t most = wide > engine->n ? wide : engine->n;
    int rc = otimes_path_engine_weights(engine, err);
    engine->state = engine->n + engine->d;
    engine->work_size = engine->width;
    engine->work = otimes_pool_new(&engine->pool, engine->workers * engine->work_size,
                                   sizeof(float), &rc, err);
    engine->wide =
        otimes_pool_new(&engine->pool, OTIMES_PATH_BATCH * most, sizeof(float), &rc, err);
    if (rc == OTIMES_OK && search) {
        rc = measure_sources(engine, err);
    }
    return rc == OTIMES_OK && search ? otimes_path_reach_rows(engine, err) : rc;
}

static void root(const otimes_path_engine *engine, float *state)
{
    memset(state, 0, (size_t)engine->n * sizeof *state);
    state[engine->target->position] = 1;
    memcpy(state + engine->n, engine->target->direction, (size_t)engine->d * sizeof *state);
}

/* to [n] := ((alpha / s_post) A) / s. */
static void step_positions(const otimes_path_engine *engine, const float *alpha, int64_t link,
                           float *to)
{
    const otimes_linear *linear = engine->linear;
    const otimes_model_info *info = linear->info;
    const int64_t layer = link / info->n_heads, head = link % info->n_heads, n = engine->n;
    const float *pattern = otimes_frozen_at(&linear->frozen, OTIMES_HOOK_PATTERN, layer) +
                           head * linear->n * linear->n;
    memset(to, 0, (size_t)n * sizeof *to);
    for (int64_t q = 0; q < n; q++) {
        const float weight = alpha[q] * engine->unpost[layer][q];
        const int64_t keys = info->bidirectional ? n : q + 1;
        for (int64_t k = 0; weight != 0 && k < keys; k++) {
            to[k] += weight * pattern[q * linear->n + k];
        }
    }
    for (int64_t k = 0; k < n; k++) {
        to[k] *= engine->unscale[layer][k];
    }
}

static int64_t value_head(const otimes_path_engine *engine, int64_t link)
{
    const otimes_model_info *info = engine->linear->info;
    const int64_t group = info->n_heads / info->n_kv_heads;
    return link / info->n_heads * info->n_kv_heads + link % info->n_heads / group;
}

static int step(otimes_path_engine *engine, const float *from, int64_t link, int worker, float *to,
                otimes_err *err)
{
    const int64_t d = engine->d, e = engine->width;
    const float *W_O = engine->W_O + link * e * d;
    const float *W_V = engine->W_V + value_head(engine, link) * e * d;
    float *beta = engine->work + worker * engine->work_size, *rho = to + engine->n;
    (void)err;
    step_positions(engine, from, link, to);
    for (int64_t k = 0; k < e; k++) {
        beta[k] = (float)otimes_dot(W_O + k * d, from + engine->n, d);
    }
    memset(rho, 0, (size_t)d * sizeof *rho);
    for (int64_t k = 0; k < e; k++) {
        for (int64_t i = 0; i < d; i++) {
            rho[i] += beta[k] * W_V[k * d + i];
        }
    }
    return OTIMES_OK;
}

/* ---- values ---- */

typedef struct value_job {
    const otimes_path_engine *engine;
    const float *states, *near; /* near [count, n]: <rho, x[t]> of one source; NULL: not known */
    const int64_t *reader;
    int64_t source;
    double floor;
    double *value;
} value_job;

static double value_at(const otimes_path_engine *engine, const float *state, const float *x,
                       int64_t t)
{
    if (state[t] == 0) {
        return 0;
    }
    return (double)state[t] * otimes_dot(state + engine->n, x + t * engine->d, engine->d);
}

static void positions(const otimes_path_engine *engine, const float *state, const float *x,
                      double *carried)
{
    for (int64_t t = 0; t < engine->n; t++) {
        carried[t] = value_at(engine, state, x, t);
    }
}

/* Products of float32, sums in double: what is listed. */
static double exact_value(const otimes_path_engine *engine, const float *state, const float *x)
{
    double sum = 0;
    for (int64_t t = 0; t < engine->n; t++) {
        sum += value_at(engine, state, x, t);
    }
    return sum;
}

/* From products in float32, and what these may be off by. */
static bool may_reach(const value_job *j, int64_t i, const float *state)
{
    const otimes_path_engine *engine = j->engine;
    const int64_t n = engine->n;
    const float *size = engine->source_size + j->source * n, *rho = state + n;
    double sum = 0, spread = 0;
    for (int64_t t = 0; t < n; t++) {
        sum += (double)state[t] * (double)j->near[i * n + t];
        spread += (double)state[t] * (double)size[t];
    }
    return fabs(sum) + ROUNDING * spread * sqrt(otimes_dot(rho, rho, engine->d)) >= j->floor;
}

static int value_item(void *context, int64_t i, int worker, otimes_err *err)
{
    const value_job *j = context;
    const otimes_path_engine *engine = j->engine;
    const float *state = j->states + i * engine->state;
    const otimes_linear_source *s = &engine->linear->source[j->source];
    double *value = &j->value[i * engine->linear->source_count + j->source];
    (void)worker, (void)err;
    *value = 0;
    if (otimes_path_reads_source(engine, j->reader[i], j->source) &&
        (!j->near || may_reach(j, i, state))) {
        *value = exact_value(engine, state, s->rows);
    }
    return OTIMES_OK;
}

static int values(otimes_path_engine *engine, int64_t count, const float *states,
                  const int64_t *reader, double floor, double *value, otimes_err *err)
{
    const int64_t n = engine->n, d = engine->d;
    const int threads = engine->linear->model->threads;
    const bool filter = floor > 0 && engine->source_size;
    for (int64_t s = 0; s < engine->linear->source_count; s++) {
        value_job j = {engine, states, NULL, reader, s, floor, value};
        if (filter) {
            otimes_product(threads, true, count, n, d, states + n, engine->state,
                           engine->linear->source[s].rows, d, NULL, false, engine->wide, n);
            j.near = engine->wide;
        }
        (void)otimes_par_for(count, otimes_par_worth(threads, (double)(count * n * d)), value_item,
                             &j, err);
    }
    return OTIMES_OK;
}

/* ---- bounds ---- */

typedef struct bound_job {
    const otimes_path_engine *engine;
    const float *states, *beta; /* beta [count, below * d_head] */
    const int64_t *reader, *left;
    int64_t below;
    double *bound;
} bound_job;

/* |sum_t alpha[t] <z[t], beta>| <= ||beta|| sum_t alpha[t] ||z[t]||, z being what reaches W_O of the
 * head. */
static int bound_item(void *context, int64_t i, int worker, otimes_err *err)
{
    const bound_job *j = context;
    const otimes_path_engine *engine = j->engine;
    const int64_t n = engine->n, e = engine->width, n_heads = engine->linear->info->n_heads;
    const int64_t below = otimes_path_heads_below(engine, j->reader[i]) * n_heads;
    const float *alpha = j->states + i * engine->state, *rho = alpha + n;
    const int64_t level = otimes_path_level(engine, j->left[i] < 0 ? -1 : j->left[i] - 1);
    const float *reach = engine->reach + level * engine->heads * n;
    const double rounding = ROUNDING * sqrt(otimes_dot(rho, rho, engine->d));
    (void)worker, (void)err;
    for (int64_t h = 0; h < engine->links; h++) {
        double *bound = &j->bound[i * engine->links + h];
        *bound = 0;
        if (h < below && j->left[i] != 0 && otimes_path_layer_takes_part(engine, h / n_heads)) {
            const float *beta = j->beta + (i * j->below + h) * e;
            const double size = sqrt(otimes_dot(beta, beta, e)) + rounding * engine->size_O[h];
            *bound = size * otimes_dot(alpha, reach + h * n, n) * (1 + ROUNDING);
        }
    }
    return OTIMES_OK;
}

static int bounds(otimes_path_engine *engine, int64_t count, const float *states,
                  const int64_t *reader, const int64_t *left, double *bound, otimes_err *err)
{
    const int64_t n_heads = engine->linear->info->n_heads, e = engine->width, d = engine->d;
    const int threads = engine->linear->model->threads;
    bound_job j = {engine, states, engine->wide, reader, left, 0, bound};
    for (int64_t i = 0; i < count; i++) {
        const int64_t below = otimes_path_heads_below(engine, reader[i]) * n_heads;
        j.below = below > j.below ? below : j.below;
    }
    otimes_product(threads, true, count, j.below * e, d, states + engine->n, engine->state,
                   engine->W_O, d, NULL, false, engine->wide, j.below * e);
    return otimes_par_for(count,
                          otimes_par_worth(threads, (double)(count * j.below * (engine->n + e))),
                          bound_item, &j, err);
}

const otimes_path_ops otimes_path_rows = {.open = open,
                                          .root = root,
                                          .step = step,
                                          .values = values,
                                          .bounds = bounds,
                                          .positions = positions,
                                          .parallel = true};
