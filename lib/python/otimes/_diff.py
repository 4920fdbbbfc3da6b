# SPDX-License-Identifier: MIT
"""Two results compared array by array: Datasets as the library's readers."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xarray

from otimes._errors import ArgumentError, FileError
from otimes._otimes import ffi, lib
from otimes._results import SCHEMA_VERSION, Progress, Sink, date
from otimes._settings import Filled, c_text, file_name, flag, shown

Result = xarray.Dataset | str | os.PathLike[str]
TYPES = {"f4": lib.OTIMES_F32, "f2": lib.OTIMES_F16, "f8": lib.OTIMES_F64, "i4": lib.OTIMES_I32,
         "i8": lib.OTIMES_I64}
MOST_AXES = 6
FACTS = ("long_name", "units", "formula", "orientation", "labels_of")


def halved(data: xarray.Dataset) -> xarray.Dataset:
    """Complex arrays as files have them, in two: `otimes.read` joins them."""
    joined = [name for name in data.data_vars if data[name].dtype.kind == "c"]
    if not joined:
        return data
    halves = {f"{name}{end}": part for name in joined
              for end, part in (("_real", data[name].real), ("_imag", data[name].imag))}
    return data.drop_vars(joined).assign(halves)


class Reader:
    """A Dataset as an otimes_reader."""

    def __init__(self, data: xarray.Dataset, name: str) -> None:
        self.keep: list[Any] = []
        data = halved(data)
        self.axes = {str(d): self.axis(str(d), data) for d in data.sizes}
        self.names = [str(n) for n in data.data_vars]
        self.values = [self.numbers(n, data[n].values) for n in self.names]
        self.arrays = [self.array(n, v, data[n]) for n, v in zip(self.names, self.values, strict=True)]
        self.attrs = [self.fact(str(key), value) for key, value in data.attrs.items()]
        self.handle = ffi.new_handle(self)
        self.ops = ffi.new("otimes_reader_ops *", {
            "array": lib.otimes_py_reader_array, "axis": lib.otimes_py_reader_axis,
            "attribute": lib.otimes_py_reader_attribute, "read": lib.otimes_py_reader_read})
        self.reader = ffi.new("otimes_reader *", {"ops": self.ops, "state": self.handle, "name": self.text(name)})

    def text(self, value: Any) -> Any:
        pointer = ffi.new("char[]", c_text(value, "result"))
        self.keep.append(pointer)
        return pointer

    def axis(self, name: str, data: xarray.Dataset) -> Any:
        out = ffi.new("otimes_axis *", {"name": self.text(name), "length": data.sizes[name]})
        if name in data.coords:
            labels = data.coords[name]
            if labels.dtype.kind in "OU":
                texts = ffi.new("char *[]", [self.text(str(v)) for v in labels.values])
                self.keep.append(texts)
                out.text = texts
            else:
                numbers = np.ascontiguousarray(labels.values, np.int64)
                self.keep.append(numbers)
                out.number = ffi.from_buffer("int64_t[]", numbers)
            if "long_name" in labels.attrs:
                out.long_name = self.text(labels.attrs["long_name"])
        return out

    def numbers(self, name: str, values: Any) -> Any:
        array = np.asarray(values)
        if array.dtype.kind in "OU":
            texts = np.empty(array.shape, object)  # pointers
            for place in np.ndindex(array.shape):
                texts[place] = self.text(str(array[place]))
            return texts
        if array.dtype.str[1:] not in TYPES:
            raise ArgumentError(f"{name}: expected a result's type, got {array.dtype}")
        return np.ascontiguousarray(array)

    def array(self, name: str, values: Any, about: xarray.DataArray) -> Any:
        if values.ndim > MOST_AXES:
            raise ArgumentError(f"{name}: expected at most {MOST_AXES} axes, got {values.ndim}")
        kind = lib.OTIMES_TEXT if values.dtype.kind in "OU" else TYPES[values.dtype.str[1:]]
        out = ffi.new("otimes_array *", {"name": self.text(name), "type": kind, "ndim": values.ndim})
        for place, dim in enumerate(about.dims):
            out.axis[place] = self.axes[str(dim)]
        for fact in FACTS:
            if fact in about.attrs:
                setattr(out, fact, self.text(about.attrs[fact]))
        return out

    def fact(self, name: str, value: Any) -> Any:
        out = ffi.new("otimes_attr *", {"name": self.text(name)})
        if isinstance(value, str):
            out.kind, out.text = lib.OTIMES_ATTR_TEXT, self.text(value)
        elif np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iub":
            out.kind, out.i64 = lib.OTIMES_ATTR_I64, int(value)
        elif np.ndim(value) == 0 and np.asarray(value).dtype.kind == "f":
            out.kind, out.f64 = lib.OTIMES_ATTR_F64, float(value)
        else:
            raise ArgumentError(f"{name}: expected a text or a number, got {shown(value)}")
        return out

    def read(self, index: int, start: Any, count: Any, to: Any) -> None:
        values = self.values[index]
        block = values[tuple(slice(start[i], start[i] + count[i]) for i in range(values.ndim))]
        if values.dtype.kind not in "OU":
            ffi.memmove(to, np.ascontiguousarray(block), block.nbytes)
            return
        out = ffi.cast("const char **", to)
        for place, text in enumerate(block.reshape(-1)):
            out[place] = text


def reader_of(pointer: Any) -> Reader:
    reader: Reader = ffi.from_handle(ffi.cast("void *", pointer.state))
    return reader


@ffi.def_extern(error=ffi.NULL)
def otimes_py_reader_array(reader: Any, index: int) -> Any:
    arrays = reader_of(reader).arrays
    return arrays[index] if index < len(arrays) else ffi.NULL


@ffi.def_extern(error=ffi.NULL)
def otimes_py_reader_axis(reader: Any, index: int) -> Any:
    axes = list(reader_of(reader).axes.values())
    return axes[index] if index < len(axes) else ffi.NULL


@ffi.def_extern(error=ffi.NULL)
def otimes_py_reader_attribute(reader: Any, index: int) -> Any:
    attrs = reader_of(reader).attrs
    return attrs[index] if index < len(attrs) else ffi.NULL


@ffi.def_extern(error=-1)
def otimes_py_reader_read(reader: Any, index: int, start: Any, count: Any, data: Any, err: Any) -> int:
    reader_of(reader).read(index, start, count, data)
    return 0


def loaded(result: Result, what: str) -> tuple[xarray.Dataset, str]:
    """A Dataset as the file has it, and its name."""
    if isinstance(result, xarray.Dataset):
        return result, str(result.encoding.get("source", what))
    if not isinstance(result, (str, os.PathLike)):
        raise ArgumentError(f"{what}: expected a Dataset or a file, got {shown(result)}")
    path = os.fsdecode(file_name(result, what))
    try:
        with xarray.open_dataset(path, engine="h5netcdf", mask_and_scale=False) as data:
            return data.load(), path
    except OSError as error:
        raise FileError(f"{path}: expected a result in HDF5, got {error.strerror or error}") from None


def diff(a: Result, b: Result, *, rtol: float = 0.0, atol: float = 0.0, common: bool = False,
         any_processing: bool = False, block: int = 0, progress: Progress = False) -> xarray.Dataset:
    """Two results compared array by array, axes by name and entries by label; attribute `equal`.

    a, b: Datasets or files. rtol, atol: |a - b| <= atol + rtol |b| counts as equal. common: what only
    one has is no difference. any_processing: also results of other processing or settings, which are
    refused otherwise. block: entries of an array in memory at once (0: 2^21).
    """
    (x, x_name), (y, y_name) = loaded(a, "a"), loaded(b, "b")
    left, right = Reader(x, x_name), Reader(y, y_name)
    values = {"rtol": rtol, "atol": atol, "common": flag(common, "common"), "any_processing": flag(any_processing, "any_processing"),
              "block": block}
    settings, sink = Filled("otimes_diff_settings", values), Sink("diff", progress)
    sink.run(lambda to, err: lib.otimes_diff(left.reader, right.reader, settings.struct, to, ffi.NULL, err))
    given = "".join(f", {k}={v!r}" for k, v in values.items() if v)
    first = {"schema": "otimes-diff", "schema_version": np.int64(SCHEMA_VERSION),
             "command_line": f"otimes.diff({x_name!r}, {y_name!r}{given})", "date": date()}
    return sink.dataset(first, {})
