# SPDX-License-Identifier: MIT
"""Readers of the checkpoints of interpretability research: TransformerLens, progress measures."""

from __future__ import annotations

import math

from canonical import Config, Model, Tensors, heads_in_rows
from checkpoint_gpt import Json

POSITIONS = {"standard": "learned", "shortformer": "shortformer", "rotary": "rotary"}


def read_transformer_lens(config: Json, files: Tensors) -> Model:
    """TransformerLens' own names are the canonical ones; `_W_K` is its grouped-query spelling."""
    out: Tensors = {}
    for name, value in files.items():
        if not name.endswith((".mask", ".IGNORE", ".rotary_cos", ".rotary_sin")):
            out[name.replace("attn._", "attn.")] = value
    d_vocab, d_model = out["embed.W_E"].shape
    scale = config.get("attn_scale")
    norm = config.get("normalization_type")
    cfg = Config(
        architecture="transformer_lens",
        n_layers=config["n_layers"],
        n_heads=config["n_heads"],
        n_kv_heads=out["blocks.0.attn.W_K"].shape[0],
        d_model=d_model,
        d_head=config["d_head"],
        d_mlp=0 if config.get("attn_only") else config["d_mlp"],
        d_vocab=d_vocab,
        d_vocab_out=out["unembed.W_U"].shape[1],
        n_ctx=config["n_ctx"],
        norm={"LN": "LN", "RMS": "RMS", None: None}[norm],
        eps=config.get("eps", 1e-5),
        positions=POSITIONS[config.get("positional_embedding_type", "standard")],
        attn_scale=float(scale)
        if isinstance(scale, (int, float)) and scale > 0
        else math.sqrt(config["d_head"]),
        activation=config.get("act_fn") or "",
        rope_theta=config.get("rotary_base", 10000),
        rotary_dim=config.get("rotary_dim") or 0,
        rotary_adjacent=config.get("rotary_adjacent_pairs", False),
        causal=config.get("attention_dir", "causal") == "causal",
        parallel=config.get("parallel_attn_mlp", False),
    )
    return Model(cfg, out)


def read_progress_measures(config: Json, files: Tensors) -> Model:
    """The transformer of "Progress measures for grokking": column vectors, so every matrix stands
    transposed; no norms; `blocks` or, in its model without MLPs, `attn_blocks`."""
    t = {k.replace("attn_blocks.", "blocks."): v for k, v in files.items()}
    heads, d_head, d_model = t["blocks.0.attn.W_K"].shape
    d_vocab, u = t["embed.W_E"].shape[1], t["unembed.W_U"].shape[1]
    out: Tensors = {
        "embed.W_E": t["embed.W_E"].T,
        "pos_embed.W_pos": t["pos_embed.W_pos"],
        "unembed.W_U": t["unembed.W_U"],
    }
    for layer in range(config["num_layers"]):
        b = f"blocks.{layer}."
        for part in "QKV":
            out[f"{b}attn.W_{part}"] = t[f"{b}attn.W_{part}"].transpose(0, 2, 1)
        out[b + "attn.W_O"] = heads_in_rows(t[b + "attn.W_O"].T, heads)
        if b + "mlp.W_in" in t:
            out |= {f"{b}mlp.W_{p}": t[f"{b}mlp.W_{p}"].T for p in ("in", "out")}
            out |= {f"{b}mlp.b_{p}": t[f"{b}mlp.b_{p}"] for p in ("in", "out")}
    cfg = Config(
        architecture="progress_measures",
        n_layers=config["num_layers"],
        n_heads=heads,
        n_kv_heads=heads,
        d_model=d_model,
        d_head=d_head,
        d_mlp=out["blocks.0.mlp.W_in"].shape[1] if "blocks.0.mlp.W_in" in out else 0,
        d_vocab=d_vocab,
        d_vocab_out=u,
        n_ctx=len(out["pos_embed.W_pos"]),
        norm=None,
        eps=1e-5,
        positions="learned",
        attn_scale=math.sqrt(d_head),
        activation={"ReLU": "relu", "GeLU": "gelu"}[config.get("act_type", "ReLU")],
    )
    return Model(cfg, out)


READERS = {
    "transformer_lens": read_transformer_lens,
    "progress_measures": read_progress_measures,
}
