/* SPDX-License-Identifier: MIT
 *
 * virtual: heads that read what earlier heads wrote, as heads of their own, from weights alone.
 */
#ifndef OTIMES_VIRTUAL_H
#define OTIMES_VIRTUAL_H

#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What makes one chain stronger than another. */
typedef enum otimes_virtual_order {
    OTIMES_VIRTUAL_BY_RATIO, /* its norm over the one to be expected of random subspaces */
    OTIMES_VIRTUAL_BY_NORM   /* its norm */
} otimes_virtual_order;

/* One head of a chain. */
typedef struct otimes_virtual_link {
    int64_t layer, head;
} otimes_virtual_link;

/* A chain to be looked at whatever its strength, from the first head to the last. */
typedef struct otimes_virtual_chain {
    const otimes_virtual_link *link; /* layers strictly ascending */
    int64_t length;                  /* at least 2 */
} otimes_virtual_chain;

typedef struct otimes_virtual_settings {
    const int64_t *layers; /* ascending; NULL (the default): all */
    int64_t layer_count;
    const int64_t *heads; /* query heads, ascending; NULL (the default): all */
    int64_t head_count;
    int64_t length;             /* of the longest chains searched for, 2 to n_layers; default 2 */
    int64_t top;                /* strongest chains of each length; default 10 */
    otimes_virtual_order order; /* default: OTIMES_VIRTUAL_BY_RATIO */
    int64_t budget; /* chains of three heads and more whose norm is computed; then the search ends
                       with a bound on what it left out; default 2000000 */
    const otimes_virtual_chain *chains; /* these instead of the strongest; NULL (the default) */
    int64_t chain_count;
    int vocab;       /* 1 (the default): also the circuits over the vocabulary; 0: leave them out */
    int64_t entries; /* strongest entries of each chain's table; default 5 */
    const int64_t *tokens; /* vocabulary of these tables, ascending; NULL (the default): all */
    int64_t token_count;
    uint8_t reserved[64]; /* zero */
} otimes_virtual_settings;

OTIMES_API void otimes_virtual_settings_default(otimes_virtual_settings *settings);

/* The virtual heads W_OV(h1) W_OV(h2) ... W_OV(hn), layers ascending (row = source residual, column
 * = what the last head writes), in float64 from the weights as the model was opened. With
 * W_OV = U S Y^T of every head a chain's norm is that of the core S1 (Y1^T U2) S2 ... Sn
 * [d_head, d_head]; no d_model x d_model product is formed.
 *   head_norm [layer, head]: |W_OV|, Frobenius
 *   pair_norm, pair_expected, pair_score, pair_ratio [layer, head, later_layer, later_head]: |L R|;
 *     |L| |R| / sqrt(d), what random subspaces give in the mean of the square, d the attribute
 *     baseline_dimension; |L R| / (|L| |R|), the V-composition score; |L R| / expected. NaN where
 *     the second head is not in a later layer
 *   chains, those asked for or the `top` strongest of each length by falling strength:
 *   chain_length [chain]; chain_layer, chain_head [chain, link], -1 beyond the length
 *   norm, expected, score, ratio [chain]: as for pairs; expected is the product of the norms over
 *     sqrt(d)^(n - 1)
 *   singular_values [chain, component], effective_rank, trace, copying [chain]: in the stream; those
 *     below eps times the product of the norms are rounding, and copying is NaN where all eigenvalues are 0
 *   full_norm, full_singular_values, full_trace, full_copying, full_eigenvalues_real, _imag: of
 *     W_E (chain) W_U; the eigenvalues only where both vocabularies are one
 *   entry_source_id, entry_output_id, entry_value [chain, rank]: the largest entries of W_E (chain)
 *     W_U, exactly
 *   chains_of_length, examined, unlisted [length]: how many chains there are, of how many the norm
 *     was computed, and the strength that none left out exceeds (0: the list is complete)
 * The search goes depth first and leaves out every continuation that cannot reach the list even
 * with the largest singular value of each further link; pairs are always complete.
 * Cost: 16 n d_head d_model bytes for n heads; with length > 2 also 8 d_head^2 bytes a pair of
 * heads (OTIMES_ERR_UNSUPPORTED beyond 8 GiB: choose layers or heads).
 * Errors: OTIMES_ERR_ARGUMENT, OTIMES_ERR_UNSUPPORTED, OTIMES_ERR_CONVERGENCE, those of reading
 * weights, the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_virtual(const otimes_model *model,
                                                const otimes_virtual_settings *settings,
                                                otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
