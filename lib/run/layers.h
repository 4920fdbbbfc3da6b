/* SPDX-License-Identifier: MIT
 *
 * Layers in the form that a forward pass multiplies with: one matrix for queries, keys and values of
 * all heads. Kept in memory, or read anew each time.
 */
#ifndef OTIMES_RUN_LAYERS_H
#define OTIMES_RUN_LAYERS_H

#include <stdbool.h>

#include <otimes/forward.h>
#include <otimes/model.h>

#include "base/err.h"
#include "base/sink.h"

/* A loaded layer whose W_Q, W_K, W_V have become W_QKV. Column order: queries of head 0, 1, ...,
 * keys, values; shapes as in otimes/model.h. */
typedef struct otimes_ready_layer {
    otimes_layer rest; /* all else; its W_Q, W_K, W_V, b_Q, b_K, b_V are empty */
    float *W_QKV;      /* [d_model, (n_heads + 2 n_kv_heads) d_head]; owns all of the attention */
    float *b_QKV;      /* [(n_heads + 2 n_kv_heads) d_head]; NULL without */
    otimes_expert
        *experts; /* [n_experts] where resident; NULL otherwise, see otimes_layers_expert */
    int64_t layer;
} otimes_ready_layer;

typedef struct otimes_layers {
    const otimes_model *model;
    struct otimes_layers *owner; /* whose weights these are; NULL: their own */
    bool resident;
    otimes_ready_layer
        *ready;           /* [n_layers] resident ones that were asked for; one slot otherwise */
    otimes_expert expert; /* the one read last, where not resident */
    otimes_unembed unembed;
    float
        *W_U; /* [d_vocab_out, d_model] processed, by output token; NULL until used or not resident
                 */
    otimes_pulse *pulse; /* beats with each layer, operator and slab of logits; NULL: none */
} otimes_layers;

/* As the settings say: resident, or borrowed from settings->weights. NULL: neither. Errors of
 * otimes_unembed_open; OTIMES_ERR_ARGUMENT for weights of another model or not resident. */
int otimes_layers_open(otimes_layers *layers, const otimes_model *model,
                       const otimes_forward_settings *settings, otimes_err *err);
void otimes_layers_close(otimes_layers *layers);

/* What an open pass runs on. */
otimes_layers *otimes_forward_layers(otimes_forward *forward);

/* A layer, valid until the next call (for good where resident). Errors of otimes_layer_load. */
int otimes_layers_get(otimes_layers *layers, int64_t layer, const otimes_ready_layer **ready,
                      otimes_err *err);

/* An expert of that layer, valid until the next call. */
int otimes_layers_expert(otimes_layers *layers, const otimes_ready_layer *layer, int64_t expert,
                         const otimes_expert **out, otimes_err *err);

/* Rows first .. first+count-1 of W_U by output token: a view where resident, else read into
 * scratch [count, d_model]. */
int otimes_layers_unembed(otimes_layers *layers, int64_t first, int64_t count, float *scratch,
                          const float **rows, otimes_err *err);

/* Bytes of all layers, and of the largest, in this form. */
int64_t otimes_layers_bytes(const otimes_model *model);
int64_t otimes_layers_largest(const otimes_model *model);

/* Bytes that stand beside them while layers are read: attention as it is loaded, before it is packed,
 * of one layer on each thread where resident. */
int64_t otimes_layers_loading(const otimes_model *model, bool resident);

#endif
