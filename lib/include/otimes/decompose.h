/* SPDX-License-Identifier: MIT
 *
 * decompose: the residual stream as a sum of what wrote it, and the logits as the sum of what each
 * part says about them.
 */
#ifndef OTIMES_DECOMPOSE_H
#define OTIMES_DECOMPOSE_H

#include <otimes/forward.h>
#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How finely the stream is cut. */
typedef enum otimes_decompose_parts {
    OTIMES_DECOMPOSE_LAYERS = 0,  /* attention and MLP of each layer */
    OTIMES_DECOMPOSE_HEADS = 1,   /* each head instead of attention; b_O is a part of its own */
    OTIMES_DECOMPOSE_NEURONS = 2, /* beside each MLP its neurons */
    OTIMES_DECOMPOSE_ALL = 3
} otimes_decompose_parts;

typedef struct otimes_decompose_settings {
    otimes_sequences sequences;      /* the texts */
    otimes_forward_settings forward; /* chunk_rows: tokens of a batch */
    int64_t layer;                   /* the point that is decomposed: the stream before this layer;
                                        -1 (the default): after the last */
    int mid;                         /* 1: after that layer's attention, before its MLP */
    otimes_decompose_parts parts;    /* default: OTIMES_DECOMPOSE_HEADS */
    const int64_t *target;           /* [target_count] output tokens; NULL (the default): at each
                                        position the token that follows in the text */
    const int64_t *against;          /* [target_count] the token whose logit is subtracted, -1:
                                        none; NULL (the default): none anywhere */
    int64_t target_count;
    const int64_t
        *text_target; /* [sequences.count] instead of targets: a target of each text's own,
                                   -1: none; NULL (the default): none anywhere */
    const int64_t *text_against; /* [sequences.count] likewise; NULL (the default): none anywhere */
    int predicted;            /* 1, without targets: the token with the largest logit of the lens at
                                 the point instead of the one that follows */
    const int64_t *positions; /* [position_count] that are decomposed; negative ones count from a
                                 text's end; NULL (the default): all */
    int64_t position_count;
    int norms;   /* 1 (the default): norms of the parts and cosines with their sum; costs a
                             second pass */
    int lens;    /* 1: rank and log-probability of the targets at every point, for which all
                             logits are computed there; 0 (the default): values alone */
    int sources; /* 1: what each head moved from each position; default 0 */
    int full;    /* 1, with neurons: all of them; 0 (the default): the `top` */
    int64_t top; /* neurons kept for each position and target; default 10 */
    uint8_t reserved[64]; /* zero */
} otimes_decompose_settings;

OTIMES_API void otimes_decompose_settings_default(otimes_decompose_settings *settings);

/* Runs the model on the texts and takes apart the residual stream x at the point, for every text
 * and chosen position:
 *   x = embed + pos_embed + sum of heads (z_h W_O[h]) + b_O of each layer + MLPs.
 * Behind the final norm, with its scale s at this position frozen, each part c is worth
 *   c.p / s,   p = w (W_U[:, target] - W_U[:, against]), and under LayerNorm p minus its mean
 * (w: the final norm's weight where it is not folded); the part "bias" is b_U and the norm's bias.
 * The sum is the logit (difference) before a soft cap: exactly the model's at the final point, that
 * of the logit lens at an earlier one. In models with post-norms a part is what is written behind
 * them, w_post c / s_post with s_post frozen. A norm behind the embedding belongs to "embed".
 * Entries that are not defined (a position that was not chosen or has no target) are NaN or -1.
 *   residual_norm, norm_scale [text, position]: |x| and s
 *   component_norm, component_cosine [text, position, component]: with `norms`; |c|, c.x / |c||x|
 *   target_id, against_id [text, position, target]
 *   target_value [text, position, target]: the logit (difference) by the norm of x itself
 *   attribution [text, position, target, component]: c.p / s
 *   attribution_residue [text, position, target]: target_value minus the sum of the attributions
 *   logit_lens [text, position, target, point]: target_value at each point up to this one, with
 *     the statistics of the point; lens_rank, lens_log_prob: with `lens`, of the target
 *   source_attribution [text, position, target, layer, head, key]: with `sources`;
 *     A[q,k] (v_k W_O[h]).p / s, whose sum over keys is the head's attribution
 *   neuron_value, neuron_layer, neuron_index [text, position, target, neuron_rank]: with neurons;
 *     the `top` of largest |a_n (W_out[n].p) / s|, descending
 *   neuron_sum, neuron_rest [text, position, target, layer]: of all neurons, and of b_out
 *   neuron_attribution [text, position, target, layer, neuron]: with `full`
 * In layers of experts, neurons of expert x are x d_expert and on, weighted by the router; those of
 * the shared expert come last, weighted by its gate.
 *
 * Cost: that of a pass, with `norms`, `predicted` or post-norms two; for one target 2 d_model
 * flops a column of W_O and W_out and 2 a number of z and of the MLPs' activations.
 * No array of (position, part, d_model) is made. Memory: a pass of one batch and its results.
 * A batch is made of whole texts, as many as settings.forward.memory allows.
 * Errors: OTIMES_ERR_ARGUMENT (settings, positions out of range, a text that needs more memory than
 * allowed, with the need), OTIMES_ERR_UNSUPPORTED (the middle of a layer that has none), those of
 * otimes_forward_run and of the sink. */
OTIMES_API OTIMES_MUST_CHECK int otimes_decompose(const otimes_model *model,
                                                  const otimes_decompose_settings *settings,
                                                  otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
