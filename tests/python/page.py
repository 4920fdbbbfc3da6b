# SPDX-License-Identifier: MIT
"""The data of a page of `otimes report`, read as its contract (tools/schema/report.md) has it."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"f16": "<f2", "f32": "<f4", "f64": "<f8", "i32": "<i4", "u16": "<u2"}
UNDEFINED = {"i32": -1, "u16": 65535}


class Elements(HTMLParser):
    """Texts of the elements that have an id, as a browser would cut them out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.text: dict[str, str] = {}
        self.open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = dict(attrs).get("id") or "" if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open] = self.text.get(self.open, "") + data


@dataclass
class Page:
    data: dict[str, Any]
    block: bytes

    def section(self, name: str) -> dict[str, Any]:
        return self.data["sections"][name]

    def values(self, section: str, name: str) -> Any:
        """An array in its shape: floats with NaN, integers with -1 where they are undefined."""
        part = self.section(section)
        array = part["arrays"][name]
        shape = [part["axes"][axis]["length"] for axis in array["axes"]]
        if array["type"] == "text":
            return np.array(array["text"], dtype=object).reshape(shape)
        count = int(np.prod(shape, dtype=np.int64))
        raw = np.frombuffer(self.block, TYPES[array["type"]], count, array["at"]).reshape(shape)
        if array["type"] in UNDEFINED:
            return np.where(raw == UNDEFINED[array["type"]], -1, raw.astype(np.int64))
        return raw

    def labels(self, section: str, axis: str) -> list[Any]:
        about = self.section(section)["axes"][axis]
        if "labels" in about:
            return self.data["labels"][about["labels"]]
        return about.get("number", list(range(about["length"])))


def strict(text: str) -> dict[str, Any]:
    """JSON.parse takes no NaN and no key twice means anything else than the last: neither is there."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs), [key for key, _ in pairs]
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=once)


def read(path: Path) -> Page:
    parser = Elements()
    parser.feed(path.read_bytes().decode("utf-8"))
    parser.close()
    text = parser.text["otimes-data"]
    assert not re.search("[<>&\u2028\u2029\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    block = base64.b64decode(parser.text.get("otimes-block", ""), validate=True)
    return Page(strict(text), block)


FACTS = {"long_name", "units", "formula", "orientation", "labels_of"}
TOP = {"format", "otimes", "model", "command_line", "date", "model_sha256", "labels", "sections"}
SOMETIMES = {"left_out", "bounded", "text_cut"}
SECTIONS = (
    "info", "heads", "ov", "qk", "compose", "roles", "bigram", "logits", "patterns", "decompose", "paths",
)  # fmt: skip


def assert_text(value: Any) -> None:
    assert isinstance(value, str)
    value.encode("utf-8")  # no half of a surrogate pair


def assert_section(page: Page, name: str) -> list[tuple[int, int]]:
    """Holds a section to the contract; where its arrays lie in the block."""
    part = page.section(name)
    places = []
    assert set(part) == {"attributes", "axes", "arrays"}
    assert all(isinstance(v, str | int | float) or v is None for v in part["attributes"].values())
    for axis in part["axes"].values():
        assert set(axis) <= {"length", "long_name", "labels", "number"}
        assert not {"labels", "number"} <= set(axis)
        if "labels" in axis:
            assert len(page.data["labels"][axis["labels"]]) == axis["length"]
        assert len(axis.get("number", range(axis["length"]))) == axis["length"]
    for key, array in part["arrays"].items():
        size = int(np.prod([part["axes"][a]["length"] for a in array["axes"]], dtype=np.int64))
        facts = set(array) - FACTS
        assert {"long_name", "units", "formula", "orientation"} <= set(array), key
        if array["type"] == "text":
            assert facts == {"axes", "type", "text"}, key
            assert len(array["text"]) == size, key
            continue
        assert facts == {"axes", "type", "at"}, key
        assert array["at"] % 8 == 0, key
        places.append((array["at"], size * np.dtype(TYPES[array["type"]]).itemsize))
    return places


def assert_contract(page: Page) -> None:
    """All that tools/schema/report.md promises of any page."""
    data = page.data
    assert TOP <= set(data) <= TOP | SOMETIMES
    assert data["format"] == 1
    assert list(data["sections"]) == [s for s in SECTIONS if s in data["sections"]]
    assert set(data["sections"]) | set(data.get("left_out", {})) == set(SECTIONS)
    assert not set(data["sections"]) & set(data.get("left_out", {}))
    assert set(data.get("bounded", {})) <= set(data["sections"])
    for group in ("left_out", "bounded"):
        for reason in data.get(group, {}).values():
            assert_text(reason)
            assert reason
    for labels in data["labels"]:
        for label in labels:
            assert_text(label)
    assert len({json.dumps(labels) for labels in data["labels"]}) == len(data["labels"])
    places = sorted(p for name in data["sections"] for p in assert_section(page, name))
    end = 0
    for at, size in places:
        assert end <= at < end + 8, "arrays follow each other"
        end = at + size
    assert end == len(page.block)
