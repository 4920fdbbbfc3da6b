# SPDX-License-Identifier: MIT
"""Pictures of otimes-heads: scores of every head, spectra, eigenvalues, directions read in vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, eigenvalues, formula, namer, values
from otimes.plot._errors import PlotError
from otimes.plot._page import Page
from otimes.plot._registry import picture

PANES = 64  # heads that have a pane of their own


def head_grid(data: xr.Dataset) -> tuple[list[str], list[str]]:
    """Labels of layers and heads."""
    return [str(v) for v in data["layer"].values], [str(v) for v in data["head"].values]


def map_size(data: xr.Dataset) -> tuple[float, float]:
    """Inches of a map of all heads with its key."""
    layers, heads = data.sizes["layer"], data.sizes["head"]
    return float(np.clip(0.3 * heads, 1.6, 4.6)) + 0.75, float(np.clip(0.24 * layers, 0.55, 5.0)) + 0.55


def _low(matrix: np.ndarray) -> float:
    """Where a scale begins: at 0, unless all lie so far from it that none could be told from another."""
    known = matrix[np.isfinite(matrix)]
    if known.size == 0 or known.min() < 0.6 * known.max() or known.min() == known.max():
        return 0.0
    return float(known.min() - 0.3 * (known.max() - known.min()))


def head_maps(
    data: xr.Dataset,
    page: Page,
    arrays: list[tuple[str, str]],
    title: str,
    caption: str,
    bounded: Iterable[str] = (),
    across: int | None = None,
) -> Figure:
    """Maps of layers by heads; `arrays` are names with what stands above."""
    wide, tall = map_size(data)
    columns = min(len(arrays), across or max(1, int(7.6 // wide)))
    rows = -(-len(arrays) // columns)
    figure, axes = page.grid(rows, columns, wide * columns, (tall + 0.2) * rows, title, caption)
    layer_names, head_names = head_grid(data)
    most = int((tall - 0.4) / 0.15), int((wide - 0.6) / 0.22)  # labels that have room
    for place, ax in enumerate(axes.ravel()):
        if place >= len(arrays):
            ax.set_axis_off()
            continue
        name, above = arrays[place]
        matrix = values(data, name)
        norm, diverging, extend = marks.scale(matrix, high=1.0 if name in bounded else None)
        if name not in bounded and not diverging:
            norm.vmin = _low(matrix)
        small = matrix.size <= 160 and wide / max(matrix.shape[1], 1) >= 0.24
        image = marks.heatmap(
            ax, matrix, page, norm, diverging, rows=layer_names, columns=head_names, write=small, most=most
        )
        ax.set_title(above)
        if place % columns == 0:
            ax.set_ylabel("layer")
        if place + columns >= len(arrays):
            ax.set_xlabel("head")
        if not small:
            marks.colourbar(figure, image, ax, "", extend, aspect=14)
    return figure


@picture(
    "heads",
    "scores",
    "copying, positivity, effective rank and norm of every head",
    "OV_copying",
    "QK_positivity",
)
def scores(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    full = "full_OV_copying" in data and "full_QK_positivity" in data
    p = "full_" if full else ""
    copying = f"{p}OV_copying"
    arrays = [
        (copying, "OV copying"),
        (f"{p}QK_positivity", "QK positivity"),
        (f"{p}OV_effective_rank", "OV effective rank"),
        (f"{p}QK_effective_rank", "QK effective rank"),
        (f"{p}OV_norm", "OV norm"),
        (f"{p}QK_norm", "QK norm"),
    ]
    over = (
        "over the vocabulary (W_E W_OV W_U and W_E W_QK W_Eᵀ)"
        if full
        else "in the residual stream (W_OV and W_QK)"
    )
    caption = (
        f"Circuits {over}. Copying and positivity: Re Σλ / Σ|λ| of all eigenvalues, 1 where all are "
        f"positive. " + formula(data, f"{p}OV_effective_rank")
    )
    present = [(name, text) for name, text in arrays if name in data]
    return head_maps(
        data,
        page,
        present,
        "OV and QK circuits of every head",
        caption,
        (copying, f"{p}QK_positivity"),
        across=2,
    )


def chosen_heads(data: xr.Dataset, page: Page, most: int = PANES) -> list[tuple[int, int]]:
    """Places of heads that get a pane each; what is left out is said."""
    all_heads = [(layer, head) for layer in range(data.sizes["layer"]) for head in range(data.sizes["head"])]
    if len(all_heads) > most:
        page.notes.append(f"The first {most} of {len(all_heads)} heads; --layer and --head choose others.")
    return all_heads[:most]


def head_name(data: xr.Dataset, layer: int, head: int) -> str:
    """L5H1, by labels."""
    return f"L{data['layer'].values[layer]}H{data['head'].values[head]}"


def eigen_pane(ax: Axes, page: Page, numbers: np.ndarray, colour: Any, small: bool = False) -> None:
    """Eigenvalues in the complex plane, the largest of modulus 1."""
    theme = page.theme
    numbers = numbers[np.isfinite(numbers)]
    most = float(np.abs(numbers).max(initial=0)) or 1.0
    ax.add_patch(_circle(theme.faint))
    ax.axhline(0, color=theme.faint, linewidth=0.6, zorder=0)
    ax.axvline(0, color=theme.faint, linewidth=0.6, zorder=0)
    ax.scatter(
        numbers.real / most,
        numbers.imag / most,
        s=5 if small else 11,
        color=[colour],
        edgecolors=theme.soft,
        linewidths=0.25,
        zorder=2,
    )
    ax.set(xlim=(-1.12, 1.12), ylim=(-1.12, 1.12), aspect="equal", xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(False)


def _circle(colour: str) -> Any:
    from matplotlib.patches import Circle

    return Circle((0, 0), 1, fill=False, edgecolor=colour, linewidth=0.6, zorder=0)


@picture(
    "heads",
    "eigenvalues",
    "all eigenvalues of each head's OV circuit in the complex plane",
    "full_OV_eigenvalues_real|OV_eigenvalues_real",
)
def eigenvalue_planes(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    name = choice.array or ("full_OV" if "full_OV_eigenvalues_real" in data else "OV")
    choice.used.add("array")
    name = name.removesuffix("_eigenvalues")
    if f"{name}_eigenvalues_real" not in data:
        known = [
            str(key).removesuffix("_eigenvalues_real")
            for key in data
            if str(key).endswith("_eigenvalues_real")
        ]
        raise PlotError(f"array: expected one of {', '.join(known)}, got {name}")
    numbers = eigenvalues(data, f"{name}_eigenvalues")
    score_name = f"{name}_copying" if f"{name}_copying" in data else f"{name}_positivity"
    score = values(data, score_name)
    panes = chosen_heads(data, page)
    columns = data.sizes["head"] if data.sizes["head"] <= 12 else 12
    columns = min(columns, len(panes))
    rows = -(-len(panes) // columns)
    side = float(np.clip(7.6 / columns, 0.62, 1.7))
    circuit = {"full_OV": "W_E W_OV W_U", "OV": "W_OV", "full_QK": "W_E W_QK W_Eᵀ", "QK": "W_QK"}.get(
        name, name
    )
    means = (
        "to the right: tokens raise themselves"
        if "OV" in name
        else "to the right: tokens attend to themselves"
    )
    label = "copying" if score_name.endswith("copying") else "positivity"
    figure, axes = page.grid(
        rows,
        columns,
        side * columns + 0.7,
        (side + 0.2) * rows,
        f"Eigenvalues of {circuit} of every head",
        f"Each head scaled to its largest eigenvalue (circle: modulus 1); {means}. Colour: {label} = Re "
        f"Σλ / Σ|λ|.",
    )
    theme, (norm, _, _) = page.theme, marks.scale(score, diverging=True, high=1.0)
    for place, ax in enumerate(axes.ravel()):
        if place >= len(panes):
            ax.set_axis_off()
            continue
        layer, head = panes[place]
        eigen_pane(ax, page, numbers[layer, head], theme.diverging(norm(score[layer, head])), side < 1)
        text = head_name(data, layer, head)
        ax.set_title(
            f"{text}  {marks.number(float(score[layer, head]), sign=True)}" if side >= 0.95 else text,
            fontsize=7 if side < 1 else 8,
            loc="center",
        )
    from matplotlib.cm import ScalarMappable

    marks.colourbar(
        figure,
        ScalarMappable(norm, theme.diverging),
        list(axes.ravel()),
        label,
        shrink=min(1.0, 1.6 / rows) if rows > 1 else 0.9,
    )
    return figure


@picture(
    "heads",
    "spectra",
    "singular values of each head's OV and QK circuit",
    "OV_singular_values",
    "QK_singular_values",
)
def spectra(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    full = "full_OV_singular_values" in data
    p = "full_" if full else ""
    caption = (
        "One line a head"
        + ("" if data.sizes["layer"] <= 6 else ", coloured by layer")
        + ". Few large values: a circuit of few directions.\n"
    )
    figure, axes = page.grid(
        1,
        2,
        6.6,
        2.5,
        "Singular values of OV and QK circuits" + (" over the vocabulary" if full else ""),
        caption + formula(data, f"{p}OV_singular_values", f"{p}QK_singular_values"),
        sharex=True,
    )
    layers = data.sizes["layer"]
    colours = layer_colours(page, layers)
    for ax, name in zip(axes[0], ("OV", "QK")):
        lines = values(data, f"{p}{name}_singular_values")
        for layer in range(layers):
            for head in range(data.sizes["head"]):
                line = np.where(lines[layer, head] > 0, lines[layer, head], np.nan)
                label = f"layer {data['layer'].values[layer]}" if head == 0 else None
                ax.plot(
                    range(1, line.size + 1),
                    line,
                    color=colours[layer],
                    label=label,
                    linewidth=0.9,
                    alpha=0.85,
                )
        ax.set(title=f"{p}{name}".replace("_", " "), xlabel="component")
        marks.log_axis(ax)
        marks.whole_ticks(ax)
    axes[0][0].set_ylabel("singular value")
    layer_key(figure, axes[0], page, data, colours)
    return figure


def layer_colours(page: Page, layers: int) -> list[Any]:
    """A colour a layer: told apart when few, ordered when many."""
    if layers <= 6:
        return list(page.theme.cycle[:layers])
    return [page.theme.rising(0.25 + 0.75 * i / (layers - 1)) for i in range(layers)]


def layer_key(figure: Figure, axes: np.ndarray, page: Page, data: xr.Dataset, colours: list[Any]) -> None:
    """Which colour is which layer."""
    layers = data.sizes["layer"]
    if layers <= 6:
        axes[-1].legend(loc="best")
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    key = ScalarMappable(Normalize(-0.5, layers - 0.5), ListedColormap(colours))
    bar = marks.colourbar(figure, key, list(axes), "layer")
    bar.set_ticks(range(0, layers, max(1, layers // 6)))
    bar.set_ticklabels([str(data["layer"].values[i]) for i in range(0, layers, max(1, layers // 6))])


@picture(
    "heads",
    "directions",
    "the tokens that the largest singular directions of each OV read and write",
    "OV_read_id",
    "OV_write_id",
    by="--top 10",
)
def directions(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    circuit = choice.array or "OV"
    choice.used.add("array")
    sides = {"OV": ("OV_read", "OV_write"), "QK": ("QK_query", "QK_key")}.get(circuit)
    if sides is None:
        raise PlotError(f"array: expected OV or QK, got {circuit}")
    count = min(choice.count(5), data.sizes["rank"])
    component = choice.label(data, "top_component")
    most = max(1, 48 // max(count, 1))
    panes = chosen_heads(data, page, most)
    words = {"OV_read": "reads", "OV_write": "writes", "QK_query": "destination", "QK_key": "source"}
    header = [f"{words[side]}, {end}" for side in sides for end in ("+", "−")]
    table = marks.Table(header)
    names = [namer(data, f"{side}_id", 18) for side in sides]
    ids = [data[f"{side}_id"].values for side in sides]
    sizes = [values(data, f"{side}_value") for side in sides]
    shown_sizes = []
    sigma = values(data, f"{circuit}_singular_values")[:, :, component]
    for layer, head in panes:
        table.heading(
            f"{head_name(data, layer, head)}   σ{component} = {marks.number(float(sigma[layer, head]))}"
        )
        for rank in range(count):
            cells, numbers = [], []
            for side in range(2):
                for end in range(2):
                    cells.append(names[side](int(ids[side][layer, head, component, end, rank])))
                    value = float(sizes[side][layer, head, component, end, rank])
                    most_here = np.nanmax(np.abs(sizes[side][layer, head, component])) or 1.0
                    numbers.append(value / most_here)
            table.add(cells, numbers)
            shown_sizes += numbers
    title = (
        f"What direction {component} of each {circuit} {'reads and writes' if circuit == 'OV' else 'matches'}"
    )
    norm, _, _ = marks.scale(shown_sizes, diverging=True, high=1.0)
    return marks.table_page(
        page,
        table,
        title,
        f"Both ends of the left and right singular vector over the vocabulary; colour: share of the "
        f"largest. {formula(data, f'{sides[0]}_value', f'{sides[1]}_value')}",
        norm,
    )


@picture(
    "heads",
    "offsets",
    "how rotary QK circuits change with the distance of query and key",
    "QK_offset_trace",
    "QK_offset_norm",
    by="--offsets 0,1,2,4,8",
)
def offsets(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    figure, axes = page.grid(
        1,
        2,
        6.6,
        2.4,
        "QK circuits by the distance of query and key",
        formula(data, "QK_offset_trace", "QK_offset_norm"),
    )
    colours = layer_colours(page, data.sizes["layer"])
    at = values(data, "offset")
    for ax, name, text in zip(axes[0], ("QK_offset_trace", "QK_offset_norm"), ("trace", "norm")):
        lines = values(data, name)
        for layer in range(lines.shape[0]):
            for head in range(lines.shape[1]):
                label = f"layer {data['layer'].values[layer]}" if head == 0 else None
                ax.plot(
                    at,
                    lines[layer, head],
                    ".-",
                    markersize=3,
                    color=colours[layer],
                    label=label,
                    linewidth=0.8,
                )
        ax.set(title=text, xlabel="query − key")
        marks.zero_line(ax, page.theme)
        marks.whole_ticks(ax)
    layer_key(figure, axes[0], page, data, colours)
    return figure


@picture(
    "heads", "matrix", "the matrices themselves, one head", "OV|OV_A|QK_positions", by="--matrices products"
)
def matrix(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    name = choice.array or next(n for n in ("OV", "OV_A", "QK_positions") if n in data)
    choice.used.add("array")
    if name not in data or data[name].dims[:2] != ("layer", "head") or data[name].ndim != 4:
        known = [str(key) for key in data if data[key].dims[:2] == ("layer", "head") and data[key].ndim == 4]
        raise PlotError(f"array: expected one of {', '.join(known)}, got {name}")
    cells = np.asarray(data[name].isel(layer=0, head=0).values, float)
    norm, diverging, extend = marks.scale(cells)
    figure, axes = page.grid(1, 1, 5.2, 4.2, f"{name} of {head_name(data, 0, 0)}", formula(data, name))
    image = marks.heatmap(axes[0][0], cells, page, norm, diverging, write=False, most=(12, 10))
    axes[0][0].set(
        ylabel=str(data[name].dims[2]).replace("_", " "), xlabel=str(data[name].dims[3]).replace("_", " ")
    )
    marks.colourbar(figure, image, axes[0][0], "entry", extend)
    return figure
