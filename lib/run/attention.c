/* SPDX-License-Identifier: MIT
 *
 * Attention over sequences of different length, a strip of queries at a time: scores exist for one
 * strip of one head on each thread, and only for keys that the strip can see.
 */
#include <math.h>
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/la.h"
#include "num/product.h"
#include "num/vmath.h"
#include "run/norm.h"
#include "run/space.h"

enum { HEAD_ROWS = 16 }; /* rows whose heads a thread turns at a time */

/* One chunk of a layer. */
typedef struct job {
    otimes_pass *pass;
    const otimes_ready_layer *layer;
    const otimes_rope *rope;
    const float *rotation;
    int64_t first_sequence, count, first_row, rows;
    int64_t width, window;
    float *qkv, *z;
} job;

static int64_t past_of(const job *j, int64_t sequence)
{
    const otimes_batch *batch = j->pass->batch;
    return batch->position[batch->start[sequence]];
}

/* ---- queries, keys, values ---- */

/* What queries and keys read where positions are added to their inputs alone. */
static int add_positions(const job *j, const float *read, float *positional, otimes_err *err)
{
    const otimes_batch *batch = j->pass->batch;
    const int64_t d = j->pass->info->d_model;
    int rc = OTIMES_OK;
    for (int64_t s = j->first_sequence; rc == OTIMES_OK && s < j->first_sequence + j->count; s++) {
        const int64_t at = batch->start[s] - j->first_row;
        const int64_t length = batch->start[s + 1] - batch->start[s];
        rc = otimes_position_rows(j->pass->model, past_of(j, s), length, positional + at * d, err);
    }
    if (rc == OTIMES_OK) {
        otimes_pass_add(j->pass, j->rows * d, read, positional);
    }
    return rc;
}

static int project(const job *j, const float *read, otimes_err *err)
{
    const otimes_model_info *info = j->pass->info;
    const int64_t d = info->d_model, rows = j->rows, width = j->width;
    const int64_t qk = (info->n_heads + info->n_kv_heads) * info->d_head;
    const int threads = j->pass->model->threads;
    const float *W = j->layer->W_QKV, *b = j->layer->b_QKV;
    if (info->positions != OTIMES_POSITIONS_SHORTFORMER) {
        otimes_product(threads, false, rows, width, d, read, d, W, width, b, false, j->qkv, width);
        return OTIMES_OK;
    }
    float *positional = j->pass->space->positional;
    const int rc = add_positions(j, read, positional, err);
    if (rc == OTIMES_OK) {
        otimes_product(threads, false, rows, qk, d, positional, d, W, width, b, false, j->qkv,
                       width);
        otimes_product(threads, false, rows, width - qk, d, read, d, W + qk, width,
                       b ? b + qk : NULL, false, j->qkv + qk, width);
    }
    return rc;
}

/* A row's queries or keys through their norm: over each head, or over all of them together. */
static void norm_heads(const job *j, int64_t heads, const float *w, float *row)
{
    const otimes_model_info *info = j->pass->info;
    const bool all = info->qk_norm == OTIMES_QK_NORM_ALL;
    const int64_t blocks = all ? 1 : heads, e = all ? heads * info->d_head : info->d_head;
    const otimes_norm norm = info->qk_norm == OTIMES_QK_NORM_LN ? OTIMES_NORM_LN : OTIMES_NORM_RMS;
    for (int64_t block = 0; block < blocks; block++) {
        otimes_norm_rows(norm, info->eps, w + block * e, NULL, 1, e, row + block * e);
    }
}

/* R(p) turns (a, b) into (a cos - b sin, b cos + a sin). */
static void rotate(const otimes_rope *rope, const float *table, float *head)
{
    const int64_t half = rope->dim / 2;
    for (int64_t i = 0; i < half; i++) {
        float *a = head + (rope->adjacent ? 2 * i : i);
        float *b = head + (rope->adjacent ? 2 * i + 1 : i + half);
        const float c = table[i], s = table[half + i], x = *a, y = *b;
        *a = x * c - y * s;
        *b = y * c + x * s;
    }
}

