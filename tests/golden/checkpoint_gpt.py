# SPDX-License-Identifier: MIT
"""Readers of the checkpoints that descend from GPT-2 and GPT-J: LayerNorm, an MLP without gate."""

from __future__ import annotations

import math
from typing import Any

from canonical import (
    Array,
    Config,
    Model,
    Tensors,
    copy_linears,
    copy_norm,
    copy_out,
    copy_present,
    copy_qkv,
    heads_in_columns,
    heads_in_rows,
    split_interleaved,
    split_rows,
    strip_prefix,
)

Json = dict[str, Any]
N_CTX = 2048  # of a model whose configuration names no longest text


def first(config: Json, *keys: str) -> Any:
    """The first of ``keys`` that is there and not null, else None."""
    return next((config[k] for k in keys if config.get(k) is not None), None)


def config_of(config: Json, embed: Array, **facts: Any) -> Config:
    """A configuration with what most of these files agree on; ``facts`` override it."""
    d_model = int(first(config, "n_embd", "hidden_size", "d_model"))
    heads = int(first(config, "n_head", "num_attention_heads", "num_heads", "n_heads"))
    base: Json = {
        "architecture": config["model_type"],
        "n_layers": int(first(config, "n_layer", "num_hidden_layers", "num_layers", "n_layers")),
        "n_heads": heads,
        "n_kv_heads": heads,
        "d_model": d_model,
        "d_head": d_model // heads,
        "d_mlp": first(config, "n_inner", "intermediate_size", "ffn_dim") or 4 * d_model,
        "d_vocab": len(embed),
        "d_vocab_out": len(embed),
        "n_ctx": first(config, "n_positions", "max_position_embeddings", "block_size") or 0,
        "norm": "LN",
        "eps": first(config, "layer_norm_epsilon", "layer_norm_eps") or 1e-5,
        "positions": "learned",
        "attn_scale": math.sqrt(d_model // heads),
        "activation": first(config, "activation_function", "hidden_act"),
    }
    return Config(**(base | facts))


def finish(t: Tensors, out: Tensors, norm: str, head: str, embed: str) -> None:
    """The final norm and the unembedding, tied where the file has none of its own."""
    copy_norm(t, out, norm, "ln_final")
    out["unembed.W_U"] = t.get(head + ".weight", t[embed + ".weight"]).T
    copy_present(t, out, "", "", {head + ".bias": "unembed.b_U"})


def read_gpt2(config: Json, files: Tensors) -> Model:
    """GPT-2: Conv1D weights are [in, out]; c_attn holds q, k, v side by side along its columns."""
    t = strip_prefix(files, "transformer.")
    cfg = config_of(config, t["wte.weight"])
    heads, d_model = cfg.n_heads, cfg.d_model
    out: Tensors = {"embed.W_E": t["wte.weight"], "pos_embed.W_pos": t["wpe.weight"]}
    for layer in range(cfg.n_layers):
        h, b = f"h.{layer}.", f"blocks.{layer}."
        for i, part in enumerate("QKV"):
            columns = slice(i * d_model, (i + 1) * d_model)
            out[b + f"attn.W_{part}"] = heads_in_columns(
                t[h + "attn.c_attn.weight"][:, columns], heads
            )
            if h + "attn.c_attn.bias" in t:
                out[b + f"attn.b_{part}"] = t[h + "attn.c_attn.bias"][columns].reshape(heads, -1)
        out[b + "attn.W_O"] = heads_in_rows(t[h + "attn.c_proj.weight"], heads)
        out[b + "mlp.W_in"] = t[h + "mlp.c_fc.weight"]
        out[b + "mlp.W_out"] = t[h + "mlp.c_proj.weight"]
        biases = {"attn.c_proj": "attn.b_O", "mlp.c_fc": "mlp.b_in", "mlp.c_proj": "mlp.b_out"}
        copy_present(t, out, h, b, {k + ".bias": v for k, v in biases.items()})
        copy_norm(t, out, h + "ln_1", b + "ln1")
        copy_norm(t, out, h + "ln_2", b + "ln2")
    finish(t, out, "ln_f", "lm_head", "wte")
    return Model(cfg, out)


def read_gpt_linear(config: Json, files: Tensors) -> Model:
    """GPT-BigCode, nanoGPT and minGPT: GPT-2's names over nn.Linear [out, in]. GPT-BigCode has one
    key/value head behind all queries, or rows (head, q | k | v, d_head)."""
    t = strip_prefix(files, "_orig_mod.", "transformer.")
    kind = config["model_type"]
    facts: Json = {}
    if kind == "gpt_bigcode":
        facts["n_kv_heads"] = 1 if config["multi_query"] else config["n_head"]
    else:
        facts["activation"] = "gelu" if kind == "nanogpt" else "gelu_new"
    interleaved = kind == "gpt_bigcode" and not config["multi_query"]
    cfg = config_of(config, t["wte.weight"], **facts)
    out: Tensors = {"embed.W_E": t["wte.weight"], "pos_embed.W_pos": t["wpe.weight"]}
    for layer in range(cfg.n_layers):
        h, b = f"h.{layer}.", f"blocks.{layer}."
        (split_interleaved if interleaved else split_rows)(t, out, h + "attn.c_attn", b, cfg)
        copy_out(t, out, h + "attn.c_proj", b, cfg)
        copy_linears(t, out, h + "mlp.", b + "mlp.", {"c_fc": "in", "c_proj": "out"})
        copy_norm(t, out, h + "ln_1", b + "ln1")
        copy_norm(t, out, h + "ln_2", b + "ln2")
    finish(t, out, "ln_f", "lm_head", "wte")
    return Model(cfg, out)


def read_gpt_neo(config: Json, files: Tensors) -> Model:
    """GPT-Neo: no 1 / sqrt(d_head), global and local layers in the order of attention_types."""
    t = strip_prefix(files, "transformer.")
    kinds = [k for types, times in config["attention_types"] for k in types * times]
    windows = tuple(config["window_size"] if k == "local" else 0 for k in kinds)
    cfg = config_of(config, t["wte.weight"], attn_scale=1.0, layer_windows=windows)
    out: Tensors = {"embed.W_E": t["wte.weight"], "pos_embed.W_pos": t["wpe.weight"]}
    for layer in range(cfg.n_layers):
        h, b = f"h.{layer}.", f"blocks.{layer}."
        a = h + "attn.attention."
        copy_qkv(t, out, (a + "q_proj", a + "k_proj", a + "v_proj"), b, cfg)
        copy_out(t, out, a + "out_proj", b, cfg)
        copy_linears(t, out, h + "mlp.", b + "mlp.", {"c_fc": "in", "c_proj": "out"})
        copy_norm(t, out, h + "ln_1", b + "ln1")
        copy_norm(t, out, h + "ln_2", b + "ln2")
    finish(t, out, "ln_f", "lm_head", "wte")
    return Model(cfg, out)


def read_gptj(config: Json, files: Tensors) -> Model:
    """GPT-J: attention and MLP side by side behind one norm; adjacent pairs rotated in the first
    rotary_dim entries; a bias of the unembedding."""
    t = strip_prefix(files, "transformer.")
    cfg = config_of(
        config,
        t["wte.weight"],
        positions="rotary",
        rope_theta=10000.0,
        rotary_dim=config["rotary_dim"],
        rotary_adjacent=True,
        parallel=True,
    )
    out: Tensors = {"embed.W_E": t["wte.weight"]}
    for layer in range(cfg.n_layers):
        h, b = f"h.{layer}.", f"blocks.{layer}."
        a = h + "attn."
        copy_qkv(t, out, (a + "q_proj", a + "k_proj", a + "v_proj"), b, cfg)
        copy_out(t, out, a + "out_proj", b, cfg)
        copy_linears(t, out, h + "mlp.", b + "mlp.", {"fc_in": "in", "fc_out": "out"})
        copy_norm(t, out, h + "ln_1", b + "ln1")
        copy_norm(t, out, h + "ln_1", b + "ln2")
    finish(t, out, "ln_f", "lm_head", "wte")
    return Model(cfg, out)


def rope_facts(config: Json, d_head: int, default: float = 1.0) -> Json:
    """Base, rescaling and rotated part, from rope_parameters or as transformers 4 wrote them."""
    rope = config.get("rope_parameters") or {}
    part = rope.get("partial_rotary_factor") or first(config, "partial_rotary_factor", "rotary_pct")
    return {
        "positions": "rotary",
        "rope_theta": rope.get("rope_theta")
        or first(config, "rope_theta", "rotary_emb_base")
        or 10000.0,
        "rope_scaling": config.get("rope_scaling") or rope or None,
        "rotary_dim": int(d_head * (part or default)),
    }


def read_gpt_neox(config: Json, files: Tensors) -> Model:
    """GPT-NeoX, Pythia: rows (head, q | k | v, d_head); attention and MLP side by side, each behind
    its own norm, or one after the other."""
    t = strip_prefix(files, "gpt_neox.")
    embed = t["embed_in.weight"]
    d_head = config["hidden_size"] // config["num_attention_heads"]
    cfg = config_of(
        config,
        embed,
        parallel=config.get("use_parallel_residual", True),
        **rope_facts(config, d_head, 0.25),
    )
    out: Tensors = {"embed.W_E": embed}
    for layer in range(cfg.n_layers):
        h, b = f"layers.{layer}.", f"blocks.{layer}."
        split_interleaved(t, out, h + "attention.query_key_value", b, cfg)
        copy_out(t, out, h + "attention.dense", b, cfg)
        copy_linears(
            t, out, h + "mlp.", b + "mlp.", {"dense_h_to_4h": "in", "dense_4h_to_h": "out"}
        )
        copy_norm(t, out, h + "input_layernorm", b + "ln1")
        copy_norm(t, out, h + "post_attention_layernorm", b + "ln2")
    finish(t, out, "final_layer_norm", "embed_out", "embed_in")
    return Model(cfg, out)


def read_opt(config: Json, files: Tensors) -> Model:
    """OPT: position p is row p + 2; a block's final_layer_norm stands before its MLP."""
    t = strip_prefix(files, "model.", "decoder.")
    cfg = config_of(config, t["embed_tokens.weight"])
    out: Tensors = {
        "embed.W_E": t["embed_tokens.weight"],
        "pos_embed.W_pos": t["embed_positions.weight"][2:],
    }
    for layer in range(cfg.n_layers):
        h, b = f"layers.{layer}.", f"blocks.{layer}."
        a = h + "self_attn."
        copy_qkv(t, out, (a + "q_proj", a + "k_proj", a + "v_proj"), b, cfg)
        copy_out(t, out, a + "out_proj", b, cfg)
        copy_linears(t, out, h, b + "mlp.", {"fc1": "in", "fc2": "out"})
        copy_norm(t, out, h + "self_attn_layer_norm", b + "ln1")
        copy_norm(t, out, h + "final_layer_norm", b + "ln2")
    finish(t, out, "final_layer_norm", "lm_head", "embed_tokens")
    return Model(cfg, out)


def read_bloom(config: Json, files: Tensors) -> Model:
    """BLOOM: rows (head, q | k | v, d_head), ALiBi, a LayerNorm right after the embedding."""
    t = strip_prefix(files, "transformer.")
    embed = t["word_embeddings.weight"]
    cfg = config_of(config, embed, positions="alibi", activation="gelu_bloom", n_ctx=N_CTX)
    out: Tensors = {"embed.W_E": embed}
    copy_norm(t, out, "word_embeddings_layernorm", "embed.ln")
    for layer in range(cfg.n_layers):
        h, b = f"h.{layer}.", f"blocks.{layer}."
        split_interleaved(t, out, h + "self_attention.query_key_value", b, cfg)
        copy_out(t, out, h + "self_attention.dense", b, cfg)
        copy_linears(
            t, out, h + "mlp.", b + "mlp.", {"dense_h_to_4h": "in", "dense_4h_to_h": "out"}
        )
        copy_norm(t, out, h + "input_layernorm", b + "ln1")
        copy_norm(t, out, h + "post_attention_layernorm", b + "ln2")
    finish(t, out, "ln_f", "lm_head", "word_embeddings")
    return Model(cfg, out)


def falcon_config(config: Json, embed: Array) -> Config:
    """num_kv_heads counts in the second layout only; ALiBi stands inside the 1 / sqrt(d_head)."""
    d_model = config["hidden_size"]
    heads = first(config, "num_attention_heads", "n_head")
    if config["new_decoder_architecture"]:
        kv_heads = first(config, "num_kv_heads", "n_head_kv") or heads
    else:
        kv_heads = 1 if config["multi_query"] else heads
    facts = rope_facts(config, d_model // heads)
    if config["alibi"]:
        facts = {"positions": "alibi", "alibi_scale": math.sqrt(heads / d_model)}
    return config_of(
        config,
        embed,
        n_kv_heads=kv_heads,
        d_mlp=config.get("ffn_hidden_size") or 4 * d_model,
        parallel=config["new_decoder_architecture"] or config["parallel_attn"],
        activation=config.get("activation") or "gelu",
        n_ctx=config.get("max_position_embeddings") or N_CTX,
        **facts,
    )


def read_falcon(config: Json, files: Tensors) -> Model:
    """Falcon in its three layouts: one key/value head (7B), groups behind two norms (40B), and
    neither, with ALiBi (RW)."""
    t = strip_prefix(files, "transformer.")
    cfg = falcon_config(config, t["word_embeddings.weight"])
    fused_by_rows = config["multi_query"] and not config["new_decoder_architecture"]
    out: Tensors = {"embed.W_E": t["word_embeddings.weight"]}
    for layer in range(cfg.n_layers):
        h, b = f"h.{layer}.", f"blocks.{layer}."
        split = split_rows if fused_by_rows else split_interleaved
        split(t, out, h + "self_attention.query_key_value", b, cfg)
        copy_out(t, out, h + "self_attention.dense", b, cfg)
        copy_linears(
            t, out, h + "mlp.", b + "mlp.", {"dense_h_to_4h": "in", "dense_4h_to_h": "out"}
        )
        names = ("input_layernorm", "post_attention_layernorm")
        if h + "ln_attn.weight" in t:
            names = ("ln_attn", "ln_mlp")
        elif cfg.parallel:
            names = ("input_layernorm", "input_layernorm")
        copy_norm(t, out, h + names[0], b + "ln1")
        copy_norm(t, out, h + names[1], b + "ln2")
    finish(t, out, "ln_f", "lm_head", "word_embeddings")
    return Model(cfg, out)


def read_mpt(config: Json, files: Tensors) -> Model:
    """MPT: no biases, not even in its norms; ALiBi, or learned positions in wpe."""
    t = strip_prefix(files, "transformer.")
    attn = config.get("attn_config") or {}
    d_head = config["d_model"] // config["n_heads"]
    cfg = config_of(
        config,
        t["wte.weight"],
        d_mlp=config["expansion_ratio"] * config["d_model"],
        positions="alibi" if attn.get("alibi") else "learned",
        attn_scale=1 / attn["softmax_scale"] if attn.get("softmax_scale") else math.sqrt(d_head),
        activation="gelu",
        n_ctx=config["max_seq_len"],
        clip_qkv=attn.get("clip_qkv") or 0.0,
    )
    out: Tensors = {"embed.W_E": t["wte.weight"]}
    copy_present(t, out, "", "", {"wpe.weight": "pos_embed.W_pos"})
    for layer in range(cfg.n_layers):
        h, b = f"blocks.{layer}.", f"blocks.{layer}."
        split_rows(t, out, h + "attn.Wqkv", b, cfg)
        copy_out(t, out, h + "attn.out_proj", b, cfg)
        copy_linears(t, out, h + "ffn.", b + "mlp.", {"up_proj": "in", "down_proj": "out"})
        copy_norm(t, out, h + "norm_1", b + "ln1")
        copy_norm(t, out, h + "norm_2", b + "ln2")
    finish(t, out, "norm_f", "lm_head", "wte")
    return Model(cfg, out)


def read_phi(config: Json, files: Tensors) -> Model:
    """Phi-1 and 2: attention and MLP side by side behind one norm, a part of each head rotated."""
    t = strip_prefix(files, "model.")
    embed = t["embed_tokens.weight"]
    d_head = config["hidden_size"] // config["num_attention_heads"]
    cfg = config_of(
        config,
        embed,
        n_kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        parallel=True,
        **rope_facts(config, d_head, 0.5),
    )
    out: Tensors = {"embed.W_E": embed}
    for layer in range(cfg.n_layers):
        h, b = f"layers.{layer}.", f"blocks.{layer}."
        a = h + "self_attn."
        copy_qkv(t, out, (a + "q_proj", a + "k_proj", a + "v_proj"), b, cfg)
        copy_out(t, out, a + "dense", b, cfg)
        copy_linears(t, out, h + "mlp.", b + "mlp.", {"fc1": "in", "fc2": "out"})
        copy_norm(t, out, h + "input_layernorm", b + "ln1")
        copy_norm(t, out, h + "input_layernorm", b + "ln2")
    finish(t, out, "final_layernorm", "lm_head", "embed_tokens")
    return Model(cfg, out)


READERS = {
    "bloom": read_bloom,
    "falcon": read_falcon,
    "gpt2": read_gpt2,
    "gpt_bigcode": read_gpt_linear,
    "gpt_neo": read_gpt_neo,
    "gpt_neox": read_gpt_neox,
    "gptj": read_gptj,
    "mingpt": read_gpt_linear,
    "mpt": read_mpt,
    "nanogpt": read_gpt_linear,
    "opt": read_opt,
    "phi": read_phi,
}
