/* SPDX-License-Identifier: MIT
 *
 * The forward pass: a model run on sequences of tokens, with every activation open to be read or
 * changed on its way.
 *
 * Tokens of all sequences lie one after another as rows; there is no padding. Weights are canonical
 * (otimes/model.h) and processed as the model was opened, so activations are those of the processed
 * model. Products are float32, statistics of norms and softmax sums double.
 */
#ifndef OTIMES_FORWARD_H
#define OTIMES_FORWARD_H

#include <otimes/common.h>
#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sequences of token ids; the caller's. */
typedef struct otimes_sequences {
    int64_t count;
    const int64_t *length; /* [count], each 1 to n_ctx (any length where positions are computed) */
    const int64_t *const *id; /* [count][length], below d_vocab */
} otimes_sequences;

/* Points of the pass where activations can be seen, in the order in which a layer reaches them:
 * name, the name's text as TransformerLens has it ({l} stands for the layer, {x} for the expert),
 * columns of a row. What a model does not have is never reached.
 *   scores and patterns: one head of one sequence at a time, rows are queries, columns are keys
 *   results: one head at a time, made only when they are asked for
 *   normalized: what the block reads, with the norm's weights where they are not folded
 *   scale: sqrt(var + eps) (LayerNorm) or sqrt(mean x^2 + eps) (RMSNorm), seen before it divides
 *   expert post: neurons before the router's weight; shared post: times the shared expert's gate
 *   pos_embed: of shortformer models, which add it to the inputs of Q and K, it is seen alone
 *   gate: act(x W_gate) of a gated MLP; of a plain one the factor act(pre) / pre by which each
 *       neuron is let through (0 where pre is 0); seen before it multiplies */
#define OTIMES_HOOKS(X)                                                \
    X(EMBED, "hook_embed", D_MODEL)                                    \
    X(POS_EMBED, "hook_pos_embed", D_MODEL)                            \
    X(EMBED_LN_SCALE, "embed.ln.hook_scale", ONE)                      \
    X(RESID_PRE, "blocks.{l}.hook_resid_pre", D_MODEL)                 \
    X(LN1_SCALE, "blocks.{l}.ln1.hook_scale", ONE)                     \
    X(LN1_NORMALIZED, "blocks.{l}.ln1.hook_normalized", D_MODEL)       \
    X(Q, "blocks.{l}.attn.hook_q", HEADS)                              \
    X(K, "blocks.{l}.attn.hook_k", KV_HEADS)                           \
    X(V, "blocks.{l}.attn.hook_v", KV_HEADS)                           \
    X(ROT_Q, "blocks.{l}.attn.hook_rot_q", HEADS)                      \
    X(ROT_K, "blocks.{l}.attn.hook_rot_k", KV_HEADS)                   \
    X(SCORES, "blocks.{l}.attn.hook_attn_scores", KEYS)                \
    X(PATTERN, "blocks.{l}.attn.hook_pattern", KEYS)                   \
    X(Z, "blocks.{l}.attn.hook_z", HEADS)                              \
    X(RESULT, "blocks.{l}.attn.hook_result", D_MODEL)                  \
    X(LN1_POST_SCALE, "blocks.{l}.ln1_post.hook_scale", ONE)           \
    X(ATTN_OUT, "blocks.{l}.hook_attn_out", D_MODEL)                   \
    X(RESID_MID, "blocks.{l}.hook_resid_mid", D_MODEL)                 \
    X(LN2_SCALE, "blocks.{l}.ln2.hook_scale", ONE)                     \
    X(LN2_NORMALIZED, "blocks.{l}.ln2.hook_normalized", D_MODEL)       \
    X(EXPERT_WEIGHTS, "blocks.{l}.mlp.hook_expert_weights", N_EXPERTS) \
    X(EXPERT_POST, "blocks.{l}.mlp.experts.{x}.hook_post", D_EXPERT)   \
    X(MLP_PRE, "blocks.{l}.mlp.hook_pre", D_MLP)                       \
    X(MLP_PRE_LINEAR, "blocks.{l}.mlp.hook_pre_linear", D_MLP)         \
    X(MLP_GATE, "blocks.{l}.mlp.hook_gate", D_MLP)                     \
    X(MLP_POST, "blocks.{l}.mlp.hook_post", D_MLP)                     \
    X(SHARED_POST, "blocks.{l}.mlp.shared.hook_post", D_SHARED)        \
    X(LN2_POST_SCALE, "blocks.{l}.ln2_post.hook_scale", ONE)           \
    X(MLP_OUT, "blocks.{l}.hook_mlp_out", D_MODEL)                     \
    X(RESID_POST, "blocks.{l}.hook_resid_post", D_MODEL)               \
    X(LN_FINAL_SCALE, "ln_final.hook_scale", ONE)                      \
    X(LN_FINAL_NORMALIZED, "ln_final.hook_normalized", D_MODEL)

typedef enum otimes_hook {
#define OTIMES_HOOK_ENUM(name, text, columns) OTIMES_HOOK_##name,
    OTIMES_HOOKS(OTIMES_HOOK_ENUM)
#undef OTIMES_HOOK_ENUM
        OTIMES_HOOK_COUNT
} otimes_hook;

/* The name with {l} and {x} in it, "blocks.{l}.attn.hook_q"; NULL out of range. */
OTIMES_API const char *otimes_hook_name(otimes_hook hook);

/* The name at a layer (and expert) into text of `size` bytes: "blocks.3.attn.hook_q". */
OTIMES_API void otimes_hook_text(otimes_hook hook, int64_t layer, int64_t expert, char *text,
                                 size_t size);

