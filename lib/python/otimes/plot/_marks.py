# SPDX-License-Identifier: MIT
"""What pictures are made of: heat maps, bars, waterfalls, tables of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from otimes.plot._page import Page
from otimes.plot._style import Theme, ink_on
from otimes.plot._text import width_of

MANY = 400  # cells beyond which a few extreme ones no longer set the scale of colours
SHARE = 99.5  # per cent of the cells that it then shows
WRITTEN = 260  # cells up to which each has its number


def number(value: float, digits: int = 2, sign: bool = False, small: bool = True) -> str:
    """A number as people write it: 0.42, −3.1, 1.2e5; without `small` what rounds to 0 is 0."""
    if not np.isfinite(value):
        return "–" if np.isnan(value) else ("∞" if value > 0 else "−∞")
    size = abs(value)
    if value != 0 and ((small and size < 10.0 ** -(digits + 1)) or size >= 1e5):
        text = (
            f"{value:{'+' if sign else ''}.1e}".replace("e+0", "e")
            .replace("e-0", "e−")
            .replace("e+", "e")
            .replace("e-", "e−")
        )
    else:
        places = digits if size < 100 else 1 if size < 1000 else 0
        text = f"{value:{'+' if sign else ''}.{places}f}"
        if float(text) == 0:
            text = text.lstrip("+-")
    return text.replace("-", "−")


def reach(*arrays: Any, share: float | None = None) -> tuple[float, bool]:
    """The largest modulus that a scale of colours shows, and whether some cells are beyond it."""
    flat = np.concatenate([np.abs(np.asarray(array, float)).ravel() for array in arrays])
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        return 1.0, False
    most = float(flat.max())
    if flat.size > MANY or share is not None:
        some = float(np.percentile(flat, SHARE if share is None else share))
        if 0 < some < 0.7 * most:
            return some, True
    return (most or 1.0), False


def scale(
    *arrays: Any, diverging: bool | None = None, low: float | None = None, high: float | None = None
) -> tuple[Normalize, bool, str]:
    """A scale for these arrays together: centred on 0 where there are values on both sides."""
    flat = np.concatenate([np.asarray(array, float).ravel() for array in arrays])
    flat = flat[np.isfinite(flat)]
    if diverging is None:
        diverging = bool(flat.size and flat.min() < 0)
    most, beyond = reach(flat)
    if high is not None:
        most, beyond = high, bool(flat.size and np.abs(flat).max() > high)
    if diverging:
        return Normalize(-most, most), True, "both" if beyond else "neither"
    return Normalize(0.0 if low is None else low, most), False, "max" if beyond else "neither"


def sparse(
    axes: Axes, count: int, which: str, names: Sequence[str] | None = None, most: int = 16, **text: Any
) -> None:
    """Ticks at cells, no more than can be read."""
    step = max(1, -(-count // most))
    at = list(range(0, count, step))
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(at, [names[i] if names is not None else str(i) for i in at], **text)


def heatmap(
    axes: Axes,
    matrix: np.ndarray,
    page: Page,
    norm: Normalize,
    diverging: bool,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    write: bool | None = None,
    digits: int = 2,
    most: tuple[int, int] = (32, 32),
    turned: bool = False,
    ticks: bool = True,
) -> Any:
    """Cells coloured by value; few enough are written too."""
    theme = page.theme
    colours = (theme.diverging if diverging else theme.rising).with_extremes(bad=theme.missing)
    image = axes.imshow(
        np.ma.masked_invalid(matrix),
        cmap=colours,
        norm=norm,
        aspect="auto",
        interpolation="auto" if matrix.size > 20_000 else "nearest",
    )
    if ticks:
        turn: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "top"} if turned else {}
        sparse(axes, matrix.shape[0], "y", rows, most[0])
        sparse(axes, matrix.shape[1], "x", columns, most[1], **turn)
    axes.tick_params(length=0 if matrix.size < 4000 else 2)
    for side in axes.spines.values():
        side.set_visible(False)
    small = (matrix.size <= WRITTEN) if write is None else write
    if small:
        for (row, column), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                axes.text(
                    column,
                    row,
                    number(value, digits, small=False),
                    ha="center",
                    va="center",
                    fontsize=6.2,
                    color=ink_on(colours(norm(value))),
                )
    return image


def colourbar(
    figure: Figure, image: Any, axes: Any, label: str, extend: str = "neither", **settings: Any
) -> Any:
    """The key of one or several heat maps."""
    bar = figure.colorbar(
        image, ax=axes, label=label, extend=extend, **{"shrink": 0.9, "aspect": 22, "pad": 0.015, **settings}
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize=6.5)
    bar.ax.yaxis.label.set_fontsize(7.5)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
    return bar


def by_layer(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Names of the two axes of a map of heads."""
    axes.set_xlabel("head")
    axes.set_ylabel("layer")


