/* SPDX-License-Identifier: MIT */
#include "plain_pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/rope.h"

/* One sequence on its way. Arrays [n, ...] of doubles; every one is released at the end. */
typedef struct plain {
    trace *trace;
    const otimes_model *model;
    const otimes_model_info *info;
    const char *name;         /* of the golden */
    int64_t sequence, row, n; /* which, its first row in the batch, its tokens */
    const int64_t *id;
    double *positional; /* [n, d_model] what shortformer adds to the inputs of Q and K; or NULL */
    void *owned[4096];
    int owned_count;
} plain;

static void *take(plain *p, int64_t count, size_t size)
{
    void *block = calloc((size_t)count + 1, size);
    assert_non_null(block);
    assert_true(p->owned_count < (int)(sizeof p->owned / sizeof p->owned[0]));
    return p->owned[p->owned_count++] = block;
}

static double *doubles(plain *p, int64_t count)
{
    return take(p, count, sizeof(double));
}

static double *floats_as_doubles(plain *p, const float *x, int64_t count)
{
    double *y = doubles(p, count);
    for (int64_t i = 0; i < count; i++) {
        y[i] = (double)x[i];
    }
    return y;
}

/* Rows of the sequence under a hook, with `columns` of each; edited once they are put. */
static void put(plain *p, otimes_hook hook, int64_t layer, int64_t head, int64_t columns, double *x)
{
    const bool keys = hook == OTIMES_HOOK_SCORES || hook == OTIMES_HOOK_PATTERN;
    const trace_key key = {hook, layer, head, keys ? p->sequence : -1, -1};
    for (int64_t i = 0; i < p->n; i++) {
        trace_put_row(p->trace, key, i + (keys ? 0 : p->row), columns, NULL, x + i * columns);
    }
    for (int64_t i = 0; i < p->n * columns; i++) {
        x[i] *= trace_factor(p->trace, key, i % columns);
    }
    if (p->trace->change) {
        p->trace->change(p->trace->context, key, keys ? 0 : p->row, p->n, columns, x);
    }
}

#define PUT(HOOK, layer, columns, x) put(p, OTIMES_HOOK_##HOOK, (layer), -1, (columns), (x))

/* x W + b for W [in, out]. */
static double *linear(plain *p, const double *x, int64_t in, int64_t out, const float *W,
                      const float *b)
{
    double *y = doubles(p, p->n * out);
    for (int64_t i = 0; i < p->n; i++) {
        for (int64_t k = 0; k < in; k++) {
            for (int64_t j = 0; j < out; j++) {
                y[i * out + j] += x[i * in + k] * (double)W[k * out + j];
            }
        }
        for (int64_t j = 0; b && j < out; j++) {
            y[i * out + j] += (double)b[j];
        }
    }
    return y;
}

static void add(double *x, const double *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] += y[i];
    }
}

/* One row to mean 0 where it is centred; returns the root of its mean square. */
static double centre(bool centred, double eps, int64_t d, double *x)
{
    double mean = 0, square = 0;
    for (int64_t j = 0; j < d; j++) {
        mean += centred ? x[j] / (double)d : 0;
    }
    for (int64_t j = 0; j < d; j++) {
        x[j] -= mean;
        square += x[j] * x[j] / (double)d;
    }
    return sqrt(square + eps);
}

/* The model's norm of every row, with w and b where there are some. */
static double *normalise(plain *p, otimes_hook scale_hook, int64_t layer, const double *x,
                         const float *w, const float *b)
{
    const int64_t d = p->info->d_model;
    double *y = doubles(p, p->n * d), *scale = doubles(p, p->n);
    memcpy(y, x, (size_t)(p->n * d) * sizeof *y);
    if (p->info->norm == OTIMES_NORM_NONE) {
        return y;
    }
    for (int64_t i = 0; i < p->n; i++) {
        scale[i] = centre(p->info->norm == OTIMES_NORM_LN, p->info->eps, d, y + i * d);
    }
    put(p, scale_hook, layer, -1, 1, scale);
    for (int64_t i = 0; i < p->n * d; i++) {
        y[i] = y[i] / scale[i / d] * (w ? (double)w[i % d] : 1) + (b ? (double)b[i % d] : 0);
    }
    return y;
}

