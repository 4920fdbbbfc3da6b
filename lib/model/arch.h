/* SPDX-License-Identifier: MIT
 *
 * The architecture table: all that is known of how each family names and lays out its weights, and
 * of what it does beside them. A row is data. Nothing above this file asks which architecture a
 * model has.
 */
#ifndef OTIMES_MODEL_ARCH_H
#define OTIMES_MODEL_ARCH_H

#include <stdbool.h>

#include <otimes/model.h>

/* Dimensions, and the letter that stands for each in layouts. */
#define OTIMES_DIMS(X)  \
    X(D_MODEL, 'd')     \
    X(N_HEADS, 'h')     \
    X(N_KV_HEADS, 'k')  \
    X(GROUP, 'g')       \
    X(D_HEAD, 'e')      \
    X(D_MLP, 'm')       \
    X(D_VOCAB, 'v')     \
    X(D_VOCAB_OUT, 'u') \
    X(N_CTX, 'c')       \
    X(N_EXPERTS, 'x')   \
    X(D_EXPERT, 'n')    \
    X(D_SHARED, 's')

typedef enum otimes_dim {
#define DIM_ENUM(name, letter) OTIMES_DIM_##name,
    OTIMES_DIMS(DIM_ENUM)
#undef DIM_ENUM
        OTIMES_DIM_COUNT
} otimes_dim;

/* Canonical weights: name, label, name within the model, block or expert as TransformerLens has it
 * (ours where it has none), canonical layout, part of the model for `info`. W_U is listed
 * transposed, as rows of d_model, since it is read by output token. Those of the model come first,
 * then those of a layer, then those of an expert. */
#define OTIMES_SLOTS(X)                                                \
    X(W_E, "W_E", "embed.W_E", "v d", EMBEDDING)                       \
    X(EMBED_LN_W, "embed.ln.w", "embed.ln.w", "d", NORMS)              \
    X(EMBED_LN_B, "embed.ln.b", "embed.ln.b", "d", NORMS)              \
    X(W_POS, "W_pos", "pos_embed.W_pos", "c d", POSITIONS)             \
    X(LNF_W, "ln_final.w", "ln_final.w", "d", NORMS)                   \
    X(LNF_B, "ln_final.b", "ln_final.b", "d", NORMS)                   \
    X(W_U, "W_U", "unembed.W_U", "u d", UNEMBEDDING)                   \
    X(B_U, "b_U", "unembed.b_U", "u", UNEMBEDDING)                     \
    X(LN1_W, "ln1.w", "ln1.w", "d", NORMS)                             \
    X(LN1_B, "ln1.b", "ln1.b", "d", NORMS)                             \
    X(W_Q, "W_Q", "attn.W_Q", "h d e", ATTENTION)                      \
    X(W_K, "W_K", "attn.W_K", "k d e", ATTENTION)                      \
    X(W_V, "W_V", "attn.W_V", "k d e", ATTENTION)                      \
    X(W_O, "W_O", "attn.W_O", "h e d", ATTENTION)                      \
    X(B_Q, "b_Q", "attn.b_Q", "h e", ATTENTION)                        \
    X(B_K, "b_K", "attn.b_K", "k e", ATTENTION)                        \
    X(B_V, "b_V", "attn.b_V", "k e", ATTENTION)                        \
    X(B_O, "b_O", "attn.b_O", "d", ATTENTION)                          \
    X(Q_NORM_W, "q_norm.w", "attn.q_norm.w", "h e", NORMS)             \
    X(K_NORM_W, "k_norm.w", "attn.k_norm.w", "k e", NORMS)             \
    X(SINKS, "sinks", "attn.sinks", "h", ATTENTION)                    \
    X(LN1_POST_W, "ln1_post.w", "ln1_post.w", "d", NORMS)              \
    X(LN2_W, "ln2.w", "ln2.w", "d", NORMS)                             \
    X(LN2_B, "ln2.b", "ln2.b", "d", NORMS)                             \
    X(W_IN, "W_in", "mlp.W_in", "d m", MLP)                            \
    X(W_GATE, "W_gate", "mlp.W_gate", "d m", MLP)                      \
    X(W_OUT, "W_out", "mlp.W_out", "m d", MLP)                         \
    X(B_IN, "b_in", "mlp.b_in", "m", MLP)                              \
    X(B_GATE, "b_gate", "mlp.b_gate", "m", MLP)                        \
    X(B_OUT, "b_out", "mlp.b_out", "d", MLP)                           \
    X(ROUTER_W, "W_router", "mlp.router.W", "d x", MLP)                \
    X(ROUTER_B, "b_router", "mlp.router.b", "x", MLP)                  \
    X(SHARED_IN, "shared W_in", "mlp.shared.W_in", "d s", MLP)         \
    X(SHARED_GATE, "shared W_gate", "mlp.shared.W_gate", "d s", MLP)   \
    X(SHARED_OUT, "shared W_out", "mlp.shared.W_out", "s d", MLP)      \
    X(SHARED_ROUTER, "shared W_router", "mlp.shared.router", "d", MLP) \
    X(LN2_POST_W, "ln2_post.w", "ln2_post.w", "d", NORMS)              \
    X(EXPERT_IN, "expert W_in", "W_in", "d n", MLP)                    \
    X(EXPERT_GATE, "expert W_gate", "W_gate", "d n", MLP)              \
    X(EXPERT_OUT, "expert W_out", "W_out", "n d", MLP)                 \
    X(EXPERT_B_IN, "expert b_in", "b_in", "n", MLP)                    \
    X(EXPERT_B_GATE, "expert b_gate", "b_gate", "n", MLP)              \
    X(EXPERT_B_OUT, "expert b_out", "b_out", "d", MLP)

