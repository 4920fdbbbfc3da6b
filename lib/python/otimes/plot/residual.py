# SPDX-License-Identifier: MIT
"""Pictures of otimes-activations: what a model computes on its way through a text."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, formula, text_tokens
from otimes.plot._errors import PlotError
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._text import plain
from otimes.plot.patterns import pattern_grid

STREAM = re.compile(
    r"hook_embed|hook_pos_embed|blocks\.\d+\.(hook_resid_pre|hook_attn_out|hook_resid_mid|hook_mlp_out|hook_resid_post)"
)


def _of_tokens(data: xr.Dataset) -> list[str]:
    """Arrays that have something for every token."""
    skipped = ("token_id", "token", "mask")
    return [str(k) for k in data if data[k].dims[:2] == ("text", "position") and str(k) not in skipped]


@picture(
    "activations", "norms", "the size of the residual stream, and of what is written to it, at every token"
)
def norms(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text = choice.text_of(data)
    tokens = text_tokens(data, text)
    able = [name for name in _of_tokens(data) if data[name].ndim >= 3]
    if not able:
        raise PlotError("what: norms: the file has no point of a residual stream")
    names = [name for name in able if STREAM.fullmatch(name)] or able
    rows = []
    for name in names:
        cells = np.asarray(data[name].isel(text=text).values, float)[: len(tokens)].reshape(len(tokens), -1)
        rows.append(np.sqrt(np.nansum(cells**2, axis=1)))
    matrix = np.stack(rows)
    shown_range = marks.scale(matrix, diverging=False)
    figure, axes = page.grid(
        1,
        1,
        float(np.clip(0.24 * len(tokens), 3.0, 7.4)) + 2.2,
        float(np.clip(0.2 * len(names), 1.0, 8)) + 0.9,
        "Through the residual stream: sizes",
        "Euclidean norm of each point at each token.",
    )
    image = marks.heatmap(
        axes[0][0],
        matrix,
        page,
        shown_range[0],
        False,
        rows=[plain(n, 40) for n in names],
        columns=tokens,
        most=(60, 48),
        turned=True,
        write=matrix.size <= 160,
        digits=1,
    )
    marks.colourbar(figure, image, axes[0][0], "norm", shown_range[2])
    return figure


@picture("activations", "array", "one point as it is: tokens by features (--array)")
def array(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    choice.used.add("array")
    known = [name for name in _of_tokens(data) if data[name].ndim >= 2]
    streams = [name for name in known if name.endswith("hook_resid_post")]
    name = choice.array or (streams[-1] if streams else known[-1] if known else "")
    if name not in known:
        raise PlotError(
            f"array: expected one of {', '.join(known[:6])}{', ...' if len(known) > 6 else ''}, got "
            f"{plain(name, 40)}"
        )
    text = choice.text_of(data)
    tokens = text_tokens(data, text)
    cells = np.asarray(data[name].isel(text=text).values, float)[: len(tokens)]
    inner = " × ".join(str(axis) for axis in data[name].dims[2:])
    cells = cells.reshape(len(tokens), -1)
    norm, diverging, extend = marks.scale(cells)
    figure, axes = page.grid(
        1, 1, 6.4, float(np.clip(0.18 * len(tokens), 1.2, 7)) + 0.6, plain(name, 60), formula(data, name)
    )
    image = marks.heatmap(axes[0][0], cells, page, norm, diverging, rows=tokens, most=(48, 8), write=False)
    axes[0][0].set_xlabel(inner or "value")
    marks.colourbar(figure, image, axes[0][0], "activation", extend)
    return figure


@picture("activations", "patterns", "attention patterns of every head")
def patterns(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    found = sorted(
        (int(m[1]), str(k)) for k in data if (m := re.fullmatch(r"blocks\.(\d+)\.attn\.hook_pattern", str(k)))
    )
    if not found:
        raise PlotError(
            "what: patterns: the file lacks blocks.*.attn.hook_pattern (otimes activations --names "
            "'*hook_pattern')"
        )
    text = choice.text_of(data)
    tokens = text_tokens(data, text)
    layers = [layer for layer, _ in found]
    stacked = np.stack(
        [
            np.asarray(data[name].isel(text=text).values, float)[:, : len(tokens), : len(tokens)]
            for _, name in found
        ]
    )
    frame = xr.Dataset(
        {"pattern": (("layer", "head", "query", "key"), stacked)},
        {"layer": layers, "head": data["head"].values},
    )
    return pattern_grid(
        choice.heads(frame), page, tokens, tokens, "Attention patterns", formula(data, found[0][1])
    )
