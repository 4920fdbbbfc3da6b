# SPDX-License-Identifier: MIT
"""Weights as arrays that are read when they are asked for."""

from __future__ import annotations

import operator
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Self

import numpy as np
import numpy.lib.mixins
import numpy.typing as npt

from otimes._errors import Failure, UnsupportedError
from otimes._otimes import ffi, lib
from otimes._results import view

Array = npt.NDArray[np.float32]
Read = Callable[[int, int], Array]
Kept = dict[str, "weakref.ReferenceType[Array]"]

Q, K, V, O, MLP = (lib.OTIMES_PART_Q, lib.OTIMES_PART_K, lib.OTIMES_PART_V, lib.OTIMES_PART_O, lib.OTIMES_PART_MLP)

# Weights of a layer: which part of it holds them, and what lies along their axes.
LAYER_WEIGHTS: dict[str, tuple[int, str]] = {
    "W_Q": (Q, "n_heads d_model d_head"),
    "W_K": (K, "n_kv_heads d_model d_head"),
    "W_V": (V, "n_kv_heads d_model d_head"),
    "W_O": (O, "n_heads d_head d_model"),
    "b_Q": (Q, "n_heads d_head"),
    "b_K": (K, "n_kv_heads d_head"),
    "b_V": (V, "n_kv_heads d_head"),
    "b_O": (O, "d_model"),
    "W_in": (MLP, "d_model d_mlp"),
    "W_gate": (MLP, "d_model d_mlp"),
    "W_out": (MLP, "d_mlp d_model"),
    "b_in": (MLP, "d_mlp"),
    "b_gate": (MLP, "d_mlp"),
    "b_out": (MLP, "d_model"),
    "ln1_w": (Q, "d_model"),
    "ln1_b": (Q, "d_model"),
    "ln2_w": (MLP, "d_model"),
    "ln2_b": (MLP, "d_model"),
    "ln1_post_w": (O, "d_model"),
    "ln2_post_w": (MLP, "d_model"),
    "q_norm_w": (Q, "n_heads d_head"),
    "k_norm_w": (K, "n_kv_heads d_head"),
    "sinks": (Q, "n_heads"),
    "W_router": (MLP, "d_model n_experts"),
    "b_router": (MLP, "n_experts"),
    "shared_W_in": (MLP, "d_model d_shared_expert"),
    "shared_W_gate": (MLP, "d_model d_shared_expert"),
    "shared_W_out": (MLP, "d_shared_expert d_model"),
    "shared_W_router": (MLP, "d_model"),
}
EXPERT_WEIGHTS = ("W_in", "W_gate", "W_out", "b_in", "b_gate", "b_out")
RECENT = 4  # parts of attention that stay read although nothing shows them


class LayerMemory:
    """One part of a layer; freed with the last array that shows any of it."""

    def __init__(self, model: Any, layer: int, part: int) -> None:
        failure = Failure()
        self.layer = ffi.new("otimes_layer *")
        failure.check(lib.otimes_layer_load(model, layer, part, self.layer, failure.err))
        self.layer = ffi.gc(self.layer, lib.otimes_layer_free)

    def array(self, name: str) -> Array | None:
        return tensor_view(getattr(self.layer, name), self)


class ExpertMemory:
    """One expert of a layer."""

    def __init__(self, model: Any, layer: int, expert: int) -> None:
        failure = Failure()
        self.expert = ffi.new("otimes_expert *")
        failure.check(lib.otimes_expert_load(model, layer, expert, self.expert, failure.err))
        self.expert = ffi.gc(self.expert, lib.otimes_expert_free)

    def arrays(self) -> dict[str, Array]:
        found = {name: tensor_view(getattr(self.expert, name), self) for name in EXPERT_WEIGHTS}
        return {name: array for name, array in found.items() if array is not None}


def tensor_view(tensor: Any, owner: object) -> Array | None:
    """A read-only array over an otimes_tensor; None where the model has none."""
    if tensor.data == ffi.NULL:
        return None
    shape = tuple(tensor.dim[i] for i in range(tensor.ndim))
    strides = tuple(4 * tensor.stride[i] for i in range(tensor.ndim))
    return view(tensor.data, "<f4", shape, owner, strides)