/* Norms of queries and keys, before anything turns them. */
static int norm_item(void *context, int64_t item, int worker, otimes_err *err)
{
    const job *j = context;
    const otimes_model_info *info = j->pass->info;
    (void)worker, (void)err;
    for (int64_t i = item * HEAD_ROWS; i < j->rows && i < (item + 1) * HEAD_ROWS; i++) {
        float *row = j->qkv + i * j->width;
        norm_heads(j, info->n_heads, j->layer->rest.q_norm_w.data, row);
        norm_heads(j, info->n_kv_heads, j->layer->rest.k_norm_w.data,
                   row + info->n_heads * info->d_head);
    }
    return OTIMES_OK;
}

static int rotate_item(void *context, int64_t item, int worker, otimes_err *err)
{
    const job *j = context;
    const otimes_model_info *info = j->pass->info;
    const int64_t heads = info->n_heads + info->n_kv_heads;
    (void)worker, (void)err;
    for (int64_t i = item * HEAD_ROWS; i < j->rows && i < (item + 1) * HEAD_ROWS; i++) {
        const int64_t position = j->pass->batch->position[j->first_row + i];
        for (int64_t h = 0; h < heads; h++) {
            rotate(j->rope, j->rotation + position * j->rope->dim,
                   j->qkv + i * j->width + h * info->d_head);
        }
    }
    return OTIMES_OK;
}

static void clip(const job *j)
{
    const float limit = (float)j->pass->info->clip_qkv;
    for (int64_t i = 0; limit > 0 && i < j->rows * j->width; i++) {
        j->qkv[i] = j->qkv[i] > limit ? limit : j->qkv[i] < -limit ? -limit : j->qkv[i];
    }
}

static int see(const job *j, otimes_hook hook, int64_t first_head, int64_t heads, otimes_err *err)
{
    const int64_t e = j->pass->info->d_head;
    return otimes_pass_visit(j->pass, hook, j->layer->layer, j->first_row, j->rows, heads * e,
                             j->qkv + first_head * e, j->width, err);
}

static int queries_keys_values(const job *j, const float *read, otimes_err *err)
{
    const otimes_model_info *info = j->pass->info;
    const int64_t h = info->n_heads, k = info->n_kv_heads;
    const int64_t items = (j->rows + HEAD_ROWS - 1) / HEAD_ROWS;
    const int threads = otimes_par_worth(j->pass->model->threads, (double)(j->rows * j->width));
    int rc = project(j, read, err);
    if (rc == OTIMES_OK) {
        clip(j);
        rc = see(j, OTIMES_HOOK_Q, 0, h, err);
    }
    if (rc == OTIMES_OK) {
        rc = see(j, OTIMES_HOOK_K, h, k, err);
    }
    if (rc == OTIMES_OK) {
        rc = see(j, OTIMES_HOOK_V, h + k, k, err);
    }
    if (rc == OTIMES_OK && j->layer->rest.q_norm_w.data) {
        rc = otimes_par_for(items, threads, norm_item, (void *)j, err);
    }
    if (rc != OTIMES_OK || !j->rope) {
        return rc;
    }
    rc = otimes_par_for(items, threads, rotate_item, (void *)j, err);
    if (rc == OTIMES_OK) {
        rc = see(j, OTIMES_HOOK_ROT_Q, 0, h, err);
    }
    return rc == OTIMES_OK ? see(j, OTIMES_HOOK_ROT_K, h, k, err) : rc;
}

/* ---- the cache of earlier keys and values ---- */

static void remember(const job *j)
{
    const otimes_pass *pass = j->pass;
    const otimes_model_info *info = pass->info;
    const int64_t wide = info->n_kv_heads * info->d_head, k = info->n_heads * info->d_head;
    int64_t s = j->first_sequence;
    for (int64_t i = 0; i < j->rows; i++) {
        const int64_t row = j->first_row + i;
        while (pass->batch->start[s + 1] <= row) {
            s++;
        }
        const int64_t at = (s * pass->kv->capacity + pass->batch->position[row]) * wide;
        const float *from = j->qkv + i * j->width + k;
        memcpy(pass->kv->k[j->layer->layer] + at, from, (size_t)wide * sizeof *from);
        memcpy(pass->kv->v[j->layer->layer] + at, from + wide, (size_t)wide * sizeof *from);
    }
}

