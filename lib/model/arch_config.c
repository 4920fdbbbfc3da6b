/* SPDX-License-Identifier: MIT
 *
 * Where configurations keep the numbers of each family.
 */
#include "model/arch_names.h"

#define END_OF_CONFIG OTIMES_END_OF_CONFIG

#define LLAMA_SIZES                                                            \
    {OTIMES_DIM_D_MODEL, "hidden_size", OTIMES_REQUIRED},                      \
        {OTIMES_NUMBER_N_LAYERS, "num_hidden_layers", OTIMES_REQUIRED},        \
        {OTIMES_DIM_N_HEADS, "num_attention_heads", OTIMES_REQUIRED},          \
        {OTIMES_DIM_N_KV_HEADS, "num_key_value_heads", OTIMES_DERIVED},        \
        {OTIMES_DIM_D_HEAD, "head_dim", OTIMES_DERIVED},                       \
        {OTIMES_DIM_D_MLP, "intermediate_size", OTIMES_REQUIRED},              \
        {OTIMES_DIM_D_VOCAB, "vocab_size", OTIMES_REQUIRED},                   \
        {OTIMES_DIM_N_CTX, "max_position_embeddings", 32768},                  \
        {OTIMES_NUMBER_EPS, "rms_norm_eps|layer_norm_eps|norm_epsilon", 1e-6}, \
    {                                                                          \
        OTIMES_NUMBER_SLIDING_WINDOW, "sliding_window", OTIMES_DERIVED         \
    }

#define ROTARY(theta, fraction)                                                                 \
    {OTIMES_NUMBER_ROPE_THETA, "rope_theta|rope_parameters.rope_theta|rotary_emb_base", theta}, \
    {                                                                                           \
        OTIMES_NUMBER_ROTARY_FRACTION,                                                          \
            "partial_rotary_factor|rope_parameters.partial_rotary_factor|rotary_pct", fraction  \
    }

