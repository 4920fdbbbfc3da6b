# SPDX-License-Identifier: MIT
"""Golden checkpoints of the Gemmas: norms stored as w - 1, embeddings times sqrt(d_model)."""

from __future__ import annotations

import torch
import transformers

from golden_models import REMOVED, Golden, legacy, make_hf


def gemma() -> Golden:
    """One key/value head, n_heads d_head = 24 beside d_model = 10; tied."""
    config = transformers.GemmaConfig(
        vocab_size=20,
        hidden_size=10,
        intermediate_size=9,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=6,
        max_position_embeddings=16,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("gemma", config, 61, norms=0.1, bridge="")


def gemma2() -> Golden:
    """Post-norms; layers local, global, local; scores and logits capped where it shows; a scale
    that is not 1 / sqrt(d_head). bfloat16."""
    config = transformers.Gemma2Config(
        vocab_size=20,
        hidden_size=12,
        intermediate_size=7,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        max_position_embeddings=16,
        sliding_window=3,
        query_pre_attn_scalar=7,
        attn_logit_softcapping=1.5,
        final_logit_softcapping=2.5,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("gemma2", config, 62, torch.bfloat16, norms=0.1, bridge="")


def gemma3_text() -> Golden:
    """Norms of queries and keys; local, local, global, local layers with two bases, the global one
    rescaled; config.json of transformers 4."""
    config = transformers.Gemma3TextConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=7,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=6,
        max_position_embeddings=16,
        sliding_window=3,
        sliding_window_pattern=3,
        query_pre_attn_scalar=5,
        rms_norm_eps=1e-3,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 900.0, "factor": 4.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
    )
    out = make_hf("gemma3_text", config, 63, norms=0.1, bridge="")
    out.config = legacy(
        out.config,
        rope_theta=900.0,
        rope_local_base_freq=50.0,
        rope_scaling={"factor": 4.0, "rope_type": "linear"},
        sliding_window_pattern=3,
        _sliding_window_pattern=REMOVED,
    )
    return out


def gemma3_text_new() -> Golden:
    """The same with both bases in rope_parameters and the kinds of the layers in layer_types."""
    config = transformers.Gemma3TextConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=9,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=6,
        max_position_embeddings=16,
        sliding_window=3,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        query_pre_attn_scalar=5,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 900.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
    )
    return make_hf("gemma3_text_new", config, 64, norms=0.1, bridge="")


MAKERS = {make.__name__: make for make in (gemma, gemma2, gemma3_text, gemma3_text_new)}