/* ---- patterns ---- */

/* Queries first .. first+rows-1 of a sequence, one head. Keys are counted from the sequence's
 * start, those in the cache included; the strip shows keys low .. high-1. */
typedef struct strip {
    int64_t sequence, head, first, rows, past, low, high;
    const float *q, *k, *v;
    int64_t kv_stride;
    float *scores, *z;
} strip;

/* The sequence of the chunk that has the item. */
static int64_t sequence_of(const job *j, int64_t item)
{
    const int64_t *items = j->pass->space->items;
    int64_t low = 0, high = j->count;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        *(items[middle] <= item ? &low : &high) = middle;
    }
    return low;
}

static strip strip_of(const job *j, int64_t item, int worker)
{
    const otimes_pass *pass = j->pass;
    const otimes_model_info *info = pass->info;
    const int64_t nth = sequence_of(j, item), sequence = j->first_sequence + nth;
    const int64_t e = info->d_head, h = info->n_heads, k = info->n_kv_heads;
    const int64_t length = pass->batch->start[sequence + 1] - pass->batch->start[sequence];
    const int64_t within = item - pass->space->items[nth];
    const int64_t row = pass->batch->start[sequence] - j->first_row;
    strip s = {.sequence = sequence,
               .head = within % h,
               .first = within / h * OTIMES_QUERY_ROWS,
               .past = past_of(j, sequence),
               .kv_stride = j->width,
               .scores = pass->space->strips + worker * OTIMES_QUERY_ROWS * pass->space->keys};
    const int64_t kv_head = s.head / (h / k);
    s.rows = length - s.first < OTIMES_QUERY_ROWS ? length - s.first : OTIMES_QUERY_ROWS;
    s.high = info->bidirectional ? s.past + length : s.past + s.first + s.rows;
    s.low = j->window > 0 && s.past + s.first >= j->window ? s.past + s.first - j->window + 1 : 0;
    if (otimes_pass_wants(pass, OTIMES_HOOK_BIT(SCORES) | OTIMES_HOOK_BIT(PATTERN))) {
        s.low = 0; /* visitors see every key */
    }
    s.q = j->qkv + (row + s.first) * j->width + s.head * e;
    s.k = j->qkv + row * j->width + (h + kv_head) * e;
    s.v = s.k + k * e;
    if (pass->kv) {
        const int64_t at = sequence * pass->kv->capacity * k * e + kv_head * e;
        s.k = pass->kv->k[j->layer->layer] + at;
        s.v = pass->kv->v[j->layer->layer] + at;
        s.kv_stride = k * e;
    }
    s.z = j->z + (row + s.first) * h * e + s.head * e;
    return s;
}

/* Keys that query number i of the strip sees. */
static void visible(const job *j, const strip *s, int64_t i, int64_t *low, int64_t *high)
{
    const int64_t position = s->past + s->first + i;
    *high = j->pass->info->bidirectional ? s->high : position + 1;
    *low = j->window > 0 && position >= j->window ? position - j->window + 1 : 0;
    *low = *low < s->low ? s->low : *low;
}

/* Soft cap, ALiBi, mask. */
static void finish_scores(const job *j, const strip *s)
{
    const otimes_pass *pass = j->pass;
    const int64_t keys = s->high - s->low;
    for (int64_t i = 0; i < s->rows; i++) {
        int64_t low, high;
        float *row = s->scores + i * keys - s->low; /* by key */
        visible(j, s, i, &low, &high);
        if (pass->info->attn_softcap > 0) {
            otimes_vsoftcap(high - low, row + low, (float)pass->info->attn_softcap);
        }
        for (int64_t key = low; pass->space->slopes && key < high; key++) {
            const double distance = (double)(s->past + s->first + i - key);
            row[key] -= (float)(pass->space->slopes[s->head] * distance);
        }
        for (int64_t key = s->low; key < low; key++) {
            row[key] = -INFINITY;
        }
        for (int64_t key = high; key < s->high; key++) {
            row[key] = -INFINITY;
        }
    }
}