class Layers:
    """Parts of layers as they are asked for; one that something still shows is not read again."""

    def __init__(self, pointer: Callable[[], Any], remember: bool = True) -> None:
        self.pointer, self.remember = pointer, remember
        self.lock = threading.Lock()
        self.shown: weakref.WeakValueDictionary[tuple[int, int], LayerMemory] = weakref.WeakValueDictionary()
        self.recent: OrderedDict[tuple[int, int], LayerMemory] = OrderedDict()

    def part(self, layer: int, part: int) -> LayerMemory:
        model = self.pointer()
        if not self.remember:
            return LayerMemory(model, layer, part)
        with self.lock:
            memory = self.shown.get((layer, part))
        if memory is None:
            memory = LayerMemory(model, layer, part)
        with self.lock:
            memory = self.shown.setdefault((layer, part), memory)
            if part != MLP:
                self.recent[layer, part] = memory
                self.recent.move_to_end((layer, part))
                while len(self.recent) > RECENT:
                    self.recent.popitem(last=False)
        return memory

    def forget(self) -> None:
        with self.lock:
            self.recent.clear()
            self.shown = weakref.WeakValueDictionary()


def position_of(index: Any, length: int, what: str) -> int:
    """An index as Python counts, negative ones from the end."""
    try:
        place = operator.index(index)
    except TypeError:
        raise IndexError(f"{what}: expected an integer, a slice or an array of integers, got {index!a}") from None
    if not -length <= place < length:
        raise IndexError(f"{what}: expected {-length} to {length - 1}, got {place}")
    return place % length


def within(array: Array, key: Any, name: str) -> Any:
    """array[key]; NumPy's own error does not say of what."""
    try:
        return array[key]
    except IndexError as error:
        raise IndexError(f"{name}: entries of {list(array.shape)}: {error}") from None


class Lazy(numpy.lib.mixins.NDArrayOperatorsMixin):
    """An array that is read when it is asked for; NumPy takes it wherever it takes an array."""

    name: str
    shape: tuple[int, ...]
    dtype = np.dtype(np.float32)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def T(self) -> Array:
        """The whole array, its axes the other way round."""
        whole = self.whole()
        return whole.T

    def whole(self) -> Array:
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError(f"{self.name}: expected copy=None or True: the whole is put together when asked for")
        return np.array(self.whole(), dtype, copy=copy)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"{self.name}: cannot be pickled: it reads from an open model; np.asarray(...) of it can")

    def __copy__(self) -> Self:
        return self  # nothing can be written to it

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        for to in kwargs.get("out") or ():
            if isinstance(to, Lazy):
                raise TypeError(f"{to.name}: expected an array to write to, got a weight of a model")
        arrays = [x.whole() if isinstance(x, Lazy) else x for x in inputs]
        return getattr(ufunc, method)(*arrays, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.name} {list(self.shape)} float32, read when indexed>"


class LayerWeight(Lazy):
    """A weight of every layer, [layer, ...]: `W_Q[l, h]` is a view of the library's own memory.

    Several layers at once are stacked, which copies. Entry by layer is read-only.
    """

    def __init__(self, name: str, shape: tuple[int, ...], layer: Callable[[int], Array]) -> None:
        self.name, self.shape, self.layer = name, shape, layer

    def __getitem__(self, key: Any) -> Any:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        if first is Ellipsis or first is None or isinstance(key, tuple) and not key:
            return within(self.whole(), key, self.name)
        if isinstance(first, slice):
            chosen = range(self.shape[0])[first]
        elif np.ndim(first) == 0 and not isinstance(first, (bool, np.bool_)):
            array = self.layer(position_of(first, self.shape[0], f"{self.name}: layer"))
            return within(array, rest, self.name) if rest else array
        else:
            return within(self.whole(), key, self.name)
        return within(self.stack(chosen), (slice(None), *rest), self.name)

    def __iter__(self) -> Iterator[Array]:
        return (self.layer(i) for i in range(self.shape[0]))

    def stack(self, layers: range) -> Array:
        out = np.empty((len(layers), *self.shape[1:]), np.float32)
        for place, layer in enumerate(layers):
            array = self.layer(layer)
            if array.shape != out.shape[1:]:
                raise UnsupportedError(f"{self.name}: layers differ in shape: {list(out.shape[1:])} of the "
                                       f"model, {list(array.shape)} of layer {layer}; take them one by one")
            out[place] = array
        return out

    def whole(self) -> Array:
        return self.stack(range(self.shape[0]))


