/* SPDX-License-Identifier: MIT
 *
 * GGUF: one list of names for all families. Converters (llama.cpp's convert_hf_to_gguf.py) have
 * transposed Conv1D, regrouped fused matrices into q | k | v, and added 1 to Gemma's norms already.
 */
#include "model/arch_names.h"

#define WEIGHT OTIMES_WEIGHT
#define PIECE OTIMES_PIECE
#define END OTIMES_END_OF_NAMES

static const otimes_tensor_rule common[] = {
    WEIGHT(W_E, "token_embd.weight", "v d", ALWAYS),
    WEIGHT(EMBED_LN_W, "token_embd_norm.weight", "d", OPTIONAL),
    WEIGHT(EMBED_LN_B, "token_embd_norm.bias", "d", OPTIONAL),
    WEIGHT(W_POS, "position_embd.weight", "c d", POSITIONS),
    PIECE(W_Q, "blk.{l}.attn_qkv.weight", "([h k k] e) d", OPTIONAL, 0),
    PIECE(W_K, "blk.{l}.attn_qkv.weight", "([h k k] e) d", OPTIONAL, 1),
    PIECE(W_V, "blk.{l}.attn_qkv.weight", "([h k k] e) d", OPTIONAL, 2),
    PIECE(B_Q, "blk.{l}.attn_qkv.bias", "([h k k] e)", OPTIONAL, 0),
    PIECE(B_K, "blk.{l}.attn_qkv.bias", "([h k k] e)", OPTIONAL, 1),
    PIECE(B_V, "blk.{l}.attn_qkv.bias", "([h k k] e)", OPTIONAL, 2),
    WEIGHT(W_V, "blk.{l}.attn_v.weight", "(k e) d", ALWAYS),
    WEIGHT(B_V, "blk.{l}.attn_v.bias", "(k e)", OPTIONAL),
    WEIGHT(W_O, "blk.{l}.attn_output.weight", "d (h e)", ALWAYS),
    WEIGHT(B_O, "blk.{l}.attn_output.bias", "d", OPTIONAL),
    WEIGHT(SINKS, "blk.{l}.attn_sinks.weight", "h", OPTIONAL),
    WEIGHT(B_GATE, "blk.{l}.ffn_gate.bias", "m", OPTIONAL),
    WEIGHT(B_IN, "blk.{l}.ffn_up.bias", "m", OPTIONAL),
    WEIGHT(B_OUT, "blk.{l}.ffn_down.bias", "d", OPTIONAL),
    WEIGHT(ROUTER_W, "blk.{l}.ffn_gate_inp.weight", "x d", EXPERTS),
    WEIGHT(ROUTER_B, "blk.{l}.ffn_gate_inp.bias", "x", OPTIONAL),
    WEIGHT(EXPERT_GATE, "blk.{l}.ffn_gate_exps.weight", "x n d", EXPERTS),
    WEIGHT(EXPERT_IN, "blk.{l}.ffn_up_exps.weight", "x n d", EXPERTS),
    WEIGHT(EXPERT_OUT, "blk.{l}.ffn_down_exps.weight", "x d n", EXPERTS),
    WEIGHT(EXPERT_B_GATE, "blk.{l}.ffn_gate_exps.bias", "x n", OPTIONAL),
    WEIGHT(EXPERT_B_IN, "blk.{l}.ffn_up_exps.bias", "x n", OPTIONAL),
    WEIGHT(EXPERT_B_OUT, "blk.{l}.ffn_down_exps.bias", "x d", OPTIONAL),
    WEIGHT(SHARED_GATE, "blk.{l}.ffn_gate_shexp.weight", "s d", SHARED),
    WEIGHT(SHARED_IN, "blk.{l}.ffn_up_shexp.weight", "s d", SHARED),
    WEIGHT(SHARED_OUT, "blk.{l}.ffn_down_shexp.weight", "d s", SHARED),
    WEIGHT(SHARED_ROUTER, "blk.{l}.ffn_gate_inp_shexp.weight", "d", SHARED),
    WEIGHT(LNF_W, "output_norm.weight", "d", NORM),
    WEIGHT(LNF_B, "output_norm.bias", "d", OPTIONAL),
    WEIGHT(W_U, "output.weight", "u d", ALWAYS),
    WEIGHT(B_U, "output.bias", "u", OPTIONAL),
    END,
};

static const otimes_tensor_rule norms[] = {
    WEIGHT(LN1_W, "blk.{l}.attn_norm.weight", "d", OPTIONAL),
    WEIGHT(LN1_B, "blk.{l}.attn_norm.bias", "d", OPTIONAL),
    WEIGHT(LN1_POST_W, "blk.{l}.post_attention_norm.weight", "d", OPTIONAL),
    WEIGHT(LN2_W, "blk.{l}.ffn_norm.weight", "d", OPTIONAL),
    WEIGHT(LN2_B, "blk.{l}.ffn_norm.bias", "d", OPTIONAL),
    WEIGHT(LN2_POST_W, "blk.{l}.post_ffw_norm.weight", "d", OPTIONAL),
    END,
};

