/* SPDX-License-Identifier: MIT */
#include "plain_heads.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "num/la.h"
#include "plain_pass.h"
#include "run/rope.h"

static void *zeros(int64_t count)
{
    void *memory = calloc((size_t)count + 1, sizeof(double));
    assert_non_null(memory);
    return memory;
}

static void widen(const float *source, int64_t count, double *out)
{
    for (int64_t i = 0; i < count; i++) {
        out[i] = (double)source[i];
    }
}

static void read_ends(plain_head *p)
{
    otimes_err err = {0};
    otimes_unembed unembed;
    float *rows = zeros((p->v + p->out) * p->d);
    assert_ok(otimes_unembed_open(p->model, &unembed, &err), &err);
    assert_ok(otimes_embed_rows(p->model, 0, p->v, rows, &err), &err);
    widen(rows, p->v * p->d, p->E);
    assert_ok(otimes_unembed_rows(&unembed, 0, p->out, rows, &err), &err);
    widen(rows, p->out * p->d, p->U);
    otimes_unembed_free(&unembed);
    free(rows);
}

plain_head plain_open(const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    plain_head p = {.model = model,
                    .info = info,
                    .d = info->d_model,
                    .e = info->d_head,
                    .v = info->d_vocab,
                    .out = info->d_vocab_out};
    p.E = zeros(p.v * p.d);
    p.U = zeros(p.out * p.d);
    p.Q = zeros(4 * p.d * p.e);
    p.K = p.Q + p.d * p.e;
    p.V = p.K + p.d * p.e;
    p.O = p.V + p.d * p.e;
    read_ends(&p);
    return p;
}

void plain_close(plain_head *p)
{
    free(p->E);
    free(p->U);
    free(p->Q);
}

void plain_take(plain_head *p, const otimes_layer *layer, int64_t head)
{
    const int64_t size = p->d * p->e, kv = head / (p->info->n_heads / p->info->n_kv_heads);
    p->layer = layer->layer;
    p->head = head;
    widen(layer->W_Q.data + head * size, size, p->Q);
    widen(layer->W_K.data + kv * size, size, p->K);
    widen(layer->W_V.data + kv * size, size, p->V);
    for (int64_t i = 0; i < size; i++) {
        p->O[i % p->d * p->e + i / p->d] = (double)layer->W_O.data[head * size + i];
    }
}

/* out [rows, e] = X [rows, d] W. */
void plain_project(const plain_head *p, int64_t rows, const double *X, const double *W, double *out)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < p->e; j++) {
            double sum = 0;
            for (int64_t k = 0; k < p->d; k++) {
                sum += X[i * p->d + k] * W[k * p->e + j];
            }
            out[i * p->e + j] = sum;
        }
    }
}

double plain_dot(int64_t n, const double *x, const double *y)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}

/* The output token of an input token's text, -1: none. */
int64_t plain_output_of(const plain_head *p, int64_t id)
{
    const char *text = otimes_model_token(p->model, id);
    if (p->v == p->out) {
        return id;
    }
    for (int64_t out = 0; text && out < p->out; out++) {
        const char *other = otimes_model_output_token(p->model, out);
        if (other && strcmp(text, other) == 0) {
            return out;
        }
    }
    return -1;
}

/* ---- the average token ---- */

static int64_t average_positions(const otimes_model_info *info)
{
    return info->n_ctx > 0 && info->n_ctx < 128 ? info->n_ctx : 128;
}

/* Row of W_pos, zeros where positions are not learned. */
static double *position_row(const plain_head *p, int64_t position)
{
    otimes_err err = {0};
    float *row = zeros(p->d);
    double *wide = zeros(p->d);
    if (otimes_has_positions(p->model)) {
        assert_ok(otimes_position_rows(p->model, position, 1, row, &err), &err);
        widen(row, p->d, wide);
    }
    free(row);
    return wide;
}

/* Shortformer adds positions behind the norm. */
static bool norm_meets_positions(const plain_head *p)
{
    return p->info->positions != OTIMES_POSITIONS_SHORTFORMER;
}

