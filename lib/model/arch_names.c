/* SPDX-License-Identifier: MIT
 *
 * Files in the manner of Hugging Face's Llama: nn.Linear keeps [out, in], rotary halves lie side by
 * side.
 */
#include "model/arch_names.h"

#define WEIGHT OTIMES_WEIGHT
#define PIECE OTIMES_PIECE
#define END OTIMES_END_OF_NAMES

const otimes_tensor_rule otimes_names_llama[] = {
    WEIGHT(W_E, "embed_tokens.weight", "v d", ALWAYS),
    WEIGHT(W_Q, "layers.{l}.self_attn.q_proj.weight", "(h e) d", ALWAYS),
    WEIGHT(W_K, "layers.{l}.self_attn.k_proj.weight", "(k e) d", ALWAYS),
    WEIGHT(W_V, "layers.{l}.self_attn.v_proj.weight", "(k e) d", ALWAYS),
    WEIGHT(W_O, "layers.{l}.self_attn.o_proj.weight", "d (h e)", ALWAYS),
    WEIGHT(LNF_W, "norm.weight", "d", NORM),
    WEIGHT(W_U, "lm_head.weight", "u d", ALWAYS),
    END,
};

const otimes_tensor_rule otimes_names_llama_fused[] = {
    WEIGHT(W_E, "embed_tokens.weight", "v d", ALWAYS),
    PIECE(W_Q, "layers.{l}.self_attn.qkv_proj.weight", "([h k k] e) d", ALWAYS, 0),
    PIECE(W_K, "layers.{l}.self_attn.qkv_proj.weight", "([h k k] e) d", ALWAYS, 1),
    PIECE(W_V, "layers.{l}.self_attn.qkv_proj.weight", "([h k k] e) d", ALWAYS, 2),
    WEIGHT(W_O, "layers.{l}.self_attn.o_proj.weight", "d (h e)", ALWAYS),
    WEIGHT(LNF_W, "norm.weight", "d", NORM),
    WEIGHT(W_U, "lm_head.weight", "u d", ALWAYS),
    END,
};

/* Parallel blocks with one norm have no second one, which is then the first. */
const otimes_tensor_rule otimes_names_llama_norms[] = {
    WEIGHT(LN1_W, "layers.{l}.input_layernorm.weight", "d", NORM),
    WEIGHT(LN2_W, "layers.{l}.post_attention_layernorm.weight", "d", MLP_NORM),
    END,
};

const otimes_tensor_rule otimes_names_ln_biases[] = {
    WEIGHT(LN1_B, "layers.{l}.input_layernorm.bias", "d", LN),
    WEIGHT(LN2_B, "layers.{l}.post_attention_layernorm.bias", "d", MLP_LN),
    WEIGHT(LNF_B, "norm.bias", "d", LN),
    END,
};

const otimes_tensor_rule otimes_names_shared_norm[] = {
    WEIGHT(LN1_W, "layers.{l}.input_layernorm.weight", "d", NORM),
    END,
};

const otimes_tensor_rule otimes_names_sandwich[] = {
    WEIGHT(LN1_W, "layers.{l}.input_layernorm.weight", "d", ALWAYS),
    WEIGHT(LN1_POST_W, "layers.{l}.post_attention_layernorm.weight", "d", ALWAYS),
    WEIGHT(LN2_W, "layers.{l}.pre_feedforward_layernorm.weight", "d", ALWAYS),
    WEIGHT(LN2_POST_W, "layers.{l}.post_feedforward_layernorm.weight", "d", ALWAYS),
    END,
};

const otimes_tensor_rule otimes_names_post_norms[] = {
    WEIGHT(LN1_POST_W, "layers.{l}.post_attention_layernorm.weight", "d", ALWAYS),
    WEIGHT(LN2_POST_W, "layers.{l}.post_feedforward_layernorm.weight", "d", ALWAYS),
    END,
};