/* A block with two norms has that of attention under another name; with one, both read it. */
static const otimes_tensor_rule falcon_norms[] = {
    WEIGHT(LN1_W, "blk.{l}.attn_norm_2.weight", "d", OPTIONAL),
    WEIGHT(LN1_B, "blk.{l}.attn_norm_2.bias", "d", OPTIONAL),
    WEIGHT(LN2_W, "blk.{l}.attn_norm.weight", "d", ALWAYS),
    WEIGHT(LN2_B, "blk.{l}.attn_norm.bias", "d", ALWAYS),
    END,
};

/* The norm before the experts is named after its place behind attention. */
static const otimes_tensor_rule gpt_oss_norms[] = {
    WEIGHT(LN1_W, "blk.{l}.attn_norm.weight", "d", ALWAYS),
    WEIGHT(LN2_W, "blk.{l}.post_attention_norm.weight", "d", ALWAYS),
    END,
};

static const otimes_tensor_rule mlp[] = {
    WEIGHT(W_GATE, "blk.{l}.ffn_gate.weight", "m d", GATE),
    WEIGHT(W_IN, "blk.{l}.ffn_up.weight", "m d", MLP),
    WEIGHT(W_OUT, "blk.{l}.ffn_down.weight", "d m", MLP),
    END,
};

/* One matrix for gate and up, the gate first. */
static const otimes_tensor_rule gate_up[] = {
    PIECE(W_GATE, "blk.{l}.ffn_up.weight", "[m m] d", GATE, 0),
    PIECE(W_IN, "blk.{l}.ffn_up.weight", "[m m] d", MLP, 1),
    WEIGHT(W_OUT, "blk.{l}.ffn_down.weight", "d m", MLP),
    END,
};

static const otimes_tensor_rule plain[] = {
    WEIGHT(W_Q, "blk.{l}.attn_q.weight", "(h e) d", ALWAYS),
    WEIGHT(W_K, "blk.{l}.attn_k.weight", "(k e) d", ALWAYS),
    WEIGHT(B_Q, "blk.{l}.attn_q.bias", "(h e)", OPTIONAL),
    WEIGHT(B_K, "blk.{l}.attn_k.bias", "(k e)", OPTIONAL),
    END,
};

static const otimes_tensor_rule pairs[] = {
    WEIGHT(W_Q, "blk.{l}.attn_q.weight", "(h r) d", ALWAYS),
    WEIGHT(W_K, "blk.{l}.attn_k.weight", "(k r) d", ALWAYS),
    WEIGHT(B_Q, "blk.{l}.attn_q.bias", "(h r)", OPTIONAL),
    WEIGHT(B_K, "blk.{l}.attn_k.bias", "(k r)", OPTIONAL),
    END,
};

static const otimes_tensor_rule head_norms[] = {
    WEIGHT(Q_NORM_W, "blk.{l}.attn_q_norm.weight", "e", OPTIONAL),
    WEIGHT(K_NORM_W, "blk.{l}.attn_k_norm.weight", "e", OPTIONAL),
    END,
};

static const otimes_tensor_rule own_head_norms[] = {
    WEIGHT(Q_NORM_W, "blk.{l}.attn_q_norm.weight", "h e", OPTIONAL),
    WEIGHT(K_NORM_W, "blk.{l}.attn_k_norm.weight", "k e", OPTIONAL),
    END,
};

static const otimes_tensor_rule wide_norms[] = {
    WEIGHT(Q_NORM_W, "blk.{l}.attn_q_norm.weight", "(h e)", OPTIONAL),
    WEIGHT(K_NORM_W, "blk.{l}.attn_k_norm.weight", "(k e)", OPTIONAL),
    END,
};