double plain_square(const plain_head *p, int64_t position)
{
    const int64_t d = p->d, n = average_positions(p->info);
    double square = 0;
    if (p->info->norm == OTIMES_NORM_NONE || !p->info->pre_norm) {
        return 1;
    }
    for (int64_t at = 0; position < 0 && at < n; at++) {
        square += plain_square(p, at) / (double)n;
    }
    double *pos = position < 0 ? NULL : position_row(p, position);
    for (int64_t t = 0; pos && t < p->v; t++) {
        double sum = 0, sums = 0;
        for (int64_t j = 0; j < d; j++) {
            const double x = p->E[t * d + j] + (norm_meets_positions(p) ? pos[j] : 0);
            sum += p->info->norm == OTIMES_NORM_LN ? x : 0;
            sums += x * x;
        }
        square += (sums - sum * sum / (double)d) / (double)(d * p->v);
    }
    free(pos);
    return square + (position < 0 ? 0 : p->info->eps);
}

/* What heads read of the average token at a position, [d_model]. */
static double *average_row(const plain_head *p, int64_t position)
{
    const double scale = sqrt(plain_square(p, position));
    double *row = position_row(p, position);
    for (int64_t j = 0; j < p->d; j++) {
        double mean = 0;
        for (int64_t t = 0; t < p->v; t++) {
            mean += p->E[t * p->d + j] / (double)p->v;
        }
        row[j] = norm_meets_positions(p) ? (row[j] + mean) / scale : row[j] + mean / scale;
    }
    return row;
}

/* x W + b of the average token at every position, turned to it: [positions, d_head]. */
static double *average_side(const plain_head *p, const double *W, const float *bias)
{
    const int64_t n = average_positions(p->info), e = p->e;
    const otimes_rope *rope = otimes_layer_rope(p->model, p->layer);
    double *side = zeros(n * e), *frequency = zeros(e);
    otimes_err err = {0};
    if (rope) {
        assert_ok(otimes_rope_frequencies(p->model, rope, frequency, &err), &err);
    }
    for (int64_t at = 0; at < n; at++) {
        double *row = average_row(p, at), *out = side + at * e;
        plain_project(p, 1, row, W, out);
        for (int64_t j = 0; bias && j < e; j++) {
            out[j] += (double)bias[j];
        }
        for (int64_t i = 0; rope && i < rope->dim / 2; i++) {
            double *a = out + (rope->adjacent ? 2 * i : i);
            double *b = rope->adjacent ? a + 1 : a + rope->dim / 2;
            const double angle = (double)at * frequency[i], x = *a, y = *b;
            *a = rope->magnitude * (x * cos(angle) - y * sin(angle));
            *b = rope->magnitude * (y * cos(angle) + x * sin(angle));
        }
        free(row);
    }
    free(frequency);
    return side;
}

double plain_previous(const plain_head *p, const otimes_layer *layer)
{
    const int64_t n = average_positions(p->info), e = p->e;
    const int64_t kv = p->head / (p->info->n_heads / p->info->n_kv_heads);
    double *q = average_side(p, p->Q, layer->b_Q.data ? layer->b_Q.data + p->head * e : NULL);
    double *k = average_side(p, p->K, layer->b_K.data ? layer->b_K.data + kv * e : NULL);
    double mean = 0;
    otimes_layer_info facts;
    otimes_err err = {0};
    assert_ok(otimes_layer_describe(p->model, p->layer, &facts, &err), &err);
    for (int64_t i = 1; i < n; i++) {
        const double before = plain_dot(e, q + i * e, k + (i - 1) * e);
        double sum = 0;
        for (int64_t j = 0; j <= i; j++) {
            const bool seen = facts.window == 0 || i - j < facts.window;
            const double score = plain_dot(e, q + i * e, k + j * e) - before;
            sum += seen ? exp(score / p->info->attn_scale) : 0;
        }
        mean += facts.window == 1 ? 0 : 1 / sum / (double)(n - 1);
    }
    free(q);
    free(k);
    return mean;
}

