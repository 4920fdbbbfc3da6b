# SPDX-License-Identifier: MIT
"""A model that is open: what it is, its weights, its tokenizer, its analyses."""

from __future__ import annotations

import os
import weakref
from typing import Any, NoReturn

import numpy as np

from otimes._analyses import Analyses
from otimes._compare import compare, diff
from otimes._config import Config, Handle, Process, config_of
from otimes._errors import ArgumentError, Failure, UnsupportedError
from otimes._otimes import ffi, lib
from otimes._results import one_blas_thread, text_of
from otimes._settings import Filled, file_name, flag, head, integer
from otimes._tokens import tokens
from otimes._weights import LAYER_WEIGHTS, MLP, Array, ExpertMemory, Kept, Layers, LayerWeight, RowWeight, Unembedding, read_rows
from otimes.factored import FactoredMatrix

__all__ = ["Config", "Model", "build_info", "compare", "diff", "open", "tokens", "version"]

one_blas_thread()
lib.otimes_py_install()


def version() -> str:
    """Version of the library."""
    return text_of(lib.otimes_version()) or ""


def build_info() -> str:
    """How the library's BLAS was built."""
    return text_of(lib.otimes_build_blas()) or ""


class Model(Analyses):
    """A model that is open: made by `otimes.open` and `otimes.from_torch`.

    Weights stay in their files and are read when asked for, processed as the model was opened. Safe
    to use from several threads; long calls release the GIL. Closes at the end of a `with` block, by
    `close()`, or with its last reference; arrays that were taken from it stay valid.
    """

    _layers: Layers
    _kept: Kept
    W_Q: LayerWeight
    W_K: LayerWeight
    W_V: LayerWeight
    W_O: LayerWeight
    b_Q: LayerWeight
    b_K: LayerWeight
    b_V: LayerWeight
    b_O: LayerWeight
    W_in: LayerWeight
    W_gate: LayerWeight
    W_out: LayerWeight
    b_in: LayerWeight
    b_gate: LayerWeight
    b_out: LayerWeight
    ln1_w: LayerWeight
    ln1_b: LayerWeight
    ln2_w: LayerWeight
    ln2_b: LayerWeight
    ln1_post_w: LayerWeight
    ln2_post_w: LayerWeight
    q_norm_w: LayerWeight
    k_norm_w: LayerWeight
    sinks: LayerWeight
    W_router: LayerWeight
    b_router: LayerWeight
    shared_W_in: LayerWeight
    shared_W_gate: LayerWeight
    shared_W_out: LayerWeight
    shared_W_router: LayerWeight

    def __init__(self) -> None:
        raise TypeError("otimes.Model: made by otimes.open(path) or otimes.from_torch(model)")

    @classmethod
    def _from_handle(cls, pointer: Any, *, keep: object = None, tokenizer: Any = None, opened: str = "model",
                     sha256: bool = True, changing: bool = False) -> Model:
        """A Model around an `otimes_model *` that it owns from now on.

        keep: what must live as long as the library's model. tokenizer: a path, or an AnyTokenizer; None: the one beside the weights. opened: how results write it. changing: weights may change between
        calls, so nothing that was read is remembered.
        """
        Process.use()
        self = object.__new__(cls)
        self._handle = Handle(pointer, keep)
        self._cfg = config_of(pointer)
        self._opened = opened
        self._sha256 = None
        self._hash, self._changing = sha256, changing
        self._begin_tokens(tokenizer)
        reference = weakref.ref(self)

        def living() -> Any:
            model = reference()
            if model is None:
                raise ArgumentError("model: expected one that is open, got one that is gone")
            return model._open_handle().pointer

        self._layers = Layers(living, remember=not changing)
        self._kept = {}
        return self

    # ---- open and closed ----

    def close(self) -> None:
        """Lets go of the files; twice is fine. A call that still runs elsewhere ends first."""
        self._handle = None
        self._forget_tokens()
        self._layers.forget()

    def __enter__(self) -> Model:
        self._open_handle()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("otimes.Model: cannot be pickled or copied: it is a map of open files; open it again by path")

    def __repr__(self) -> str:
        c = self._cfg
        state = "closed, " if self.closed else ""
        return (f"<otimes.Model {c.path}: {state}{c.architecture}, {c.n_layers} layers, {c.n_heads} heads, "
                f"d_model {c.d_model}, d_vocab {c.d_vocab}>")

    def tensors(self) -> list[dict[str, Any]]:
        """The tensors of the files: name, dtype, shape, bytes, part, layer."""
        pointer, failure, info = self._open_handle().pointer, Failure(), ffi.new("otimes_tensor_info *")
        out = []
        for index in range(self._cfg.tensor_count):
            failure.check(lib.otimes_model_tensor(pointer, index, info, failure.err))
            out.append({"name": text_of(info.name), "dtype": text_of(info.dtype),
                        "shape": tuple(info.dim[i] for i in range(info.ndim)), "bytes": info.bytes,
                        "part": text_of(info.part), "layer": info.layer if info.layer >= 0 else None})
        return out

    # ---- weights ----

    def _layer_weight(self, name: str) -> LayerWeight:
        self._open_handle()
        part, axes = LAYER_WEIGHTS[name]
        shape = tuple(getattr(self._cfg, axis) for axis in axes.split())
        if 0 in shape:
            raise UnsupportedError(f"{name}: this {self._cfg.architecture} model has none{self._why_none(name)}")

        def layer(index: int) -> Array:
            array = self._layers.part(index, part).array(name)
            if array is not None:
                return array
            if name.startswith("b_") and self._has(name, index):
                zeros = np.zeros(shape, np.float32)
                zeros.flags.writeable = False
                return zeros
            raise UnsupportedError(f"{name}: layer {index} of this {self._cfg.architecture} model has none"
                                   f"{self._why_none(name)}")

        return LayerWeight(name, (self._cfg.n_layers, *shape), layer)

    def _has(self, bias: str, layer: int) -> bool:
        """Whether the weight that a bias stands beside is there: a bias that is not is zero."""
        weight = "W_" + bias[2:]
        part = LAYER_WEIGHTS[weight][0]
        return self._layers.part(layer, part).array(weight) is not None

    def _why_none(self, name: str) -> str:
        if "ln" in name and self._cfg.fold_ln == "applied":
            return ": norm weights are folded (fold_ln=False leaves them)"
        if not self._cfg.n_layers:
            return ": it has no layers"
        if LAYER_WEIGHTS.get(name, (None, ""))[0] == MLP and self._cfg.mlp == "none":
            return ": it has no MLPs"
        if "d_mlp" in LAYER_WEIGHTS.get(name, (None, ""))[1] and self._cfg.n_experts:
            return ": its MLPs are experts, expert(layer, expert) has them"
        return ""

    def _row_weight(self, name: str) -> RowWeight:
        self._open_handle()
        c, kept = self._cfg, None if self._changing else self._kept
        if name == "W_U":
            read = read_rows(lib.otimes_unembed_rows, lambda: self._unembedding().opened, c.d_model)
            return RowWeight(name, (c.d_model, c.d_vocab_out), read, kept, columns=True)
        call, count = ((lib.otimes_embed_rows, c.d_vocab) if name == "W_E" else (lib.otimes_position_rows, c.n_ctx))
        return RowWeight(name, (count, c.d_model),
                         read_rows(call, lambda: self._open_handle().pointer, c.d_model), kept)

    def _unembedding(self) -> Unembedding:
        handle = self._open_handle()
        if handle.unembedding is None or self._changing:
            handle.unembedding = Unembedding(handle.pointer)
        return handle.unembedding

    @property
    def W_E(self) -> RowWeight:
        """Embedding [d_vocab, d_model]."""
        return self._row_weight("W_E")

    @property
    def W_pos(self) -> RowWeight:
        """Learned positions [n_ctx, d_model]."""
        if self._cfg.positions not in ("learned", "shortformer"):
            raise UnsupportedError(f"W_pos: expected a model with learned positions, got {self._cfg.positions}")
        return self._row_weight("W_pos")

    @property
    def W_U(self) -> RowWeight:
        """Unembedding [d_model, d_vocab_out]."""
        return self._row_weight("W_U")

    @property
    def b_U(self) -> Array:
        """Bias of the logits [d_vocab_out]; zeros where the model has none."""
        found = self._unembedding().vector("bias", self._cfg.d_vocab_out)
        return np.zeros(self._cfg.d_vocab_out, np.float32) if found is None else found

    @property
    def ln_final_w(self) -> Array:
        """Weight of the final norm [d_model], where it is not folded."""
        return self._final("ln_w")

    @property
    def ln_final_b(self) -> Array:
        """Bias of the final norm [d_model], where it is not folded."""
        return self._final("ln_b")

    def _final(self, name: str) -> Array:
        found = self._unembedding().vector(name, self._cfg.d_model)
        if found is None:
            raise UnsupportedError(f"ln_final{name[2:]}: this model has none{self._why_none(name)}")
        return found

    def expert(self, layer: int, expert: int) -> dict[str, Array]:
        """One expert's W_in, W_gate [d_model, d_expert], W_out [d_expert, d_model] and biases, as views."""
        layer, expert = integer(layer, "layer"), integer(expert, "expert")
        return ExpertMemory(self._open_handle().pointer, layer, expert).arrays()

    def layer_info(self, layer: int) -> dict[str, Any]:
        """What differs from layer to layer: window (0: none), rope_theta (0: not rotated), experts."""
        failure, info = Failure(), ffi.new("otimes_layer_info *")
        failure.check(lib.otimes_layer_describe(self._open_handle().pointer, integer(layer, "layer"), info, failure.err))
        return {"window": info.window, "rope_theta": info.rope_theta, "experts": bool(info.experts)}

    # ---- heads ----

    def _head(self, layer: Any, number: Any) -> tuple[int, int]:
        place = layer if number is None else (layer, number)
        return head(place, self._cfg.n_layers, self._cfg.n_heads)

    def kv_head(self, number: int) -> int:
        """The key/value head that a query head reads."""
        query, count = integer(number, "head"), self._cfg.n_heads
        if not 0 <= query < count:
            raise ArgumentError(f"head: expected 0 to {count - 1}, got {query}")
        return query // (count // self._cfg.n_kv_heads)

    def _side(self, name: str, layer: Any, number: Any) -> Array:
        place, query = self._head(layer, number)
        grouped = name in ("W_K", "W_V")
        found: Array = self._layer_weight(name)[place, self.kv_head(query) if grouped else query]
        return found

    def Q(self, layer: int | str, head: int | None = None) -> Array:
        """W_Q of a query head [d_model, d_head]: `Q(1, 0)`, `Q("1.0")` or `Q("L1H0")`."""
        return self._side("W_Q", layer, head)

    def K(self, layer: int | str, head: int | None = None) -> Array:
        """W_K [d_model, d_head] that a query head meets; heads of a group share it, nothing is repeated."""
        return self._side("W_K", layer, head)

    def V(self, layer: int | str, head: int | None = None) -> Array:
        """W_V [d_model, d_head] that a query head reads; heads of a group share it, nothing is repeated."""
        return self._side("W_V", layer, head)

    def O(self, layer: int | str, head: int | None = None) -> Array:  # noqa: E743
        """W_O of a query head [d_head, d_model]."""
        return self._side("W_O", layer, head)

    def OV(self, layer: int | str, head: int | None = None) -> FactoredMatrix:
        """W_V W_O [d_model, d_model]: row = what is read, column = what is written."""
        self._open_handle()
        return FactoredMatrix(self.V(layer, head), self.O(layer, head))

    def QK(self, layer: int | str, head: int | None = None) -> FactoredMatrix:
        """W_Q W_K^T [d_model, d_model]: row = destination, column = source; not divided by attn_scale."""
        self._open_handle()
        return FactoredMatrix(self.Q(layer, head), self.K(layer, head).T)


