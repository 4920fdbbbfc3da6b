/* SPDX-License-Identifier: MIT
 *
 * heads: the OV and QK circuit of every head, from weights alone.
 */
#ifndef OTIMES_HEADS_H
#define OTIMES_HEADS_H

#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Matrices that heads can write beside its quantities; combine with |. */
enum {
    OTIMES_HEADS_FACTORS = 1,  /* OV_A = W_V, OV_B = W_O, QK_A = W_Q, QK_B = W_K^T */
    OTIMES_HEADS_PRODUCTS = 2, /* OV = W_V W_O and QK = W_Q W_K^T, [d_model, d_model] a head */
    OTIMES_HEADS_POSITIONS = 4 /* W_pos W_QK W_pos^T / attn_scale, [n_ctx, n_ctx] a head */
};

typedef struct otimes_heads_settings {
    const int64_t *layers; /* ascending; NULL (the default): all */
    int64_t layer_count;
    const int64_t *heads; /* query heads, ascending; NULL (the default): all */
    int64_t head_count;
    int vocab;          /* 1 (the default): also the quantities of the full circuits over the
                           vocabulary, which need one pass over W_E and W_U; 0: leave them out */
    int64_t top;        /* tokens read at each end of a singular direction; 0 (the default): none */
    int64_t components; /* leading singular components read in vocabulary; default 1 */
    const int64_t *tokens; /* vocabulary in which directions are read, ascending; NULL: all */
    int64_t token_count;
    const int64_t *offsets; /* rotary models: relative offsets query - key, for QK under RoPE;
                               NULL (the default): none */
    int64_t offset_count;
    int biases;           /* 1: also QK with the biases as one more row; 0 (the default): not */
    int matrices;         /* OTIMES_HEADS_* to write; default 0 */
    uint8_t reserved[64]; /* zero */
} otimes_heads_settings;

OTIMES_API void otimes_heads_settings_default(otimes_heads_settings *settings);

/* For each head the quantities of W_OV = W_V W_O (row = source residual, column = what is written)
 * and W_QK = W_Q W_K^T (row = destination, column = source), float64 throughout from float32
 * weights, by QR of the factors and a d_head core; no d_model x d_model product is formed.
 * C stands for OV and QK below.
 *   C_norm [layer, head]: Frobenius norm
 *   C_singular_values [layer, head, component]: descending
 *   C_eigenvalues_real, _imag [layer, head, component]: the non-zero ones, eig(W_O W_V) and
 *     eig(W_K^T W_Q), by falling modulus
 *   C_trace, C_positivity [layer, head]: sum of eigenvalues; Re(sum lambda) / sum |lambda|, which
 *     for OV is the copying score of A Mathematical Framework (named OV_copying)
 *   C_effective_rank [layer, head]: exp(entropy(sigma / sum sigma))
 *   full_C_...: the same of the circuit over the vocabulary, W_E W_OV W_U and
 *     W_E W_QK W_E^T / attn_scale, through M = W_U W_E and square roots of the Grams of both
 *     ends; eigenvalues of full OV only where output and input vocabulary are one
 *   QK_position_token_token, _token_position, _position_token, _position_position [layer, head],
 *     with learned positions: norms of the blocks of
 *     (W_E; W_pos) W_QK (W_E; W_pos)^T / attn_scale
 *   QK_offset_norm, _trace [layer, head, offset], _singular_values [layer, head, offset,
 *     component]: W_Q R(offset) W_K^T
 *   QK_bias_norm, _singular_values: with the biases as row d_model + 1 of each factor
 *   OV_A, OV_B, QK_A, QK_B, OV, QK, QK_positions: matrices, as settings ask for them
 *   OV_read_id, OV_write_id, QK_query_id, QK_key_id and _value [layer, head, top_component, end,
 *     rank]: the tokens at both ends of singular directions, W_E u and v^T W_U (W_E v for QK)
 * Signs of singular vectors: the entry of u of largest modulus is positive. Vectors turn by eps sigma_1 /
 * gap where the weights are rounded: near ties only what they span together is determined. Values below
 * some eps sigma_1, eps that of the weights' dtype, are rounding. An eigenvalue errs by eps of the norm
 * times its condition, the copying score and positivity by eps of the norm over sum |lambda|; they are NaN
 * where all eigenvalues are 0.
 * Errors: OTIMES_ERR_ARGUMENT, OTIMES_ERR_UNSUPPORTED (offsets without rotary positions, positions
 * without W_pos), OTIMES_ERR_CONVERGENCE, those of reading weights, the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_heads(const otimes_model *model,
                                              const otimes_heads_settings *settings,
                                              otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
