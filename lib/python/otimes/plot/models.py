# SPDX-License-Identifier: MIT
"""Pictures of otimes-info, otimes-convert and otimes-diff: models and results as a whole."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, fact, formula, model_name, texts, values
from otimes.plot._errors import PlotError
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._text import plain
from otimes.plot.vocabulary import thinned

FACTS = (
    ("architecture", "architecture"),
    ("n_layers", "layers"),
    ("n_heads", "heads of a layer"),
    ("n_kv_heads", "key and value heads"),
    ("d_model", "d_model"),
    ("d_head", "d_head"),
    ("d_mlp", "d_mlp"),
    ("d_vocab", "vocabulary"),
    ("n_ctx", "positions"),
    ("norm", "norm"),
    ("positions", "positions are"),
    ("dtype", "weights are"),
    ("model_format", "file format"),
)


def people(count: float, unit: str = "") -> str:
    """1234567 as 1.23 M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= size:
            return f"{count / size:.3g} {letter}{unit}"
    return f"{count:g} {unit}".strip()


@picture(
    "info", "card", "what the model is: sizes, parameters by part, memory of each analysis", "parameters"
)
def card(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    parts, sizes = [plain(v) for v in data["part"].values], values(data, "parameters")
    steps = [
        (name.replace("_", " "), str(fact(data, name)))
        for name in ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
    ]
    facts = [(text, str(fact(data, name))) for name, text in FACTS if name in data.attrs] + steps
    tall = max(0.165 * len(facts), 2.4)
    page.about = ""
    figure, axes = page.grid(
        1,
        3,
        8.4,
        tall,
        f"{model_name(data)}: {people(float(sizes.sum()))} parameters",
        f"{fact(data, 'model_path')}  ·  otimes {fact(data, 'otimes_version')}",
        width_ratios=[1.5, 1.15, 1.15],
    )
    ax = axes[0][0]
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(len(facts) - 0.4, -0.6))
    for row, (text, value) in enumerate(facts):
        ax.text(0.0, row, text, fontsize=7, color=page.theme.soft, va="center")
        ax.text(0.57, row, plain(value, 26), fontsize=7, va="center")
    kept = [i for i in range(len(parts)) if sizes[i] > 0]
    marks.bars(
        axes[0][1],
        [parts[i] for i in kept],
        [float(sizes[i]) for i in kept],
        page,
        written=[people(float(sizes[i])) for i in kept],
    )
    axes[0][1].set(title="parameters", xticks=[])
    memory = values(data, "memory_bytes")
    names = [plain(v) for v in data["analysis"].values]
    marks.bars(
        axes[0][2],
        names,
        [float(v) for v in memory],
        page,
        written=[people(float(v), "B") for v in memory],
        colours=[page.theme.neutral] * len(names),
    )
    axes[0][2].set(title="memory beside the weights", xticks=[])
    for ax in axes[0][1:]:
        ax.spines["bottom"].set_visible(False)
        ax.set_xlim(right=ax.get_xlim()[1] * 1.18)
    return figure


@picture("info", "tensors", "bytes of each tensor, by layer", "tensor_bytes", "tensor_layer")
def tensors(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    size, layer = values(data, "tensor_bytes"), data["tensor_layer"].values
    part = np.array([plain(v, 40) for v in texts(data, "tensor_part")])
    layers = sorted(set(layer.tolist()))
    kinds = list(dict.fromkeys(part[np.argsort(-size, kind="stable")]))[:6]
    names = [f"layer {i}" if i >= 0 else "no layer" for i in layers]
    figure, axes = page.grid(
        1,
        1,
        6.0,
        float(np.clip(0.19 * len(layers), 1.0, 8)) + 0.7,
        "Where the bytes are",
        formula(data, "tensor_bytes"),
    )
    ax, left = axes[0][0], np.zeros(len(layers))
    for place, kind in enumerate([*kinds, "others"]):
        own = (part == kind) if kind != "others" else ~np.isin(part, kinds)
        widths = np.array([size[own & (layer == i)].sum() for i in layers])
        if widths.any():
            ax.barh(
                range(len(layers)),
                widths,
                left=left,
                height=0.75,
                color=page.theme.cycle[place % 7],
                label=kind,
                linewidth=0,
            )
        left += widths
    marks.sparse(ax, len(layers), "y", names, 40)
    ax.set(xlabel="bytes", ylim=(len(layers) - 0.4, -0.6))
    ax.xaxis.set_major_formatter(lambda value, _: people(value, "B"))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, borderaxespad=0.2)
    return figure


def _weights(data: xr.Dataset) -> list[str]:
    return [str(name) for name in data if data[name].dtype.kind == "f" and data[name].ndim >= 1]


