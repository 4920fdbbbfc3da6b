/* SPDX-License-Identifier: MIT
 *
 * Neurons. What neuron n writes is a_n W_out[n], so it is worth a_n (W_out[n] . p): W_out takes the
 * direction, activations are multiplied entry by entry. Of a mixture of experts the same holds with
 * the expert's weight as a factor.
 */
#include "analysis/decompose_job.h"

#include <math.h>
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"

enum { BLOCK = OTIMES_DECOMPOSE_VARYING };

/* Activations of one MLP, or of one expert. */
typedef struct mlp {
    decompose_batch *batch;
    const otimes_activation *seen;
    const otimes_layer *layer;
    const otimes_tensor *W_out, *b_out;
    int64_t base;          /* number of its first neuron in the layer */
    int64_t first;         /* of the block's selected rows */
    int64_t count;         /* of all selected rows */
    const int64_t *place;  /* [count] row of the activation */
    const int64_t *chosen; /* [count] number of the chosen row */
} mlp;

static const otimes_tensor none;

/* What an MLP's output is multiplied by at a row: the router's weight. A shared expert's gate is in
 * its activations already. */
static double weight_at(const mlp *m, int64_t row)
{
    const decompose_batch *batch = m->batch;
    return m->seen->hook == OTIMES_HOOK_EXPERT_POST
               ? (double)batch->weights[row * batch->job->info->n_experts + m->seen->expert]
               : 1;
}

/* Neurons of one row, for one target. */
static void consume(const mlp *m, int64_t i, int64_t t, const float *post, const float *through,
                    double factor, float *scratch)
{
    decompose_batch *batch = m->batch;
    const decompose_job *job = batch->job;
    const int64_t l = m->seen->layer, count = m->seen->columns;
    const int64_t at = i * job->target_count + t, in_layer = at * job->run_layers + l;
    float *worth = batch->neuron ? batch->neuron + in_layer * job->neuron_count + m->base : scratch;
    const float scale = (float)factor;
    for (int64_t n = 0; n < count; n++) {
        worth[n] = post[n] * through[n] * scale;
    }
    double sum = 0;
    for (int64_t n = 0; n < count; n++) {
        sum += (double)worth[n];
    }
    batch->neuron_sum[in_layer] += (float)sum;
    for (int end = 0; end < 2; end++) {
        otimes_topk_scan(&batch->top[2 * at + end], worth, count,
                         (int32_t)(l * job->neuron_count + m->base));
    }
    if (m->b_out->data) {
        const int64_t d = job->info->d_model;
        const float *p = batch->direction + otimes_decompose_direction_at(batch, i, t) * d;
        batch->neuron_rest[in_layer] += (float)(otimes_dot(batch->bias, p, d) * factor);
    }
}

static int neuron_row(void *context, int64_t item, int worker, otimes_err *err)
{
    const mlp *m = context;
    decompose_batch *batch = m->batch;
    const decompose_job *job = batch->job;
    const int64_t at = m->first + item, i = m->chosen[at], row = batch->chosen[i];
    const float *post = m->seen->data + m->place[at] * m->seen->stride;
    const double factor =
        weight_at(m, row) *
        otimes_decompose_post(batch, OTIMES_HOOK_LN2_POST_SCALE, m->seen->layer, row);
    (void)err;
    for (int64_t t = 0; t < job->target_count; t++) {
        const int64_t p = job->varying ? item : t;
        consume(m, i, t, post, batch->through + p * m->seen->columns, factor,
                batch->scratch + worker * batch->scratch_each);
    }
    return OTIMES_OK;
}

/* All selected rows, where directions differ a block at a time. */
static int run_mlp(mlp *m, otimes_err *err)
{
    decompose_batch *batch = m->batch;
    const decompose_job *job = batch->job;
    const int64_t d = job->info->d_model, columns = m->seen->columns;
    const otimes_tensor *post_w = &m->layer->ln2_post_w;
    int rc = OTIMES_OK;
    for (int64_t j = 0; m->b_out->data && j < d; j++) {
        batch->bias[j] = m->b_out->data[j] * (post_w->data ? post_w->data[j] : 1);
    }
    if (!job->varying) {
        otimes_decompose_project(batch, batch->direction, job->target_count, post_w, m->W_out->data,
                                 columns, batch->through);
        return otimes_par_for(m->count, job->model->threads, neuron_row, m, err);
    }
    for (; rc == OTIMES_OK && m->first < m->count; m->first += BLOCK) {
        const int64_t left = m->count - m->first, rows = left < BLOCK ? left : BLOCK;
        for (int64_t i = 0; i < rows; i++) {
            memcpy(batch->gathered + i * d, batch->direction + m->chosen[m->first + i] * d,
                   (size_t)d * sizeof(float));
        }
        otimes_decompose_project(batch, batch->gathered, rows, post_w, m->W_out->data, columns,
                                 batch->through);
        rc = otimes_par_for(rows, job->model->threads, neuron_row, m, err);
    }
    return rc;
}

