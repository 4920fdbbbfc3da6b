# SPDX-License-Identifier: MIT
"""When do the bundled model's heads find each other? Reads what `otimes compare` writes of checkpoints.

    python plot_checkpoints.py results/checkpoints.h5 results/checkpoints.png
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import xarray


def main(path: str, picture: str) -> None:
    data = xarray.open_dataset(path, engine="h5netcdf")
    steps = [int(label) for label in data["model"].values]
    score = data.k_composition.sel(layer=0, later_layer=1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for head in score["head"].values:
        for later in score["later_head"].values:
            pair = score.sel(head=head, later_head=later)
            found = head == 2 and later < 2
            left.plot(steps, pair, "o-" if found else "-", color=f"C{later}" if found else "0.75",
                      label=f"L0H2 to L1H{later}" if found else None, zorder=2 if found else 1)
    left.axhline(data.attrs["k_composition_expected"], color="black", linestyle=":",
                 label="random subspaces")
    left.set(xscale="symlog", xlabel="training step", ylabel="K-composition score",
             title="The previous-token head and the induction heads")
    left.legend()
    for layer in data["layer"].values:
        for head in data["head"].values:
            right.plot(steps, data.QK_cosine_last.sel(layer=layer, head=head),
                       "-" if layer else "--", color=f"C{head}", label=f"L{layer}H{head}")
    right.set(xscale="symlog", xlabel="training step", ylabel="cosine with the last checkpoint",
              title="W_QK of every head")
    right.legend(ncols=2)
    for axes in (left, right):
        axes.set_xticks(steps, [str(step) for step in steps], rotation=60)
        axes.minorticks_off()
        axes.set_xlim(200, 8000)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
