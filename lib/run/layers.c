/* SPDX-License-Identifier: MIT */
#include "run/layers.h"

#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "model/model.h"

static int64_t qkv_columns(const otimes_model_info *info)
{
    return (info->n_heads + 2 * info->n_kv_heads) * info->d_head;
}

/* Heads of W [heads, d_model, d_head] side by side into columns `first` on of W_QKV; their biases
 * behind one another. Returns the column behind them. */
static int64_t pack_heads(const otimes_model_info *info, const otimes_tensor *W,
                          const otimes_tensor *b, int64_t first, float *W_QKV, float *b_QKV)
{
    const int64_t d = info->d_model, e = info->d_head, width = qkv_columns(info);
    const int64_t heads = W->dim[0];
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t i = 0; i < d; i++) {
            memcpy(W_QKV + i * width + first + h * e, W->data + (h * d + i) * e,
                   (size_t)e * sizeof *W_QKV);
        }
    }
    if (b->data) {
        memcpy(b_QKV + first, b->data, (size_t)(heads * e) * sizeof *b_QKV);
    }
    return first + heads * e;
}

/* A tensor's numbers behind *next, which moves on; *to becomes a view of them. */
static void keep(const otimes_tensor *from, int64_t count, float **next, otimes_tensor *to)
{
    *to = *from;
    if (from->data) {
        memcpy(*next, from->data, (size_t)count * sizeof **next);
        to->data = *next;
        *next += count;
    }
}

/* What is kept of a loaded layer's attention beside W_QKV: tensor, elements. */
#define KEPT(X)                                          \
    X(W_O, info->n_heads * info->d_head * info->d_model) \
    X(b_O, info->d_model)                                \
    X(ln1_w, info->d_model)                              \
    X(ln1_b, info->d_model)                              \
    X(ln1_post_w, info->d_model)                         \
    X(q_norm_w, info->n_heads * info->d_head)            \
    X(k_norm_w, info->n_kv_heads * info->d_head)         \
    X(sinks, info->n_heads)

/* All of a layer's attention into one block of the layer's own. */
static int pack(const otimes_model *model, const otimes_layer *raw, otimes_ready_layer *ready,
                otimes_err *err)
{
    const otimes_model_info *info = &model->info;
    const int64_t width = qkv_columns(info), matrix = info->d_model * width;
    const bool biases = raw->b_Q.data || raw->b_K.data || raw->b_V.data;
    int64_t total = matrix + (biases ? width : 0);
#define COUNT(name, count) total += raw->name.data ? (count) : 0;
    KEPT(COUNT)
#undef COUNT
    float *next;
    const int rc = OTIMES_NEW(&next, total, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    ready->W_QKV = next;
    ready->b_QKV = biases ? next + matrix : NULL;
    next += matrix + (biases ? width : 0);
    int64_t column = pack_heads(info, &raw->W_Q, &raw->b_Q, 0, ready->W_QKV, ready->b_QKV);
    column = pack_heads(info, &raw->W_K, &raw->b_K, column, ready->W_QKV, ready->b_QKV);
    (void)pack_heads(info, &raw->W_V, &raw->b_V, column, ready->W_QKV, ready->b_QKV);
#define KEEP(name, count) keep(&raw->name, (count), &next, &ready->rest.name);
    KEPT(KEEP)
#undef KEEP
    return OTIMES_OK;
}

static void free_ready(const otimes_model *model, otimes_ready_layer *ready)
{
    for (int64_t x = 0; ready->experts && x < model->info.n_experts; x++) {
        otimes_expert_free(&ready->experts[x]);
    }
    otimes_free(ready->experts);
    otimes_free(ready->W_QKV); /* the block of all of the attention */
    otimes_layer_free(&ready->rest);
    *ready = (otimes_ready_layer){0};
}

static int load_experts(const otimes_model *model, int64_t layer, otimes_ready_layer *ready,
                        otimes_err *err)
{
    int rc = OTIMES_NEW(&ready->experts, model->info.n_experts, err);
    for (int64_t x = 0; rc == OTIMES_OK && x < model->info.n_experts; x++) {
        rc = otimes_expert_load(model, layer, x, &ready->experts[x], err);
    }
    return rc;
}

static int load(const otimes_model *model, int64_t layer, bool experts, otimes_ready_layer *ready,
                otimes_err *err)
{
    otimes_layer raw = {0};
    int rc = otimes_layer_load(model, layer, OTIMES_PART_MLP, &ready->rest, err);
    if (rc == OTIMES_OK) {
        rc = otimes_layer_load(model, layer, OTIMES_PART_ATTENTION, &raw, err);
    }
    if (rc == OTIMES_OK) {
        rc = pack(model, &raw, ready, err);
    }
    otimes_layer_free(&raw);
    if (rc == OTIMES_OK && experts && otimes_layer_has_experts(model, layer)) {
        rc = load_experts(model, layer, ready, err);
    }
    ready->layer = layer;
    if (rc != OTIMES_OK) {
        free_ready(model, ready);
    }
    return rc;
}

static int borrow(otimes_layers *layers, const otimes_model *model, otimes_layers *owner,
                  otimes_err *err)
{
    if (owner->model != model || !owner->resident) {
        const bool other = owner->model != model;
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: weights: expected %s, got %s",
                           model->path, other ? "those of this model" : "resident ones",
                           other ? owner->model->path : "streamed ones");
    }
    *layers = *owner;
    layers->owner = owner;
    layers->pulse = NULL;
    return OTIMES_OK;
}

