# SPDX-License-Identifier: MIT
"""Pictures of otimes-decompose: a prediction as a sum of what each part of the model writes."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, formula, target_namer, text_tokens, values
from otimes.plot._errors import PlotError
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._text import plain, shown

PARTS = 18  # components that have a bar of their own


def _place(data: xr.Dataset, choice: Choice) -> tuple[int, int, int, list[str]]:
    """Text, position, target and the text's tokens; the position is the last that was measured."""
    text, target = choice.text_of(data), choice.target_of(data)
    tokens = text_tokens(data, text)
    measured = np.flatnonzero(np.isfinite(values(data, "target_value")[text, : len(tokens), target]))
    last = int(measured[-1]) if measured.size else len(tokens) - 1
    return text, choice.position_of(len(tokens), last), target, tokens


def target_name(data: xr.Dataset, text: int, position: int, target: int) -> str:
    """What is predicted there."""
    ids = [int(data[f"{part}_id"].values[text, position, target]) for part in ("target", "against")]
    if ids[0] < 0:
        return shown(data["target"].values[target])
    given, name = str(data["target"].values[target]), target_namer(data)
    if name(ids[0]).startswith("#") and given not in ("own target", "next token", "predicted token"):
        return plain(given, 60)
    return name(ids[0]) + (f" − {name(ids[1])}" if ids[1] >= 0 else "")


