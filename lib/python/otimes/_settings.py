# SPDX-License-Identifier: MIT
"""The library's settings structs, filled by the names of their fields.

What a field takes is read off the struct itself: numbers, texts, arrays (a pointer with its count
beside it: `layers` and `layer_count`), structs within structs, arrays of structs.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from otimes._errors import ArgumentError, Failure
from otimes._otimes import ffi, lib

Indices = int | str | Sequence[int] | range | slice | npt.NDArray[np.integer[Any]]
Head = str | tuple[int, int] | Sequence[int]
Heads = str | Head | Iterable[Head]


def flag(value: Any, what: str) -> bool:
    """True or False. What is merely true of its kind ("no", 3, an array) is refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{what}: expected True or False, got {shown(value)}")
    return bool(value)


def flag_or_none(value: Any, what: str) -> bool | None:
    return None if value is None else flag(value, what)


def integer(value: Any, what: str) -> int:
    """A whole number; texts, reals, True and False are refused."""
    try:
        if not isinstance(value, (bool, np.bool_)):
            return operator.index(value)
    except TypeError:
        pass
    raise ArgumentError(f"{what}: expected an integer, got {shown(value)}")


def listed_values(value: Any, what: str, of: str) -> list[Any]:
    """What stands in a sequence, in its order: texts, mappings and sets are none."""
    if isinstance(value, (str, bytes, Mapping, Set)) or not isinstance(value, Iterable):
        raise ArgumentError(f"{what}: expected a sequence of {of}, got {shown(value)}")
    return list(value)


def texts_of(value: Any, what: str) -> list[Any]:
    """One text or several."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, (bytes, Mapping, Set)) or not isinstance(value, Iterable):
        raise ArgumentError(f"{what}: expected text, got {shown(value)}")
    return list(value)


def real(value: Any, what: str) -> float:
    if isinstance(value, (str, bytes, bool, np.bool_)) or np.ndim(value):
        raise ArgumentError(f"{what}: expected a number, got {shown(value)}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"{what}: expected a number, got {shown(value)}") from None


def shown(value: object) -> str:
    """A value in an error's line, cut where it is long."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def file_name(path: str | os.PathLike[str], what: str) -> bytes:
    """A path as the system has it. It may not hold NUL, which would end it early."""
    try:
        name = os.fsencode(path)
    except (TypeError, UnicodeEncodeError):
        raise ArgumentError(f"{what}: expected a path, got {shown(path)}") from None
    if b"\0" in name:
        raise ArgumentError(f"{what}: expected a path without NUL, got {shown(path)}")
    return name


def utf8(text: Any, what: str) -> bytes:
    """Text for the library: a surrogate alone is no character and is read as U+FFFD, one for each."""
    if not isinstance(text, str):
        raise ArgumentError(f"{what}: expected text, got {shown(text)}")
    if any("\ud800" <= c <= "\udfff" for c in text):
        text = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    encoded: bytes = text.encode()
    return encoded


def c_text(text: Any, what: str) -> bytes:
    """Text that ends with NUL, so none may stand in it."""
    if not isinstance(text, bytes):
        text = utf8(text, what)
    if b"\0" in text:
        raise ArgumentError(f"{what}: expected text without NUL, got {shown(text.decode())}")
    return bytes(text)


def choice(value: Any, words: Mapping[str, int], what: str) -> int:
    """One of the words that the command line has for it."""
    if isinstance(value, str) and value in words:
        return words[value]
    raise ArgumentError(f"{what}: expected {listed(words)}, got {shown(value)}")