/* ---- scores by weights ---- */

/* Rows of queries or keys [rows, e] as at a position. */
static void rotate(const plain_head *p, double position, double *x)
{
    const otimes_rope *rope = otimes_layer_rope(p->model, p->layer);
    double *angle = zeros(p->e);
    otimes_err err = {0};
    if (rope) {
        assert_ok(otimes_rope_frequencies(p->model, rope, angle, &err), &err);
    }
    for (int64_t i = 0; rope && i < rope->dim / 2; i++) {
        const int64_t a = rope->adjacent ? 2 * i : i,
                      b = rope->adjacent ? a + 1 : i + rope->dim / 2;
        const double c = rope->magnitude * cos(position * angle[i]);
        const double s = rope->magnitude * sin(position * angle[i]);
        for (int64_t row = 0; row < p->v; row++) {
            double *at = x + row * p->e, first = at[a], second = at[b];
            at[a] = first * c - second * s;
            at[b] = second * c + first * s;
        }
    }
    free(angle);
}

/* (mean of the diagonal - mean) / deviation of all entries, mean over offsets; *reliable: none of the
 * tables is constant but for rounding. */
double plain_same_token(const plain_head *p, bool *reliable)
{
    static const double far[] = {0, 8, 32};
    const int offsets = p->info->positions == OTIMES_POSITIONS_ROPE ? 3 : 1;
    const double n = (double)p->v;
    double *q = zeros(2 * p->v * p->e), *k = q + p->v * p->e, total = 0;
    *reliable = true;
    for (int o = 0; o < offsets; o++) {
        double diagonal = 0, sum = 0, squares = 0;
        plain_project(p, p->v, p->E, p->Q, q);
        plain_project(p, p->v, p->E, p->K, k);
        rotate(p, 40, q);
        rotate(p, 40 - far[o], k);
        for (int64_t i = 0; i < p->v; i++) {
            for (int64_t j = 0; j < p->v; j++) {
                const double entry = plain_dot(p->e, q + i * p->e, k + j * p->e);
                diagonal += i == j ? entry : 0;
                sum += entry;
                squares += entry * entry;
            }
        }
        const double variance = squares / (n * n) - sum * sum / (n * n * n * n);
        *reliable &= variance > 1e-6 * squares / (n * n);
        total += (diagonal / n - sum / (n * n)) / sqrt(variance) / offsets;
    }
    free(q);
    return total;
}

/* Eigenvalues of the sum over common tokens of (W_O W_U)(o) (W_E W_V)(i). */
double plain_copying(const plain_head *p)
{
    double *read = zeros(p->v * p->e), *write = zeros(p->out * p->e), *inner = zeros(p->e * p->e);
    double *re = zeros(p->e), *im = zeros(p->e), sum = 0, moduli = 0;
    plain_project(p, p->v, p->E, p->V, read);
    plain_project(p, p->out, p->U, p->O, write);
    for (int64_t id = 0; id < p->v; id++) {
        const int64_t out = plain_output_of(p, id);
        for (int64_t i = 0; out >= 0 && i < p->e * p->e; i++) {
            inner[i] += write[out * p->e + i / p->e] * read[id * p->e + i % p->e];
        }
    }
    assert_int_equal(otimes_la_reference.deig(p->e, inner, p->e, re, im), 0);
    for (int64_t i = 0; i < p->e; i++) {
        sum += re[i];
        moduli += hypot(re[i], im[i]);
    }
    free(read);
    free(write);
    free(inner);
    free(re);
    free(im);
    return sum / moduli;
}

/* E [v, d] for heads of a layer: the stream behind layer 0 of tokens on their own, in float64, where
 * positions and attention are 0. Its growth in *growth. */
