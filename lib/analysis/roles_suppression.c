/* SPDX-License-Identifier: MIT
 *
 * Copy suppression: where a token's own output stands in its row of E W_OV W_U. The table of a head
 * streams by tiles of W_U; a row takes d_head numbers on its way to them. Scales of rows, as norms
 * have them, change no rank.
 */
#include <stdlib.h>
#include <string.h>

#include "analysis/roles_job.h"
#include "base/par.h"
#include "model/model.h"
#include "num/la.h"
#include "run/common_tokens.h"
#include "run/effective_embedding.h"

enum { TILE = 1024, STRIP = 64 };

/* ---- source tokens ---- */

/* output_of [d_vocab]: the lowest output token of each input token's text; -1. */
static int find_outputs(const roles_job *job, int64_t *output_of, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    int64_t *input_of;
    int rc = OTIMES_NEW(&input_of, info->d_vocab_out, err);
    if (rc == OTIMES_OK) {
        rc = otimes_common_inputs(job->model, input_of, err);
    }
    for (int64_t id = 0; id < info->d_vocab; id++) {
        output_of[id] = -1;
    }
    for (int64_t out = info->d_vocab_out - 1; rc == OTIMES_OK && out >= 0; out--) {
        if (input_of[out] >= 0) {
            output_of[input_of[out]] = out;
        }
    }
    otimes_free(input_of);
    return rc;
}

/* The asked-for tokens, or some at even distances, of those that are outputs. */
static int choose_sources(roles_job *job, int64_t *candidate, int64_t *output_of, otimes_err *err)
{
    const otimes_roles_settings *s = job->settings;
    roles_sources *sources = &job->sources;
    const int64_t asked = s->rows ? s->row_count : job->info->d_vocab;
    int64_t count = 0;
    int rc = OTIMES_OK;
    for (int64_t i = 0; i < asked; i++) {
        const int64_t id = s->rows ? s->rows[i] : i;
        if (output_of[id] >= 0) {
            candidate[count++] = id;
        }
    }
    const bool some = !s->rows && s->row_count > 0 && s->row_count < count;
    sources->count = some ? s->row_count : count;
    sources->id = otimes_pool_new(&job->pool, sources->count, sizeof(int64_t), &rc, err);
    sources->output = otimes_pool_new(&job->pool, sources->count, sizeof(int64_t), &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < sources->count; i++) {
        sources->id[i] = candidate[(int64_t)((double)i * (double)count / (double)sources->count)];
        sources->output[i] = output_of[sources->id[i]];
    }
    return rc;
}

static int read_sources(roles_job *job, otimes_err *err)
{
    roles_sources *sources = &job->sources;
    const int64_t d = job->info->d_model, n = sources->count;
    int rc = OTIMES_OK;
    sources->base = otimes_pool_new(&job->pool, n * d, sizeof(float), &rc, err);
    sources->effective = otimes_pool_new(&job->pool, n * d, sizeof(float), &rc, err);
    sources->unembed = otimes_pool_new(&job->pool, n * d, sizeof(float), &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < n; i++) {
        rc = otimes_unembed_rows(&job->space.unembed, sources->output[i], 1,
                                 sources->unembed + i * d, err);
    }
    return rc == OTIMES_OK ? otimes_effective_embedding(job->forward, job->model, sources->id, n,
                                                        sources->base, sources->effective, err)
                           : rc;
}

int otimes_roles_sources(roles_job *job, otimes_err *err)
{
    int64_t *scratch;
    const int64_t vocab = job->info->d_vocab;
    const int64_t extreme = (int64_t)(OTIMES_ROLES_LOWEST * (double)job->info->d_vocab_out);
    job->sources.extreme = extreme > 1 ? extreme : 1;
    if (job->untold.suppression) {
        return OTIMES_OK;
    }
    int rc = OTIMES_NEW(&scratch, 2 * vocab, err);
    if (rc == OTIMES_OK) {
        rc = find_outputs(job, scratch, err);
    }
    if (rc == OTIMES_OK) {
        rc = choose_sources(job, scratch + vocab, scratch, err);
    }
    otimes_free(scratch);
    if (rc == OTIMES_OK && job->sources.count == 0) {
        job->untold.suppression = "not told: none of the rows is an output token";
    }
    return rc == OTIMES_OK && job->sources.count > 0 ? read_sources(job, err) : rc;
}

/* ---- a layer ---- */

typedef struct table {
    const roles_job *job;
    const otimes_layer *layer;
    const float *unembed;     /* [columns, d_model] the tile at hand */
    int64_t first, columns;   /* its outputs */
    float *z, *diagonal;      /* [head, source, d_head], [head, source] */
    int64_t *low, *high;      /* [head, source] outputs that are as low, as high, or more */
    float *projected, *strip; /* of each worker: [TILE, d_head], [STRIP, TILE] */
} table;

/* z = E W_V, and the diagonal z . (W_O W_U). */
static int begin_head(void *context, int64_t item, int worker, otimes_err *err)
{
    const table *t = context;
    const roles_job *job = t->job;
    const roles_sources *sources = &job->sources;
    const int64_t d = job->info->d_model, e = job->info->d_head, n = sources->count;
    const int64_t head = job->heads[item], group = job->info->n_heads / job->info->n_kv_heads;
    const float *rows = t->layer->layer > 0 ? sources->effective : sources->base;
    float *z = t->z + item * n * e, *own;
    (void)worker;
    const int rc = OTIMES_NEW(&own, n * e, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_la_default->sgemm(false, false, n, e, d, 1, rows, d,
                             t->layer->W_V.data + head / group * d * e, e, 0, z, e);
    otimes_la_default->sgemm(false, true, n, e, d, 1, sources->unembed, d,
                             t->layer->W_O.data + head * e * d, d, 0, own, e);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t j = 0; j < e; j++) {
            sum += (double)z[i * e + j] * (double)own[i * e + j];
        }
        t->diagonal[item * n + i] = (float)sum;
    }
    otimes_free(own);
    return OTIMES_OK;
}

