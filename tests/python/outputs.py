# SPDX-License-Identifier: MIT
"""What the tests of results share: the models, options that ask for everything, and a result held
against its schema page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from checkpoint import Model
from conftest import GOLDEN, SOURCE
from schema import ArrayRule, read_schema

ALL_MODELS = sorted(p.parent.name for p in GOLDEN.glob("*/expected.safetensors"))
LISTED = (SOURCE / "tests" / "support.c").read_text().partition("golden_names[] = {")[2]
MODELS = re.findall(r'"([^"]+)"', LISTED.partition("NULL")[0])  # those the C tests open
OFFSETS = (0, 1, 2, 8)
SETS = {"L0H0+H1": (0, (0, 1)), "L1H1": (1, (1,))}  # heads taken together
CLOSE = 1e-5  # relative to the largest entry: weights are float32, sums float64
TYPES = {
    "float64": "f8",
    "double": "f8",
    "f64": "f8",
    "float32": "f4",
    "f32": "f4",
    "float": "f4",
    "float16": "f2",
    "f16": "f2",
    "int64": "i8",
    "i64": "i8",
    "int32": "i4",
    "i32": "i4",
    "text": "O",
    "string": "O",
}
Weights = Callable[[str], Path]


def rotary(model: Model) -> bool:
    return model.cfg.positions == "rotary"


def heads_options(model: Model) -> list[str]:
    """Everything heads can do with this model."""
    matrices = "factors,products" + (",positions" if model.cfg.positions == "learned" else "")
    options = ["--top", "3", "--components", "2", "--biases", "--matrices", matrices]
    if rotary(model):
        options += ["--offsets", ",".join(map(str, OFFSETS))]
    return options


def compose_options(model: Model) -> list[str]:
    """All pairs of parts that compose."""
    options = ["--ends", "--components", "2"]
    for layer, heads in SETS.values():
        options += ["--set", ",".join(f"{layer}.{head}" for head in heads)]
    if rotary(model):
        options += ["--offsets", ",".join(map(str, OFFSETS))]
    return options


def assert_close(
    ours: Any, theirs: Any, what: str, scale: Any = None, tolerance: float = CLOSE
) -> None:
    """|ours - theirs| <= tolerance * scale; scale is the largest entry unless given."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, expected {theirs.shape}"
    assert np.isfinite(ours).all(), f"{what}: not finite"
    scale = np.abs(theirs).max(initial=0) if scale is None else scale
    gap = np.abs(ours - theirs) / np.maximum(scale, 1e-300)
    worst = float(gap.max(initial=0)) if np.abs(ours - theirs).max(initial=0) > 0 else 0.0
    assert worst <= tolerance, f"{what}: relative difference {worst:.3g} > {tolerance:.3g}"


def assert_array(variable: xarray.DataArray, rule: ArrayRule) -> None:
    """Type, axes and facts of one array as its schema has them."""
    if rule.type:
        kinds = {TYPES[w] for w in re.findall(r"[a-z0-9]+", rule.type.lower()) if w in TYPES}
        assert kinds, f"schema: {rule.name}: type {rule.type}"
        kind = "O" if variable.dtype.kind in "OUST" else variable.dtype.str[1:]
        assert kind in kinds, f"{rule.name}: {variable.dtype}, schema {rule.type}"
    assert variable.dims == rule.axes, f"{rule.name}: {variable.dims}, schema {rule.axes}"
    for fact in ("long_name", "units", "formula", "orientation"):
        assert variable.attrs.get(fact), f"{rule.name}: no {fact}"
    assert variable.attrs["units"] == rule.units, f"{rule.name}: units {variable.attrs['units']}"
    if variable.dtype.kind == "f":
        assert np.isnan(variable.attrs["_FillValue"]), f"{rule.name}: _FillValue"
    elif variable.dtype.kind == "i":
        assert variable.attrs["undefined"] == -1, f"{rule.name}: undefined"
    if rule.name.endswith("_id"):
        assert variable.attrs.get("labels_of", "token") in ("token", "output_token"), (
            f"{rule.name}: labels_of"
        )


def assert_schema(data: xarray.Dataset, command: str, sometimes: set[str]) -> None:
    """A result against its page: `sometimes` are the arrays that this one has beyond the MUST."""
    schema = read_schema(SOURCE / "tools" / "schema" / f"{command}.md")
    missing = {a for a in schema.attributes if a not in data.attrs}
    assert not missing, f"root attributes: {missing}"
    must = {name for name, rule in schema.arrays.items() if rule.must}
    assert {str(k) for k in data.data_vars} == must | sometimes
    for key, variable in data.data_vars.items():
        assert_array(variable, schema.arrays[str(key)])
        for axis in variable.dims:
            assert axis in data.coords, f"{key}: axis {axis} has no labels"
