#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the report's page out of what the program's other commands write.

Usage: mock.py OTIMES MODEL [--text TEXT] -o page.html [--keep FOLDER]

Runs each command to HDF5 and writes its arrays as tools/schema/report.md says. The page can be
worked on with it, and what `otimes report` writes is held against it: same names, same values.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

import h5py
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "report"

# Name of a section: arguments of its command, arrays (a regular expression), whether it needs a text.
SECTIONS: dict[str, tuple[list[str], str, bool]] = {
    "info": (["info"], r"parameters", False),
    "heads": (["heads", "--top", "0"], r".*", False),
    "ov": (["circuit", "--which", "ov", "--largest", "20"], r"head_.*|largest_.*|smallest_.*", False),
    "qk": (["circuit", "--which", "qk", "--largest", "20"], r"head_.*|largest_.*|smallest_.*", False),
    "compose": (["compose"], r"score|z|ov_norm|qk_norm", False),
    "roles": (["roles"], r"(?!row_id|repeated_id).*", False),
    "bigram": (["bigram", "--top", "10"], r"(?!token_id|row_mean|row_std).*", False),
    "logits": (["logits", "--top", "10"], r".*", True),
    "patterns": (["patterns", "--full"], r"(?!offset|query_count|mask).*", True),
    "decompose": (["decompose", "--predicted", "--lens", "--sources"], r"(?!mask|against_id).*", True),
    "paths": (
        ["paths", "--positions", "-1", "--top", "1000"],
        r"(?!mask|set_total|source_.*|head_edge).*",
        True,
    ),
}
HALF = re.compile(r"pattern|source_attribution|top_weight|top_log_prob|score|z")
ARRAY_ATTRIBUTES = ("long_name", "units", "formula", "orientation", "labels_of")
ESCAPES = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def plain(value: Any) -> Any:
    """An attribute as JSON holds it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")
    if isinstance(value, (np.integer, np.floating)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (int, float, str)) else str(value)


class Page:
    """The JSON object and the block, section by section."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {"format": 1, "labels": [], "sections": {}}
        self.block = bytearray()

    def labels(self, texts: list[str]) -> int:
        known: list[list[str]] = self.data["labels"]
        if texts not in known:
            known.append(texts)
        return known.index(texts)

    def axis(self, scale: h5py.Dataset) -> dict[str, Any]:
        axis: dict[str, Any] = {"length": int(scale.shape[0])}
        if "long_name" in scale.attrs:
            axis["long_name"] = plain(scale.attrs["long_name"])
        values = scale[:]
        if values.dtype == object:
            axis["labels"] = self.labels([plain(value) for value in values])
        elif values.tolist() != list(range(len(values))):
            axis["number"] = values.tolist()
        return axis

    def put(self, values: np.ndarray) -> int:
        self.block.extend(bytes(-len(self.block) % 8))
        at = len(self.block)
        self.block.extend(np.ascontiguousarray(values).tobytes())
        return at

    def array(self, name: str, stored: h5py.Dataset) -> dict[str, Any]:
        values = stored[...]
        entry: dict[str, Any] = {"axes": [scales[0].name.lstrip("/") for scales in stored.dims]}
        if values.dtype == object:
            entry.update(type="text", text=[plain(value) for value in values.ravel()])
        elif values.dtype.kind == "i":
            ids = bool(stored.attrs.get("labels_of")) and values.size > 0 and values.max() < 65535
            small = np.where(values < 0, 65535, values).astype("<u2") if ids else values.astype("<i4")
            entry.update(type="u16" if ids else "i32", at=self.put(small))
        else:
            half = HALF.fullmatch(name) is not None
            entry.update(type="f16" if half else "f32", at=self.put(values.astype("<f2" if half else "<f4")))
        for key in ARRAY_ATTRIBUTES:
            if key in stored.attrs:
                entry[key] = plain(stored.attrs[key])
        return entry

    def section(self, name: str, path: pathlib.Path, wanted: str) -> None:
        with h5py.File(path) as file:
            kept = {k: plain(v) for k, v in file.attrs.items() if not k.startswith("_")}
            section: dict[str, Any] = {"attributes": kept, "axes": {}, "arrays": {}}
            for key, stored in file.items():
                if stored.is_scale or not re.fullmatch(wanted, key):
                    continue
                section["arrays"][key] = self.array(key, stored)
                for axis in section["arrays"][key]["axes"]:
                    section["axes"].setdefault(axis, self.axis(file[axis]))
            for axis in {"token", "output_token"} & set(file.keys()):
                if file[axis].is_scale:
                    section["axes"].setdefault(axis, self.axis(file[axis]))
            self.data["sections"][name] = section


