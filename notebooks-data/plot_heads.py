# SPDX-License-Identifier: MIT
"""The README's picture: eigenvalues of every head's full OV circuit, from the HDF5 of `otimes heads`.

    otimes heads notebooks-data/induction-2l -o heads.h5
    python notebooks-data/plot_heads.py heads.h5 heads.png      (xarray, h5netcdf, matplotlib)
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import xarray as xr


def main(source: str, target: str) -> None:
    heads = xr.open_dataset(source, engine="h5netcdf")
    layers, columns = heads.sizes["layer"], heads.sizes["head"]
    figure, axes = plt.subplots(
        layers, columns, figsize=(2.6 * columns, 2.9 * layers), layout="constrained", squeeze=False
    )
    for layer in heads["layer"].values:
        for head in heads["head"].values:
            one = heads.sel(layer=layer, head=head)
            reach = abs(one.full_OV_eigenvalues_real + 1j * one.full_OV_eigenvalues_imag).max()
            score = float(one.full_OV_copying)
            ax = axes[int(layer)][int(head)]
            ax.axhline(0, color="0.85", lw=0.8, zorder=0)
            ax.axvline(0, color="0.85", lw=0.8, zorder=0)
            ax.scatter(
                one.full_OV_eigenvalues_real / reach,
                one.full_OV_eigenvalues_imag / reach,
                c=[score] * one.sizes["component"],
                cmap="coolwarm",
                vmin=-1,
                vmax=1,
                s=22,
                edgecolors="0.3",
                linewidths=0.4,
            )
            ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[], yticks=[])
            ax.set_title(f"L{layer}H{head}   copying {score:+.2f}", fontsize=10)
    figure.suptitle(
        "Eigenvalues of $W_E W_V W_O W_U$, each head scaled to its largest "
        "(right of centre: tokens raise themselves)",
        fontsize=11,
    )
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:3])
