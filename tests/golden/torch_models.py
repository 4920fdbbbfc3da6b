# SPDX-License-Identifier: MIT
"""Small torch modules for the checkpoints that no installed package can run: nanoGPT, minGPT,
progress measures and TransformerLens' options. Written from their public sources; parameters bear
the names their files have. An implementation of its own beside forward.py, which it is to check."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def softmax_masked(score: Tensor, mask: Tensor) -> Tensor:
    """Rows of attention over the positions where ``mask`` is true."""
    return score.masked_fill(~mask, float("-inf")).softmax(-1)


# ------------------------------------------------------------- github.com/karpathy: nanoGPT, minGPT


class CausalSelfAttention(nn.Module):
    def __init__(self, config: dict[str, Any], bias: bool) -> None:
        super().__init__()
        d = config["n_embd"]
        self.n_head = config["n_head"]
        self.c_attn = nn.Linear(d, 3 * d, bias=bias)
        self.c_proj = nn.Linear(d, d, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (
            y.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
            for y in self.c_attn(x).split(C, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class KarpathyBlock(nn.Module):
    def __init__(self, config: dict[str, Any], bias: bool, act: nn.Module) -> None:
        super().__init__()
        d = config["n_embd"]
        self.ln_1 = nn.LayerNorm(d, bias=bias)
        self.attn = CausalSelfAttention(config, bias)
        self.ln_2 = nn.LayerNorm(d, bias=bias)
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(d, 4 * d, bias=bias),
                "c_proj": nn.Linear(4 * d, d, bias=bias),
            }
        )
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](self.act(self.mlp["c_fc"](self.ln_2(x))))


class KarpathyGPT(nn.Module):
    """nanoGPT (tied, erf GELU, biases optional) and minGPT (untied, tanh GELU)."""

    def __init__(self, config: dict[str, Any], tied: bool, act: nn.Module) -> None:
        super().__init__()
        bias, d = config.get("bias", True), config["n_embd"]
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config["vocab_size"], d),
                "wpe": nn.Embedding(config["block_size"], d),
                "h": nn.ModuleList(
                    KarpathyBlock(config, bias, act) for _ in range(config["n_layer"])
                ),
                "ln_f": nn.LayerNorm(d, bias=bias),
            }
        )
        self.lm_head = nn.Linear(d, config["vocab_size"], bias=False)
        if tied:
            self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, tokens: Tensor) -> Tensor:
        t = self.transformer
        x = t["wte"](tokens) + t["wpe"].weight[: tokens.shape[1]]
        for block in t["h"]:
            x = block(x)
        return self.lm_head(t["ln_f"](x))


# ------------------------------------------- github.com/mechanistic-interpretability-grokking


def progress_measures(state: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Column vectors throughout: W_E [d_model, d_vocab], heads [head, d_head, d_model]."""
    t = {k.replace("attn_blocks", "blocks"): v.double() for k, v in state.items()}
    n = tokens.shape[1]
    x = t["embed.W_E"].T[tokens] + t["pos_embed.W_pos"][:n]
    layer = 0
    while f"blocks.{layer}.attn.W_K" in t:
        a = f"blocks.{layer}.attn."
        q, k, v = (torch.einsum("ihd,bpd->biph", t[a + "W_" + c], x) for c in "QKV")
        score = torch.einsum("biqh,bikh->biqk", q, k) / math.sqrt(q.shape[-1])
        z = softmax_masked(score, t[a + "mask"][:n, :n].bool()) @ v
        x = x + torch.einsum("df,bqf->bqd", t[a + "W_O"], z.transpose(1, 2).flatten(2))
        m = f"blocks.{layer}.mlp."
        if m + "W_in" in t:
            inner = torch.einsum("md,bpd->bpm", t[m + "W_in"], x) + t[m + "b_in"]
            x = x + torch.einsum("dm,bpm->bpd", t[m + "W_out"], F.relu(inner)) + t[m + "b_out"]
        layer += 1
    return torch.einsum("dv,bpd->bpv", t["unembed.W_U"], x)


# ------------------------------------------------------------------ github.com/meta-llama


