/* SPDX-License-Identifier: MIT
 *
 * bigram: the direct path W_E W_U, the term that a model of no layers consists of and that lives
 * on inside every transformer.
 */
#ifndef OTIMES_BIGRAM_H
#define OTIMES_BIGRAM_H

#include <otimes/bigram_counts.h>
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
    int64_t bottom; /* smallest entries kept of each row; -1 (the default): as many as top */
    int statistics; /* 1 (the default): what only the whole row tells is written too; 0: the
                                extremes and the diagonal alone, which are found several times faster */
    const otimes_bigram_counts *corpus; /* held against the table; NULL (the default): none */
    uint8_t reserved[40];               /* zero */
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
 * With a corpus, p(o|s) = n(s, o) / n(s), n(s) = sum over o of n(s, o), in nats:
 *   corpus_count [token]: n(s)
 *   corpus_top_id [token]: the most frequent successor, the lowest id of several; -1 where n(s) = 0
 *   corpus_entropy [token]: H = -sum over o of p log p; this and the rest NaN where n(s) = 0
 *   corpus_cross_entropy [token]: C = row_logsumexp - sum over o of p T[s, o], finite also where a
 *     probability of the table is below what any number holds
 *   corpus_kl [token]: C - H; both terms to about 1e-6, so a perfect fit may come out below 0
 *   corpus_rank_correlation [token]: Spearman's of T[s] and n(s) over all output tokens, those that never
 *     followed included; equal values share the mean of their ranks. Ranks are counted between the entries
 *     of successors as the row streams by, so ties among the other entries are not seen: t of them that
 *     are equal leave the correlation too small by a factor of sqrt(1 - (t^3 - t)/(V^3 - V))
 *   corpus_log_correlation [token]: Pearson's of T[s] and log(1 + n(s)) over all output tokens; both
 *     correlations NaN where T[s] or n(s) has one value alone
 *   attributes: corpus_tokens, of the whole corpus; corpus_pairs and corpus_distinct_pairs, those of the
 *     rows; corpus_total_entropy, corpus_total_cross_entropy, corpus_total_kl,
 *     corpus_mean_rank_correlation, corpus_mean_log_correlation: means over rows weighted by n(s), where
 *     defined; for scale corpus_unigram_cross_entropy: the corpus' own frequencies of tokens on these
 *     pairs, and corpus_uniform_cross_entropy: log d_vocab_out; corpus_top_agreement: the share of pairs
 *     whose row has its largest entry at one of the most frequent successors
 * Only rows that occur are computed for it, in a second pass over them, which takes d_model multiplications
 * more for each different pair; 16 bytes for each, and 40 for those of some thousand rows at a time.
 * Extremes and diagonal are float32 roundings of sums in double, found exactly whatever BLAS multiplies;
 * the table and what is computed of whole rows have the rounding of float32 products. A model's soft cap
 * on logits comes after the extremes are found. Nothing depends on the number of threads.
 * 2 d_vocab d_vocab_out d_model flops, or with neither statistics nor full about as many operations on
 * 8-bit integers where the machine has them; memory of tiles alone. Rows that the sink has are not
 * computed again.
 * Errors: OTIMES_ERR_ARGUMENT (settings; a corpus beside chosen columns, or with tokens that the model
 * lacks), OTIMES_ERR_UNSUPPORTED (a corpus and two vocabularies), OTIMES_ERR_MEMORY, those of reading
 * weights, the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_bigram(const otimes_model *model,
                                               const otimes_bigram_settings *settings,
                                               otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