class RowWeight(Lazy):
    """A weight that is read by rows: W_E and W_pos, and W_U by its columns."""

    def __init__(self, name: str, shape: tuple[int, ...], read: Read, kept: Kept | None, columns: bool = False) -> None:
        self.name, self.shape, self.read, self.columns = name, shape, read, columns
        self.count = shape[1] if columns else shape[0]
        self.kept = kept  # the whole while something shows it; None: weights may change

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        axis = 1 if self.columns else 0
        plain = len(keys) <= 2 and not any(k is Ellipsis or k is None for k in keys)
        if not plain or len(keys) <= axis or (self.columns and not isinstance(keys[0], slice)):
            return within(self.whole(), key, self.name)
        rows, other = keys[axis], (keys[0] if self.columns else keys[1] if len(keys) > 1 else slice(None))
        pairs = np.ndim(rows) > 0 and not isinstance(other, slice) and np.ndim(other) > 0  # entry by entry
        found = None if pairs else self.rows(rows)
        if found is None:
            return within(self.whole(), key, self.name)
        picked = within(found, (..., other), self.name)
        return np.moveaxis(picked, -1, 0) if self.columns else picked

    def rows(self, chosen: Any) -> Array | None:
        """The chosen rows alone; None where the whole is as good."""
        if isinstance(chosen, slice):
            span = range(self.count)[chosen]
            return self.read(span[0], len(span)) if len(span) and span.step == 1 else None
        index = np.asarray(chosen)
        if index.dtype.kind not in "iu":
            return None
        if index.ndim == 0:
            row: Array = self.read(position_of(index, self.count, self.name), 1)[0]
            return row
        if index.size > self.count // 4:
            return None
        flat = [self.read(position_of(i, self.count, self.name), 1)[0] for i in index.reshape(-1)]
        return np.array(flat, np.float32).reshape(*index.shape, self.shape[0 if self.columns else 1])

    def __iter__(self) -> Iterator[Array]:
        return iter(self.whole())

    def whole(self) -> Array:
        found = self.kept[self.name]() if self.kept and self.name in self.kept else None
        if found is None:
            found = self.read(0, self.count)
            found.flags.writeable = False
            if self.kept is not None:
                self.kept[self.name] = weakref.ref(found)
        return found.T if self.columns else found


def read_rows(call: Callable[..., int], source: Callable[[], Any], width: int) -> Read:
    """Rows by one of the library's calls that fill the caller's memory."""

    def read(first: int, count: int) -> Array:
        out = np.empty((count, width), np.float32)
        if count:
            failure = Failure()
            failure.check(call(source(), first, count, ffi.from_buffer("float *", out), failure.err))
        return out

    return read


class Unembedding:
    """The unembedding made ready: folding and centring need a pass over it first."""

    def __init__(self, pointer: Any) -> None:
        def free(unembed: Any, model: Any = pointer, call: Any = lib.otimes_unembed_free) -> None:
            call(unembed)  # the model is held until then

        failure = Failure()
        opened = ffi.new("otimes_unembed *")
        failure.check(lib.otimes_unembed_open(pointer, opened, failure.err))
        self.opened = ffi.gc(opened, free)

    def vector(self, name: str, length: int) -> Array | None:
        pointer = getattr(self.opened, name)
        return None if pointer == ffi.NULL else view(pointer, "<f4", (length,), self)