double *plain_effective(const plain_head *p, const char *name, const int64_t *ids, int64_t count)
{
    int64_t *length = zeros(count);
    const int64_t **id = zeros(count);
    double *E = zeros(2 * count * p->d);
    trace t;
    for (int64_t i = 0; i < count; i++) {
        length[i] = 1;
        id[i] = ids + i;
    }
    const otimes_sequences batch = {count, length, id};
    trace_init(&t, p->model, &batch);
    t.zero = OTIMES_HOOK_BIT(POS_EMBED) | OTIMES_HOOK_BIT(ATTN_OUT);
    free(plain_pass(&t, name));
    for (int after = 0; after < 2; after++) {
        const trace_array *stream = trace_find(
            &t, (trace_key){after ? OTIMES_HOOK_RESID_POST : OTIMES_HOOK_RESID_PRE, 0, -1, -1, -1});
        memcpy(E + after * count * p->d, stream->data, (size_t)(count * p->d) * sizeof *E);
    }
    trace_free(&t);
    free(length);
    free(id);
    return E;
}

void plain_ranks(const plain_head *p, const double *E, const int64_t *ids, int64_t count,
                 double *bound)
{
    double *z = zeros(count * p->e), *write = zeros(p->out * p->e);
    plain_project(p, count, E, p->V, z);
    plain_project(p, p->out, p->U, p->O, write);
    for (int64_t i = 0; i < count; i++) {
        const int64_t own = plain_output_of(p, ids[i]);
        const double *row = z + i * p->e, diagonal = plain_dot(p->e, row, write + own * p->e);
        double largest = 0;
        for (int64_t o = 0; o < p->out; o++) {
            largest = fmax(largest, fabs(plain_dot(p->e, row, write + o * p->e)));
        }
        const double close = 64 * (double)FLT_EPSILON * largest;
        for (int64_t o = 0; o < p->out; o++) {
            const double above = plain_dot(p->e, row, write + o * p->e) - diagonal;
            bound[i] += o != own && above < -close;
            bound[count + i] += o != own && above <= close;
            bound[2 * count + i] += o != own && above > close;
            bound[3 * count + i] += o != own && above >= -close;
        }
    }
    free(z);
    free(write);
}

/* ---- attention ---- */

typedef struct mean {
    double sum, count;
} mean;

static void add(mean *m, double x)
{
    m->sum += x;
    m->count++;
}

static double weight_at(const trace_array *pattern, int64_t q, int64_t k)
{
    return isfinite(pattern->data[q * pattern->columns + k])
               ? pattern->data[q * pattern->columns + k]
               : 0;
}

void plain_attention(const trace *t, int64_t layer, int64_t head, int64_t period, double score[5])
{
    mean m[5] = {{0, 0}};
    for (int64_t s = 0; s < t->batch->count; s++) {
        const int64_t n = t->batch->length[s], *id = t->batch->id[s];
        const trace_array *pattern =
            trace_find(t, (trace_key){OTIMES_HOOK_PATTERN, layer, head, s, -1});
        for (int64_t q = 0; q < n; q++) {
            double same = 0, behind = 0;
            bool any = false, any_behind = false;
            add(&m[1], weight_at(pattern, q, q));
            if (q > 0) {
                add(&m[0], weight_at(pattern, q, q - 1));
                add(&m[2], weight_at(pattern, q, 0));
            }
            for (int64_t k = 0; !period && k < q; k++) {
                if (id[k] == id[q]) {
                    any = true;
                    same += weight_at(pattern, q, k);
                    any_behind |= k + 1 < q;
                    behind += k + 1 < q ? weight_at(pattern, q, k + 1) : 0;
                }
            }
            if (period && q >= n - period) {
                any = any_behind = true;
                same = weight_at(pattern, q, q - period);
                behind = weight_at(pattern, q, q - period + 1);
            }
            if (any) {
                add(&m[3], same);
            }
            if (any_behind) {
                add(&m[4], behind);
            }
        }
    }
    for (int i = 0; i < 5; i++) {
        score[i] = m[i].sum / m[i].count;
    }
}
