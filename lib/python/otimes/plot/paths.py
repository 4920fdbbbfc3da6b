# SPDX-License-Identifier: MIT
"""Pictures of otimes-paths: a logit as a sum over paths through heads."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, fact, formula, target_namer, text_tokens, texts, values
from otimes.plot._errors import PlotError
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._text import plain
from otimes.plot.heads import head_grid, map_size

PATHS, EDGES = 16, 24


def _case(data: xr.Dataset, choice: Choice) -> int:
    """The case of --text and --position, or of --select case=, or the last of the first text."""
    if "case" in choice.select:
        return choice.label(data, "case")
    text = choice.text_of(data)
    own = [i for i, t in enumerate(data["case_text"].values) if t == text]
    if not own:
        raise PlotError(f"text: {text} has no case")
    choice.used.add("position")
    if choice.position is None:
        return own[-1]
    length = int(data["length"].values[text])
    position = choice.position + (length if choice.position < 0 else 0)
    for case in own:
        if int(data["case_position"].values[case]) == position:
            return case
    known = ", ".join(str(int(data["case_position"].values[case])) for case in own[:12])
    raise PlotError(f"position: expected one of {known}, got {choice.position}")


def _title(data: xr.Dataset, case: int) -> str:
    """Of what the paths are."""
    if str(fact(data, "value")).startswith("linear"):
        return "the loss"
    name = target_namer(data)
    ids = int(data["target_id"].values[case]), int(data["against_id"].values[case])
    return f"the logit of {name(ids[0])}" + (f" − {name(ids[1])}" if ids[1] >= 0 else "")


def _where(data: xr.Dataset, case: int) -> str:
    text, position = int(data["case_text"].values[case]), int(data["case_position"].values[case])
    tokens = text_tokens(data, text)
    kept = tokens[max(0, position - 11) : position + 1]
    return f"Position {position}: {'… ' if position > 11 else ''}{' '.join(kept)}\n"


@picture(
    "paths",
    "waterfall",
    "the largest paths, adding up to the logit",
    "path_value",
    "path_label",
    "frozen_value",
)
def waterfall(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    case = _case(data, choice)
    own = np.flatnonzero((data["path_case"].values == case) & np.isfinite(values(data, "path_value")))
    count = min(choice.count(PATHS), own.size)
    own = own[:count]
    sizes = [float(v) for v in values(data, "path_value")[own]]
    names = [plain(v, 60) for v in texts(data, "path_label")[own]]
    left = float(values(data, "frozen_value")[case]) - sum(sizes)
    names.append("all other paths")
    sizes.append(left)
    figure, axes = page.grid(
        1,
        1,
        6.2,
        0.2 * (len(sizes) + 1) + 0.5,
        f"Paths to {_title(data, case)}",
        f"{_where(data, case)}Patterns and norm scales frozen. {plain(texts(data, 'certificate')[case])}.",
    )
    marks.waterfall(axes[0][0], names, sizes, page, "sum")
    axes[0][0].set_xlabel("logit")
    return figure


@picture(
    "paths",
    "orders",
    "what paths through 0, 1, 2 ... heads come to, and through which layers",
    "order_total",
    "set_total",
)
def orders(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    case = _case(data, choice)
    total, sets = values(data, "order_total")[case], values(data, "set_total")[case]
    names = [plain(v, 24) for v in data["layer_set"].values]
    keep = np.argsort(-np.abs(np.nan_to_num(sets)), kind="stable")[: choice.count(12)]
    if keep.size < len(names):
        page.notes.append(f"The {keep.size} largest of {len(names)} sets of layers.")
    tall = 0.2 * max(total.size, keep.size) + 0.5
    figure, axes = page.grid(
        1,
        2,
        6.8,
        tall,
        f"Orders of paths to {_title(data, case)}",
        _where(data, case) + formula(data, "order_total", "set_total"),
    )
    marks.bars(
        axes[0][0],
        [f"{i} heads" if i != 1 else "1 head" for i in range(total.size)],
        [float(v) for v in total],
        page,
    )
    marks.bars(axes[0][1], [names[i] for i in keep], [float(sets[i]) for i in keep], page)
    axes[0][0].set(title="by number of heads", xlabel="logit")
    axes[0][1].set(title="by layers of the heads", xlabel="logit")
    return figure


@picture(
    "paths",
    "edges",
    "the largest edges between parts, by queries, keys and values",
    "edge_value",
    "edge_from",
)
def edges(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    case = _case(data, choice)
    own = np.flatnonzero((data["edge_case"].values == case) & np.isfinite(values(data, "edge_value")))[
        : choice.count(EDGES)
    ]
    words = [texts(data, f"edge_{part}") for part in ("from", "to", "via")]
    names = [
        f"{plain(words[0][i], 24)} → {plain(words[1][i], 24)}"
        + ("" if words[2][i] == "out" else f" by {plain(words[2][i], 4)}")
        for i in own
    ]
    figure, axes = page.grid(
        1,
        1,
        5.6,
        0.19 * len(names) + 0.5,
        f"Edges towards {_title(data, case)}",
        f"{_where(data, case)}By v: the sum of all paths over the edge; by q and k the linear term. "
        + formula(data, "edge_value"),
    )
    marks.bars(axes[0][0], names, [float(v) for v in values(data, "edge_value")[own]], page)
    axes[0][0].set_xlabel("logit")
    return figure


@picture(
    "paths",
    "heads",
    "what flows through each head, and straight from it to the logit",
    "head_flow",
    "head_direct",
)
def heads(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    case = _case(data, choice)
    data = choice.heads(data)
    maps = [
        ("all paths through the head", values(data, "head_flow")[case]),
        ("straight from the head", values(data, "head_direct")[case]),
    ]
    wide, tall = map_size(data)
    norm, _, extend = marks.scale(maps[0][1], maps[1][1], diverging=True)
    figure, axes = page.grid(
        1,
        2,
        2 * max(wide, 2.2) + 0.6,
        max(tall, 1.1) + 0.1,
        f"Flow through heads to {_title(data, case)}",
        _where(data, case) + formula(data, "head_flow", "head_direct"),
    )
    layers, names = head_grid(data)
    image = None
    for ax, (title, matrix) in zip(axes[0], maps):
        image = marks.heatmap(
            ax, matrix, page, norm, True, rows=layers, columns=names, write=matrix.size <= 160
        )
        ax.set(title=title, xlabel="head")
    axes[0][0].set_ylabel("layer")
    marks.colourbar(figure, image, list(axes[0]), "logit", extend)
    return figure


@picture("paths", "sources", "where paths begin: part and position", "source_flow")
def sources(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    case = _case(data, choice)
    tokens = text_tokens(data, int(data["case_text"].values[case]))
    cells = values(data, "source_flow")[case][:, : len(tokens)]
    names = [plain(v, 24) for v in data["source"].values]
    norm, _, extend = marks.scale(cells, diverging=True)
    figure, axes = page.grid(
        1,
        1,
        float(np.clip(0.24 * len(tokens), 3.0, 7.4)) + 1.6,
        float(np.clip(0.2 * len(names), 0.7, 7)) + 0.8,
        f"Where paths to {_title(data, case)} begin",
        _where(data, case) + formula(data, "source_flow"),
    )
    image = marks.heatmap(
        axes[0][0],
        cells,
        page,
        norm,
        True,
        rows=names,
        columns=tokens,
        most=(48, 48),
        turned=True,
        write=False,
    )
    marks.colourbar(figure, image, axes[0][0], "logit", extend)
    return figure


@picture("paths", "graph", "the largest edges as a graph from tokens to the logit", "edge_value", "edge_from")
def graph(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    case = _case(data, choice)
    own = np.flatnonzero((data["edge_case"].values == case) & np.isfinite(values(data, "edge_value")))[
        : choice.count(EDGES)
    ]
    parts, sizes = [texts(data, f"edge_{part}") for part in ("from", "to", "via")], values(data, "edge_value")
    edge = [(str(parts[0][i]), str(parts[1][i]), str(parts[2][i]), float(sizes[i])) for i in own]
    nodes = sorted({n for a, b, _, _ in edge for n in (a, b)}, key=lambda n: (_level(n), n))
    levels = sorted({_level(n) for n in nodes})
    rows = {level: [n for n in nodes if _level(n) == level] for level in levels}
    widest = max(len(row) for row in rows.values())
    figure, axes = page.grid(
        1,
        1,
        float(np.clip(0.85 * widest, 4.6, 9.0)),
        min(0.95, 7.5 / len(levels)) * len(levels) + 0.2,
        f"The largest edges towards {_title(data, case)}",
        f"{_where(data, case)}Width: size of the flow; blue for, orange against. Solid by values, dashed "
        f"by queries, dotted by keys (linear terms).",
    )
    ax = axes[0][0]
    at = {
        n: ((i + 0.5) / len(row), float(height))
        for height, level in enumerate(levels)
        for row in (rows[level],)
        for i, n in enumerate(row)
    }
    ax.set(xlim=(0, 1), ylim=(-0.35, len(levels) - 0.6))
    ax.set_axis_off()
    most = max((abs(v) for *_, v in edge), default=1.0) or 1.0
    for a, b, via, value in reversed(edge):
        _arrow(ax, page, at[a], at[b], via, value, most)
    for name, (x, y) in at.items():
        ax.text(
            x,
            y,
            plain(name, 20),
            ha="center",
            va="center",
            fontsize=7.5,
            bbox={
                "boxstyle": "round,pad=0.3",
                "facecolor": page.theme.paper,
                "edgecolor": page.theme.soft,
                "linewidth": 0.7,
            },
            zorder=5,
        )
    return figure


def _level(node: str) -> float:
    """Height of a part: sources below, then layer by layer, the target on top."""
    if node == "target":
        return 1e9
    match = re.match(r"L(\d+)(H|)", node)
    if not match:
        return -1.0
    return int(match[1]) + (0.0 if match[2] else 0.5)


def _arrow(
    ax: Axes, page: Page, a: tuple[float, float], b: tuple[float, float], via: str, value: float, most: float
) -> None:
    from matplotlib.patches import FancyArrowPatch

    bend = {"q": 0.14, "k": -0.14}.get(via, 0.0)
    line = {"q": "--", "k": ":"}.get(via, "-")
    colour = page.theme.positive if value >= 0 else page.theme.negative
    size = abs(value) / most
    ax.add_patch(
        FancyArrowPatch(
            a,
            b,
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=6 + 4 * size,
            shrinkA=9,
            shrinkB=9,
            linewidth=0.4 + 3.2 * size,
            linestyle=line,
            color=colour,
            alpha=0.35 + 0.6 * size,
            zorder=2,
        )
    )