/* What a block reads. */
static double *pre_norm(plain *p, otimes_hook scale_hook, otimes_hook hook, int64_t layer,
                        const double *x, const otimes_tensor *w, const otimes_tensor *b)
{
    const int64_t d = p->info->d_model;
    double *y = doubles(p, p->n * d);
    memcpy(y, x, (size_t)(p->n * d) * sizeof *y);
    if (p->info->pre_norm && p->info->norm != OTIMES_NORM_NONE) {
        y = normalise(p, scale_hook, layer, x, w->data, b->data);
        put(p, hook, layer, -1, d, y);
    }
    return y;
}

/* What a block writes. */
static double *post_norm(plain *p, otimes_hook scale_hook, int64_t layer, double *x,
                         const otimes_tensor *w)
{
    return w->data ? normalise(p, scale_hook, layer, x, w->data, NULL) : x;
}

/* ---- attention ---- */

typedef struct side {
    int64_t heads;
    double *x; /* [n, heads * d_head] */
} side;

static side project(plain *p, const otimes_tensor *W, const otimes_tensor *b, const double *x)
{
    const int64_t heads = W->dim[0], d = p->info->d_model, e = p->info->d_head;
    const double clip = p->info->clip_qkv;
    side s = {heads, doubles(p, p->n * heads * e)};
    for (int64_t h = 0; h < heads; h++) {
        const double *y = linear(p, x, d, e, W->data + h * d * e, b->data ? b->data + h * e : NULL);
        for (int64_t i = 0; i < p->n * e; i++) {
            s.x[i / e * heads * e + h * e + i % e] =
                clip > 0 ? fmin(fmax(y[i], -clip), clip) : y[i];
        }
    }
    return s;
}

/* The norm of queries and keys. */
static side head_norm(plain *p, side s, const otimes_tensor *w)
{
    const int64_t e = p->info->d_head, width = s.heads * e;
    const bool whole = p->info->qk_norm == OTIMES_QK_NORM_ALL;
    const int64_t piece = whole ? width : e;
    side out = {s.heads, doubles(p, p->n * width)};
    memcpy(out.x, s.x, (size_t)(p->n * width) * sizeof *out.x);
    for (int64_t i = 0; p->info->qk_norm != OTIMES_QK_NORM_NONE && i < p->n * width; i += piece) {
        const double scale =
            centre(p->info->qk_norm == OTIMES_QK_NORM_LN, p->info->eps, piece, out.x + i);
        for (int64_t j = 0; j < piece; j++) {
            out.x[i + j] *= (w->data ? (double)w->data[(i + j) % width] : 1) / scale;
        }
    }
    return out;
}

static bool rotate(plain *p, int64_t layer, side s)
{
    if (p->info->positions != OTIMES_POSITIONS_ROPE) {
        return false;
    }
    const otimes_rope *rope = otimes_layer_rope(p->model, layer);
    if (!rope) {
        return false;
    }
    const int64_t e = p->info->d_head, half = rope->dim / 2;
    double *frequency = doubles(p, half);
    otimes_err err = {0};
    assert_ok(otimes_rope_frequencies(p->model, rope, frequency, &err), &err);
    for (int64_t row = 0; row < p->n * s.heads; row++) {
        for (int64_t i = 0; i < half; i++) {
            double *a = s.x + row * e + (rope->adjacent ? 2 * i : i);
            double *b = rope->adjacent ? a + 1 : a + half;
            const double angle = (double)(row / s.heads) * frequency[i], x = *a, y = *b;
            *a = rope->magnitude * (x * cos(angle) - y * sin(angle));
            *b = rope->magnitude * (y * cos(angle) + x * sin(angle));
        }
    }
    return true;
}

/* ALiBi's slope: 2^(-8 (h + 1) / n) for the largest power of two n that is at most the heads; those
 * behind take every other one of 2 n. Falcon divides it like the scores. */
static double slope(const plain *p, int64_t head)
{
    int64_t below = 1;
    while (2 * below <= p->info->n_heads) {
        below *= 2;
    }
    const double power = head < below ? 8.0 * (double)(head + 1) / (double)below
                                      : 4.0 * (double)(2 * (head - below) + 1) / (double)below;
    const bool divided = strcmp(p->name, "falcon_rw") == 0;
    return exp2(-power) / (divided ? sqrt((double)p->info->d_head) : 1);
}