typedef enum otimes_slot {
#define SLOT_ENUM(name, label, path, layout, part) OTIMES_SLOT_##name,
    OTIMES_SLOTS(SLOT_ENUM)
#undef SLOT_ENUM
        OTIMES_SLOT_COUNT,
    OTIMES_SLOT_FIRST_OF_LAYER = OTIMES_SLOT_LN1_W,
    OTIMES_SLOT_FIRST_OF_EXPERT = OTIMES_SLOT_EXPERT_IN
} otimes_slot;

/* Parts of a model as `info` counts them. */
#define OTIMES_MODEL_PARTS(X) \
    X(EMBEDDING, "embedding") \
    X(POSITIONS, "positions") \
    X(ATTENTION, "attention") \
    X(MLP, "mlp")             \
    X(NORMS, "norms")         \
    X(UNEMBEDDING, "unembedding")

typedef enum otimes_model_part {
#define PART_ENUM(name, label) OTIMES_MODEL_PART_##name,
    OTIMES_MODEL_PARTS(PART_ENUM)
#undef PART_ENUM
        OTIMES_MODEL_PART_COUNT
} otimes_model_part;

const char *otimes_slot_label(otimes_slot slot);
const char *otimes_slot_path(otimes_slot slot);
const char *otimes_slot_layout(otimes_slot slot); /* canonical */
otimes_model_part otimes_slot_part(otimes_slot slot);

/* When a checkpoint must have a tensor. */
typedef enum otimes_need {
    OTIMES_NEED_ALWAYS,
    OTIMES_NEED_OPTIONAL,  /* may be absent: then there is no such weight */
    OTIMES_NEED_POSITIONS, /* with learned positions */
    OTIMES_NEED_NORM,      /* with a norm that has weights */
    OTIMES_NEED_LN,        /* with a LayerNorm that has weights: its bias */
    OTIMES_NEED_MLP,       /* with an MLP, in layers without experts */
    OTIMES_NEED_GATE,      /* with a gated MLP, in layers without experts */
    OTIMES_NEED_MLP_NORM,  /* with an MLP and a norm that has weights */
    OTIMES_NEED_MLP_LN,    /* with an MLP and a LayerNorm that has weights: its bias */
    OTIMES_NEED_EXPERTS,   /* in layers with experts */
    OTIMES_NEED_SHARED     /* in layers with experts, where a shared one has a size */
} otimes_need;