def _norm(array: xr.DataArray) -> float:
    """Root of the mean square, read in parts of at most some 64 MB."""
    total, step = 0.0, max(1, 16_000_000 // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, array.shape[0], step):
        total += float((np.asarray(array[start : start + step].values, np.float64) ** 2).sum())
    return float(np.sqrt(total / max(1, array.size)))


@picture("convert", "weights", "the size of every weight, layer by layer")
def weights(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    found: dict[str, dict[int, list[float]]] = {}
    single: dict[str, float] = {}
    for name in _weights(data):
        match = re.match(r"blocks\.(\d+)\.(.+)", name)
        kind = re.sub(r"experts\.\d+\.", "experts.*.", match[2]) if match else ""
        if match:
            found.setdefault(kind, {}).setdefault(int(match[1]), []).append(_norm(data[name]))
        else:
            single[name] = _norm(data[name])
    layers = sorted({layer for row in found.values() for layer in row}) or [0]
    kinds = list(found)
    matrix = np.array(
        [[np.mean(found[k][i]) if i in found[k] else np.nan for i in layers] for k in kinds]
    ).reshape(len(kinds), len(layers))
    tall = [max(0.3, 0.2 * len(single)), max(0.4, 0.2 * len(kinds))]
    figure, axes = page.grid(
        2,
        1,
        float(np.clip(0.5 * len(layers), 2.6, 6.0)) + 2.2,
        sum(tall) + 1.1,
        "Sizes of weights",
        "Root of the mean square of the entries, of weights as processed.",
        height_ratios=tall,
    )
    marks.bars(axes[0][0], [plain(n, 40) for n in single], list(single.values()), page, sign=False, digits=3)
    norm, _, extend = marks.scale(matrix, diverging=False)
    image = marks.heatmap(
        axes[1][0],
        matrix,
        page,
        norm,
        False,
        rows=kinds,
        columns=[str(i) for i in layers],
        most=(60, 24),
        write=matrix.size <= 120,
        digits=3,
    )
    axes[1][0].set_xlabel("layer")
    marks.colourbar(figure, image, axes[1][0], "root mean square", extend)
    return figure


@picture("convert", "matrix", "one weight as it is (--array)")
def matrix(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    choice.used.update(("array", "head"))
    known = [n for n in _weights(data) if data[n].ndim >= 2]
    name = choice.array or (known[0] if known else "")
    if name not in known:
        raise PlotError(f"array: expected one of {', '.join(known[:5])}, ..., got {plain(name, 40)}")
    array = data[name]
    head = ""
    if array.ndim == 3:
        at = choice.place(data, str(array.dims[0]), None if choice.head is None else int(str(choice.head)), 0)
        array, head = array[at], f", head {at}"
    cells, _ = thinned(array, page)
    norm, diverging, extend = marks.scale(cells)
    figure, axes = page.grid(
        1,
        1,
        5.6,
        float(np.clip(5.0 * cells.shape[0] / cells.shape[1], 1.4, 5.0)),
        f"{plain(name, 60)}{head}",
        formula(data, name),
    )
    image = marks.heatmap(axes[0][0], cells, page, norm, diverging, write=False, most=(12, 10))
    axes[0][0].set(ylabel=str(array.dims[0]), xlabel=str(array.dims[1]))
    marks.colourbar(figure, image, axes[0][0], "weight", extend)
    return figure


@picture("diff", "arrays", "which arrays of two results differ, how much and where", "status", "max_abs")
def arrays(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    status, names = texts(data, "status"), [plain(v, 44) for v in data["array"].values]
    largest, relative = values(data, "max_abs"), values(data, "max_rel")
    differing, compared = values(data, "differing"), values(data, "compared")
    order = sorted(
        range(len(names)), key=lambda i: (status[i] == "equal", -np.nan_to_num(relative[i], nan=-1.0), i)
    )
    most = choice.count(45)
    if len(order) > most:
        page.notes.append(f"The first {most} of {len(order)} arrays.")
    table = marks.Table(
        ["array", "", "entries", "differ", "largest", "relative", "where"],
        [True, True, False, False, False, False, True],
    )
    where = texts(data, "where")
    for i in order[:most]:
        share = differing[i] / compared[i] if compared[i] > 0 else np.nan
        table.add(
            [
                names[i],
                plain(status[i], 14),
                f"{compared[i]:.0f}",
                f"{differing[i]:.0f}",
                marks.number(float(largest[i])),
                marks.number(float(relative[i])),
                plain(where[i], 40),
            ],
            [
                np.nan,
                np.nan,
                np.nan,
                share if share else np.nan,
                np.nan,
                float(min(relative[i], 1.0)) if relative[i] > 0 else np.nan,
                np.nan,
            ],
        )
    norm, _, _ = marks.scale([1.0], diverging=False)
    page.about = f"A: {fact(data, 'result_a')}  ·  B: {fact(data, 'result_b')}"
    verdict = (
        "equal"
        if fact(data, "equal", 0)
        else f"{sum(s != 'equal' for s in status)} of {len(names)} arrays differ"
    )
    return marks.table_page(
        page,
        table,
        f"Two results: {verdict}",
        f"Colour: share of entries, and relative difference up to 1. Entries are equal where |a − b| ≤ "
        f"{fact(data, 'atol')} + {fact(data, 'rtol')} |b|.",
        norm,
        False,
    )
