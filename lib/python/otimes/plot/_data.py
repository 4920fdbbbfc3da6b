# SPDX-License-Identifier: MIT
"""Results as pictures read them: opening a file, choosing a part of it, names of tokens and heads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import h5netcdf  # type: ignore[import-untyped]
import numpy as np
import xarray as xr

from otimes._read import SCHEMAS
from otimes.plot._errors import PlotError
from otimes.plot._text import plain, shown

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def one_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    return plain(" ".join(str(error).split()) or type(error).__name__, 200)


def open_result(path: str) -> xr.Dataset:
    """A file that a command of otimes wrote. Arrays are read when they are drawn."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(HDF5_SIGNATURE))
    except OSError as error:
        raise PlotError(f"{plain(path)}: {error.strerror}") from None
    if start != HDF5_SIGNATURE:
        raise PlotError(
            f"{plain(path)}: expected HDF5 as the commands of otimes write it, got another format"
        )
    try:
        named = _texts(path)
        data = xr.open_dataset(path, engine="h5netcdf", decode_cf=False, drop_variables=list(named))
        return data.assign(
            {name: text for name, text in named.items() if name not in data.dims}
        ).assign_coords({name: text for name, text in named.items() if name in data.dims})
    except MemoryError:
        raise
    except Exception as error:  # whatever a reader makes of a damaged file
        raise PlotError(f"{plain(path)}: damaged: {one_line(error)}") from None


def _decoded(value: object) -> str:
    """Text of a file; a byte that is no character as <0xHH>, as the program itself writes such tokens."""
    if not isinstance(value, bytes):
        return str(value)
    text = value.decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda found: f"<0x{ord(found[0]) - 0xDC00:02X}>", text)


def _texts(path: str) -> dict[str, xr.Variable]:
    """All texts of a file, one with bytes that are no UTF-8 among them, which xarray's own reader refuses."""
    found = {}
    with h5netcdf.File(path, "r", decode_vlen_strings=False) as file:
        for name, variable in file.variables.items():
            if variable.dtype is str or np.dtype(variable.dtype).kind in "OS":
                raw = np.asarray(variable[...], dtype=object)
                cells = np.array([_decoded(value) for value in raw.flat] or [""], dtype=object)
                cells = cells[: raw.size].reshape(raw.shape)
                found[name] = xr.Variable(variable.dimensions, cells, dict(variable.attrs))
    return found


def as_filed(data: xr.Dataset) -> xr.Dataset:
    """A result as its file has it, however it was read: complex arrays as two, undefined integers as -1."""
    changed: dict[str, Any] = {}
    joined = [str(name) for name in data.data_vars if data[name].dtype.kind == "c"]
    for name in joined:
        changed[f"{name}_real"], changed[f"{name}_imag"] = data[name].real, data[name].imag
    for key, array in data.data_vars.items():
        if "undefined" in {**array.attrs, **array.encoding} and array.dtype.kind == "f":
            changed[str(key)] = array.fillna(-1).astype(np.int64).assign_attrs(array.attrs)
    return data.assign(changed).drop_vars(joined) if changed else data


def schema_of(data: xr.Dataset) -> str:
    """`heads` of `otimes-heads`."""
    schema = data.attrs.get("schema")
    if not isinstance(schema, str) or not schema.startswith("otimes-"):
        got = f"got {shown(schema)}" if schema is not None else "got none"
        raise PlotError(f"schema: expected that of a result of otimes, {got}")
    version = data.attrs.get("schema_version", 1)
    newest = SCHEMAS.get(schema, 1)
    if not isinstance(version, int | np.integer) or not 1 <= version <= newest:
        raise PlotError(
            f"schema_version: expected 1 to {newest}, got {plain(repr(version), 40)}: "
            "written by a newer otimes than this package is of?"
        )
    return schema.removeprefix("otimes-")


def fact(data: xr.Dataset, name: str, otherwise: Any = "") -> Any:
    """A root attribute; text of it is made harmless."""
    value = data.attrs.get(name, otherwise)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return plain(value)
    return value.item() if isinstance(value, np.generic) else value


