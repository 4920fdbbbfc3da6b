# SPDX-License-Identifier: MIT
"""Pictures of otimes-ablate: what changes when a part is taken out."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, fact, formula, target_namer, text_tokens, values
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._text import plain
from otimes.plot.heads import head_grid, map_size

UNITS = {"loss": "nats", "logit": "logits"}


def _measure(data: xr.Dataset, choice: Choice, form: str) -> str:
    """`loss` or `logit`: as asked for by --array, else the logit of a target where there is one."""
    choice.used.add("array")
    able = [m for m in ("logit", "loss") if form.format(m) in data]
    if choice.array in able:
        return str(choice.array)
    if choice.array is not None:
        from otimes.plot._errors import PlotError

        raise PlotError(f"array: expected {' or '.join(able)}, got {plain(choice.array, 40)}")
    return able[0]


def _mean(data: xr.Dataset, choice: Choice, page: Page, array: str, count: str) -> np.ndarray:
    """Over texts, weighted by positions, or of the chosen text."""
    cells = values(data, array)
    if choice.text is not None or cells.shape[0] == 1:
        return np.asarray(cells[choice.text_of(data)])
    choice.used.add("text")
    weight = values(data, count) if count in data else np.ones(cells.shape[0])
    page.notes.append(f"Mean over {cells.shape[0]} texts; --text chooses one.")
    weight = weight.reshape(-1, *[1] * (cells.ndim - 1)) * np.isfinite(cells)
    return np.asarray(np.nansum(cells * weight, axis=0) / weight.sum(axis=0))


def _title(data: xr.Dataset, measure: str, choice: Choice) -> str:
    if measure == "loss":
        return "Without a head: change of the loss"
    text = choice.text or 0
    target = target_namer(data)(int(data["target_id"].values[text]))
    return f"Without a head: change of the logit of {target}"


@picture(
    "ablate",
    "heads",
    "change of loss or logit without each head, layer by head",
    "head_loss_change|head_logit_change",
)
def heads(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    measure = _measure(data, choice, "head_{}_change")
    cells = _mean(data, choice, page, f"head_{measure}_change", f"{measure}_count")
    wide, tall = map_size(data)
    wide, tall = max(wide, 2.6), max(tall, 1.2)
    caption = f"Ablation by {fact(data, 'method')}. " + formula(data, f"head_{measure}_change")
    figure, axes = page.grid(1, 1, wide, tall, _title(data, measure, choice), caption)
    layers, names = head_grid(data)
    norm, diverging, extend = marks.scale(cells, diverging=True)
    image = marks.heatmap(
        axes[0][0], cells, page, norm, diverging, rows=layers, columns=names, write=cells.size <= 160
    )
    axes[0][0].set(xlabel="head", ylabel="layer")
    marks.colourbar(figure, image, axes[0][0], UNITS[measure], extend)
    return figure


@picture("ablate", "largest", "the ablations that change most", "loss_change|logit_change")
def largest(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    measure = _measure(data, choice, "{}_change")
    change = _mean(data, choice, page, f"{measure}_change", f"{measure}_count")
    count = min(choice.count(20), change.size)
    order = np.argsort(-np.nan_to_num(np.abs(change), nan=-1.0), kind="stable")[:count]
    if count < change.size:
        page.notes.append(f"The {count} largest of {change.size}.")
    names = [plain(data["ablation"].values[i], 40) for i in order]
    figure, axes = page.grid(
        1,
        1,
        5.0,
        0.19 * count + 0.45,
        _title(data, measure, choice).replace("a head", "a part"),
        f"Ablation by {fact(data, 'method')}. " + formula(data, f"{measure}_change"),
    )
    marks.bars(axes[0][0], names, [float(change[i]) for i in order], page, digits=3)
    axes[0][0].set_xlabel(f"change in {UNITS[measure]}")
    return figure


@picture(
    "ablate",
    "positions",
    "where in a text each ablation tells",
    "loss_change_at|logit_change_at",
    by="--full",
)
def positions(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    measure = _measure(data, choice, "{}_change_at")
    text = choice.text_of(data)
    tokens = text_tokens(data, text)
    cells = values(data, f"{measure}_change_at")[text][:, : len(tokens)]
    count = min(choice.count(40), cells.shape[0])
    order = np.sort(
        np.argsort(-np.nan_to_num(np.nanmax(np.abs(cells), axis=1), nan=-1.0), kind="stable")[:count]
    )
    norm, diverging, extend = marks.scale(cells[order], diverging=True)
    figure, axes = page.grid(
        1,
        1,
        float(np.clip(0.2 * len(tokens), 3.0, 7.6)) + 1.4,
        float(np.clip(0.17 * count, 1.2, 6)) + 0.9,
        _title(data, measure, choice).replace("a head", "a part") + " by position",
        formula(data, f"{measure}_change_at"),
    )
    names = [plain(data["ablation"].values[i], 30) for i in order]
    image = marks.heatmap(
        axes[0][0],
        cells[order],
        page,
        norm,
        diverging,
        rows=names,
        columns=tokens,
        most=(40, 48),
        turned=True,
        write=False,
    )
    marks.colourbar(figure, image, axes[0][0], UNITS[measure], extend)
    return figure
