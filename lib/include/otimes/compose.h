/* SPDX-License-Identifier: MIT
 *
 * compose: which heads read what other heads wrote, from weights alone.
 */
#ifndef OTIMES_COMPOSE_H
#define OTIMES_COMPOSE_H

#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How scores of all pairs are computed; the result is the same to rounding. */
typedef enum otimes_compose_route {
    OTIMES_COMPOSE_CHEAPEST, /* what takes fewer operations */
    OTIMES_COMPOSE_BY_CORES, /* d_head x d_head cores: 2 d_head^2 d_model flops a pair and circuit */
    OTIMES_COMPOSE_BY_GRAMS  /* products of d_model x d_model forms: d_model^2 flops */
} otimes_compose_route;

/* Heads of one layer that are looked at as one: their OV circuits added, which is that of W_V with
 * all their columns and W_O with all their rows. */
typedef struct otimes_compose_set {
    int64_t layer;
    const int64_t
        *heads; /* query heads, ascending; of one key/value head where heads are grouped */
    int64_t count;
} otimes_compose_set;

typedef struct otimes_compose_settings {
    const int64_t *layers; /* ascending; NULL (the default): all */
    int64_t layer_count;
    const int64_t *heads; /* query heads, ascending; NULL (the default): all */
    int64_t head_count;
    const otimes_compose_set *sets; /* NULL (the default): none */
    int64_t set_count;
    const int64_t
        *offsets; /* rotary offsets at which Q and K are computed too; NULL (the default) */
    int64_t offset_count;
    int64_t components; /* leading singular directions of each circuit to be paired; default 0 */
    int ends;           /* 1: also embedding, positions, MLPs and unembedding; default 0 */
    otimes_compose_route route;
    int64_t memory; /* bytes beside the weights' file; layers are taken in panels that fit; 0 (the
                       default): 7 GiB */
    uint8_t reserved[64]; /* zero */
} otimes_compose_settings;

OTIMES_API void otimes_compose_settings_default(otimes_compose_settings *settings);

/* For a writer L (earlier head: W_OV) and a reader R of the stream
 *   score = |L R| / (|L| |R|), Frobenius,
 * R = W_QK of the later head (Q-composition), W_QK^T (K), W_OV (V): Elhage et al. 2021, A Mathematical
 * Framework for Transformer Circuits. Random subspaces give score^2 = 1/D in the mean, D the attribute
 * baseline_dimension: d_model, or d_model - 1 where writers and readers both lack the mean direction.
 * Where a norm stands behind W_O, its weight (and centring) is part of the writer: what the stream
 * receives, up to a factor at each position that no score knows.
 *   score, excess, z [layer, head, circuit, later_layer, later_head]: circuit Q, K, V; excess = score -
 *     1/sqrt(D); z: score^2 less 1/D, over the deviation that fixed spectra in Haar-random directions
 *     give it (roughly normal where many directions count). NaN where the later head is not in a later
 *     layer, or a circuit is zero; z also where a spectrum is flat, which has no deviation
 *   ov_norm, qk_norm [layer, head]
 *   offset_score, offset_z [offset, layer, head, circuit, later_layer, later_head]: Q and K with
 *     W_Q R(offset) W_K^T in the place of W_QK
 *   component_score_q, _k, _v [layer, head, later_layer, later_head, component, later_component]:
 *     |<v, u>| of the written singular direction v of W_OV and the read one u of R, the score of the
 *     pair of rank-1 pieces (Merullo et al. 2024, arXiv 2406.09519); component_share_ov, _qk [layer,
 *     head, component] sigma / |W|. Near ties of sigma single pieces are not determined
 *   with ends or sets, `part` an end of the stream (embedding, positions, mlp, unembedding) or a set:
 *   from_score, from_z [from, circuit, later_layer, later_head]: part to head
 *   to_score, to_z [to, layer, head]: head to part (W_in, W_gate, W_U, or a set's W_OV)
 *   between_score, between_z [from, to]: part to part
 * Cost: 16 d_head d_model bytes a head and side; see otimes_compose_route for the flops.
 * Errors: OTIMES_ERR_ARGUMENT (settings; a set across key/value heads), OTIMES_ERR_UNSUPPORTED (one
 * layer; offsets without rotary positions; not enough memory for two layers), those of reading weights,
 * the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_compose(const otimes_model *model,
                                                const otimes_compose_settings *settings,
                                                otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