def model_name(data: xr.Dataset) -> str:
    """The last part of the model's path that says which it is."""
    path = PurePath(str(data.attrs.get("model_path", "")))
    bare = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
    name = path.parent.name if path.name in bare else path.name
    return plain(name or str(path) or "a model", 60)


def about(data: xr.Dataset) -> str:
    """Of which model, and whether its weights were processed, in one line."""
    if "n_layers" not in data.attrs:
        return ""
    steps = {"fold_ln": "norms folded", "center_writing_weights": "centred"}
    done = [text for name, text in steps.items() if fact(data, name) in ("applied", "done in the file")]
    size = f"{fact(data, 'n_layers')} layers × {fact(data, 'n_heads')} heads, d_model {fact(data, 'd_model')}"
    processed = ", ".join(done) or "weights as in the file"
    return f"{model_name(data)}  ·  {fact(data, 'architecture')}, {size}  ·  {processed}"


@dataclass
class Choice:
    """What part of a result is drawn. None is the picture's own choice."""

    layer: str | int | Sequence[int] | None = None
    head: str | int | Sequence[int] | None = None
    text: int | None = None
    position: int | None = None
    target: int | None = None
    array: str | None = None
    top: int | None = None
    select: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def count(self, otherwise: int) -> int:
        """Entries of a list."""
        self.used.add("top")
        return otherwise if self.top is None else self.top

    def text_of(self, data: xr.Dataset) -> int:
        """The text, as its place."""
        self.used.add("text")
        return self.place(data, "text", self.text, 0)

    def target_of(self, data: xr.Dataset) -> int:
        """The target, as its place."""
        self.used.add("target")
        return self.place(data, "target", self.target, 0)

    def position_of(self, length: int, last: int) -> int:
        """The position in a text; negative ones count from its end."""
        self.used.add("position")
        position = last if self.position is None else self.position
        position += length if position < 0 else 0
        if not 0 <= position < length:
            raise PlotError(f"position: expected {-length} to {length - 1}, got {self.position}")
        return position

    def place(self, data: xr.Dataset, axis: str, wanted: int | None, otherwise: int) -> int:
        """A place along an axis, which must be there."""
        size = data.sizes.get(axis, 0)
        if size == 0:
            raise PlotError(f"{axis}: the file has none")
        at = otherwise if wanted is None else wanted
        at += size if at < 0 else 0
        if not 0 <= at < size:
            raise PlotError(f"{axis}: expected 0 to {size - 1}, got {wanted}")
        return at

    def label(self, data: xr.Dataset, axis: str, otherwise: int | str = 0) -> int:
        """The place along `axis` whose label was given by --select axis=label."""
        labels = [str(value) for value in data[axis].values]
        if axis not in self.select:
            if isinstance(otherwise, str):
                return labels.index(otherwise) if otherwise in labels else 0
            return otherwise
        self.used.add(f"select {axis}")
        wanted = self.select[axis]
        if wanted not in labels:
            some = ", ".join(plain(text, 30) for text in labels[:8]) + (", ..." if len(labels) > 8 else "")
            raise PlotError(f"{axis}: expected one of {some}, got {shown(wanted)}")
        return labels.index(wanted)

    def labels(self, data: xr.Dataset, axis: str, count: int) -> list[int]:
        """Places along an axis: those of --select axis=label,label, or the first ones."""
        if axis not in self.select:
            return list(range(min(count, data.sizes[axis])))
        known = [str(value) for value in data[axis].values]
        if self.select[axis] in known:  # labels may hold commas
            return [self.label(data, axis)]
        self.used.add(f"select {axis}")
        return [Choice(select={axis: word}).label(data, axis) for word in self.select[axis].split(",")]

    def heads(self, data: xr.Dataset) -> xr.Dataset:
        """The chosen layers and heads alone."""
        for axis, wanted in (("layer", self.layer), ("head", self.head)):
            if wanted is None or axis not in data.dims:
                continue
            self.used.add(axis)
            data = data.isel({axis: places(data, axis, wanted)})
        return data