/* Scores [n, n] of a head, masked ones -inf. */
static double *scores_of(plain *p, int64_t layer, int64_t head, side q, side k)
{
    const int64_t e = p->info->d_head, n = p->n, group = q.heads / k.heads;
    const double cap = p->info->attn_softcap;
    double *score = doubles(p, n * n);
    otimes_layer_info facts;
    otimes_err err = {0};
    assert_ok(otimes_layer_describe(p->model, layer, &facts, &err), &err);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            const double *a = q.x + (i * q.heads + head) * e;
            const double *b = k.x + (j * k.heads + head / group) * e;
            double s = 0;
            for (int64_t c = 0; c < e; c++) {
                s += a[c] * b[c];
            }
            s /= p->info->attn_scale;
            s = cap > 0 ? cap * tanh(s / cap) : s;
            s -=
                p->info->positions == OTIMES_POSITIONS_ALIBI ? slope(p, head) * (double)(i - j) : 0;
            const bool masked =
                (!p->info->bidirectional && j > i) || (facts.window > 0 && i - j >= facts.window);
            score[i * n + j] = masked ? -INFINITY : s;
        }
    }
    return score;
}

/* Its rows' softmax; a sink takes its share. */
static double *pattern_of(plain *p, const double *score, const float *sink)
{
    const int64_t n = p->n;
    double *pattern = doubles(p, n * n);
    for (int64_t i = 0; i < n; i++) {
        double largest = sink ? (double)*sink : -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) {
            largest = fmax(largest, score[i * n + j]);
        }
        for (int64_t j = 0; j < n; j++) {
            sum += pattern[i * n + j] = exp(score[i * n + j] - largest);
        }
        sum += sink ? exp((double)*sink - largest) : 0;
        for (int64_t j = 0; j < n; j++) {
            pattern[i * n + j] /= sum;
        }
    }
    return pattern;
}

static double *attention(plain *p, const otimes_layer *w, const double *x)
{
    const int64_t d = p->info->d_model, e = p->info->d_head, n = p->n, l = w->layer;
    const int64_t heads = p->info->n_heads, kv = p->info->n_kv_heads, wide = heads * e;
    double *with = doubles(p, n * d), *z = doubles(p, n * wide), *out = doubles(p, n * d);
    memcpy(with, x, (size_t)(n * d) * sizeof *with);
    if (p->positional) {
        add(with, p->positional, n * d);
    }
    side q = project(p, &w->W_Q, &w->b_Q, with), k = project(p, &w->W_K, &w->b_K, with);
    const side v = project(p, &w->W_V, &w->b_V, x);
    PUT(Q, l, wide, q.x);
    PUT(K, l, kv * e, k.x);
    PUT(V, l, kv * e, v.x);
    q = head_norm(p, q, &w->q_norm_w);
    k = head_norm(p, k, &w->k_norm_w);
    if (rotate(p, l, q) && rotate(p, l, k)) {
        PUT(ROT_Q, l, wide, q.x);
        PUT(ROT_K, l, kv * e, k.x);
    }
    for (int64_t h = 0; h < heads; h++) {
        double *score = scores_of(p, l, h, q, k);
        put(p, OTIMES_HOOK_SCORES, l, h, n, score);
        double *pattern = pattern_of(p, score, w->sinks.data ? w->sinks.data + h : NULL);
        put(p, OTIMES_HOOK_PATTERN, l, h, n, pattern);
        for (int64_t i = 0; i < n * n; i++) {
            const double *value = v.x + (i % n * kv + h / (heads / kv)) * e;
            for (int64_t c = 0; c < e; c++) {
                z[(i / n * heads + h) * e + c] += pattern[i] * value[c];
            }
        }
    }
    PUT(Z, l, wide, z);
    for (int64_t h = 0; h < heads; h++) {
        double *own = doubles(p, n * e);
        for (int64_t i = 0; i < n * e; i++) {
            own[i] = z[(i / e * heads + h) * e + i % e];
        }
        double *result = linear(p, own, e, d, w->W_O.data + h * e * d, NULL);
        put(p, OTIMES_HOOK_RESULT, l, h, d, result);
        add(out, result, n * d);
    }
    for (int64_t i = 0; w->b_O.data && i < n * d; i++) {
        out[i] += (double)w->b_O.data[i % d];
    }
    return out;
}