/* One canonical weight in the file. `name` may have '|'-separated alternatives, {l} stands for the
 * layer, {x} for the expert. `layout` says how the stored tensor is laid out, axis by axis, slowest
 * first:
 *   d            an axis of one dimension
 *   (h e)        several dimensions on one axis, the last one fastest
 *   ([h k k] e)  a concatenation along one axis, of which this weight is piece number `piece`
 *   [2 c]        the same with a piece of two entries that are not read
 *   (h 3 e)      three interleaved, of which this weight is number `piece`
 *   (k [g 1 1])  query heads by group: head h is member h % g of group h / g
 *   r            d_head in adjacent rotary pairs (0, half, 1, half+1, ...): read in split halves
 * A dimension of the weight that no axis has repeats what is there (one norm for every head). The
 * layout is all that carries orientation; a shape is never asked for it. */
typedef struct otimes_tensor_rule {
    otimes_slot slot;
    const char *name;
    const char *layout;
    otimes_need need;
    int piece;
} otimes_tensor_rule;

/* Numbers of a configuration beyond the dimensions; whether an integer. */
#define OTIMES_NUMBERS(X)                                         \
    X(N_LAYERS, true)                                             \
    X(EPS, false)                                                 \
    X(ROPE_THETA, false)                                          \
    X(ROPE_THETA_LOCAL, false) /* in layers with a window */      \
    X(ROTARY_DIM, true)                                           \
    X(ROTARY_FRACTION, false) /* of d_head */                     \
    X(SLIDING_WINDOW, true)                                       \
    X(WINDOW_PATTERN, true) /* every so-many-th layer sees all */ \
    X(WINDOW_FROM, true)    /* layers before see all */           \
    X(EMBED_SCALE, false)   /* W_E is multiplied by it */         \
    X(RESIDUAL_SCALE, false)                                      \
    X(LOGIT_SCALE, false)                                         \
    X(LOGIT_DIVISOR, false)                                       \
    X(ATTN_DIVISOR, false)                                        \
    X(ATTN_MULTIPLIER, false)                                     \
    X(QUERY_SCALAR, false) /* scores are divided by its root */   \
    X(ATTN_SOFTCAP, false)                                        \
    X(FINAL_SOFTCAP, false)                                       \
    X(CLIP_QKV, false)                                            \
    X(ALIBI_MAX, false)                                           \
    X(SWIGLU_LIMIT, false)                                        \
    X(N_ACTIVE, true) /* experts of a token */

typedef enum otimes_number {
    OTIMES_NUMBER_NONE = OTIMES_DIM_COUNT - 1, /* dimensions come first in one space of keys */
#define NUMBER_ENUM(name, integral) OTIMES_NUMBER_##name,
    OTIMES_NUMBERS(NUMBER_ENUM)
#undef NUMBER_ENUM
        OTIMES_KEY_COUNT
} otimes_number;

/* Fallbacks that are no values: settled from another dimension or from the weights; an error; the
 * root of d_model; d_model / n_heads where d_head is 128 and d_head elsewhere. */
#define OTIMES_DERIVED 0.0
#define OTIMES_REQUIRED (-1.0)
#define OTIMES_ROOT_D_MODEL (-2.0)
#define OTIMES_WIDTH_OF_HEAD (-3.0)

/* Where a number stands in the configuration, by '|'-separated names, and what it is without. */
typedef struct otimes_config_rule {
    int key; /* otimes_dim or otimes_number */
    const char *names;
    double fallback;
} otimes_config_rule;

/* How one kind of file names the weights and the numbers of a family. */
typedef struct otimes_naming {
    const char *prefixes; /* '|'-separated, taken off tensor names one after another; may be "" */
    const char *ignored;  /* '|'-separated names of buffers that are no weights; may be NULL */
    const otimes_config_rule *config;     /* ends with names NULL */
    const otimes_tensor_rule *tensors[7]; /* each ends with name NULL; NULL after the last */
} otimes_naming;

