# SPDX-License-Identifier: MIT
"""Golden checkpoints of GPT-2 and what descends from it. Dimensions are odd on purpose: no layout
passes by luck. Sliding windows, bases and epsilons are small or large enough to show."""

from __future__ import annotations

import torch
import transformers

import checkpoint
from golden_models import REMOVED, Golden, add_buffers, hf_logits, legacy, make_hf, mask


def bloom() -> Golden:
    """Three heads, so that ALiBi's slopes are not those of a power of 2."""
    config = transformers.BloomConfig(
        vocab_size=20, hidden_size=9, n_layer=2, n_head=3, layer_norm_epsilon=1e-3
    )
    return make_hf("bloom", config, 21)


def bloom_old() -> Golden:
    """The published names, without `transformer.`; float16; a power of 2 of heads."""
    config = transformers.BloomConfig(vocab_size=20, hidden_size=8, n_layer=2, n_head=2)
    out = make_hf("bloom_old", config, 19, torch.float16)
    out.tensors = {k.removeprefix("transformer."): v for k, v in out.tensors.items()}
    return out


def falcon() -> Golden:
    """The first Falcon: one key/value head, whatever num_kv_heads says."""
    config = transformers.FalconConfig(
        vocab_size=20,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        ffn_hidden_size=10,
        max_position_embeddings=16,
        layer_norm_epsilon=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("falcon", config, 22)


def falcon_new() -> Golden:
    """The second: two groups of (2 queries | key | value), two norms before a parallel block."""
    config = transformers.FalconConfig(
        vocab_size=19,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_kv_heads=2,
        new_decoder_architecture=True,
        ffn_hidden_size=11,
        max_position_embeddings=16,
        layer_norm_epsilon=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 200.0},
    )
    return make_hf("falcon_new", config, 23, bridge="")  # TransformerLens reads q | k | v


def falcon_new_norm() -> Golden:
    """The second layout with one norm (Falcon 2); an output of its own; one group."""
    config = transformers.FalconConfig(
        vocab_size=19,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_kv_heads=1,
        new_decoder_architecture=True,
        num_ln_in_parallel_attn=1,
        bias=True,
        ffn_hidden_size=13,
        max_position_embeddings=16,
        tie_word_embeddings=False,
    )
    return make_hf("falcon_new_norm", config, 20, bridge="")


def falcon_rw() -> Golden:
    """RefinedWeb's: rows (head, q | k | v), ALiBi, one block after the other, biases. Not the eager
    attention of transformers 5.23, which adds ALiBi twice."""
    config = transformers.FalconConfig(
        vocab_size=20,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        multi_query=False,
        alibi=True,
        parallel_attn=False,
        bias=True,
        ffn_hidden_size=13,
        max_position_embeddings=16,
    )
    out = make_hf("falcon_rw", config, 24, attention="sdpa")
    out.config = legacy(out.config, rope_theta=REMOVED, rope_scaling=REMOVED)
    return out


def gpt2() -> Golden:
    """GPT-2: tied, learned positions, LayerNorm; texts in vocab.json."""
    config = transformers.GPT2Config(
        vocab_size=23,
        n_positions=9,
        n_embd=12,
        n_layer=2,
        n_head=3,
        n_inner=20,
        bos_token_id=22,
        eos_token_id=22,
    )
    out = make_hf("gpt2", config, 1)
    pieces = [
        "!",
        "a",
        "the",
        "Ġ",
        "Ġthe",
        "Ġa",
        "Ċ",
        "ĊĊ",
        "Ã©",
        "cafÃ©",
        "Ã",
        "©",
        "âĤ¬",
        "âĤ",
        "¬",
        "ðŁĺĢ",
        "Ġâ",
        "ĉ",
        "Ā",
        "ÿ",
        '"',
        "\\",
        "<|endoftext|>",
    ]
    out.extra = {
        "vocab.json": {piece: i for i, piece in enumerate(pieces)},
        "expected_tokens.json": [checkpoint.byte_level_text(p) for p in pieces],
    }
    return out


def gpt2_old() -> Golden:
    """The same model under the names of the first checkpoints: no prefix, and each layer's causal
    mask kept as a buffer, which is no weight."""
    new = gpt2()
    tensors = {k.removeprefix("transformer."): v for k, v in new.tensors.items()}
    n_ctx = new.config["n_positions"]
    for layer in range(new.config["n_layer"]):
        tensors[f"h.{layer}.attn.bias"] = mask(n_ctx)
    keep = (
        "architectures",
        "model_type",
        "activation_function",
        "layer_norm_epsilon",
        "n_embd",
        "n_head",
        "n_inner",
        "n_layer",
        "n_positions",
        "vocab_size",
    )
    config = {k: new.config[k] for k in keep} | {"n_ctx": n_ctx}
    return Golden("gpt2_old", config, tensors, new.logits)


def gpt_bigcode() -> Golden:
    """StarCoder's: one key/value head behind the rows of all queries."""
    config = transformers.GPTBigCodeConfig(
        vocab_size=20,
        n_positions=9,
        n_embd=15,
        n_layer=2,
        n_head=3,
        n_inner=11,
        layer_norm_epsilon=1e-3,
    )
    return make_hf("gpt_bigcode", config, 25)


def gpt_bigcode_mha() -> Golden:
    """Without multi_query the same name holds rows (head, q | k | v)."""
    config = transformers.GPTBigCodeConfig(
        vocab_size=20,
        n_positions=9,
        n_embd=12,
        n_layer=2,
        n_head=3,
        n_inner=13,
        multi_query=False,
    )
    return make_hf("gpt_bigcode_mha", config, 26, bridge="")  # TransformerLens reads q | k | v


