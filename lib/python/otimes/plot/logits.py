# SPDX-License-Identifier: MIT
"""Pictures of otimes-logits and otimes-tokens: texts, token by token."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from otimes.plot import _marks as marks
from otimes.plot._data import Choice, fact, formula, namer, text_tokens, values
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._style import ink_on
from otimes.plot._text import shown, width_of

LINES = 60  # positions of a table
WIDE = 6.8  # inches of running text


def _positions(data: xr.Dataset, text: int, tokens: list[str]) -> list[int]:
    """Position of each entry of arrays by place."""
    if "place_position" in data:
        return [int(p) for p in data["place_position"].values[text] if p >= 0]
    return list(range(len(tokens)))


@picture("logits", "next", "what the model expects after each token, and what came", "top_id", "top_log_prob")
def expected(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text = choice.text_of(data)
    tokens = text_tokens(data, text)
    places = list(enumerate(_positions(data, text, tokens)))
    if len(places) > LINES:
        page.notes.append(f"The last {LINES} of {len(places)} positions.")
        places = places[-LINES:]
    count = min(choice.count(5), data.sizes["rank"])
    name = namer(data, "top_id", 12)
    probability = np.exp(values(data, "top_log_prob")[text])
    ids = data["top_id"].values[text]
    came = np.exp(values(data, "next_log_prob")[text]) if "next_log_prob" in data else None
    ranks = data["next_rank"].values[text] if "next_rank" in data else None
    table = marks.Table(
        ["", "token", "next came", "rank", *(f"expected {i + 1}" for i in range(count))],
        [False, True, False, False] + [True] * count,
    )
    for place, position in places:
        next_one = float(came[place]) if came is not None else np.nan
        rank = int(ranks[place]) if ranks is not None else -1
        cells = [
            f"{name(int(i))} {100 * p:.0f} %" for i, p in zip(ids[place, :count], probability[place, :count])
        ]
        table.add(
            [
                str(position),
                tokens[position],
                f"{100 * next_one:.1f} %" if np.isfinite(next_one) else "",
                str(rank) if rank >= 0 else "",
                *cells,
            ],
            [np.nan, np.nan, next_one, np.nan, *probability[place, :count]],
        )
    norm, _, _ = marks.scale([1.0], diverging=False)
    loss = f"mean loss {float(values(data, 'loss')[text]):.3f} nats. " if "loss" in data else ""
    return marks.table_page(
        page,
        table,
        "What the model expects next",
        f"Probability of the token that came, its rank, and the likeliest; "
        f"{loss}{formula(data, 'top_log_prob')}",
        norm,
        False,
    )


@picture("logits", "loss", "surprise and uncertainty along a text", "next_log_prob", "entropy")
def loss(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text = choice.text_of(data)
    tokens = text_tokens(data, text)
    positions = _positions(data, text, tokens)
    surprise = -values(data, "next_log_prob")[text, : len(positions)]
    entropy = values(data, "entropy")[text, : len(positions)]
    figure, axes = page.grid(
        1,
        1,
        float(np.clip(0.2 * len(positions), 4.0, 8.0)) + 0.6,
        2.4,
        "Surprise along the text",
        "At each token: −log p of the token that follows it, and the entropy of what the model expects. "
        + formula(data, "entropy"),
    )
    ax = axes[0][0]
    at = np.arange(len(positions))
    ax.bar(at, surprise, width=0.8, color=page.theme.positive, label="−log p of what came")
    ax.step(at, entropy, where="mid", color=page.theme.negative, linewidth=1.1, label="entropy")
    marks.sparse(ax, len(positions), "x", [tokens[p] for p in positions], 56, rotation=90)
    ax.set(ylabel="nats", xlim=(-0.6, len(positions) - 0.4))
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
    return figure


class Running:
    """Tokens one behind the other, in lines, each on a colour."""

    def __init__(self) -> None:
        self.boxes: list[tuple[float, int, float, str, Any]] = []
        self.line, self.at = 0, 0.0

    def add(self, text: str, colour: Any) -> None:
        wide = width_of(text, marks.CELL_TEXT) + 0.09
        if self.at and self.at + wide > WIDE:
            self.line, self.at = self.line + 1, 0.0
        self.boxes.append((self.at, self.line, wide, text, colour))
        self.at += wide + 0.025

    def end(self) -> None:
        """The next token begins a line."""
        self.line, self.at = self.line + 1, 0.0

    def tall(self) -> float:
        return (max((line for _, line, *_ in self.boxes), default=0) + 1) * 0.24

    def draw(self, ax: Axes, page: Page) -> None:
        ax.set(xlim=(0, WIDE), ylim=(self.tall(), 0))
        ax.set_aspect("equal", anchor="NW")
        ax.set_axis_off()
        for x, line, wide, text, colour in self.boxes:
            ax.add_patch(Rectangle((x, line * 0.24 + 0.02), wide, 0.2, facecolor=colour, linewidth=0))
            ax.text(
                x + wide / 2,
                line * 0.24 + 0.12,
                text,
                ha="center",
                va="center",
                fontsize=marks.CELL_TEXT * page.scale,
                color=ink_on(colour),
            )


@picture(
    "logits",
    "generated",
    "what the model wrote, coloured by how sure it was",
    "generated_id",
    "generated_log_prob",
    by="--generate 40",
)
def generated(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    text = choice.text_of(data)
    tokens = text_tokens(data, text, 24)
    name = namer(data, "generated_id", 24)
    length = int(data["generated_length"].values[text]) if "generated_length" in data else data.sizes["step"]
    sure = np.exp(values(data, "generated_log_prob")[text, :length])
    running = Running()
    grey = (*(np.array([0.93] * 3) if page.theme.ink < "#8" else np.array([0.17] * 3)), 1.0)
    for token in tokens:
        running.add(token, grey)
    running.end()
    for token, p in zip(data["generated_id"].values[text, :length], sure):
        running.add(name(int(token)), page.theme.rising(0.85 * float(p)))
    caption = "Grey: the text that was given. Darker: likelier (probability 0 to 1). "
    caption += f"temperature {fact(data, 'temperature', 0)}. {formula(data, 'generated_log_prob')}"
    figure, axes = page.grid(1, 1, WIDE, running.tall(), "What the model goes on to write", caption)
    running.draw(axes[0][0], page)
    return figure


def _tokenizer(data: xr.Dataset) -> str:
    kind = f"{fact(data, 'tokenizer_kind')}, {fact(data, 'vocab_size')} tokens"
    return f"{kind}  ·  {fact(data, 'tokenizer_path')}"


@picture("tokens", "tokens", "texts as their tokens", "id", "token")
def tokens(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    running = Running()
    place = data["input_index"].values
    inputs = (
        list(range(data.sizes["input"]))
        if choice.text is None
        else [choice.place(data, "input", choice.text, 0)]
    )
    choice.used.add("text")
    colours = [page.theme.rising(0.12), page.theme.rising(0.3)]
    words = data["token"].values
    most = choice.count(600)
    drawn = 0
    for number in inputs:
        own = np.flatnonzero(place == number)
        for i, at in enumerate(own[: most - drawn]):
            running.add(shown(words[at]), colours[i % 2])
        drawn += min(own.size, most - drawn)
        running.end()
    total = int(np.isin(place, inputs).sum())
    if drawn < total:
        page.notes.append(f"The first {drawn} of {total} tokens.")
    page.about = _tokenizer(data)
    figure, axes = page.grid(
        1,
        1,
        WIDE,
        running.tall(),
        f"{total} tokens" + (f" of {len(inputs)} texts" if len(inputs) > 1 else ""),
        "In quotes, with escapes where a character cannot be seen.",
    )
    running.draw(axes[0][0], page)
    return figure


@picture("tokens", "counts", "how often each token occurs, and characters a token", "id", "token")
def counts(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    ids, words = data["id"].values, data["token"].values
    found, first, count = np.unique(ids, return_index=True, return_counts=True)
    order = np.argsort(-count, kind="stable")[: choice.count(20)]
    page.about = _tokenizer(data)
    figure, axes = page.grid(
        1,
        1,
        4.6,
        0.19 * order.size + 0.5,
        "The most frequent tokens",
        f"{ids.size} tokens, {found.size} different.",
    )
    marks.bars(
        axes[0][0],
        [shown(words[first[i]]) for i in order],
        [float(count[i]) for i in order],
        page,
        digits=0,
        sign=False,
    )
    axes[0][0].set_xlabel("times")
    return figure