const otimes_config_rule otimes_config_llama[] = {
    LLAMA_SIZES,
    ROTARY(10000, 1),
    {OTIMES_NUMBER_WINDOW_FROM, "max_window_layers", OTIMES_DERIVED},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_quarter_rotary[] = {
    LLAMA_SIZES,
    {OTIMES_NUMBER_EPS, "rms_norm_eps|layer_norm_eps|norm_epsilon", 1e-5},
    ROTARY(10000, 0.25),
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_half_rotary[] = {
    LLAMA_SIZES,
    {OTIMES_NUMBER_EPS, "rms_norm_eps|layer_norm_eps|norm_epsilon", 1e-5},
    ROTARY(10000, 0.5),
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_fifth_eps[] = {
    LLAMA_SIZES,
    {OTIMES_NUMBER_EPS, "rms_norm_eps|layer_norm_eps|norm_epsilon", 1e-5},
    ROTARY(10000, 1),
    END_OF_CONFIG,
};

/* OLMo's norm has no settings. */
const otimes_config_rule otimes_config_olmo[] = {
    LLAMA_SIZES,
    ROTARY(10000, 1),
    {OTIMES_NUMBER_EPS, "", 1e-5},
    {OTIMES_NUMBER_CLIP_QKV, "clip_qkv", OTIMES_DERIVED},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_cohere[] = {
    LLAMA_SIZES,
    ROTARY(500000, 1),
    {OTIMES_NUMBER_EPS, "layer_norm_eps", 1e-5},
    {OTIMES_NUMBER_LOGIT_SCALE, "logit_scale", 0.0625},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_granite[] = {
    LLAMA_SIZES,
    ROTARY(10000, 1),
    {OTIMES_NUMBER_EMBED_SCALE, "embedding_multiplier", OTIMES_DERIVED},
    {OTIMES_NUMBER_RESIDUAL_SCALE, "residual_multiplier", OTIMES_DERIVED},
    {OTIMES_NUMBER_LOGIT_DIVISOR, "logits_scaling", OTIMES_DERIVED},
    {OTIMES_NUMBER_ATTN_MULTIPLIER, "attention_multiplier", OTIMES_DERIVED},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_experts[] = {
    LLAMA_SIZES,
    ROTARY(10000, 1),
    {OTIMES_DIM_N_EXPERTS, "num_experts|num_local_experts", OTIMES_DERIVED},
    {OTIMES_DIM_D_EXPERT, "moe_intermediate_size", OTIMES_DERIVED},
    {OTIMES_DIM_D_SHARED, "shared_expert_intermediate_size", OTIMES_DERIVED},
    {OTIMES_NUMBER_N_ACTIVE, "num_experts_per_tok", OTIMES_REQUIRED},
    {OTIMES_NUMBER_WINDOW_FROM, "max_window_layers", OTIMES_DERIVED},
    END_OF_CONFIG,
};

/* Every layer has experts: intermediate_size is theirs. */
const otimes_config_rule otimes_config_all_experts[] = {
    LLAMA_SIZES,
    ROTARY(1000000, 1),
    {OTIMES_DIM_N_EXPERTS, "num_local_experts", OTIMES_REQUIRED},
    {OTIMES_DIM_D_EXPERT, "intermediate_size", OTIMES_REQUIRED},
    {OTIMES_NUMBER_N_ACTIVE, "num_experts_per_tok|experts_per_token", OTIMES_REQUIRED},
    {OTIMES_NUMBER_SWIGLU_LIMIT, "swiglu_limit", OTIMES_DERIVED},
    END_OF_CONFIG,
};

/* W_E is multiplied by the root of d_model on the way in. */
#define GEMMA_NUMBERS                                                           \
    {OTIMES_NUMBER_EMBED_SCALE, "", OTIMES_ROOT_D_MODEL},                       \
        {OTIMES_NUMBER_QUERY_SCALAR, "query_pre_attn_scalar", OTIMES_DERIVED},  \
        {OTIMES_NUMBER_ATTN_SOFTCAP, "attn_logit_softcapping", OTIMES_DERIVED}, \
    {                                                                           \
        OTIMES_NUMBER_FINAL_SOFTCAP, "final_logit_softcapping", OTIMES_DERIVED  \
    }

const otimes_config_rule otimes_config_gemma[] = {
    LLAMA_SIZES,
    ROTARY(10000, 1),
    {OTIMES_NUMBER_EMBED_SCALE, "", OTIMES_ROOT_D_MODEL},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_gemma2[] = {
    LLAMA_SIZES,   ROTARY(10000, 1),
    GEMMA_NUMBERS, {OTIMES_NUMBER_WINDOW_PATTERN, "sliding_window_pattern", OTIMES_DERIVED},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_gemma3[] = {
    LLAMA_SIZES,
    GEMMA_NUMBERS,
    {OTIMES_NUMBER_ROPE_THETA, "rope_theta|rope_parameters.full_attention.rope_theta", 1000000},
    {OTIMES_NUMBER_ROPE_THETA_LOCAL,
     "rope_local_base_freq|rope_parameters.sliding_attention.rope_theta", 10000},
    {OTIMES_NUMBER_ROTARY_FRACTION, "partial_rotary_factor", 1},
    {OTIMES_NUMBER_WINDOW_PATTERN, "sliding_window_pattern|_sliding_window_pattern",
     OTIMES_DERIVED},
    END_OF_CONFIG,
};

#define GPT2_SIZES                                                              \
    {OTIMES_DIM_D_MODEL, "n_embd|hidden_size", OTIMES_REQUIRED},                \
        {OTIMES_NUMBER_N_LAYERS, "n_layer|num_hidden_layers", OTIMES_REQUIRED}, \
        {OTIMES_DIM_N_HEADS, "n_head|num_attention_heads", OTIMES_REQUIRED},    \
        {OTIMES_DIM_D_MLP, "n_inner", OTIMES_DERIVED},                          \
        {OTIMES_DIM_D_VOCAB, "vocab_size", OTIMES_REQUIRED},                    \
        {OTIMES_DIM_N_CTX, "n_positions|n_ctx", OTIMES_REQUIRED},               \
        {OTIMES_NUMBER_EPS, "layer_norm_epsilon", 1e-5}

const otimes_config_rule otimes_config_gpt2[] = {
    GPT2_SIZES,
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_gptj[] = {
    GPT2_SIZES,
    {OTIMES_NUMBER_ROPE_THETA, "", 10000},
    {OTIMES_NUMBER_ROTARY_DIM, "rotary_dim", 64},
    END_OF_CONFIG,
};

/* Scores are not divided at all. */
const otimes_config_rule otimes_config_gpt_neo[] = {
    {OTIMES_DIM_D_MODEL, "hidden_size", OTIMES_REQUIRED},
    {OTIMES_NUMBER_N_LAYERS, "num_layers|num_hidden_layers", OTIMES_REQUIRED},
    {OTIMES_DIM_N_HEADS, "num_heads|num_attention_heads", OTIMES_REQUIRED},
    {OTIMES_DIM_D_MLP, "intermediate_size", OTIMES_DERIVED},
    {OTIMES_DIM_D_VOCAB, "vocab_size", OTIMES_REQUIRED},
    {OTIMES_DIM_N_CTX, "max_position_embeddings", OTIMES_REQUIRED},
    {OTIMES_NUMBER_EPS, "layer_norm_epsilon", 1e-5},
    {OTIMES_NUMBER_SLIDING_WINDOW, "window_size", 256},
    {OTIMES_NUMBER_ATTN_DIVISOR, "", 1},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_nanogpt[] = {
    {OTIMES_DIM_D_MODEL, "n_embd|model_args.n_embd|model.n_embd", OTIMES_REQUIRED},
    {OTIMES_NUMBER_N_LAYERS, "n_layer|model_args.n_layer|model.n_layer", OTIMES_DERIVED},
    {OTIMES_DIM_N_HEADS, "n_head|model_args.n_head|model.n_head", OTIMES_REQUIRED},
    {OTIMES_DIM_D_MLP, "n_inner", OTIMES_DERIVED},
    {OTIMES_DIM_D_VOCAB, "vocab_size|model_args.vocab_size|model.vocab_size", OTIMES_DERIVED},
    {OTIMES_DIM_N_CTX, "block_size|model_args.block_size|model.block_size", OTIMES_DERIVED},
    {OTIMES_NUMBER_EPS, "layer_norm_epsilon", 1e-5},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_bloom[] = {
    {OTIMES_DIM_D_MODEL, "hidden_size|n_embed", OTIMES_REQUIRED},
    {OTIMES_NUMBER_N_LAYERS, "n_layer|num_hidden_layers", OTIMES_REQUIRED},
    {OTIMES_DIM_N_HEADS, "n_head|num_attention_heads", OTIMES_REQUIRED},
    {OTIMES_DIM_D_VOCAB, "vocab_size", OTIMES_REQUIRED},
    {OTIMES_DIM_N_CTX, "seq_length", 2048},
    {OTIMES_NUMBER_EPS, "layer_norm_epsilon", 1e-5},
    {OTIMES_NUMBER_ALIBI_MAX, "", 8},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_falcon[] = {
    {OTIMES_DIM_D_MODEL, "hidden_size|n_embed", OTIMES_REQUIRED},
    {OTIMES_NUMBER_N_LAYERS, "num_hidden_layers|n_layer", OTIMES_REQUIRED},
    {OTIMES_DIM_N_HEADS, "num_attention_heads|n_head", OTIMES_REQUIRED},
    {OTIMES_DIM_N_KV_HEADS, "num_kv_heads|n_head_kv", OTIMES_DERIVED},
    {OTIMES_DIM_D_MLP, "ffn_hidden_size", OTIMES_DERIVED},
    {OTIMES_DIM_D_VOCAB, "vocab_size", OTIMES_REQUIRED},
    {OTIMES_DIM_N_CTX, "max_position_embeddings", 2048},
    {OTIMES_NUMBER_EPS, "layer_norm_epsilon", 1e-5},
    {OTIMES_NUMBER_ALIBI_MAX, "", 8},
    ROTARY(10000, 1),
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_meta[] = {
    {OTIMES_DIM_D_MODEL, "dim|model_args.dim", OTIMES_DERIVED},
    {OTIMES_NUMBER_N_LAYERS, "n_layers|model_args.n_layers", OTIMES_DERIVED},
    {OTIMES_DIM_N_HEADS, "n_heads|model_args.n_heads", OTIMES_REQUIRED},
    {OTIMES_DIM_N_KV_HEADS, "n_kv_heads|model_args.n_kv_heads", OTIMES_DERIVED},
    {OTIMES_DIM_N_CTX, "max_seq_len|model_args.max_seq_len", 2048},
    {OTIMES_NUMBER_EPS, "norm_eps|model_args.norm_eps", 1e-5},
    {OTIMES_NUMBER_ROPE_THETA, "rope_theta", 10000},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_mpt[] = {
    {OTIMES_DIM_D_MODEL, "d_model", OTIMES_REQUIRED},
    {OTIMES_NUMBER_N_LAYERS, "n_layers", OTIMES_REQUIRED},
    {OTIMES_DIM_N_HEADS, "n_heads", OTIMES_REQUIRED},
    {OTIMES_DIM_N_KV_HEADS, "attn_config.kv_n_heads", OTIMES_DERIVED},
    {OTIMES_DIM_D_VOCAB, "vocab_size", OTIMES_REQUIRED},
    {OTIMES_DIM_N_CTX, "max_seq_len", 2048},
    {OTIMES_NUMBER_EPS, "layer_norm_epsilon", 1e-5},
    {OTIMES_NUMBER_ALIBI_MAX, "attn_config.alibi_bias_max", 8},
    {OTIMES_NUMBER_ATTN_MULTIPLIER, "attn_config.softmax_scale", OTIMES_DERIVED},
    {OTIMES_NUMBER_CLIP_QKV, "attn_config.clip_qkv", OTIMES_DERIVED},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_opt[] = {
    {OTIMES_DIM_D_MODEL, "hidden_size", OTIMES_REQUIRED},
    {OTIMES_NUMBER_N_LAYERS, "num_hidden_layers", OTIMES_REQUIRED},
    {OTIMES_DIM_N_HEADS, "num_attention_heads", OTIMES_REQUIRED},
    {OTIMES_DIM_D_MLP, "ffn_dim", OTIMES_REQUIRED},
    {OTIMES_DIM_D_VOCAB, "vocab_size", OTIMES_REQUIRED},
    {OTIMES_DIM_N_CTX, "max_position_embeddings", OTIMES_REQUIRED},
    {OTIMES_NUMBER_EPS, "", 1e-5},
    END_OF_CONFIG,
};

const otimes_config_rule otimes_config_transformer_lens[] = {
    {OTIMES_DIM_D_MODEL, "d_model", OTIMES_DERIVED},
    {OTIMES_NUMBER_N_LAYERS, "n_layers|num_layers", OTIMES_DERIVED},
    {OTIMES_DIM_N_HEADS, "n_heads|num_heads", OTIMES_DERIVED},
    {OTIMES_DIM_N_KV_HEADS, "n_key_value_heads", OTIMES_DERIVED},
    {OTIMES_DIM_D_HEAD, "d_head", OTIMES_DERIVED},
    {OTIMES_DIM_D_MLP, "d_mlp", OTIMES_DERIVED},
    {OTIMES_DIM_D_VOCAB, "d_vocab", OTIMES_DERIVED},
    {OTIMES_DIM_D_VOCAB_OUT, "d_vocab_out", OTIMES_DERIVED},
    {OTIMES_DIM_N_CTX, "n_ctx", OTIMES_DERIVED},
    {OTIMES_DIM_N_EXPERTS, "num_experts", OTIMES_DERIVED},
    {OTIMES_NUMBER_N_ACTIVE, "experts_per_token", OTIMES_DERIVED},
    {OTIMES_NUMBER_EPS, "eps", 1e-5},
    {OTIMES_NUMBER_ROPE_THETA, "rotary_base", 10000},
    {OTIMES_NUMBER_ROPE_THETA_LOCAL, "rotary_base_local", OTIMES_DERIVED},
    {OTIMES_NUMBER_ROTARY_DIM, "rotary_dim", OTIMES_DERIVED},
    {OTIMES_NUMBER_SLIDING_WINDOW, "window_size", OTIMES_DERIVED},
    {OTIMES_NUMBER_ATTN_SOFTCAP, "attn_scores_soft_cap", OTIMES_DERIVED},
    {OTIMES_NUMBER_FINAL_SOFTCAP, "output_logits_soft_cap", OTIMES_DERIVED},
    {OTIMES_NUMBER_CLIP_QKV, "clip_qkv", OTIMES_DERIVED},
    {OTIMES_NUMBER_ALIBI_MAX, "alibi_max", 8},
    END_OF_CONFIG,
};
