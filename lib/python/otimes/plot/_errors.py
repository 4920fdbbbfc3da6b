# SPDX-License-Identifier: MIT
"""What goes wrong with a picture, in one line."""

from __future__ import annotations


class PlotError(ValueError):
    """A picture that cannot be drawn or written: what, where, expected, got, in one line."""
