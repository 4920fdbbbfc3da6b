/* SPDX-License-Identifier: MIT
 *
 * Names and layouts of tensors, shared by the rows of the architecture table.
 */
#ifndef OTIMES_MODEL_ARCH_NAMES_H
#define OTIMES_MODEL_ARCH_NAMES_H

#include "model/arch.h"

/* Files in the manner of Hugging Face's Llama, in parts that families combine. */
extern const otimes_tensor_rule otimes_names_llama[];        /* both ends, q, k, v and o */
extern const otimes_tensor_rule otimes_names_llama_fused[];  /* the same with one qkv matrix */
extern const otimes_tensor_rule otimes_names_llama_norms[];  /* before attention and MLP */
extern const otimes_tensor_rule otimes_names_ln_biases[];    /* of those norms */
extern const otimes_tensor_rule otimes_names_shared_norm[];  /* one norm for both */
extern const otimes_tensor_rule otimes_names_sandwich[];     /* before and after (Gemma 2) */
extern const otimes_tensor_rule otimes_names_post_norms[];   /* after alone (OLMo 2) */
extern const otimes_tensor_rule otimes_names_gated[];        /* gate, up and down */
extern const otimes_tensor_rule otimes_names_gate_up[];      /* gate and up in one matrix */
extern const otimes_tensor_rule otimes_names_fc[];           /* plain, c_fc and c_proj */
extern const otimes_tensor_rule otimes_names_llama_biases[]; /* optional, everywhere */
extern const otimes_tensor_rule otimes_names_qkv_biases[];
extern const otimes_tensor_rule otimes_names_head_norms[]; /* of queries and keys, one for all */
extern const otimes_tensor_rule otimes_names_own_head_norms[]; /* one a head */
extern const otimes_tensor_rule otimes_names_wide_norms[];     /* over all heads */
extern const otimes_tensor_rule otimes_names_mixtral[];
extern const otimes_tensor_rule otimes_names_experts[];
extern const otimes_tensor_rule otimes_names_shared_expert[];
extern const otimes_tensor_rule otimes_names_gpt_oss[];

/* Whole files. */
extern const otimes_tensor_rule otimes_names_bloom[];
extern const otimes_tensor_rule otimes_names_falcon[];
extern const otimes_tensor_rule otimes_names_gpt2[];
extern const otimes_tensor_rule otimes_names_gpt_bigcode[];
extern const otimes_tensor_rule otimes_names_gpt_neo[];
extern const otimes_tensor_rule otimes_names_gpt_neox[];
extern const otimes_tensor_rule otimes_names_gptj[];
extern const otimes_tensor_rule otimes_names_meta[]; /* Meta's own Llama files, llama2.c */
extern const otimes_tensor_rule otimes_names_mpt[];
extern const otimes_tensor_rule otimes_names_nanogpt[];
extern const otimes_tensor_rule otimes_names_opt[];
extern const otimes_tensor_rule otimes_names_phi[];
extern const otimes_tensor_rule otimes_names_progress[];
extern const otimes_tensor_rule otimes_names_transformer_lens[];

/* Where configurations keep the numbers. */
extern const otimes_config_rule otimes_config_llama[];
extern const otimes_config_rule otimes_config_quarter_rotary[];
extern const otimes_config_rule otimes_config_half_rotary[];
extern const otimes_config_rule otimes_config_fifth_eps[];
extern const otimes_config_rule otimes_config_olmo[];
extern const otimes_config_rule otimes_config_cohere[];
extern const otimes_config_rule otimes_config_granite[];
extern const otimes_config_rule otimes_config_experts[];
extern const otimes_config_rule otimes_config_all_experts[];
extern const otimes_config_rule otimes_config_gemma[];
extern const otimes_config_rule otimes_config_gemma2[];
extern const otimes_config_rule otimes_config_gemma3[];
extern const otimes_config_rule otimes_config_gpt2[];
extern const otimes_config_rule otimes_config_gptj[];
extern const otimes_config_rule otimes_config_gpt_neo[];
extern const otimes_config_rule otimes_config_nanogpt[];
extern const otimes_config_rule otimes_config_bloom[];
extern const otimes_config_rule otimes_config_falcon[];
extern const otimes_config_rule otimes_config_meta[];
extern const otimes_config_rule otimes_config_mpt[];
extern const otimes_config_rule otimes_config_opt[];
extern const otimes_config_rule otimes_config_transformer_lens[];

/* GGUF names all families nearly alike. */
extern const otimes_naming otimes_gguf_plain;
extern const otimes_naming otimes_gguf_pairs; /* queries and keys in adjacent rotary pairs */
extern const otimes_naming otimes_gguf_wide;  /* norms of queries and keys over all heads */
extern const otimes_naming otimes_gguf_cohere, otimes_gguf_falcon, otimes_gguf_gemma;
extern const otimes_naming otimes_gguf_gpt_oss, otimes_gguf_granite;
extern const otimes_naming otimes_gguf_phi3;

/* A table's lines. */
#define OTIMES_WEIGHT(slot, name, layout, need) \
    {OTIMES_SLOT_##slot, name, layout, OTIMES_NEED_##need, 0}
#define OTIMES_PIECE(slot, name, layout, need, piece) \
    {OTIMES_SLOT_##slot, name, layout, OTIMES_NEED_##need, piece}
#define OTIMES_END_OF_NAMES {OTIMES_SLOT_COUNT, NULL, NULL, OTIMES_NEED_ALWAYS, 0}
#define OTIMES_END_OF_CONFIG {0, NULL, 0}

#endif
