# SPDX-License-Identifier: MIT
"""Which pictures there are: of each schema a list, the first being the one people expect."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr
from matplotlib.figure import Figure

from otimes.plot._data import Choice, schema_of
from otimes.plot._errors import PlotError
from otimes.plot._page import Page
from otimes.plot._text import shown

Draw = Callable[[xr.Dataset, Choice, Page], Figure]
FAMILIES = (  # modules
    "ablation",
    "circuits",
    "comparison",
    "composition",
    "decomposition",
    "heads",
    "logits",
    "models",
    "neurons",
    "orders",
    "paths",
    "patterns",
    "residual",
    "roles",
    "vocabulary",
)


@dataclass(frozen=True)
class Kind:
    """One picture of one schema."""

    schema: str
    name: str
    shows: str  # one line
    needs: tuple[str, ...]  # arrays without which it is not drawn; a|b: one of them
    by: str  # what the command is given so that the file has them
    draw: Draw

    def missing(self, data: xr.Dataset) -> list[str]:
        """The needed arrays that a file lacks."""
        return [need for need in self.needs if not any(name in data for name in need.split("|"))]


_kinds: list[Kind] = []


def picture(schema: str, name: str, shows: str, *needs: str, by: str = "") -> Callable[[Draw], Draw]:
    """Registers a function as a picture."""

    def register(draw: Draw) -> Draw:
        _kinds.append(Kind(schema, name, shows, needs, by, draw))
        return draw

    return register


def all_kinds() -> list[Kind]:
    """Every picture of every schema."""
    for family in FAMILIES:
        importlib.import_module(f"otimes.plot.{family}")
    return list(_kinds)


def kinds_of(schema: str) -> list[Kind]:
    """The pictures of one schema."""
    return [kind for kind in all_kinds() if kind.schema == schema]


def kinds(data: xr.Dataset) -> list[Kind]:
    """The pictures that can be drawn of this result, the standard one first."""
    return [kind for kind in kinds_of(schema_of(data)) if not kind.missing(data)]


def find(data: xr.Dataset, what: str | None) -> Kind:
    """The picture of that name, or the standard one."""
    schema = schema_of(data)
    known = kinds_of(schema)
    if not known:
        raise PlotError(f"schema: expected one that there are pictures of, got {shown('otimes-' + schema)}")
    able = [kind for kind in known if not kind.missing(data)]
    names = ", ".join(kind.name for kind in able) or "none"
    if what is None:
        if not able:
            raise PlotError(f"what: the file has nothing that a picture of {schema} shows")
        return able[0]
    for kind in known:
        if kind.name == what:
            if kind in able:
                return kind
            hint = f" (otimes {schema} {kind.by})" if kind.by else ""
            raise PlotError(
                f"what: {what}: the file lacks {', '.join(kind.missing(data))}{hint}; it has {names}"
            )
    raise PlotError(f"what: expected {names}, got {shown(what)}")
