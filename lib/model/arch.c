/* SPDX-License-Identifier: MIT */
#include "model/arch.h"

#include <string.h>

#define WEIGHT(slot, name, layout, need) {OTIMES_SLOT_##slot, name, layout, OTIMES_NEED_##need, 0}
#define PIECE(slot, name, layout, need, piece) \
    {OTIMES_SLOT_##slot, name, layout, OTIMES_NEED_##need, piece}
#define END_OF_TENSORS {OTIMES_SLOT_COUNT, NULL, NULL, OTIMES_NEED_ALWAYS, 0}
#define END_OF_CONFIG {0, NULL, 0}

/* Conv1D keeps [in, out]; the attention projections are one matrix of columns q | k | v. */
static const otimes_tensor_rule gpt2_tensors[] = {
    WEIGHT(W_E, "wte.weight", "v d", ALWAYS),
    WEIGHT(W_POS, "wpe.weight", "c d", ALWAYS),
    WEIGHT(LN1_W, "h.{l}.ln_1.weight", "d", ALWAYS),
    WEIGHT(LN1_B, "h.{l}.ln_1.bias", "d", ALWAYS),
    PIECE(W_Q, "h.{l}.attn.c_attn.weight", "d ([h k k] e)", ALWAYS, 0),
    PIECE(W_K, "h.{l}.attn.c_attn.weight", "d ([h k k] e)", ALWAYS, 1),
    PIECE(W_V, "h.{l}.attn.c_attn.weight", "d ([h k k] e)", ALWAYS, 2),
    PIECE(B_Q, "h.{l}.attn.c_attn.bias", "([h k k] e)", OPTIONAL, 0),
    PIECE(B_K, "h.{l}.attn.c_attn.bias", "([h k k] e)", OPTIONAL, 1),
    PIECE(B_V, "h.{l}.attn.c_attn.bias", "([h k k] e)", OPTIONAL, 2),
    WEIGHT(W_O, "h.{l}.attn.c_proj.weight", "(h e) d", ALWAYS),
    WEIGHT(B_O, "h.{l}.attn.c_proj.bias", "d", OPTIONAL),
    WEIGHT(LN2_W, "h.{l}.ln_2.weight", "d", ALWAYS),
    WEIGHT(LN2_B, "h.{l}.ln_2.bias", "d", ALWAYS),
    WEIGHT(W_IN, "h.{l}.mlp.c_fc.weight", "d m", ALWAYS),
    WEIGHT(B_IN, "h.{l}.mlp.c_fc.bias", "m", OPTIONAL),
    WEIGHT(W_OUT, "h.{l}.mlp.c_proj.weight", "m d", ALWAYS),
    WEIGHT(B_OUT, "h.{l}.mlp.c_proj.bias", "d", OPTIONAL),
    WEIGHT(LNF_W, "ln_f.weight", "d", ALWAYS),
    WEIGHT(LNF_B, "ln_f.bias", "d", ALWAYS),
    WEIGHT(W_U, "lm_head.weight", "u d", ALWAYS),
    END_OF_TENSORS,
};

static const otimes_config_rule gpt2_config[] = {
    {OTIMES_DIM_D_MODEL, "n_embd|hidden_size", OTIMES_REQUIRED},
    {OTIMES_NUMBER_N_LAYERS, "n_layer|num_hidden_layers", OTIMES_REQUIRED},
    {OTIMES_DIM_N_HEADS, "n_head|num_attention_heads", OTIMES_REQUIRED},
    {OTIMES_DIM_D_MLP, "n_inner", OTIMES_DERIVED},
    {OTIMES_DIM_D_VOCAB, "vocab_size", OTIMES_REQUIRED},
    {OTIMES_DIM_N_CTX, "n_positions|n_ctx", OTIMES_REQUIRED},
    {OTIMES_NUMBER_EPS, "layer_norm_epsilon", 1e-5},
    END_OF_CONFIG,
};

/* nn.Linear keeps [out, in]; rotary halves lie side by side. */
static const otimes_tensor_rule llama_tensors[] = {
    WEIGHT(W_E, "embed_tokens.weight", "v d", ALWAYS),
    WEIGHT(LN1_W, "layers.{l}.input_layernorm.weight", "d", ALWAYS),
    WEIGHT(W_Q, "layers.{l}.self_attn.q_proj.weight", "(h e) d", ALWAYS),
    WEIGHT(W_K, "layers.{l}.self_attn.k_proj.weight", "(k e) d", ALWAYS),
    WEIGHT(W_V, "layers.{l}.self_attn.v_proj.weight", "(k e) d", ALWAYS),
    WEIGHT(W_O, "layers.{l}.self_attn.o_proj.weight", "d (h e)", ALWAYS),
    WEIGHT(LN2_W, "layers.{l}.post_attention_layernorm.weight", "d", ALWAYS),
    WEIGHT(W_GATE, "layers.{l}.mlp.gate_proj.weight", "m d", ALWAYS),
    WEIGHT(W_IN, "layers.{l}.mlp.up_proj.weight", "m d", ALWAYS),
    WEIGHT(W_OUT, "layers.{l}.mlp.down_proj.weight", "d m", ALWAYS),
    WEIGHT(LNF_W, "norm.weight", "d", ALWAYS),
    WEIGHT(W_U, "lm_head.weight", "u d", ALWAYS),
    END_OF_TENSORS,
};

static const otimes_tensor_rule llama_biases[] = {
    WEIGHT(B_Q, "layers.{l}.self_attn.q_proj.bias", "(h e)", OPTIONAL),
    WEIGHT(B_K, "layers.{l}.self_attn.k_proj.bias", "(k e)", OPTIONAL),
    WEIGHT(B_V, "layers.{l}.self_attn.v_proj.bias", "(k e)", OPTIONAL),
    WEIGHT(B_O, "layers.{l}.self_attn.o_proj.bias", "d", OPTIONAL),
    WEIGHT(B_GATE, "layers.{l}.mlp.gate_proj.bias", "m", OPTIONAL),
    WEIGHT(B_IN, "layers.{l}.mlp.up_proj.bias", "m", OPTIONAL),
    WEIGHT(B_OUT, "layers.{l}.mlp.down_proj.bias", "d", OPTIONAL),
    END_OF_TENSORS,
};

static const otimes_tensor_rule qwen2_biases[] = {
    WEIGHT(B_Q, "layers.{l}.self_attn.q_proj.bias", "(h e)", ALWAYS),
    WEIGHT(B_K, "layers.{l}.self_attn.k_proj.bias", "(k e)", ALWAYS),
    WEIGHT(B_V, "layers.{l}.self_attn.v_proj.bias", "(k e)", ALWAYS),
    END_OF_TENSORS,
};

static const otimes_config_rule llama_config[] = {
    {OTIMES_DIM_D_MODEL, "hidden_size", OTIMES_REQUIRED},
    {OTIMES_NUMBER_N_LAYERS, "num_hidden_layers", OTIMES_REQUIRED},
    {OTIMES_DIM_N_HEADS, "num_attention_heads", OTIMES_REQUIRED},
    {OTIMES_DIM_N_KV_HEADS, "num_key_value_heads", OTIMES_DERIVED},
    {OTIMES_DIM_D_HEAD, "head_dim", OTIMES_DERIVED},
    {OTIMES_DIM_D_MLP, "intermediate_size", OTIMES_REQUIRED},
    {OTIMES_DIM_D_VOCAB, "vocab_size", OTIMES_REQUIRED},
    {OTIMES_DIM_N_CTX, "max_position_embeddings", 32768},
    {OTIMES_NUMBER_EPS, "rms_norm_eps", 1e-6},
    {OTIMES_NUMBER_ROPE_THETA, "rope_theta|rope_parameters.rope_theta", 10000},
    {OTIMES_NUMBER_SLIDING_WINDOW, "sliding_window", OTIMES_DERIVED},
    END_OF_CONFIG,
};

/* TransformerLens' own state dict, in this library's orientation already but for W_U. Grouped keys
 * and values are stored once per group under a leading underscore. */
static const otimes_tensor_rule transformer_lens_tensors[] = {
    WEIGHT(W_E, "embed.W_E", "v d", ALWAYS),
    WEIGHT(W_POS, "pos_embed.W_pos", "c d", POSITIONS),
    WEIGHT(LN1_W, "blocks.{l}.ln1.w", "d", NORM),
    WEIGHT(LN1_B, "blocks.{l}.ln1.b", "d", LN),
    WEIGHT(W_Q, "blocks.{l}.attn.W_Q", "h d e", ALWAYS),
    WEIGHT(W_K, "blocks.{l}.attn.W_K|blocks.{l}.attn._W_K", "k d e", ALWAYS),
    WEIGHT(W_V, "blocks.{l}.attn.W_V|blocks.{l}.attn._W_V", "k d e", ALWAYS),
    WEIGHT(W_O, "blocks.{l}.attn.W_O", "h e d", ALWAYS),
    WEIGHT(B_Q, "blocks.{l}.attn.b_Q", "h e", OPTIONAL),
    WEIGHT(B_K, "blocks.{l}.attn.b_K|blocks.{l}.attn._b_K", "k e", OPTIONAL),
    WEIGHT(B_V, "blocks.{l}.attn.b_V|blocks.{l}.attn._b_V", "k e", OPTIONAL),
    WEIGHT(B_O, "blocks.{l}.attn.b_O", "d", OPTIONAL),
    WEIGHT(LN2_W, "blocks.{l}.ln2.w", "d", MLP_NORM),
    WEIGHT(LN2_B, "blocks.{l}.ln2.b", "d", MLP_LN),
    WEIGHT(W_IN, "blocks.{l}.mlp.W_in", "d m", MLP),
    WEIGHT(W_GATE, "blocks.{l}.mlp.W_gate", "d m", GATE),
    WEIGHT(W_OUT, "blocks.{l}.mlp.W_out", "m d", MLP),
    WEIGHT(B_IN, "blocks.{l}.mlp.b_in", "m", OPTIONAL),
    WEIGHT(B_OUT, "blocks.{l}.mlp.b_out", "d", OPTIONAL),
    WEIGHT(LNF_W, "ln_final.w", "d", NORM),
    WEIGHT(LNF_B, "ln_final.b", "d", LN),
    WEIGHT(W_U, "unembed.W_U", "d u", ALWAYS),
    WEIGHT(B_U, "unembed.b_U", "u", OPTIONAL),
    END_OF_TENSORS,
};

static const otimes_config_rule transformer_lens_config[] = {
    {OTIMES_DIM_D_MODEL, "d_model", OTIMES_DERIVED},
    {OTIMES_NUMBER_N_LAYERS, "n_layers", OTIMES_DERIVED},
    {OTIMES_DIM_N_HEADS, "n_heads", OTIMES_DERIVED},
    {OTIMES_DIM_N_KV_HEADS, "n_key_value_heads", OTIMES_DERIVED},
    {OTIMES_DIM_D_HEAD, "d_head", OTIMES_DERIVED},
    {OTIMES_DIM_D_MLP, "d_mlp", OTIMES_DERIVED},
    {OTIMES_DIM_D_VOCAB, "d_vocab", OTIMES_DERIVED},
    {OTIMES_DIM_D_VOCAB_OUT, "d_vocab_out", OTIMES_DERIVED},
    {OTIMES_DIM_N_CTX, "n_ctx", OTIMES_DERIVED},
    {OTIMES_NUMBER_EPS, "eps", 1e-5},
    {OTIMES_NUMBER_ROPE_THETA, "rotary_base", 10000},
    END_OF_CONFIG,
};

/* Keep alphabetized. */
const otimes_arch otimes_archs[] = {
    {
        .name = "gpt2",
        .model_types = "gpt2",
        .signature = "h.0.attn.c_attn.weight",
        .prefixes = "transformer.",
        .ignored = "h.{l}.attn.bias|h.{l}.attn.masked_bias",
        .norm = OTIMES_NORM_LN,
        .positions = OTIMES_POSITIONS_LEARNED,
        .mlp = OTIMES_MLP_PLAIN,
        .tied = true,
        .activation_names = "activation_function",
        .scale_switch = "scale_attn_weights",
        .refused = "scale_attn_by_inverse_layer_idx|add_cross_attention",
        .config = gpt2_config,
        .tensors = {gpt2_tensors, NULL},
    },
    {
        .name = "llama",
        .model_types = "llama",
        .prefixes = "model.",
        .ignored = "layers.{l}.self_attn.rotary_emb.inv_freq",
        .norm = OTIMES_NORM_RMS,
        .positions = OTIMES_POSITIONS_ROPE,
        .mlp = OTIMES_MLP_GATED,
        .activation_names = "hidden_act",
        .config = llama_config,
        .tensors = {llama_tensors, llama_biases},
    },
    {
        .name = "mistral",
        .model_types = "mistral",
        .prefixes = "model.",
        .ignored = "layers.{l}.self_attn.rotary_emb.inv_freq",
        .norm = OTIMES_NORM_RMS,
        .positions = OTIMES_POSITIONS_ROPE,
        .mlp = OTIMES_MLP_GATED,
        .activation_names = "hidden_act",
        .config = llama_config,
        .tensors = {llama_tensors, NULL},
    },
    {
        .name = "qwen2",
        .model_types = "qwen2",
        .prefixes = "model.",
        .ignored = "layers.{l}.self_attn.rotary_emb.inv_freq",
        .norm = OTIMES_NORM_RMS,
        .positions = OTIMES_POSITIONS_ROPE,
        .mlp = OTIMES_MLP_GATED,
        .activation_names = "hidden_act",
        .window_switch = "use_sliding_window",
        .config = llama_config,
        .tensors = {llama_tensors, qwen2_biases},
    },
    {
        .name = "transformer_lens",
        .model_types = "transformer_lens",
        .signature = "blocks.0.attn.W_Q",
        .prefixes = "",
        .ignored = "blocks.{l}.attn.mask|blocks.{l}.attn.IGNORE|blocks.{l}.attn.rotary_sin|"
                   "blocks.{l}.attn.rotary_cos",
        .config_says_kind = true,
        .activation_names = "act_fn",
        .scale_switch = "use_attn_scale",
        .refused = "parallel_attn_mlp|post_embedding_ln|use_normalization_before_and_after|"
                   "use_qk_norm|num_experts",
        .config = transformer_lens_config,
        .tensors = {transformer_lens_tensors, NULL},
    },
};

const int otimes_arch_count = (int)(sizeof otimes_archs / sizeof otimes_archs[0]);

static const struct {
    const char *label, *layout;
    otimes_model_part part;
} slots[OTIMES_SLOT_COUNT] = {
#define SLOT_ROW(name, label, layout, part) {label, layout, OTIMES_MODEL_PART_##part},
    OTIMES_SLOTS(SLOT_ROW)
#undef SLOT_ROW
};

static const char *const part_labels[OTIMES_MODEL_PART_COUNT] = {
#define PART_ROW(name, label) label,
    OTIMES_MODEL_PARTS(PART_ROW)
#undef PART_ROW
};

const char *otimes_slot_label(otimes_slot slot)
{
    return slots[slot].label;
}

const char *otimes_slot_layout(otimes_slot slot)
{
    return slots[slot].layout;
}

otimes_model_part otimes_slot_part(otimes_slot slot)
{
    return slots[slot].part;
}

const char *otimes_model_part_label(otimes_model_part part)
{
    return part_labels[part];
}

const otimes_arch *otimes_arch_by_type(const char *model_type)
{
    for (int i = 0; i < otimes_arch_count; i++) {
        if (otimes_names_contain(otimes_archs[i].model_types, model_type)) {
            return &otimes_archs[i];
        }
    }
    return NULL;
}

const otimes_tensor_rule *otimes_arch_rule(const otimes_arch *arch, int index)
{
    for (int list = 0; list < 2 && arch->tensors[list]; list++) {
        for (const otimes_tensor_rule *rule = arch->tensors[list]; rule->name; rule++) {
            if (index-- == 0) {
                return rule;
            }
        }
    }
    return NULL;
}

/* The first '|'-separated name and where the next begins. */
static size_t first_name(const char *names, const char **next)
{
    const char *end = strchr(names, '|');
    *next = end ? end + 1 : NULL;
    return end ? (size_t)(end - names) : strlen(names);
}

bool otimes_names_contain(const char *names, const char *item)
{
    while (names) {
        const char *next;
        const size_t length = first_name(names, &next);
        if (strlen(item) == length && strncmp(names, item, length) == 0) {
            return true;
        }
        names = next;
    }
    return false;
}

/* A layer number without leading zeros, of at most 6 digits; how many characters it takes. */
static size_t read_layer(const char *text, int64_t *layer)
{
    size_t length = 0;
    *layer = 0;
    while (text[length] >= '0' && text[length] <= '9' && length < 6) {
        *layer = 10 * *layer + (text[length++] - '0');
    }
    return length > 1 && text[0] == '0' ? 0 : length;
}

static bool match_one(const char *pattern, size_t length, const char *name, int64_t *layer)
{
    const char *const end = pattern + length;
    *layer = -1;
    while (pattern < end) {
        if (end - pattern >= 3 && strncmp(pattern, "{l}", 3) == 0) {
            const size_t digits = read_layer(name, layer);
            if (digits == 0) {
                return false;
            }
            pattern += 3;
            name += digits;
        } else if (*pattern++ != *name++) {
            return false;
        }
    }
    return *name == '\0';
}

bool otimes_names_match(const char *patterns, const char *name, int64_t *layer)
{
    while (patterns) {
        const char *next;
        const size_t length = first_name(patterns, &next);
        if (match_one(patterns, length, name, layer)) {
            return true;
        }
        patterns = next;
    }
    return false;
}
