# SPDX-License-Identifier: MIT
"""Pictures of otimes-neurons: what MLP neurons read and write."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, formula, namer, values
from otimes.plot._errors import PlotError
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._text import plain
from otimes.plot.heads import layer_colours, layer_key


def _layers(data: xr.Dataset, choice: Choice) -> xr.Dataset:
    return choice.heads(data) if choice.layer is not None else data


@picture("neurons", "cosines", "whether neurons write what they read, layer by layer", "cos_in_out")
def cosines(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = _layers(data, choice)
    names = [n for n in ("cos_in_out", "cos_gate_out", "cos_in_gate") if n in data]
    layers = data.sizes["layer"]
    figure, axes = page.grid(
        1,
        len(names),
        2.5 * len(names) + 0.8,
        float(np.clip(0.32 * layers, 1.3, 8)),
        "Cosines of what neurons read and write",
        "Of each layer the spread of its neurons: 5, 25, 50, 75, 95 % and the ends. " + formula(data, *names),
        sharey=True,
    )
    for ax, name in zip(axes[0], names):
        cells = values(data, name)
        for layer in range(layers):
            row = cells[layer][np.isfinite(cells[layer])]
            if row.size:
                spread(ax, page, layer, row)
        ax.set(title=name.replace("_", " "), xlabel="cosine", xlim=(-1.03, 1.03), ylim=(layers - 0.4, -0.6))
        marks.zero_line(ax, page.theme, upright=True)
    marks.sparse(axes[0][0], layers, "y", [str(v) for v in data["layer"].values], 32)
    axes[0][0].set_ylabel("layer")
    return figure


def spread(ax: Any, page: Page, at: int, row: np.ndarray) -> None:
    """Quantiles as bars, the ends as dots."""
    from matplotlib.axes import Axes

    assert isinstance(ax, Axes)
    low, early, middle, late, high = np.percentile(row, [5, 25, 50, 75, 95])
    ax.plot([low, high], [at, at], color=page.theme.cycle[5], linewidth=1.2, solid_capstyle="butt")
    ax.plot([early, late], [at, at], color=page.theme.positive, linewidth=4, solid_capstyle="butt")
    ax.plot([middle], [at], marker="|", color=page.theme.paper, markersize=5, markeredgewidth=1.2)
    ax.scatter([row.min(), row.max()], [at, at], s=4, color=page.theme.neutral, linewidths=0)


@picture(
    "neurons",
    "moments",
    "skew and kurtosis of each neuron's row over the vocabulary",
    "out_kurtosis",
    "out_skew",
)
def moments(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = _layers(data, choice)
    sides = [s for s in ("out", "in", "gate") if f"{s}_kurtosis" in data]
    figure, axes = page.grid(
        1,
        len(sides),
        2.6 * len(sides) + 0.5,
        2.6,
        "Which neurons act on few tokens",
        "High excess kurtosis: few tokens stand out. Skew: to which side. " + formula(data, "out_kurtosis"),
    )
    colours = layer_colours(page, data.sizes["layer"])
    for ax, side in zip(axes[0], sides):
        x, y = values(data, f"{side}_skew"), values(data, f"{side}_kurtosis")
        for layer in range(x.shape[0]):
            ax.scatter(
                x[layer],
                y[layer],
                s=5,
                color=[colours[layer]],
                linewidths=0,
                alpha=0.7,
                label=f"layer {data['layer'].values[layer]}",
                rasterized=x.size > 4000,
            )
        flat = np.argsort(-np.nan_to_num(y, nan=-9.0), axis=None, kind="stable")[:3]
        for i in flat:
            layer, neuron = np.unravel_index(i, y.shape)
            ax.annotate(
                f"L{data['layer'].values[layer]}N{data['neuron'].values[neuron]}",
                (x[layer, neuron], y[layer, neuron]),
                (3, 1),
                textcoords="offset points",
                fontsize=6.2,
            )
        ax.set(
            title={"out": "writes: w_out W_U", "in": "reads: W_E w_in", "gate": "gate: W_E w_gate"}[side],
            xlabel="skew",
        )
        marks.zero_line(ax, page.theme)
        marks.zero_line(ax, page.theme, upright=True)
    axes[0][0].set_ylabel("excess kurtosis")
    layer_key(figure, axes[0], page, data, colours)
    return figure


@picture(
    "neurons",
    "tokens",
    "the tokens that the neurons with the most peaked rows read and write",
    "out_top_id",
    "in_top_id|out_bottom_id",
)
def tokens(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = _layers(data, choice)
    score = values(data, "out_kurtosis" if "out_kurtosis" in data else "out_norm")
    if "neuron" in choice.select:
        neuron = choice.label(data, "neuron")
        chosen = [(layer, neuron) for layer in range(score.shape[0])]
    else:
        flat = np.argsort(-np.nan_to_num(score, nan=-9.0), axis=None, kind="stable")[: choice.count(12)]
        chosen = [divmod(int(i), score.shape[1]) for i in flat]
        page.notes.append(
            "The neurons with the largest kurtosis of w_out W_U; --layer and --select neuron=... choose one."
        )
    sides = [s for s in ("in_top", "out_top", "out_bottom") if f"{s}_id" in data]
    count = min(4, data.sizes["rank"])
    table = marks.Table([{"in_top": "reads", "out_top": "raises", "out_bottom": "lowers"}[s] for s in sides])
    names = {s: namer(data, f"{s}_id", 20) for s in sides}
    ids = {s: data[f"{s}_id"].values for s in sides}
    numbers = {s: values(data, f"{s}_value") for s in sides}
    for layer, neuron in chosen:
        table.heading(
            f"L{data['layer'].values[layer]}N{data['neuron'].values[neuron]}   "
            f"{marks.number(float(score[layer, neuron]))}"
        )
        for rank in range(count):
            sizes = [float(numbers[s][layer, neuron, rank]) for s in sides]
            table.add([names[s](int(ids[s][layer, neuron, rank])) for s in sides], sizes)
    every = [v for row in table.values for v in row]
    norm, _, _ = marks.scale(every, diverging=True)
    return marks.table_page(
        page,
        table,
        "What neurons read, raise and lower",
        formula(data, "in_top_value", "out_top_value"),
        norm,
    )


@picture("neurons", "heads", "the heads that neurons compose with most", "in_score|q_score")
def heads(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = _layers(data, choice)
    count = choice.count(15)
    sides = [
        (s, t)
        for s, t in (
            ("in", "heads that write what neurons read"),
            ("q", "queries that read neurons"),
            ("k", "keys that read neurons"),
            ("v", "values that read neurons"),
        )
        if f"{s}_score" in data and np.isfinite(values(data, f"{s}_score")).any()
    ]
    if not sides:
        raise PlotError("what: heads: no neuron composes with a head")
    columns = 2 if len(sides) > 1 else 1
    rows = -(-len(sides) // columns)
    figure, axes = page.grid(
        rows,
        columns,
        3.4 * columns,
        rows * (0.19 * count + 0.55),
        "Neurons and heads",
        formula(data, f"{sides[0][0]}_score"),
    )
    for place, ax in enumerate(axes.ravel()):
        if place >= len(sides):
            ax.set_axis_off()
            continue
        side, title = sides[place]
        score, head = values(data, f"{side}_score")[:, :, 0], data[f"{side}_head"].values[:, :, 0]
        flat = [
            i
            for i in np.argsort(-np.nan_to_num(score, nan=-1.0), axis=None, kind="stable")[:count]
            if np.isfinite(score.ravel()[i])
        ]
        names, sizes = [], []
        for i in flat:
            layer, neuron = np.unravel_index(i, score.shape)
            own, other = (
                f"L{data['layer'].values[layer]}N{data['neuron'].values[neuron]}",
                plain(data["model_head"].values[head[layer, neuron]], 12),
            )
            names.append(f"{other} → {own}" if side == "in" else f"{own} → {other}")
            sizes.append(float(score[layer, neuron]))
        marks.bars(ax, names, sizes, page, sign=False, digits=3)
        ax.set(title=title, xlabel="score")
    return figure


@picture(
    "neurons",
    "null",
    "how much neurons write where the unembedding hardly looks",
    "null_share",
    by="--null 12",
)
def null(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = _layers(data, choice)
    share, spectrum = values(data, "null_share"), values(data, "unembed_singular_values")
    figure, axes = page.grid(1, 2, 6.8, 2.6, "What the unembedding hardly sees", formula(data, "null_share"))
    colours = layer_colours(page, share.shape[0])
    for layer in range(share.shape[0]):
        row = np.sort(share[layer][np.isfinite(share[layer])])[::-1]
        axes[0][0].plot(
            np.arange(1, row.size + 1),
            row,
            color=colours[layer],
            label=f"layer {data['layer'].values[layer]}",
            linewidth=0.9,
        )
    axes[0][0].set(xlabel="neurons, by share", ylabel="share of |w_out|²")
    axes[0][1].plot(
        range(1, spectrum.size + 1), np.where(spectrum > 0, spectrum, np.nan), color=page.theme.positive
    )
    marks.log_axis(axes[0][1])
    axes[0][1].set(xlabel="component", ylabel="singular value of W_U")
    layer_key(figure, axes[0][:1], page, data, colours)
    return figure
