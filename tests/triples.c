/* SPDX-License-Identifier: MIT */
#include "triples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "run/rope.h"

static void plain_norm(otimes_norm norm, double eps, const float *w, const float *b, int64_t d,
                       double *x)
{
    double mean = 0, square = 0;
    for (int64_t i = 0; norm == OTIMES_NORM_LN && i < d; i++) {
        mean += x[i] / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        square += (x[i] - mean) * (x[i] - mean) / (double)d;
    }
    for (int64_t i = 0; norm != OTIMES_NORM_NONE && i < d; i++) {
        x[i] = (x[i] - mean) / sqrt(square + eps) * (w ? (double)w[i] : 1) + (b ? (double)b[i] : 0);
    }
}

/* The token as the head reads it; `pos` NULL: no position. */
static void plain_read(const otimes_model *model, const otimes_layer *layer, int64_t token,
                       const float *pos, bool raw, double *x)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model;
    const bool after = info->positions == OTIMES_POSITIONS_SHORTFORMER;
    float *row = malloc((size_t)(3 * d) * sizeof *row);
    assert_ok(otimes_embed_rows(model, token, 1, row, NULL), NULL);
    for (int64_t i = 0; i < d; i++) {
        x[i] = (double)row[i];
    }
    if (info->embed_norm && !raw) {
        assert_ok(otimes_embed_norm(model, row + d, row + 2 * d, NULL), NULL);
        plain_norm(info->norm, info->eps, row + d, row + 2 * d, d, x);
    }
    for (int64_t i = 0; pos && !after && i < d; i++) {
        x[i] += (double)pos[i];
    }
    if (info->pre_norm && !raw) {
        plain_norm(info->norm, info->eps, layer->ln1_w.data, layer->ln1_b.data, d, x);
    }
    for (int64_t i = 0; pos && after && i < d; i++) {
        x[i] += (double)pos[i];
    }
    free(row);
}

/* x W + b of all heads of one kind, clipped and normed. */
static void plain_project(const otimes_model *model, const otimes_tensor *W, const otimes_tensor *b,
                          const otimes_tensor *norm_w, int64_t heads, bool raw, const double *x,
                          double *out)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, e = info->d_head;
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t j = 0; j < e; j++) {
            double sum = b && b->data && !raw ? (double)b->data[h * e + j] : 0;
            for (int64_t i = 0; i < d; i++) {
                sum += x[i] * (double)W->data[(h * d + i) * e + j];
            }
            out[h * e + j] =
                info->clip_qkv > 0 && !raw ? fmax(-info->clip_qkv, fmin(info->clip_qkv, sum)) : sum;
        }
    }
    if (!norm_w || !norm_w->data || raw) {
        return;
    }
    const bool all = info->qk_norm == OTIMES_QK_NORM_ALL;
    const otimes_norm norm = info->qk_norm == OTIMES_QK_NORM_LN ? OTIMES_NORM_LN : OTIMES_NORM_RMS;
    for (int64_t h = 0; h < (all ? 1 : heads); h++) {
        plain_norm(norm, info->eps, norm_w->data + h * e, NULL, all ? heads * e : e, out + h * e);
    }
}

/* Each column less its mean over the rows; by rows of `columns`. */
static void plain_centre(int64_t rows, int64_t columns, bool across, double *x)
{
    const int64_t n = across ? rows : columns, m = across ? columns : rows;
    for (int64_t i = 0; i < n; i++) {
        double mean = 0;
        for (int64_t j = 0; j < m; j++) {
            mean += x[i * columns + j] / (double)m;
        }
        for (int64_t j = 0; j < m; j++) {
            x[i * columns + j] -= mean;
        }
    }
}

static double largest(const double *x, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs(x[i]));
    }
    return most;
}

