# SPDX-License-Identifier: MIT
"""Pictures of otimes-bigram and otimes-trigrams: tables of tokens."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, fact, formula, labels, namer, values
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._text import shown

ROWS, ACROSS = 32, 8  # of a table where nothing else was asked for
SIDE = 1200  # rows and columns of a large table that are drawn
WHOLE = 32_000_000  # entries up to which a table is read at once


def _rows(data: xr.Dataset, choice: Choice, page: Page, most: int = ROWS) -> list[int]:
    """Rows of tokens: those of --select token=..., or some at even distances."""
    if "token" in choice.select:
        return choice.labels(data, "token", most)
    total = data.sizes["token"]
    if total > most:
        page.notes.append(f"{most} of {total} tokens at even distances; --select token=... chooses one.")
    return sorted({int(i) for i in np.linspace(0, total - 1, min(most, total)).round()})


def _extremes(data: xr.Dataset, choice: Choice, page: Page, side: str) -> Figure:
    axis = data[f"{side}_id"].dims[1]
    count = min(choice.count(ACROSS), data.sizes[axis])
    rows = _rows(data, choice, page)
    ids, sizes = data[f"{side}_id"].values, values(data, f"{side}_value")
    name, own = namer(data, f"{side}_id", 12), labels(data, "token", 18)
    table = marks.Table(["token", *(f"{rank + 1}" for rank in range(count))])
    for row in rows:
        table.add([own[row], *(name(int(i)) for i in ids[row, :count])], [np.nan, *sizes[row, :count]])
    exact = "logits after the final norm" if fact(data, "exact", 0) else "W_E W_U"
    what = "raise most" if side == "top" else "lower most"
    norm, diverging, _ = marks.scale(sizes[rows, :count])
    return marks.table_page(
        page,
        table,
        f"Bigrams: what tokens {what}",
        f"The {'largest' if side == 'top' else 'smallest'} entries of each row of {exact}, before any "
        f"head has looked around; colour: the entry. {formula(data, f'{side}_value')}",
        norm,
        diverging,
    )


@picture("bigram", "top", "the tokens that each token raises most", "top_id", "top_value", by="--top 10")
def top(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    return _extremes(data, choice, page, "top")


@picture(
    "bigram",
    "bottom",
    "the tokens that each token lowers most",
    "bottom_id",
    "bottom_value",
    by="--bottom 10",
)
def bottom(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    return _extremes(data, choice, page, "bottom")


@picture(
    "bigram",
    "statistics",
    "how peaked the rows are, and where each token ranks itself",
    "row_std",
    "diagonal_rank",
)
def statistics(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    figure, axes = page.grid(
        1,
        2,
        6.6,
        2.5,
        "Bigrams: rows of the direct path",
        formula(data, "row_std", "diagonal_rank")
        + "\nRank 0: no output is raised more than the token itself.",
    )
    theme = page.theme
    left, right = axes[0]
    peak, spread = (
        values(data, "top_value")[:, 0] if data.sizes["rank"] else np.full(data.sizes["token"], np.nan),
        values(data, "row_std"),
    )
    left.scatter(
        spread, peak, s=4, color=theme.cycle[0], linewidths=0, alpha=0.6, rasterized=spread.size > 5000
    )
    left.set(xlabel="standard deviation of the row", ylabel="largest entry", title="one dot a token")
    rank = values(data, "diagonal_rank")
    rank = rank[rank >= 0]
    edges = np.concatenate(
        [[0, 1], np.unique(np.geomspace(2, max(float(rank.max(initial=0)) + 1, 3), 18).round())]
    )
    counts = np.histogram(rank, edges)[0]
    right.bar(range(counts.size), counts, color=theme.cycle[0], width=0.9)
    step = max(1, counts.size // 7)
    right.set_xticks(range(0, counts.size, step), [f"{int(edges[i])}" for i in range(0, counts.size, step)])
    right.set(
        xlabel="rank of the token in its own row, from",
        ylabel="tokens",
        title=f"{int((rank == 0).sum())} of {rank.size} tokens raise themselves most",
    )
    return figure


@picture(
    "bigram",
    "corpus",
    "how the direct path compares with the bigrams of a text",
    "corpus_kl",
    "corpus_entropy",
    by="--corpus FILE",
)
def corpus(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    pairs = fact(data, "corpus_pairs", 0)
    parts = [
        ("entropy of the text's own bigrams", "corpus_total_entropy"),
        ("direct path", "corpus_total_cross_entropy"),
        ("frequencies of tokens", "corpus_unigram_cross_entropy"),
        ("all tokens alike", "corpus_uniform_cross_entropy"),
    ]
    figure, axes = page.grid(
        1,
        2,
        7.0,
        2.5,
        "The direct path beside the bigrams of a text",
        f"{pairs} pairs. " + formula(data, "corpus_kl"),
    )
    left, right = axes[0]
    sizes = [float(fact(data, name, np.nan)) for _, name in parts]
    marks.bars(
        left,
        [text for text, _ in parts],
        sizes,
        page,
        sign=False,
        colours=[page.theme.neutral, page.theme.positive, page.theme.neutral, page.theme.neutral],
    )
    left.set_xlabel("cross-entropy in nats")
    count = values(data, "corpus_count")
    kept = count > 0
    right.scatter(
        count[kept],
        values(data, "corpus_kl")[kept],
        s=4,
        color=page.theme.cycle[0],
        linewidths=0,
        alpha=0.6,
        rasterized=kept.sum() > 5000,
    )
    right.set(xlabel="times the token has a successor", ylabel="KL in nats", title="one dot a token")
    marks.log_axis(right, "x")
    return figure


def thinned(data: xr.DataArray, page: Page, most: int = SIDE) -> tuple[np.ndarray, list[np.ndarray]]:
    """Of a large table rows and columns at even distances, read without the rest."""
    kept = [np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(int)) for size in data.shape]
    if any(len(k) < size for k, size in zip(kept, data.shape)):
        page.notes.append(
            f"{len(kept[0])} of {data.shape[0]} rows and {len(kept[1])} of {data.shape[1]} columns, at "
            f"even distances."
        )
    if data.size <= WHOLE:
        return np.asarray(data.values, np.float32)[np.ix_(*kept)], kept
    rows = [np.asarray(data[int(i)].values, np.float32)[kept[1]] for i in kept[0]]
    return np.stack(rows), kept


def table_map(
    data: xr.Dataset, name: str, table: xr.DataArray, page: Page, title: str, words: tuple[str, str]
) -> Figure:
    """A table of tokens by tokens as a heat map."""
    cells, kept = thinned(table, page)
    few = [len(k) <= 40 for k in kept]
    names = [labels(data, str(axis), 14) for axis in table.dims]
    rows, columns = ([names[i][j] for j in kept[i]] for i in (0, 1))
    norm, diverging, extend = marks.scale(cells)
    sides = [float(np.clip(0.17 * len(k), 1.2, 5.2)) if f else 5.2 for k, f in zip(kept, few)]
    figure, axes = page.grid(1, 1, sides[1] + 1.6, sides[0] + 0.9, title, formula(data, name))
    image = marks.heatmap(
        axes[0][0],
        cells,
        page,
        norm,
        diverging,
        rows=rows,
        columns=columns,
        most=(40 if few[0] else 24, 40 if few[1] else 24),
        turned=True,
        write=False,
    )
    axes[0][0].set(ylabel=words[0], xlabel=words[1])
    marks.colourbar(figure, image, axes[0][0], "entry", extend)
    return figure


@picture("bigram", "table", "the table itself as a heat map", "table", by="--full")
def table_picture(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    return table_map(data, "table", data["table"], page, "Bigrams: the table", ("token", "next token"))


@picture(
    "trigrams", "overall", "the strongest skip-trigrams of all heads", "overall_source_id", "overall_strength"
)
def overall(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    count = min(choice.count(30), data.sizes["rank"])
    names = [namer(data, f"overall_{part}_id", 20) for part in ("source", "destination", "out")]
    ids = [data[f"overall_{part}_id"].values for part in ("source", "destination", "out")]
    numbers = [values(data, f"overall_{part}") for part in ("strength", "score", "effect")]
    layer, head, offset = (data[f"overall_{part}"].values for part in ("layer", "head", "offset"))
    table = marks.Table(
        ["head", "source …", "destination", "→ raised", "strength", "score", "effect"],
        [True, True, True, True, False, False, False],
    )
    for rank in range(count):
        if ids[0][rank] < 0:
            break
        at = f"L{layer[rank]}H{head[rank]}" + (f" @{offset[rank]}" if len(set(offset.tolist())) > 1 else "")
        cells = [name(int(i[rank])) for name, i in zip(names, ids)]
        table.add(
            [at, *cells, *(marks.number(float(n[rank])) for n in numbers)],
            [np.nan] * 4 + [float(numbers[0][rank]), np.nan, np.nan],
        )
    norm, diverging, _ = marks.scale(numbers[0][:count])
    return marks.table_page(
        page,
        table,
        "Skip-trigrams: source … destination → raised",
        "strength = score × effect, from weights alone, of the direct path. " + formula(data, "strength"),
        norm,
        diverging,
    )


@picture("trigrams", "heads", "the strongest skip-trigrams of each head", "source_id", "strength")
def by_head(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    count = min(choice.count(5), data.sizes["rank"])
    offset = choice.label(data, "offset")
    wanted = choice.labels(data, "layer_head", max(1, 60 // count))
    if len(wanted) < data.sizes["layer_head"] and "layer_head" not in choice.select:
        page.notes.append(
            f"The first {len(wanted)} of {data.sizes['layer_head']} heads; --select layer_head=L0H0 "
            f"chooses one."
        )
    names = [namer(data, f"{part}_id", 20) for part in ("source", "destination", "out")]
    ids = [data[f"{part}_id"].values[:, offset] for part in ("source", "destination", "out")]
    numbers = [values(data, part)[:, offset] for part in ("strength", "score", "effect")]
    table = marks.Table(
        ["source …", "destination", "→ raised", "strength", "score", "effect"],
        [True, True, True, False, False, False],
    )
    for place in wanted:
        table.heading(shown(data["layer_head"].values[place]).strip('"'))
        for rank in range(count):
            if ids[0][place, rank] >= 0:
                cells = [name(int(i[place, rank])) for name, i in zip(names, ids)]
                table.add(
                    [*cells, *(marks.number(float(n[place, rank])) for n in numbers)],
                    [np.nan] * 3 + [float(numbers[0][place, rank]), np.nan, np.nan],
                )
    norm, diverging, _ = marks.scale(numbers[0][wanted][:, :count])
    return marks.table_page(
        page,
        table,
        "Skip-trigrams of each head",
        "strength = score × effect, from weights alone, of the direct path.",
        norm,
        diverging,
    )


@picture("trigrams", "strength", "score and effect of all listed skip-trigrams", "score", "effect")
def strength(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    figure, axes = page.grid(
        1,
        1,
        4.6,
        3.2,
        "Skip-trigrams: attention score and effect on the logit",
        formula(data, "score", "effect"),
    )
    ax, theme = axes[0][0], page.theme
    layers = sorted(set(data["layer"].values.tolist()))
    for layer in layers:
        kept = data["layer"].values == layer
        colour = (
            theme.cycle[layer % len(theme.cycle)]
            if len(layers) <= 6
            else theme.rising(0.25 + 0.75 * layer / max(layers))
        )
        ax.scatter(
            values(data, "score")[kept].ravel(),
            values(data, "effect")[kept].ravel(),
            s=5,
            color=colour,
            label=f"layer {layer}",
            linewidths=0,
            alpha=0.7,
        )
    if len(layers) <= 12:
        ax.legend(ncols=1 + len(layers) // 7)
    ax.set(
        xlabel="score: how much the destination attends to the source",
        ylabel="effect on the raised token's logit",
    )
    return figure
