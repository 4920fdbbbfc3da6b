# SPDX-License-Identifier: MIT
"""A sheet with a title that says what and of which model, panels, and a caption with the formula."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from otimes.plot._errors import PlotError
from otimes.plot._style import LIGHT, Theme
from otimes.plot._text import wrapped

TITLE, ABOUT, CAPTION = 10.0, 7.5, 6.5  # points
MARGIN = 0.12  # inches
NARROWEST = 4.6  # inches: what a title needs
LARGEST = 100.0  # inches along one side


@dataclass
class Page:
    """What a picture is drawn on: its theme, the size that was asked for, and what is said around it."""

    theme: Theme = LIGHT
    size: tuple[float, float] | None = None
    about: str = ""
    scale: float = 1.0  # of text in tables, where a size was asked for
    notes: list[str] = field(default_factory=list)  # what a picture leaves out; a part of the caption

    def grid(
        self,
        rows: int,
        columns: int,
        width: float,
        height: float,
        title: str,
        caption: str = "",
        **settings: Any,
    ) -> tuple[Figure, np.ndarray]:
        """rows x columns panels of so many inches, all in all; axes[row, column]."""
        caption = "\n".join([*self.notes, caption] if caption else self.notes)
        if width > LARGEST or height > LARGEST:
            raise PlotError(
                f"picture of {width:.0f} x {height:.0f} inches: expected at most {LARGEST:.0f}; choose a part"
            )
        whole = self.size[0] if self.size else max(width + 2 * MARGIN, NARROWEST)
        inside = whole - 2 * MARGIN
        head = wrapped(title, TITLE, inside, bold=True)
        sub = wrapped(self.about, ABOUT, inside) if self.about else []
        foot = wrapped(caption, CAPTION, inside) if caption else []
        above = MARGIN + (len(head) * TITLE * 1.3 + len(sub) * ABOUT * 1.4 + 5) / 72
        below = MARGIN * 0.7 + (len(foot) * CAPTION * 1.4 + (4 if foot else 0)) / 72
        tall = self.size[1] if self.size else height + above + below
        if self.size and tall - above - below < 0.3:
            raise PlotError(f"size: {tall:g} inches in height leave no room between title and caption")
        self.scale = min(1.0, inside / width, (tall - above - below) / height) if self.size else 1.0
        figure = Figure(figsize=(whole, tall), layout="constrained")
        FigureCanvasAgg(figure)
        engine: Any = figure.get_layout_engine()
        left = MARGIN * 0.4 / whole
        engine.set(rect=(left, below / tall, 1 - 2 * left, 1 - (above + below) / tall))
        self._say(figure, head, sub, foot, whole, tall)
        return figure, figure.subplots(rows, columns, squeeze=False, **settings)

    def _say(
        self, figure: Figure, head: list[str], sub: list[str], foot: list[str], whole: float, tall: float
    ) -> None:
        left, down = MARGIN / whole, MARGIN

        def put(lines: list[str], points: float, step: float, colour: str, weight: str, name: str) -> None:
            nonlocal down
            for line in lines:
                down += points * step / 72
                text = figure.text(
                    left, 1 - (down - 0.25 * points / 72) / tall, line, fontsize=points, color=colour
                )
                text.set(ha="left", va="baseline", weight=weight, gid=name)

        put(head, TITLE, 1.3, self.theme.ink, "bold", "title")
        put(sub, ABOUT, 1.4, self.theme.soft, "normal", "about")
        down = tall - MARGIN * 0.7 - len(foot) * CAPTION * 1.4 / 72
        put(foot, CAPTION, 1.4, self.theme.soft, "normal", "caption")


def blank(axes: Axes) -> None:
    """A panel without anything around it."""
    axes.set_axis_off()
