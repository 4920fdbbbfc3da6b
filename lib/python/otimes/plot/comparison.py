# SPDX-License-Identifier: MIT
"""Pictures of otimes-compare: heads beside each other, models beside each other, along a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, fact, formula, model_name, texts, values
from otimes.plot._errors import PlotError
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._text import plain
from otimes.plot.composition import head_axis, pair_name
from otimes.plot.heads import layer_colours, layer_key


def _models(data: xr.Dataset) -> list[str]:
    if "model" not in data:
        return [model_name(data)]
    return [plain(v, 24) for v in data["model"].values]


def _apart(at: np.ndarray, symlog: bool) -> list[int]:
    """Places whose labels do not run into each other."""
    least = float(at[at > 0].min(initial=np.inf)) if symlog else 1.0
    drawn = np.where(at <= least, at / least, 1 + np.log10(np.maximum(at, least) / least)) if symlog else at
    kept: list[int] = []
    for place, x in enumerate(drawn):
        if not kept or x - drawn[kept[-1]] >= 0.045 * (drawn[-1] - drawn[0]):
            kept.append(place)
    return kept


def _along_about(data: xr.Dataset, page: Page) -> None:
    names = _models(data)
    size = f"{fact(data, 'architecture')}, {fact(data, 'n_layers')} layers × {fact(data, 'n_heads')} heads"
    page.about = f"{len(names)} models: {names[0]} to {names[-1]}  ·  {size}"


def _other(data: xr.Dataset, choice: Choice) -> int:
    return choice.label(data, "other_model", data.sizes["other_model"] - 1)


def _along(data: xr.Dataset, ax: Axes) -> np.ndarray:
    """Places of the models: their numbers, where all are numbers that rise, else one behind the other."""
    names = _models(data)
    try:
        at = np.array([float(name) for name in names])
    except ValueError:
        at = np.array([])
    rising = at.size and np.all(np.isfinite(at)) and np.all(np.diff(at) > 0)
    if not rising:
        at = np.arange(len(names), dtype=float)
    elif at.size > 2 and at[0] >= 0 and at[-1] > 20 * max(at[at > 0].min(initial=np.inf), 1e-9):
        ax.set_xscale("symlog", linthresh=float(at[at > 0].min()))
    kept = _apart(at, ax.get_xscale() != "linear")
    ax.set_xticks(at[kept], [names[i] for i in kept], rotation=60)
    ax.minorticks_off()
    ax.set_xlabel("checkpoint" if rising else "model")
    return at


def _drift(ax: Axes, data: xr.Dataset, page: Page, name: str) -> list[Any]:
    """A line a head; the colours of the layers."""
    at, lines, colours = _along(data, ax), values(data, name), layer_colours(page, data.sizes["layer"])
    for layer in range(lines.shape[1]):
        for head in range(lines.shape[2]):
            label = f"layer {data['layer'].values[layer]}" if head == 0 else None
            ax.plot(
                at,
                lines[:, layer, head],
                ".-",
                markersize=3,
                color=colours[layer],
                linewidth=0.9,
                label=label,
                alpha=0.9,
            )
    marks.zero_line(ax, page.theme)
    return colours


def _composition(ax: Axes, data: xr.Dataset, page: Page, count: int) -> None:
    """A line a pair; the strongest ones are named."""
    cells = values(data, "k_composition")
    flat = cells.reshape(cells.shape[0], -1)
    pairs = np.flatnonzero(np.isfinite(flat).all(axis=0))
    strong = pairs[np.argsort(-flat[:, pairs].max(axis=0), kind="stable")][: min(count, 7)]
    at = _along(data, ax)
    lines = [np.column_stack([at, flat[:, i]]) for i in pairs]
    ax.add_collection(LineCollection(lines, colors=page.theme.faint, linewidths=0.6, zorder=1))
    for rank, i in enumerate(strong):
        place = np.unravel_index(i, cells.shape[1:])
        ax.plot(
            at,
            flat[:, i],
            "o-",
            markersize=3,
            color=page.theme.cycle[rank],
            label=pair_name(data, place),
            zorder=3,
        )
    ax.axhline(_expected(data), color=page.theme.soft, linestyle=":", linewidth=0.9)
    ax.set(ylabel="K-composition score", ylim=(0, None))
    ax.legend()


def _expected(data: xr.Dataset) -> float:
    return float(fact(data, "k_composition_expected", np.nan))


@picture(
    "compare",
    "training",
    "when heads begin to compose and circuits take their form, along checkpoints",
    "k_composition",
    "QK_cosine_last",
    by="of several checkpoints",
)
def training(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    _along_about(data, page)
    caption = f"Left: each line a pair of heads, dotted what random subspaces give, {_expected(data):.3f}. "
    caption += "Right: cosine of each head's W_QK with that of the last model. "
    figure, axes = page.grid(
        1,
        2,
        7.4,
        3.0,
        "Along the training: K-composition, and the QK circuits",
        caption + formula(data, "k_composition"),
    )
    left, right = axes[0]
    _composition(left, data, page, choice.count(3))
    left.set_title("pairs of heads")
    colours = _drift(right, data, page, "QK_cosine_last")
    right.set(title="QK of every head", ylabel="cosine with the last")
    layer_key(figure, axes[0], page, data, colours)
    return figure


@picture(
    "compare",
    "drift",
    "how each head's OV and QK come to be, along checkpoints",
    "OV_cosine_last",
    "QK_cosine_last",
    by="of several checkpoints",
)
def drift(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    _along_about(data, page)
    figure, axes = page.grid(
        1,
        2,
        7.0,
        2.9,
        "Along the training: circuits of every head",
        "Cosine of each head's matrix with that of the same head in the last model. "
        + formula(data, "OV_cosine_last"),
        sharey=True,
    )
    for ax, circuit in zip(axes[0], ("OV", "QK")):
        colours = _drift(ax, data, page, f"{circuit}_cosine_last")
        ax.set_title(circuit)
    axes[0][0].set_ylabel("cosine with the last")
    layer_key(figure, axes[0], page, data, colours)
    return figure


@picture(
    "compare",
    "composition",
    "when heads begin to compose, along checkpoints",
    "k_composition",
    by="of several checkpoints",
)
def composition(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    _along_about(data, page)
    figure, axes = page.grid(
        1,
        1,
        5.2,
        3.0,
        "Along the training: K-composition",
        f"Each line a pair of heads; dotted: random subspaces, {_expected(data):.3f}. "
        + formula(data, "k_composition"),
    )
    _composition(axes[0][0], data, page, choice.count(4))
    return figure


def _matrix(data: xr.Dataset, name: str, other: int) -> np.ndarray:
    cells = values(data, name)[other]
    return np.asarray(cells.reshape(cells.shape[0] * cells.shape[1], -1))


def _tree(linkage: np.ndarray, order: Sequence[int]) -> list[tuple[list[float], list[float]]]:
    """Lines of a dendrogram whose leaves stand in the given order: x and y of each merger."""
    count = len(order)
    at = {int(leaf): float(place) for place, leaf in enumerate(order)}
    height = dict.fromkeys(range(count), 0.0)
    lines = []
    for merge, (left, right, tall, _) in enumerate(linkage):
        a, b = int(left), int(right)
        lines.append(([at[a], at[a], at[b], at[b]], [height[a], float(tall), float(tall), height[b]]))
        at[count + merge], height[count + merge] = (at[a] + at[b]) / 2, float(tall)
    return lines


@picture(
    "compare", "similarity", "how alike all pairs of heads are, like ones beside each other", "similarity"
)
def similarity(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    choice.used.add("array")
    name = choice.array or "similarity"
    if name not in data or data[name].dims != data["similarity"].dims:
        known = [str(k) for k in data if data[k].dims == data["similarity"].dims]
        raise PlotError(
            f"array: expected one of {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}, got "
            f"{plain(name, 40)}"
        )
    other = _other(data, choice)
    matrix = _matrix(data, name, other)
    alone = "linkage" in data and data.sizes.get("model", 1) == 1
    caption = f"similarity: {fact(data, 'similarity_is')}, in {fact(data, 'space')}. " + (
        formula(data, name) if name != "similarity" else ""
    )
    if alone:
        return _clustered(data, page, matrix, name, caption)
    models = _models(data)
    _along_about(data, page)
    other_name = plain(data["other_model"].values[other], 30)
    side = float(np.clip(0.2 * max(matrix.shape), 1.8, 5.4))
    figure, axes = page.grid(
        1,
        1,
        side + 1.3,
        side * matrix.shape[0] / max(matrix.shape[1], 1) + 0.6,
        f"Heads of {models[0]} and of {other_name}",
        caption,
    )
    norm, diverging, extend = marks.scale(matrix)
    image = marks.heatmap(axes[0][0], matrix, page, norm, diverging, write=False)
    head_axis(axes[0][0], "y", data["layer"].values, data["head"].values, page)
    head_axis(axes[0][0], "x", data["other_layer"].values, data["other_head"].values, page)
    axes[0][0].set(ylabel=models[0], xlabel=other_name)
    marks.colourbar(figure, image, axes[0][0], name.replace("_", " "), extend)
    return figure


def _clustered(data: xr.Dataset, page: Page, matrix: np.ndarray, name: str, caption: str) -> Figure:
    order = [int(v) for v in data["cluster_order"].values]
    nodes = [plain(v, 12) for v in texts(data, "node")]
    count = len(order)
    side = float(np.clip(0.19 * count, 2.2, 5.6))
    figure, axes = page.grid(
        2,
        1,
        side + 1.1,
        side + 0.9,
        "Which heads are alike",
        caption + "\nAbove: average linkage on 1 − similarity.",
        height_ratios=[0.75, side],
        sharex=True,
    )
    top, ax = axes[0][0], axes[1][0]
    linkage = values(data, "linkage")
    lines = [np.column_stack(line) for line in _tree(linkage, order)]
    top.add_collection(LineCollection(lines, colors=page.theme.soft, linewidths=0.7))
    top.set(xlim=(-0.5, count - 0.5), ylim=(0, max(float(np.nanmax(linkage[:, 2])), 1e-9) * 1.05), yticks=[])
    top.tick_params(labelbottom=False, length=0)
    for spine in top.spines.values():
        spine.set_visible(False)
    ordered = matrix[np.ix_(order, order)].copy()
    off = ordered[~np.eye(count, dtype=bool)]
    norm, diverging, extend = marks.scale(off if off.size else ordered)
    image = marks.heatmap(ax, ordered, page, norm, diverging, write=False)
    names = [nodes[i] for i in order]
    marks.sparse(ax, count, "y", names, 64 if count <= 64 else 40, fontsize=7 if count <= 40 else 5.5)
    marks.sparse(
        ax, count, "x", names, 64 if count <= 64 else 40, rotation=90, fontsize=7 if count <= 40 else 5.5
    )
    marks.colourbar(figure, image, [top, ax], name.replace("_", " "), extend, shrink=0.7)
    return figure


@picture("compare", "dendrogram", "the tree of heads", "linkage", "cluster_order")
def dendrogram(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    order = [int(v) for v in data["cluster_order"].values]
    nodes, linkage = [plain(v, 12) for v in texts(data, "node")], values(data, "linkage")
    count = len(order)
    figure, axes = page.grid(
        1,
        1,
        float(np.clip(0.19 * count, 4.0, 9.0)),
        2.8,
        "The tree of heads",
        f"Average linkage on 1 − similarity; similarity: {fact(data, 'similarity_is')}.",
    )
    ax = axes[0][0]
    ax.add_collection(
        LineCollection(
            [np.column_stack(line) for line in _tree(linkage, order)],
            colors=page.theme.positive,
            linewidths=0.9,
        )
    )
    ax.set(
        xlim=(-0.6, count - 0.4),
        ylim=(0, max(float(np.nanmax(linkage[:, 2])), 1e-9) * 1.05),
        ylabel="1 − similarity",
    )
    marks.sparse(
        ax, count, "x", [nodes[i] for i in order], 64, rotation=90, fontsize=7 if count <= 48 else 5.5
    )
    return figure


@picture(
    "compare",
    "matches",
    "which head of another model each head corresponds to",
    "match_similarity",
    "match_layer",
    by="of several models",
)
def matches(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    other = _other(data, choice)
    _along_about(data, page)
    layer, head = (data[f"match_{part}"].values[other].ravel() for part in ("layer", "head"))
    size = values(data, "match_similarity")[other].ravel()
    own = [f"L{a}H{b}" for a in data["layer"].values for b in data["head"].values]
    count = min(choice.count(48), len(own))
    keep = np.sort(np.argsort(-np.nan_to_num(size, nan=-9.0), kind="stable")[:count])
    if count < len(own):
        page.notes.append(f"The {count} closest of {len(own)} heads.")
    other_name = plain(data["other_model"].values[other], 30)
    figure, axes = page.grid(
        1,
        1,
        4.8,
        0.18 * count + 0.5,
        f"Heads of {_models(data)[0]} found in {other_name}",
        f"The matching with the largest sum of similarity ({fact(data, 'matching')}).",
    )
    names = [f"{own[i]} = L{layer[i]}H{head[i]}" if layer[i] >= 0 else f"{own[i]}   –" for i in keep]
    marks.bars(axes[0][0], names, [float(size[i]) for i in keep], page, sign=False)
    axes[0][0].set_xlabel("similarity")
    return figure
