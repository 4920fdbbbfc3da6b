/* SPDX-License-Identifier: MIT
 *
 * bigram: the direct path W_E W_U, the term that a model of no layers consists of and that lives
 * on inside every transformer.
 */
#ifndef OTIMES_BIGRAM_H
#define OTIMES_BIGRAM_H

#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum otimes_bigram_full {
    OTIMES_BIGRAM_FULL_NONE, /* the default: no table, only what is computed from it */
    OTIMES_BIGRAM_FULL_F32,
    OTIMES_BIGRAM_FULL_F16
} otimes_bigram_full;

typedef struct otimes_bigram_settings {
    int64_t top;            /* largest entries kept of each row; 0: none; default 10 */
    const int64_t *rows;    /* source tokens, ascending; NULL (the default): all */
    int64_t row_count;      /* of rows */
    const int64_t *columns; /* output tokens that the table is restricted to, ascending; NULL (the
                               default): all. Every statistic is then of the restricted row */
    int64_t column_count;   /* of columns */
    int exact;        /* 1: exact zero-layer logits, the final norm applied to each row and b_U
                         added; 0 (the default): the bare product */
    int64_t position; /* with exact and learned positions: W_pos[position] is added first;
                         -1 (the default): none */
    otimes_bigram_full full; /* also write the table itself */
    int64_t bottom;       /* smallest entries kept of each row; -1 (the default): as many as top */
    int statistics;       /* 1 (the default): what only the whole row tells is written too; 0: the
                                extremes and the diagonal alone, which are found several times faster */
    uint8_t reserved[48]; /* zero */
} otimes_bigram_settings;

OTIMES_API void otimes_bigram_settings_default(otimes_bigram_settings *settings);

/* T = W_E W_U, T[s, o] = what source token s adds to the logit of output token o through no head
 * and no MLP. Row = source token, column = output token. With `exact`,
 * T[s] = LN_f(W_E[s] (+ W_pos[position])) W_U + b_U, the logits of the model without layers.
 *   top_value, top_id [token, rank]: the `top` largest entries of each row, descending, ties by lower
 *     output token; bottom_value, bottom_id [token, rank]: the smallest, ascending; with another number of
 *     them [token, bottom_rank]
 *   diagonal_value [token]: T[s, s]; NaN where the output vocabulary is another or s is not among the
 *     columns
 *   with `statistics` (left out without):
 *   top_log_prob [token, rank]: log-probability under the softmax of the whole row
 *   row_mean, row_std, row_logsumexp [token]: over the output tokens (population std)
 *   diagonal_rank [token]: how many other entries of the row are larger than T[s, s]; -1 where that is NaN
 *   token_id [token]: ids of the source tokens
 *   table [token, output_token]: with `full`; [token, column_token] where columns were chosen
 * Extremes and diagonal are float32 roundings of sums in double, found exactly whatever BLAS multiplies;
 * the table and what is computed of whole rows have the rounding of float32 products. A model's soft cap
 * on logits comes after the extremes are found. Nothing depends on the number of threads.
 * 2 d_vocab d_vocab_out d_model flops, or with neither statistics nor full about as many operations on
 * 8-bit integers where the machine has them; memory of tiles alone. Rows that the sink has are not
 * computed again.
 * Errors: OTIMES_ERR_ARGUMENT (settings), OTIMES_ERR_MEMORY, those of reading weights, the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_bigram(const otimes_model *model,
                                               const otimes_bigram_settings *settings,
                                               otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
