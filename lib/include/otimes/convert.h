/* SPDX-License-Identifier: MIT
 *
 * The canonical weights themselves: processed as the model's settings say, or raw.
 */
#ifndef OTIMES_CONVERT_H
#define OTIMES_CONVERT_H

#include <otimes/model.h>
#include <otimes/sink.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct otimes_convert_settings {
    uint8_t reserved[64]; /* zero */
} otimes_convert_settings;

OTIMES_API void otimes_convert_settings_default(otimes_convert_settings *settings);

/* Writes every weight of the model to a sink, float32, under TransformerLens' state dict names and
 * in its shapes (blocks.{l}.attn.W_Q [n_heads, d_model, d_head]; grouped keys and values once per
 * group as blocks.{l}.attn._W_K; unembed.W_U [d_model, d_vocab_out]); what TransformerLens has no
 * name for is under one of ours, tools/schema/convert.md. The attribute `otimes_config` is the
 * configuration as JSON: a safetensors file that carries it opens again by itself, and its
 * `otimes_processing` keeps a step from being applied twice.
 *
 * All arrays are declared before the first is written. Memory: one layer (one expert, where there
 * are experts) and a tile of the vocabulary. Cost: one pass over the weights.
 * Errors: those of otimes_layer_load and otimes_unembed_open, and the sink's. settings may be
 * NULL. */
OTIMES_API OTIMES_MUST_CHECK int otimes_convert(const otimes_model *model,
                                                const otimes_convert_settings *settings,
                                                otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
