/* SPDX-License-Identifier: MIT
 *
 * One batch of texts: its memory, its one or two passes, and what is settled at their end.
 */
#include "analysis/decompose_job.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"

/* ---- memory ---- */

/* a b c, INT64_MAX where that is too small. */
static int64_t times(int64_t a, int64_t b, int64_t c)
{
    int64_t ab, abc;
    return otimes_mul_i64(a, b, &ab) && otimes_mul_i64(ab, c, &abc) ? abc : INT64_MAX;
}

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Number of neurons of the widest MLP or expert. */
static int64_t widest(const otimes_model_info *info)
{
    const int64_t d = info->d_mlp > info->d_expert ? info->d_mlp : info->d_expert;
    return d > info->d_shared_expert ? d : info->d_shared_expert;
}

typedef struct need {
    void **to;
    int64_t count;
    size_t size;
} need;
enum { NEEDS = 40 };

#define NEED(pointer, items)                            \
    (need)                                              \
    {                                                   \
        (void **)&(pointer), (items), sizeof *(pointer) \
    }

/* Every buffer of a batch of so many rows and chosen rows. */
static int list_needs(decompose_batch *b, int64_t rows, int64_t chosen, int64_t longest,
                      need list[NEEDS])
{
    const decompose_job *job = b->job;
    const otimes_model_info *info = job->info;
    const otimes_decompose_settings *s = job->settings;
    const int64_t d = info->d_model, t = job->target_count, z = info->n_heads * info->d_head;
    const int64_t directions = job->varying ? chosen : t, marked = times(chosen, t, 1);
    const int64_t per_layer = times(marked, job->run_layers, 1);
    int n = 0;
    list[n++] = NEED(b->stream, times(rows, d, 1)); /* stays the first */
    list[n++] = NEED(b->before, rows + 1);
    list[n++] = NEED(b->chosen, chosen);
    list[n++] = NEED(b->total, times(chosen, d, 1));
    list[n++] = NEED(b->normal, times(chosen, d, 1));
    list[n++] = NEED(b->scale, chosen);
    list[n++] = NEED(b->direction, times(directions, d, 1));
    list[n++] = NEED(b->offset, directions);
    list[n++] = NEED(b->bias, d);
    list[n++] = NEED(b->residual_norm, chosen);
    list[n++] = NEED(b->target_id, marked);
    list[n++] = NEED(b->against_id, marked);
    list[n++] = NEED(b->attribution, times(marked, job->component_count, 1));
    list[n++] = NEED(b->value, marked);
    list[n++] = NEED(b->residue, marked);
    list[n++] = NEED(b->lens, times(marked, job->point_count, 1));
    b->scratch_each = OTIMES_DECOMPOSE_ROWS * (z + d);
    b->scratch_each = b->scratch_each > widest(info) ? b->scratch_each : widest(info);
    list[n++] = NEED(b->scratch,
                     times(b->scratch_each, otimes_par_workers(INT32_MAX, job->model->threads), 1));
    if (info->post_norm) {
        list[n++] = NEED(b->weighted, times(directions, d, 1));
    }
    if (s->norms) {
        list[n++] = NEED(b->norm, times(chosen, job->component_count, 1));
        list[n++] = NEED(b->cosine, times(chosen, job->component_count, 1));
    }
    if (s->lens) {
        list[n++] = NEED(b->rank, times(marked, job->point_count, 1));
        list[n++] = NEED(b->log_prob, times(marked, job->point_count, 1));
    }
    if (job->by_heads || s->sources) {
        list[n++] = NEED(b->projected, times(directions, z, 1));
    }
    if (s->sources) {
        list[n++] = NEED(b->values, job->varying ? times(rows, info->n_kv_heads, info->d_head)
                                                 : times(rows, t, info->n_heads));
        list[n++] = NEED(b->source, times(per_layer, info->n_heads, longest));
        list[n++] = NEED(b->source_at, chosen + 1);
    }
    if (job->by_neurons) {
        const int64_t strip = job->varying ? at_most(chosen, OTIMES_DECOMPOSE_VARYING) : t;
        const int64_t tops = times(marked, s->top, 1);
        list[n++] = NEED(b->through, times(strip, widest(info), 1));
        list[n++] = NEED(b->gathered, times(strip, d, 1));
        list[n++] = NEED(b->selected, times(2, rows, 1));
        list[n++] = NEED(b->weights, times(rows, info->n_experts, 1));
        list[n++] = NEED(b->neuron_sum, per_layer);
        list[n++] = NEED(b->neuron_rest, per_layer);
        list[n++] = NEED(b->top, times(2, marked, 1));
        list[n++] = NEED(b->top_value, times(2, tops, 1));
        list[n++] = NEED(b->top_index, times(2, tops, 1));
        list[n++] = NEED(b->neuron_value, tops);
        list[n++] = NEED(b->neuron_layer, tops);
        list[n++] = NEED(b->neuron_index, tops);
        if (s->full) {
            list[n++] = NEED(b->neuron, times(per_layer, job->neuron_count, 1));
        }
    }
    return n;
}

