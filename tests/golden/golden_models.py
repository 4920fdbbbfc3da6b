# SPDX-License-Identifier: MIT
"""The golden checkpoints: what they are, and the seeded weights in them."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers
from safetensors import safe_open
from tokenizers import AddedToken, Tokenizer, decoders, models

import checkpoint

OFFSETS = (0, 1, 2, 8)


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Hugging Face's norms, softmax and rotary angles go through float32 by name; here that name
    means float64, so that a comparison is one of formulas and not of rounding."""
    before = torch.get_default_dtype()
    with (
        mock.patch.object(torch, "float32", torch.float64),
        mock.patch.object(torch, "float", torch.float64),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
    ):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


# ------------------------------------------------------------------------ making weights


def fill(
    shapes: dict[str, tuple[int, ...]], seed: int, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Seeded values for every tensor: norms about 1, biases about 0, the rest scaled by fan-in;
    the mean is not 0, so that a forgotten centring shows."""
    rng = np.random.default_rng(seed)
    out = {}
    for name in sorted(shapes):
        shape = shapes[name]
        value = rng.standard_normal(shape)
        if ".ln" in name or "norm" in name or name.startswith("ln_") or "ln_f" in name:
            bias = name.endswith((".bias", ".b"))
            value = 0.2 * value + (0.05 if bias else 1.0)
        elif len(shape) == 1 or ".b_" in name:
            value = 0.3 * value + 0.1
        else:
            value = (value + 0.2) / math.sqrt(shape[-1])
        out[name] = torch.from_numpy(value).to(torch.float32).to(dtype)
    return out


@dataclass
class Golden:
    """One directory to be written."""

    name: str
    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    shards: int = 1
    hf: transformers.PreTrainedModel | None = None  # float64, same weights
    extra: dict[str, Any] | None = None  # further files, written as JSON


def saved_by_hf(model: transformers.PreTrainedModel) -> tuple[set[str], dict[str, Any]]:
    """Tensor names and config.json as save_pretrained writes them."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(Path(folder) / "model.safetensors", "pt") as file:
            names = set(file.keys())
        config = json.loads((Path(folder) / "config.json").read_text())
    config.pop("transformers_version", None)
    return names, config


def make_hf(
    name: str, config: transformers.PreTrainedConfig, seed: int, dtype: torch.dtype
) -> Golden:
    """A checkpoint of a Hugging Face class, and the model itself in float64 for comparison."""
    config._attn_implementation = "eager"
    with in_float64():
        model = transformers.AutoModelForCausalLM.from_config(config).double().eval()
    tied = config.tie_word_embeddings
    shapes = {
        k: tuple(v.shape)
        for k, v in model.state_dict().items()
        if not (tied and k == "lm_head.weight")
    }
    tensors = fill(shapes, seed, dtype)
    with torch.no_grad():
        state = dict(model.named_parameters())
        for key, value in tensors.items():
            state[key].copy_(value)
    names, written = saved_by_hf(model)
    assert names == set(tensors), names ^ set(tensors)
    written["dtype"] = {
        torch.float32: "float32",
        torch.float16: "float16",
        torch.bfloat16: "bfloat16",
    }[dtype]
    return Golden(name, written, tensors, hf=model)


def legacy(config: dict[str, Any]) -> dict[str, Any]:
    """config.json as transformers 4 wrote it: rope_theta and torch_dtype on the top level."""
    out = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype", "layer_types")}
    out["rope_theta"] = config["rope_parameters"]["rope_theta"]
    out["rope_scaling"] = None
    out["torch_dtype"] = config["dtype"]
    return out


# ----------------------------------------------------------------------- the golden models


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
    out = make_hf("gpt2", config, 1, torch.float32)
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


def gpt2_old(new: Golden) -> Golden:
    """The same model under the names of the first checkpoints: no prefix, and each layer's causal
    mask kept as a buffer, which is no weight."""
    tensors = {k.removeprefix("transformer."): v for k, v in new.tensors.items()}
    n_ctx = new.config["n_positions"]
    for layer in range(new.config["n_layer"]):
        tensors[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(n_ctx, n_ctx)).view(
            1, 1, n_ctx, n_ctx
        )
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
    return Golden("gpt2_old", config, tensors)


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
    out = make_hf("llama", config, 2, torch.float32)
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
    return make_hf("llama_scaled", config, 8, torch.float32)


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


def transformer_lens(
    name: str,
    seed: int,
    *,
    d_model: int,
    d_head: int,
    n_heads: int,
    n_layers: int,
    d_vocab: int,
    n_ctx: int,
    d_vocab_out: int | None = None,
    d_mlp: int = 0,
    norm: str | None = "LN",
    biases: bool = True,
    extra: dict[str, Any] | None = None,
) -> Golden:
    """A checkpoint under TransformerLens' own names."""
    v_out = d_vocab_out or d_vocab
    shapes: dict[str, tuple[int, ...]] = {
        "embed.W_E": (d_vocab, d_model),
        "pos_embed.W_pos": (n_ctx, d_model),
        "unembed.W_U": (d_model, v_out),
    }
    if norm:
        shapes |= {"ln_final.w": (d_model,), "ln_final.b": (d_model,)}
    if biases:
        shapes["unembed.b_U"] = (v_out,)
    for layer in range(n_layers):
        b = f"blocks.{layer}."
        shapes |= {b + f"attn.W_{p}": (n_heads, d_model, d_head) for p in "QKV"}
        shapes[b + "attn.W_O"] = (n_heads, d_head, d_model)
        if biases:
            shapes |= {b + f"attn.b_{p}": (n_heads, d_head) for p in "QKV"}
            shapes[b + "attn.b_O"] = (d_model,)
        if norm:
            shapes |= {b + "ln1.w": (d_model,), b + "ln1.b": (d_model,)}
        if d_mlp:
            shapes |= {b + "mlp.W_in": (d_model, d_mlp), b + "mlp.W_out": (d_mlp, d_model)}
            if biases:
                shapes |= {b + "mlp.b_in": (d_mlp,), b + "mlp.b_out": (d_model,)}
            if norm:
                shapes |= {b + "ln2.w": (d_model,), b + "ln2.b": (d_model,)}
    config: dict[str, Any] = {
        "n_layers": n_layers,
        "n_heads": n_heads,
        "d_model": d_model,
        "d_head": d_head,
        "d_vocab": d_vocab,
        "d_vocab_out": v_out,
        "n_ctx": n_ctx,
        "attn_only": not d_mlp,
        "act_fn": "gelu_new" if d_mlp else None,
        "normalization_type": norm,
        "eps": 1e-5,
        "attention_dir": "causal",
        "positional_embedding_type": "standard",
        "attn_scale": math.sqrt(d_head),
        "use_attn_scale": True,
        "dtype": "torch.float32",
    }
    if d_mlp:
        config["d_mlp"] = d_mlp
    return Golden(name, config | (extra or {}), fill(shapes, seed, torch.float32))


def all_golden() -> list[Golden]:
    """Every directory, in the order it is made."""
    first, second = gpt2(), llama()
    return [
        first,
        gpt2_old(first),
        second,
        Golden("llama_sharded", second.config, second.tensors, shards=2),
        llama_scaled(),
        mistral(),
        qwen2(),
        transformer_lens(
            "transformer_lens", 5, d_model=13, d_head=5, n_heads=3, n_layers=3, d_vocab=21, n_ctx=9
        ),
        transformer_lens(
            "transformer_lens_mlp",
            6,
            d_model=11,
            d_head=4,
            n_heads=3,
            n_layers=2,
            d_vocab=25,
            n_ctx=8,
            d_mlp=18,
        ),
        transformer_lens(
            "transformer_lens_none",
            7,
            d_model=14,
            d_head=5,
            n_heads=4,
            n_layers=2,
            d_vocab=20,
            n_ctx=9,
            d_vocab_out=17,
            norm=None,
            biases=False,
            extra={
                "tokens": [chr(97 + i) for i in range(20)],
                "outputs": [chr(65 + i) for i in range(17)],
            },
        ),
    ]
