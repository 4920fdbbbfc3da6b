/* SPDX-License-Identifier: MIT
 *
 * A pass made linear. With its patterns, norm scales and gates frozen, a transformer is a sum of
 * operators on the residual stream x [n, d_model] of one sequence:
 *   head h of layer l:  x -> A^h diag(1/s_l) x N W_V W_O          A^h diag(1/s_l) ⊗ (N W_V W_O)^T
 *   MLP of layer l:     x -> (gate ∘ (diag(1/s_l) x N W_in)) W_out   frozen gates; not of this form
 *   the end:            logits = diag(1/s_f) x N_f W_U
 * where N centres (LayerNorm) and multiplies with the norm's weight if that is not folded, and a
 * post-norm is one more diag(1/s) ⊗ N behind each. What does not depend on x is a source: embedding,
 * positions, biases, and unless their gates are frozen, MLPs as a whole.
 *
 * Here are the operators, a layer at a time and for several streams at once, and their adjoints:
 * <g, L x> = <L* g, x>. Everything that is an exact sum over paths is built from these.
 */
#ifndef OTIMES_RUN_LINEAR_H
#define OTIMES_RUN_LINEAR_H

#include <stdbool.h>

#include "base/mem.h"
#include "run/frozen.h"
#include "run/layers.h"

typedef enum otimes_mlp_role {
    OTIMES_MLP_AS_SOURCE = 0, /* what MLPs write is a source */
    OTIMES_MLP_AS_LINK = 1    /* MLPs with frozen gates are links of paths; layers of experts remain
                                 sources */
} otimes_mlp_role;

typedef enum otimes_source_kind {
    OTIMES_SOURCE_EMBED,     /* W_E; with positions where these cannot be told apart */
    OTIMES_SOURCE_POS_EMBED, /* W_pos */
    OTIMES_SOURCE_ATTN_BIAS, /* b_O, and b_V and the norm's bias through patterns and W_O */
    OTIMES_SOURCE_MLP,       /* all of an MLP, its bias included */
    OTIMES_SOURCE_MLP_BIAS   /* of an MLP that is a link */
} otimes_source_kind;

/* What a source writes. It is there for heads of layers above `layer`, and for MLPs of layer
 * `mlp_layer` and above. */
typedef struct otimes_linear_source {
    otimes_source_kind kind;
    int64_t layer; /* -1: there from the beginning */
    int64_t mlp_layer;
    float *rows; /* [n, d_model] */
} otimes_linear_source;

typedef struct otimes_linear {
    const otimes_model *model;
    const otimes_model_info *info;
    otimes_layers *layers; /* weights; borrowed */
    otimes_mlp_role role;
    int64_t n;            /* tokens */
    otimes_frozen frozen; /* patterns [n_heads][n][n], scales [n], gates [n, d_mlp] */
    int64_t source_count;
    otimes_linear_source *source; /* embed first; by layer */
    float **z;          /* [n_layers] [n, n_heads * d_head], the pass' own; NULL unless kept */
    float *final_scale; /* [n] s_f; 1 without a final norm */
    float *stream;      /* [n, d_model] at the end, the pass' own */
    otimes_pool pool;

    /* What the functions below work on, grown as they need it. */
    int64_t room;                        /* rows */
    float *read, *values, *wide, *inner; /* [room, d_model], [room, n_kv_heads * d_head],
                                            [room, n_heads * d_head], [room, d_mlp] */
    otimes_pool space;
} otimes_linear;

/* What is kept beside the above, an OR. */
enum {
    OTIMES_LINEAR_Z = 1, /* z of all heads */
};

/* Runs the model once on a sequence of one text and records everything; `layers` must outlive
 * *linear. `hooks` (may be NULL) are called as well, after what is recorded here, for points of
 * theirs. Released by otimes_linear_free in any case. Errors: those of a pass;
 * OTIMES_ERR_UNSUPPORTED where values were clipped (clip_qkv), which is no linear map. */
int otimes_linear_init(otimes_linear *linear, otimes_layers *layers,
                       const otimes_sequences *sequence, otimes_mlp_role role, int keep,
                       const otimes_hooks *hooks, otimes_err *err);
/* Accepts zeroed. */
void otimes_linear_free(otimes_linear *linear);

/* Bytes of it for a text of n tokens, the pass that records included. */
int64_t otimes_linear_bytes(const otimes_model *model, int64_t n, otimes_mlp_role role, int keep);

