# SPDX-License-Identifier: MIT
"""The standard picture of every result of otimes.

    import xarray, otimes.plot
    heads = xarray.open_dataset("heads.h5", engine="h5netcdf")
    otimes.plot.draw(heads)                            # a matplotlib Figure
    otimes.plot.draw(heads, "eigenvalues", layer=1)
    otimes.plot.save(heads, "heads.svg", what="spectra")
    otimes.plot.kinds(heads)                           # which pictures it has, the standard one first

Needs NumPy, xarray, h5netcdf and Matplotlib, and nothing of the library.
"""

from __future__ import annotations

from otimes.plot._api import close, draw, kinds, save
from otimes.plot._data import open_result
from otimes.plot._errors import PlotError
from otimes.plot._registry import Kind, all_kinds

__all__ = ["Kind", "PlotError", "all_kinds", "close", "draw", "kinds", "open_result", "save"]
