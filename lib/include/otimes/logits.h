/* SPDX-License-Identifier: MIT
 *
 * logits: what a model says comes next, at every token of texts or behind their ends.
 */
#ifndef OTIMES_LOGITS_H
#define OTIMES_LOGITS_H

#include <otimes/forward.h>
#include <otimes/sink.h>
#include <otimes/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Continuing texts token by token. */
typedef struct otimes_generate_settings {
    int64_t count;      /* tokens to add to each text; 0 (the default): none, see otimes_logits */
    double temperature; /* logits are divided by it before one is drawn; 0 (the default): the
                           largest is taken, ties by lower id */
    int64_t top_k;      /* drawn from so many of the largest; 0 (the default): from all */
    double top_p;       /* drawn from the fewest that have this probability together, after top_k;
                           1 (the default): from all */
    uint64_t seed;      /* default 0; with the places of the text and of the step it gives the
                           number that is drawn, whatever else runs beside it */
    int64_t stop;       /* token that ends a text once it has come; -1 (the default): none */
    const otimes_tokenizer *tokenizer; /* decodes `completion`; NULL (the default): not written */
    uint8_t reserved[32];              /* zero */
} otimes_generate_settings;

typedef struct otimes_logits_settings {
    otimes_sequences sequences;
    otimes_forward_settings forward;
    int64_t top; /* largest logits kept at each position; 0: none; default 10 */
    int full;    /* 1: also all logits; 0 (the default): not */
    const int64_t
        *positions; /* [position_count] which ones of each text, as they shall stand in the
                                 result; negative ones count from its end, -1 the last. NULL (the
                                 default): all */
    int64_t position_count;
    otimes_generate_settings generate;
    uint8_t reserved[64]; /* zero */
} otimes_logits_settings;

OTIMES_API void otimes_logits_settings_default(otimes_logits_settings *settings);

/* Runs the model on texts. Row p of the logits, z = LN_f(stream at p) W_U + b_U (soft-capped where
 * the model does that), says what follows the token at position p.
 *   top_value, top_log_prob, top_id [text, position, rank]: the `top` largest, descending, ties by
 *     lower output token; log_prob under the softmax of the row, in nats
 *   logsumexp, entropy [text, position]: of the softmax, nats
 *   next_log_prob [text, position]: log-probability of the token that is at p + 1, minus the
 *     cross-entropy; NaN at a text's last position
 *   next_rank [text, position]: how many logits are larger than that token's; -1 there, and
 *     where that logit is NaN
 *   predicted_tokens, loss [text]: how many positions have a next token, and the mean of
 *     -next_log_prob over them, nats; NaN without any
 *   logits [text, position, output_token]: with `full`
 *   token_id, token, mask, length: the texts (run/texts.h); entries beyond a text are NaN, -1
 * With `positions` the second axis of all but the texts is `place`, the given list, and
 * place_position [text, place] are the positions meant; loss is then over those alone. Where the
 * output vocabulary is another one, next_log_prob, next_rank, predicted_tokens and loss are left
 * out.
 *
 * With generate.count nothing of the above is written but the texts, and weights are kept in memory
 * whatever forward.resident says; instead
 *   generated_id [text, step]: the tokens that follow each text
 *   generated_log_prob [text, step]: their log-probability under the softmax of the row itself,
 *     without temperature and choice, nats
 *   generated_length [text]: how many there are; a stop token counts
 *   completion [text]: the text and what follows it, decoded without special tokens
 *
 * Cost: 2 flops a weight and token, generation the same for each step; memory of
 * otimes_forward_plan_of for a batch, and what is asked of its rows.
 * Errors: OTIMES_ERR_ARGUMENT (settings, a position that a text does not have, a text longer than
 * the model's table of positions, a run beyond forward.memory), OTIMES_ERR_UNSUPPORTED (generation
 * by a model that sees both directions or whose output vocabulary is another), OTIMES_ERR_VALUE
 * (generation from logits that leave float32), those of otimes_forward_run and the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_logits(const otimes_model *model,
                                               const otimes_logits_settings *settings,
                                               otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
