/* SPDX-License-Identifier: MIT
 *
 * What prefixes can bring to a head: reach[j, e, t] >= ||z[t]|| / s_post[t] for every prefix that ends
 * with head e and goes through at most j heads before it, z [n, d_head] being what it puts in front
 * of W_O. A forward recursion:
 *   by sources    z = A^e diag(1/s) x N W_V itself
 *   by head f     z_e = A^e diag(1/(s s_post)) z_f C with the core C = W_O^f N_post N W_V^e
 *                 [d_head, d_head], so ||z_e[t]|| <= ||C|| sum_k A^e[t, k] reach[j-1, f, k] / s[k]
 * Patterns are not negative, so nothing is lost over positions but the directions of the terms.
 */
#include <math.h>
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "num/la.h"
#include "num/product.h"
#include "run/path_engine.h"

enum { SQUARINGS = 6 };

/* Products in float32, relative to the norms of what is multiplied. */
#define ROUNDING 1e-5f

static double trace(const double *g, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += g[i * n + i];
    }
    return sum;
}

/* The largest eigenvalue of a positive matrix G is at most tr(G^m)^(1/m), here with m = 2^SQUARINGS.
 * After each squaring the trace is taken out, so that nothing overflows. */
double otimes_path_operator_norm(int64_t n, int64_t columns, const float *c, int64_t ldc,
                                 double *work)
{
    double *g = work, *next = work + n * n, *wide = work + 2 * n * n, log_sum = 0, power = 1;
    for (int64_t i = 0; i < n * columns; i++) {
        wide[i] = (double)c[i / columns * ldc + i % columns];
    }
    otimes_la_default->dgemm(false, true, n, n, columns, 1, wide, columns, wide, columns, 0, g, n);
    for (int k = 0;; k++, power /= 2) {
        const double size = trace(g, n);
        if (!(size > 0)) {
            return 0;
        }
        log_sum += power * log(size);
        if (k == SQUARINGS) {
            return exp(0.5 * log_sum) * (1 + 1e-9);
        }
        for (int64_t i = 0; i < n * n; i++) {
            g[i] /= size;
        }
        otimes_la_default->dgemm(false, false, n, n, n, 1, g, n, g, n, 0, next, n);
        double *swap = g;
        g = next;
        next = swap;
    }
}

/* Norms of the cores between all heads below a layer and its values. */
typedef struct core_job {
    const otimes_path_engine *engine;
    int64_t layer;
    float *kappa; /* [below, n_kv_heads] */
    float *core;  /* [workers, d_head, n_kv_heads * d_head] */
    double *work; /* [workers, 3, d_head, d_head] */
} core_job;

static int core_item(void *context, int64_t f, int worker, otimes_err *err)
{
    const core_job *j = context;
    const otimes_path_engine *engine = j->engine;
    const int64_t e = engine->width, d = engine->d, groups = engine->linear->info->n_kv_heads;
    const int64_t first = j->layer * groups;
    float *core = j->core + worker * e * groups * e;
    double *work = j->work + worker * 3 * e * e;
    (void)err;
    otimes_la_default->sgemm(false, true, e, groups * e, d, 1, engine->W_O + f * e * d, d,
                             engine->W_V + first * e * d, d, 0, core, groups * e);
    for (int64_t g = 0; g < groups; g++) {
        const double rounding = 1e-6 * engine->size_O[f] * engine->size_V[first + g];
        const double norm = otimes_path_operator_norm(e, e, core + g * e, groups * e, work);
        j->kappa[f * groups + g] = (float)((norm + rounding) * (1 + 1e-6));
    }
    return OTIMES_OK;
}

