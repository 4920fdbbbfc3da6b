# SPDX-License-Identifier: MIT
"""``otimes compare`` beside the same measures by torch and SciPy, in one run.

``run_compare.py --otimes build/otimes [--checkpoint FOLDER] [--threads 2] [--pairs 24]``. Makes a
checkpoint of GPT-2 small's shape when it is not there; all pairs of its 144 heads, every measure,
weights as they are. The peer is timed on a sample of the pairs and scaled to all of them. Checks that
both agree on the sample, and prints a markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import measure, measure_text
from run_heads import set_threads

HERE = Path(__file__).parent
CLOSE = 2e-5  # float32 on the peer's side, on matrices of 768 by 768


def differences(ours: Path, theirs: Path) -> dict[str, float]:
    """The largest difference of each measure on the peer's pairs."""
    import h5py
    import numpy as np

    peer = np.load(theirs)
    i, j = peer["pairs"].T
    worst = {}
    with h5py.File(ours) as file:
        for name in peer.files:
            if name != "pairs":
                mine = file[name][0]
                heads = mine.shape[0] * mine.shape[1]
                gap = np.abs(mine.reshape(heads, heads)[i, j] - peer[name])
                worst[name] = float(gap.max())
    return worst


def run(arguments: argparse.Namespace, scratch: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    threads = str(arguments.threads)
    out, save = scratch / "compare.h5", scratch / "peer.npz"
    command = [arguments.otimes, "compare", str(arguments.checkpoint), "--raw", "-o", str(out)]
    ours = []
    for _ in range(arguments.repeat):
        out.unlink(missing_ok=True)
        ours.append(measure([*command, "--threads", threads, "--quiet"]))
    peer = [sys.executable, str(HERE / "peer_compare.py"), str(arguments.checkpoint)]
    options = ["--threads", threads, "--pairs", str(arguments.pairs), "--save", str(save)]
    result, report = measure_text([*peer, *options])
    worst = differences(out, save)
    middle = sorted(ours, key=lambda r: r["seconds"])[len(ours) // 2]
    return middle | {"worst": worst}, result | json.loads(report.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otimes", default=os.environ.get("OTIMES", "build/otimes"))
    parser.add_argument(
        "--checkpoint", type=Path, default=Path(tempfile.gettempdir()) / "otimes-gpt2-small"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=24)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    if not (arguments.checkpoint / "config.json").is_file():
        make = [sys.executable, str(HERE / "make_gpt2.py"), "small", str(arguments.checkpoint)]
        subprocess.run(make, check=True)
    with tempfile.TemporaryDirectory() as scratch:
        ours, peer = run(arguments, Path(scratch))
    seconds, share = peer["seconds"], peer["of"] / peer["pairs"]
    whole = seconds["once"] + share * (sum(seconds.values()) - seconds["once"])
    print(f"{peer['of']} pairs of heads, {arguments.threads} thread(s)\n")
    print("| | otimes compare | torch and SciPy on whole matrices | ratio |\n|---|---|---|---|")
    print(
        f"| wall time | {ours['seconds']:.1f} s | {whole:.0f} s"
        f" (from {peer['pairs']} pairs) | {whole / ours['seconds']:.0f} |"
    )
    print(f"| processor time | {ours['cpu_seconds']:.1f} s | | |")
    print(
        f"| peak anonymous memory (sampled) | {ours['peak_anonymous_bytes'] / 1e6:.0f} MB"
        f" | {peer['peak_anonymous_bytes'] / 1e6:.0f} MB | |"
    )
    phases = ", ".join(
        f"{k} {v / peer['pairs'] * 1e3:.0f} ms" for k, v in seconds.items() if k != "once"
    )
    print(f"\nThe peer by pair: {phases}; once {seconds['once']:.1f} s.")
    print("Largest differences: " + ", ".join(f"{k} {v:.1e}" for k, v in ours["worst"].items()))
    bad = {k: v for k, v in ours["worst"].items() if not v <= CLOSE}
    if bad:
        raise SystemExit(f"results differ: {bad}")


if __name__ == "__main__":
    main()