triples triples_of(const otimes_model *model, const otimes_trigrams_settings *s, int64_t l,
                   int64_t h, const int64_t *offset)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, e = info->d_head, V = info->d_vocab, O = info->d_vocab_out;
    const int64_t kv = h / (info->n_heads / info->n_kv_heads), nq = info->n_heads * e;
    const bool raw = s->raw_embedding, short_ = info->positions == OTIMES_POSITIONS_SHORTFORMER;
    triples p = {
        V, O, calloc((size_t)(V * V), sizeof(double)), calloc((size_t)(V * O), sizeof(double)),
        0, 0};
    double *x = calloc((size_t)d, sizeof *x), *all = calloc((size_t)nq, sizeof *all);
    double *q = calloc((size_t)(V * e), sizeof *q), *k = calloc((size_t)(V * e), sizeof *k);
    double *v = calloc((size_t)(V * e), sizeof *v),
           *frequency = calloc((size_t)e, sizeof *frequency);
    float *pos = calloc((size_t)(2 * d), sizeof *pos), *u = calloc((size_t)d, sizeof *u);
    otimes_layer layer;
    otimes_unembed unembed;
    assert_ok(otimes_layer_load(model, l, OTIMES_PART_ATTENTION, &layer, NULL), NULL);
    assert_ok(otimes_unembed_open(model, &unembed, NULL), NULL);
    if (s->query_position >= 0) {
        assert_ok(otimes_position_rows(model, s->query_position, 1, pos, NULL), NULL);
        assert_ok(otimes_position_rows(model, s->key_position, 1, pos + d, NULL), NULL);
    }
    for (int64_t t = 0; t < V; t++) {
        plain_read(model, &layer, t, s->query_position >= 0 ? pos : NULL, raw, x);
        plain_project(model, &layer.W_Q, &layer.b_Q, &layer.q_norm_w, info->n_heads, raw, x, all);
        memcpy(q + t * e, all + h * e, (size_t)e * sizeof *q);
        plain_read(model, &layer, t, s->key_position >= 0 ? pos + d : NULL, raw, x);
        plain_project(model, &layer.W_K, &layer.b_K, &layer.k_norm_w, info->n_kv_heads, raw, x,
                      all);
        memcpy(k + t * e, all + kv * e, (size_t)e * sizeof *k);
        plain_read(model, &layer, t, s->key_position >= 0 && !short_ ? pos + d : NULL, raw, x);
        plain_project(model, &layer.W_V, NULL, NULL, info->n_kv_heads, raw, x, all);
        memcpy(v + t * e, all + kv * e, (size_t)e * sizeof *v);
    }
    const otimes_rope *rope = offset ? otimes_layer_rope(model, l) : NULL;
    if (rope) {
        assert_ok(otimes_rope_frequencies(model, rope, frequency, NULL), NULL);
        otimes_rope_rotate_key(rope, frequency, (double)*offset, V, e, k);
    }
    for (int64_t a = 0; a < V; a++) {
        for (int64_t b = 0; b < V; b++) {
            for (int64_t j = 0; j < e; j++) {
                p.score[a * V + b] += q[a * e + j] * k[b * e + j] / info->attn_scale;
            }
        }
    }
    plain_centre(V, V, true, p.score);
    for (int64_t o = 0; o < O; o++) {
        assert_ok(otimes_unembed_rows(&unembed, o, 1, u, NULL), NULL);
        for (int64_t j = 0; j < e; j++) {
            double write = 0;
            for (int64_t i = 0; i < d; i++) {
                write += (double)layer.W_O.data[(h * e + j) * d + i] * (double)u[i];
            }
            for (int64_t t = 0; t < V; t++) {
                p.effect[t * O + o] += v[t * e + j] * write;
            }
        }
    }
    plain_centre(V, O, true, p.effect);
    p.largest_score = largest(p.score, V * V);
    p.largest_effect = largest(p.effect, V * O);
    otimes_layer_free(&layer);
    otimes_unembed_free(&unembed);
    free(x), free(all), free(q), free(k), free(v), free(frequency), free(pos), free(u);
    return p;
}

void triples_free(triples *p)
{
    free(p->score);
    free(p->effect);
}
