# SPDX-License-Identifier: MIT
"""Pictures of otimes-patterns: where heads look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, fact, formula, text_tokens, values
from otimes.plot._errors import PlotError
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot.heads import head_maps, head_name, layer_colours, layer_key

SCORES = (
    ("repeated_induction", "induction, random tokens"),
    ("repeated_previous_token", "previous token, random tokens"),
    ("repeated_duplicate_token", "duplicate token, random tokens"),
    ("induction", "induction"),
    ("previous_token", "previous token"),
    ("duplicate_token", "duplicate token"),
    ("current_token", "current token"),
    ("first_token", "first token"),
    ("next_token", "next token"),
    ("entropy_share", "entropy, share of even attention"),
    ("sink", "sink"),
    ("pattern_share", "the given pattern, share"),
)
PANES, NAMED = 48, 32


def _over_texts(data: xr.Dataset, choice: Choice, page: Page) -> xr.Dataset:
    """Scores of the chosen text, or means over all."""
    if "text" not in data.dims:
        return data
    if choice.text is not None or data.sizes["text"] == 1:
        one: xr.Dataset = data.isel(text=choice.text_of(data))
        return one
    choice.used.add("text")
    page.notes.append(f"Means over {data.sizes['text']} texts; --text chooses one.")
    names = [name for name, _ in SCORES if name in data and "text" in data[name].dims]
    mean: xr.Dataset = data.copy()
    for name in names:
        weight: Any = 1.0
        if "query_count" in data and name in [str(v) for v in data["score"].values]:
            weight = data["query_count"].sel(score=name).fillna(0)
        cells, weights = data[name], xr.ones_like(data[name]) * weight
        weights = weights.where(cells.notnull(), 0.0)
        mean[name] = (cells.fillna(0.0) * weights).sum("text") / weights.sum("text").where(
            weights.sum("text") > 0
        )
        mean[name].attrs.update(cells.attrs)
    return mean


@picture(
    "patterns", "scores", "how much each head plays each known role", "previous_token|repeated_induction"
)
def scores(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = _over_texts(choice.heads(data), choice, page)
    arrays = [(name, text) for name, text in SCORES if name in data and np.isfinite(values(data, name)).any()]
    if not arrays:
        raise PlotError("what: scores: none is defined in this file")
    seeds = (
        f" Random tokens: {fact(data, 'repeated_count')} sequences of {fact(data, 'repeated')} written twice."
        if "repeated" in data.attrs
        else ""
    )
    return head_maps(
        data,
        page,
        arrays,
        "Where heads look",
        f"Share of attention that plays the role, 0 to 1; mean over queries.{seeds} "
        f"{formula(data, arrays[0][0])}",
        [n for n, _ in arrays],
        across=3 if data.sizes["head"] <= 12 else 2,
    )


def pattern_grid(
    data: xr.Dataset, page: Page, queries: Sequence[str], keys: Sequence[str], title: str, caption: str
) -> Figure:
    """`pattern` of layer, head, query, key: a pane a head, under one scale from 0 to 1."""
    cells = values(data, "pattern")
    panes = [(layer, head) for layer in range(cells.shape[0]) for head in range(cells.shape[1])]
    columns = min(len(panes), data.sizes["head"] if data.sizes["head"] <= 8 else 6)
    most = PANES // columns * columns
    if len(panes) > most:
        page.notes.append(f"The first {most} of {len(panes)} heads; --layer and --head choose others.")
        panes = panes[:most]
    rows = -(-len(panes) // columns)
    side = float(np.clip(7.2 / columns, 1.05, 4.6))
    alone = len(panes) == 1
    room = 0.75 if len(keys) <= NAMED else 0.2
    figure, axes = page.grid(
        rows,
        columns,
        side * columns + 0.6 + room,
        side * (len(queries) / max(len(keys), 1) if alone else 1) * rows + 0.22 * rows + room,
        title,
        caption,
        sharex=True,
        sharey=True,
    )
    from matplotlib.colors import Normalize

    norm, image = Normalize(0, 1), None
    for place, ax in enumerate(axes.ravel()):
        if place >= len(panes):
            ax.set_axis_off()
            continue
        layer, head = panes[place]
        image = marks.heatmap(
            ax,
            cells[layer, head],
            page,
            norm,
            False,
            rows=queries,
            columns=keys,
            turned=True,
            ticks=place == 0,
            write=alone and cells[layer, head].size <= 150,
            most=(NAMED if side > 1.5 else 14, NAMED if side > 1.5 else 14),
        )
        ax.set_title(head_name(data, layer, head))
        if max(len(queries), len(keys)) > 64:
            ax.set(xticks=[], yticks=[])
        ax.tick_params(
            labelsize=5.5 if side < 2.4 else 6.5,
            length=0,
            labelleft=place % columns == 0,
            labelbottom=place + columns >= len(panes),
        )
    axes[0][0].set_ylabel("query")
    axes[-1][0].set_xlabel("key")
    marks.colourbar(
        figure, image, list(axes.ravel()), "attention", shrink=min(0.9, 1.8 / rows) if rows > 1 else 0.9
    )
    return figure


@picture("patterns", "pattern", "the patterns themselves, a pane a head", "pattern", by="--full")
def pattern(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text = choice.text_of(data)
    tokens = text_tokens(data, text, 10)
    data = choice.heads(data)
    queries = [int(v) for v in data["query_position"].values if v < len(tokens)]
    cells = data["pattern"].isel(
        text=text, query_position=range(len(queries)), key_position=range(len(tokens))
    )
    frame = xr.Dataset({"pattern": cells.drop_vars([c for c in cells.coords if c not in ("layer", "head")])})
    return pattern_grid(
        frame,
        page,
        [tokens[q] for q in queries],
        tokens,
        f"Attention patterns{_text_number(data, text)}",
        formula(data, "pattern"),
    )


def _text_number(data: xr.Dataset, text: int) -> str:
    return f" of text {text}" if data.sizes.get("text", 1) > 1 else ""


@picture("patterns", "top", "what each query looks at most, one head", "top_key", "top_weight")
def top(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text = choice.text_of(data)
    tokens = text_tokens(data, text, 12)
    data = choice.heads(data)
    keys, weights = data["top_key"].values[text, 0, 0], values(data, "top_weight")[text, 0, 0]
    count = min(choice.count(5), keys.shape[1])
    rows = [i for i, v in enumerate(data["query_position"].values) if v < len(tokens)]
    if len(rows) > 60:
        page.notes.append(f"The last 60 of {len(rows)} positions.")
        rows = rows[-60:]
    table = marks.Table(
        ["", "query", *(f"{rank + 1}" for rank in range(count))], [False] + [True] * (count + 1)
    )
    for row in rows:
        at = int(data["query_position"].values[row])
        cells = [
            f"{tokens[k]} {marks.number(float(w))}" if k >= 0 else ""
            for k, w in zip(keys[row, :count], weights[row, :count])
        ]
        table.add([str(at), tokens[at], *cells], [np.nan, np.nan, *weights[row, :count]])
    norm, _, _ = marks.scale([1.0], diverging=False)
    name = head_name(data, 0, 0)
    if data.sizes["layer"] * data.sizes["head"] > 1:
        page.notes.append(
            f"{name} of {data.sizes['layer'] * data.sizes['head']} heads; --layer and --head choose another."
        )
    return marks.table_page(
        page,
        table,
        f"What {name} looks at{_text_number(data, text)}",
        formula(data, "top_weight"),
        norm,
        False,
    )


@picture(
    "patterns",
    "offsets",
    "attention by the distance of query and key",
    "offset_score",
    by="--offsets 0,1,2,3,4",
)
def offsets(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text = choice.text_of(data)
    data = choice.heads(data)
    cells, at = values(data, "offset_score")[text], values(data, "offset")
    figure, axes = page.grid(
        1, 1, 5.0, 2.6, f"Attention by distance{_text_number(data, text)}", formula(data, "offset_score")
    )
    ax, colours = axes[0][0], layer_colours(page, cells.shape[0])
    for layer in range(cells.shape[0]):
        for head in range(cells.shape[1]):
            label = f"layer {data['layer'].values[layer]}" if head == 0 else None
            ax.plot(
                at, cells[layer, head], ".-", markersize=4, color=colours[layer], linewidth=0.9, label=label
            )
    order = np.argsort(-np.nan_to_num(cells.reshape(-1, cells.shape[-1])).max(axis=1), kind="stable")[:4]
    for flat in order:
        layer, head = divmod(int(flat), cells.shape[1])
        peak = int(np.nanargmax(cells[layer, head]))
        ax.annotate(
            head_name(data, layer, head),
            (float(at[peak]), float(cells[layer, head, peak])),
            (3, 2),
            textcoords="offset points",
            fontsize=6.5,
        )
    ax.set(xlabel="query − key", ylabel="mean attention", ylim=(0, None))
    marks.whole_ticks(ax)
    layer_key(figure, axes[0], page, data, colours)
    return figure