def gpt_neo() -> Golden:
    """Unscaled scores; layers global, local, local with a window of 3; masks in the file."""
    config = transformers.GPTNeoConfig(
        vocab_size=20,
        max_position_embeddings=9,
        hidden_size=10,
        num_layers=3,
        attention_types=[[["global", "local"], 1], [["local"], 1]],
        num_heads=2,
        intermediate_size=11,
        window_size=3,
        layer_norm_epsilon=1e-3,
    )
    out = make_hf("gpt_neo", config, 27)
    add_buffers(out, "transformer.h.{}.attn.attention.", positions=9)
    return out


def gpt_neox() -> Golden:
    """Rows (head, q | k | v); two norms before a parallel block; 4 of 5 entries rotated."""
    config = transformers.GPTNeoXConfig(
        vocab_size=20,
        hidden_size=15,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=11,
        max_position_embeddings=16,
        layer_norm_eps=1e-3,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 200.0,
            "partial_rotary_factor": 0.8,
        },
    )
    return make_hf("gpt_neox", config, 28)


def gpt_neox_sequential() -> Golden:
    """One block after the other, no attention biases; config.json and buffers as Pythia's."""
    config = transformers.GPTNeoXConfig(
        vocab_size=20,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=13,
        max_position_embeddings=16,
        use_parallel_residual=False,
        attention_bias=False,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 300.0,
            "partial_rotary_factor": 0.7,
        },
    )
    out = make_hf("gpt_neox_sequential", config, 29, bridge="")
    out.config = legacy(
        out.config,
        rotary_pct=0.7,
        rotary_emb_base=300,
        rope_theta=REMOVED,
        partial_rotary_factor=REMOVED,
    )
    add_buffers(out, "gpt_neox.layers.{}.attention.", positions=16, rotary_dim=4)
    return out


def gptj() -> Golden:
    """Adjacent pairs in 4 of 5 entries, one norm before a parallel block, b_U; masks kept."""
    config = transformers.GPTJConfig(
        vocab_size=20,
        n_positions=16,
        n_embd=15,
        n_layer=2,
        n_head=3,
        n_inner=11,
        rotary_dim=4,
        layer_norm_epsilon=1e-3,
    )
    out = make_hf("gptj", config, 30)
    add_buffers(out, "transformer.h.{}.attn.", positions=16)
    return out


def mpt() -> Golden:
    """No biases at all; ALiBi for 3 heads; a softmax_scale that is not 1 / sqrt(d_head)."""
    config = transformers.MptConfig(
        vocab_size=20,
        d_model=9,
        n_heads=3,
        n_layers=2,
        max_seq_len=16,
        layer_norm_epsilon=1e-3,
        attn_config={"alibi": True, "softmax_scale": 0.4},
    )
    out = make_hf("mpt", config, 31)
    out.config["attn_config"] = short_attn_config(out.config["attn_config"])
    return out


def short_attn_config(config: dict) -> dict:
    """attn_config as the published files have it, without the class' general fields."""
    keep = (
        "alibi",
        "alibi_bias_max",
        "attn_impl",
        "attn_pdrop",
        "attn_type",
        "attn_uses_sequence_id",
        "clip_qkv",
        "prefix_lm",
        "qk_ln",
        "softmax_scale",
    )
    return {k: config[k] for k in keep}


def mpt_learned() -> Golden:
    """Learned positions in wpe, which Hugging Face's class does not have: there they are added to
    its input, and its ALiBi is switched off."""
    config = transformers.MptConfig(
        vocab_size=20,
        d_model=10,
        n_heads=2,
        n_layers=2,
        max_seq_len=9,
        attn_config={"alibi": False},
    )
    out = make_hf("mpt_learned", config, 32, bridge="")
    model, out.hf = out.hf, None
    assert model is not None
    generator = torch.Generator().manual_seed(32)
    wpe = (0.3 * torch.randn(9, 10, generator=generator) + 0.05).to(torch.float32)
    out.tensors["transformer.wpe.weight"] = wpe
    out.config["attn_config"] = short_attn_config(out.config["attn_config"])
    model.transformer.build_mpt_alibi_tensor = lambda *_, **__: None
    add = lambda _, __, x: x + wpe.double()[: x.shape[1]]  # noqa: E731
    model.transformer.wte.register_forward_hook(add)
    out.logits = hf_logits(model)
    return out


def opt() -> Golden:
    """Positions offset by 2, ReLU, `final_layer_norm` twice under different paths."""
    config = transformers.OPTConfig(
        vocab_size=20,
        hidden_size=15,
        num_hidden_layers=2,
        ffn_dim=11,
        max_position_embeddings=9,
        num_attention_heads=3,
        word_embed_proj_dim=15,
    )
    return make_hf("opt", config, 33)


def phi() -> Golden:
    """One norm before a parallel block, 4 of 5 entries rotated, one key/value head, b_U."""
    config = transformers.PhiConfig(
        vocab_size=20,
        hidden_size=15,
        intermediate_size=11,
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
    return make_hf("phi", config, 34, bridge="")  # nor has TransformerLens grouped heads here


MAKERS = {
    make.__name__: make
    for make in (
        bloom,
        bloom_old,
        falcon,
        falcon_new,
        falcon_new_norm,
        falcon_rw,
        gpt2,
        gpt2_old,
        gpt_bigcode,
        gpt_bigcode_mha,
        gpt_neo,
        gpt_neox,
        gpt_neox_sequential,
        gptj,
        mpt,
        mpt_learned,
        opt,
        phi,
    )
}
