# SPDX-License-Identifier: MIT
"""Reads tools/schema/<command>.md: the arrays and root attributes that a result has."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ArrayRule:
    """One row of a schema's table of arrays."""

    name: str
    type: str
    axes: tuple[str, ...]
    units: str
    must: bool


@dataclass
class Schema:
    arrays: dict[str, ArrayRule] = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)  # those that MUST be present


def cells(line: str) -> list[str]:
    """The cells of a markdown table's row."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def names(text: str) -> list[str]:
    """What stands in backquotes, or the words themselves where nothing does."""
    return re.findall(r"`([^`]+)`", text) or [w for w in re.split(r"[,\s]+", text) if w]


def tables(text: str) -> list[tuple[str, list[str], list[list[str]]]]:
    """Every table as (heading above it, lower-case header, rows)."""
    out: list[tuple[str, list[str], list[list[str]]]] = []
    heading, inside = "", False
    for line in text.splitlines():
        if line.startswith("#"):
            heading, inside = line.lstrip("# ").lower(), False
        elif not line.lstrip().startswith("|"):
            inside = False
        elif not inside:
            out.append((heading, [c.lower() for c in cells(line)], []))
            inside = True
        elif not set(line) <= set("|-: "):
            out[-1][2].append(cells(line))
    return out


def column(header: list[str], *wanted: str) -> int | None:
    """The first column whose title contains one of the words."""
    for i, title in enumerate(header):
        if any(word in title for word in wanted):
            return i
    return None


def read_schema(path: Path) -> Schema:
    """The page's tables of arrays, and its attributes from tables or lists."""
    text = path.read_text(encoding="utf-8")
    schema = Schema()
    for heading, header, rows in tables(text):
        axes, name = column(header, "axes", "dim"), column(header, "array", "name")
        need = column(header, "must", "need", "presence", "required", "when", "present")
        if axes is not None and name is not None and "attribute" not in header[name]:
            kind, units = column(header, "type"), column(header, "unit")
            for row in rows:
                must = need is None or row[need].startswith(("MUST", "yes", "always"))
                for one in names(row[name]):
                    schema.arrays[one] = ArrayRule(
                        one,
                        row[kind].strip("`") if kind is not None else "",
                        tuple(axis_names(row[axes])),
                        row[units].strip("`") if units is not None else "1",
                        must,
                    )
        elif "attribute" in heading or "attribute" in header[0]:
            for row in rows:
                if need is None or "MUST" in row[need]:
                    schema.attributes.update(names(row[0]))
    schema.attributes.update(listed_attributes(text))
    return schema


def axis_names(text: str) -> list[str]:
    """Axis names from a cell such as `[layer, head]` or `layer`, `head`."""
    return re.findall(r"[A-Za-z_][A-Za-z_0-9]*", text.replace("`", ""))


def listed_attributes(text: str) -> set[str]:
    """Attributes given as a list or a sentence under a heading about them: what stands in
    backquotes on lines that say MUST or are items, up to the next heading."""
    out: set[str] = set()
    inside = False
    for line in text.splitlines():
        if line.startswith("#"):
            inside = "attribute" in line.lower()
        elif inside and line.lstrip().startswith(("-", "*")) and "MAY" not in line:
            first = re.split(r":|--| - ", line.lstrip("-* "), maxsplit=1)[0]
            out.update(re.findall(r"`([A-Za-z_][A-Za-z_0-9]*)`", first))
    return out