/* "embed", "pos_embed", "L3 attn bias", "L3 mlp", "L3 mlp bias" into text of `size` bytes. */
void otimes_linear_source_label(const otimes_linear *linear, int64_t source, char *text,
                                size_t size);

/* Whether the MLP of a layer is a link. */
bool otimes_linear_has_mlp(const otimes_linear *linear, int64_t layer);

/* Whether MLP and attention of a layer read the same stream. */
static inline bool otimes_linear_is_parallel(const otimes_linear *linear)
{
    return linear->info->parallel;
}

/* ---- the operators; x, out [streams * n, d_model], stream by stream; layer from
 * otimes_layers_get; out is overwritten, and may not be x ---- */

/* out := what the heads of a layer make of x: sum over heads of A^h diag(1/s) x N W_V W_O, behind the
 * post-norm if there is one. z [streams * n, n_heads * d_head] receives what enters W_O. `heads`
 * [n_heads] restricts the sum (NULL: all). 2 d_model d_head (n_kv_heads + n_heads) + n d_head
 * n_heads flops a row. OTIMES_ERR_MEMORY. */
int otimes_linear_attention(otimes_linear *linear, const otimes_ready_layer *layer, int64_t streams,
                            const float *x, const bool *heads, float *z, float *out,
                            otimes_err *err);

/* back := L* g for the same L. u [streams * n, n_heads * d_head] receives by query head what reaches
 * its values: A^h^T (g N_post^T W_O[h]^T). back may be NULL. */
int otimes_linear_attention_back(otimes_linear *linear, const otimes_ready_layer *layer,
                                 int64_t streams, const float *g, const bool *heads, float *u,
                                 float *back, otimes_err *err);

/* out := (gate ∘ (diag(1/s) x N W_in)) W_out, behind the post-norm, of a layer whose MLP is a link;
 * zeros otherwise. 4 d_model d_mlp flops a row. */
int otimes_linear_mlp(otimes_linear *linear, const otimes_ready_layer *layer, int64_t streams,
                      const float *x, float *out, otimes_err *err);
int otimes_linear_mlp_back(otimes_linear *linear, const otimes_ready_layer *layer, int64_t streams,
                           const float *g, float *back, otimes_err *err);

/* What norms do, row by row: the norm that heads (mlp false) or MLPs of a layer read through,
 * out [rows, d_model] := diag(1/s) x N for rows at positions position(i) = (first + i) mod n; and
 * its adjoint. In place is fine. Copies where there is no norm. */
void otimes_linear_norm(const otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                        int64_t first, int64_t rows, const float *x, float *out);
void otimes_linear_norm_back(const otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                             int64_t first, int64_t rows, const float *g, float *out);

/* The same of the post-norm behind attention or MLP; copies where there is none. */
void otimes_linear_post(const otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                        int64_t first, int64_t rows, const float *x, float *out);
void otimes_linear_post_back(const otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                             int64_t first, int64_t rows, const float *g, float *out);

/* ---- the two ends ---- */

/* A number read off the end of the stream at one position: value = <direction, x[position]> +
 * offset, an output's logit before any soft cap, or a difference of two. */
typedef struct otimes_linear_target {
    int64_t position;
    float *direction; /* [d_model], 1/s_f, N_f and W_U taken in; the caller's */
    double offset;    /* b_U and the final norm's bias */
} otimes_linear_target;

/* target->direction (room for d_model) and offset for output token `token`, minus those of `against`
 * (-1: none). OTIMES_ERR_ARGUMENT for what is out of range; those of otimes_unembed_rows. */
int otimes_linear_target_logit(const otimes_linear *linear, int64_t position, int64_t token,
                               int64_t against, otimes_linear_target *target, otimes_err *err);

/* The linear term of the loss -log p(token): the value is sum_j (p_j - [j = token]) logit_j with the
 * pass' own probabilities p frozen (under a soft cap, each term times its slope there): how far
 * the token's logit lies below the mean under p. 4 d_model d_vocab_out flops. */
int otimes_linear_target_loss(const otimes_linear *linear, int64_t position, int64_t token,
                              otimes_linear_target *target, otimes_err *err);

/* What the target is worth in the pass itself. */
double otimes_linear_target_value(const otimes_linear *linear, const otimes_linear_target *target);

/* Streams [streams][n, d_model] at the end to normal [streams * n, d_model] behind the final norm
 * with its scale frozen; its bias is added to stream `biased` alone (-1: to none). What
 * otimes_readout_run reads. */
void otimes_linear_final(const otimes_linear *linear, int64_t streams, int64_t biased,
                         const float *x, float *normal);

#endif