def without(section: dict[str, Any], info: dict[str, Any]) -> None:
    """Leaves out what `info` says already."""
    section["attributes"] = {k: v for k, v in section["attributes"].items() if info.get(k) != v}


def run(otimes: str, arguments: list[str], model: str, text: list[str], out: pathlib.Path) -> str | None:
    """The error, or None."""
    command = [otimes, arguments[0], model, *arguments[1:], *text, "-q", "-o", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if result.returncode == 0 else result.stderr.strip().splitlines()[-1]


def collect(otimes: str, model: str, text: list[str], folder: pathlib.Path, rows: str | None = None) -> Page:
    page = Page()
    for name, (arguments, wanted, needs_text) in SECTIONS.items():
        out = folder / f"{name}.h5"
        if needs_text and not text:
            continue
        given = text if needs_text or name == "roles" else []
        if rows and arguments[0] == "circuit":
            given = ["--rows", rows, "--columns", rows]
            page.data.setdefault("bounded", {})[name] = f"Of OV and QK only the tokens {rows} were looked at"
        error = None if out.exists() else run(otimes, arguments, model, given, out)
        if error is not None:
            page.data.setdefault("left_out", {})[name] = error
            continue
        page.section(name, out, wanted)
    sections = page.data["sections"]
    info = sections["info"]["attributes"]
    page.data.update(
        otimes=info["otimes_version"], date=info["date"], model_sha256=info.get("model_sha256", "")
    )
    page.data["model"] = pathlib.PurePath(model).name
    page.data["command_line"] = " ".join(["otimes report", model, *text, "-o report.html"])
    for name, section in sections.items():
        if name != "info":
            without(section, info)
    return page


def dump(page: Page) -> str:
    text = json.dumps(page.data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = re.sub(r"[\ud800-\udfff]", lambda m: f"\\u{ord(m[0]):04x}", text.translate(ESCAPES))
    block = base64.b64encode(bytes(page.block)).decode("ascii")
    return (
        f'<script type="application/json" id="otimes-data">{text}</script>\n'
        f'<script type="application/octet-stream" id="otimes-block">{block}</script>\n'
    )


def page_files() -> list[pathlib.Path]:
    """The files that page.html names, found below it."""
    named = re.findall(r"<!-- otimes: (\S+) -->", (REPORT / "page.html").read_text(encoding="utf-8"))
    return [next(REPORT.rglob(name)) for name in named if name != "data"]


def write(page: Page, out: pathlib.Path) -> None:
    sys.path.insert(0, str(REPORT))
    import assemble

    before, after = assemble.assembled(REPORT / "page.html", page_files())
    out.write_text(before + dump(page) + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("otimes")
    parser.add_argument("model")
    parser.add_argument("--text")
    parser.add_argument("--tokens")
    parser.add_argument("--rows", help="circuits: only of these tokens, for speed")
    parser.add_argument(
        "--keep", type=pathlib.Path, help="folder of the HDF5 files; those that are there are taken"
    )
    parser.add_argument("-o", dest="output", type=pathlib.Path, required=True)
    options = parser.parse_args()
    text = ["--text", options.text] if options.text is not None else []
    text += ["--tokens", options.tokens] if options.tokens is not None else []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write(collect(options.otimes, options.model, text, folder, options.rows), options.output)


if __name__ == "__main__":
    main()
