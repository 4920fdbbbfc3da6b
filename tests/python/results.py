# SPDX-License-Identifier: MIT
"""A result as a reader meets it, read quickly.

Opening a file of a golden model through xarray takes ten times as long as everything that is then
asked of it, and there are a thousand files. Here h5py reads them into the same Dataset. Each kind
of result (a command and the arrays it wrote) is opened through xarray as well, once, and must be
identical: names, axes, types, values, attributes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray

NO_LABELS = b"This is a netCDF dimension but not a netCDF variable"
OF_FORMAT = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST"}  # how HDF5 ties axes to arrays


def attributes(of: Any) -> dict[str, Any]:
    """As xarray gives them: text as str, one number as a number; nothing that is netCDF's own."""
    out = {}
    for key in of.attrs:
        if key in OF_FORMAT or key.startswith(("_Netcdf4", "_NCProperties", "_nc3")):
            continue
        value = of.attrs[key]
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value[0]
        out[key] = value.decode() if isinstance(value, bytes) else value
    return out


def axes(file: h5py.File, name: str, array: h5py.Dataset) -> tuple[str, ...]:
    """Names of the axes; an array of labels lies along itself."""
    if "DIMENSION_LIST" not in array.attrs:
        return (name,) * array.ndim
    scales = array.attrs["DIMENSION_LIST"]
    return tuple(h5py.h5r.get_name(scale[0], file.id).decode().lstrip("/") for scale in scales)


def read(path: Path) -> xarray.Dataset:
    """All of a result in memory."""
    variables = {}
    with h5py.File(path) as file:
        for name, array in file.items():
            if array.attrs.get("NAME") == NO_LABELS:
                continue
            values = array.asstr()[...] if h5py.check_string_dtype(array.dtype) else array[...]
            variables[name] = xarray.Variable(axes(file, name, array), values, attributes(array))
        labels = {k: v for k, v in variables.items() if v.dims == (k,)}
        arrays = {k: v for k, v in variables.items() if k not in labels}
        return xarray.Dataset(arrays, labels, attributes(file))


def open_by_xarray(path: Path) -> xarray.Dataset:
    """As users open it, fill values left in place."""
    return xarray.open_dataset(path, engine="h5netcdf", mask_and_scale=False)


def kind(command: str, data: xarray.Dataset) -> tuple[str, ...]:
    """Results of one kind have the same arrays, numbers of layers and experts aside."""
    return (command, *sorted({re.sub(r"\d+", "0", str(name)) for name in data.variables}))


def assert_as_xarray(data: xarray.Dataset, path: Path) -> None:
    """What was read here is what xarray reads."""
    with open_by_xarray(path) as theirs:
        xarray.testing.assert_identical(data, theirs)
        for name, variable in theirs.variables.items():
            ours = data[name]
            kinds = {"text" if d.kind in "OU" else d.str for d in (ours.dtype, variable.dtype)}
            assert len(kinds) == 1, f"{name}: {ours.dtype}, {variable.dtype}"
            for key, value in variable.attrs.items():
                assert type(ours.attrs[key]) is type(value), f"{name}: {key}"