/* ---- MLP ---- */

static bool is_clamped(const plain *p)
{
    return strncmp(p->name, "gpt_oss", 7) == 0;
}

static double act(const plain *p, double x)
{
    const char *const name = p->info->activation;
    if (strcmp(name, "relu") == 0 || strcmp(name, "ReLU") == 0) {
        return fmax(x, 0);
    }
    if (strcmp(name, "silu") == 0) {
        return x / (1 + exp(-x));
    }
    if (strcmp(name, "gelu") == 0) {
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    }
    if (strcmp(name, "gelu_new") == 0 || strcmp(name, "gelu_pytorch_tanh") == 0 ||
        strcmp(name, "gelu_bloom") == 0) {
        const double root = strcmp(name, "gelu_bloom") == 0 ? 0.79788456 : sqrt(2 / M_PI);
        return 0.5 * x * (1 + tanh(root * (x + 0.044715 * x * x * x)));
    }
    fail_msg("%s: activation '%s'", p->name, name);
    return 0;
}

/* The factor act(gate) of a gated MLP, and its other factor; gpt-oss clamps the gate from above and
 * the other on both sides, and adds 1 to that. */
static double opening(const plain *p, double gate)
{
    const double clamped = fmin(gate, 0.9);
    return is_clamped(p) ? clamped / (1 + exp(-1.702 * clamped)) : act(p, gate);
}

static double other(const plain *p, double inner)
{
    return is_clamped(p) ? fmin(fmax(inner, -0.9), 0.9) + 1 : inner;
}

static double *gated(plain *p, const double *gate, const double *inner, int64_t count)
{
    double *post = doubles(p, count);
    for (int64_t i = 0; i < count; i++) {
        post[i] = opening(p, gate[i]) * other(p, inner[i]);
    }
    return post;
}

/* The MLP of a layer without experts. */
static double *dense(plain *p, const otimes_layer *w, const double *x)
{
    const int64_t d = p->info->d_model, m = w->W_in.dim[1], l = w->layer, size = p->n * m;
    double *inner = linear(p, x, d, m, w->W_in.data, w->b_in.data), *pre = inner;
    double *gate = doubles(p, size), *post = doubles(p, size);
    if (w->W_gate.data) {
        pre = linear(p, x, d, m, w->W_gate.data, w->b_gate.data);
        PUT(MLP_PRE_LINEAR, l, m, inner);
    }
    PUT(MLP_PRE, l, m, pre);
    for (int64_t i = 0; i < size; i++) {
        const double plain_gate = pre[i] != 0 ? act(p, pre[i]) / pre[i] : 0;
        gate[i] = w->W_gate.data ? opening(p, pre[i]) : plain_gate;
    }
    PUT(MLP_GATE, l, m, gate);
    for (int64_t i = 0; i < size; i++) {
        post[i] = gate[i] * other(p, inner[i]);
    }
    PUT(MLP_POST, l, m, post);
    return linear(p, post, m, d, w->W_out.data, w->b_out.data);
}

/* Weights [n, n_experts] of the chosen experts. */
static double *route(plain *p, const otimes_layer *w, const double *x)
{
    const int64_t count = p->info->n_experts, active = p->info->n_experts_active;
    double *weight = linear(p, x, p->info->d_model, count, w->W_router.data, w->b_router.data);
    for (int64_t i = 0; i < p->n; i++) {
        double *row = weight + i * count, sum = 0, kept = 0;
        for (int64_t e = 0; e < count; e++) {
            sum += row[e] = exp(row[e]);
        }
        bool *chosen = take(p, count, sizeof *chosen);
        for (int64_t a = 0; a < active; a++) {
            int64_t best = -1;
            for (int64_t e = 0; e < count; e++) {
                best = !chosen[e] && (best < 0 || row[e] > row[best]) ? e : best;
            }
            chosen[best] = true;
            kept += row[best];
        }
        for (int64_t e = 0; e < count; e++) {
            const double whole = p->info->routing == OTIMES_ROUTING_TOP_SOFTMAX ? kept : sum;
            row[e] = chosen[e] ? row[e] / whole : 0;
        }
    }
    return weight;
}

