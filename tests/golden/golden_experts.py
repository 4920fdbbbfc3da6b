# SPDX-License-Identifier: MIT
"""Golden checkpoints with mixtures of experts: three experts, two to a token."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from golden_models import REMOVED, Golden, legacy, make_hf


def gpt_oss() -> Golden:
    """Sinks; experts of one tensor with gate and up in alternate columns, clamped, with biases; a
    router bias; local and global layers; YaRN with one frequency kept, one blended, one divided.
    bfloat16, not MXFP4."""
    config = transformers.GptOssConfig(
        vocab_size=20,
        hidden_size=10,
        intermediate_size=5,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        num_local_experts=3,
        num_experts_per_tok=2,
        max_position_embeddings=256,
        sliding_window=3,
        swiglu_limit=0.9,
        rms_norm_eps=1e-3,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 100.0,
            "factor": 4.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": 64,
        },
    )
    return make_hf("gpt_oss", config, 71, torch.bfloat16, bridge="")


def gpt_oss_mxfp4() -> Golden:
    """Experts as published: MXFP4 blocks and scales, [expert, out, in], the rest bfloat16; the
    other side computes with what transformers makes of them."""
    config = transformers.GptOssConfig(
        vocab_size=7,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        num_local_experts=3,
        num_experts_per_tok=2,
        max_position_embeddings=16,
        sliding_window=3,
        swiglu_limit=0.9,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    out = make_hf("gpt_oss_mxfp4", config, 76, torch.bfloat16, bridge="")
    kept = ("model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens")
    out.config["quantization_config"] = {
        "modules_to_not_convert": [*kept, "lm_head"],
        "quant_method": "mxfp4",
    }
    rng = np.random.default_rng(77)
    for name in sorted(k for k in out.tensors if k.endswith(("gate_up_proj", "down_proj"))):
        experts, d_in, d_out = out.tensors.pop(name).shape
        shape = (experts, d_out, d_in // 32)
        blocks = torch.from_numpy(rng.integers(0, 256, (*shape, 16), dtype=np.uint8))
        scales = torch.from_numpy(rng.integers(120, 126, shape, dtype=np.uint8))
        out.tensors |= {name + "_blocks": blocks, name + "_scales": scales}
        with torch.no_grad():
            values = convert_moe_packed_tensors(blocks, scales, dtype=torch.float64)
            out.hf.get_parameter(name).copy_(values)
    return out


def mixtral() -> Golden:
    """Names of Mixtral's own (w1 gate, w2 down, w3 up); weights of the chosen sum to 1. bfloat16;
    a sliding window."""
    config = transformers.MixtralConfig(
        vocab_size=20,
        hidden_size=10,
        intermediate_size=6,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        num_local_experts=3,
        num_experts_per_tok=2,
        max_position_embeddings=16,
        sliding_window=3,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    out = make_hf("mixtral", config, 72, torch.bfloat16, bridge="")
    out.config = legacy(out.config)
    return out


def qwen2_moe() -> Golden:
    """A shared expert behind its own gate; weights of the chosen do not sum to 1; q/k/v biases."""
    config = transformers.Qwen2MoeConfig(
        vocab_size=20,
        hidden_size=12,
        intermediate_size=9,
        moe_intermediate_size=5,
        shared_expert_intermediate_size=7,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_experts=3,
        num_experts_per_tok=2,
        max_position_embeddings=16,
        norm_topk_prob=False,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("qwen2_moe", config, 73, bridge="")


def qwen2_moe_dense() -> Golden:
    """The middle layer of three is dense; tied."""
    config = transformers.Qwen2MoeConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=9,
        moe_intermediate_size=5,
        shared_expert_intermediate_size=6,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_experts=3,
        num_experts_per_tok=2,
        mlp_only_layers=[1],
        max_position_embeddings=16,
        norm_topk_prob=True,
        tie_word_embeddings=True,
    )
    return make_hf("qwen2_moe_dense", config, 74, bridge="")


def qwen3_moe() -> Golden:
    """Norms of queries and keys, no shared expert; `num_experts` as published files say it."""
    config = transformers.Qwen3MoeConfig(
        vocab_size=20,
        hidden_size=10,
        intermediate_size=9,
        moe_intermediate_size=5,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        num_experts=3,
        num_experts_per_tok=2,
        max_position_embeddings=16,
        norm_topk_prob=True,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    out = make_hf("qwen3_moe", config, 75, bridge="")
    out.config = legacy(out.config, num_experts=3, num_local_experts=REMOVED)
    return out


MAKERS = {
    make.__name__: make
    for make in (gpt_oss, gpt_oss_mxfp4, mixtral, qwen2_moe, qwen2_moe_dense, qwen3_moe)
}
