/* SPDX-License-Identifier: MIT
 *
 * roles: what every head is for, by its weights and by where it attends, side by side.
 */
#ifndef OTIMES_ROLES_H
#define OTIMES_ROLES_H

#include <otimes/forward.h>
#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a label asks for by weights. Of the induction test and the weight on the token before, as in
 * otimes/qk.h: known heads of small trained models lie above, their others below. */
#define OTIMES_ROLES_LEAST_PREVIOUS 0.2
#define OTIMES_ROLES_LEAST_COPYING 0.5
#define OTIMES_ROLES_LEAST_RATIO 1.0
#define OTIMES_ROLES_LEAST_MATCH 0.2
/* The mean entry of a token with itself lies this many deviations of all entries above their mean; and
 * this many times 1 / sqrt(d_vocab), which is the deviation of that mean where entries are
 * independent and matters in small vocabularies. */
#define OTIMES_ROLES_LEAST_SAME 1.0
#define OTIMES_ROLES_OVER_CHANCE 3.0
/* This share of a row, one output at least, are its lowest. Most tokens find their own output there:
 * ten times chance; and this many times chance, where one output is more than that share. */
#define OTIMES_ROLES_LOWEST 0.05
#define OTIMES_ROLES_LEAST_LOWEST 0.5
#define OTIMES_ROLES_OVER_SHARE 5.0
/* By attention, as `patterns` has them; at the first token, more than at all others. And, for the token
 * before by weights too, this many times what even attention gives, which is much on short
 * sequences. */
#define OTIMES_ROLES_LEAST_ATTENTION 0.3
#define OTIMES_ROLES_LEAST_REST 0.5
#define OTIMES_ROLES_OVER_EVEN 2.0

/* Labels of the axis `role`, in this order:
 * previous-token, induction, duplicate-token, same-token, copying, copy-suppression, current-token,
 * first-token. */
typedef enum otimes_role {
    OTIMES_ROLE_PREVIOUS,
    OTIMES_ROLE_INDUCTION,
    OTIMES_ROLE_DUPLICATE,
    OTIMES_ROLE_SAME,
    OTIMES_ROLE_COPYING,
    OTIMES_ROLE_SUPPRESSION,
    OTIMES_ROLE_CURRENT,
    OTIMES_ROLE_FIRST,
    OTIMES_ROLES
} otimes_role;

/* Labels of the axis `side`: weights, attention. */
typedef enum otimes_role_side {
    OTIMES_ROLE_WEIGHTS,
    OTIMES_ROLE_ATTENTION,
    OTIMES_ROLE_SIDES
} otimes_role_side;

typedef struct otimes_roles_settings {
    const int64_t *layers; /* ascending; NULL (the default): all. Earlier layers are looked at for
                              previous-token heads all the same; nothing runs behind the last */
    int64_t layer_count;
    const int64_t *heads; /* query heads, ascending; NULL (the default): all */
    int64_t head_count;
    const int64_t *rows; /* source tokens of copy suppression, ascending; NULL (the default):
                            `row_count` of them at even distances */
    int64_t row_count;   /* default 512; 0 without `rows`: all */
    otimes_forward_settings forward;
    otimes_sequences sequences;   /* texts to attend on; count 0 (the default): none */
    int64_t repeated;             /* random tokens written twice; 0: none. Default 32, or what fits
                                     into the model's positions; needs no texts */
    int64_t repeated_count;       /* how many such sequences; default 16 */
    uint64_t seed;                /* of their tokens; default 0 */
    int64_t bos;                  /* id before each of them; -1 (the default): none */
    const int64_t *random_tokens; /* ids they are drawn from; NULL (the default): the vocabulary */
    int64_t random_token_count;
    uint8_t reserved[64]; /* zero */
} otimes_roles_settings;

OTIMES_API void otimes_roles_settings_default(otimes_roles_settings *settings);

/* For every chosen head, [layer, head], NaN (ids: -1) where an attribute says why it is not told:
 * by weights
 *   previous_token   attention to the position before in the pattern of the average token
 *   same_token       (mean of the diagonal - mean of all entries) / deviation of the entries, of
 *                    W_E W_QK W_E^T; mean over offsets 0, 8 and 32 in rotary models
 *   OV_copying       Re(sum lambda) / sum |lambda| of W_E W_OV W_U over tokens in both vocabularies;
 *                    NaN where all lambda are 0, rounding where they are 0 but for that
 *   induction        the largest product of `qk`'s test over heads of earlier layers whose
 *                    previous_token meets its threshold; 0 without any
 *   induction_layer, induction_head  that head
 *   lowest_share, highest_share   share of the row tokens t whose own output is among the
 *                    `extreme_count` lowest (highest) of row t of E W_OV W_U, E the effective
 *                    embedding: in layer 0 W_E, later W_E plus what MLP 0 makes of it
 *   lowest_rank, highest_rank     median over them of how many outputs are as low (high) or more
 * by attention, for text_ and repeated_ where they ran: means over all queries of all sequences
 *   previous_token   A[q, q-1]              current_token  A[q, q]      first_token  A[q, 0], q >= 1
 *   duplicate_token, induction  sums over earlier places k of the query's token of A[q, k] and
 *                    A[q, k+1]; of repeated ones, the first copy's, from queries of the second
 *   label_side [layer, head, role, side]  1: the threshold is met, 0: not, -1: not told
 *   label [layer, head, role]  1: every side that is told meets its threshold; 0: one does not; -1:
 *                    none is told
 *   threshold [role, side]  the number asked for: those above, raised where chance or even attention
 *                    would meet them. NaN where a side does not ask for one (attributes: least_...)
 * Roles by attention go by repeated tokens where these ran, else by texts; current-token and
 * first-token the other way round.
 * Cost: that of the forms of one layer's heads and of the pairs with previous-token heads; for copy
 * suppression 2 d_vocab_out d_head (d_model + rows) flops a head; the passes.
 * Errors: OTIMES_ERR_ARGUMENT, OTIMES_ERR_UNSUPPORTED (no layers), OTIMES_ERR_CONVERGENCE, those of
 * reading weights and of otimes_forward_run, the sink's.
 * Sources: A Mathematical Framework (copying, induction); McDougall et al. 2023, arXiv 2310.04625
 * (copy suppression, effective embedding); TransformerLens' head_detector.py (attention). */
OTIMES_API OTIMES_MUST_CHECK int otimes_roles(const otimes_model *model,
                                              const otimes_roles_settings *settings,
                                              otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
