# SPDX-License-Identifier: MIT
"""Pictures of otimes-circuit: whole tables over the vocabulary, head by head."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, fact, formula, labels, namer, values
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot.heads import layer_colours
from otimes.plot.vocabulary import table_map

WORDS = {
    "ov": ("source", "raised"),
    "qk": ("destination", "source"),
    "kcomp": ("destination", "token moved to the key"),
}
ARROW = {"ov": "→", "qk": "←", "kcomp": "←"}
FORMULA = {
    "ov": "W_E W_V W_O W_U",
    "qk": "W_E W_Q W_Kᵀ W_Eᵀ / attn_scale",
    "kcomp": "W_E W_Q (W_V' W_O' W_K)ᵀ W_Eᵀ / attn_scale",
}


def _name(data: xr.Dataset, head: int) -> str:
    return f"L{int(data['head_layer'].values[head])}H{int(data['head_index'].values[head])}"


def _circuit(data: xr.Dataset) -> str:
    kind = str(fact(data, "circuit", "ov"))
    if kind == "kcomp" and "earlier_layer" in data.attrs:
        return f"K-composed QK, keys by L{fact(data, 'earlier_layer')}H{fact(data, 'earlier_head')}"
    return {"ov": "full OV", "qk": "full QK"}.get(kind, kind)


def _heads(data: xr.Dataset, choice: Choice, page: Page, most: int) -> list[int]:
    """Places of heads: of --layer and --head, or the first ones."""
    heads = list(range(data.sizes["head"]))
    if choice.layer is not None:
        choice.used.add("layer")
        layers = {int(w) for w in str(choice.layer).split(",") if w.strip().isdigit()}
        heads = [i for i in heads if int(data["head_layer"].values[i]) in layers]
    if choice.head is not None:
        from otimes.plot._data import places

        choice.used.add("head")
        names = [str(v) for v in data["head"].values]
        if all(word in names for word in str(choice.head).split(",")):
            heads = [i for i in places(data, "head", str(choice.head)) if i in heads]
        else:
            wanted = {w for w in str(choice.head).split(",")}
            heads = [
                i
                for i in heads
                if str(int(data["head_index"].values[i])) in wanted or _name(data, i) in wanted
            ]
    if not heads:
        from otimes.plot._errors import PlotError

        raise PlotError("head: none of this layer and head is in the file")
    if len(heads) > most:
        page.notes.append(f"The first {most} of {len(heads)} heads; --head 1.0,1.1 chooses others.")
    return heads[:most]


@picture(
    "circuit",
    "largest",
    "the largest and smallest entries of each head's table",
    "largest_value",
    "largest_row",
    by="--largest 20",
)
def largest(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    kind = str(fact(data, "circuit", "ov"))
    words, arrow = WORDS.get(kind, ("row", "column")), ARROW.get(kind, "→")
    count = min(choice.count(6), data.sizes["place"])
    heads = _heads(data, choice, page, max(1, 60 // count))
    parts = [
        (namer(data, f"{side}_{part}", 20), data[f"{side}_{part}"].values)
        for side in ("largest", "smallest")
        for part in ("row", "column")
    ]
    sizes = [values(data, f"{side}_value") for side in ("largest", "smallest")]
    table = marks.Table(
        [words[0], f"{arrow} {words[1]}", "largest", words[0], f"{arrow} {words[1]}", "smallest"],
        [True, True, False] * 2,
    )
    for head in heads:
        table.heading(_name(data, head))
        for place in range(count):
            cells: list[str] = []
            for side in range(2):
                cells += [name(int(ids[head, place])) for name, ids in parts[2 * side : 2 * side + 2]]
                cells.append(marks.number(float(sizes[side][head, place])))
            table.add(
                cells,
                [np.nan, np.nan, float(sizes[0][head, place]), np.nan, np.nan, float(sizes[1][head, place])],
            )
    norm, diverging, _ = marks.scale(sizes[0][heads][:, :count], sizes[1][heads][:, :count], diverging=True)
    return marks.table_page(
        page,
        table,
        f"Largest and smallest entries of the {_circuit(data)}",
        f"Of every entry of {FORMULA.get(kind, 'the table')}, row {arrow} column.",
        norm,
        diverging,
    )


@picture(
    "circuit",
    "top",
    "the extremes of each row (or column), one head",
    "top_id|column_top_id",
    "top_value|column_top_value",
)
def top(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    kind = str(fact(data, "circuit", "ov"))
    side = "" if "top_id" in data else "column_"
    array = data[f"{side}top_id"]
    head = _heads(data, choice, page, 1)[0]
    axis = str(array.dims[1])
    count = min(choice.count(8), array.shape[2])
    total = data.sizes[axis]
    rows = (
        choice.labels(data, axis, 32)
        if axis in choice.select
        else [int(i) for i in np.unique(np.linspace(0, total - 1, min(32, total)).round())]
    )
    if len(rows) < total and axis not in choice.select:
        page.notes.append(
            f"{len(rows)} of {total} tokens at even distances; --select {axis}=... chooses one."
        )
    name, own = namer(data, f"{side}top_id", 12), labels(data, axis, 18)
    ids, sizes = array.values[head], values(data, f"{side}top_value")[head]
    words = WORDS.get(kind, ("row", "column"))
    table = marks.Table([words[1 if side else 0], *(str(rank + 1) for rank in range(count))])
    for row in rows:
        table.add([own[row], *(name(int(i)) for i in ids[row, :count])], [np.nan, *sizes[row, :count]])
    norm, diverging, _ = marks.scale(sizes[rows][:, :count])
    return marks.table_page(
        page,
        table,
        f"The {_circuit(data)} of {_name(data, head)}, token by token",
        f"The largest entries of each {'column' if side else 'row'} of {FORMULA.get(kind, 'the table')}; "
        f"colour: the entry.",
        norm,
        diverging,
    )


@picture(
    "circuit",
    "diagonal",
    "how often a token comes first, second ... in its own row, by head",
    "diagonal_rank",
    "diagonal_value",
    by="--statistics",
)
def diagonal(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    heads = _heads(data, choice, page, 4096)
    ranks = values(data, "diagonal_rank")
    figure, axes = page.grid(
        1,
        2,
        7.0,
        float(np.clip(0.17 * len(heads), 2.3, 8)),
        f"The diagonal of the {_circuit(data)}",
        "A head whose every token comes first in its own row copies (OV) or matches (QK). "
        + formula(data, "diagonal_rank"),
    )
    left, right = axes[0]
    theme = page.theme
    shares = [
        float((ranks[h][ranks[h] >= 0] == 0).mean()) if (ranks[h] >= 0).any() else np.nan for h in heads
    ]
    marks.bars(left, [_name(data, h) for h in heads], shares, page, sign=False)
    left.set(xlim=(0, 1.12), xlabel="share of tokens that come first in their own row")
    if len(heads) > 40:
        marks.sparse(left, len(heads), "y", [_name(data, h) for h in heads], 40)
    layers = [int(data["head_layer"].values[h]) for h in heads]
    colours = layer_colours(page, max(layers) + 1)
    for place, head in enumerate(heads):
        row = np.sort(ranks[head][ranks[head] >= 0])
        if row.size:
            style = "-" if len(heads) > 12 else ["-", "--", "-.", ":"][heads.index(head) % 4]
            right.plot(
                row + 1,
                np.arange(1, row.size + 1) / row.size,
                style,
                color=colours[layers[place]],
                linewidth=1.0,
                label=_name(data, head) if len(heads) <= 12 else None,
            )
    marks.log_axis(right, "x")
    right.set(xlabel="rank in its own row (1: first)", ylabel="share of tokens up to it", ylim=(0, 1.02))
    if len(heads) <= 12:
        right.legend()
    right.axhline(1, color=theme.faint, linewidth=0.6, zorder=0)
    return figure


@picture(
    "circuit",
    "histogram",
    "how the entries of each head's table are spread",
    "histogram",
    "histogram_edge",
    by="--histogram -10:10:100",
)
def histogram(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    heads = _heads(data, choice, page, 32)
    edges, counts = values(data, "histogram_edge"), values(data, "histogram")
    columns = min(4, len(heads))
    rows = -(-len(heads) // columns)
    outside = sum(float(values(data, f"histogram_{side}")[heads].sum()) for side in ("below", "above"))
    figure, axes = page.grid(
        rows,
        columns,
        1.75 * columns,
        1.25 * rows,
        f"Entries of the {_circuit(data)}",
        f"{outside:.0f} entries lie outside. " + formula(data, "histogram"),
        sharex=True,
        sharey=True,
    )
    for place, ax in enumerate(axes.ravel()):
        if place >= len(heads):
            ax.set_axis_off()
            continue
        count = counts[heads[place]]
        ax.stairs(
            np.where(count > 0, count, np.nan), edges, color=page.theme.positive, fill=True, baseline=0.5
        )
        ax.set_title(_name(data, heads[place]))
        marks.log_axis(ax)
        ax.axvline(0, color=page.theme.faint, linewidth=0.8, zorder=0)
    for ax in axes[:, 0]:
        ax.set_ylabel("entries")
    for ax in axes[-1]:
        ax.set_xlabel("value")
    return figure


@picture("circuit", "threshold", "entries beyond a threshold", "entry_value", "entry_row", by="--threshold 5")
def threshold(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    kind = str(fact(data, "circuit", "ov"))
    sizes = values(data, "entry_value")
    head = data["entry_head"].values
    heads = _heads(data, choice, page, 10**6)
    order = np.argsort(-np.abs(sizes), kind="stable")
    order = order[np.isin(head[order], heads)]
    count = min(choice.count(40), order.size)
    if count < order.size:
        page.notes.append(f"The {count} largest of {order.size} entries.")
    words = WORDS.get(kind, ("row", "column"))
    names = [namer(data, f"entry_{part}", 22) for part in ("row", "column")]
    ids = [data[f"entry_{part}"].values for part in ("row", "column")]
    table = marks.Table(
        ["head", words[0], f"{ARROW.get(kind, '→')} {words[1]}", "entry"], [True, True, True, False]
    )
    for i in order[:count]:
        table.add(
            [
                _name(data, int(head[i])),
                *(name(int(at[i])) for name, at in zip(names, ids)),
                marks.number(float(sizes[i])),
            ],
            [np.nan] * 3 + [float(sizes[i])],
        )
    limit = fact(data, "threshold", 0.0)
    norm, diverging, _ = marks.scale(sizes[order[:count]], diverging=True)
    return marks.table_page(
        page,
        table,
        f"Entries of the {_circuit(data)} beyond {limit:g}",
        f"Of {FORMULA.get(kind, 'the table')}.",
        norm,
        diverging,
    )


@picture("circuit", "table", "one head's table as a heat map", "table", by="--full")
def table_picture(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    head = _heads(data, choice, page, 1)[0]
    words = WORDS.get(str(fact(data, "circuit", "ov")), ("row", "column"))
    return table_map(
        data, "table", data["table"][head], page, f"The {_circuit(data)} of {_name(data, head)}", words
    )
