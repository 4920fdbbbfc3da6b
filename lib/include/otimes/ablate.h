/* SPDX-License-Identifier: MIT
 *
 * ablate: what a model loses when heads, MLPs or neurons are taken out of it.
 */
#ifndef OTIMES_ABLATE_H
#define OTIMES_ABLATE_H

#include <otimes/forward.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is taken out: a head's z (hook_z, before W_O), that of all heads of a layer, what an MLP
 * writes (hook_mlp_out), a neuron of an MLP that is not one of experts (mlp.hook_post). */
typedef enum otimes_ablate_kind {
    OTIMES_ABLATE_HEAD,
    OTIMES_ABLATE_ATTENTION,
    OTIMES_ABLATE_MLP,
    OTIMES_ABLATE_NEURON
} otimes_ablate_kind;

typedef struct otimes_ablate_member {
    otimes_ablate_kind kind;
    int64_t layer;
    int64_t index; /* head or neuron; 0 for the others */
} otimes_ablate_member;

/* What goes at once: one ablation. */
typedef struct otimes_ablate_set {
    const otimes_ablate_member *member;
    int64_t count; /* at least 1 */
} otimes_ablate_set;

/* Families of ablations with one member each; values are combined with |. */
enum {
    OTIMES_ABLATE_HEADS = 1,  /* every chosen head of every chosen layer */
    OTIMES_ABLATE_LAYERS = 2, /* the attention of every chosen layer */
    OTIMES_ABLATE_MLPS = 4,   /* the MLP of every chosen layer that has one */
    OTIMES_ABLATE_NEURONS = 8 /* every neuron of every chosen layer */
};

/* What stands in the place of what was taken out, at each position of each text. */
typedef enum otimes_ablate_method {
    OTIMES_ABLATE_ZERO,
    OTIMES_ABLATE_MEAN,          /* its mean over all positions of all texts, each counted once */
    OTIMES_ABLATE_MEAN_POSITION, /* its mean over the texts that reach the position */
    OTIMES_ABLATE_RESAMPLE       /* what it is in another text at the same position; beyond the end
                                    of that text it stays as it is */
} otimes_ablate_method;

typedef struct otimes_ablate_settings {
    otimes_sequences sequences;
    otimes_forward_settings forward; /* memory 0: 1 GiB for the streams of ablated copies */
    int components;                  /* OR of families; default OTIMES_ABLATE_HEADS */
    const int64_t *layers;           /* of the families, ascending; NULL (the default): all */
    int64_t layer_count;
    const int64_t *heads; /* of OTIMES_ABLATE_HEADS, ascending; NULL (the default): all */
    int64_t head_count;
    const otimes_ablate_set *sets; /* further ablations, behind the families */
    int64_t set_count;
    otimes_ablate_method method;     /* default OTIMES_ABLATE_ZERO */
    otimes_sequences mean_sequences; /* texts that means are taken over; count 0 (the default): the
                                        sequences themselves */
    int64_t seed; /* of OTIMES_ABLATE_RESAMPLE: the other texts are drawn at random, as one cycle
                     through all texts; -1 (the default): each text takes the next, the last one
                     the first */
    const int64_t *positions; /* where measures are taken, from each text's end where negative, each
                                 place once; NULL (the default): the loss everywhere, logits at the
                                 last position */
    int64_t position_count;
    const int64_t *target; /* [sequences.count] output token whose logit is measured; NULL (the
                               default): none */
    const int64_t
        *against; /* [sequences.count] output token whose logit is taken from it; NULL (the
                               default): none */
    int loss; /* 1 (the default): measure the loss, which costs a product with all of W_U for each
                 row and ablation; 0: logits alone */
    int full; /* 1: also the change at each position; default 0 */
    uint8_t reserved[64]; /* zero */
} otimes_ablate_settings;

OTIMES_API void otimes_ablate_settings_default(otimes_ablate_settings *settings);

/* Runs the model once as it is and once for each ablation, and tells what changes.
 *   loss_clean [text], loss [text, ablation]: mean of -log p(next token) in nats over the measured
 *     positions that have a next token; NaN without one
 *   loss_change [text, ablation] = loss - loss_clean
 *   logit_clean, logit, logit_change: the same of the target's logit, less the other's, in the mean
 *     over the measured positions; with `target` alone
 *   head_loss_change, head_logit_change [text, layer, head]: the same numbers by place, with
 *     OTIMES_ABLATE_HEADS
 *   loss_change_at, logit_change_at [text, ablation, position] with `full`; NaN where not measured
 *   loss_count, logit_count [text]: measured positions, by which to weight means over texts
 *   first_layer, size [ablation]: the first layer that is changed; members
 *   source [text]: the other text, of OTIMES_ABLATE_RESAMPLE
 *   target_id, against_id [text]
 * and token_id, token, mask, length.
 *
 * Method: all ablations of a batch of texts travel through the layers together, as further rows.
 * One joins at the first layer that it changes, with the stream and the z of the clean run, so that
 * nothing before is computed again: over all heads of L layers, (L + 1) / 2 layers a head in place
 * of L. Memory: 4 d_model bytes for each row of each ablation under way; what does not fit goes in
 * several waves, each of which begins at its own first layer.
 *
 * Errors: OTIMES_ERR_ARGUMENT (a member, token, position or selection out of range; one text alone
 * with OTIMES_ABLATE_RESAMPLE; a position without a mean; forward.memory below what one text and
 * one ablation take, with that number; those of otimes_forward_run), OTIMES_ERR_UNSUPPORTED (MLPs
 * or neurons where there are none; neurons of experts; a loss where the output vocabulary is
 * another),
 * OTIMES_ERR_MEMORY, those of reading weights, the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_ablate(const otimes_model *model,
                                               const otimes_ablate_settings *settings,
                                               otimes_sink *sink, otimes_err *err);

/* What a request comes to, for the largest batch of its texts. */
typedef struct otimes_ablate_plan {
    int64_t ablations;
    int64_t waves; /* runs through the layers that they take, one if memory allows */
    int64_t total; /* bytes at the peak, beside the mapped file and what the sink keeps */
} otimes_ablate_plan;

/* Tells before it runs; reads no weights. Errors of otimes_ablate that settings have. */
OTIMES_API OTIMES_MUST_CHECK int otimes_ablate_plan_of(const otimes_model *model,
                                                       const otimes_ablate_settings *settings,
                                                       otimes_ablate_plan *plan, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