@picture(
    "decompose",
    "waterfall",
    "the parts that a logit is the sum of, one position",
    "attribution",
    "target_value",
)
def waterfall(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text, position, target, tokens = _place(data, choice)
    parts = values(data, "attribution")[text, position, target]
    if not np.isfinite(parts).any():
        raise PlotError(f"position: expected one that was measured, got {position}")
    parts = np.nan_to_num(parts)
    names = [plain(v, 40) for v in data["component"].values]
    count = min(choice.count(PARTS), len(names))
    order = np.argsort(-np.abs(parts), kind="stable")
    kept, left = order[:count], order[count:]
    shown_names, sizes = [names[i] for i in kept], [float(parts[i]) for i in kept]
    if left.size:
        shown_names.append(f"{left.size} others")
        sizes.append(float(parts[left].sum()))
    title = f"The logit of {target_name(data, text, position, target)} after {tokens[position]}, part by part"
    figure, axes = page.grid(
        1,
        1,
        5.6,
        0.2 * (len(sizes) + 1) + 0.5,
        title,
        _where(tokens, position) + formula(data, "attribution"),
    )
    marks.waterfall(
        axes[0][0],
        shown_names,
        sizes,
        page,
        "logit" if int(data["against_id"].values[text, position, target]) < 0 else "difference",
    )
    axes[0][0].set_xlabel("logit")
    return figure


def _where(tokens: list[str], position: int) -> str:
    """The tokens up to a position, for a caption."""
    kept = tokens[max(0, position - 11) : position + 1]
    return f"Position {position}: {'… ' if position > 11 else ''}{' '.join(kept)}\n"


@picture("decompose", "attribution", "what each part is worth at every position", "attribution")
def attribution(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text, target = choice.text_of(data), choice.target_of(data)
    tokens = text_tokens(data, text)
    cells = values(data, "attribution")[text, : len(tokens), target].T
    return _map(
        data,
        page,
        cells,
        tokens,
        "component",
        choice,
        f"What each part is worth for the logit of {plain(data['target'].values[target], 60)}",
        "logit",
        formula(data, "attribution"),
    )


def _map(
    data: xr.Dataset,
    page: Page,
    cells: np.ndarray,
    tokens: list[str],
    axis: str,
    choice: Choice,
    title: str,
    label: str,
    caption: str,
) -> Figure:
    names = [plain(v, 30) for v in data[axis].values]
    most = choice.count(48)
    if len(names) > most:
        page.notes.append(f"The {most} largest of {len(names)}.")
        kept = np.sort(
            np.argsort(-np.nan_to_num(np.nanmax(np.abs(cells), axis=1), nan=-1.0), kind="stable")[:most]
        )
        cells, names = cells[kept], [names[i] for i in kept]
    norm, diverging, extend = marks.scale(cells)
    wide, tall = float(np.clip(0.24 * len(tokens), 3.0, 7.4)), float(np.clip(0.18 * len(names), 1.0, 8.0))
    figure, axes = page.grid(1, 1, wide + 1.7, tall + 0.8, title, caption)
    write = cells.size <= 200 and wide / len(tokens) > 0.3
    image = marks.heatmap(
        axes[0][0],
        cells,
        page,
        norm,
        diverging,
        rows=names,
        columns=tokens,
        most=(60, 48),
        turned=True,
        write=write,
    )
    marks.colourbar(figure, image, axes[0][0], label, extend)
    return figure


@picture(
    "decompose",
    "lens",
    "the logit, rank and probability of the target on the way through the layers",
    "logit_lens",
)
def lens(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text, target = choice.text_of(data), choice.target_of(data)
    tokens = text_tokens(data, text)
    name, label = (
        ("lens_log_prob", "log probability in nats")
        if "lens_log_prob" in data and choice.array is None
        else (choice.array or "logit_lens", "logit")
    )
    choice.used.add("array")
    if name not in ("logit_lens", "lens_log_prob", "lens_rank") or name not in data:
        raise PlotError(
            f"array: expected logit_lens, lens_rank or lens_log_prob as the file has them, got "
            f"{plain(name, 40)}"
        )
    cells = values(data, name)[text, : len(tokens), target].T
    if name == "lens_rank":
        cells, label = np.where(cells < 0, np.nan, cells), "rank"
    points = [plain(v, 20) for v in data["point"].values]
    wide = float(np.clip(0.24 * len(tokens), 3.0, 7.4))
    figure, axes = page.grid(
        1,
        1,
        wide + 1.6,
        float(np.clip(0.24 * len(points), 0.8, 7)) + 0.8,
        f"The lens at each point: {plain(data['target'].values[target], 60)}",
        formula(data, name),
    )
    from matplotlib.colors import Normalize

    if name == "lens_log_prob":
        low = float(np.nanpercentile(cells, 2)) if np.isfinite(cells).any() else -1.0
        norm, diverging, extend = Normalize(min(low, -1e-6), 0), False, "min"
    else:
        norm, diverging, extend = marks.scale(cells)
    image = marks.heatmap(
        axes[0][0],
        cells,
        page,
        norm,
        diverging,
        rows=points,
        columns=tokens,
        most=(40, 48),
        turned=True,
        write=False,
    )
    axes[0][0].invert_yaxis()
    axes[0][0].set_ylabel("point")
    marks.colourbar(figure, image, axes[0][0], label, extend)
    return figure


@picture(
    "decompose",
    "norms",
    "how much each part writes to the residual stream at every position",
    "component_norm",
)
def norms(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text = choice.text_of(data)
    tokens = text_tokens(data, text)
    cells = values(data, "component_norm")[text, : len(tokens)].T
    return _map(
        data,
        page,
        cells,
        tokens,
        "component",
        choice,
        "What each part writes to the residual stream",
        "norm",
        formula(data, "component_norm"),
    )


@picture(
    "decompose",
    "sources",
    "from where each head brings what it is worth, one position",
    "source_attribution",
    by="--sources",
)
def sources(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text, position, target, tokens = _place(data, choice)
    data = choice.heads(data)
    cells = np.asarray(
        data["source_attribution"].isel(text=text, position=position, target=target).values, float
    )[:, :, : len(tokens)]
    flat = cells.reshape(-1, cells.shape[2])
    names = [f"L{layer}H{head}" for layer in data["layer"].values for head in data["head"].values]
    most = choice.count(40)
    if len(names) > most:
        page.notes.append(f"The {most} largest of {len(names)} heads.")
        kept = np.sort(
            np.argsort(-np.nan_to_num(np.nanmax(np.abs(flat), axis=1), nan=-1.0), kind="stable")[:most]
        )
        flat, names = flat[kept], [names[i] for i in kept]
    norm, _, extend = marks.scale(flat, diverging=True)
    wide = float(np.clip(0.24 * len(tokens), 3.0, 7.4))
    title = f"From where heads bring the logit of {target_name(data, text, position, target)}"
    figure, axes = page.grid(
        1,
        1,
        wide + 1.3,
        float(np.clip(0.2 * len(names), 0.8, 7)) + 0.8,
        title,
        _where(tokens, position) + formula(data, "source_attribution"),
    )
    image = marks.heatmap(
        axes[0][0],
        flat,
        page,
        norm,
        True,
        rows=names,
        columns=tokens,
        most=(48, 48),
        turned=True,
        write=False,
    )
    axes[0][0].set_xlabel("key")
    marks.colourbar(figure, image, axes[0][0], "logit", extend)
    return figure


@picture(
    "decompose",
    "neurons",
    "the neurons that are worth most, one position",
    "neuron_value",
    "neuron_index",
    by="--components neurons",
)
def neurons(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text, position, target, tokens = _place(data, choice)
    count = min(choice.count(20), data.sizes["neuron_rank"])
    sizes = values(data, "neuron_value")[text, position, target, :count]
    where = [data[f"neuron_{part}"].values[text, position, target, :count] for part in ("layer", "index")]
    kept = [i for i in range(count) if np.isfinite(sizes[i])]
    if not kept:
        raise PlotError(f"position: expected one with neurons, got {position}")
    title = f"The neurons that the logit of {target_name(data, text, position, target)} owes most to"
    figure, axes = page.grid(
        1, 1, 4.6, 0.19 * len(kept) + 0.5, title, _where(tokens, position) + formula(data, "neuron_value")
    )
    marks.bars(
        axes[0][0],
        [f"L{where[0][i]}N{where[1][i]}" for i in kept],
        [float(sizes[i]) for i in kept],
        page,
        digits=3,
    )
    axes[0][0].set_xlabel("logit")
    return figure
