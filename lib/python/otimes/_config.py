# SPDX-License-Identifier: MIT
"""What a model is, and the library's hold on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from otimes._errors import ArgumentError, UnsupportedError
from otimes._otimes import ffi, lib
from otimes._results import Sink, one_blas_thread, text_of

if TYPE_CHECKING:
    from otimes._weights import Unembedding


@dataclass(frozen=True)
class Config:
    """What a model is: `otimes_model_info`, and TransformerLens' further names for it as properties."""

    path: str
    architecture: str
    format: str
    dtype: str
    activation: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    d_vocab: int
    d_vocab_out: int
    n_ctx: int
    norm: str
    eps: float
    positions: str
    rope_theta: float
    rotary_dim: int
    attn_scale: float
    sliding_window: int
    mlp: str
    parallel: bool
    bidirectional: bool
    pre_norm: bool
    post_norm: bool
    embed_norm: bool
    qk_norm: str
    attn_softcap: float
    final_softcap: float
    clip_qkv: float
    attention_sinks: bool
    n_experts: int
    n_experts_active: int
    d_expert: int
    d_shared_expert: int
    routing: str
    tied: bool
    qkv_bias: bool
    fold_ln: str
    center_writing_weights: str
    center_unembed: str
    fold_value_biases: str
    tensor_count: int
    file_bytes: int

    @property
    def model_name(self) -> str:
        return os.path.basename(os.path.normpath(self.path))

    @property
    def n_key_value_heads(self) -> int:
        return self.n_kv_heads

    @property
    def act_fn(self) -> str:
        return self.activation

    @property
    def attn_only(self) -> bool:
        return self.mlp == "none"

    @property
    def gated_mlp(self) -> bool:
        return self.mlp == "gated"

    @property
    def parallel_attn_mlp(self) -> bool:
        return self.parallel

    @property
    def normalization_type(self) -> str | None:
        """"LN" or "RMS", "LNPre" or "RMSPre" where the weights of norms are folded, None without."""
        kind = {"LayerNorm": "LN", "RMSNorm": "RMS"}.get(self.norm)
        folded = self.fold_ln in ("applied", "done in the file")
        return f"{kind}Pre" if kind and folded else kind

    @property
    def positional_embedding_type(self) -> str:
        names = {"learned": "standard", "ALiBi": "alibi"}
        return names.get(self.positions, self.positions)

    @property
    def attention_dir(self) -> str:
        return "bidirectional" if self.bidirectional else "causal"

    @property
    def num_experts(self) -> int | None:
        return self.n_experts or None

    @property
    def experts_per_token(self) -> int | None:
        return self.n_experts_active or None


MLPS = {lib.OTIMES_MLP_NONE: "none", lib.OTIMES_MLP_PLAIN: "plain", lib.OTIMES_MLP_GATED: "gated"}
ROUTINGS = {
    lib.OTIMES_ROUTING_NONE: "none",
    lib.OTIMES_ROUTING_TOP_SOFTMAX: "softmax of the chosen",
    lib.OTIMES_ROUTING_SOFTMAX_TOP: "chosen of the softmax",
}
NAMES: dict[str, Callable[[int], str | None]] = {
    "norm": lambda v: text_of(lib.otimes_norm_name(v)),
    "positions": lambda v: text_of(lib.otimes_positions_name(v)),
    "qk_norm": lambda v: text_of(lib.otimes_qk_norm_name(v)),
    "mlp": MLPS.__getitem__,
    "routing": ROUTINGS.__getitem__,
    **dict.fromkeys(["fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"],
                    lambda v: text_of(lib.otimes_step_name(v))),
}


def config_of(pointer: Any) -> Config:
    info = lib.otimes_model_describe(pointer)
    values: dict[str, Any] = {}
    for field in fields(Config):
        value = getattr(info, field.name)
        if field.name in NAMES:
            value = NAMES[field.name](value)
        elif field.type == "str":
            value = text_of(value) or ""
        elif field.type == "bool":
            value = bool(value)
        values[field.name] = value
    return Config(**values)


class Handle:
    """The library's model. Calls that run hold it, so that close() never takes it from under them."""

    def __init__(self, pointer: Any, keep: object = None) -> None:
        def close(model: Any, call: Any = lib.otimes_model_close, new: Any = ffi.new, kept: object = keep,
                  forget: Any = lib.otimes_py_forget) -> None:
            forget(model)
            call(new("otimes_model **", model))

        lib.otimes_py_watch(pointer)
        self.pointer = ffi.gc(pointer, close)
        self.unembedding: Unembedding | None = None


class Process:
    """Threads of the library do not come along when a process is forked: what used them would wait for ever."""

    used = False  # by this process or the one it was forked from
    forked = False

    @classmethod
    def after_fork(cls) -> None:
        cls.forked = cls.used

    @classmethod
    def use(cls) -> None:
        if cls.forked:
            raise UnsupportedError("otimes: expected a process of its own, got one forked from a process that had "
                                   "opened models: use multiprocessing's 'spawn', or threads, which need no copies")
        cls.used = True
        one_blas_thread()


os.register_at_fork(after_in_child=Process.after_fork)


class Opened:
    """What every part of a Model stands on."""

    _handle: Handle | None
    _cfg: Config
    _opened: str  # how results write what was opened
    _sha256: str | None
    _hash: bool
    _changing: bool  # weights may change between calls: nothing is remembered

    def _open_handle(self) -> Handle:
        Process.use()
        handle = self._handle
        if handle is None:
            raise ArgumentError(f"{self._cfg.path}: expected an open model, got one that was closed")
        return handle

    @property
    def cfg(self) -> Config:
        """Dimensions, kinds and processing."""
        return self._cfg

    @property
    def closed(self) -> bool:
        return self._handle is None

    @property
    def sha256(self) -> str:
        """sha256 of the weight files, a line each as sha256sum prints it. Reads every byte, once; Ctrl-C works."""
        if self._sha256 is None or self._changing:
            handle, text = self._open_handle(), ffi.new("char **")
            Sink("sha256", False).run(lambda to, err: lib.otimes_model_sha256_watched(handle.pointer, to, text, err))
            self._sha256 = text_of(text[0])
            lib.otimes_text_release(text)
        return self._sha256 or ""