int otimes_layers_open(otimes_layers *layers, const otimes_model *model,
                       const otimes_forward_settings *settings, otimes_err *err)
{
    const bool resident = settings && settings->resident;
    *layers = (otimes_layers){0};
    if (settings && settings->weights) {
        return borrow(layers, model, otimes_forward_layers(settings->weights), err);
    }
    layers->model = model;
    layers->resident = resident;
    int rc = OTIMES_NEW(&layers->ready, resident ? model->info.n_layers : 1, err);
    if (rc == OTIMES_OK) {
        rc = otimes_unembed_open(model, &layers->unembed, err);
    }
    if (rc != OTIMES_OK) {
        otimes_layers_close(layers);
    }
    return rc;
}

void otimes_layers_close(otimes_layers *layers)
{
    if (!layers || !layers->model) {
        return;
    }
    if (layers->owner) {
        *layers = (otimes_layers){0};
        return;
    }
    const int64_t count = layers->resident ? layers->model->info.n_layers : 1;
    for (int64_t i = 0; layers->ready && i < count; i++) {
        free_ready(layers->model, &layers->ready[i]);
    }
    otimes_free(layers->ready);
    otimes_free(layers->W_U);
    otimes_expert_free(&layers->expert);
    otimes_unembed_free(&layers->unembed);
    *layers = (otimes_layers){0};
}

static int load_item(void *context, int64_t layer, int worker, otimes_err *err)
{
    const otimes_layers *layers = context;
    (void)worker;
    return layers->ready[layer].W_QKV
               ? OTIMES_OK
               : load(layers->model, layer, true, &layers->ready[layer], err);
}

int otimes_layers_get(otimes_layers *layers, int64_t layer, const otimes_ready_layer **ready,
                      otimes_err *err)
{
    int rc = otimes_pulse_beat(layers->pulse, err);
    if (rc != OTIMES_OK || layers->owner) {
        return rc != OTIMES_OK ? rc : otimes_layers_get(layers->owner, layer, ready, err);
    }
    const otimes_model *model = layers->model;
    otimes_ready_layer *slot = &layers->ready[layers->resident ? layer : 0];
    *ready = slot;
    if (slot->W_QKV && slot->layer == layer) {
        return OTIMES_OK;
    }
    if (layers->resident) { /* the others will be wanted too: a thread each */
        rc = otimes_par_for(model->info.n_layers, model->threads, load_item, layers, err);
    } else {
        free_ready(model, slot);
        rc = load(model, layer, false, slot, err);
    }
    return rc;
}