static void softmax(const job *j, const strip *s)
{
    const float *sinks = j->layer->rest.sinks.data;
    const float sink = sinks ? sinks[s->head] : -INFINITY;
    const int64_t keys = s->high - s->low;
    const bool seen = otimes_pass_wants(j->pass, OTIMES_HOOK_BIT(SCORES));
    for (int64_t i = 0; i < s->rows; i++) {
        int64_t low, high;
        float *row = s->scores + i * keys - s->low;
        visible(j, s, i, &low, &high);
        if (seen) { /* a visitor may have opened what was masked */
            low = s->low;
            high = s->high;
        }
        otimes_softmax(high - low, row + low, sink);
        for (int64_t key = s->low; key < low; key++) {
            row[key] = 0;
        }
        for (int64_t key = high; key < s->high; key++) {
            row[key] = 0;
        }
    }
}

static int visit_strip(const job *j, const strip *s, otimes_hook hook, otimes_err *err)
{
    if (!otimes_pass_wants(j->pass, (uint64_t)1 << hook)) {
        return OTIMES_OK;
    }
    const otimes_activation activation = {.hook = hook,
                                          .layer = j->layer->layer,
                                          .head = s->head,
                                          .sequence = s->sequence,
                                          .expert = -1,
                                          .first = s->first,
                                          .rows = s->rows,
                                          .columns = s->high,
                                          .data = s->scores,
                                          .stride = s->high};
    return j->pass->hooks->visit(j->pass->hooks->context, &activation, err);
}

static int attend(void *context, int64_t item, int worker, otimes_err *err)
{
    const job *j = context;
    const otimes_model_info *info = j->pass->info;
    const strip s = strip_of(j, item, worker);
    const int64_t keys = s.high - s.low, e = info->d_head, from = s.low * s.kv_stride;
    otimes_la_default->sgemm(false, true, s.rows, keys, e, (float)(1 / info->attn_scale), s.q,
                             j->width, s.k + from, s.kv_stride, 0, s.scores, keys);
    finish_scores(j, &s);
    int rc = visit_strip(j, &s, OTIMES_HOOK_SCORES, err);
    if (rc == OTIMES_OK) {
        softmax(j, &s);
        rc = visit_strip(j, &s, OTIMES_HOOK_PATTERN, err);
    }
    if (rc == OTIMES_OK) {
        otimes_la_default->sgemm(false, false, s.rows, e, keys, 1, s.scores, keys, s.v + from,
                                 s.kv_stride, 0, s.z, info->n_heads * e);
    }
    return rc;
}

/* Items of a sequence are its strips of queries times heads. *operations: of all of them. */
static int64_t count_items(const job *j, double *operations)
{
    const otimes_batch *batch = j->pass->batch;
    int64_t *items = j->pass->space->items, total = 0;
    for (int64_t nth = 0; nth < j->count; nth++) {
        const int64_t s = j->first_sequence + nth;
        const int64_t length = batch->start[s + 1] - batch->start[s];
        items[nth] = total;
        *operations += 0.1 * (double)length * (double)(past_of(j, s) + length) *
                       (double)(j->pass->info->n_heads * j->pass->info->d_head);
        total += (length + OTIMES_QUERY_ROWS - 1) / OTIMES_QUERY_ROWS * j->pass->info->n_heads;
    }
    items[j->count] = total;
    return total;
}

