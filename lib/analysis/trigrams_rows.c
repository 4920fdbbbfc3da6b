/* SPDX-License-Identifier: MIT
 *
 * A head's queries, keys, values and outputs over the vocabulary: tokens as the head reads them
 * when nothing but the token is in the stream.
 */
#include <math.h>
#include <string.h>

#include "analysis/trigrams_job.h"
#include "base/dtype.h"
#include "base/par.h"
#include "num/la.h"
#include "run/norm.h"

enum { TILE = 64 };

/* One end of the score: which heads it has and how they are made. */
typedef struct projection {
    const otimes_tensor *W, *b, *norm_w;
    int64_t heads, head;
} projection;

typedef struct work {
    const trigrams_job *job;
    const otimes_layer *layer;
    int64_t head, kv_head;
    float *space; /* [workers, space_each] */
    int64_t space_each;
} work;

static int64_t widest_head(const trigrams_job *job)
{
    const otimes_model_info *info = job->info;
    return info->qk_norm == OTIMES_QK_NORM_ALL ? info->n_heads * info->d_head : info->d_head;
}

static void add_row(int64_t rows, int64_t columns, const float *row, float *x)
{
    for (int64_t i = 0; row && i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            x[i * columns + j] += row[j];
        }
    }
}

/* Embeddings as they enter the stream become what the head reads; `position` is NULL for none. */
static void read_tokens(const work *w, const float *position, bool after, int64_t rows, float *x)
{
    const otimes_model_info *info = w->job->info;
    const int64_t d = info->d_model;
    add_row(rows, d, after ? NULL : position, x);
    if (!w->job->settings->raw_embedding && info->pre_norm) {
        otimes_norm_rows(info->norm, info->eps, w->layer->ln1_w.data, w->layer->ln1_b.data, rows, d,
                         x);
    }
    add_row(rows, d, after ? position : NULL, x);
}

static void clip(const otimes_model_info *info, int64_t count, float *x)
{
    const float limit = (float)info->clip_qkv;
    for (int64_t i = 0; limit > 0 && i < count; i++) {
        x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
    }
}

/* x W + b of one head, rows ld apart. */
static void project_head(const work *w, const projection *p, int64_t head, int64_t rows,
                         const float *x, int64_t ld, float *out)
{
    const otimes_model_info *info = w->job->info;
    const int64_t d = info->d_model, e = info->d_head;
    otimes_la_default->sgemm(false, false, rows, e, d, 1, x, d, p->W->data + head * d * e, e, 0,
                             out, ld);
    for (int64_t i = 0; p->b && p->b->data && i < rows; i++) {
        for (int64_t j = 0; j < e; j++) {
            out[i * ld + j] += p->b->data[head * e + j];
        }
    }
    for (int64_t i = 0; info->clip_qkv > 0 && i < rows; i++) {
        clip(info, e, out + i * ld);
    }
}

/* Queries or keys [rows, d_head] with their norm; one over all heads needs them all, in `wide`. */
static void project(const work *w, const projection *p, int64_t rows, const float *x, float *wide,
                    float *out)
{
    const otimes_model_info *info = w->job->info;
    const int64_t e = info->d_head, all = p->heads * e;
    const float *norm_w = p->norm_w->data;
    if (w->job->settings->raw_embedding) {
        otimes_la_default->sgemm(false, false, rows, e, info->d_model, 1, x, info->d_model,
                                 p->W->data + p->head * info->d_model * e, e, 0, out, e);
        return;
    }
    if (norm_w && info->qk_norm == OTIMES_QK_NORM_ALL) {
        for (int64_t h = 0; h < p->heads; h++) {
            project_head(w, p, h, rows, x, all, wide + h * e);
        }
        otimes_norm_rows(OTIMES_NORM_RMS, info->eps, norm_w, NULL, rows, all, wide);
        for (int64_t i = 0; i < rows; i++) {
            memcpy(out + i * e, wide + i * all + p->head * e, (size_t)e * sizeof *out);
        }
        return;
    }
    project_head(w, p, p->head, rows, x, e, out);
    if (norm_w) {
        const bool ln = info->qk_norm == OTIMES_QK_NORM_LN;
        otimes_norm_rows(ln ? OTIMES_NORM_LN : OTIMES_NORM_RMS, info->eps, norm_w + p->head * e,
                         NULL, rows, e, out);
    }
}

/* The three projections of a tile whose embeddings are in `embed`; x is scratch. */
static void project_tile(const work *w, int64_t first, int64_t rows, const float *embed, float *x,
                         float *wide)
{
    const trigrams_job *job = w->job;
    const otimes_model_info *info = job->info;
    const otimes_layer *layer = w->layer;
    const int64_t d = info->d_model, e = info->d_head;
    const size_t bytes = (size_t)(rows * d) * sizeof *x;
    const bool after = info->positions == OTIMES_POSITIONS_SHORTFORMER;
    const projection q = {&layer->W_Q, &layer->b_Q, &layer->q_norm_w, info->n_heads, w->head};
    const projection k = {&layer->W_K, &layer->b_K, &layer->k_norm_w, info->n_kv_heads, w->kv_head};
    const projection v = {&layer->W_V, NULL, NULL, info->n_kv_heads, w->kv_head};
    memcpy(x, embed, bytes);
    read_tokens(w, job->query_position, after, rows, x);
    project(w, &q, rows, x, wide, job->rows.queries + first * e);
    memcpy(x, embed, bytes);
    read_tokens(w, job->key_position, after, rows, x);
    project(w, &k, rows, x, wide, job->rows.keys + first * e);
    if (after && job->key_position) {
        memcpy(x, embed, bytes);
        read_tokens(w, NULL, after, rows, x);
    }
    if (job->settings->raw_embedding || info->clip_qkv == 0) {
        otimes_la_default->sgemm(false, false, rows, e, d, 1, x, d,
                                 layer->W_V.data + w->kv_head * d * e, e, 0,
                                 job->rows.values + first * e, e);
    } else {
        project_head(w, &v, w->kv_head, rows, x, e, job->rows.values + first * e);
    }
}

