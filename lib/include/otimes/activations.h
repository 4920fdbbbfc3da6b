/* SPDX-License-Identifier: MIT
 *
 * activations: what a model computes on its way, at points chosen by name.
 */
#ifndef OTIMES_ACTIVATIONS_H
#define OTIMES_ACTIVATIONS_H

#include <otimes/forward.h>
#include <otimes/sink.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct otimes_activations_settings {
    otimes_sequences sequences;
    otimes_forward_settings forward;
    const char *names;    /* which points, as patterns parted by commas, * for any run of characters
                             and ? for one: "blocks.*.attn.hook_pattern"; no default */
    uint8_t reserved[64]; /* zero */
} otimes_activations_settings;

OTIMES_API void otimes_activations_settings_default(otimes_activations_settings *settings);

/* Shape of the array of one point, for readers: "[text, position, head 12, d_head 64]". The name of
 * the array is otimes_hook_text's; all experts of a layer are one array, without the expert's
 * number. */
OTIMES_API void otimes_activations_shape(const otimes_model *model, otimes_hook hook, char *text,
                                         size_t size);

/* Its name at a layer (-1: outside of layers), "blocks.0.attn.hook_q", and at any of them,
 * "blocks.{l}.attn.hook_q". */
OTIMES_API void otimes_activations_name(otimes_hook hook, int64_t layer, char *text, size_t size);
OTIMES_API void otimes_activations_pattern(otimes_hook hook, char *text, size_t size);

/* Runs the model on texts and writes one float32 array for each chosen point, named as in
 * TransformerLens (otimes/forward.h says what each one is):
 *   [text, position, d_model] of the stream, of what blocks read and write
 *   [text, position, head, d_head] of queries and z, kv_head instead of head of keys and values
 *   [text, head, query, key] of scores and patterns; of keys that a query does not see scores are
 *     -infinity and patterns 0
 *   [text, position, head, d_model] of results
 *   [text, position] of scales
 *   [text, position, neuron] of MLPs, shared_neuron of shared experts
 *   [text, position, expert] of expert weights, [text, position, expert, expert_neuron] of experts,
 *     NaN where a token did not go to one
 *   token_id, token, mask, length: the texts; entries beyond a text are NaN
 * Activations are those of the processed model. All but scores and patterns go to the sink as the
 * pass comes to them and take no memory of their own; scores and patterns of the texts of one batch
 * are held for one layer, 4 n_heads length^2 bytes a text each.
 * Errors: OTIMES_ERR_ARGUMENT (no names, or a pattern that no point of this model matches: lists
 * them; a run beyond forward.memory), those of otimes_forward_run and the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_activations(const otimes_model *model,
                                                    const otimes_activations_settings *settings,
                                                    otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
