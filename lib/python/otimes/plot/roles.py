# SPDX-License-Identifier: MIT
"""Pictures of otimes-roles: what each head is called, and by which scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from otimes.plot._data import Choice, formula, values
from otimes.plot._page import Page
from otimes.plot._registry import picture
from otimes.plot._text import plain
from otimes.plot.composition import head_axis
from otimes.plot.heads import head_maps, head_name


@picture("roles", "roles", "which head plays which role", "label", "label_side")
def roles(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    label, side = data["label"].values, data["label_side"].values
    layers, heads, count = label.shape
    # 0 nothing, 1 by one side alone, 2 by every side that is told
    state = np.where(label == 1, 2, np.where((side == 1).any(axis=3), 1, 0)).reshape(layers * heads, count).T
    names = [plain(v) for v in data["role"].values]
    wide = float(np.clip(0.24 * layers * heads, 2.4, 7.2))
    figure, axes = page.grid(
        1,
        1,
        wide + 1.2,
        0.27 * count + 0.75,
        "Roles of heads",
        "A role is given where every side that can be told (weights, attention) meets its threshold.",
    )
    ax, theme = axes[0][0], page.theme
    colours: list[Any] = [theme.missing, theme.rising(0.35), theme.rising(0.75)]
    ax.imshow(
        state,
        cmap=ListedColormap(colours),
        norm=BoundaryNorm([-0.5, 0.5, 1.5, 2.5], 3),
        aspect="auto",
        interpolation="nearest",
    )
    ax.set_yticks(range(count), names)
    head_axis(ax, "x", data["layer"].values, data["head"].values, page)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for row in range(1, count):
        ax.axhline(row - 0.5, color=theme.paper, linewidth=1.2)
    if layers * heads <= 64:
        for column in range(1, layers * heads):
            ax.axvline(column - 0.5, color=theme.paper, linewidth=1.2)
    keys = [
        Patch(color=colours[2], label="plays the role"),
        Patch(color=colours[1], label="by one side alone"),
    ]
    ax.legend(handles=keys, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2)
    return figure


PAIRS = (
    ("previous-token", "previous_token", "previous_token"),
    ("induction", "induction", "induction"),
    ("copying", "OV_copying", "induction"),
    ("same-token", "same_token", "duplicate_token"),
)


@picture(
    "roles",
    "sides",
    "scores by weights beside scores by attention",
    "previous_token",
    "induction",
    "repeated_induction|text_induction",
)
def sides(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    source = "repeated" if "repeated_induction" in data else "text"
    role_names = [str(v) for v in data["role"].values]
    threshold = values(data, "threshold")
    figure, axes = page.grid(
        2,
        2,
        6.4,
        5.0,
        "Roles by weights and by attention",
        f"A dot a head; attention on "
        f"{'random tokens written twice' if source == 'repeated' else 'the texts'}. Dotted: thresholds "
        f"of the role named first. " + formula(data, "induction"),
    )
    theme = page.theme
    for ax, (role, weights, attention) in zip(axes.ravel(), PAIRS):
        x, y = values(data, weights), values(data, f"{source}_{attention}")
        label = (
            data["label"].values[:, :, role_names.index(role)] == 1
            if role in role_names
            else np.zeros(x.shape, bool)
        )
        ax.scatter(x[~label], y[~label], s=12, color=theme.neutral, linewidths=0)
        ax.scatter(x[label], y[label], s=16, color=theme.cycle[0], linewidths=0)
        marked = np.argsort(-(np.nan_to_num(y) + label * 10), axis=None, kind="stable")[: min(5, y.size)]
        for flat in marked:
            layer, head = np.unravel_index(flat, y.shape)
            if label[layer, head]:
                ax.annotate(
                    head_name(data, int(layer), int(head)),
                    (x[layer, head], y[layer, head]),
                    (3, 2),
                    textcoords="offset points",
                    fontsize=6.5,
                )
        if role in role_names:
            by_weights, by_attention = threshold[role_names.index(role)]
            if np.isfinite(by_weights):
                ax.axvline(by_weights, color=theme.soft, linestyle=":", linewidth=0.8)
            if np.isfinite(by_attention):
                ax.axhline(by_attention, color=theme.soft, linestyle=":", linewidth=0.8)
        ax.set(
            xlabel=f"{weights.replace('_', ' ')} by weights",
            ylabel=f"{attention.replace('_', ' ')} by attention",
            title=role,
            ylim=(-0.03, 1.05),
        )
        ax.margins(x=0.12)
    return figure


@picture("roles", "scores", "every score of every head", "previous_token", "OV_copying")
def scores(data: xr.Dataset, choice: Choice, page: Page) -> Figure:
    data = choice.heads(data)
    weights = [
        ("previous_token", "previous token, weights"),
        ("OV_copying", "copying, weights"),
        ("induction", "induction, weights"),
        ("same_token", "same token, weights"),
        ("lowest_share", "suppresses itself, weights"),
        ("highest_share", "raises itself, weights"),
    ]
    source = "repeated" if "repeated_induction" in data else "text"
    attention = [
        (f"{source}_{name}", f"{name.replace('_', ' ')}, attention")
        for name in ("previous_token", "induction", "duplicate_token", "current_token", "first_token")
    ]
    arrays = [
        (name, text)
        for name, text in [*weights, *attention]
        if name in data and np.isfinite(values(data, name)).any()
    ]
    bounded = [n for n, _ in arrays if n not in ("induction", "same_token")]
    return head_maps(
        data,
        page,
        arrays,
        "Scores of every head",
        formula(data, "OV_copying", "lowest_share"),
        bounded,
        across=3 if data.sizes["head"] <= 12 else 2,
    )