/* Entries of one row against its diagonal. Equal ones count both ways, so that nothing is lowest in
 * a row of equals. */
static void count_row(const table *t, int64_t at, int64_t own, const float *entry)
{
    const float diagonal = t->diagonal[at];
    int64_t low = 0, high = 0;
    for (int64_t j = 0; j < t->columns; j++) {
        low += entry[j] <= diagonal;
        high += entry[j] >= diagonal;
    }
    if (own >= t->first && own < t->first + t->columns) {
        low -= entry[own - t->first] <= diagonal;
        high -= entry[own - t->first] >= diagonal;
    }
    t->low[at] += low;
    t->high[at] += high;
}

static int count_head(void *context, int64_t item, int worker, otimes_err *err)
{
    const table *t = context;
    const roles_job *job = t->job;
    const int64_t d = job->info->d_model, e = job->info->d_head, n = job->sources.count;
    float *projected = t->projected + worker * TILE * e;
    float *strip = t->strip + (int64_t)worker * STRIP * TILE;
    const float *W_O = t->layer->W_O.data + job->heads[item] * e * d;
    (void)err;
    otimes_la_default->sgemm(false, true, t->columns, e, d, 1, t->unembed, d, W_O, d, 0, projected,
                             e);
    for (int64_t first = 0; first < n; first += STRIP) {
        const int64_t rows = n - first < STRIP ? n - first : STRIP;
        otimes_la_default->sgemm(false, true, rows, t->columns, e, 1, t->z + (item * n + first) * e,
                                 e, projected, e, 0, strip, TILE);
        for (int64_t i = 0; i < rows; i++) {
            count_row(t, item * n + first + i, job->sources.output[first + i], strip + i * TILE);
        }
    }
    return OTIMES_OK;
}

static int stream(table *t, float *unembed, otimes_err *err)
{
    const roles_job *job = t->job;
    const int64_t outputs = job->info->d_vocab_out;
    int rc = otimes_par_for(job->head_count, job->model->threads, begin_head, t, err);
    t->unembed = unembed;
    for (t->first = 0; rc == OTIMES_OK && t->first < outputs; t->first += TILE) {
        t->columns = outputs - t->first < TILE ? outputs - t->first : TILE;
        rc = otimes_unembed_rows(&job->space.unembed, t->first, t->columns, unembed, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(job->head_count, job->model->threads, count_head, t, err);
        }
        if (rc == OTIMES_OK) {
            const double share = (double)(t->first + t->columns) / (double)outputs;
            rc = otimes_roles_say(job, (double)t->layer->layer + 0.5 + 0.5 * share, err);
        }
    }
    return rc;
}

static int by_size(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Share of the ranks below `extreme`, and their median; sorts them. */
static void sum_up(int64_t *rank, int64_t count, int64_t extreme, double *share, double *median)
{
    int64_t extremes = 0;
    qsort(rank, (size_t)count, sizeof *rank, by_size);
    while (extremes < count && rank[extremes] < extreme) {
        extremes++;
    }
    *share = (double)extremes / (double)count;
    const int64_t below = (count - 1) / 2, above = count / 2;
    *median = ((double)rank[below] + (double)rank[above]) / 2;
}

int otimes_roles_suppression(roles_job *job, const otimes_layer *layer, otimes_err *err)
{
    const int64_t heads = job->head_count, n = job->sources.count, e = job->info->d_head;
    const int64_t node = job->layer_slot[layer->layer] * heads;
    const int64_t workers = otimes_par_workers(heads, job->model->threads);
    table t = {.job = job, .layer = layer};
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    t.z = otimes_pool_new(&pool, heads * n * e, sizeof(float), &rc, err);
    t.diagonal = otimes_pool_new(&pool, heads * n, sizeof(float), &rc, err);
    t.low = otimes_pool_new(&pool, heads * n, sizeof(int64_t), &rc, err);
    t.high = otimes_pool_new(&pool, heads * n, sizeof(int64_t), &rc, err);
    t.projected = otimes_pool_new(&pool, workers * TILE * e, sizeof(float), &rc, err);
    t.strip = otimes_pool_new(&pool, workers * STRIP * TILE, sizeof(float), &rc, err);
    float *unembed = otimes_pool_new(&pool, TILE * job->info->d_model, sizeof(float), &rc, err);
    rc = rc == OTIMES_OK ? stream(&t, unembed, err) : rc;
    for (int64_t h = 0; rc == OTIMES_OK && h < heads; h++) {
        sum_up(t.low + h * n, n, job->sources.extreme, &job->weight[ROLES_LOWEST_SHARE][node + h],
               &job->weight[ROLES_LOWEST_RANK][node + h]);
        sum_up(t.high + h * n, n, job->sources.extreme, &job->weight[ROLES_HIGHEST_SHARE][node + h],
               &job->weight[ROLES_HIGHEST_RANK][node + h]);
    }
    otimes_pool_free(&pool);
    return rc;
}