int otimes_path_cores(const otimes_path_engine *engine, int64_t layer, float *kappa,
                      otimes_err *err)
{
    const otimes_model_info *info = engine->linear->info;
    const int64_t e = engine->width, kv = info->n_kv_heads * e, below = layer * info->n_heads;
    core_job j = {.engine = engine, .layer = layer, .kappa = kappa};
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    j.core = otimes_pool_new(&pool, engine->workers * e * kv, sizeof(float), &rc, err);
    j.work = otimes_pool_new(&pool, engine->workers * 3 * e * e, sizeof(double), &rc, err);
    if (rc == OTIMES_OK) {
        const double operations = 0.03 * (double)(below * kv * e) * (double)(engine->d + 20 * e);
        rc = otimes_par_for(below, otimes_par_worth(engine->linear->model->threads, operations),
                            core_item, &j, err);
    }
    otimes_pool_free(&pool);
    return rc;
}

/* Work on one layer. */
typedef struct reach_job {
    otimes_path_engine *engine;
    int64_t layer, below; /* heads below the layer */
    float *kappa;         /* [below, n_kv_heads] */
    float *values;        /* [n, n_kv_heads * d_head] of a source, behind its norm */
    float *sizes;         /* [n] what rounding may have taken from them, at most */
    float *direct;        /* [n_heads, n] by sources */
    float *scaled;        /* [below, n] reach / s */
    float *carried;       /* [below, n] of a head */
    float *z;             /* [workers, n, d_head] */
    otimes_pool pool;
} reach_job;

static const float *pattern_of(const reach_job *j, int64_t head)
{
    const otimes_linear *linear = j->engine->linear;
    return otimes_frozen_at(&linear->frozen, OTIMES_HOOK_PATTERN, j->layer) +
           head * linear->n * linear->n;
}

/* direct := the larger of itself and the norms of A v. */
static int direct_item(void *context, int64_t head, int worker, otimes_err *err)
{
    const reach_job *j = context;
    const otimes_path_engine *engine = j->engine;
    const otimes_model_info *info = engine->linear->info;
    const int64_t n = engine->n, e = engine->width, kv = info->n_kv_heads * e;
    const int64_t group = info->n_heads / info->n_kv_heads;
    const double rounding = engine->size_V[j->layer * info->n_kv_heads + head / group];
    const float *pattern = pattern_of(j, head);
    float *z = j->z + worker * n * e, *direct = j->direct + head * n;
    (void)err;
    otimes_la_default->sgemm(false, false, n, e, n, 1, pattern, engine->linear->n,
                             j->values + head / group * e, kv, 0, z, e);
    for (int64_t t = 0; t < n; t++) {
        const double slack = rounding * otimes_dot(pattern + t * engine->linear->n, j->sizes, n);
        const float norm = (float)(sqrt(otimes_dot(z + t * e, z + t * e, e)) + slack);
        direct[t] = norm > direct[t] ? norm : direct[t];
    }
    return OTIMES_OK;
}

static int by_sources(reach_job *j, otimes_err *err)
{
    const otimes_path_engine *engine = j->engine;
    const otimes_model_info *info = engine->linear->info;
    const int64_t n = engine->n, d = engine->d, kv = info->n_kv_heads * engine->width;
    const int threads = engine->linear->model->threads;
    int rc = OTIMES_OK;
    memset(j->direct, 0, (size_t)(info->n_heads * n) * sizeof *j->direct);
    for (int64_t s = 0; rc == OTIMES_OK && s < engine->linear->source_count; s++) {
        if (!otimes_path_reads_source(engine, j->layer * info->n_heads, s)) {
            continue;
        }
        otimes_product(threads, true, n, kv, d, engine->linear->source[s].rows, d,
                       engine->W_V + j->layer * kv * d, d, NULL, false, j->values, kv);
        for (int64_t t = 0; t < n; t++) {
            const float unscale = engine->unscale[j->layer][t];
            j->sizes[t] = 0.1f * ROUNDING * unscale * engine->source_size[s * n + t];
            for (int64_t k = 0; k < kv; k++) {
                j->values[t * kv + k] *= unscale;
            }
        }
        (void)otimes_par_for(info->n_heads, otimes_par_worth(threads, (double)(n * n * kv)),
                             direct_item, j, NULL);
        rc = otimes_pulse_beat(engine->linear->layers->pulse, err);
    }
    return rc;
}

