/* SPDX-License-Identifier: MIT
 *
 * neurons: every MLP neuron from weights alone: what it reads, what it writes, over the vocabulary
 * and through heads.
 */
#ifndef OTIMES_NEURONS_H
#define OTIMES_NEURONS_H

#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Composition of neurons with heads. */
typedef enum otimes_neurons_heads {
    OTIMES_NEURONS_HEADS_NONE,
    OTIMES_NEURONS_HEADS_STRONGEST, /* the default: the `top` heads of each neuron */
    OTIMES_NEURONS_HEADS_FULL       /* these and all pairs */
} otimes_neurons_heads;

typedef struct otimes_neurons_settings {
    const int64_t *layers; /* ascending; NULL (the default): all */
    int64_t layer_count;
    const int64_t *neurons; /* of each layer, ascending; NULL (the default): all */
    int64_t neuron_count;
    int64_t top;                /* tokens at each end and heads each way; default 5 */
    int vocab;                  /* 1 (the default): what w_out does to the logits, w W_U */
    int reads;                  /* 1 (the default): what w_in and w_gate read, W_E w */
    otimes_neurons_heads heads; /* default: OTIMES_NEURONS_HEADS_STRONGEST */
    int64_t null_directions; /* smallest singular directions of W_U of which the share of w_out is
                                   taken; 0 (the default): none */
    uint8_t reserved[64];    /* zero */
} otimes_neurons_settings;

OTIMES_API void otimes_neurons_settings_default(otimes_neurons_settings *settings);

/* How many neurons a layer has, and at most any layer. Neurons of experts are counted through: those
 * of expert x from x d_expert on, those of a shared expert last, as otimes_decompose does. 0 without
 * MLPs. OTIMES_ERR_ARGUMENT for a layer that is not there. */
OTIMES_API OTIMES_MUST_CHECK int otimes_neurons_of(const otimes_model *model, int64_t layer,
                                                   int64_t *count, otimes_err *err);
OTIMES_API int64_t otimes_neurons_most(const otimes_model *model);

/* Neuron n of a layer reads the stream by w_in = W_in[:, n] (and w_gate = W_gate[:, n]) and writes
 * along w_out = W_out[n, :], times the weight of a norm behind the MLP where there is one; the scalar
 * of that norm is left out. Axes [layer, neuron]; NaN where a layer has no such neuron.
 *   out_norm, in_norm, gate_norm; cos_in_out, cos_gate_out, cos_in_gate
 *   b_in, b_gate: NaN in a model without these biases
 *   expert: of models with experts; n_experts is the shared one, -1 none
 *   out_mean, out_variance, out_skew, out_kurtosis, out_max, out_min: population moments of w_out W_U
 *     over the output tokens, kurtosis in excess of a Gaussian's 3; skew and kurtosis NaN where all
 *     entries are one
 *   out_top_value, out_top_id, out_bottom_value, out_bottom_id [.., rank]: the tokens it promotes and
 *     suppresses most, exactly, ties by lower token; what is beyond the vocabulary NaN and -1
 *   in_*, gate_*: the same of W_E w_in and W_E w_gate over the input tokens
 *   null_share: share of |w_out|^2 in the `null_directions` smallest singular directions of W_U
 *     (neurons that act through the final norm's scale lie there); unembed_singular_values [component]
 *   q_score, q_head, k_, v_ [.., rank]: |w_out M| / (|w_out| |M|) of heads in later layers, M = W_QK,
 *     W_QK^T, W_OV; in_score, in_head, gate_ [.., rank]: |W_OV w| / (|W_OV| |w|) of heads that write
 *     before the MLP reads. Random vectors give 1 / sqrt(baseline_dimension) in the mean of the square
 *   q_table, k_table, v_table, in_table, gate_table [.., head_layer, head]: all of these scores
 * Products are float32, sums over the vocabulary double: an entry of w_out W_U errs by at most
 * d_model 2^-24 |w_out| |W_U[:, t]|, typically by the square root of d_model in place of d_model; a
 * standardised moment by as much relative to the row's standard deviation.
 * Cost: 2 d_model d_vocab flops a neuron for each of w_out, w_in, w_gate; 6 d_model^2 for each layer of
 * heads behind it, 2 d_model^2 (4 with a gate) for each before. Memory: a layer, tiles of its neurons
 * and of the vocabulary. Results do not depend on the number of threads.
 * Errors: OTIMES_ERR_ARGUMENT, OTIMES_ERR_UNSUPPORTED (no MLP in the chosen layers), those of reading
 * weights, the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_neurons(const otimes_model *model,
                                                const otimes_neurons_settings *settings,
                                                otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
