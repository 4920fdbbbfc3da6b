# SPDX-License-Identifier: MIT
"""Readers of Llama and of what descends from it: queries, keys and values apart, an MLP with gate,
grouped heads, experts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from canonical import (
    Array,
    Config,
    Experts,
    Model,
    Tensors,
    copy_linears,
    copy_norm,
    copy_out,
    copy_present,
    copy_qkv,
    split_rows,
    strip_prefix,
)
from checkpoint_gpt import Json, first, rope_facts

LAYER_NORM = ("cohere", "olmo", "stablelm", "starcoder2")
GEMMA = ("gemma", "gemma2", "gemma3_text")
POST_NORMS = ("gemma2", "gemma3_text", "olmo2")

# ------------------------------------------------------------------------ configuration


def windows(config: Json) -> tuple[int, ...]:
    """The sliding window of every layer: where config.json lists no kinds of layers, by the rule of
    its family."""
    kind, n, window = (
        config["model_type"],
        config["num_hidden_layers"],
        config.get("sliding_window") or 0,
    )
    if not config.get("use_sliding_window", True):
        window = 0
    if config.get("layer_types"):
        local = [t == "sliding_attention" for t in config["layer_types"]]
    elif kind == "gemma3_text":
        local = [(i + 1) % config.get("sliding_window_pattern", 6) != 0 for i in range(n)]
    elif kind in ("gemma2", "gpt_oss"):
        local = [i % 2 == 0 for i in range(n)]
    elif kind in ("qwen2", "qwen3"):
        local = [i >= config["max_window_layers"] for i in range(n)]
    else:
        local = [True] * n
    return tuple(window if it else 0 for it in local)


def layer_ropes(config: Json) -> tuple[Json | None, ...]:
    """Rotations that differ between layers: Gemma 3 has a base of its own in local layers, SmolLM3
    leaves layers out."""
    n, rope = config["num_hidden_layers"], config.get("rope_parameters") or {}
    if config["model_type"] == "gemma3_text":
        if "full_attention" not in rope:
            rope = {
                "full_attention": (config.get("rope_scaling") or {"rope_type": "default"})
                | {"rope_theta": config["rope_theta"]},
                "sliding_attention": {"rope_theta": config["rope_local_base_freq"]},
            }
        local = windows({**config, "sliding_window": 1})
        return tuple(rope["sliding_attention" if it else "full_attention"] for it in local)
    if "no_rope_layers" in config:
        facts = rope_facts(config, 1)
        one = (facts["rope_scaling"] or {}) | {"rope_theta": facts["rope_theta"]}
        return tuple(one if config["no_rope_layers"][i] else None for i in range(n))
    return ()


def experts_of(config: Json) -> Experts | None:
    """How the family weighs its experts."""
    kind, active = config["model_type"], config.get("num_experts_per_tok")
    if kind == "gpt_oss":  # the softmax is over the chosen alone: the same as dividing by their sum
        return Experts(active, True, config["swiglu_limit"], config.get("swiglu_alpha", 1.702))
    if kind == "mixtral":
        return Experts(active, True)
    if kind in ("qwen2_moe", "qwen3_moe"):
        return Experts(active, config["norm_topk_prob"])
    return None


def attn_scale(config: Json, d_head: int) -> float:
    """What scores are divided by."""
    if config["model_type"] in ("gemma2", "gemma3_text"):
        return math.sqrt(config["query_pre_attn_scalar"])
    if config["model_type"] == "granite":
        return 1 / config["attention_multiplier"]
    return math.sqrt(d_head)


def qk_norm(config: Json) -> str | None:
    """The kind of the norm of queries and keys."""
    if config["model_type"] in ("gemma3_text", "olmo2", "qwen3", "qwen3_moe"):
        return "RMS"
    return "LN" if config.get("use_qk_norm") or config.get("qk_layernorm") else None


def config_of(config: Json, embed: Array) -> Config:
    """The configuration of any model of this family."""
    kind = config["model_type"]
    d_model, heads = config["hidden_size"], config["num_attention_heads"]
    d_head = config.get("head_dim") or d_model // heads
    facts = rope_facts(config, d_head, 0.25 if kind == "stablelm" else 1.0)
    if kind == "gemma3_text":  # each layer has its own, below
        facts |= {"rope_theta": 0.0, "rope_scaling": None}
    each_window = windows(config)
    return Config(
        architecture=kind,
        n_layers=config["num_hidden_layers"],
        n_heads=heads,
        n_kv_heads=config.get("num_key_value_heads") or heads,
        d_model=d_model,
        d_head=d_head,
        d_mlp=config["intermediate_size"],
        d_vocab=embed.shape[0],
        d_vocab_out=embed.shape[0],
        n_ctx=config["max_position_embeddings"],
        norm="LN" if kind in LAYER_NORM else "RMS",
        eps=first(config, "rms_norm_eps", "layer_norm_eps", "norm_epsilon") or 1e-5,
        attn_scale=attn_scale(config, d_head),
        activation=first(config, "hidden_activation", "hidden_act"),
        sliding_window=each_window[0] if len(set(each_window)) == 1 else 0,
        layer_windows=each_window if len(set(each_window)) > 1 else (),
        layer_rope=layer_ropes(config),
        rotary_adjacent=kind == "cohere",
        parallel=kind == "cohere" or config.get("use_parallel_residual", False),
        pre_norm=kind != "olmo2",
        qk_norm=qk_norm(config),
        qk_norm_joint=kind == "olmo2",
        attn_cap=config.get("attn_logit_softcapping") or 0.0,
        logit_cap=config.get("final_logit_softcapping") or 0.0,
        clip_qkv=config.get("clip_qkv") or 0.0,
        experts=experts_of(config),
        **facts,
    )


# ------------------------------------------------------------------------ tensors


def read_norms(t: Tensors, out: Tensors, h: str, b: str, cfg: Config, offset: float) -> None:
    """The norms of one layer; `post_attention_layernorm` is what its name says in the families with
    post-norms alone, elsewhere it stands before the MLP."""
    if cfg.architecture in POST_NORMS:
        names = {
            "post_attention_layernorm": "ln1_post",
            "pre_feedforward_layernorm": "ln2",
            "post_feedforward_layernorm": "ln2_post",
        }
    elif cfg.parallel:
        names = {}
        copy_norm(t, out, h + "input_layernorm", b + "ln2")
    else:
        names = {"post_attention_layernorm": "ln2"}
    for theirs, ours in (names | {"input_layernorm": "ln1"}).items():
        if f"{h}{theirs}.weight" in t:
            copy_norm(t, out, h + theirs, b + ours, offset)
    for part, heads in (("q", cfg.n_heads), ("k", cfg.n_kv_heads)):
        w = t.get(f"{h}self_attn.{part}_norm.weight")
        if f"{h}self_attn.{part}_layernorm.norms.0.weight" in t:  # StableLM: a module a head
            each = [t[f"{h}self_attn.{part}_layernorm.norms.{i}.weight"] for i in range(heads)]
            w = np.stack(each)
        if w is not None:  # one for all heads, one a head, or one over all heads in a row
            w = w + offset
            shared = w.size == cfg.d_head
            out[f"{b}attn.{part}_norm.w"] = (
                np.tile(w, (heads, 1)) if shared else w.reshape(heads, cfg.d_head)
            )


def read_experts(t: Tensors, out: Tensors, h: str, b: str) -> None:
    """A layer of experts: Mixtral's names, Qwen's with the shared expert, or gpt-oss' tensors of
    all experts in which gate and up alternate, transposed where they are quantised."""
    if h + "mlp.router.weight" in t:
        m = h + "mlp."
        out[b + "router.W"], out[b + "router.b"] = (
            t[m + "router.weight"].T,
            t[m + "router.bias"],
        )
        if m + "experts.gate_up_proj_blocks" in t:
            both = t[m + "experts.gate_up_proj_blocks"].swapaxes(1, 2)
            down = t[m + "experts.down_proj_blocks"].swapaxes(1, 2)
        else:
            both, down = t[m + "experts.gate_up_proj"], t[m + "experts.down_proj"]
        bias = t[m + "experts.gate_up_proj_bias"]
        for i in range(len(both)):
            at = f"{b}experts.{i}."
            out[at + "W_gate"], out[at + "W_in"] = both[i][:, ::2], both[i][:, 1::2]
            out[at + "b_gate"], out[at + "b_in"] = bias[i][::2], bias[i][1::2]
            out[at + "W_out"] = down[i]
            out[at + "b_out"] = t[m + "experts.down_proj_bias"][i]
        return
    names = {"gate_proj": "gate", "up_proj": "in", "down_proj": "out"}
    m = h + "mlp."
    if h + "block_sparse_moe.gate.weight" in t:
        names, m = {"w1": "gate", "w3": "in", "w2": "out"}, h + "block_sparse_moe."
    out[b + "router.W"] = t[m + "gate.weight"].T
    for i in range(out[b + "router.W"].shape[1]):
        copy_linears(t, out, f"{m}experts.{i}.", f"{b}experts.{i}.", names)
    if m + "shared_expert_gate.weight" in t:
        copy_linears(t, out, m + "shared_expert.", b + "shared.", names)
        out[b + "shared.router"] = t[m + "shared_expert_gate.weight"][0]


def read_mlp(t: Tensors, out: Tensors, h: str, b: str) -> None:
    """Gate, up and down as they are, Phi-3's gate over up in one matrix, or StarCoder 2's two."""
    b += "mlp."
    if any(k in t for k in (h + "block_sparse_moe.gate.weight", h + "mlp.router.weight")):
        read_experts(t, out, h, b)
    elif h + "mlp.gate.weight" in t:
        read_experts(t, out, h, b)
    elif h + "mlp.c_fc.weight" in t:
        copy_linears(t, out, h + "mlp.", b, {"c_fc": "in", "c_proj": "out"})
    elif h + "mlp.gate_up_proj.weight" in t:
        out[b + "W_gate"], out[b + "W_in"] = np.split(t[h + "mlp.gate_up_proj.weight"].T, 2, axis=1)
        copy_linears(t, out, h + "mlp.", b, {"down_proj": "out"})
    else:
        names = {"gate_proj": "gate", "up_proj": "in", "down_proj": "out"}
        copy_linears(t, out, h + "mlp.", b, names)


def read_decoder(config: Json, files: Tensors) -> Model:
    """Any model of this family under Hugging Face's names. Multipliers become part of the weights
    they follow."""
    t = strip_prefix(files, "model.")
    embed = t["embed_tokens.weight"] if "embed_tokens.weight" in t else t["lm_head.weight"]
    cfg = config_of(config, embed)
    offset = 1.0 if cfg.architecture in GEMMA else 0.0
    residual = config.get("residual_multiplier", 1.0)
    into = math.sqrt(cfg.d_model) if offset else config.get("embedding_multiplier", 1.0)
    out: Tensors = {"embed.W_E": embed * into}
    for layer in range(cfg.n_layers):
        h, b = f"layers.{layer}.", f"blocks.{layer}."
        a = h + "self_attn."
        if a + "qkv_proj.weight" in t:
            split_rows(t, out, a + "qkv_proj", b, cfg)
        else:
            copy_qkv(t, out, (a + "q_proj", a + "k_proj", a + "v_proj"), b, cfg)
        copy_out(t, out, a + "o_proj", b, cfg)
        copy_present(t, out, a, b + "attn.", {"sinks": "sinks"})
        read_mlp(t, out, h, b)
        read_norms(t, out, h, b, cfg, offset)
    for name in list(out):
        if name.split(".")[-1] in ("W_O", "b_O", "W_out", "b_out"):
            out[name] = out[name] * residual
    if "norm.weight" in t:
        copy_norm(t, out, "norm", "ln_final", offset)
    scale = config.get("logit_scale", 1.0) / config.get("logits_scaling", 1.0)
    out["unembed.W_U"] = t.get("lm_head.weight", embed).T * scale
    return Model(cfg, out)


# ------------------------------------------------------------------------ Meta's names

META = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "tok_embeddings": "embed_tokens",
    "output": "lm_head",
}


def half_split(rows: Array, heads: int) -> Array:
    """Rows of adjacent rotary pairs (2i, 2i + 1) of each head brought to pairs (i, i + half)."""
    return rows.reshape(heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def meta_to_hf(config: Json, files: Tensors) -> tuple[Json, Tensors]:
    """llama2.c and Meta's consolidated.pth under Hugging Face's names and row order."""
    heads, kv_heads = config["n_heads"], config.get("n_kv_heads") or config["n_heads"]
    t: Tensors = {}
    for name, value in strip_prefix(files, "_orig_mod.").items():
        stem = name.removesuffix(".weight")
        at = stem.split(".", 2)
        inner = at[2] if at[0] == "layers" else stem
        if inner in ("attention.wq", "attention.wk"):
            value = half_split(value, heads if inner.endswith("q") else kv_heads)
        t[stem.removesuffix(inner) + META.get(inner, inner) + ".weight"] = value
    told = {
        "model_type": "llama2.c",
        "hidden_size": config["dim"],
        "num_hidden_layers": config["n_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": config["hidden_dim"],
        "max_position_embeddings": config["max_seq_len"],
        "rms_norm_eps": config.get("norm_eps", 1e-5),
        "rope_theta": config.get("rope_theta", 10000.0),
        "hidden_act": "silu",
    }
    return told, t


def read_llama2c(config: Json, files: Tensors) -> Model:
    """llama2.c: the same numbers as a Llama, rotary pairs adjacent in the rows of wq and wk."""
    model = read_decoder(*meta_to_hf(config, files))
    return replace(model, cfg=replace(model.cfg, architecture="llama2.c"))


READERS: dict[str, Any] = {
    kind: read_decoder
    for kind in (
        "cohere",
        "gemma",
        "gemma2",
        "gemma3_text",
        "gpt_oss",
        "granite",
        "llama",
        "mistral",
        "mixtral",
        "olmo",
        "olmo2",
        "phi3",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "smollm3",
        "stablelm",
        "starcoder2",
    )
} | {"llama2.c": read_llama2c}