def layer_property(name: str) -> property:
    shape = ", ".join(["n_layers", *LAYER_WEIGHTS[name][1].split()])
    doc = f"[{shape}], read when indexed: `model.{name}[layer]` is a view."
    if "n_kv_heads" in shape:
        doc += " One for each key/value head (TransformerLens repeats them for each query head)."
    return property(lambda self: self._layer_weight(name), doc=doc)


for _name in LAYER_WEIGHTS:
    setattr(Model, _name, layer_property(_name))


def open(path: str | os.PathLike[str], *, raw: bool = False, fold_ln: bool | None = None,  # noqa: A001
         center_writing_weights: bool | None = None, center_unembed: bool | None = None,
         fold_value_biases: bool | None = None, threads: int = 0, config: str | os.PathLike[str] | None = None,
         state_dict: str | None = None, sha256: bool = True) -> Model:
    """Opens a model: a directory (config.json and weights) or one file; only headers are read.

    raw: no processing of weights. fold_ln, center_writing_weights, center_unembed,
    fold_value_biases: one step, on or off (None: as `raw` says); TransformerLens' defaults are ours.
    threads: of otimes' own loops, 0: every available one. config: configuration file. state_dict:
    which dictionary of a nested checkpoint holds the weights. sha256: results carry the files' hash,
    which the first analysis takes; False leaves the pass over the files out.

    A checkpoint that is written over while it is open (not one that is replaced by rename): what was
    read stays, and the next call that reads it raises FileError.

    Raises FileError, FormatError, ModelError, UnsupportedError, each with one line that says why.
    """
    steps = {"fold_ln": fold_ln, "center_writing_weights": center_writing_weights,
             "center_unembed": center_unembed, "fold_value_biases": fold_value_biases}
    values: dict[str, Any] = {name: not flag(raw, "raw") if value is None else flag(value, name) for name, value in steps.items()}
    values["threads"] = threads
    values["config_path"] = None if config is None else file_name(config, "config")
    values["state_dict"] = state_dict
    name, hashed = file_name(path, "path"), flag(sha256, "sha256")
    settings, failure, box = Filled("otimes_model_settings", values), Failure(), ffi.new("otimes_model **")
    failure.check(lib.otimes_model_open(box, name, settings.struct, failure.err))
    given = {"raw": raw or None, **steps, "threads": threads or None, "config": config, "state_dict": state_dict}
    words = [repr(os.fsdecode(name))] + [f"{k}={v!r}" for k, v in given.items() if v is not None]
    return Model._from_handle(box[0], opened=f"otimes.open({', '.join(words)})", sha256=hashed)
