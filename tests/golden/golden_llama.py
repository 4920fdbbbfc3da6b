# SPDX-License-Identifier: MIT
"""Golden checkpoints of Llama and what descends from it. Dimensions are odd on purpose: no layout
passes by luck. Sliding windows, caps, bases and epsilons are small or large enough to show."""

from __future__ import annotations

import json
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models

from golden_models import Golden, add_buffers, legacy, make_hf


def llama() -> Golden:
    """Llama: RMSNorm, grouped queries, untied; texts in tokenizer.json."""
    config = transformers.LlamaConfig(
        vocab_size=19,
        hidden_size=16,
        intermediate_size=14,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=11,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        tie_word_embeddings=False,
    )
    out = make_hf("llama", config, 2)
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        "<0x0A>",
        "<0xC3>",
        "<0xA9>",
        "▁",
        "t",
        "h",
        "e",
        "▁t",
        "he",
        "▁the",
        "é",
        "€",
        "▁▁",
        "'",
        '"',
        "😀",
    ]
    out.extra = {
        "tokenizer.json": sentencepiece_tokenizer(pieces),
        "expected_tokens.json": [p.replace("▁", " ") for p in pieces],
    }
    return out


def sentencepiece_tokenizer(pieces: list[str]) -> dict[str, Any]:
    """A tokenizer.json of the Llama kind: '▁' for a space, <0xHH> for bytes, added tokens."""
    tokenizer = Tokenizer(
        models.BPE(
            vocab={p: i for i, p in enumerate(pieces)},
            merges=[("▁", "t"), ("h", "e"), ("▁t", "he"), ("▁", "▁")],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(
        [AddedToken(p, special=True, normalized=False) for p in pieces[:3]]
    )
    assert tokenizer.encode("the", add_special_tokens=False).ids == [7, 11]
    return json.loads(tokenizer.to_str())


def llama_sharded() -> Golden:
    """The same weights in two files, with the frequencies that Llama 2's files keep."""
    one = llama()
    out = Golden("llama_sharded", one.config, one.tensors, one.logits, shards=2)
    add_buffers(out, "model.layers.{}.self_attn.", rotary_dim=4)
    return out


def llama_scaled() -> Golden:
    """Llama as 3.2 is: tied, frequencies rescaled (some kept, one blended, two divided)."""
    config = transformers.LlamaConfig(
        vocab_size=18,
        hidden_size=12,
        intermediate_size=10,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    )
    return make_hf("llama_scaled", config, 8)


def mistral() -> Golden:
    """Mistral in bfloat16: n_heads * d_head = 24 beside d_model = 10, a sliding window."""
    config = transformers.MistralConfig(
        vocab_size=21,
        hidden_size=10,
        intermediate_size=17,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        max_position_embeddings=11,
        rms_norm_eps=1e-6,
        sliding_window=3,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
    )
    out = make_hf("mistral", config, 3, torch.bfloat16)
    out.config = legacy(out.config)
    return out


def qwen2() -> Golden:
    """Qwen2 in float16: biases of q, k and v, tied, two key/value heads for four query heads."""
    config = transformers.Qwen2Config(
        vocab_size=22,
        hidden_size=15,
        intermediate_size=11,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        max_position_embeddings=13,
        rms_norm_eps=1e-6,
        use_sliding_window=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=True,
    )
    out = make_hf("qwen2", config, 4, torch.float16)
    # What Qwen's own files carry; it does not apply while use_sliding_window is false.
    out.config = legacy(out.config) | {"sliding_window": 2, "max_window_layers": 1}
    return out


def cohere() -> Golden:
    """Command R: LayerNorm without bias, one norm before a parallel block, adjacent rotary pairs,
    logits times logit_scale."""
    config = transformers.CohereConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=9,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
        layer_norm_eps=1e-3,
        logit_scale=0.3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("cohere", config, 41, bridge="")


def cohere_qk_norm() -> Golden:
    """Command R+: a LayerNorm for each query and key head; attention biases."""
    config = transformers.CohereConfig(
        vocab_size=20,
        hidden_size=12,
        intermediate_size=13,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16,
        use_qk_norm=True,
        attention_bias=True,
        logit_scale=0.8,
    )
    return make_hf("cohere_qk_norm", config, 42, bridge="")


def granite() -> Golden:
    """Four multipliers; attention and MLP biases, which the residual's multiplies too."""
    config = transformers.GraniteConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=9,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
        attention_bias=True,
        mlp_bias=True,
        embedding_multiplier=1.7,
        logits_scaling=1.3,
        residual_multiplier=0.6,
        attention_multiplier=0.3,
        rms_norm_eps=1e-3,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("granite", config, 43, bridge="")


def olmo() -> Golden:
    """LayerNorm without weights; untied."""
    config = transformers.OlmoConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=9,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("olmo", config, 44, bridge="raw")


def olmo_clip() -> Golden:
    """Queries, keys and values clipped; tied."""
    config = transformers.OlmoConfig(
        vocab_size=20,
        hidden_size=12,
        intermediate_size=13,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16,
        clip_qkv=0.8,
        tie_word_embeddings=True,
    )
    return make_hf("olmo_clip", config, 45, bridge="raw")


def olmo2() -> Golden:
    """Post-norms only; a norm over all query heads and one over all key heads."""
    config = transformers.Olmo2Config(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=9,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("olmo2", config, 46, bridge="raw")


def phi3() -> Golden:
    """Rows q | k | v and gate | up in one matrix each; a sliding window."""
    config = transformers.Phi3Config(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=9,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
        original_max_position_embeddings=16,
        rms_norm_eps=1e-3,
        sliding_window=3,
        pad_token_id=0,
        eos_token_id=1,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 200.0,
            "partial_rotary_factor": 1.0,
        },
    )
    return make_hf("phi3", config, 47)


def qwen2_window() -> Golden:
    """Layers from max_window_layers on have a sliding window; config.json lists no kinds."""
    config = transformers.Qwen2Config(
        vocab_size=19,
        hidden_size=12,
        intermediate_size=7,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16,
        rms_norm_eps=1e-3,
        use_sliding_window=True,
        sliding_window=3,
        max_window_layers=1,
        tie_word_embeddings=True,
    )
    out = make_hf("qwen2_window", config, 48)
    out.config = legacy(out.config)
    return out


def qwen3() -> Golden:
    """A norm shared by all query heads and one by all key heads; n_heads d_head = 24 beside 10."""
    config = transformers.Qwen3Config(
        vocab_size=20,
        hidden_size=10,
        intermediate_size=9,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        max_position_embeddings=16,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("qwen3", config, 49)


def smollm3() -> Golden:
    """The middle layer of three is not rotated."""
    config = transformers.SmolLM3Config(
        vocab_size=20,
        hidden_size=12,
        intermediate_size=7,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16,
        no_rope_layers=[1, 0, 1],
        rms_norm_eps=1e-3,
        pad_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("smollm3", config, 50)


def stablelm() -> Golden:
    """LayerNorm, an MLP with gate, 4 of 5 entries rotated, no biases but the norms'."""
    config = transformers.StableLmConfig(
        vocab_size=20,
        hidden_size=15,
        intermediate_size=9,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        max_position_embeddings=16,
        layer_norm_eps=1e-3,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 200.0,
            "partial_rotary_factor": 0.8,
        },
    )
    return make_hf("stablelm", config, 51, bridge="raw")


def stablelm_parallel() -> Golden:
    """One norm before a parallel block, q/k/v biases; config.json and buffers of transformers 4."""
    config = transformers.StableLmConfig(
        vocab_size=20,
        hidden_size=12,
        intermediate_size=13,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=16,
        use_parallel_residual=True,
        use_qkv_bias=True,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 300.0,
            "partial_rotary_factor": 0.7,
        },
    )
    out = make_hf("stablelm_parallel", config, 52, bridge="raw")
    out.config = legacy(out.config)
    add_buffers(out, "model.layers.{}.self_attn.", rotary_dim=4)
    return out


def stablelm_qk_norm() -> Golden:
    """StableLM 2 12B: parallel, a LayerNorm of its own for each query and key head."""
    config = transformers.StableLmConfig(
        vocab_size=20,
        hidden_size=18,
        intermediate_size=7,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        max_position_embeddings=16,
        use_parallel_residual=True,
        qk_layernorm=True,
        layer_norm_eps=1e-3,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 200.0,
            "partial_rotary_factor": 0.7,
        },
    )
    return make_hf("stablelm_qk_norm", config, 54, bridge="")


def starcoder2() -> Golden:
    """LayerNorm and biases everywhere, an MLP without gate, a sliding window; tied."""
    config = transformers.Starcoder2Config(
        vocab_size=20,
        hidden_size=12,
        intermediate_size=11,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16,
        norm_epsilon=1e-3,
        sliding_window=3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("starcoder2", config, 53)


MAKERS = {
    make.__name__: make
    for make in (
        cohere,
        cohere_qk_norm,
        granite,
        llama,
        llama_scaled,
        llama_sharded,
        mistral,
        olmo,
        olmo2,
        olmo_clip,
        phi3,
        qwen2,
        qwen2_window,
        qwen3,
        smollm3,
        stablelm,
        stablelm_parallel,
        stablelm_qk_norm,
        starcoder2,
    )
}
