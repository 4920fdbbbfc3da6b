# SPDX-License-Identifier: MIT
"""Reads the tensors of a GGUF file into canonical weights: names and layouts as llama.cpp has them
(github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py). Linears are [out, in]; queries, keys and
values apart or in rows q, k, v; experts side by side in one tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFReader

from canonical import (
    Array,
    Config,
    Tensors,
    copy_linears,
    copy_norm,
    copy_out,
    copy_present,
    copy_qkv,
    split_rows,
)
from checkpoint_llama import half_split

PERMUTED = ("granite", "llama", "olmo", "smollm3")  # adjacent rotary pairs in the rows of q and k


def read_tensors(path: Path) -> tuple[str, Tensors]:
    """general.architecture and all tensors as float64."""
    reader = GGUFReader(path)
    architecture = str(reader.fields["general.architecture"].contents())
    return architecture, {t.name: np.asarray(t.data, np.float64) for t in reader.tensors}


def unpermute(t: Tensors, name: str, heads: int) -> None:
    """Rows of one projection, and its bias, in halves again."""
    for part in (".weight", ".bias"):
        if name + part in t:
            rows = t[name + part]
            t[name + part] = half_split(rows.reshape(len(rows), -1), heads).reshape(rows.shape)


def read_norms(t: Tensors, out: Tensors, h: str, b: str, cfg: Config) -> None:
    """The norms of one layer. Falcon's second layout keeps the norm before its attention under
    attn_norm_2; gpt-oss calls the norm before its MLP post_attention_norm."""
    names = {
        "attn_norm": "ln1",
        "ffn_norm": "ln2",
        "post_attention_norm": "ln1_post",
        "post_ffw_norm": "ln2_post",
    }
    if h + "attn_norm_2.weight" in t:
        names = {"attn_norm_2": "ln1", "attn_norm": "ln2"}
    if cfg.architecture == "gpt_oss":
        names = {"attn_norm": "ln1", "post_attention_norm": "ln2"}
    for theirs, ours in names.items():
        if f"{h}{theirs}.weight" in t:
            copy_norm(t, out, h + theirs, b + ours)
    if cfg.parallel and b + "ln2.w" not in out:
        copy_norm(t, out, h + "attn_norm", b + "ln2")
    for part, heads in (("q", cfg.n_heads), ("k", cfg.n_kv_heads)):
        w = t.get(f"{h}attn_{part}_norm.weight")
        if w is not None:
            each = np.tile(w, (heads, 1)) if w.size == cfg.d_head else w.reshape(heads, -1)
            out[f"{b}attn.{part}_norm.w"] = each


def read_mlp(t: Tensors, out: Tensors, h: str, b: str) -> None:
    """ffn_gate, ffn_up, ffn_down, in Phi-3 gate over up in ffn_up; or experts."""
    names = {"ffn_gate": "gate", "ffn_up": "in", "ffn_down": "out"}
    if h + "ffn_gate_inp.weight" in t:
        out[b + "router.W"] = t[h + "ffn_gate_inp.weight"].T
        copy_present(t, out, h, b, {"ffn_gate_inp.bias": "router.b"})
        for theirs, ours in names.items():
            for i, each in enumerate(t[f"{h}{theirs}_exps.weight"]):
                out[f"{b}experts.{i}.W_{ours}"] = each.T
            for i, each in enumerate(t.get(f"{h}{theirs}_exps.bias", ())):
                out[f"{b}experts.{i}.b_{ours}"] = each
        if h + "ffn_gate_inp_shexp.weight" in t:
            shared = {theirs + "_shexp": ours for theirs, ours in names.items()}
            copy_linears(t, out, h, b + "shared.", shared)
            out[b + "shared.router"] = t[h + "ffn_gate_inp_shexp.weight"].reshape(-1)
        return
    up, down = t[h + "ffn_up.weight"], t[h + "ffn_down.weight"]
    if len(up) == 2 * down.shape[1]:
        out[b + "W_gate"], out[b + "W_in"] = np.split(up.T, 2, axis=1)
        out[b + "W_out"] = down.T
        return
    there = {k: v for k, v in names.items() if f"{h}{k}.weight" in t}
    copy_linears(t, out, h, b, there)


def scaled(out: Tensors, config: dict[str, float]) -> Tensors:
    """Multipliers as part of the weights they follow; GGUF has them as metadata."""
    for name in out:
        last = name.split(".")[-1]
        if last in ("W_O", "b_O", "W_out", "b_out"):
            out[name] = out[name] * config["residual"]
    out["embed.W_E"] = out["embed.W_E"] * config["embed"]
    out["unembed.W_U"] = out["unembed.W_U"] * config["unembed"]
    return out


def read(path: Path, cfg: Config, multipliers: dict[str, float]) -> Tensors:
    """Canonical weights of a file whose configuration is known."""
    architecture, t = read_tensors(path)
    embed: Array = t["token_embd.weight"]
    out: Tensors = {"embed.W_E": embed, "unembed.W_U": t.get("output.weight", embed).T}
    copy_present(t, out, "", "", {"position_embd.weight": "pos_embed.W_pos"})
    copy_present(t, out, "", "", {"output.bias": "unembed.b_U"})
    for theirs, ours in (("token_embd_norm", "embed.ln"), ("output_norm", "ln_final")):
        if theirs + ".weight" in t:
            copy_norm(t, out, theirs, ours)
    for layer in range(cfg.n_layers):
        h, b = f"blk.{layer}.", f"blocks.{layer}."
        if architecture in PERMUTED:
            unpermute(t, h + "attn_q", cfg.n_heads)
            unpermute(t, h + "attn_k", cfg.n_kv_heads)
        if h + "attn_qkv.weight" in t:
            split_rows(t, out, h + "attn_qkv", b, cfg)
        else:
            copy_qkv(t, out, (h + "attn_q", h + "attn_k", h + "attn_v"), b, cfg)
        copy_out(t, out, h + "attn_output", b, cfg)
        copy_present(t, out, h, b, {"attn_sinks.weight": "attn.sinks"})
        read_mlp(t, out, h, b + "mlp.")
        read_norms(t, out, h, b, cfg)
    return scaled(out, multipliers)