def zero_line(axes: Axes, theme: Theme, upright: bool = False) -> None:
    """Where 0 is."""
    (axes.axvline if upright else axes.axhline)(0, color=theme.faint, linewidth=0.8, zorder=0)


def log_axis(axes: Axes, which: str = "y") -> None:
    """A logarithmic axis whose numbers are text and no mathematics."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    few = high / max(low, 1e-300) < 30
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=8))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if 1e-4 < value < 1e6 else number(value))
    )
    axis.set_minor_formatter(NullFormatter())


def whole_ticks(axes: Axes, which: str = "x") -> None:
    """Ticks at whole numbers."""
    (axes.xaxis if which == "x" else axes.yaxis).set_major_locator(MaxNLocator(8, integer=True))


def plain_numbers(axes: Axes, which: str = "y", digits: int = 2) -> None:
    """Tick labels as number() writes them."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, digits)))


def bars(
    axes: Axes,
    names: Sequence[str],
    sizes: Sequence[float],
    page: Page,
    *,
    colours: Sequence[str] | None = None,
    starts: Sequence[float] | None = None,
    written: Sequence[str] | None = None,
    digits: int = 2,
    sign: bool = True,
) -> None:
    """Lying bars, one beneath the other, each with its number; `starts` makes them a waterfall."""
    theme, count = page.theme, len(names)
    begin = np.zeros(count) if starts is None else np.asarray(starts, float)
    size = np.nan_to_num(np.asarray(sizes, float))
    if colours is None:
        colours = [theme.positive if value >= 0 else theme.negative for value in size]
    axes.barh(range(count), size, left=begin, height=0.72, color=list(colours), linewidth=0)
    if starts is not None:
        for i in range(count - 1):
            end = begin[i] + size[i]
            axes.plot([end, end], [i - 0.36, i + 1.36], color=theme.soft, linewidth=0.5)
    ends = np.concatenate([begin, begin + size, [0.0]])
    low, high = float(ends.min()), float(ends.max())
    span = (high - low) or 1.0
    for i in range(count):
        right = max(begin[i], begin[i] + size[i]) if size[i] >= 0 or starts is not None else None
        text = written[i] if written is not None else number(float(sizes[i]), digits, sign)
        at = right + 0.012 * span if right is not None else float(size[i]) - 0.012 * span
        axes.text(
            at,
            i,
            text,
            va="center",
            ha="left" if right is not None else "right",
            fontsize=6.8,
            color=theme.ink,
        )
    room = 0.16 * span
    axes.set_xlim(low - (room if low < 0 and starts is None else 0.03 * span), high + room)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_yticks(range(count), list(names))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    zero_line(axes, theme, upright=True)


def waterfall(
    axes: Axes, names: Sequence[str], parts: Sequence[float], page: Page, total: str, digits: int = 2
) -> None:
    """Parts that add up to a total, which stands below."""
    ends = np.cumsum(np.asarray(parts, float))
    colours = [page.theme.positive if part >= 0 else page.theme.negative for part in parts]
    bars(
        axes,
        [*names, total],
        [*parts, ends[-1] if len(ends) else 0.0],
        page,
        starts=[0.0, *ends[:-1], 0.0] if len(ends) else [0.0],
        colours=[*colours, page.theme.neutral],
        digits=digits,
    )


CELL_TEXT, CELL_TALL, CELL_PAD = 7.0, 0.19, 0.07  # points, inches, inches
SOFTENED = 0.6  # of the scale of colours: text is to be read on them