/* A flag of the configuration, and what it is without; names NULL: no configuration is asked. */
typedef struct otimes_flag {
    const char *names;
    bool fallback;
} otimes_flag;

/* Which layers have a window, when the configuration does not list them. */
typedef enum otimes_windows {
    OTIMES_WINDOWS_ALL,
    OTIMES_WINDOWS_PATTERN, /* all but every so-many-th */
    OTIMES_WINDOWS_FROM     /* those from a number on */
} otimes_windows;

typedef struct otimes_arch {
    const char *name;
    const char *model_types; /* '|'-separated values of the configuration's model_type */
    const char *gguf;        /* '|'-separated values of GGUF's general.architecture; may be NULL */
    const char *gguf_only;   /* a key that such a GGUF must have; may be NULL */
    const char *config_only; /* a key by which a configuration without model_type is known */
    const char *signature;   /* '|'-separated tensors that only this architecture has, without
                                prefix; NULL: it is known by its configuration alone */
    int signature_axes;      /* and its number of axes; 0: any */
    otimes_naming files;     /* its own files, as their authors name them */
    const otimes_naming *gguf_files;
    otimes_norm norm;
    bool norm_without_weights, norm_offset; /* the stored norm weight is w - 1 (not in GGUF) */
    otimes_positions positions;
    otimes_flag alibi;
    bool alibi_scaled;    /* divided by attn_scale together with the scores */
    bool rotary_adjacent; /* pairs (2i, 2i+1) in the canonical weights too */
    otimes_mlp mlp;
    otimes_flag parallel; /* attention and MLP read the same stream */
    otimes_flag one_kv;   /* one key/value head, whatever the configuration counts ... */
    otimes_flag count_kv; /* ... unless this is set */
    otimes_qk_norm qk_norm;
    otimes_routing routing;
    otimes_flag norm_top; /* weights of the chosen experts are scaled to sum 1 */
    bool gguf_norm_top;   /* and so in GGUF, which has no word for it */
    otimes_windows windows;
    int window_pattern;        /* without one in the configuration */
    int no_rope_every;         /* every so-many-th layer rotates nothing; 0: all rotate */
    bool tied;                 /* without tie_word_embeddings in the configuration */
    bool tied_without_unembed; /* and so where the file has no unembedding */
    bool config_says_kind;     /* norm, positions, MLP and scale come from TransformerLens' keys */
    const char *activation_names;    /* configuration keys of the activation */
    const char *activation_fallback; /* may be NULL */
    const char *scale_switch;  /* key of a flag: false means scores are not scaled; may be NULL */
    const char *window_switch; /* key of a flag without which sliding_window is off; may be NULL */
    const char *refused;       /* keys that must be absent, null, false or 0; may be NULL */
    const char *demanded;      /* keys that must be absent or true; may be NULL */
} otimes_arch;

extern const otimes_arch otimes_archs[]; /* by name, ascending */
extern const int otimes_arch_count;

/* By a configuration's model_type, or by GGUF's general.architecture; NULL when no row answers. */
const otimes_arch *otimes_arch_by_type(const char *model_type);

/* The row of TransformerLens' own names, under which models are written down. */
const otimes_arch *otimes_arch_lens(void);

/* Rule number `index` over all lists; NULL beyond the last. */
const otimes_tensor_rule *otimes_naming_rule(const otimes_naming *naming, int index);

/* Whether `item` is one of the '|'-separated names. */
bool otimes_names_contain(const char *names, const char *item);

/* What {l} and {x} stood for in a name; -1 without. */
typedef struct otimes_place {
    int64_t layer, expert;
} otimes_place;

/* Matches name against one of the '|'-separated patterns; NULL has none. */
bool otimes_names_match(const char *patterns, const char *name, otimes_place *place);

#endif