static void one_expert(plain *p, int64_t layer, int64_t number, const double *x,
                       const double *weight, double *out)
{
    const int64_t d = p->info->d_model, count = p->info->n_experts;
    otimes_expert w;
    otimes_err err = {0};
    assert_ok(otimes_expert_load(p->model, layer, number, &w, &err), &err);
    const int64_t m = w.W_in.dim[1];
    const double *inner = linear(p, x, d, m, w.W_in.data, w.b_in.data);
    const double *pre = linear(p, x, d, m, w.W_gate.data, w.b_gate.data);
    const trace_key key = {OTIMES_HOOK_EXPERT_POST, layer, -1, -1, number};
    double *post = gated(p, pre, inner, p->n * m);
    for (int64_t i = 0; i < p->n * m; i++) {
        if (i % m == 0 && weight[i / m * count + number] > 0) {
            trace_put_row(p->trace, key, p->row + i / m, m, NULL, post + i);
        }
        post[i] *= trace_factor(p->trace, key, i % m);
    }
    const double *wrote = linear(p, post, m, d, w.W_out.data, w.b_out.data);
    for (int64_t i = 0; i < p->n; i++) {
        const double share = weight[i * count + number];
        for (int64_t j = 0; j < d; j++) {
            out[i * d + j] += share * wrote[i * d + j];
        }
    }
    otimes_expert_free(&w);
}

static double *mixture(plain *p, const otimes_layer *w, const double *x)
{
    const int64_t d = p->info->d_model, l = w->layer;
    double *out = doubles(p, p->n * d);
    double *weight = route(p, w, x);
    PUT(EXPERT_WEIGHTS, l, p->info->n_experts, weight);
    for (int64_t e = 0; e < p->info->n_experts; e++) {
        one_expert(p, l, e, x, weight, out);
    }
    if (w->shared_W_in.data) {
        const int64_t m = w->shared_W_in.dim[1];
        const double *inner = linear(p, x, d, m, w->shared_W_in.data, NULL);
        const double *pre = linear(p, x, d, m, w->shared_W_gate.data, NULL);
        double *post = gated(p, pre, inner, p->n * m);
        const double *open = linear(p, x, d, 1, w->shared_W_router.data, NULL);
        for (int64_t i = 0; i < p->n * m; i++) {
            post[i] /= 1 + exp(-open[i / m]);
        }
        PUT(SHARED_POST, l, m, post);
        const double *wrote = linear(p, post, m, d, w->shared_W_out.data, NULL);
        add(out, wrote, p->n * d);
    }
    return out;
}

/* ---- the model ---- */

static double *embed(plain *p)
{
    const int64_t d = p->info->d_model, n = p->n;
    float *row = take(p, n * d, sizeof *row);
    otimes_err err = {0};
    for (int64_t i = 0; i < n; i++) {
        assert_ok(otimes_embed_rows(p->model, p->id[i], 1, row + i * d, &err), &err);
    }
    double *x = floats_as_doubles(p, row, n * d);
    PUT(EMBED, -1, d, x);
    if (p->info->positions == OTIMES_POSITIONS_LEARNED ||
        p->info->positions == OTIMES_POSITIONS_SHORTFORMER) {
        assert_ok(otimes_position_rows(p->model, 0, n, row, &err), &err);
        double *positions = floats_as_doubles(p, row, n * d);
        PUT(POS_EMBED, -1, d, positions);
        if (p->info->positions == OTIMES_POSITIONS_LEARNED) {
            add(x, positions, n * d);
        } else { /* as they are: of these the hook shows a copy */
            p->positional = floats_as_doubles(p, row, n * d);
        }
    }
    if (p->info->embed_norm) {
        float *w = take(p, d, sizeof *w), *b = take(p, d, sizeof *b);
        assert_ok(otimes_embed_norm(p->model, w, b, &err), &err);
        x = normalise(p, OTIMES_HOOK_EMBED_LN_SCALE, -1, x, w, b);
    }
    return x;
}