int otimes_pass_attention_z(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first,
                            int64_t count, const float *stream, float *z, otimes_err *err)
{
    const otimes_model_info *info = pass->info;
    const otimes_batch *batch = pass->batch;
    const float *read = stream;
    job j = {.pass = pass,
             .layer = layer,
             .rope = otimes_layer_rope(pass->model, layer->layer),
             .first_sequence = first,
             .count = count,
             .first_row = batch->start[first],
             .rows = batch->start[first + count] - batch->start[first],
             .width = (info->n_heads + 2 * info->n_kv_heads) * info->d_head,
             .window = pass->model->layers[layer->layer].window,
             .z = z};
    int rc = otimes_space_need(pass, j.rows, batch->longest, err);
    if (rc == OTIMES_OK && info->pre_norm) {
        const otimes_norm_site site = {.norm = info->norm,
                                       .scale = OTIMES_HOOK_LN1_SCALE,
                                       .normalized = OTIMES_HOOK_LN1_NORMALIZED,
                                       .layer = layer->layer,
                                       .w = layer->rest.ln1_w.data,
                                       .b = layer->rest.ln1_b.data};
        read = pass->space->read;
        rc = otimes_pass_norm(pass, &site, j.first_row, j.rows, stream, pass->space->read, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    j.qkv = pass->space->qkv;
    j.rotation =
        j.rope == &pass->model->local_rope ? pass->space->local_rotation : pass->space->rotation;
    rc = queries_keys_values(&j, read, err);
    if (rc == OTIMES_OK && pass->kv) {
        remember(&j);
    }
    if (rc == OTIMES_OK) {
        double operations = 0;
        const int64_t items = count_items(&j, &operations);
        rc = otimes_par_for(items, otimes_par_worth(pass->model->threads, operations), attend, &j,
                            err);
    }
    return rc == OTIMES_OK ? otimes_pass_visit(pass, OTIMES_HOOK_Z, layer->layer, j.first_row,
                                               j.rows, info->n_heads * info->d_head, z,
                                               info->n_heads * info->d_head, err)
                           : rc;
}

/* ---- what is written ---- */

/* z_h W_O[h] of each head, for a visitor; changes to them are what is summed. */
static int results(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first, int64_t rows,
                   const float *z, float *out, otimes_err *err)
{
    const otimes_model_info *info = pass->info;
    const int64_t d = info->d_model, e = info->d_head, wide = info->n_heads * e;
    const float *W_O = layer->rest.W_O.data, *b_O = layer->rest.b_O.data;
    float *result = pass->space->read;
    int rc = OTIMES_OK;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < d; k++) {
            out[i * d + k] = b_O ? b_O[k] : 0;
        }
    }
    for (int64_t h = 0; rc == OTIMES_OK && h < info->n_heads; h++) {
        otimes_product(pass->model->threads, false, rows, d, e, z + h * e, wide, W_O + h * e * d, d,
                       NULL, false, result, d);
        const otimes_activation activation = {.hook = OTIMES_HOOK_RESULT,
                                              .layer = layer->layer,
                                              .head = h,
                                              .sequence = -1,
                                              .expert = -1,
                                              .first = first,
                                              .rows = rows,
                                              .columns = d,
                                              .data = result,
                                              .stride = d};
        rc = pass->hooks->visit(pass->hooks->context, &activation, err);
        otimes_pass_add(pass, rows * d, result, out);
    }
    return rc;
}

int otimes_pass_attention_out(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first_row,
                              int64_t rows, float *z, float *out, otimes_err *err)
{
    const otimes_model_info *info = pass->info;
    const int64_t d = info->d_model, wide = info->n_heads * info->d_head;
    int rc = otimes_space_need(pass, rows, 1, err);
    if (rc == OTIMES_OK && otimes_pass_wants(pass, OTIMES_HOOK_BIT(RESULT))) {
        rc = results(pass, layer, first_row, rows, z, out, err);
    } else if (rc == OTIMES_OK) {
        otimes_product(pass->model->threads, false, rows, d, wide, z, wide, layer->rest.W_O.data, d,
                       layer->rest.b_O.data, false, out, d);
    }
    if (rc == OTIMES_OK && layer->rest.ln1_post_w.data) {
        const otimes_norm_site site = {.norm = info->norm,
                                       .scale = OTIMES_HOOK_LN1_POST_SCALE,
                                       .normalized = OTIMES_HOOK_COUNT,
                                       .layer = layer->layer,
                                       .w = layer->rest.ln1_post_w.data};
        rc = otimes_pass_norm(pass, &site, first_row, rows, out, out, err);
    }
    return rc == OTIMES_OK ? otimes_pass_visit(pass, OTIMES_HOOK_ATTN_OUT, layer->layer, first_row,
                                               rows, d, out, d, err)
                           : rc;
}
