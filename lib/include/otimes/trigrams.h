/* SPDX-License-Identifier: MIT
 *
 * trigrams: the skip-trigrams [source] ... [destination] -> [out] of every head, from weights
 * alone (A Mathematical Framework for Transformer Circuits, 2021).
 */
#ifndef OTIMES_TRIGRAMS_H
#define OTIMES_TRIGRAMS_H

#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct otimes_trigrams_head {
    int64_t layer, head; /* a query head */
} otimes_trigrams_head;

/* More than a list for a reader can hold. */
#define OTIMES_TRIGRAMS_TOP_MAX 65536

typedef struct otimes_trigrams_settings {
    const otimes_trigrams_head *heads; /* in the order they are written; NULL (the default): all */
    int64_t head_count;
    int64_t top;            /* trigrams kept of each head; default 10 */
    int64_t per_source;     /* of which at most so many have one source; 0 (the default): any */
    const int64_t *sources; /* tokens attended to, ascending; NULL (the default): all */
    int64_t source_count;
    const int64_t *destinations; /* tokens that attend, ascending; NULL (the default): all */
    int64_t destination_count;
    const int64_t *outs; /* output tokens, ascending; NULL (the default): all */
    int64_t out_count;
    const int64_t *offsets; /* rotary models: destination - source, each a list of its own; NULL
                               (the default): 0 alone, which turns nothing */
    int64_t offset_count;
    int64_t query_position; /* learned positions: W_pos of it is added to every destination ... */
    int64_t key_position;   /* ... and of it to every source; -1 (the default), both: neither */
    int raw_embedding;      /* 1: tokens are rows of W_E and the score is the bare form W_QK; 0 (the
                               default): tokens as the head reads them when nothing else is there */
    uint8_t reserved[64];   /* zero */
} otimes_trigrams_settings;

OTIMES_API void otimes_trigrams_settings_default(otimes_trigrams_settings *settings);

/* For each head the strongest triples over the vocabulary, exactly. With x_t = LN1(W_E[t]), what
 * the head reads of a token alone (the direct path; exact in layer 0, the direct term above it),
 *   score(destination, source) = q(x_destination) R(offset) (k(x_source) - mean k)^T / attn_scale,
 *     q and k with biases, norms and clipping as the model has them, the mean over the vocabulary:
 *     softmax does not see what all sources share (ALiBi at one offset, q b_K); before a soft cap
 *   effect(source, out) = v(x_source) W_O (W_U[:, out] - mean W_U), logits times the scale of the
 *     final norm, without value biases, which every source has
 *   strength = score effect, of triples where both are positive: what is attended to for the
 *     destination's sake and makes the output likelier
 * With positions x_destination and x_source have W_pos added before LN1, and the value reads it too
 * (shortformer: after LN1, for q and k alone). With raw_embedding x_t = W_E[t], q k^T is
 * W_E W_QK W_E^T and v W_O = W_E W_OV, entries of `heads`' full circuits but for the means.
 *   layer, head [layer_head]: which head
 *   source_id, destination_id, out_id, score, effect, strength [layer_head, offset, rank]: by
 *     falling strength, then ascending source, destination, out; -1 and NaN behind the last
 *   share_skipped [layer_head, offset]: of the scores and effects, those that were not computed
 *     because no triple of the source can be in the list, by Cauchy-Schwarz
 *   overall_layer, overall_head, overall_offset, overall_source_id, ... [rank]: the strongest of
 *     all these lists
 * Cost of a head and offset: at most 2 sources (destinations + outs) d_head flops, by tiles;
 * memory 4 (3 d_vocab + d_vocab_out) d_head bytes. Bits are the same at any number of threads when
 * BLAS has one (otimes_set_blas_threads).
 * Errors: OTIMES_ERR_ARGUMENT (settings), OTIMES_ERR_UNSUPPORTED (offsets without rotary positions,
 * positions without W_pos), OTIMES_ERR_VALUE (queries, keys, values or outputs that leave float32),
 * OTIMES_ERR_MEMORY, those of reading weights, the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_trigrams(const otimes_model *model,
                                                 const otimes_trigrams_settings *settings,
                                                 otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
