# SPDX-License-Identifier: MIT
"""Results of the program, read back: HDF5 to xarray, with labels, lazily."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

__all__ = ["read"]

# Schemas (tools/schema/*.md) with the newest version of each that is known here.
SCHEMAS = {
    "otimes-ablate": 1,
    "otimes-activations": 1,
    "otimes-bigram": 1,
    "otimes-circuit": 1,
    "otimes-compare": 1,
    "otimes-compose": 1,
    "otimes-convert": 1,
    "otimes-decompose": 1,
    "otimes-diff": 1,
    "otimes-heads": 1,
    "otimes-info": 1,
    "otimes-logits": 1,
    "otimes-neurons": 1,
    "otimes-orders": 1,
    "otimes-paths": 1,
    "otimes-patterns": 1,
    "otimes-qk": 1,
    "otimes-roles": 1,
    "otimes-tokens": 1,
    "otimes-trigrams": 1,
    "otimes-virtual": 1,
}
REAL, IMAGINARY = "_real", "_imag"
Chunks = int | str | Mapping[Any, Any]


def read(
    path: str | os.PathLike[str],
    *,
    complex: bool = True,  # noqa: A002
    masked: bool = False,
    array: str | Iterable[str] | None = None,
    chunks: Chunks | None = None,
) -> xarray.Dataset:
    """A result that the program wrote with `-o FILE.h5`, as a Dataset with its labels and attributes.

    Arrays stay in the file until their values are asked for; `with otimes.read(...) as result:` or
    `result.close()` lets go of it. The file is only read, and may be open elsewhere.

    complex: pairs `x_real`, `x_imag` become one complex array `x`.
    masked: undefined integers, -1 in the file, become NaN and their arrays float64.
    array: names to keep, where `*`, `?` and `[...]` match as in file names.
    chunks: as of `xarray.open_dataset`, for arrays computed with by blocks; needs dask.

    Raises OSError where there is no such file or it is no HDF5, ValueError where it is no result of otimes,
    of a newer schema than this package knows, or has none of the arrays asked for.
    """
    for name, value in (("complex", complex), ("masked", masked)):
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"read: {name}: expected True or False, got {value!a}")
    if isinstance(path, bytes) or not isinstance(path, str | os.PathLike):
        raise TypeError(f"read: path: expected text, got {type(path).__name__}")
    if array is not None and (isinstance(array, bytes) or not isinstance(array, Iterable)):
        raise TypeError(f"read: array: expected a name or several, got {array!a}")
    name = os.fspath(path)
    where = name if name.isprintable() else ascii(name)[1:-1]  # as errors write it
    data = _open(name, where)
    try:
        _check_schema(where, data.attrs)
        if masked:
            _declare_undefined(data)
        data = xarray.decode_cf(data, decode_times=False, decode_timedelta=False)
        if complex:
            data = _joined(data)
        if array is not None:
            data = _chosen(where, data, [array] if isinstance(array, str) else list(array))
        return data if chunks is None else _chunked(data, chunks)
    except BaseException:
        data.close()
        raise


# Opening


def _open(path: str, where: str) -> xarray.Dataset:
    """The file as it is. One that another process holds for writing is read without its lock."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{where}: no such file")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{where}: is a directory, expected a result in HDF5")
    try:
        try:
            return _open_as(path, {})
        except BlockingIOError:
            return _open_as(path, {"locking": False})
    except PermissionError:
        raise PermissionError(f"{where}: permission denied") from None
    except Exception as error:
        text = " ".join(str(error).split())
        raise OSError(f"{where}: cannot be read as HDF5 with netCDF's dimensions: {text}") from error


def _open_as(path: str, options: dict[str, Any]) -> xarray.Dataset:
    return xarray.open_dataset(
        os.path.abspath(path), engine="h5netcdf", decode_cf=False, driver_kwds=options
    )


