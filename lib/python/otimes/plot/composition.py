# SPDX-License-Identifier: MIT
"""Pictures of otimes-compose, otimes-virtual and otimes-qk: how heads of different layers work together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, fact, formula, namer, texts, values
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._text import plain
from otimes.plot.heads import eigen_pane

NAMED = 24  # heads that are named one by one along an axis


def head_axis(ax: Axes, which: str, layers: Any, heads: Any, page: Page) -> None:
    """Heads layer by layer along an axis: each named, or the layers alone."""
    count = len(layers) * len(heads)
    line = ax.axvline if which == "x" else ax.axhline
    thin = len(heads) > 1 and len(layers) > 1
    for block in range(1, len(layers)):
        if thin:
            line(
                block * len(heads) - 0.5,
                color=page.theme.paper if count > NAMED else page.theme.soft,
                linewidth=0.5,
            )
    turn: dict[str, Any] = {"rotation": 90} if which == "x" else {}
    axis = ax.xaxis if which == "x" else ax.yaxis
    if count <= NAMED:
        axis.set_ticks(range(count), [f"L{layer}H{head}" for layer in layers for head in heads], **turn)
        return
    step = max(1, -(-len(layers) // 16))
    at = [block * len(heads) + (len(heads) - 1) / 2 for block in range(0, len(layers), step)]
    axis.set_ticks(at, [f"L{layer}" for layer in layers[::step]])


def pair_maps(
    data: xr.Dataset,
    page: Page,
    maps: list[tuple[str, np.ndarray]],
    title: str,
    caption: str,
    label: str,
    diverging: bool | None = None,
) -> Figure:
    """Maps of later heads (down) by earlier heads (across), under one scale of colours.

    Each array has the axes layer, head, later_layer, later_head.
    """
    early, heads = data["layer"].values, data["head"].values
    late, late_heads = data["later_layer"].values, data["later_head"].values
    # What can never be a later (or an earlier) head has no row (or column).
    late_kept = [i for i, layer in enumerate(late) if any(layer > other for other in early)] or list(
        range(len(late))
    )
    early_kept = [i for i, layer in enumerate(early) if any(layer < other for other in late)] or list(
        range(len(early))
    )
    rows, columns = len(late_kept) * len(late_heads), len(early_kept) * len(heads)
    room = 5.4 if len(maps) == 1 else 2.9
    cell = min(room / max(rows, columns), 0.34)
    side = (max(1.3, columns * cell), max(1.3, rows * cell))
    across, down = min(len(maps), 3), -(-len(maps) // 3)
    flat = [
        array[early_kept][:, :, late_kept].transpose(2, 3, 0, 1).reshape(rows, columns) for _, array in maps
    ]
    norm, both, extend = marks.scale(*flat, diverging=diverging)
    figure, axes = page.grid(
        down, across, across * (side[0] + 0.5) + 0.7, down * (side[1] + 0.55), title, caption
    )
    image = None
    for place, ax in enumerate(axes.ravel()):
        if place >= len(maps):
            ax.set_axis_off()
            continue
        image = marks.heatmap(ax, flat[place], page, norm, both, write=rows * columns <= 64 and cell > 0.3)
        head_axis(ax, "x", early[early_kept], heads, page)
        head_axis(ax, "y", late[late_kept], late_heads, page)
        ax.set_title(maps[place][0])
        if place % across == 0:
            ax.set_ylabel("later head")
        ax.set_xlabel("earlier head")
    marks.colourbar(figure, image, list(axes.ravel()), label, extend, shrink=0.9 if down == 1 else 0.5)
    return figure


@picture(
    "compose",
    "scores",
    "composition of all pairs of heads by Q, K and V, above what random subspaces give",
    "excess",
)
def scores(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    cells = values(data, "excess")
    circuits = [str(v) for v in data["circuit"].values]
    wanted = choice.labels(data, "circuit", len(circuits))
    maps = [(f"{circuits[i]}-composition", cells[:, :, i]) for i in wanted]
    caption = (
        f"Random subspaces give {fact(data, 'baseline'):.3f} = 1/√{fact(data, 'baseline_dimension')}. "
        + formula(data, "excess", "score")
    )
    return pair_maps(
        data, page, maps, "Composition of heads", caption, "score − that of random subspaces", True
    )


@picture("compose", "z", "the same in standard deviations of random rotations", "z")
def deviations(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    cells = values(data, "z")
    circuits = [str(v) for v in data["circuit"].values]
    maps = [
        (f"{circuits[i]}-composition", cells[:, :, i]) for i in choice.labels(data, "circuit", len(circuits))
    ]
    return pair_maps(
        data,
        page,
        maps,
        "Composition of heads, in standard deviations",
        formula(data, "z"),
        "standard deviations",
        True,
    )


@picture("compose", "pairs", "the strongest pairs of each circuit", "excess", "score")
def strongest(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    cells, score = values(data, "excess"), values(data, "score")
    circuits = [str(v) for v in data["circuit"].values]
    count = choice.count(15)
    figure, axes = page.grid(
        1,
        len(circuits),
        2.35 * len(circuits),
        0.19 * count + 0.5,
        "The strongest compositions",
        f"Dotted: random subspaces, {fact(data, 'baseline'):.3f}. " + formula(data, "score"),
    )
    for i, ax in enumerate(axes[0]):
        flat = np.nan_to_num(cells[:, :, i], nan=-np.inf)
        order = [
            at for at in np.argsort(-flat, axis=None, kind="stable")[:count] if np.isfinite(flat.ravel()[at])
        ]
        names, sizes = [], []
        for at in order:
            place = np.unravel_index(at, flat.shape)
            names.append(pair_name(data, place))
            sizes.append(float(score[place[0], place[1], i, place[2], place[3]]))
        marks.bars(ax, names, sizes, page, sign=False, digits=3)
        ax.axvline(float(fact(data, "baseline")), color=page.theme.soft, linestyle=":", linewidth=0.9)
        ax.set(title=f"{circuits[i]}-composition", xlabel="score")
    return figure


def pair_name(data: xr.Dataset, place: Sequence[Any]) -> str:
    """L0H2 → L1H1"""
    layer, head, later, later_head = place
    first = f"L{data['layer'].values[layer]}H{data['head'].values[head]}"
    return f"{first} → L{data['later_layer'].values[later]}H{data['later_head'].values[later_head]}"


@picture(
    "compose",
    "ends",
    "what writes to heads and reads from them beside heads",
    "from_score",
    "to_score",
    by="--ends",
)
def ends(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    circuits = [str(v) for v in data["circuit"].values]
    parts, readers = [plain(t) for t in data["from"].values], [plain(t) for t in data["to"].values]
    cells, out = values(data, "from_score"), values(data, "to_score")
    heads = data.sizes["later_layer"] * data.sizes["later_head"]
    into = [
        (f"{c}: who writes what it reads", cells[:, i].reshape(len(parts), heads), parts)
        for i, c in enumerate(circuits)
    ]
    maps = [*into, ("who reads what it writes", out.reshape(len(readers), -1), readers)]
    norm, both, extend = marks.scale(*(m for _, m, _ in maps))
    tall = [max(0.5, 0.2 * len(rows)) for _, _, rows in maps]
    wide = float(np.clip(0.3 * heads, 2.2, 6.2))
    figure, axes = page.grid(
        len(maps),
        1,
        wide + 2.0,
        sum(tall) + 0.5 * len(maps) + 0.3,
        "Heads and the ends of the residual stream",
        formula(data, "from_score", "to_score"),
        height_ratios=tall,
        sharex=True,
    )
    image = None
    for (title, matrix, rows), ax in zip(maps, axes[:, 0]):
        image = marks.heatmap(
            ax, matrix, page, norm, both, rows=rows, write=matrix.shape[1] <= 16 and matrix.size <= 160
        )
        ax.set_title(title)
    head_axis(axes[-1][0], "x", data["later_layer"].values, data["later_head"].values, page)
    axes[-1][0].set_xlabel("head")
    marks.colourbar(figure, image, list(axes[:, 0]), "composition score", extend, shrink=0.6)
    return figure


@picture(
    "compose",
    "components",
    "which singular components of two heads compose, one pair",
    "component_score_k",
    by="--components 4",
)
def components(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    best = np.nan_to_num(values(data, "component_score_k").max(axis=(4, 5)), nan=-1.0)
    place = np.unravel_index(int(best.argmax()), best.shape)
    at = [
        choice.label(data, axis, int(i))
        for axis, i in zip(("layer", "head", "later_layer", "later_head"), place)
    ]
    names = [name for name in ("component_score_q", "component_score_k", "component_score_v") if name in data]
    cells = [values(data, name)[tuple(at)] for name in names]
    norm, both, extend = marks.scale(*cells)
    figure, axes = page.grid(
        1,
        len(cells),
        2.1 * len(cells) + 0.7,
        2.1,
        f"Composition by singular component, {pair_name(data, at)}",
        formula(data, names[0]),
    )
    image = None
    for ax, name, matrix in zip(axes[0], names, cells):
        image = marks.heatmap(ax, matrix, page, norm, both)
        ax.set(
            title=f"{name[-1].upper()}-composition",
            xlabel="component of the later head",
            ylabel="component of the earlier",
        )
    marks.colourbar(figure, image, list(axes[0]), "score", extend)
    return figure


@picture(
    "compose",
    "offsets",
    "composition of rotary heads by the distance of query and key",
    "offset_score",
    by="--offsets 0,1,2",
)
def offsets(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    cells = values(data, "offset_score")
    circuits = [str(v) for v in data["rotated_circuit"].values]
    at = values(data, "offset")
    figure, axes = page.grid(
        1,
        len(circuits),
        3.1 * len(circuits),
        2.5,
        "Composition by distance",
        formula(data, "offset_score"),
        sharey=True,
    )
    for i, ax in enumerate(axes[0]):
        flat = cells[:, :, :, i].reshape(len(at), -1)
        flat = flat[:, np.isfinite(flat).all(axis=0)]
        order = np.argsort(-flat.max(axis=0), kind="stable") if flat.size else np.array([], int)
        for rank, column in enumerate(order[::-1]):
            strong = rank >= len(order) - 6
            ax.plot(
                at,
                flat[:, column],
                color=page.theme.cycle[(len(order) - 1 - rank) % 6] if strong else page.theme.faint,
                linewidth=1.3 if strong else 0.6,
            )
        ax.axhline(float(fact(data, "baseline")), color=page.theme.soft, linestyle=":", linewidth=0.9)
        ax.set(title=f"{circuits[i]}-composition, a line a pair", xlabel="query − key")
    axes[0][0].set_ylabel("score")
    return figure


@picture("virtual", "pairs", "how strong each pair of heads is as one virtual head", "pair_ratio")
def virtual_pairs(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    with np.errstate(divide="ignore"):
        cells = np.log2(values(data, "pair_ratio"))
    cells[~np.isfinite(cells)] = np.nan
    return pair_maps(
        data,
        page,
        [("", cells)],
        "Virtual heads of two",
        "0: as strong as between random subspaces. " + formula(data, "pair_ratio", "pair_expected"),
        "log₂ of the ratio to random subspaces",
        True,
    )


@picture("virtual", "chains", "the strongest chains of heads", "ratio", "norm")
def chains(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    count = choice.count(12)
    lengths = data["chain_length"].values
    groups = [(length, np.flatnonzero(lengths == length)[:count]) for length in sorted(set(lengths.tolist()))]
    names = [plain(t, 60).replace(" ", " → ") for t in data["chain"].values]
    ratio = values(
        data,
        str(fact(data, "strength", "ratio")) if str(fact(data, "strength", "ratio")) in data else "ratio",
    )
    figure, axes = page.grid(
        len(groups),
        1,
        5.6,
        sum(0.19 * len(g) + 0.45 for _, g in groups),
        "The strongest virtual heads",
        formula(data, "norm", "expected", "ratio"),
        height_ratios=[len(g) + 1.5 for _, g in groups],
    )
    copying = (
        [f"   copying {marks.number(float(v), sign=True)}" for v in values(data, "full_copying")]
        if "full_copying" in data
        else [""] * ratio.size
    )
    for ax, (length, group) in zip(axes[:, 0], groups):
        extra = [f"{marks.number(float(ratio[i]))}{copying[i]}" for i in group]
        marks.bars(
            ax, [names[i] for i in group], [float(ratio[i]) for i in group], page, sign=False, written=extra
        )
        ax.set_title(f"{length} heads")
        ax.set_xlim(0, ax.get_xlim()[1] * 1.12)
    axes[-1][0].set_xlabel(
        str(fact(data, "strength", "ratio"))
        + (" to random subspaces" if fact(data, "strength") == "ratio" else "")
    )
    return figure


@picture("virtual", "spectra", "singular values of the listed chains", "singular_values")
def virtual_spectra(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    name = "full_singular_values" if "full_singular_values" in data else "singular_values"
    cells, lengths = values(data, name), data["chain_length"].values
    figure, axes = page.grid(
        1,
        1,
        4.6,
        2.7,
        "Singular values of virtual heads" + (" over the vocabulary" if name.startswith("full") else ""),
        "A line a chain. " + formula(data, name),
    )
    ax = axes[0][0]
    seen: set[int] = set()
    for row, length in zip(cells, lengths):
        label = f"{length} heads" if length not in seen else None
        seen.add(length)
        ax.plot(
            range(1, row.size + 1),
            np.where(row > 0, row, np.nan),
            color=page.theme.cycle[int(length) % 7],
            linewidth=0.8,
            alpha=0.8,
            label=label,
        )
    marks.log_axis(ax)
    marks.whole_ticks(ax)
    ax.set(xlabel="component", ylabel="singular value")
    ax.legend()
    return figure


@picture(
    "virtual",
    "entries",
    "the strongest entries of the listed chains over the vocabulary",
    "entry_value",
    "entry_source_id",
)
def virtual_entries(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    count = min(choice.count(4), data.sizes["rank"])
    wanted = choice.labels(data, "chain", max(1, 60 // count))
    if len(wanted) < data.sizes["chain"] and "chain" not in choice.select:
        page.notes.append(
            f"The first {len(wanted)} of {data.sizes['chain']} chains; --select chain='L0H3 L1H5' "
            f"chooses one."
        )
    ends = [data[f"entry_{part}_id"].values for part in ("source", "output")]
    source, output = namer(data, "entry_source_id", 22), namer(data, "entry_output_id", 22)
    sizes = values(data, "entry_value")
    table = marks.Table(["source", "→ raised", "entry"], [True, True, False])
    for chain in wanted:
        table.heading(plain(data["chain"].values[chain], 60))
        for rank in range(count):
            ids = int(ends[0][chain, rank]), int(ends[1][chain, rank])
            table.add(
                [source(ids[0]), output(ids[1]), marks.number(float(sizes[chain, rank]))],
                [np.nan, np.nan, float(sizes[chain, rank])],
            )
    norm, diverging, _ = marks.scale(sizes[wanted][:, :count])
    return marks.table_page(
        page, table, "What virtual heads move", formula(data, "entry_value"), norm, diverging
    )


@picture(
    "qk",
    "pairs",
    "which pairs of heads make induction, by their weights alone",
    "induction",
    "previous_token",
    "match",
)
def induction_pairs(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    count = min(choice.count(16), data.sizes["pair"])
    columns = [
        ("previous_token", "previous", "least_previous_token"),
        ("K_copying", "K copies", "least_copying"),
        ("OV_copying", "OV copies", "least_copying"),
        ("K_ratio", "K ratio", "least_K_ratio"),
        ("match", "match", "least_match"),
        ("induction", "product", ""),
    ]
    table = marks.Table(
        ["earlier → later", *(text for _, text, _ in columns), ""], [True, *[False] * len(columns), True]
    )
    arrays = {name: values(data, name) for name, _, _ in columns}
    decided = data["is_induction"].values
    for i in range(count):
        met = []
        for name, _, least in columns:
            value = arrays[name][i]
            met.append(
                np.nan
                if not least
                else float(value >= float(fact(data, least, np.nan)))
                if np.isfinite(value)
                else np.nan
            )
        texts_here = [marks.number(float(arrays[name][i])) for name, _, _ in columns]
        name = plain(data["pair"].values[i], 40).replace(" ", " → ")
        table.add(
            [name, *texts_here, {1: "induction", -1: "perhaps"}.get(int(decided[i]), "")],
            [np.nan, *(0.7 if m == 1 else np.nan for m in met), np.nan],
        )
    least = ", ".join(
        f"{text} {fact(data, name):g}"
        for name, text in (
            ("least_previous_token", "previous"),
            ("least_copying", "copying"),
            ("least_K_ratio", "K ratio"),
            ("least_match", "match"),
        )
    )
    total = int((decided == 1).sum())
    norm, _, _ = marks.scale([1.0], diverging=False)
    return marks.table_page(
        page,
        table,
        f"Induction from weights alone: {total} of {data.sizes['pair']} pairs",
        f"Coloured: at least the threshold ({least}). product = all five, negative ones as 0. "
        f"{formula(data, 'match')}",
        norm,
        False,
    )


@picture(
    "qk", "matrix", "the induction score of all pairs of heads", "induction", "earlier_layer", "later_layer"
)
def induction_matrix(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    parts = [data[name].values for name in ("earlier_layer", "earlier_head", "later_layer", "later_head")]
    axes_labels = [sorted(set(p.tolist())) for p in parts]
    layers, heads = sorted({*axes_labels[0], *axes_labels[2]}), sorted({*axes_labels[1], *axes_labels[3]})
    cells = np.full((len(layers), len(heads), len(layers), len(heads)), np.nan)
    for value, *place in zip(values(data, "induction"), *parts):
        a, b, c, d = place
        cells[layers.index(a), heads.index(b), layers.index(c), heads.index(d)] = value
    frame = xr.Dataset(coords={"layer": layers, "head": heads, "later_layer": layers, "later_head": heads})
    return pair_maps(
        frame,
        page,
        [("", cells)],
        "Induction from weights alone",
        formula(data, "induction"),
        "induction",
        False,
    )


@picture("qk", "eigenvalues", "eigenvalues of the four forms of the strongest pairs", "full_eigenvalues_real")
def form_eigenvalues(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    rows = choice.labels(data, "pair", choice.count(3))
    offset = choice.label(data, "offset")
    forms = [plain(v) for v in data["form"].values]
    numbers = values(data, "full_eigenvalues_real") + 1j * values(data, "full_eigenvalues_imag")
    score = values(data, "full_copying")
    figure, axes = page.grid(
        len(rows),
        len(forms),
        1.65 * len(forms),
        1.8 * len(rows) + 0.1,
        "Eigenvalues of QK and what is composed into it",
        "Each scaled to its largest (circle: modulus 1). To the right: the form matches a token with itself. "
        + formula(data, "full_copying"),
    )
    norm, _, _ = marks.scale([1.0], diverging=True)
    for row, pair in enumerate(rows):
        for column, form in enumerate(forms):
            ax = axes[row][column]
            value = score[pair, column, offset]
            eigen_pane(
                ax,
                page,
                numbers[pair, column, offset],
                page.theme.diverging(norm(value if np.isfinite(value) else 0.0)),
            )
            ax.set_title(
                f"{form}  {marks.number(float(value), sign=True)}"
                if row == 0
                else marks.number(float(value), sign=True),
                fontsize=7.5,
                loc="center",
            )
        axes[row][0].set_ylabel(plain(data["pair"].values[pair], 30).replace(" ", " → "), fontsize=7.5)
    return figure


@picture(
    "qk",
    "entries",
    "the strongest entries of the K-composed form of the listed pairs",
    "entry_value",
    "entry_destination_id",
    by="--entries 5",
)
def qk_entries(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    form = choice.label(data, "form", "K-composed")
    count = min(choice.count(5), data.sizes["rank"])
    wanted = choice.labels(data, "listed", max(1, 60 // max(1, count)))
    names = [namer(data, f"entry_{part}_id", 22) for part in ("destination", "source")]
    ends = [data[f"entry_{part}_id"].values for part in ("destination", "source")]
    sizes = values(data, "entry_value")
    table = marks.Table(["destination", "← source", "entry"], [True, True, False])
    heads = texts(data, "listed")
    for place in wanted:
        table.heading(plain(heads[place], 40).replace(" ", " → "))
        for rank in range(count):
            ids = [int(side[place, form, rank]) for side in ends]
            table.add(
                [names[0](ids[0]), names[1](ids[1]), marks.number(float(sizes[place, form, rank]))],
                [np.nan, np.nan, float(sizes[place, form, rank])],
            )
    norm, diverging, _ = marks.scale(sizes[wanted][:, form, :count])
    return marks.table_page(
        page,
        table,
        f"What pairs match, {plain(data['form'].values[form])}",
        formula(data, "entry_value"),
        norm,
        diverging,
    )
