# SPDX-License-Identifier: MIT
"""Drawing and saving."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.text import Text

from otimes.plot._data import Choice, about, as_filed, open_result
from otimes.plot._errors import PlotError
from otimes.plot._page import LARGEST, Page
from otimes.plot._registry import Kind, find
from otimes.plot._registry import kinds as _kinds_of_data
from otimes.plot._style import DARK, LIGHT, style
from otimes.plot._text import plain

SUFFIXES = ("png", "svg", "pdf")
DPI = 200
MOST_PIXELS = 2**16 - 1  # along one side: what Agg can draw
PLACES = 2**20  # where axes may begin and end, along one side of the figure

# Nothing that differs between two runs, so that equal results give equal files.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": "otimes"},
    "svg": {"Date": None, "Creator": "otimes"},
    "pdf": {"CreationDate": None, "Creator": "otimes", "Producer": None},
}

Result = xr.Dataset | str | os.PathLike[str]


def _dataset(result: Result) -> tuple[xr.Dataset, bool]:
    if isinstance(result, xr.Dataset):
        return as_filed(result), False
    if not isinstance(result, (str, os.PathLike)):
        raise PlotError(f"result: expected a Dataset or the name of a file, got {plain(repr(result), 40)}")
    return open_result(os.fspath(result)), True


def close(data: xr.Dataset) -> None:
    """Closes the file of a dataset."""
    data.close()


def kinds(result: Result) -> list[Kind]:
    """The pictures that can be drawn of a result, the standard one first."""
    data, opened = _dataset(result)
    try:
        return _kinds_of_data(data)
    finally:
        if opened:
            data.close()


def _choice(selection: dict[str, Any]) -> Choice:
    known = {"layer", "head", "text", "position", "target", "array", "top"}
    chosen = {name: value for name, value in selection.items() if name in known and value is not None}
    for name in ("text", "position", "target", "top"):
        if name in chosen and (
            isinstance(chosen[name], bool) or not isinstance(chosen[name], (int, np.integer))
        ):
            raise PlotError(f"{name}: expected a number, got {plain(repr(chosen[name]), 40)}")
    if chosen.get("top", 1) < 1:
        raise PlotError(f"top: expected 1 and more, got {chosen['top']}")
    given = selection.get("select") or {}
    if not isinstance(given, Mapping):
        raise PlotError(f'select: expected {{"axis": "label"}}, got {plain(repr(given), 40)}')
    select = dict(given)
    select.update(
        {name: str(value) for name, value in selection.items() if name not in known and name != "select"}
    )
    return Choice(**chosen, select=select)


def _check_size(size: Any) -> None:
    """Inches, as the command line takes them, or nearly."""
    if size is None:
        return
    sides = size if isinstance(size, Sequence) and not isinstance(size, str) else ()
    numbers = [side for side in sides if isinstance(side, (int, float, np.number)) and not isinstance(side, bool)]
    if len(sides) != 2 or len(numbers) != 2 or not all(0 < float(side) <= LARGEST for side in numbers):
        raise PlotError(f"size: expected (width, height) in inches, at most {LARGEST:g}, got {plain(repr(size), 40)}")


def _settle(figure: Figure) -> None:
    """Lays the figure out, and keeps every text of it from being read as mathematics later on.

    The last bits of a layout go by addresses in memory (kiwisolver orders its variables by them), so axes
    are put on a grid far coarser than those and far finer than can be seen.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, low, right, high = (round(side * PLACES) / PLACES for side in axes.get_position(True).extents)
        axes.set_position((left, low, right - left, high - low))
        axes.set_in_layout(True)
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def _refuse_nothing(data: xr.Dataset) -> None:
    for axis in ("layer", "head"):
        if data.sizes.get(axis) == 0:
            raise PlotError(f"{axis}: expected at least one to draw, got a result of none")