/* Columns of a hook's rows in this model; 0 where the model has no such point. Of scores and
 * patterns -1: as many as there are keys. */
OTIMES_API int64_t otimes_hook_columns(const otimes_model *model, otimes_hook hook);

/* Whether layer `layer` of this model reaches a hook; layer -1 for those outside of layers. */
OTIMES_API int otimes_hook_reached(const otimes_model *model, otimes_hook hook, int64_t layer);

/* What a visitor sees. Entry (i, j) is data[i * stride + j]; what it changes there is what the pass
 * goes on with. Rows are those of the batch, chunk by chunk, ascending; chunks are whole sequences
 * until the MLP, which may be cut into smaller ones. */
typedef struct otimes_activation {
    otimes_hook hook;
    int64_t layer;         /* -1: of the model */
    int64_t head;          /* of scores, patterns, results; -1 otherwise */
    int64_t sequence;      /* of scores, patterns; -1 otherwise */
    int64_t expert;        /* of EXPERT_POST; -1 otherwise */
    const int64_t *row_of; /* of EXPERT_POST: the batch's row behind each row; NULL otherwise */
    int64_t first;         /* the first row: of the batch, or the query within the sequence */
    int64_t rows, columns; /* of scores, patterns: columns are keys 0 .. columns-1; behind them,
                               nothing is seen by these queries */
    float *data;
    int64_t stride;
} otimes_activation;

/* Called for each chunk of each asked-for hook. Non-zero stops the pass, which returns it. Scores
 * and patterns come from several threads at once, in any order, each for a (sequence, head, range
 * of queries) of its own; everything else from the calling thread. */
typedef int (*otimes_visit)(void *context, const otimes_activation *activation, otimes_err *err);

typedef struct otimes_hooks {
    uint64_t points; /* OR of 1 << hook for those that visit is called for */
    otimes_visit visit;
    void *context;
} otimes_hooks;

#define OTIMES_HOOK_BIT(name) ((uint64_t)1 << OTIMES_HOOK_##name)

/* A model made ready to run; one pass at a time. */
typedef struct otimes_forward otimes_forward;

typedef struct otimes_forward_settings {
    int resident;            /* 1: canonical weights stay in memory from the first pass on; 0 (the
                              default): each layer is read when a pass comes to it */
    int64_t chunk_rows;      /* tokens that go through a layer together, or one sequence if that is
                              longer; 0 (the default): 2048 */
    int64_t memory;          /* bytes that a pass may take in all; more is refused before it starts.
                              0 (the default): any */
    otimes_forward *weights; /* an open one of the same model with resident weights: these are used,
                                for many calls over one loading; it must outlive the call. NULL (the
                                default): weights of its own */
    uint8_t reserved[64];    /* zero */
} otimes_forward_settings;

OTIMES_API void otimes_forward_settings_default(otimes_forward_settings *settings);

/* Bytes that a pass over `rows` tokens in sequences of at most `longest` takes, logits read a tile
 * at a time included, by what it is for. Beside it stand the mapped file's pages, the BLAS' own
 * buffers and what visitors and callers keep. */
typedef struct otimes_forward_plan {
    int64_t weights; /* canonical layers: all, or the largest; b_U */
    int64_t streams; /* residual stream of all rows */
    int64_t chunk;   /* what one chunk's attention and MLP work on */
    int64_t workers; /* strips of scores, one for each thread */
    int64_t loading; /* while layers are read: attention before it is packed */
    int64_t readout; /* afterwards: tiles of logits, and W_U or tiles of it */
    int64_t total;   /* of all, but of the last two the larger */
} otimes_forward_plan;

OTIMES_API void otimes_forward_plan_of(const otimes_model *model,
                                       const otimes_forward_settings *settings, int64_t rows,
                                       int64_t longest, otimes_forward_plan *plan);

/* Prepares to run a model, which must outlive *forward. settings may be NULL. Released by
 * otimes_forward_close. Errors: OTIMES_ERR_UNSUPPORTED (an activation function or rotary scaling
 * that is not known), those of otimes_unembed_open. */
OTIMES_API OTIMES_MUST_CHECK int otimes_forward_open(otimes_forward **forward,
                                                     const otimes_model *model,
                                                     const otimes_forward_settings *settings,
                                                     otimes_err *err);
OTIMES_API void otimes_forward_close(otimes_forward **forward);

/* Runs the batch from the embedding to the final norm. hooks may be NULL. The result stays in
 * *forward until the next run. 2 flops a weight and token, 4 d_head a query, key and head.
 * Errors: OTIMES_ERR_ARGUMENT (an id or a length out of range, named; a plan beyond
 * settings.memory, with the number of tokens that would fit), OTIMES_ERR_MEMORY, what a visitor
 * returned, those of otimes_layer_load. */
OTIMES_API OTIMES_MUST_CHECK int otimes_forward_run(otimes_forward *forward,
                                                    const otimes_sequences *batch,
                                                    const otimes_hooks *hooks, otimes_err *err);

/* Rows of the last run: the number of tokens of all its sequences. */
OTIMES_API int64_t otimes_forward_rows(const otimes_forward *forward);

/* Logits of rows first .. first+count-1 of the last run into out [count, d_vocab_out]: soft-capped
 * where the model does that. 2 d_model flops an entry. OTIMES_ERR_ARGUMENT, OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_forward_logits(otimes_forward *forward, int64_t first,
                                                       int64_t count, float *out, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