def _numbers(word: str) -> list[int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
    if not match:
        raise ValueError(word)
    first, last = int(match[1]), int(match[2] or match[1])
    if last - first > 100_000:
        raise ValueError(word)
    return list(range(first, last + 1))


def places(data: xr.Dataset, axis: str, wanted: str | int | Sequence[int]) -> list[int]:
    """Places of labels as they are written: 3, 0,2-5, or the text of a label."""
    labels = [str(value) for value in data[axis].values]
    words = (
        wanted.split(",") if isinstance(wanted, str) else [str(w) for w in np.atleast_1d(np.asarray(wanted))]
    )
    found = []
    for word in words:
        if word in labels:
            found.append(labels.index(word))
            continue
        try:
            found += [labels.index(str(number)) for number in _numbers(word)]
        except ValueError:
            span = f"{plain(labels[0], 20)} to {plain(labels[-1], 20)}" if labels else "none"
            raise PlotError(f"{axis}: expected {span}, got {shown(word)}") from None
    return found


def values(data: xr.Dataset, name: str) -> np.ndarray:
    """Numbers of an array in double precision. Complex ones are not told apart here."""
    try:
        return np.asarray(data[name].values, dtype=np.float64)
    except MemoryError:
        raise
    except Exception as error:
        raise PlotError(f"{name}: cannot be read: {one_line(error)}") from None


def texts(data: xr.Dataset, name: str) -> np.ndarray:
    """Texts of an array."""
    try:
        return np.asarray(data[name].values, dtype=object)
    except MemoryError:
        raise
    except Exception as error:
        raise PlotError(f"{name}: cannot be read: {one_line(error)}") from None


def eigenvalues(data: xr.Dataset, name: str) -> np.ndarray:
    """The complex numbers of a pair of arrays."""
    return values(data, f"{name}_real") + 1j * values(data, f"{name}_imag")


def namer(data: xr.Dataset, array: str, limit: int | None = None) -> Callable[[int], str]:
    """From a token's id to what is shown of it, by the axis that the array's ids point into."""
    axis = data[array].attrs.get("labels_of", "token")
    named = vocabulary(data, axis)
    cut = {} if limit is None else {"limit": limit}

    def name(token: int) -> str:
        if token < 0:
            return "–"
        return shown(named[token], **cut) if named is not None and token < len(named) else f"#{token}"

    return name


def target_namer(
    data: xr.Dataset, array: str = "target_id", limit: int | None = None
) -> Callable[[int], str]:
    """The same of targets, in files without a vocabulary: by the texts, if the token occurs there."""
    if data[array].attrs.get("labels_of", "output_token") in data.coords:
        return namer(data, array, limit)
    known: dict[int, str] = {}
    if "token" in data and "token_id" in data and data["token"].dims == data["token_id"].dims:
        known = dict(zip(data["token_id"].values.ravel().tolist(), texts(data, "token").ravel().tolist()))
    cut = {} if limit is None else {"limit": limit}

    def name(token: int) -> str:
        return shown(known[token], **cut) if token in known else f"#{token}"

    return name


def vocabulary(data: xr.Dataset, axis: str) -> np.ndarray | None:
    """Texts along an axis of tokens; None where it has numbers alone."""
    if axis not in data.coords or data[axis].dims != (axis,) or data[axis].dtype.kind not in "OUST":
        return None
    return texts(data, axis)


def labels(data: xr.Dataset, axis: str, limit: int | None = None) -> list[str]:
    """What stands beside an axis of tokens."""
    named = vocabulary(data, axis)
    cut = {} if limit is None else {"limit": limit}
    if named is not None:
        return [shown(text, **cut) for text in named]
    ids = data[axis].values if axis in data.coords else np.arange(data.sizes[axis])
    return [f"#{token}" for token in ids]


def text_tokens(data: xr.Dataset, text: int, limit: int = 14) -> list[str]:
    """The tokens of one text, as far as it goes."""
    length = int(data["length"].values[text]) if "length" in data else data.sizes["position"]
    if "token" in data and data["token"].dims == ("text", "position"):
        return [shown(token, limit) for token in texts(data, "token")[text, :length]]
    return [f"#{token}" for token in data["token_id"].values[text, :length]]


def formula(data: xr.Dataset, *arrays: str) -> str:
    """What the file itself says of arrays: their formulas."""
    said = []
    for array in arrays:
        text = data[array].attrs.get("formula", "") if array in data else ""
        if text:
            said.append(f"{array} = {plain(text, 240)}")
    return "\n".join(said)