const otimes_tensor_rule otimes_names_gated[] = {
    WEIGHT(W_GATE, "layers.{l}.mlp.gate_proj.weight", "m d", GATE),
    WEIGHT(W_IN, "layers.{l}.mlp.up_proj.weight", "m d", MLP),
    WEIGHT(W_OUT, "layers.{l}.mlp.down_proj.weight", "d m", MLP),
    END,
};

const otimes_tensor_rule otimes_names_gate_up[] = {
    PIECE(W_GATE, "layers.{l}.mlp.gate_up_proj.weight", "[m m] d", GATE, 0),
    PIECE(W_IN, "layers.{l}.mlp.gate_up_proj.weight", "[m m] d", MLP, 1),
    WEIGHT(W_OUT, "layers.{l}.mlp.down_proj.weight", "d m", MLP),
    END,
};

const otimes_tensor_rule otimes_names_fc[] = {
    WEIGHT(W_IN, "layers.{l}.mlp.c_fc.weight", "m d", MLP),
    WEIGHT(W_OUT, "layers.{l}.mlp.c_proj.weight", "d m", MLP),
    WEIGHT(B_IN, "layers.{l}.mlp.c_fc.bias", "m", OPTIONAL),
    WEIGHT(B_OUT, "layers.{l}.mlp.c_proj.bias", "d", OPTIONAL),
    END,
};

const otimes_tensor_rule otimes_names_llama_biases[] = {
    WEIGHT(B_Q, "layers.{l}.self_attn.q_proj.bias", "(h e)", OPTIONAL),
    WEIGHT(B_K, "layers.{l}.self_attn.k_proj.bias", "(k e)", OPTIONAL),
    WEIGHT(B_V, "layers.{l}.self_attn.v_proj.bias", "(k e)", OPTIONAL),
    WEIGHT(B_O, "layers.{l}.self_attn.o_proj.bias", "d", OPTIONAL),
    WEIGHT(B_GATE, "layers.{l}.mlp.gate_proj.bias", "m", OPTIONAL),
    WEIGHT(B_IN, "layers.{l}.mlp.up_proj.bias", "m", OPTIONAL),
    WEIGHT(B_OUT, "layers.{l}.mlp.down_proj.bias", "d", OPTIONAL),
    END,
};

const otimes_tensor_rule otimes_names_qkv_biases[] = {
    WEIGHT(B_Q, "layers.{l}.self_attn.q_proj.bias", "(h e)", ALWAYS),
    WEIGHT(B_K, "layers.{l}.self_attn.k_proj.bias", "(k e)", ALWAYS),
    WEIGHT(B_V, "layers.{l}.self_attn.v_proj.bias", "(k e)", ALWAYS),
    END,
};

const otimes_tensor_rule otimes_names_head_norms[] = {
    WEIGHT(Q_NORM_W, "layers.{l}.self_attn.q_norm.weight", "e", ALWAYS),
    WEIGHT(K_NORM_W, "layers.{l}.self_attn.k_norm.weight", "e", ALWAYS),
    END,
};

const otimes_tensor_rule otimes_names_own_head_norms[] = {
    WEIGHT(Q_NORM_W, "layers.{l}.self_attn.q_norm.weight", "h e", OPTIONAL),
    WEIGHT(K_NORM_W, "layers.{l}.self_attn.k_norm.weight", "k e", OPTIONAL),
    END,
};

const otimes_tensor_rule otimes_names_wide_norms[] = {
    WEIGHT(Q_NORM_W, "layers.{l}.self_attn.q_norm.weight", "(h e)", ALWAYS),
    WEIGHT(K_NORM_W, "layers.{l}.self_attn.k_norm.weight", "(k e)", ALWAYS),
    END,
};

/* As transformers 5 keeps them in memory, whatever their files are. */
#define STACKED_EXPERTS                                                                    \
    PIECE(EXPERT_GATE, "layers.{l}.mlp.experts.gate_up_proj", "x [n n] d", OPTIONAL, 0),   \
        PIECE(EXPERT_IN, "layers.{l}.mlp.experts.gate_up_proj", "x [n n] d", OPTIONAL, 1), \
        WEIGHT(EXPERT_OUT, "layers.{l}.mlp.experts.down_proj", "x d n", OPTIONAL)

