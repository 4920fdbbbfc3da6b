# SPDX-License-Identifier: MIT
"""Golden checkpoints under names that are not Hugging Face's: nanoGPT, minGPT, llama2.c, progress
measures."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

import torch_models
from golden_models import Golden, Logits, fill, in_float64, mask


def karpathy(
    config: dict[str, Any], seed: int, tied: bool, act: nn.Module
) -> tuple[dict[str, torch.Tensor], Logits]:
    """Seeded weights and logits of one of the two; where tied, the matrix is there twice."""
    with in_float64():
        model = torch_models.KarpathyGPT(config, tied, act).double().eval()
    parameters = dict(model.named_parameters())
    values = fill({k: tuple(v.shape) for k, v in parameters.items()}, seed, torch.float32)
    with torch.no_grad():
        for key, value in values.items():
            parameters[key].copy_(value)
    tensors = {k: v.detach().to(torch.float32).clone() for k, v in model.state_dict().items()}
    return tensors, lambda tokens: model(tokens).detach()


def causal_masks(tensors: dict[str, torch.Tensor], config: dict[str, Any], prefix: str) -> None:
    """The buffers `attn.bias` of one layer each, which are no weights."""
    n = config["block_size"]
    for layer in range(config["n_layer"]):
        tensors[f"{prefix}transformer.h.{layer}.attn.bias"] = mask(n)


def nanogpt() -> Golden:
    """nn.Linear under GPT-2's names, tied and there twice, exact GELU."""
    config = {"model_type": "nanogpt", "n_layer": 2, "n_head": 3, "n_embd": 9, "block_size": 9}
    config |= {"vocab_size": 20, "bias": True}
    tensors, logits = karpathy(config, 81, True, nn.GELU())
    return Golden("nanogpt", config, tensors, logits)


def nanogpt_compiled() -> Golden:
    """As torch.compile leaves its names; no biases, not even in the norms; masks in the file."""
    config = {"model_type": "nanogpt", "n_layer": 2, "n_head": 2, "n_embd": 10, "block_size": 9}
    config |= {"vocab_size": 20, "bias": False}
    tensors, logits = karpathy(config, 82, True, nn.GELU())
    tensors = {"_orig_mod." + k: v for k, v in tensors.items()}
    causal_masks(tensors, config, "_orig_mod.")
    return Golden("nanogpt_compiled", config, tensors, logits)


def mingpt() -> Golden:
    """nn.Linear under GPT-2's names, untied, tanh GELU, masks in the file."""
    config = {"model_type": "mingpt", "n_layer": 2, "n_head": 3, "n_embd": 9, "block_size": 9}
    config |= {"vocab_size": 20}
    tensors, logits = karpathy(config, 83, False, nn.GELU(approximate="tanh"))
    causal_masks(tensors, config, "")
    return Golden("mingpt", config, tensors, logits)


def llama2c(name: str, seed: int, tied: bool) -> Golden:
    """Meta's names; rows of wq and wk in adjacent rotary pairs."""
    config = {
        "model_type": "llama2.c",
        "dim": 16,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 2,
        "vocab_size": 20,
        "hidden_dim": 9,
        "max_seq_len": 16,
        "norm_eps": 1e-3,
        "rope_theta": 200.0,
    }
    d, kv, n = 16, 8, 9
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (20, d), "norm.weight": (d,)}
    if not tied:
        shapes["output.weight"] = (20, d)
    for layer in range(2):
        h = f"layers.{layer}."
        shapes |= {
            h + "attention.wq.weight": (d, d),
            h + "attention.wk.weight": (kv, d),
            h + "attention.wv.weight": (kv, d),
            h + "attention.wo.weight": (d, d),
            h + "feed_forward.w1.weight": (n, d),
            h + "feed_forward.w2.weight": (d, n),
            h + "feed_forward.w3.weight": (n, d),
            h + "attention_norm.weight": (d,),
            h + "ffn_norm.weight": (d,),
        }
    tensors = fill(shapes, seed, torch.float32)
    return Golden(name, config, tensors, partial(torch_models.meta_llama, tensors, config))


def progress_measures(name: str, seed: int, mlp: bool) -> Golden:
    """Every matrix transposed, W_O [d_model, heads * d_head]; masks in the file; no norms.
    The configuration has a d_mlp even where the file has no MLP."""
    d, heads, e, v, n_ctx, n = 10, 3, 4, 20, 8, 7
    block = "blocks" if mlp else "attn_blocks"
    shapes: dict[str, tuple[int, ...]] = {
        "embed.W_E": (d, v),
        "pos_embed.W_pos": (n_ctx, d),
        "unembed.W_U": (d, v),
    }
    for layer in range(2):
        a, m = f"{block}.{layer}.attn.", f"{block}.{layer}.mlp."
        shapes |= {f"{a}W_{p}": (heads, e, d) for p in "QKV"}
        shapes[a + "W_O"] = (d, heads * e)
        if mlp:
            shapes |= {m + "W_in": (n, d), m + "b_in": (n,), m + "W_out": (d, n), m + "b_out": (d,)}
    tensors = fill(shapes, seed, torch.float32)
    for layer in range(2):
        tensors[f"{block}.{layer}.attn.mask"] = torch.tril(torch.ones(n_ctx, n_ctx))
    config = {"model_type": "progress_measures", "num_layers": 2, "d_model": d, "num_heads": heads}
    config |= {"d_head": e, "d_mlp": 7, "d_vocab": v, "n_ctx": n_ctx, "act_type": "ReLU"}
    return Golden(name, config, tensors, partial(torch_models.progress_measures, tensors))


MAKERS = {
    "llama2.c": partial(llama2c, "llama2.c", 84, False),
    "llama2.c_tied": partial(llama2c, "llama2.c_tied", 85, True),
    "mingpt": mingpt,
    "nanogpt": nanogpt,
    "nanogpt_compiled": nanogpt_compiled,
    "progress_measures": partial(progress_measures, "progress_measures", 86, False),
    "progress_measures_mlp": partial(progress_measures, "progress_measures_mlp", 87, True),
}
