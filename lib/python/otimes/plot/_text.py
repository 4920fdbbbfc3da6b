# SPDX-License-Identifier: MIT
"""Text of models as data: what a token says is shown, and never does anything.

Control and format characters, marks of direction, lone surrogates and what no font at hand has are
escaped; quotes stand around the rest as in the program's own tables. Nothing is mathtext.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable

import matplotlib.font_manager as fonts
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

# Beside DejaVu Sans, which Matplotlib brings along: families with other scripts, where a system has them.
OTHER_FAMILIES = (
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Noto Sans Devanagari",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Thai",
    "Noto Sans Symbols",
    "Noto Sans Symbols 2",
    "Arial Unicode MS",
    "Unifont",
)
ESCAPED_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
LEFT_TO_RIGHT = "\u200e"
STACKED_MARKS = 2  # combining characters on one base that are drawn
LONGEST = 24  # characters of a token in a label


@functools.cache
def families() -> tuple[str, ...]:
    """Font families in the order they are tried."""
    known = {entry.name for entry in fonts.fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in OTHER_FAMILIES if name in known))


@functools.cache
def _drawable() -> frozenset[int]:
    points: set[int] = set()
    for name in families():
        path = fonts.findfont(FontProperties(family=name), fallback_to_default=True)
        points.update(fonts.get_font(path).get_charmap())
    return frozenset(points)


def _escape(character: str) -> str:
    point = ord(character)
    if point < 0x80:
        return f"\\x{point:02X}"
    return f"\\u{point:04X}" if point < 0x10000 else f"\\U{point:08X}"


def _pieces(text: str, quoted: bool) -> Iterable[str]:
    """What each character is shown as, one after the other."""
    marks = 0
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me", "Mc") else 0
        if character in NAMED and (quoted or category == "Cc"):
            yield NAMED[character]
        elif (
            category in ESCAPED_CATEGORIES
            or (category == "Zs" and character != " ")
            or ord(character) not in _drawable()
            or marks > STACKED_MARKS
            or marks > place  # nothing that a mark could stand on
        ):
            yield _escape(character)
        else:
            yield character


def _one_way(text: str) -> str:
    """Keeps text that runs to the left from moving what stands beside it."""
    if any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text):
        return LEFT_TO_RIGHT + text + LEFT_TO_RIGHT
    return text


def _cut(pieces: Iterable[str], limit: int) -> tuple[str, bool]:
    kept: list[str] = []
    width = 0
    for piece in pieces:
        if width + len(piece) > limit:
            return "".join(kept), True
        kept.append(piece)
        width += len(piece)
    return "".join(kept), False


def shown(token: object, limit: int = LONGEST) -> str:
    """A token in quotes, as `"\\n the"`; … behind the quotes says that it was cut at `limit` characters."""
    text, cut = _cut(_pieces(str(token), quoted=True), limit)
    return _one_way(f'"{text}"' + ("…" if cut else ""))


def plain(text: object, limit: int = 400) -> str:
    """Text of a file that is no token (a path, a formula), without what could act."""
    kept, cut = _cut(_pieces(str(text), quoted=False), limit)
    return _one_way(kept + ("…" if cut else ""))


@functools.lru_cache(maxsize=65536)
def width_of(text: str, points: float, bold: bool = False) -> float:
    """Width of a line in inches."""
    font = FontProperties(family=list(families()), size=points, weight="bold" if bold else "normal")
    return float(TextToPath().get_text_width_height_descent(text, font, False)[0]) / 72


def wrapped(text: str, points: float, inches: float, bold: bool = False) -> list[str]:
    """Lines of at most so many inches, broken at spaces; drawn ones may be a little longer than outlines."""
    inches *= 0.95
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and width_of(longer, points, bold) > inches:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return lines