const otimes_tensor_rule otimes_names_mixtral[] = {
    WEIGHT(ROUTER_W, "layers.{l}.block_sparse_moe.gate.weight|layers.{l}.mlp.gate.weight", "x d",
           EXPERTS),
    WEIGHT(EXPERT_GATE, "layers.{l}.block_sparse_moe.experts.{x}.w1.weight", "n d", EXPERTS),
    WEIGHT(EXPERT_OUT, "layers.{l}.block_sparse_moe.experts.{x}.w2.weight", "d n", EXPERTS),
    WEIGHT(EXPERT_IN, "layers.{l}.block_sparse_moe.experts.{x}.w3.weight", "n d", EXPERTS),
    STACKED_EXPERTS,
    END,
};

const otimes_tensor_rule otimes_names_experts[] = {
    WEIGHT(ROUTER_W, "layers.{l}.mlp.gate.weight", "x d", EXPERTS),
    WEIGHT(EXPERT_GATE, "layers.{l}.mlp.experts.{x}.gate_proj.weight", "n d", EXPERTS),
    WEIGHT(EXPERT_IN, "layers.{l}.mlp.experts.{x}.up_proj.weight", "n d", EXPERTS),
    WEIGHT(EXPERT_OUT, "layers.{l}.mlp.experts.{x}.down_proj.weight", "d n", EXPERTS),
    STACKED_EXPERTS,
    END,
};

const otimes_tensor_rule otimes_names_shared_expert[] = {
    WEIGHT(SHARED_GATE, "layers.{l}.mlp.shared_expert.gate_proj.weight", "s d", SHARED),
    WEIGHT(SHARED_IN, "layers.{l}.mlp.shared_expert.up_proj.weight", "s d", SHARED),
    WEIGHT(SHARED_OUT, "layers.{l}.mlp.shared_expert.down_proj.weight", "d s", SHARED),
    WEIGHT(SHARED_ROUTER, "layers.{l}.mlp.shared_expert_gate.weight", "1 d", SHARED),
    END,
};

/* Experts in one tensor, [in, out], gate and up in alternate columns; published ones are MXFP4,
 * [out, in]. Where neither form is there, the absence of the former is told. */
const otimes_tensor_rule otimes_names_gpt_oss[] = {
    WEIGHT(SINKS, "layers.{l}.self_attn.sinks", "h", ALWAYS),
    WEIGHT(ROUTER_W, "layers.{l}.mlp.router.weight", "x d", EXPERTS),
    WEIGHT(ROUTER_B, "layers.{l}.mlp.router.bias", "x", EXPERTS),
    PIECE(EXPERT_GATE, "layers.{l}.mlp.experts.gate_up_proj", "x d (n 2)", EXPERTS, 0),
    PIECE(EXPERT_IN, "layers.{l}.mlp.experts.gate_up_proj", "x d (n 2)", EXPERTS, 1),
    WEIGHT(EXPERT_OUT, "layers.{l}.mlp.experts.down_proj", "x n d", EXPERTS),
    PIECE(EXPERT_GATE, "layers.{l}.mlp.experts.gate_up_proj_blocks", "x (n 2) d", OPTIONAL, 0),
    PIECE(EXPERT_IN, "layers.{l}.mlp.experts.gate_up_proj_blocks", "x (n 2) d", OPTIONAL, 1),
    WEIGHT(EXPERT_OUT, "layers.{l}.mlp.experts.down_proj_blocks", "x d n", OPTIONAL),
    PIECE(EXPERT_B_GATE, "layers.{l}.mlp.experts.gate_up_proj_bias", "x (n 2)", EXPERTS, 0),
    PIECE(EXPERT_B_IN, "layers.{l}.mlp.experts.gate_up_proj_bias", "x (n 2)", EXPERTS, 1),
    WEIGHT(EXPERT_B_OUT, "layers.{l}.mlp.experts.down_proj_bias", "x d", EXPERTS),
    END,
};