def draw(
    result: Result,
    what: str | None = None,
    *,
    dark: bool = False,
    size: tuple[float, float] | None = None,
    **selection: Any,
) -> Figure:
    """A picture of a result (a dataset, or the path of a file) as a Matplotlib figure.

    `what` is one of `kinds(result)`; None: the standard picture. `layer` and `head` are numbers, lists
    or text as "0,2-5"; `text`, `position` (negative ones from the end), `target` and `top` are numbers;
    `array` is the name of one; any other name is an axis and the label to be taken along it, also by
    `select={"pair": "L0H2 L1H1"}`. `size` is in inches. PlotError says what cannot be drawn.
    """
    _check_size(size)
    if not isinstance(dark, bool):
        raise PlotError(f"dark: expected True or False, got {plain(repr(dark), 40)}")
    data, opened = _dataset(result)
    try:
        _refuse_nothing(data)
        kind = find(data, what)
        theme = DARK if dark else LIGHT
        choice = _choice(selection)
        with style(theme), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN, and drawn as such
            figure = kind.draw(data, choice, Page(theme, size, about(data)))
            _refuse_unused(kind, choice)
            _settle(figure)
        return figure
    finally:
        if opened:
            data.close()


def _refuse_unused(kind: Kind, choice: Choice) -> None:
    """A choice that the picture does not know is an error: the picture would not be what was asked for."""
    given = [
        n
        for n in ("layer", "head", "text", "position", "target", "array", "top")
        if getattr(choice, n) is not None
    ]
    given += [f"select {axis}" for axis in choice.select]
    for name in given:
        if name not in choice.used:
            shown_name = name.removeprefix("select ")
            raise PlotError(
                f"{plain(shown_name, 40)}: the picture {kind.name} of {kind.schema} has no such choice"
            )


def save(
    figure: Figure | Result,
    path: str | os.PathLike[str],
    *,
    dpi: float | None = None,
    dark: bool = False,
    **options: Any,
) -> None:
    """Writes a figure, or the picture of a result (options as of `draw`), as .png, .svg or .pdf.

    The file appears when it is complete. Equal results give equal bytes.
    """
    target = Path(path)
    suffix = target.suffix.lower().removeprefix(".")
    name = plain(os.fspath(path))
    if suffix not in SUFFIXES:
        raise PlotError(f"{name}: expected a name that ends in .png, .svg or .pdf")
    if dpi is not None and (
        isinstance(dpi, bool) or not isinstance(dpi, (int, float, np.number)) or not 0 < dpi <= MOST_PIXELS
    ):
        raise PlotError(f"dpi: expected dots per inch above 0, got {plain(repr(dpi), 40)}")
    if isinstance(figure, Figure):
        if dark or options:
            name_of = next(iter(options), "dark")
            raise PlotError(f"{name_of}: expected a result to draw, got a figure, which is drawn")
    else:
        figure = draw(figure, dark=dark, **options)
    dots = DPI if dpi is None else dpi
    wide, tall = (float(side) * dots for side in figure.get_size_inches())
    if suffix == "png" and max(wide, tall) > MOST_PIXELS:
        raise PlotError(
            f"{name}: {wide:.0f} x {tall:.0f} pixels: expected at most {MOST_PIXELS}; choose a smaller --dpi"
        )
    beside = target.with_name(target.name + ".tmp")
    try:
        with style(LIGHT), warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # a missing glyph: never silently
            figure.savefig(beside, format=suffix, dpi=dots, metadata=METADATA[suffix])
        os.replace(beside, target)
    except OSError as error:
        raise PlotError(f"{name}: {error.strerror or error}") from None
    finally:
        beside.unlink(missing_ok=True) if beside.parent.is_dir() else None


def describe(kinds_known: Sequence[Kind], data: xr.Dataset) -> str:
    """What --list prints."""
    wide = max((len(kind.name) for kind in kinds_known), default=0)
    lines = []
    for kind in kinds_known:
        missing = kind.missing(data)
        hint = f"  (needs {kind.by or ', '.join(missing)})" if missing else ""
        lines.append(f"{kind.name:<{wide}}  {kind.shows}{hint}")
    return "\n".join(lines)