/* Without the stream, which the plan of the pass has; with the scales of post-norms. */
int64_t otimes_decompose_bytes(decompose_job *job, int64_t rows, int64_t chosen, int64_t longest)
{
    need list[NEEDS];
    decompose_batch batch = {.job = job};
    const int64_t scales = job->info->post_norm ? 2 * job->info->n_layers : 0;
    int64_t total = times(rows, scales, (int64_t)sizeof(float));
    for (int i = 1, n = list_needs(&batch, rows, chosen, longest, list); i < n; i++) {
        const int64_t bytes = times(list[i].count, (int64_t)list[i].size, 1);
        total = bytes > INT64_MAX - total ? INT64_MAX : total + bytes;
    }
    return total;
}

/* ---- chosen rows ---- */

int otimes_decompose_choose(const decompose_job *job, int64_t text, int64_t length, bool *chosen,
                            int64_t *count, otimes_err *err)
{
    const otimes_decompose_settings *s = job->settings;
    *count = s->positions ? 0 : length;
    for (int64_t i = 0; i < length; i++) {
        chosen[i] = s->positions == NULL;
    }
    for (int64_t i = 0; s->positions && i < s->position_count; i++) {
        const int64_t at = s->positions[i] < 0 ? length + s->positions[i] : s->positions[i];
        if (at < 0 || at >= length) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "text %" PRId64 ": position: expected %" PRId64 " to %" PRId64
                               ", got %" PRId64,
                               text, -length, length - 1, s->positions[i]);
        }
        *count += !chosen[at];
        chosen[at] = true;
    }
    return OTIMES_OK;
}

static void mark_rows(decompose_batch *batch, const bool *marked)
{
    const decompose_job *job = batch->job;
    const int64_t each = job->target_count * job->run_layers * job->info->n_heads;
    int64_t count = 0;
    for (int64_t s = 0; s < batch->rows.count; s++) {
        const int64_t end = batch->rows.start[s + 1], length = end - batch->rows.start[s];
        for (int64_t row = batch->rows.start[s]; row < end; row++) {
            batch->before[row] = count;
            if (!marked[row]) {
                continue;
            }
            if (batch->source) {
                batch->source_at[count + 1] = batch->source_at[count] + each * length;
            }
            batch->chosen[count++] = row;
        }
    }
    batch->before[batch->rows.rows] = count;
}

static int choose_rows(decompose_batch *batch, bool *marked, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t s = 0; rc == OTIMES_OK && s < batch->sequences.count; s++) {
        int64_t count = 0;
        rc = otimes_decompose_choose(batch->job, batch->first_text + s, batch->sequences.length[s],
                                     marked + batch->rows.start[s], &count, err);
        batch->count += count;
    }
    return rc;
}

static void begin_tops(decompose_batch *batch)
{
    const int64_t top = batch->job->settings->top;
    for (int64_t i = 0; batch->top && i < 2 * batch->count * batch->job->target_count; i++) {
        batch->top[i] = (otimes_topk){.capacity = top,
                                      .sign = i % 2 ? -1.0f : 1.0f,
                                      .value = batch->top_value + i * top,
                                      .index = batch->top_index + i * top};
    }
}