/* Chosen rows among those of an activation. */
static void select_rows(mlp *m)
{
    decompose_batch *batch = m->batch;
    int64_t *place = batch->selected, *chosen = batch->selected + batch->rows.rows;
    for (int64_t r = 0; r < m->seen->rows; r++) {
        const int64_t row = m->seen->row_of ? m->seen->row_of[r] : m->seen->first + r;
        if (batch->before[row + 1] > batch->before[row]) {
            place[m->count] = r;
            chosen[m->count++] = batch->before[row];
        }
    }
    m->place = place;
    m->chosen = chosen;
}

static void keep_weights(decompose_batch *batch, const otimes_activation *a)
{
    for (int64_t r = 0; r < a->rows; r++) {
        memcpy(batch->weights + (a->first + r) * a->columns, a->data + r * a->stride,
               (size_t)a->columns * sizeof(float));
    }
}

int otimes_decompose_neurons(decompose_batch *batch, const otimes_activation *a, otimes_err *err)
{
    const otimes_model_info *info = batch->job->info;
    const otimes_ready_layer *layer;
    const otimes_expert *expert;
    mlp m = {.batch = batch, .seen = a, .b_out = &none};
    int rc = otimes_layers_get(&batch->job->layers, a->layer, &layer, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    m.layer = &layer->rest;
    switch ((int)a->hook) {
    case OTIMES_HOOK_EXPERT_WEIGHTS:
        keep_weights(batch, a);
        return OTIMES_OK;
    case OTIMES_HOOK_EXPERT_POST:
        rc = otimes_layers_expert(&batch->job->layers, layer, a->expert, &expert, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        m.W_out = &expert->W_out;
        m.b_out = &expert->b_out;
        m.base = a->expert * info->d_expert;
        break;
    case OTIMES_HOOK_SHARED_POST:
        m.W_out = &layer->rest.shared_W_out;
        m.base = info->n_experts * info->d_expert;
        break;
    default:
        m.W_out = &layer->rest.W_out;
        m.b_out = &layer->rest.b_out;
    }
    select_rows(&m);
    return run_mlp(&m, err);
}

/* ---- the largest ---- */

static bool comes_first(const otimes_topk *a, int64_t i, const otimes_topk *b, int64_t j)
{
    if (j >= b->count || i >= a->count) {
        return j >= b->count;
    }
    const float x = fabsf(a->value[i]), y = fabsf(b->value[j]);
    return x > y || (x == y && a->index[i] <= b->index[j]);
}

/* The largest and the smallest, merged by size. A neuron that is among both comes once. */
static void merge(decompose_batch *batch, int64_t at)
{
    const decompose_job *job = batch->job;
    const int64_t top = job->settings->top;
    otimes_topk *high = &batch->top[2 * at], *low = high + 1;
    int64_t i = 0, j = 0, n = 0;
    otimes_topk_finish(high);
    otimes_topk_finish(low);
    while (n < top && (i < high->count || j < low->count)) {
        const bool from_high = comes_first(high, i, low, j);
        const float value = from_high ? high->value[i] : low->value[j];
        const int32_t index = from_high ? high->index[i++] : low->index[j++];
        if (from_high ? value < 0 : value >= 0) {
            continue; /* the other list has it */
        }
        batch->neuron_value[at * top + n] = value;
        batch->neuron_layer[at * top + n] = index / (int32_t)job->neuron_count;
        batch->neuron_index[at * top + n++] = index % (int32_t)job->neuron_count;
    }
    for (; n < top; n++) {
        batch->neuron_value[at * top + n] = NAN;
        batch->neuron_layer[at * top + n] = batch->neuron_index[at * top + n] = -1;
    }
}

void otimes_decompose_neurons_finish(decompose_batch *batch)
{
    for (int64_t at = 0; at < batch->count * batch->job->target_count; at++) {
        merge(batch, at);
    }
}
