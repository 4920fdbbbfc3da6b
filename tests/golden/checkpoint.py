# SPDX-License-Identifier: MIT
"""Reads the checkpoints that otimes reads into canonical float64 weights, in plain NumPy."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
Tensors = dict[str, Array]


# ----------------------------------------------------------------------------- files


def read_safetensors(path: Path) -> Tensors:
    """Every tensor of one file, exactly as float64 (bf16 is the upper half of a float32)."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    body = memoryview(data)[8 + size :]
    tensors: Tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw, kind = body[begin:end], entry["dtype"]
        if kind == "BF16":
            bits = np.frombuffer(raw, "<u2").astype("<u4") << 16
            values = bits.view("<f4")
        elif kind in ("F16", "F32", "F64"):
            values = np.frombuffer(raw, "<f" + str(int(kind[1:]) // 8))
        elif kind in ("BOOL", "U8", "I8", "I64", "I32"):
            code = {"BOOL": "?", "U8": "u1", "I8": "i1", "I64": "<i8", "I32": "<i4"}[kind]
            values = np.frombuffer(raw, code)
        else:
            raise ValueError(f"{path}: {name}: dtype {kind}")
        tensors[name] = values.astype(np.float64).reshape(entry["shape"])
    return tensors


def read_weights(path: Path) -> Tensors:
    """All tensors of a model: one file, or a directory with one file or with shards."""
    if path.is_file():
        return read_safetensors(path)
    index = path / "model.safetensors.index.json"
    if index.is_file():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    tensors: Tensors = {}
    for name in files:
        tensors.update(read_safetensors(path / name))
    return tensors


# ------------------------------------------------------------------------ the model


@dataclass(frozen=True)
class Config:
    """What a model is, independent of the file it came from."""

    architecture: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    d_vocab: int
    d_vocab_out: int
    n_ctx: int
    norm: str | None  # "LN", "RMS" or None
    eps: float
    positions: str  # "learned", "rotary" or "none"
    attn_scale: float  # scores are divided by it
    activation: str
    rope_theta: float = 0.0
    rope_scaling: dict[str, Any] | None = None  # as config.json has it
    sliding_window: int = 0  # 0: none

    def kv(self, head: int) -> int:
        """The key/value head that query head ``head`` reads."""
        return head // (self.n_heads // self.n_kv_heads)


@dataclass(frozen=True)
class Model:
    """A configuration and its canonical weights under TransformerLens' names."""

    cfg: Config
    tensors: Tensors = field(repr=False)

    def get(self, name: str) -> Array | None:
        return self.tensors.get(name)

    def __getitem__(self, name: str) -> Array:
        return self.tensors[name]

    def attn(self, layer: int, name: str) -> Array:
        return self.tensors[f"blocks.{layer}.attn.{name}"]

    def bias(self, layer: int, name: str) -> Array:
        """An attention bias [heads, d_head], zeros where the model has none."""
        found = self.tensors.get(f"blocks.{layer}.attn.{name}")
        heads = self.cfg.n_heads if name == "b_Q" else self.cfg.n_kv_heads
        return np.zeros((heads, self.cfg.d_head)) if found is None else found


def is_norm(name: str) -> bool:
    """Whether a canonical name is a norm's own weight or bias."""
    return name.split(".")[-2] in ("ln1", "ln2", "ln_final")


def heads_in_columns(matrix: Array, heads: int) -> Array:
    """[d_model, heads * d_head] -> [heads, d_model, d_head]."""
    d_model = matrix.shape[0]
    return matrix.reshape(d_model, heads, -1).transpose(1, 0, 2)


def heads_in_rows(matrix: Array, heads: int) -> Array:
    """[heads * d_head, d_model] -> [heads, d_head, d_model]."""
    return matrix.reshape(heads, -1, matrix.shape[1])


def read_gpt2(config: dict[str, Any], files: Tensors) -> Model:
    """GPT-2: Conv1D weights are [in, out]; c_attn holds q, k, v side by side along its columns."""
    t = {k.removeprefix("transformer."): v for k, v in files.items()}
    d_model, heads = config["n_embd"], config["n_head"]
    d_head = d_model // heads
    cfg = Config(
        architecture="gpt2",
        n_layers=config["n_layer"],
        n_heads=heads,
        n_kv_heads=heads,
        d_model=d_model,
        d_head=d_head,
        d_mlp=config.get("n_inner") or 4 * d_model,
        d_vocab=t["wte.weight"].shape[0],
        d_vocab_out=t["wte.weight"].shape[0],
        n_ctx=config["n_positions"],
        norm="LN",
        eps=config["layer_norm_epsilon"],
        positions="learned",
        attn_scale=math.sqrt(d_head),
        activation=config.get("activation_function", "gelu_new"),
    )
    out: Tensors = {"embed.W_E": t["wte.weight"], "pos_embed.W_pos": t["wpe.weight"]}
    for layer in range(cfg.n_layers):
        h, b = f"h.{layer}.", f"blocks.{layer}."
        for i, part in enumerate("QKV"):
            columns = slice(i * d_model, (i + 1) * d_model)
            out[b + f"attn.W_{part}"] = heads_in_columns(
                t[h + "attn.c_attn.weight"][:, columns], heads
            )
            if h + "attn.c_attn.bias" in t:
                out[b + f"attn.b_{part}"] = t[h + "attn.c_attn.bias"][columns].reshape(
                    heads, d_head
                )
        out[b + "attn.W_O"] = heads_in_rows(t[h + "attn.c_proj.weight"], heads)
        out[b + "mlp.W_in"] = t[h + "mlp.c_fc.weight"]
        out[b + "mlp.W_out"] = t[h + "mlp.c_proj.weight"]
        copy_present(
            t,
            out,
            h,
            b,
            {
                "attn.c_proj.bias": "attn.b_O",
                "mlp.c_fc.bias": "mlp.b_in",
                "mlp.c_proj.bias": "mlp.b_out",
                "ln_1.weight": "ln1.w",
                "ln_1.bias": "ln1.b",
                "ln_2.weight": "ln2.w",
                "ln_2.bias": "ln2.b",
            },
        )
    copy_present(t, out, "", "", {"ln_f.weight": "ln_final.w", "ln_f.bias": "ln_final.b"})
    out["unembed.W_U"] = t.get("lm_head.weight", t["wte.weight"]).T
    return Model(cfg, out)


def read_llama(config: dict[str, Any], files: Tensors) -> Model:
    """Llama, Mistral, Qwen2: Linear weights are [out, in]; grouped keys and values."""
    t = files
    d_model, heads = config["hidden_size"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    d_head = config.get("head_dim") or d_model // heads
    embed = (
        t["model.embed_tokens.weight"] if "model.embed_tokens.weight" in t else t["lm_head.weight"]
    )
    rope = config.get("rope_parameters") or {}
    windowed = config["model_type"] == "mistral" or config.get("use_sliding_window", False)
    cfg = Config(
        architecture=config["model_type"],
        n_layers=config["num_hidden_layers"],
        n_heads=heads,
        n_kv_heads=kv_heads,
        d_model=d_model,
        d_head=d_head,
        d_mlp=config["intermediate_size"],
        d_vocab=embed.shape[0],
        d_vocab_out=embed.shape[0],
        n_ctx=config["max_position_embeddings"],
        norm="RMS",
        eps=config["rms_norm_eps"],
        positions="rotary",
        attn_scale=math.sqrt(d_head),
        activation=config["hidden_act"],
        rope_theta=config.get("rope_theta") or rope.get("rope_theta", 10000.0),
        rope_scaling=config.get("rope_scaling") or rope or None,
        sliding_window=(config.get("sliding_window") or 0) if windowed else 0,
    )
    out: Tensors = {"embed.W_E": embed}
    for layer in range(cfg.n_layers):
        h, b = f"model.layers.{layer}.", f"blocks.{layer}."
        for part, count in (("Q", heads), ("K", kv_heads), ("V", kv_heads)):
            name = h + f"self_attn.{part.lower()}_proj."
            out[b + f"attn.W_{part}"] = heads_in_columns(t[name + "weight"].T, count)
            if name + "bias" in t:
                out[b + f"attn.b_{part}"] = t[name + "bias"].reshape(count, d_head)
        out[b + "attn.W_O"] = heads_in_rows(t[h + "self_attn.o_proj.weight"].T, heads)
        for theirs, ours in (("up", "W_in"), ("gate", "W_gate"), ("down", "W_out")):
            out[b + "mlp." + ours] = t[h + f"mlp.{theirs}_proj.weight"].T
        copy_present(
            t,
            out,
            h,
            b,
            {
                "self_attn.o_proj.bias": "attn.b_O",
                "mlp.up_proj.bias": "mlp.b_in",
                "mlp.gate_proj.bias": "mlp.b_gate",
                "mlp.down_proj.bias": "mlp.b_out",
                "input_layernorm.weight": "ln1.w",
                "post_attention_layernorm.weight": "ln2.w",
            },
        )
    out["ln_final.w"] = t["model.norm.weight"]
    out["unembed.W_U"] = t.get("lm_head.weight", embed).T
    return Model(cfg, out)


def read_transformer_lens(config: dict[str, Any], files: Tensors) -> Model:
    """TransformerLens' own names are the canonical ones; `_W_K` is its grouped-query spelling."""
    out: Tensors = {}
    for name, value in files.items():
        if not name.endswith((".mask", ".IGNORE")):
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
        positions="learned",
        attn_scale=float(scale)
        if isinstance(scale, (int, float)) and scale > 0
        else math.sqrt(config["d_head"]),
        activation=config.get("act_fn", ""),
    )
    return Model(cfg, out)


def copy_present(
    src: Tensors, dst: Tensors, src_at: str, dst_at: str, names: dict[str, str]
) -> None:
    """Copies those of ``names`` that exist in ``src``."""
    for theirs, ours in names.items():
        if src_at + theirs in src:
            dst[dst_at + ours] = src[src_at + theirs]


def load(path: str | Path) -> Model:
    """The model at ``path``: a directory, or one .safetensors file with config.json beside it."""
    path = Path(path)
    beside = path.parent if path.is_file() else path
    config = json.loads((beside / "config.json").read_text())
    files = read_weights(path)
    if config.get("model_type") == "gpt2":
        return read_gpt2(config, files)
    if config.get("model_type") in ("llama", "mistral", "qwen2"):
        return read_llama(config, files)
    return read_transformer_lens(config, files)


# ----------------------------------------------------------------------------- token texts


def byte_of_char() -> dict[str, int]:
    """GPT-2's table read backwards: printable bytes stand for themselves, the others follow 256."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in keep}
    rest = [b for b in range(256) if b not in keep]
    return table | {chr(256 + i): b for i, b in enumerate(rest)}


def bytes_to_text(data: bytes) -> str:
    """UTF-8 as it is; each byte that forms no character, and NUL, as <0xHH>."""
    return "".join(
        f"<0x{ord(c) & 0xFF:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF or c == "\0" else c
        for c in data.decode("utf-8", "surrogateescape")
    )


def byte_level_text(piece: str) -> str:
    """What a byte-level BPE piece stands for; pieces outside the alphabet stay as they are."""
    table = byte_of_char()
    if any(c not in table for c in piece):
        return piece
    return bytes_to_text(bytes(table[c] for c in piece))
