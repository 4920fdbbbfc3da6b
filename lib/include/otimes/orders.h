/* SPDX-License-Identifier: MIT
 *
 * orders: what the loss owes to paths through no head, one head, two heads, and to each layer of
 * heads: the term importance analysis of "A Mathematical Framework for Transformer Circuits"
 * (transformer-circuits.pub, 2021).
 */
#ifndef OTIMES_ORDERS_H
#define OTIMES_ORDERS_H

#include <otimes/forward.h>
#include <otimes/sink.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct otimes_orders_settings {
    otimes_sequences sequences;
    otimes_forward_settings forward; /* texts run one at a time, so chunk_rows is not used */
    int mlp_links;        /* 1: MLPs with frozen gates are links of paths (layers of experts remain
                             sources); 0 (the default): what MLPs write is a source */
    int recompute_norm;   /* 1: the final norm of every partial stream takes its own statistics;
                             0 (the default): those of the whole pass, which keeps sums exact */
    int shares;           /* 1 (the default): marginal and conditional shares of layers; 0: not */
    int full;             /* 1: also the loss of every order at each position; 0 (the default) */
    int64_t first;        /* positions before it are not measured; default 0 */
    uint8_t reserved[64]; /* zero */
} otimes_orders_settings;

OTIMES_API void otimes_orders_settings_default(otimes_orders_settings *settings);

/* Bytes that a run takes at its peak, in all; beside it stand the mapped file's pages and the BLAS'
 * own buffers. What forward.memory is held against. INT64_MAX beyond that. */
OTIMES_API int64_t otimes_orders_bytes(const otimes_model *model,
                                       const otimes_orders_settings *settings);

/* Freezes patterns and norm scales of a pass over each text, which makes its stream an exact sum
 * over paths: each begins at a source (embedding, positions, biases, MLPs unless they are links)
 * and goes through a rising chain of heads. Losses are mean cross-entropies of the next token, in
 * nats, of the logits that some of the paths give; biases are sources, so they are always there.
 *   loss [text, order]: of the paths through at most `order` heads, order 0 .. n_layers; the last
 *     is the model's own loss, to rounding
 *   gain [text, order]: the loss of the order before less this one; of order 0, log d_vocab_out
 *     (every token as likely as any other) less it
 *   loss_only [text, layer]: of the paths through no head, or one head of that layer
 *   loss_without [text, layer]: of the paths through no head of that layer
 *   marginal [text, layer]: loss of order 0 less loss_only
 *   conditional [text, layer]: loss_without less the loss of all orders
 *   model_loss [text]: of the pass itself
 *   predicted_tokens [text]: how many tokens the means of a text are over; the mean of all texts is
 *     that of the texts' weighted by it. NaN where it is 0
 *   token_loss [text, order, position]: with `full`, loss of the token at p + 1; NaN where it is
 *     not measured
 *   token_id, token, mask, length: the texts (run/texts.h)
 * With frozen patterns the choice of where heads look counts as given: order k says what is moved
 * by chains of k heads, not what it took to aim them.
 *
 * Cost, with shares: one pass, about n_layers frozen ones and 3 n_layers + 2 readouts a text;
 * without them half and n_layers + 2. Memory beside a pass: patterns of all layers, 6 n_layers
 * streams.
 * Errors: OTIMES_ERR_ARGUMENT (settings, a text longer than the model's table of positions, a run
 * beyond forward.memory), OTIMES_ERR_UNSUPPORTED (output tokens that are not input tokens, values
 * that were clipped), those of otimes_forward_run and the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_orders(const otimes_model *model,
                                               const otimes_orders_settings *settings,
                                               otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
