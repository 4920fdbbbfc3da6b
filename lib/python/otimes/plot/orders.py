# SPDX-License-Identifier: MIT
"""Pictures of otimes-orders: how the loss falls with the number of heads that paths go through."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, fact, formula, text_tokens, values
from otimes.plot._page import Page
from otimes.plot._registry import picture


def mean_over_texts(data: xr.Dataset, choice: Choice, page: Page, array: str) -> np.ndarray:
    """Weighted by the tokens that were predicted, or of the chosen text."""
    cells = values(data, array)
    if choice.text is not None or cells.shape[0] == 1:
        return np.asarray(cells[choice.text_of(data)])
    choice.used.add("text")
    weight = values(data, "predicted_tokens")
    note = f"Mean over {cells.shape[0]} texts; --text chooses one."
    if note not in page.notes:
        page.notes.append(note)
    shaped = weight.reshape(-1, *[1] * (cells.ndim - 1)) * np.isfinite(cells)
    return np.asarray(np.nansum(cells * shaped, axis=0) / shaped.sum(axis=0))


@picture("orders", "loss", "the loss of all paths through at most so many heads", "loss", "gain")
def loss(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    line = mean_over_texts(data, choice, page, "loss")
    gain = mean_over_texts(data, choice, page, "gain")
    uniform = float(fact(data, "uniform_loss", np.nan))
    shares = "loss_only" in data
    figure, axes = page.grid(
        1,
        2 if shares else 1,
        6.8 if shares else 4.4,
        2.7,
        "The loss by the order of paths",
        f"Order: heads that a path goes through, patterns and norms frozen; MLPs: {fact(data, 'mlps')}; "
        f"final norm {fact(data, 'final_norm')}. " + formula(data, "loss"),
        width_ratios=[1.3, 1] if shares else None,
    )
    ax, theme = axes[0][0], page.theme
    at = np.arange(line.size)
    ax.plot(at, line, "o-", color=theme.positive, markersize=4, clip_on=False, zorder=3)
    top = max(uniform, float(np.nanmax(line)))
    for i in at:
        ax.annotate(
            f"{marks.number(float(line[i]))}\n({marks.number(float(-gain[i]), sign=True)})",
            (float(i), float(line[i])),
            (4, 5),
            textcoords="offset points",
            fontsize=6.5,
        )
    ax.axhline(uniform, color=theme.soft, linestyle=":", linewidth=0.9)
    ax.text(
        float(at[-1]), uniform, "all tokens alike", ha="right", va="bottom", fontsize=6.5, color=theme.soft
    )
    ax.set(xlabel="order", ylabel="loss in nats", ylim=(0, top * 1.12), xlim=(-0.15, at[-1] + 0.45))
    marks.whole_ticks(ax)
    if shares:
        _shares(data, choice, page, axes[0][1])
    return figure


def _shares(data: xr.Dataset, choice: Choice, page: Page, ax: Any) -> None:
    from matplotlib.axes import Axes

    assert isinstance(ax, Axes)
    marginal = -mean_over_texts(data, choice, page, "marginal")
    conditional = mean_over_texts(data, choice, page, "conditional")
    at = np.arange(marginal.size)
    ax.bar(at - 0.2, marginal, width=0.38, color=page.theme.cycle[5], label="gained by the layer alone")
    ax.bar(at + 0.2, conditional, width=0.38, color=page.theme.cycle[0], label="lost without the layer")
    ax.set(xlabel="layer", ylabel="nats")
    ax.set_xticks(
        at[:: max(1, at.size // 12)], [str(v) for v in data["layer"].values[:: max(1, at.size // 12)]]
    )
    marks.zero_line(ax, page.theme)
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)


@picture("orders", "tokens", "the loss of each token of a text by order", "token_loss", by="--full")
def tokens(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text = choice.text_of(data)
    names = text_tokens(data, text)
    cells = values(data, "token_loss")[text][:, : len(names)]
    norm, _, extend = marks.scale(cells, diverging=False)
    figure, axes = page.grid(
        1,
        1,
        float(np.clip(0.22 * len(names), 3.0, 7.6)) + 1.0,
        0.24 * cells.shape[0] + 0.9,
        "The loss of each token by the order of paths",
        "Each column is about the token that follows it. " + formula(data, "token_loss"),
    )
    image = marks.heatmap(
        axes[0][0], cells, page, norm, False, columns=names, most=(32, 48), turned=True, write=False
    )
    axes[0][0].set_ylabel("order")
    marks.colourbar(figure, image, axes[0][0], "nats", extend)
    return figure
