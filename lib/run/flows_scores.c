/* SPDX-License-Identifier: MIT
 *
 * What queries and keys of a pass are, and what a target asks of them by the linear term.
 */
#include <math.h>
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "num/la.h"
#include "num/stats.h"
#include "num/vmath.h"
#include "run/flows_job.h"
#include "run/norm.h"
#include "run/rope.h"

enum { STRIP = 128 }; /* queries whose scores exist at a time */

/* ---- recording ---- */

/* How a row of `heads` heads is divided for its norm: 1 for all heads together, 0 without one. */
static int64_t norm_blocks(const otimes_model_info *info, int64_t heads)
{
    return info->qk_norm == OTIMES_QK_NORM_NONE  ? 0
           : info->qk_norm == OTIMES_QK_NORM_ALL ? 1
                                                 : heads;
}

static otimes_norm norm_kind(const otimes_model_info *info)
{
    return info->qk_norm == OTIMES_QK_NORM_LN ? OTIMES_NORM_LN : OTIMES_NORM_RMS;
}

static void keep_scales(const otimes_flow_scores *s, const otimes_activation *a, int64_t heads,
                        float *scale)
{
    const int64_t blocks = norm_blocks(s->info, heads);
    const int64_t width = blocks > 0 ? a->columns / blocks : 0;
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t b = 0; b < blocks; b++) {
            double mean;
            otimes_norm_statistics(norm_kind(s->info), s->info->eps, 1, 1, width,
                                   a->data + i * a->stride + b * width, width, &mean,
                                   scale + (a->first + i) * blocks + b);
        }
    }
}

/* Queries and keys that stand at the limit do not move with what they read. */
static void keep_free(const otimes_flow_scores *s, const otimes_activation *a,
                      unsigned char *is_free)
{
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t k = 0; k < a->columns; k++) {
            is_free[(a->first + i) * a->columns + k] =
                fabs((double)a->data[i * a->stride + k]) < (double)(float)s->info->clip_qkv;
        }
    }
}

static int record(void *context, const otimes_activation *a, otimes_err *err)
{
    const otimes_flow_scores *s = context;
    const bool queries = a->hook == OTIMES_HOOK_Q || a->hook == OTIMES_HOOK_ROT_Q;
    float *to = (queries ? s->q : a->hook == OTIMES_HOOK_V ? s->v : s->k)[a->layer];
    (void)err;
    for (int64_t i = 0; i < a->rows; i++) {
        memcpy(to + (a->first + i) * a->columns, a->data + i * a->stride,
               (size_t)a->columns * sizeof *to);
    }
    if (s->q_free && (a->hook == OTIMES_HOOK_Q || a->hook == OTIMES_HOOK_K)) {
        keep_free(s, a, (queries ? s->q_free : s->k_free)[a->layer]);
    }
    if (a->hook == OTIMES_HOOK_Q && s->q_scale) {
        keep_scales(s, a, s->info->n_heads, s->q_scale[a->layer]);
    } else if (a->hook == OTIMES_HOOK_K && s->k_scale) {
        keep_scales(s, a, s->info->n_kv_heads, s->k_scale[a->layer]);
    }
    return OTIMES_OK;
}

static float **by_layer(otimes_flow_scores *s, int64_t columns, int *rc, otimes_err *err)
{
    int64_t count = 0;
    float **rows = otimes_pool_new(&s->pool, s->info->n_layers, sizeof *rows, rc, err);
    if (*rc == OTIMES_OK &&
        !otimes_mul_i64(s->n, columns, &count)) { /* unreached: too many to hold */
        *rc = otimes_fail(err, OTIMES_ERR_MEMORY, "queries and keys: too many tokens");
    }
    for (int64_t l = 0; *rc == OTIMES_OK && l < s->info->n_layers; l++) {
        rows[l] = otimes_pool_new(&s->pool, count, sizeof **rows, rc, err);
    }
    return rows;
}

