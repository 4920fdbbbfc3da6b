/* SPDX-License-Identifier: MIT
 *
 * The architecture table: all that is known of how each family names and lays out its weights. A
 * row is data. Nothing above this file asks which architecture a model has.
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
    X(D_HEAD, 'e')      \
    X(D_MLP, 'm')       \
    X(D_VOCAB, 'v')     \
    X(D_VOCAB_OUT, 'u') \
    X(N_CTX, 'c')

typedef enum otimes_dim {
#define DIM_ENUM(name, letter) OTIMES_DIM_##name,
    OTIMES_DIMS(DIM_ENUM)
#undef DIM_ENUM
        OTIMES_DIM_COUNT
} otimes_dim;

/* Canonical weights: name, TransformerLens' name within the model or block, canonical layout, part
 * of the model for `info`. W_U is listed transposed, as rows of d_model, since it is read by output
 * token. The order matters only in that those of a layer follow those of the model. */
#define OTIMES_SLOTS(X)                 \
    X(W_E, "W_E", "v d", EMBEDDING)     \
    X(W_POS, "W_pos", "c d", POSITIONS) \
    X(LNF_W, "ln_final.w", "d", NORMS)  \
    X(LNF_B, "ln_final.b", "d", NORMS)  \
    X(W_U, "W_U", "u d", UNEMBEDDING)   \
    X(B_U, "b_U", "u", UNEMBEDDING)     \
    X(LN1_W, "ln1.w", "d", NORMS)       \
    X(LN1_B, "ln1.b", "d", NORMS)       \
    X(W_Q, "W_Q", "h d e", ATTENTION)   \
    X(W_K, "W_K", "k d e", ATTENTION)   \
    X(W_V, "W_V", "k d e", ATTENTION)   \
    X(W_O, "W_O", "h e d", ATTENTION)   \
    X(B_Q, "b_Q", "h e", ATTENTION)     \
    X(B_K, "b_K", "k e", ATTENTION)     \
    X(B_V, "b_V", "k e", ATTENTION)     \
    X(B_O, "b_O", "d", ATTENTION)       \
    X(LN2_W, "ln2.w", "d", NORMS)       \
    X(LN2_B, "ln2.b", "d", NORMS)       \
    X(W_IN, "W_in", "d m", MLP)         \
    X(W_GATE, "W_gate", "d m", MLP)     \
    X(W_OUT, "W_out", "m d", MLP)       \
    X(B_IN, "b_in", "m", MLP)           \
    X(B_GATE, "b_gate", "m", MLP)       \
    X(B_OUT, "b_out", "d", MLP)

typedef enum otimes_slot {
#define SLOT_ENUM(name, label, layout, part) OTIMES_SLOT_##name,
    OTIMES_SLOTS(SLOT_ENUM)
#undef SLOT_ENUM
        OTIMES_SLOT_COUNT,
    OTIMES_SLOT_FIRST_OF_LAYER = OTIMES_SLOT_LN1_W
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
const char *otimes_slot_layout(otimes_slot slot); /* canonical */
otimes_model_part otimes_slot_part(otimes_slot slot);
const char *otimes_model_part_label(otimes_model_part part);

/* When a checkpoint must have a tensor. */
typedef enum otimes_need {
    OTIMES_NEED_ALWAYS,
    OTIMES_NEED_OPTIONAL,  /* may be absent: then there is no such weight */
    OTIMES_NEED_POSITIONS, /* with learned positions */
    OTIMES_NEED_NORM,      /* with a norm that has weights */
    OTIMES_NEED_LN,        /* with a LayerNorm that has weights: its bias */
    OTIMES_NEED_MLP,       /* with an MLP */
    OTIMES_NEED_GATE,      /* with a gated MLP */
    OTIMES_NEED_MLP_NORM,  /* with an MLP and a norm that has weights */
    OTIMES_NEED_MLP_LN     /* with an MLP and a LayerNorm that has weights: its bias */
} otimes_need;

/* One canonical weight in the file. `name` may have '|'-separated alternatives, {l} stands for the
 * layer. `layout` says how the stored tensor is laid out, axis by axis, slowest first:
 *   d            an axis of one dimension
 *   (h e)        several dimensions on one axis, the last one fastest
 *   ([h k k] e)  a concatenation along one axis, of which this weight is piece number `piece`
 *   (h 3 e)      three interleaved, of which this weight is number `piece`
 * The layout is all that carries orientation; a shape is never asked for it. */
typedef struct otimes_tensor_rule {
    otimes_slot slot;
    const char *name;
    const char *layout;
    otimes_need need;
    int piece;
} otimes_tensor_rule;

/* Numbers of a configuration beyond the dimensions. */
typedef enum otimes_number {
    OTIMES_NUMBER_N_LAYERS = OTIMES_DIM_COUNT, /* dimensions come first in one space of keys */
    OTIMES_NUMBER_EPS,
    OTIMES_NUMBER_ROPE_THETA,
    OTIMES_NUMBER_SLIDING_WINDOW,
    OTIMES_NUMBER_COUNT
} otimes_number;

/* A value that a missing key leaves to be settled: from another dimension, or from the weights. */
#define OTIMES_DERIVED 0.0
#define OTIMES_REQUIRED (-1.0)

/* Where a number stands in the configuration, by '|'-separated names, and what it is without. */
typedef struct otimes_config_rule {
    int key; /* otimes_dim or otimes_number */
    const char *names;
    double fallback; /* a value, OTIMES_DERIVED or OTIMES_REQUIRED */
} otimes_config_rule;

typedef struct otimes_arch {
    const char *name;
    const char *model_types; /* '|'-separated values of the configuration's model_type */
    const char *signature; /* a tensor that only this architecture has, without prefix; NULL: it is
                              known by its model_type alone */
    const char *prefixes;  /* '|'-separated, tried in order, taken off tensor names; may be "" */
    const char *ignored;   /* '|'-separated names of buffers that are no weights */
    otimes_norm norm;
    otimes_positions positions;
    otimes_mlp mlp;
    bool tied;             /* without tie_word_embeddings in the configuration */
    bool config_says_kind; /* norm, positions, MLP and scale come from TransformerLens' keys */
    const char *activation_names; /* configuration keys of the activation */
    const char *scale_switch;  /* key of a flag: false means scores are not scaled; may be NULL */
    const char *window_switch; /* key of a flag without which sliding_window is off; may be NULL */
    const char *refused;       /* keys that must be absent, null, false or 0; may be NULL */
    const otimes_config_rule *config;     /* ends with names NULL */
    const otimes_tensor_rule *tensors[2]; /* each ends with name NULL; the second may be NULL */
} otimes_arch;

extern const otimes_arch otimes_archs[]; /* by name, ascending */
extern const int otimes_arch_count;

/* By a configuration's model_type; NULL when no row answers to it. */
const otimes_arch *otimes_arch_by_type(const char *model_type);

/* Rule number `index` over both lists of a row; NULL beyond the last. */
const otimes_tensor_rule *otimes_arch_rule(const otimes_arch *arch, int index);

/* Whether `item` is one of the '|'-separated names. */
bool otimes_names_contain(const char *names, const char *item);

/* Matches name against one of the '|'-separated patterns; *layer is what {l} stood for, -1 without.
 */
bool otimes_names_match(const char *patterns, const char *name, int64_t *layer);

#endif
