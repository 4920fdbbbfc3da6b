# SPDX-License-Identifier: MIT
"""What a model is once read, whatever file it came from: its configuration and its canonical
float64 weights under TransformerLens' names, row vectors throughout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray
Tensors = dict[str, Array]


@dataclass(frozen=True)
class Experts:
    """How a mixture of experts weighs its experts."""

    active: int  # experts a token
    normalise: bool  # the weights of the chosen experts sum to 1
    limit: float = 0.0  # the gate is clamped from above and the other factor on both sides; 0: not
    alpha: float = 1.0  # with a limit: gate * sigmoid(alpha * gate) * (other + 1)


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
    positions: str  # "learned", "shortformer", "rotary", "alibi" or "none"
    attn_scale: float  # scores are divided by it
    activation: str
    rope_theta: float = 0.0
    rope_scaling: dict[str, Any] | None = None  # as config.json has it
    sliding_window: int = 0  # 0: none
    rotary_dim: int = 0  # the first entries of a head that are rotated; 0: all
    rotary_adjacent: bool = False  # pairs (2i, 2i + 1), not (i, i + half)
    layer_rope: tuple[dict[str, Any] | None, ...] = ()  # where layers differ; None: no rotation
    layer_windows: tuple[int, ...] = ()  # where layers differ; 0: none
    alibi_scale: float = 1.0  # factor of the ALiBi slopes
    causal: bool = True
    parallel: bool = False  # attention and MLP read the same residual
    pre_norm: bool = True  # False: ln1 and ln2 do not exist, blocks read the residual itself
    qk_norm: str | None = None  # "LN" or "RMS" of each query and key head
    qk_norm_joint: bool = False  # one mean over all heads instead
    attn_cap: float = 0.0  # cap * tanh(scores / cap); 0: none
    logit_cap: float = 0.0
    clip_qkv: float = 0.0  # queries, keys and values clamped to +-clip; 0: not
    experts: Experts | None = None

    def kv(self, head: int) -> int:
        """The key/value head that query head ``head`` reads."""
        return head // (self.n_heads // self.n_kv_heads)

    def window(self, layer: int) -> int:
        """Positions a query sees, itself included; 0: all."""
        return self.layer_windows[layer] if self.layer_windows else self.sliding_window

    def rope(self, layer: int) -> dict[str, Any] | None:
        """Base and rescaling of a layer's rotation, None where it has none."""
        if self.positions != "rotary":
            return None
        if self.layer_rope:
            return self.layer_rope[layer]
        return (
            {"rope_type": "default"} | (self.rope_scaling or {}) | {"rope_theta": self.rope_theta}
        )


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
    """Whether a canonical name is the weight or bias of a norm that can be folded."""
    return name.split(".")[-2] in ("ln1", "ln2", "ln_final")


# ------------------------------------------------------------------------ for the readers


def heads_in_columns(matrix: Array, heads: int) -> Array:
    """[d_model, heads * d_head] -> [heads, d_model, d_head]."""
    d_model = matrix.shape[0]
    return matrix.reshape(d_model, heads, -1).transpose(1, 0, 2)


def heads_in_rows(matrix: Array, heads: int) -> Array:
    """[heads * d_head, d_model] -> [heads, d_head, d_model]."""
    return matrix.reshape(heads, -1, matrix.shape[1])


def copy_present(
    src: Tensors, dst: Tensors, src_at: str, dst_at: str, names: dict[str, str]
) -> None:
    """Copies those of ``names`` that exist in ``src``."""
    for theirs, ours in names.items():
        if src_at + theirs in src:
            dst[dst_at + ours] = src[src_at + theirs]


def copy_linears(
    src: Tensors, dst: Tensors, src_at: str, dst_at: str, names: dict[str, str]
) -> None:
    """Copies nn.Linear layers [out, in] with the biases they have: `in` gives W_in and b_in."""
    for theirs, ours in names.items():
        dst[f"{dst_at}W_{ours}"] = src[f"{src_at}{theirs}.weight"].T
        if f"{src_at}{theirs}.bias" in src:
            dst[f"{dst_at}b_{ours}"] = src[f"{src_at}{theirs}.bias"]