/* cos and sin as queries and keys are turned by, magnitude included. */
static int make_turns(otimes_flow_scores *s, const otimes_rope *rope, float **turn, otimes_err *err)
{
    const int64_t half = rope->dim / 2;
    double *frequency = NULL;
    int rc = OTIMES_OK;
    *turn = otimes_pool_new(&s->pool, s->n * rope->dim, sizeof **turn, &rc, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&frequency, half, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_rope_frequencies(s->model, rope, frequency, err);
    }
    for (int64_t p = 0; rc == OTIMES_OK && p < s->n; p++) {
        for (int64_t i = 0; i < half; i++) {
            const double angle = (double)p * frequency[i];
            (*turn)[p * rope->dim + i] = (float)(rope->magnitude * cos(angle));
            (*turn)[p * rope->dim + half + i] = (float)(rope->magnitude * sin(angle));
        }
    }
    otimes_free(frequency);
    return rc;
}

static int allocate(otimes_flow_scores *s, otimes_err *err)
{
    const otimes_model_info *info = s->info;
    const int64_t e = info->d_head;
    int rc = OTIMES_OK;
    s->q = by_layer(s, info->n_heads * e, &rc, err);
    s->k = by_layer(s, info->n_kv_heads * e, &rc, err);
    s->v = by_layer(s, info->n_kv_heads * e, &rc, err);
    if (info->qk_norm != OTIMES_QK_NORM_NONE) {
        s->q_scale = by_layer(s, norm_blocks(info, info->n_heads), &rc, err);
        s->k_scale = by_layer(s, norm_blocks(info, info->n_kv_heads), &rc, err);
    }
    if (info->clip_qkv > 0) {
        s->q_free = otimes_pool_new(&s->pool, info->n_layers, sizeof *s->q_free, &rc, err);
        s->k_free = otimes_pool_new(&s->pool, info->n_layers, sizeof *s->k_free, &rc, err);
    }
    for (int64_t l = 0; rc == OTIMES_OK && s->q_free && l < info->n_layers; l++) {
        s->q_free[l] = otimes_pool_new(&s->pool, s->n * info->n_heads * e, 1, &rc, err);
        s->k_free[l] = otimes_pool_new(&s->pool, s->n * info->n_kv_heads * e, 1, &rc, err);
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < info->n_layers; l++) {
        const otimes_rope *rope = otimes_layer_rope(s->model, l);
        float **turn = &s->turn[rope == &s->model->local_rope];
        if (rope && !*turn) {
            rc = make_turns(s, rope, turn, err);
        }
    }
    return rc;
}