def choices(value: Any, words: Mapping[str, int], what: str) -> int:
    """Several of them: a text with commas, or a sequence."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Iterable):
        raise ArgumentError(f"{what}: expected {listed(words)}, got {shown(value)}")
    bits = 0
    for part in parts:
        bits |= choice(part, words, what)
    return bits


def listed(words: Iterable[str]) -> str:
    names = list(words)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


def indices(value: Indices, limit: int, what: str, ordered: bool = True) -> npt.NDArray[np.int64]:
    """Indices below `limit`: a number, "0,3-5", a sequence, a slice. `ordered`: ascending, each once."""
    if isinstance(value, str):
        out = parsed(value, limit, what)
    elif isinstance(value, slice):
        out = np.arange(limit, dtype=np.int64)[value]
    else:
        out = integers([value] if np.ndim(value) == 0 else value, what)
    if not out.size:
        raise ArgumentError(f"{what}: expected at least one, got none")
    if ordered:
        out = np.unique(out)
        if out[0] < 0 or out[-1] >= limit:
            bad = out[0] if out[0] < 0 else out[-1]
            raise ArgumentError(f"{what}: expected 0 to {limit - 1}, got {bad}")
    return out


def parsed(text: str, limit: int, what: str) -> npt.NDArray[np.int64]:
    failure = Failure()
    found = ffi.gc(ffi.new("otimes_index_list *"), lib.otimes_index_list_free)
    failure.check(lib.otimes_parse_indices(c_text(text, what), c_text(what, what), limit, found, failure.err))
    return np.array([found.index[i] for i in range(found.count)], np.int64)


def integers(value: Any, what: str) -> npt.NDArray[np.int64]:
    """A sequence of whole numbers as the library takes it."""
    if isinstance(value, (str, bytes, Mapping, Set)) or np.ndim(value) == 0 and not isinstance(value, Iterable):
        raise ArgumentError(f"{what}: expected a sequence of integers, got {shown(value)}")
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu":
        if value.dtype == np.uint64 and value.size and value.max() > np.iinfo(np.int64).max:
            raise ArgumentError(f"{what}: expected integers below 2^63, got {value.max()}")
        return np.ascontiguousarray(value, np.int64)
    numbers = [integer(v, what) for v in value]
    try:
        return np.array(numbers, np.int64)
    except OverflowError:
        raise ArgumentError(f"{what}: expected integers below 2^63, got {shown(numbers)}") from None


def head(value: Any, n_layers: int, n_heads: int, what: str = "head") -> tuple[int, int]:
    """A head as "1.0", "L1H0", or (layer, head)."""
    pair: Any = value
    if isinstance(value, str):
        text = value[1:].replace("H", ".", 1) if value[:1] == "L" and "H" in value else value
        pair = text.split(".")
        if len(pair) != 2 or not all(p.isascii() and p.isdigit() and len(p) < 19 for p in pair):
            raise ArgumentError(f"{what}: expected LAYER.HEAD, LxHy or (layer, head), got {shown(value)}")
        pair = [int(p) for p in pair]
    if isinstance(pair, (int, np.integer)) or not isinstance(pair, Iterable) or len(list(pair)) != 2:
        raise ArgumentError(f"{what}: expected LAYER.HEAD, LxHy or (layer, head), got {shown(value)}")
    layer, number = (integer(p, what) for p in pair)
    for name, index, limit in (("layer", layer, n_layers), ("head", number, n_heads)):
        if not 0 <= index < limit:
            raise ArgumentError(f"{what}: {name}: expected 0 to {limit - 1}, got {index}")
    return layer, number


def heads(value: Any, n_layers: int, n_heads: int, what: str = "heads") -> list[tuple[int, int]]:
    """Several heads: "5.1,5.2", one head, or a sequence of heads."""
    if isinstance(value, str):
        value = value.split(",")
    elif isinstance(value, Sequence) and len(value) == 2 and all(isinstance(v, (int, np.integer)) for v in value):
        value = [value]
    if not isinstance(value, Iterable):
        raise ArgumentError(f"{what}: expected heads as LAYER.HEAD, got {shown(value)}")
    found = [head(v, n_layers, n_heads, what) for v in value]
    if not found:
        raise ArgumentError(f"{what}: expected at least one, got none")
    for place, (layer, number) in enumerate(found):
        if (layer, number) in found[:place]:
            raise ArgumentError(f"{what}: expected each head once, got {layer}.{number} again")
    return found


# ---- structs ----


def count_of(field: str, fields: Iterable[str]) -> str | None:
    """The field that counts another's entries: layers, layer_count; text, text_count."""
    singular = field[:-1] if field.endswith("s") else field
    for name in (f"{singular}_count", f"{field}_count", "count" if field in ("member", "heads") else ""):
        if name in fields:
            return name
    return None


class Filled:
    """A struct and everything that it points to."""

    def __init__(self, kind: str, values: Mapping[str, Any], default: bool = True) -> None:
        self.keep: list[Any] = []
        self.struct = ffi.new(f"{kind} *")
        if default:
            getattr(lib, f"{kind}_default")(self.struct)
        self.fill(self.struct[0], values)

    def fill(self, struct: Any, values: Mapping[str, Any]) -> None:
        """Sets the named fields; None leaves a field at its default."""
        fields = dict(ffi.typeof(struct).fields)
        for name, value in values.items():
            if name not in fields:
                raise TypeError(f"{ffi.typeof(struct).cname}: no field {name}")
            if value is not None:
                self.set(struct, name, fields[name].type, value, fields)

    def set(self, struct: Any, name: str, kind: Any, value: Any, fields: Mapping[str, Any]) -> None:
        if kind.kind == "pointer":
            pointer, count = self.pointer(kind.item, name, value)
            setattr(struct, name, pointer)
            counter = count_of(name, fields)
            if counter is not None:
                setattr(struct, counter, count)
        elif kind.kind == "struct":
            self.fill(getattr(struct, name), value)
        elif kind.kind == "enum":
            setattr(struct, name, integer(value, name))
        elif kind.cname in ("double", "float"):
            setattr(struct, name, real(value, name))
        else:
            self.set_integer(struct, name, kind, value)

    def set_integer(self, struct: Any, name: str, kind: Any, value: Any) -> None:
        number = int(value) if isinstance(value, bool) and kind.cname == "int" else integer(value, name)
        try:
            setattr(struct, name, number)
        except OverflowError:
            bits = 8 * ffi.sizeof(kind)
            raise ArgumentError(f"{name}: expected an integer of {bits} bits, got {shown(number)}") from None

    def pointer(self, item: Any, name: str, value: Any) -> tuple[Any, int]:
        """What a field points to, and how many entries that has."""
        if isinstance(value, ffi.CData):
            return value, 0
        if item.cname == "int64_t":
            array = integers(value, name)
            return self.kept(ffi.from_buffer("int64_t[]", array)), array.size
        if item.cname == "char":
            return self.kept(ffi.new("char[]", c_text(value, name))), 0
        if item.kind == "pointer":
            return self.pointers(item, name, value)
        structs = self.kept(ffi.new(f"{item.cname}[]", len(value)))
        for place, entry in enumerate(value):
            self.fill(structs[place], entry)
        return structs, len(value)

    def pointers(self, item: Any, name: str, value: Sequence[Any]) -> tuple[Any, int]:
        """Texts, or sequences of ids."""
        array = self.kept(ffi.new(f"{item.item.cname} *[]", len(value)))
        for place, entry in enumerate(value):
            if item.item.cname == "char":
                array[place] = self.kept(ffi.new("char[]", entry if isinstance(entry, bytes) else c_text(entry, name)))
            else:
                array[place] = self.kept(ffi.from_buffer("int64_t[]", integers(entry, name)))
        return array, len(value)

    def kept(self, memory: Any) -> Any:
        self.keep.append(memory)
        return memory