/* reach of one level in this layer. */
static int one_level(reach_job *j, int64_t level, otimes_err *err)
{
    otimes_path_engine *engine = j->engine;
    const otimes_model_info *info = engine->linear->info;
    const int64_t n = engine->n, group = info->n_heads / info->n_kv_heads;
    const bool deeper = level > 0 || engine->max_order < 0;
    const int64_t below = deeper ? j->below : 0;
    const float *before = engine->reach + (level > 0 ? level - 1 : 0) * engine->heads * n;
    float *reach = engine->reach + (level * engine->heads + j->layer * info->n_heads) * n;
    int rc = OTIMES_OK;
    for (int64_t i = 0; i < below * n; i++) {
        j->scaled[i] = before[i] * engine->unscale[j->layer][i % n];
    }
    for (int64_t h = 0; rc == OTIMES_OK && h < info->n_heads; h++) {
        float *own = reach + h * n;
        memcpy(own, j->direct + h * n, (size_t)n * sizeof *own);
        otimes_product(engine->linear->model->threads, true, below, n, n, j->scaled, n,
                       pattern_of(j, h), engine->linear->n, NULL, false, j->carried, n);
        for (int64_t f = 0; f < below; f++) {
            const float kappa = j->kappa[f * info->n_kv_heads + h / group];
            for (int64_t t = 0; t < n; t++) {
                const float most = kappa * j->carried[f * n + t];
                own[t] = most > own[t] ? most : own[t];
            }
        }
        for (int64_t t = 0; t < n; t++) {
            own[t] *= engine->unpost[j->layer][t] * (1 + ROUNDING);
        }
        rc = otimes_pulse_beat(engine->linear->layers->pulse, err);
    }
    return rc;
}

static int make_room(reach_job *j, otimes_err *err)
{
    const otimes_path_engine *engine = j->engine;
    const otimes_model_info *info = engine->linear->info;
    const int64_t n = engine->n, e = engine->width, kv = info->n_kv_heads * e;
    const int64_t heads = engine->heads, workers = engine->workers;
    otimes_pool *pool = &j->pool;
    int rc = OTIMES_OK;
    j->kappa = otimes_pool_new(pool, heads * info->n_kv_heads, sizeof(float), &rc, err);
    j->values = otimes_pool_new(pool, n * kv, sizeof(float), &rc, err);
    j->sizes = otimes_pool_new(pool, n, sizeof(float), &rc, err);
    j->direct = otimes_pool_new(pool, info->n_heads * n, sizeof(float), &rc, err);
    j->scaled = otimes_pool_new(pool, heads * n, sizeof(float), &rc, err);
    j->carried = otimes_pool_new(pool, heads * n, sizeof(float), &rc, err);
    j->z = otimes_pool_new(pool, workers * n * e, sizeof(float), &rc, err);
    return rc;
}

int otimes_path_reach_rows(otimes_path_engine *engine, otimes_err *err)
{
    const otimes_model_info *info = engine->linear->info;
    const int64_t layers = info->n_layers, orders = engine->max_order;
    reach_job j = {.engine = engine};
    int rc = OTIMES_OK;
    engine->levels = orders < 1 ? 1 : (orders < layers ? orders : layers);
    engine->reach = otimes_pool_new(&engine->pool, engine->levels * engine->heads * engine->n,
                                    sizeof(float), &rc, err);
    if (rc == OTIMES_OK) {
        rc = make_room(&j, err);
    }
    for (; rc == OTIMES_OK && j.layer < layers; j.layer++) {
        if (!otimes_path_layer_takes_part(engine, j.layer)) {
            continue;
        }
        j.below = j.layer * info->n_heads;
        rc = by_sources(&j, err);
        if (rc == OTIMES_OK) {
            rc = otimes_path_cores(engine, j.layer, j.kappa, err);
        }
        for (int64_t level = 0; rc == OTIMES_OK && level < engine->levels; level++) {
            rc = one_level(&j, level, err);
        }
    }
    otimes_pool_free(&j.pool);
    return rc;
}