int otimes_flow_scores_init(otimes_flow_scores **scores, const otimes_model *model, int64_t n,
                            otimes_hooks *hooks, otimes_err *err)
{
    int rc = OTIMES_NEW(scores, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_flow_scores *s = *scores;
    s->model = model;
    s->info = &model->info;
    s->n = n;
    rc = allocate(s, err);
    if (rc != OTIMES_OK) {
        otimes_flow_scores_free(scores);
        return rc;
    }
    *hooks = (otimes_hooks){.points = OTIMES_HOOK_BIT(Q) | OTIMES_HOOK_BIT(K) | OTIMES_HOOK_BIT(V) |
                                      OTIMES_HOOK_BIT(ROT_Q) | OTIMES_HOOK_BIT(ROT_K),
                            .visit = record,
                            .context = s};
    return OTIMES_OK;
}

void otimes_flow_scores_free(otimes_flow_scores **scores)
{
    if (*scores) {
        otimes_pool_free(&(*scores)->pool);
    }
    otimes_free(*scores);
    *scores = NULL;
}

/* ---- from patterns to scores ---- */

/* One layer. */
typedef struct ask {
    const flow_job *job;
    const otimes_ready_layer *layer;
    const float *y, *pattern; /* [n, wide], [n_heads][n][n] */
    const float *q, *k, *v;   /* what scores and z are made of */
    float *slopes, *scores;   /* [workers][STRIP * n]; scores NULL without a soft cap */
    float *ask_q, *ask_k;     /* [n, wide] */
} ask;

/* dS = A ∘ (dA - rowsum(A ∘ dA)) with dA = y v^T in `slope`: a softmax, with a sink or without. */
static void through_softmax(int64_t keys, const float *pattern, float *slope)
{
    const double mean = otimes_dot(pattern, slope, keys);
    for (int64_t key = 0; key < keys; key++) {
        slope[key] = (float)((double)pattern[key] * ((double)slope[key] - mean));
    }
}

/* c tanh(s / c) rises by 1 - tanh^2. ALiBi comes behind it. */
static void through_softcap(int64_t keys, float cap, float *score, float *slope)
{
    otimes_vsoftcap(keys, score, cap);
    for (int64_t key = 0; key < keys; key++) {
        const double tanh = (double)score[key] / (double)cap;
        slope[key] = (float)((double)slope[key] * (1 - tanh * tanh));
    }
}

static void ask_strip(const ask *a, int64_t h, int64_t first, int64_t rows, float *slope,
                      float *score)
{
    const flow_job *job = a->job;
    const otimes_la *la = otimes_la_default;
    const int64_t n = job->n, e = job->e, wide = job->wide, kv = job->kv;
    const int64_t keys = job->info->bidirectional ? n : first + rows;
    const int64_t at = first * wide + h * e;
    const int64_t column = h / (job->info->n_heads / job->info->n_kv_heads) * e;
    const float unit = (float)(1 / job->info->attn_scale);
    const float *pattern = a->pattern + (h * n + first) * n;
    la->sgemm(false, true, rows, keys, e, 1, a->y + at, wide, a->v + column, kv, 0, slope, keys);
    if (score) {
        la->sgemm(false, true, rows, keys, e, unit, a->q + at, wide, a->k + column, kv, 0, score,
                  keys);
    }
    for (int64_t i = 0; i < rows; i++) {
        through_softmax(keys, pattern + i * n, slope + i * keys);
        if (score) {
            through_softcap(keys, (float)job->info->attn_softcap, score + i * keys,
                            slope + i * keys);
        }
    }
    la->sgemm(false, false, rows, e, keys, unit, slope, keys, a->k + column, kv, 0, a->ask_q + at,
              wide);
    la->sgemm(true, false, keys, e, rows, unit, slope, keys, a->q + at, wide, 1, a->ask_k + h * e,
              wide);
}

/* ---- from scores back to what W_Q and W_K wrote ---- */

/* g R(p)^T: the adjoint of (a, b) -> (a cos - b sin, b cos + a sin). */
static void turn_back(const otimes_rope *rope, const float *turn, float *head)
{
    const int64_t half = rope->dim / 2;
    for (int64_t i = 0; i < half; i++) {
        float *a = head + (rope->adjacent ? 2 * i : i);
        float *b = head + (rope->adjacent ? 2 * i + 1 : i + half);
        const float c = turn[i], s = turn[half + i], x = *a, y = *b;
        *a = x * c + y * s;
        *b = y * c - x * s;
    }
}

/* The adjoint of x -> (x - mean) / scale * w, scale frozen. */
static void norm_back(bool centre, int64_t e, const float *w, float scale, float *head)
{
    for (int64_t i = 0; i < e; i++) {
        head[i] = head[i] * w[i] / scale;
    }
    const double mean = centre ? otimes_sum(head, e) / (double)e : 0;
    for (int64_t i = 0; centre && i < e; i++) {
        head[i] = (float)((double)head[i] - mean);
    }
}

/* What was recorded of queries, or of keys. */
typedef struct side {
    int64_t heads;
    const float *w, *scale;
    const unsigned char *is_free;
} side;

static side side_of(const ask *a, bool queries)
{
    const otimes_flow_scores *s = a->job->scores;
    const otimes_layer *weights = &a->layer->rest;
    const int64_t l = a->layer->layer;
    float *const *scale = queries ? s->q_scale : s->k_scale;
    unsigned char *const *is_free = queries ? s->q_free : s->k_free;
    return (side){.heads = queries ? s->info->n_heads : s->info->n_kv_heads,
                  .w = queries ? weights->q_norm_w.data : weights->k_norm_w.data,
                  .scale = scale ? scale[l] : NULL,
                  .is_free = is_free ? is_free[l] : NULL};
}

/* Rows of query head h; `from` is the head of that side that they come from. */
static void back_to_projection(const ask *a, const side *own, int64_t h, int64_t from, float *rows)
{
    const flow_job *job = a->job;
    const otimes_flow_scores *s = job->scores;
    const otimes_rope *rope = otimes_layer_rope(s->model, a->layer->layer);
    const float *turn = rope ? s->turn[rope == &s->model->local_rope] : NULL;
    const int64_t blocks = norm_blocks(job->info, own->heads), e = job->e;
    for (int64_t t = 0; t < job->live; t++) {
        float *row = rows + t * job->wide + h * e;
        if (rope) {
            turn_back(rope, turn + t * rope->dim, row);
        }
        if (own->w) {
            norm_back(job->info->qk_norm == OTIMES_QK_NORM_LN, e, own->w + from * e,
                      own->scale[t * blocks + (blocks > 1 ? from : 0)], row);
        }
        for (int64_t k = 0; own->is_free && k < e; k++) {
            row[k] *= (float)own->is_free[(t * own->heads + from) * e + k];
        }
    }
}

static int ask_head(void *context, int64_t h, int worker, otimes_err *err)
{
    const ask *a = context;
    const flow_job *job = a->job;
    const otimes_model_info *info = job->info;
    const int64_t room = STRIP * job->n;
    (void)err;
    for (int64_t first = 0; first < job->live; first += STRIP) {
        const int64_t rows = job->live - first < STRIP ? job->live - first : STRIP;
        ask_strip(a, h, first, rows, a->slopes + worker * room,
                  a->scores ? a->scores + worker * room : NULL);
    }
    const side queries = side_of(a, true), keys = side_of(a, false);
    back_to_projection(a, &queries, h, h, a->ask_q);
    back_to_projection(a, &keys, h, h / (info->n_heads / info->n_kv_heads), a->ask_k);
    return OTIMES_OK;
}

/* Queries or keys as recorded, and where nothing turned them behind their norm, behind that. */
static float *normed(const flow_job *job, int64_t heads, const float *w, const float *rows,
                     otimes_pool *pool, int *rc, otimes_err *err)
{
    const int64_t blocks = norm_blocks(job->info, heads), columns = heads * job->e;
    float *copy = otimes_pool_new(pool, job->n * columns, sizeof *copy, rc, err);
    if (*rc != OTIMES_OK) {
        return NULL;
    }
    memcpy(copy, rows, (size_t)(job->n * columns) * sizeof *copy);
    for (int64_t i = 0; i < job->n * blocks; i++) {
        const int64_t width = columns / blocks;
        otimes_norm_rows(norm_kind(job->info), job->info->eps, w + i % blocks * width, NULL, 1,
                         width, copy + i * width);
    }
    return copy;
}

int otimes_flow_ask_scores(flow_job *job, const otimes_ready_layer *layer, const float *y,
                           otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const int64_t l = layer->layer;
    const otimes_tensor *w = &layer->rest.q_norm_w;
    const double operations = 0.1 * (double)job->live * (double)job->n * (double)job->wide;
    const int threads = otimes_par_worth(job->linear->model->threads, operations);
    const int64_t room = otimes_par_workers(info->n_heads, threads) * STRIP * job->n;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    ask a = {.job = job,
             .layer = layer,
             .y = y,
             .pattern = otimes_frozen_at(&job->linear->frozen, OTIMES_HOOK_PATTERN, l),
             .q = job->scores->q[l],
             .k = job->scores->k[l],
             .v = job->scores->v[l],
             .slopes = otimes_pool_new(&pool, room, sizeof(float), &rc, err),
             .ask_q = job->asked[OTIMES_EDGE_Q][l],
             .ask_k = job->asked[OTIMES_EDGE_K][l]};
    if (info->attn_softcap > 0) {
        a.scores = otimes_pool_new(&pool, room, sizeof(float), &rc, err);
    }
    if (w->data && !otimes_layer_rope(job->linear->model, l)) {
        a.q = normed(job, info->n_heads, w->data, a.q, &pool, &rc, err);
        a.k = normed(job, info->n_kv_heads, layer->rest.k_norm_w.data, a.k, &pool, &rc, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_par_for(info->n_heads, threads, ask_head, &a, err);
    }
    otimes_pool_free(&pool);
    return rc;
}