def _check_schema(where: str, attributes: Mapping[Any, Any]) -> None:
    schema, version = attributes.get("schema"), attributes.get("schema_version")
    if not isinstance(schema, str) or not schema.startswith("otimes-"):
        found = "none" if schema is None else repr(schema)
        raise ValueError(f"{where}: schema: expected a result of otimes, got {found}")
    if schema not in SCHEMAS:
        raise ValueError(f"{where}: schema: expected one of {', '.join(sorted(SCHEMAS))}, got {schema!r}")
    if not isinstance(version, int | np.integer) or version < 1:
        raise ValueError(f"{where}: {schema}: schema_version: expected a number from 1 on, got {version!r}")
    if version > SCHEMAS[schema]:
        raise ValueError(
            f"{where}: {schema}: schema_version: expected {SCHEMAS[schema]} at most, got {version}: "
            "written by a newer otimes than this package is of"
        )


def _declare_undefined(data: xarray.Dataset) -> None:
    for variable in data.data_vars.values():
        if "undefined" in variable.attrs and variable.dtype.kind == "i":
            variable.attrs["_FillValue"] = variable.dtype.type(variable.attrs["undefined"])


# Complex arrays


class _Joined(BackendArray):
    """Two arrays of a file as one of complex numbers; read when it is indexed."""

    def __init__(self, real: xarray.Variable, imaginary: xarray.Variable) -> None:
        self.real, self.imaginary = real, imaginary
        self.shape = real.shape
        self.dtype = np.result_type(real.dtype, np.complex64)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        outer = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, outer, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        out = np.empty(self.real[key].shape, self.dtype)
        out.real, out.imag = self.real[key].values, self.imaginary[key].values
        return out


def _joined(data: xarray.Dataset) -> xarray.Dataset:
    """Every pair `x_real`, `x_imag` as `x`, in the place of the first."""
    variables: dict[Hashable, xarray.Variable] = {}
    for name, array in data.data_vars.items():
        base = str(name).removesuffix(REAL).removesuffix(IMAGINARY)
        real, imaginary = data.data_vars.get(base + REAL), data.data_vars.get(base + IMAGINARY)
        if base == name or real is None or imaginary is None or base in data.variables:
            variables[name] = array.variable
        elif real.dims != imaginary.dims or real.dtype != imaginary.dtype or real.dtype.kind != "f":
            variables[name] = array.variable
        elif str(name).endswith(REAL):
            variables[base] = _join(real.variable, imaginary.variable)
    out = xarray.Dataset(variables, data.coords, data.attrs)
    out.encoding = data.encoding
    out.set_close(data.close)
    return out


def _join(real: xarray.Variable, imaginary: xarray.Variable) -> xarray.Variable:
    layers: Any = indexing  # as open_dataset stacks them: read once, copied when written to
    data = layers.MemoryCachedArray(
        layers.CopyOnWriteArray(layers.LazilyIndexedArray(_Joined(real, imaginary)))
    )
    attributes = dict(real.attrs)
    if "long_name" in attributes:
        attributes["long_name"] = str(attributes["long_name"]).removeprefix("real parts of the ")
    return xarray.Variable(real.dims, data, attributes)


# Choosing


def _chosen(where: str, data: xarray.Dataset, names: list[str]) -> xarray.Dataset:
    known = [str(name) for name in data.data_vars]
    for name in names:
        if not fnmatch.filter(known, name):
            raise ValueError(f"{where}: array: expected one of {', '.join(known)}, got {name!r}")
    out = data[[name for name in known if any(fnmatch.fnmatchcase(name, one) for one in names)]]
    out.set_close(data.close)
    return out


def _chunked(data: xarray.Dataset, chunks: Any) -> xarray.Dataset:
    try:
        out = data.chunk(chunks)
    except ImportError as error:
        raise ImportError(f"read: chunks: needs dask (pip install dask): {error}") from None
    out.set_close(data.close)
    return out