int otimes_decompose_batch_init(decompose_batch *batch, decompose_job *job, int64_t first_text,
                                int64_t count, otimes_err *err)
{
    need list[NEEDS];
    bool *marked = NULL;
    *batch = (decompose_batch){.job = job,
                               .sequences = otimes_texts_slice(&job->texts, first_text, count),
                               .first_text = first_text,
                               .projected_layer = -1};
    int rc = otimes_batch_init(&batch->rows, job->model, &batch->sequences, NULL, err);
    batch->longest = batch->rows.longest;
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&marked, batch->rows.rows, err);
    }
    if (rc == OTIMES_OK) {
        rc = choose_rows(batch, marked, err);
    }
    const int n = rc != OTIMES_OK
                      ? 0
                      : list_needs(batch, batch->rows.rows, batch->count, batch->longest, list);
    for (int i = 0; i < n; i++) {
        *list[i].to = otimes_pool_new(&batch->pool, list[i].count, list[i].size, &rc, err);
    }
    if (rc == OTIMES_OK) {
        mark_rows(batch, marked);
        begin_tops(batch);
    }
    if (rc == OTIMES_OK && job->info->post_norm) {
        rc = otimes_frozen_init(&batch->frozen, job->model, &batch->sequences,
                                OTIMES_FREEZE_POST_SCALES, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pass_init(&batch->pass, &job->layers, &batch->rows, NULL,
                              job->settings->forward.chunk_rows, err);
    }
    otimes_free(marked);
    return rc;
}

void otimes_decompose_batch_free(decompose_batch *batch)
{
    otimes_pass_free(&batch->pass);
    otimes_frozen_free(&batch->frozen);
    otimes_batch_free(&batch->rows);
    otimes_pool_free(&batch->pool);
    *batch = (decompose_batch){0};
}

/* ---- passes ---- */

/* From the tokens to the point, and the stream there into batch->total. */
static int run_pass(decompose_batch *batch, const otimes_hooks *hooks, decompose_tick tick,
                    void *context, double done, double share, otimes_err *err)
{
    const decompose_job *job = batch->job;
    const int64_t d = job->info->d_model, layers = job->run_layers;
    batch->pass.hooks = hooks;
    int rc = otimes_pass_embed(&batch->pass, batch->stream, err);
    if (rc == OTIMES_OK && !batch->first_pass && !job->splits_embedding) {
        const otimes_activation whole = {.hook = OTIMES_HOOK_EMBED,
                                         .layer = -1,
                                         .rows = batch->rows.rows,
                                         .columns = d,
                                         .data = batch->stream,
                                         .stride = d};
        rc = otimes_decompose_whole(batch, job->embed, &whole, err);
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < layers; l++) {
        rc = otimes_pass_layers(&batch->pass, l, l + 1, batch->stream, err);
        if (rc == OTIMES_OK) {
            rc = tick(context, done + share * (double)(l + 1) / (double)layers, err);
        }
    }
    for (int64_t i = 0; rc == OTIMES_OK && !job->settings->mid && i < batch->count; i++) {
        memcpy(batch->total + i * d, batch->stream + batch->chosen[i] * d,
               (size_t)d * sizeof *batch->total);
    }
    return rc;
}

/* The target of a chosen row where each has its own; predicted ones are there already. */
static void choose_target(decompose_batch *batch, int64_t i, int64_t text)
{
    const otimes_decompose_settings *s = batch->job->settings;
    const int64_t next = batch->chosen[i] + 1;
    const bool follows = next < batch->rows.start[text + 1];
    const int64_t at = batch->first_text + text;
    batch->against_id[i] = s->text_target && s->text_against ? s->text_against[at] : -1;
    if (s->text_target) {
        batch->target_id[i] = s->text_target[at];
    } else if (!s->predicted) {
        batch->target_id[i] = follows ? batch->rows.id[next] : -1;
    }
}

/* Targets of each chosen row, and where they differ from row to row their directions. */
static int set_targets(decompose_batch *batch, otimes_err *err)
{
    const decompose_job *job = batch->job;
    const otimes_decompose_settings *s = job->settings;
    const int64_t d = job->info->d_model, t = job->target_count;
    int rc = OTIMES_OK;
    if (!job->varying) {
        memcpy(batch->direction, job->direction, (size_t)(t * d) * sizeof *job->direction);
        memcpy(batch->offset, job->offset, (size_t)t * sizeof *job->offset);
        for (int64_t i = 0; i < batch->count * t; i++) {
            batch->target_id[i] = s->target[i % t];
            batch->against_id[i] = s->against ? s->against[i % t] : -1;
        }
        return OTIMES_OK;
    }
    for (int64_t text = 0; text < batch->rows.count; text++) {
        const int64_t end = batch->before[batch->rows.start[text + 1]];
        for (int64_t i = batch->before[batch->rows.start[text]]; rc == OTIMES_OK && i < end; i++) {
            choose_target(batch, i, text);
            if (batch->target_id[i] >= 0) {
                rc = otimes_decompose_direction(job, batch->target_id[i], batch->against_id[i],
                                                batch->direction + i * d, &batch->offset[i], err);
            }
        }
    }
    return rc;
}