static void layer(plain *p, int64_t l, double *x)
{
    const int64_t d = p->info->d_model, size = p->n * d;
    otimes_layer w;
    otimes_err err = {0};
    assert_ok(otimes_layer_load(p->model, l, OTIMES_PART_ALL, &w, &err), &err);
    PUT(RESID_PRE, l, d, x);
    const double *read =
        pre_norm(p, OTIMES_HOOK_LN1_SCALE, OTIMES_HOOK_LN1_NORMALIZED, l, x, &w.ln1_w, &w.ln1_b);
    double *wrote =
        post_norm(p, OTIMES_HOOK_LN1_POST_SCALE, l, attention(p, &w, read), &w.ln1_post_w);
    PUT(ATTN_OUT, l, d, wrote);
    double *before = doubles(p, size);
    memcpy(before, x, (size_t)size * sizeof *x);
    add(x, wrote, size);
    if (w.W_in.data || w.W_router.data) {
        if (!p->info->parallel) {
            PUT(RESID_MID, l, d, x);
        }
        read = pre_norm(p, OTIMES_HOOK_LN2_SCALE, OTIMES_HOOK_LN2_NORMALIZED, l,
                        p->info->parallel ? before : x, &w.ln2_w, &w.ln2_b);
        wrote =
            post_norm(p, OTIMES_HOOK_LN2_POST_SCALE, l,
                      w.W_router.data ? mixture(p, &w, read) : dense(p, &w, read), &w.ln2_post_w);
        PUT(MLP_OUT, l, d, wrote);
        add(x, wrote, size);
    }
    PUT(RESID_POST, l, d, x);
    otimes_layer_free(&w);
}

static void unembed(plain *p, const double *x, double *logits)
{
    const int64_t d = p->info->d_model, vocab = p->info->d_vocab_out;
    const double cap = p->info->final_softcap;
    float *rows = take(p, vocab * d, sizeof *rows);
    otimes_unembed u;
    otimes_err err = {0};
    assert_ok(otimes_unembed_open(p->model, &u, &err), &err);
    assert_ok(otimes_unembed_rows(&u, 0, vocab, rows, &err), &err);
    double *normal = normalise(p, OTIMES_HOOK_LN_FINAL_SCALE, -1, x, u.ln_w, u.ln_b);
    if (p->info->norm != OTIMES_NORM_NONE) {
        PUT(LN_FINAL_NORMALIZED, -1, d, normal);
    }
    for (int64_t i = 0; i < p->n * vocab; i++) {
        double sum = u.bias ? (double)u.bias[i % vocab] : 0;
        for (int64_t j = 0; j < d; j++) {
            sum += normal[i / vocab * d + j] * (double)rows[i % vocab * d + j];
        }
        logits[i] = cap > 0 ? cap * tanh(sum / cap) : sum;
    }
    otimes_unembed_free(&u);
}

double *plain_pass(trace *t, const char *name)
{
    const otimes_model_info *info = otimes_model_describe(t->model);
    double *logits = calloc((size_t)(t->rows * info->d_vocab_out) + 1, sizeof *logits);
    assert_non_null(logits);
    int64_t row = 0;
    for (int64_t s = 0; s < t->batch->count; s++) {
        static plain p;
        p = (plain){.trace = t, .model = t->model, .info = info, .name = name};
        p.sequence = s;
        p.row = row;
        p.n = t->batch->length[s];
        p.id = t->batch->id[s];
        double *x = embed(&p);
        for (int64_t l = 0; l < info->n_layers; l++) {
            layer(&p, l, x);
        }
        unembed(&p, x, logits + row * info->d_vocab_out);
        row += p.n;
        for (int i = 0; i < p.owned_count; i++) {
            free(p.owned[i]);
        }
    }
    return logits;
}

double plain_growth(const otimes_model *model, const otimes_sequences *batch, const char *name)
{
    static const float factor = 1 + 0x1p-16F;
    trace as_is, changed;
    trace_init(&as_is, model, batch);
    trace_init(&changed, model, batch);
    changed.edit = (trace_edit){true, OTIMES_HOOK_RESID_PRE, 0, factor};
    free(plain_pass(&as_is, name));
    free(plain_pass(&changed, name));
    const double gap = trace_is_close(&changed, &as_is, HUGE_VAL, name);
    trace_free(&as_is);
    trace_free(&changed);
    return fmax(1, gap / (double)(factor - 1));
}