def meta_llama(state: dict[str, Tensor], config: dict[str, Any], tokens: Tensor) -> Tensor:
    """Llama as Meta wrote it: neighbouring entries of a query or key are one complex number."""
    t = {k: v.double() for k, v in state.items()}
    heads, kv_heads, eps = config["n_heads"], config["n_kv_heads"], config["norm_eps"]
    dim = config["dim"] // heads
    rotary = {"rotary_dim": dim, "rotary_base": config["rope_theta"], "rotary_adjacent_pairs": True}

    def norm(name: str, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], t[name + ".weight"], eps)

    def split(name: str, x: Tensor, count: int) -> Tensor:
        y = F.linear(x, t[name + ".weight"]).unflatten(-1, (count, dim)).transpose(1, 2)
        return y.repeat_interleave(heads // count, dim=1)

    x = t["tok_embeddings.weight"][tokens]
    for layer in range(config["n_layers"]):
        a, f = f"layers.{layer}.attention.", f"layers.{layer}.feed_forward."
        y = norm(f"layers.{layer}.attention_norm", x)
        q = rotate_pairs(split(a + "wq", y, heads), rotary)
        k = rotate_pairs(split(a + "wk", y, kv_heads), rotary)
        z = F.scaled_dot_product_attention(q, k, split(a + "wv", y, kv_heads), is_causal=True)
        x = x + F.linear(z.transpose(1, 2).reshape(*tokens.shape, -1), t[a + "wo.weight"])
        y = norm(f"layers.{layer}.ffn_norm", x)
        inner = F.silu(F.linear(y, t[f + "w1.weight"])) * F.linear(y, t[f + "w3.weight"])
        x = x + F.linear(inner, t[f + "w2.weight"])
    head = t.get("output.weight", t["tok_embeddings.weight"])
    return F.linear(norm("norm", x), head)


# --------------------------------------------------------- github.com/TransformerLensOrg


def rotate_pairs(x: Tensor, config: dict[str, Any]) -> Tensor:
    """HookedTransformer's rotary: complex numbers from the first rotary_dim entries, whose real and
    imaginary parts are halves, or neighbours under rotary_adjacent_pairs."""
    dim = config["rotary_dim"]
    part, rest = x[..., :dim], x[..., dim:]
    if config.get("rotary_adjacent_pairs"):
        z = torch.view_as_complex(part.unflatten(-1, (-1, 2)).contiguous())
    else:
        z = torch.complex(*part.chunk(2, dim=-1))
    f = config["rotary_base"] ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * f
    z = z * torch.polar(torch.ones_like(angle), angle)
    if config.get("rotary_adjacent_pairs"):
        part = torch.view_as_real(z).flatten(-2)
    else:
        part = torch.cat([z.real, z.imag], dim=-1)
    return torch.cat([part, rest], dim=-1)


def lens_norm(t: dict[str, Tensor], at: str, x: Tensor, config: dict[str, Any]) -> Tensor:
    """LayerNorm under TransformerLens' names, nothing where normalization_type is null."""
    if config["normalization_type"] is None:
        return x
    return F.layer_norm(x, x.shape[-1:], t[at + ".w"], t[at + ".b"], config["eps"])


def lens_attention(
    t: dict[str, Tensor], at: str, x: Tensor, x_qk: Tensor, config: dict[str, Any]
) -> Tensor:
    """Queries and keys read ``x_qk``, values ``x``; grouped ones are `_W_K` and `_W_V`."""
    zero, n = torch.zeros((), dtype=torch.float64), x.shape[1]
    parts = []
    for part, source in (("Q", x_qk), ("K", x_qk), ("V", x)):
        grouped = f"{at}_W_{part}" in t
        name = f"{at}{'_' if grouped else ''}"
        bias = t.get(f"{name}b_{part}")
        y = torch.einsum("hde,bpd->bhpe", t[f"{name}W_{part}"], source)
        y = y + (zero if bias is None else bias[:, None])
        parts.append(y.repeat_interleave(config["n_heads"] // y.shape[1], dim=1))
    q, k, v = parts
    if config["positional_embedding_type"] == "rotary":
        q, k = rotate_pairs(q, config), rotate_pairs(k, config)
    mask = torch.ones(n, n, dtype=torch.bool)
    if config["attention_dir"] == "causal":
        mask = mask.tril()
    pattern = softmax_masked(q @ k.transpose(-1, -2) / config["attn_scale"], mask)
    return torch.einsum("hed,bhpe->bpd", t[at + "W_O"], pattern @ v) + t.get(at + "b_O", zero)


def lens(state: dict[str, Tensor], config: dict[str, Any], tokens: Tensor) -> Tensor:
    """HookedTransformer's forward pass with its options: shortformer (W_pos reaches queries and
    keys alone, after the norm), rotary, bidirectional, parallel_attn_mlp."""
    t = {k: v.double() for k, v in state.items()}
    zero = torch.zeros((), dtype=torch.float64)
    x, kind = t["embed.W_E"][tokens], config["positional_embedding_type"]
    positional = t["pos_embed.W_pos"][: tokens.shape[1]] if kind != "rotary" else zero
    if kind == "standard":
        x, positional = x + positional, zero
    for layer in range(config["n_layers"]):
        b = f"blocks.{layer}."
        read = lens_norm(t, b + "ln1", x, config)
        wrote = lens_attention(t, b + "attn.", read, read + positional, config)
        middle = x if config.get("parallel_attn_mlp") else x + wrote
        if config["attn_only"]:
            x = x + wrote
            continue
        m = b + "mlp."
        read = lens_norm(t, b + "ln2", middle, config)
        inner = read @ t[m + "W_in"] + t.get(m + "b_in", zero)
        inner = F.relu(inner) if config["act_fn"] == "relu" else F.gelu(inner, approximate="tanh")
        x = x + wrote + inner @ t[m + "W_out"] + t.get(m + "b_out", zero)
    x = lens_norm(t, "ln_final", x, config)
    return x @ t["unembed.W_U"] + t.get("unembed.b_U", zero)
