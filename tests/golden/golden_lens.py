# SPDX-License-Identifier: MIT
"""Golden checkpoints under TransformerLens' own names, with the options of its models."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch

import torch_models
from golden_models import Golden, fill


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
    n_kv_heads: int | None = None,
    norm: str | None = "LN",
    biases: bool = True,
    positions: str = "standard",
    extra: dict[str, Any] | None = None,
) -> Golden:
    """A checkpoint under TransformerLens' own names."""
    v_out = d_vocab_out or d_vocab
    shapes: dict[str, tuple[int, ...]] = {
        "embed.W_E": (d_vocab, d_model),
        "unembed.W_U": (d_model, v_out),
    }
    if positions != "rotary":
        shapes["pos_embed.W_pos"] = (n_ctx, d_model)
    if norm:
        shapes |= {"ln_final.w": (d_model,), "ln_final.b": (d_model,)}
    if biases:
        shapes["unembed.b_U"] = (v_out,)
    for layer in range(n_layers):
        b = f"blocks.{layer}."
        for part in "QKV":
            grouped = n_kv_heads is not None and part != "Q"
            at, heads = (b + "attn._", n_kv_heads) if grouped else (b + "attn.", n_heads)
            shapes[f"{at}W_{part}"] = (heads, d_model, d_head)
            if biases:
                shapes[f"{at}b_{part}"] = (heads, d_head)
        shapes[b + "attn.W_O"] = (n_heads, d_head, d_model)
        if biases:
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
        "positional_embedding_type": positions,
        "attn_scale": math.sqrt(d_head),
        "use_attn_scale": True,
        "dtype": "torch.float32",
    }
    if d_mlp:
        config["d_mlp"] = d_mlp
    if n_kv_heads is not None:
        config["n_key_value_heads"] = n_kv_heads
    config |= extra or {}
    tensors = fill(shapes, seed, torch.float32)
    logits = partial(torch_models.lens, dict(tensors), config)
    if positions == "rotary":  # what HookedTransformer keeps beside the weights
        for layer in range(n_layers):
            tensors |= buffers(f"blocks.{layer}.attn.", n_ctx, config)
    return Golden(name, config, tensors, logits)


def buffers(at: str, n_ctx: int, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The mask, the score of what is masked, and the tables of the rotation of one layer."""
    dim = config["rotary_dim"]
    f = config["rotary_base"] ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(n_ctx, dtype=torch.float64)[:, None] * torch.cat([f, f])
    return {
        at + "IGNORE": torch.tensor(-torch.inf),
        at + "mask": torch.tril(torch.ones(n_ctx, n_ctx, dtype=torch.bool)),
        at + "rotary_cos": angle.cos().to(torch.float32),
        at + "rotary_sin": angle.sin().to(torch.float32),
    }


SIZES: dict[str, dict[str, Any]] = {
    "transformer_lens": dict(
        seed=5, d_model=13, d_head=5, n_heads=3, n_layers=3, d_vocab=21, n_ctx=9
    ),
    "transformer_lens_bidirectional": dict(
        seed=91,
        d_model=11,
        d_head=4,
        n_heads=3,
        n_layers=2,
        d_vocab=20,
        n_ctx=8,
        d_mlp=7,
        extra={"attention_dir": "bidirectional", "act_fn": "relu"},
    ),
    "transformer_lens_mlp": dict(
        seed=6, d_model=11, d_head=4, n_heads=3, n_layers=2, d_vocab=25, n_ctx=8, d_mlp=18
    ),
    "transformer_lens_none": dict(
        seed=7,
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
    "transformer_lens_parallel": dict(
        seed=92,
        d_model=11,
        d_head=4,
        n_heads=3,
        n_layers=2,
        d_vocab=20,
        n_ctx=8,
        d_mlp=7,
        extra={"parallel_attn_mlp": True},
    ),
    "transformer_lens_rotary": dict(
        seed=93,
        d_model=11,
        d_head=5,
        n_heads=4,
        n_kv_heads=2,
        n_layers=2,
        d_vocab=20,
        n_ctx=16,
        d_mlp=7,
        positions="rotary",
        extra={"rotary_dim": 4, "rotary_base": 200, "rotary_adjacent_pairs": False},
    ),
    "transformer_lens_shortformer": dict(
        seed=94,
        d_model=13,
        d_head=5,
        n_heads=3,
        n_layers=2,
        d_vocab=20,
        n_ctx=9,
        norm=None,
        positions="shortformer",
    ),
}

MAKERS = {name: partial(transformer_lens, name, **sizes) for name, sizes in SIZES.items()}