static int input_tile(void *context, int64_t item, int worker, otimes_err *err)
{
    const work *w = context;
    const trigrams_job *job = w->job;
    const otimes_model_info *info = job->info;
    const int64_t d = info->d_model, first = item * TILE;
    const int64_t rows = info->d_vocab - first < TILE ? info->d_vocab - first : TILE;
    float *embed = w->space + worker * w->space_each, *x = embed + TILE * d, *wide = x + TILE * d;
    const int rc = otimes_embed_rows(job->model, first, rows, embed, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (job->embed_norm) {
        otimes_norm_rows(info->norm, info->eps, job->embed_norm, job->embed_norm + d, rows, d,
                         embed);
    }
    project_tile(w, first, rows, embed, x, wide);
    return OTIMES_OK;
}

/* W_U^T W_O^T: with a value v, v . row is what the head adds to the output's logit. */
static int output_tile(void *context, int64_t item, int worker, otimes_err *err)
{
    const work *w = context;
    const otimes_model_info *info = w->job->info;
    const int64_t d = info->d_model, e = info->d_head, first = item * TILE;
    const int64_t rows = info->d_vocab_out - first < TILE ? info->d_vocab_out - first : TILE;
    float *x = w->space + worker * w->space_each;
    const int rc = otimes_unembed_rows(&w->job->unembed, first, rows, x, err);
    if (rc == OTIMES_OK) {
        otimes_la_default->sgemm(false, true, rows, e, d, 1, x, d,
                                 w->layer->W_O.data + w->head * d * e, d, 0,
                                 w->job->rows.outs + first * e, e);
    }
    return rc;
}

/* Each row less the mean of all, times scale. */
static void centre(int64_t rows, int64_t columns, double scale, float *x, double *mean)
{
    memset(mean, 0, (size_t)columns * sizeof *mean);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            mean[j] += (double)x[i * columns + j];
        }
    }
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            x[i * columns + j] =
                (float)(scale * ((double)x[i * columns + j] - mean[j] / (double)rows));
        }
    }
}

/* Keeps the rows of ascending ids, in place. */
static void keep(const int64_t *ids, int64_t count, int64_t columns, float *x)
{
    for (int64_t i = 0; ids && i < count; i++) {
        memmove(x + i * columns, x + ids[i] * columns, (size_t)columns * sizeof *x);
    }
}

/* What has left float32 has no order: no triple could be found or excluded. */
static int check_rows(const trigrams_job *job, int64_t layer, int64_t head, otimes_err *err)
{
    const trigram_rows *r = &job->rows;
    const int64_t e = job->info->d_head;
    const struct {
        const char *name;
        const float *x;
        int64_t rows;
    } all[] = {{"queries", r->queries, job->destinations},
               {"keys", r->keys, job->sources},
               {"values", r->values, job->sources},
               {"outputs", r->outs, job->outs}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (otimes_first_nonfinite(all[i].x, all[i].rows * e) >= 0) {
            return otimes_fail(err, OTIMES_ERR_VALUE,
                               "%s: layer %lld head %lld: %s over the vocabulary: expected numbers "
                               "that float32 holds, got some beyond",
                               job->info->path, (long long)layer, (long long)head, all[i].name);
        }
    }
    return OTIMES_OK;
}

int otimes_trigrams_rows(trigrams_job *job, const otimes_layer *layer, int64_t head,
                         otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const otimes_trigrams_settings *s = job->settings;
    const int64_t e = info->d_head, d = info->d_model;
    const int64_t in = (info->d_vocab + TILE - 1) / TILE,
                  out = (info->d_vocab_out + TILE - 1) / TILE;
    const int threads = job->model->threads,
              workers = otimes_par_workers(in > out ? in : out, threads);
    trigram_rows *r = &job->rows;
    work w = {.job = job,
              .layer = layer,
              .head = head,
              .kv_head = head / (info->n_heads / info->n_kv_heads),
              .space_each = TILE * (2 * d + widest_head(job))};
    double *mean = NULL;
    int64_t size;
    int rc = otimes_mul_i64(workers, w.space_each, &size)
                 ? OTIMES_NEW(&w.space, size, err)
                 : otimes_fail(err, OTIMES_ERR_MEMORY, "tiles of the vocabulary: too large");
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&mean, e, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_par_for(in, threads, input_tile, &w, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_par_for(out, threads, output_tile, &w, err);
    }
    if (rc == OTIMES_OK) {
        centre(info->d_vocab, e, 1 / info->attn_scale, r->keys, mean);
        centre(info->d_vocab_out, e, 1, r->outs, mean);
        keep(s->destinations, job->destinations, e, r->queries);
        keep(s->sources, job->sources, e, r->keys);
        keep(s->sources, job->sources, e, r->values);
        keep(s->outs, job->outs, e, r->outs);
        rc = check_rows(job, layer->layer, head, err);
    }
    otimes_free(w.space);
    otimes_free(mean);
    return rc;
}
