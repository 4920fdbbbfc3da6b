/* SPDX-License-Identifier: MIT
 *
 * qk: what a head of a later layer matches, expanded by the earlier heads on either side of its QK.
 */
#ifndef OTIMES_QK_H
#define OTIMES_QK_H

#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a pair of heads needs to be called an induction pair. */
#define OTIMES_QK_LEAST_PREVIOUS 0.2 /* weight that the earlier head gives the previous token */
#define OTIMES_QK_LEAST_COPYING 0.5  /* copying scores of the K-composed form and of the later OV */
#define OTIMES_QK_LEAST_RATIO 1.0    /* K-composition score over the one of random subspaces */
#define OTIMES_QK_LEAST_MATCH 0.2    /* attention score that a match of tokens adds */

/* Forms of a pair, and labels of the axis `form`: direct, Q-composed, K-composed, both. */
typedef enum otimes_qk_form {
    OTIMES_QK_DIRECT,
    OTIMES_QK_Q,
    OTIMES_QK_K,
    OTIMES_QK_BOTH,
    OTIMES_QK_FORMS
} otimes_qk_form;

typedef struct otimes_qk_settings {
    const int64_t *layers; /* ascending; NULL (the default): all */
    int64_t layer_count;
    const int64_t *heads; /* query heads, ascending; NULL (the default): all */
    int64_t head_count;
    const int64_t *offsets; /* rotary models: relative offsets query - key of the later head; NULL
                               (the default): 0, 8 and 32 */
    int64_t offset_count;
    int64_t top;           /* pairs whose strongest entries are looked for; default 10 */
    int64_t entries;       /* strongest entries of each of their forms; default 5 */
    const int64_t *tokens; /* vocabulary of these entries, ascending; NULL (the default): all */
    int64_t token_count;
    uint8_t reserved[64]; /* zero */
} otimes_qk_settings;

OTIMES_API void otimes_qk_settings_default(otimes_qk_settings *settings);

/* For every pair of an earlier head h1 and a head h2 of a later layer the four forms of h2's QK,
 *   direct      W_QK(h2)                        Q-composed  W_OV(h1) W_QK(h2)
 *   K-composed  W_QK(h2) W_OV(h1)^T             both        W_OV(h1) W_QK(h2) W_OV(h1)^T
 * row = destination, column = source, divided by attn_scale; W_Q R(offset) W_K^T in rotary models.
 * Float64 throughout, from d_head x d_head cores. Pairs come by falling induction score.
 *   earlier_layer, earlier_head, later_layer, later_head [pair]
 *   norm, score [pair, form, offset]: Frobenius norm in the stream; that over the norm of the
 *     direct form and of W_OV for every side composed
 *   full_norm, full_trace, full_copying, diagonal_mean, entry_mean, diagonal_excess [pair, form,
 *     offset]: of W_E (form) W_E^T; the copying score Re(sum lambda) / sum |lambda|; means of the
 *     diagonal and of all entries, and their difference in standard deviations of the entries. A
 *     copying score errs by eps of the norm over sum |lambda|, and is NaN where all lambda are 0
 *   full_eigenvalues_real, _imag [pair, form, offset, component]: the non-zero ones
 *   previous_token [pair]: the weight h1 gives the position before, in the pattern of the average
 *     token over min(n_ctx, 128) positions; NaN where the attribute previous_token_score says why
 *   K_copying, OV_copying, K_ratio [pair]: full_copying of the K-composed form, mean over offsets;
 *     copying score of W_E W_OV(h2) W_U over tokens in both vocabularies (NaN without any); mean
 *     K-composition score times sqrt(baseline_dimension)
 *   match [pair]: diagonal_mean - entry_mean of the K-composed form, mean over offsets, over the
 *     mean square that the first norm meets: what a match adds to the attention score of a stream
 *     that holds tokens and positions alone
 *   induction [pair]: previous_token * K_copying+ * OV_copying+ * match+, leaving out what is not
 *     defined; is_induction [pair]: 1 where all thresholds above are met, 0 where one is not, -1
 *     where what is defined meets them
 *   entry_destination_id, entry_source_id, entry_value [listed, form, rank]: the largest entries of
 *     W_E (form) W_E^T at the first offset, exactly, of the first `top` pairs
 * Cost: 56 n d_head d_model bytes for n heads; for a pair 8 d_head^2 d_model flops and three
 * d_head eigenvalue problems an offset. Errors: OTIMES_ERR_ARGUMENT, OTIMES_ERR_UNSUPPORTED (fewer
 * than two layers, offsets without rotary positions), OTIMES_ERR_CONVERGENCE, those of reading
 * weights, the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_qk(const otimes_model *model,
                                           const otimes_qk_settings *settings, otimes_sink *sink,
                                           otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