int otimes_layers_expert(otimes_layers *layers, const otimes_ready_layer *layer, int64_t expert,
                         const otimes_expert **out, otimes_err *err)
{
    if (layer->experts) {
        *out = &layer->experts[expert];
        return OTIMES_OK;
    }
    *out = &layers->expert;
    if (layers->expert.memory && layers->expert.layer == layer->layer &&
        layers->expert.expert == expert) {
        return OTIMES_OK;
    }
    otimes_expert_free(&layers->expert);
    return otimes_expert_load(layers->model, layer->layer, expert, &layers->expert, err);
}

int otimes_layers_unembed(otimes_layers *layers, int64_t first, int64_t count, float *scratch,
                          const float **rows, otimes_err *err)
{
    if (layers->owner) {
        return otimes_layers_unembed(layers->owner, first, count, scratch, rows, err);
    }
    const otimes_model_info *info = &layers->model->info;
    int rc = OTIMES_OK;
    *rows = scratch;
    if (!layers->resident) {
        return otimes_unembed_rows(&layers->unembed, first, count, scratch, err);
    }
    if (!layers->W_U) {
        rc = OTIMES_NEW(&layers->W_U, info->d_vocab_out * info->d_model, err);
        if (rc == OTIMES_OK) {
            rc = otimes_unembed_rows(&layers->unembed, 0, info->d_vocab_out, layers->W_U, err);
        }
        if (rc != OTIMES_OK) {
            otimes_free(layers->W_U);
            layers->W_U = NULL;
            return rc;
        }
    }
    *rows = layers->W_U + first * info->d_model;
    return OTIMES_OK;
}

/* Elements of a weight of the processed model. */
static int64_t elements(const otimes_model *model, otimes_slot slot, int64_t layer, int64_t expert)
{
    const otimes_binding *binding = otimes_expert_binding(model, slot, layer, expert);
    int64_t count = 1;
    for (int i = 0; i < binding->ndim; i++) {
        count *= binding->dim[i];
    }
    return otimes_slot_is_there(model, slot, layer, expert) && binding->entry ? count : 0;
}

static int64_t layer_bytes(const otimes_model *model, int64_t layer, bool all_experts)
{
    int64_t count = 0, expert = 0;
    for (otimes_slot slot = OTIMES_SLOT_FIRST_OF_LAYER; slot < OTIMES_SLOT_FIRST_OF_EXPERT;
         slot++) {
        count += elements(model, slot, layer, 0);
    }
    for (otimes_slot slot = OTIMES_SLOT_FIRST_OF_EXPERT;
         otimes_layer_has_experts(model, layer) && slot < OTIMES_SLOT_COUNT; slot++) {
        expert += elements(model, slot, layer, 0);
    }
    return (count + expert * (all_experts ? model->info.n_experts : 1)) * (int64_t)sizeof(float);
}

int64_t otimes_layers_bytes(const otimes_model *model)
{
    int64_t bytes = 0;
    for (int64_t layer = 0; layer < model->info.n_layers; layer++) {
        bytes += layer_bytes(model, layer, true);
    }
    return bytes;
}

int64_t otimes_layers_largest(const otimes_model *model)
{
    int64_t largest = 0;
    for (int64_t layer = 0; layer < model->info.n_layers; layer++) {
        const int64_t bytes = layer_bytes(model, layer, false);
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

int64_t otimes_layers_loading(const otimes_model *model, bool resident)
{
    int64_t largest = 0;
    for (int64_t layer = 0; layer < model->info.n_layers; layer++) {
        int64_t count = 0;
        for (otimes_slot slot = OTIMES_SLOT_FIRST_OF_LAYER; slot < OTIMES_SLOT_FIRST_OF_EXPERT;
             slot++) {
            const bool attention = otimes_slot_part(slot) == OTIMES_MODEL_PART_ATTENTION;
            count += attention ? elements(model, slot, layer, 0) : 0;
        }
        largest = count > largest ? count : largest;
    }
    return largest * (int64_t)sizeof(float) *
           (resident ? otimes_par_workers(model->info.n_layers, model->threads) : 1);
}
