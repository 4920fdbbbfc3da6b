/* SPDX-License-Identifier: MIT
 *
 * patterns: where every head attends, as scores of the roles that are known, and the patterns
 * themselves.
 */
#ifndef OTIMES_PATTERNS_H
#define OTIMES_PATTERNS_H

#include <otimes/forward.h>
#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One entry of a pattern to compare with. */
typedef struct otimes_pattern_entry {
    int64_t query, key; /* positions */
    double weight;
} otimes_pattern_entry;

typedef struct otimes_patterns_settings {
    otimes_sequences sequences; /* the texts as ids; count 0 (the default): none */
    otimes_forward_settings forward;
    const int64_t *layers; /* ascending; NULL (the default): all. Nothing runs behind the last */
    int64_t layer_count;
    const int64_t *heads; /* query heads, ascending; NULL (the default): all */
    int64_t head_count;
    const int64_t *positions; /* queries of the texts, ascending; NULL (the default): all. Those
                                 beyond a text are not there */
    int64_t position_count;
    const int64_t *offsets; /* diagonals query - key to score; NULL (the default): none */
    int64_t offset_count;
    const otimes_pattern_entry *pattern; /* by ascending query; NULL (the default): none. Entries
                                            beyond a text are not there */
    int64_t pattern_count;
    int64_t top;            /* strongest keys of each query; 0 (the default): none */
    int full;               /* 1: the patterns themselves; 0 (the default): not */
    int64_t repeated;       /* tokens of a random sequence that is written twice; 0 (the default):
                                     none */
    int64_t repeated_count; /* how many; default 16 */
    uint64_t seed;          /* of their tokens; default 0 */
    int64_t bos;            /* id before each of them; -1 (the default): none */
    const int64_t *random_tokens; /* ids they are drawn from; NULL (the default): the vocabulary */
    int64_t random_token_count;
    uint8_t reserved[64]; /* zero */
} otimes_patterns_settings;

OTIMES_API void otimes_patterns_settings_default(otimes_patterns_settings *settings);

/* Runs the texts and writes, with A [query, key] a head's pattern on one of them, t its tokens:
 * the axes and arrays of texts (token_id, token, mask, length), and as [text, layer, head] float64
 *   previous_token    mean over q >= 1 of A[q, q-1]
 *   current_token     mean over q of A[q, q]
 *   first_token       mean over q >= 1 of A[q, 0]: the share of BOS where there is one
 *   duplicate_token   mean, over q with some k < q of t[k] = t[q], of the sum of these A[q, k]
 *   induction         mean, over q with some k < q-1 of t[k] = t[q], of the sum of these A[q, k+1]
 *   entropy           mean over q of -sum_k A ln A, in nats
 *   entropy_share     mean, over q that see m >= 2 keys, of their entropy / ln m
 *   sink              mean over q of 1 - sum_k A[q, k]; of models with attention sinks alone, whose
 *                     rows are nowhere scaled up to 1
 *   next_token        mean over q of A[q, q+1] where that exists; of bidirectional models alone,
 *                     whose duplicate_token and induction look at earlier keys like all others
 *   pattern_score     sum over entries of weight A[query, key] / number of different queries
 *   pattern_share     the same sum / sum of all A: "mul" of TransformerLens' head_detector
 *   offset_score [text, layer, head, offset]: mean of A[q, q - offset] over q with such a key
 * A mean over no query is NaN; query_count [text, score] int64 says how many there were: the
 * weights of means over texts.
 *   top_key, top_weight [text, layer, head, query_position, rank]: the strongest keys a query sees
 *   pattern [text, layer, head, query_position, key_position] float32: A itself
 * On `repeated_count` sequences of `repeated` = r random tokens written twice, behind BOS or not:
 *   repeated_previous_token [layer, head]   mean over q >= 1 of A[q, q-1]
 *   repeated_duplicate_token                mean over q of the second half of A[q, q-r]
 *   repeated_induction                      the same of A[q, q-(r-1)]
 *   repeated_id [sequence, repeated_position] int64: their tokens
 * No pattern is in memory as a whole unless `full` asks for it, and then those of one layer of one
 * batch. Results are the same bits at any number of threads. Texts that
 * the sink has from an interrupted run are left out.
 * Sources: TransformerLens' head_detector.py (roles, "mul"); ARENA 3.0, chapter 1.2 (diagonals on
 * repeated random tokens); attention to the first token as rest: arXiv 2309.17453.
 * Cost: the pass, and about 3 ns an entry of a pattern for its entropy.
 * Errors: OTIMES_ERR_ARGUMENT (neither texts nor repeated, a position, layer or entry out of range,
 * memory beyond forward.memory), OTIMES_ERR_UNSUPPORTED (no layers), OTIMES_ERR_MEMORY, those of
 * otimes_forward_run, the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_patterns(const otimes_model *model,
                                                 const otimes_patterns_settings *settings,
                                                 otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