def copy_norm(src: Tensors, dst: Tensors, theirs: str, ours: str, offset: float = 0.0) -> None:
    """Copies a norm's weight (plus ``offset``) and the bias it may have."""
    dst[ours + ".w"] = src[theirs + ".weight"] + offset
    if theirs + ".bias" in src:
        dst[ours + ".b"] = src[theirs + ".bias"]


def put_qkv(dst: Tensors, at: str, part: str, weight: Array, bias: Array | None) -> None:
    """One of Q, K, V from its rows [heads, d_head, d_model] and bias [heads, d_head]."""
    dst[f"{at}attn.W_{part}"] = weight.transpose(0, 2, 1)
    if bias is not None:
        dst[f"{at}attn.b_{part}"] = bias


def copy_qkv(src: Tensors, dst: Tensors, names: tuple[str, str, str], at: str, cfg: Config) -> None:
    """Three nn.Linear of queries, keys and values."""
    for part, name in zip("QKV", names, strict=True):
        heads = cfg.n_heads if part == "Q" else cfg.n_kv_heads
        bias = src.get(name + ".bias")
        put_qkv(
            dst,
            at,
            part,
            src[name + ".weight"].reshape(heads, cfg.d_head, cfg.d_model),
            None if bias is None else bias.reshape(heads, cfg.d_head),
        )


def copy_out(src: Tensors, dst: Tensors, name: str, at: str, cfg: Config) -> None:
    """The nn.Linear behind the heads."""
    dst[at + "attn.W_O"] = heads_in_rows(src[name + ".weight"].T, cfg.n_heads)
    if name + ".bias" in src:
        dst[at + "attn.b_O"] = src[name + ".bias"]


def split_interleaved(src: Tensors, dst: Tensors, name: str, at: str, cfg: Config) -> None:
    """One nn.Linear whose rows are (group, its queries | key | value, d_head): one query to a group
    in BLOOM, GPT-NeoX and the first Falcon, several in the second Falcon."""
    each = cfg.n_heads // cfg.n_kv_heads
    rows = src[name + ".weight"].reshape(cfg.n_kv_heads, each + 2, cfg.d_head, cfg.d_model)
    bias = src.get(name + ".bias")
    if bias is not None:
        bias = bias.reshape(cfg.n_kv_heads, each + 2, cfg.d_head)
    for part, of in (
        ("Q", slice(0, each)),
        ("K", slice(each, each + 1)),
        ("V", slice(each + 1, None)),
    ):
        put_qkv(
            dst,
            at,
            part,
            rows[:, of].reshape(-1, cfg.d_head, cfg.d_model),
            None if bias is None else bias[:, of].reshape(-1, cfg.d_head),
        )


def split_rows(src: Tensors, dst: Tensors, name: str, at: str, cfg: Config) -> None:
    """One nn.Linear whose rows are all queries, then all keys, then all values."""
    sizes = [n * cfg.d_head for n in (cfg.n_heads, cfg.n_kv_heads, cfg.n_kv_heads)]
    cuts = np.cumsum(sizes)[:-1]
    weights = np.split(src[name + ".weight"], cuts)
    bias = src.get(name + ".bias")
    biases = [None] * 3 if bias is None else np.split(bias, cuts)
    for part, weight, b in zip("QKV", weights, biases, strict=True):
        put_qkv(
            dst,
            at,
            part,
            weight.reshape(-1, cfg.d_head, cfg.d_model),
            None if b is None else b.reshape(-1, cfg.d_head),
        )


def strip_prefix(files: Tensors, *prefixes: str) -> Tensors:
    """The tensors without the prefixes that some files carry."""
    out = files
    for prefix in prefixes:
        out = {k.removeprefix(prefix): v for k, v in out.items()}
    return out