/* ---- what is settled at the end ---- */

static void scale_run(float *values, int64_t count, double factor)
{
    for (int64_t i = 0; values && i < count; i++) {
        values[i] = (float)((double)values[i] * factor);
    }
}

/* Everything attributed to one row's target, over the final norm's scale; NaN without a target. */
static void settle(decompose_batch *batch, int64_t i, int64_t t)
{
    const decompose_job *job = batch->job;
    const otimes_decompose_settings *s = job->settings;
    const int64_t at = i * job->target_count + t, layers = job->run_layers;
    const bool defined = batch->target_id[at] >= 0;
    const double factor = defined ? 1 / (double)batch->scale[i] : NAN;
    float *parts = batch->attribution + at * job->component_count;
    double sum = 0;
    scale_run(parts, job->component_count, factor);
    if (job->bias >= 0) {
        parts[job->bias] =
            defined ? (float)batch->offset[otimes_decompose_direction_at(batch, i, t)] : NAN;
    }
    for (int64_t c = 0; c < job->component_count; c++) {
        sum += (double)parts[c];
    }
    if (!defined) {
        scale_run(batch->lens + at * job->point_count, job->point_count, NAN);
    }
    batch->value[at] = batch->lens[(at + 1) * job->point_count - 1];
    batch->residue[at] = (float)((double)batch->value[at] - sum);
    if (batch->source) {
        const int64_t count = (batch->source_at[i + 1] - batch->source_at[i]) / job->target_count;
        scale_run(batch->source + batch->source_at[i] + t * count, count, factor);
    }
    if (job->by_neurons) {
        scale_run(batch->neuron_sum + at * layers, layers, factor);
        scale_run(batch->neuron_rest + at * layers, layers, factor);
        scale_run(batch->neuron_value + at * s->top, s->top, factor);
        scale_run(batch->neuron ? batch->neuron + at * layers * job->neuron_count : NULL,
                  layers * job->neuron_count, factor);
    }
}

static int settle_row(void *context, int64_t i, int worker, otimes_err *err)
{
    decompose_batch *batch = context;
    const int64_t d = batch->job->info->d_model;
    const float *x = batch->total + i * d;
    (void)worker, (void)err;
    batch->residual_norm[i] = (float)sqrt(otimes_dot(x, x, d));
    if (batch->norm && batch->job->bias >= 0) { /* it never was in the stream */
        const int64_t at = i * batch->job->component_count + batch->job->bias;
        batch->norm[at] = batch->cosine[at] = NAN;
    }
    for (int64_t t = 0; t < batch->job->target_count; t++) {
        settle(batch, i, t);
    }
    return OTIMES_OK;
}

int otimes_decompose_batch_run(decompose_batch *batch, decompose_tick tick, void *context,
                               otimes_err *err)
{
    decompose_job *job = batch->job;
    const double first = job->twice ? 0.5 : 0;
    const otimes_hooks once = {batch->frozen.points |
                                   (job->settings->mid ? OTIMES_HOOK_BIT(RESID_MID) : 0),
                               otimes_decompose_visit_first, batch};
    const otimes_hooks all = {otimes_decompose_points(job), otimes_decompose_visit, batch};
    int rc = OTIMES_OK;
    if (job->twice) {
        batch->first_pass = true;
        rc = run_pass(batch, &once, tick, context, 0, first, err);
        batch->first_pass = false;
    }
    if (rc == OTIMES_OK && job->settings->predicted) {
        rc = otimes_decompose_predict(batch, err);
    }
    if (rc == OTIMES_OK) {
        rc = set_targets(batch, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_pass(batch, &all, tick, context, first, 1 - first, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_decompose_lens(batch, job->point_count - 1, 0, batch->count, batch->total, err);
    }
    if (rc == OTIMES_OK && job->by_neurons) {
        otimes_decompose_neurons_finish(batch);
    }
    return rc == OTIMES_OK
               ? otimes_par_for(batch->count, job->model->threads, settle_row, batch, err)
               : rc;
}
