# SPDX-License-Identifier: MIT
"""How all pictures look: colours that colour-blind people can tell apart, one typeface, little ink."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.colors import Colormap, LinearSegmentedColormap

from otimes.plot._text import families


one_at_a_time = threading.RLock()


@dataclass(frozen=True)
class Theme:
    """Colours of a picture."""

    paper: str
    ink: str
    soft: str  # what is said beside: units, captions
    faint: str  # lines that only guide the eye
    missing: str  # cells without a value
    rising: Colormap  # from 0 up
    diverging: Colormap  # around 0
    cycle: tuple[str, ...]  # categories (Okabe and Ito's, so that all can tell them apart)
    positive: str
    negative: str
    neutral: str


def _map(name: str, *colours: str) -> Colormap:
    return LinearSegmentedColormap.from_list(name, colours, N=512)


LIGHT = Theme(
    paper="#ffffff",
    ink="#1a1a1a",
    soft="#666666",
    faint="#d9d9d9",
    missing="#f2f2f2",
    rising=_map("otimes_rising", "#fbfbfb", "#c9dcec", "#74a9cf", "#2b72ad", "#0b3c6f", "#06203d"),
    diverging=_map(
        "otimes_diverging",
        "#7f3b08",
        "#b35806",
        "#f1a340",
        "#fdd9a8",
        "#fafafa",
        "#b7d4ea",
        "#5b9bc9",
        "#1f66a5",
        "#053061",
    ),
    cycle=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"),
    positive="#2b72ad",
    negative="#d0730f",
    neutral="#9a9a9a",
)
DARK = Theme(
    paper="#14161a",
    ink="#eceef0",
    soft="#9aa0a8",
    faint="#3a3f47",
    missing="#1f2228",
    rising=_map("otimes_rising_dark", "#17191e", "#173753", "#20639b", "#4d9fd6", "#a9d5f2", "#f4fbff"),
    diverging=_map(
        "otimes_diverging_dark",
        "#ffd9a0",
        "#f3a64a",
        "#b8690f",
        "#5e3507",
        "#1b1d22",
        "#12395c",
        "#2372b0",
        "#6cb2e2",
        "#d3ebfb",
    ),
    cycle=("#56b4e9", "#e69f00", "#2fc795", "#e29bc4", "#f08a4b", "#f0e442", "#a0a0a0"),
    positive="#58a8e0",
    negative="#e59a3c",
    neutral="#7b818a",
)


def _parameters(theme: Theme) -> dict[str, Any]:
    return {
        "font.family": list(families()),
        "font.size": 8,
        "text.parse_math": False,
        "text.usetex": False,
        "text.color": theme.ink,
        "axes.titlesize": 8.5,
        "axes.titlelocation": "left",
        "axes.titlepad": 4,
        "axes.labelsize": 8,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.soft,
        "axes.facecolor": theme.paper,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=list(theme.cycle)),
        "axes.formatter.use_mathtext": False,
        "axes.formatter.limits": (-4, 5),
        "axes.unicode_minus": True,
        "figure.facecolor": theme.paper,
        "figure.edgecolor": theme.paper,
        "savefig.facecolor": "auto",
        "xtick.color": theme.soft,
        "ytick.color": theme.soft,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 7,
        "lines.linewidth": 1.2,
        "image.interpolation": "auto",
        "svg.hashsalt": "otimes",
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
        "figure.constrained_layout.h_pad": 0.04,
        "figure.constrained_layout.w_pad": 0.05,
    }


@contextmanager
def style(theme: Theme) -> Iterator[None]:
    """Matplotlib's settings for our pictures, whatever the caller's are, and the caller's again behind it.

    They are the process's own, so that one thread at a time has them: of two that overlap the second would
    keep the first one's as the caller's.
    """
    with one_at_a_time, matplotlib.rc_context():
        settings: Any = matplotlib.rcParams
        kept = ("backend", "webagg", "tk.")
        settings.update({k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(kept)})
        settings.update(_parameters(theme))
        yield


def ink_on(colour: Any) -> str:
    """Black or white, whichever can be read on this colour (relative luminance of WCAG 2)."""
    rgb = np.asarray(colour[:3], float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return "#ffffff" if float(linear @ (0.2126, 0.7152, 0.0722)) < 0.25 else "#111111"