class Table:
    """Rows of texts, cells of which are coloured by a number."""

    def __init__(self, header: Sequence[str], left: Sequence[bool] | None = None):
        self.header = list(header)
        self.left = list(left) if left is not None else [True] * len(self.header)
        self.rows: list[list[str]] = []
        self.values: list[list[float]] = []
        self.breaks: list[tuple[int, str]] = []  # row before which a heading stands

    def add(self, texts: Sequence[str], values: Sequence[float] | None = None) -> None:
        """A row; NaN leaves a cell without colour."""
        self.rows.append(list(texts))
        self.values.append(list(values) if values is not None else [np.nan] * len(texts))

    def heading(self, text: str) -> None:
        """A line of its own before the next row."""
        self.breaks.append((len(self.rows), text))

    def parts(self, count: int) -> list[Table]:
        """The same in so many tables side by side, cut before headings."""
        starts = {at for at, _ in self.breaks}
        weight = len(self.rows) + 1.3 * len(self.breaks)
        tables, place = [Table(self.header, self.left)], 0
        done = 0.0
        for row, (texts, values) in enumerate(zip(self.rows, self.values)):
            if row in starts:
                if row and done >= weight / count * len(tables) - 1e-9 and len(tables) < count:
                    tables.append(Table(self.header, self.left))
                tables[-1].heading(self.breaks[place][1])
                place += 1
                done += 1.3
            tables[-1].add(texts, values)
            done += 1
        return tables

    def widths(self) -> list[float]:
        """Of the columns, in inches."""
        found = []
        for column, title in enumerate(self.header):
            cells = [row[column] for row in self.rows]
            widest = max((width_of(cell, CELL_TEXT) for cell in cells), default=0.0)
            found.append(max(widest, width_of(title, CELL_TEXT, True)) + 2 * CELL_PAD)
        return found

    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        wide = max([sum(self.widths()), *(width_of(text, CELL_TEXT, True) + 0.1 for _, text in self.breaks)])
        return wide, (len(self.rows) + 1.3 * len(self.breaks) + 1.15) * CELL_TALL

    def draw(self, axes: Axes, page: Page, norm: Normalize | None = None, diverging: bool = True) -> None:
        """Into a panel of size()."""
        theme, points = page.theme, CELL_TEXT * page.scale
        wide, tall = self.size()
        widths = self.widths()
        colours = theme.diverging if diverging else theme.rising
        edges = np.concatenate([[0.0], np.cumsum(widths)])
        axes.set(xlim=(0, wide), ylim=(tall, 0))
        axes.set_aspect("equal", anchor="NW")
        axes.set_axis_off()

        def put(column: int, at: float, text: str, **looks: Any) -> None:
            left = self.left[column]
            x = edges[column] + CELL_PAD if left else edges[column + 1] - CELL_PAD
            axes.text(x, at, text, ha="left" if left else "right", va="center", fontsize=points, **looks)

        for column, title in enumerate(self.header):
            put(column, 0.5 * CELL_TALL, title, color=theme.soft, weight="bold")
        axes.plot([0, float(edges[-1])], [CELL_TALL, CELL_TALL], color=theme.soft, linewidth=0.6)
        down, breaks = 1.15 * CELL_TALL, dict(self.breaks)
        for place, (row, values) in enumerate(zip(self.rows, self.values)):
            if place in breaks:
                axes.text(
                    CELL_PAD,
                    down + 0.8 * CELL_TALL,
                    breaks[place],
                    va="center",
                    fontsize=points,
                    weight="bold",
                    color=theme.ink,
                )
                down += 1.3 * CELL_TALL
            for column, (text, value) in enumerate(zip(row, values)):
                ink = theme.ink
                if norm is not None and np.isfinite(value):
                    face = colours(norm(value * SOFTENED))
                    axes.add_patch(
                        Rectangle(
                            (float(edges[column]) + 0.01, down + 0.008),
                            widths[column] - 0.02,
                            CELL_TALL - 0.016,
                            facecolor=face,
                            linewidth=0,
                        )
                    )
                    ink = ink_on(face)
                put(column, down + 0.5 * CELL_TALL, text, color=ink)
            down += CELL_TALL


WIDEST = 7.6  # inches of a page
TALL = 26  # rows beyond which a table with headings stands in columns


def table_page(
    page: Page, table: Table, title: str, caption: str, norm: Normalize | None, diverging: bool = True
) -> Figure:
    """A page with a table; a long one with headings in columns side by side."""
    wide, _ = table.size()
    count = 1
    if len(table.rows) > TALL and len(table.breaks) > 1:
        count = max(
            1, min(int((WIDEST + 0.3) // (wide + 0.3)), len(table.breaks), -(-len(table.rows) // TALL))
        )
    parts = table.parts(count)
    sizes = [part.size() for part in parts]
    widths = [size[0] for size in sizes]
    figure, axes = page.grid(
        1,
        len(parts),
        sum(widths) + 0.3 * (len(parts) - 1),
        max(size[1] for size in sizes),
        title,
        caption,
        width_ratios=widths,
    )
    for ax, part in zip(axes[0], parts):
        part.draw(ax, page, norm, diverging)
    return figure
