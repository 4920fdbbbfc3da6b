# SPDX-License-Identifier: MIT
"""Writes what torch.save writes, zip and legacy form, without torch: state dicts of raw tensors in
any nesting. The pickles name torch's functions and classes; stand-ins of the same names are in
place only while they are written."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORAGES = {
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "F64": "DoubleStorage",
    "I64": "LongStorage",
    "U8": "ByteStorage",
    "BOOL": "BoolStorage",
}
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Raw:
    """A tensor as a safetensors file has it."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def read_raw(path: Path) -> dict[str, Raw]:
    """Every tensor of a safetensors file, numbers untouched."""
    file = path.read_bytes()
    size = struct.unpack("<Q", file[:8])[0]
    header = json.loads(file[8 : 8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, about in header.items():
        begin, end = (8 + size + at for at in about["data_offsets"])
        out[name] = Raw(about["dtype"], tuple(about["shape"]), file[begin:end])
    return out


@contextlib.contextmanager
def stand_ins() -> Iterator[types.ModuleType]:
    """Modules torch and torch._utils with what a state dict's pickle names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*_: Any) -> None:
        raise NotImplementedError

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    torch._utils = utils
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules["torch"], sys.modules["torch._utils"] = torch, utils
    try:
        yield torch
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class Storage:
    """What a tensor's pickle refers to by a persistent id."""

    def __init__(self, key: str, raw: Raw) -> None:
        self.key, self.raw = key, raw


class Tensor:
    """Pickles as torch's own tensors do."""

    def __init__(self, storage: Storage, rebuild: Any) -> None:
        self.storage, self.rebuild = storage, rebuild

    def __reduce__(self) -> tuple[Any, ...]:
        shape = self.storage.raw.shape
        strides, step = [], 1
        for size in reversed(shape):
            strides.insert(0, step)
            step *= size
        return self.rebuild, (self.storage, 0, shape, tuple(strides), False, OrderedDict())


class Writer(pickle.Pickler):
    """A pickle whose storages stand elsewhere."""

    def __init__(self, file: io.BytesIO, torch: types.ModuleType, legacy: bool) -> None:
        super().__init__(file, protocol=2)
        self.torch, self.legacy = torch, legacy

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        count = len(obj.raw.data) // SIZES[obj.raw.dtype]
        kind = getattr(self.torch, STORAGES[obj.raw.dtype])
        more = (None,) if self.legacy else ()
        return ("storage", kind, obj.key, "cpu", count, *more)


def prepare(value: Any, storages: list[Storage], torch: types.ModuleType) -> Any:
    """Raw tensors become tensors with storages of their own, in place of the nesting."""
    if isinstance(value, Raw):
        storages.append(Storage(str(len(storages)), value))
        return Tensor(storages[-1], torch._utils._rebuild_tensor_v2)
    if isinstance(value, dict):
        return OrderedDict((k, prepare(v, storages, torch)) for k, v in value.items())
    if isinstance(value, list):
        return [prepare(v, storages, torch) for v in value]
    return value


def save_zip(value: Any, path: Path) -> None:
    """torch >= 1.6."""
    storages: list[Storage] = []
    pickled = io.BytesIO()
    with stand_ins() as torch:
        Writer(pickled, torch, legacy=False).dump(prepare(value, storages, torch))
    root = path.stem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}/data.pkl", pickled.getvalue())
        archive.writestr(f"{root}/byteorder", b"little")
        for storage in storages:
            archive.writestr(f"{root}/data/{storage.key}", storage.raw.data)
        archive.writestr(f"{root}/version", b"3\n")


def save_legacy(value: Any, path: Path) -> None:
    """torch < 1.6: pickles one after another, then the storages."""
    storages: list[Storage] = []
    sizes = {"short": 2, "int": 4, "long": 8}
    with stand_ins() as torch, path.open("wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, protocol=2)
        pickle.dump(1001, file, protocol=2)
        about = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
        pickle.dump(about, file, protocol=2)
        pickled = io.BytesIO()
        Writer(pickled, torch, legacy=True).dump(prepare(value, storages, torch))
        file.write(pickled.getvalue())
        pickle.dump([s.key for s in storages], file, protocol=2)
        for storage in storages:
            file.write(struct.pack("<q", len(storage.raw.data) // SIZES[storage.raw.dtype]))
            file.write(storage.raw.data)