/* The reader puts the architecture's own metadata under "arch". */
#define NUMBERS                                                                            \
    {OTIMES_DIM_D_MODEL, "arch.embedding_length", OTIMES_REQUIRED},                        \
        {OTIMES_NUMBER_N_LAYERS, "arch.block_count", OTIMES_REQUIRED},                     \
        {OTIMES_DIM_N_HEADS, "arch.attention.head_count", OTIMES_REQUIRED},                \
        {OTIMES_DIM_N_KV_HEADS, "arch.attention.head_count_kv", OTIMES_DERIVED},           \
        {OTIMES_DIM_D_HEAD, "arch.attention.key_length", OTIMES_DERIVED},                  \
        {OTIMES_DIM_D_MLP, "arch.feed_forward_length", OTIMES_DERIVED},                    \
        {OTIMES_DIM_N_CTX, "arch.context_length", OTIMES_DERIVED},                         \
        {OTIMES_DIM_N_EXPERTS, "arch.expert_count", OTIMES_DERIVED},                       \
        {OTIMES_DIM_D_EXPERT, "arch.expert_feed_forward_length", OTIMES_DERIVED},          \
        {OTIMES_DIM_D_SHARED, "arch.expert_shared_feed_forward_length", OTIMES_DERIVED},   \
        {OTIMES_NUMBER_N_ACTIVE, "arch.expert_used_count", OTIMES_DERIVED},                \
        {OTIMES_NUMBER_EPS,                                                                \
         "arch.attention.layer_norm_rms_epsilon|arch.attention.layer_norm_epsilon", 1e-5}, \
        {OTIMES_NUMBER_ROPE_THETA, "arch.rope.freq_base", 10000},                          \
        {OTIMES_NUMBER_ROPE_THETA_LOCAL, "arch.rope.freq_base_swa", OTIMES_DERIVED},       \
        {OTIMES_NUMBER_ROTARY_DIM, "arch.rope.dimension_count", OTIMES_DERIVED},           \
        {OTIMES_NUMBER_SLIDING_WINDOW, "arch.attention.sliding_window", OTIMES_DERIVED},   \
        {OTIMES_NUMBER_EMBED_SCALE, "arch.embedding_scale", OTIMES_DERIVED},               \
        {OTIMES_NUMBER_RESIDUAL_SCALE, "arch.residual_scale", OTIMES_DERIVED},             \
        {OTIMES_NUMBER_ATTN_MULTIPLIER, "arch.attention.scale", OTIMES_DERIVED},           \
        {OTIMES_NUMBER_ATTN_SOFTCAP, "arch.attn_logit_softcapping", OTIMES_DERIVED},       \
        {OTIMES_NUMBER_FINAL_SOFTCAP, "arch.final_logit_softcapping", OTIMES_DERIVED},     \
        {OTIMES_NUMBER_CLIP_QKV, "arch.attention.clamp_kqv", OTIMES_DERIVED},              \
        {OTIMES_NUMBER_ALIBI_MAX, "arch.attention.max_alibi_bias", 8}

static const otimes_config_rule config[] = {
    NUMBERS,
    OTIMES_END_OF_CONFIG,
};

static const otimes_config_rule cohere_config[] = {
    NUMBERS,
    {OTIMES_NUMBER_LOGIT_SCALE, "arch.logit_scale", OTIMES_DERIVED},
    OTIMES_END_OF_CONFIG,
};

static const otimes_config_rule granite_config[] = {
    NUMBERS,
    {OTIMES_NUMBER_LOGIT_DIVISOR, "arch.logit_scale", OTIMES_DERIVED},
    OTIMES_END_OF_CONFIG,
};

/* query_pre_attn_scalar is not in the file: d_head in every published model but the 27B ones, whose
 * heads are 128 wide and which take d_model / n_heads. */
static const otimes_config_rule gemma_config[] = {
    NUMBERS,
    {OTIMES_NUMBER_EMBED_SCALE, "", OTIMES_ROOT_D_MODEL},
    {OTIMES_NUMBER_QUERY_SCALAR, "", OTIMES_WIDTH_OF_HEAD},
    OTIMES_END_OF_CONFIG,
};

#define IGNORED "rope_freqs.weight|rope_factors_long.weight|rope_factors_short.weight"

#define NAMING(config, ...)     \
    {                           \
        "", IGNORED, config,    \
        {                       \
            common, __VA_ARGS__ \
        }                       \
    }

const otimes_naming otimes_gguf_plain = NAMING(config, norms, plain, mlp, head_norms);
const otimes_naming otimes_gguf_pairs = NAMING(config, norms, pairs, mlp, head_norms);
const otimes_naming otimes_gguf_wide = NAMING(config, norms, plain, mlp, wide_norms);
const otimes_naming otimes_gguf_cohere = NAMING(cohere_config, norms, plain, mlp, own_head_norms);
const otimes_naming otimes_gguf_falcon = NAMING(config, falcon_norms, plain, mlp);
const otimes_naming otimes_gguf_gemma = NAMING(gemma_config, norms, plain, mlp, head_norms);
const otimes_naming otimes_gguf_gpt_oss = NAMING(config, gpt_oss_norms, plain, mlp);
const otimes_naming otimes_gguf_granite = NAMING(granite_config, norms, pairs, mlp);
const otimes_naming otimes_gguf_phi3 = NAMING(config, norms, plain, gate_up);
