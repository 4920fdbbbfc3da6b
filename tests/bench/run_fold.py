# SPDX-License-Identifier: MIT
"""Opening and folding a GPT-2-XL-shaped checkpoint beside transformers and TransformerLens.

``run_fold.py --otimes build/otimes [--shape xl] [--checkpoint FOLDER] [--threads 2] [--repeat 3]``.
Three commands take turns: ``otimes heads`` up to the norm of W_OV of head 0.0, ``otimes convert``,
which writes every folded weight to disk, and the peer's path to the same norm. Before each run the
checkpoint is read into the page cache. A run of the peer that is not timed comes first, and its
folded tensors are held against convert's. Prints a markdown table; ends with what differs, or falls
short of a tenth of the time and a quarter of the memory. XL takes 13 GB of disk, 20 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import measure, measure_text

HERE = Path(__file__).parent
TOLERANCE = 1e-5  # float32 on the peer's side: relative to a tensor's largest entry
TIMES, SHARE = 10, 4  # wanted: as many times less time, as many times less memory

Result = dict[str, Any]


def warm(checkpoint: Path) -> None:
    """Every page of the weights into the cache."""
    with (checkpoint / "model.safetensors").open("rb") as file:
        while file.read(1 << 24):
            pass


def first_number(program: list[str], model: str) -> Result:
    """`otimes heads` of head 0.0 in the stream."""
    head = ["--layers", "0", "--heads", "0", "--no-vocab", "--format", "tsv"]
    result, text = measure_text([program[0], "heads", model, *head, *program[1:]])
    rows = (line.split("\t") for line in text.splitlines())
    return result | {"OV_norm": next(float(row[-1]) for row in rows if row[0] == "OV_norm")}


def fold(program: list[str], model: str, out: Path) -> Result:
    """`otimes convert`; what an earlier run wrote is gone first."""
    out.unlink(missing_ok=True)
    return measure([program[0], "convert", model, "-o", str(out), *program[1:]])


def peer(checkpoint: str, threads: int, *more: str) -> Result:
    command = [sys.executable, str(HERE / "peer_fold.py"), checkpoint, "--threads", str(threads)]
    result, report = measure_text([*command, *more])
    return result | json.loads(report.splitlines()[-1])


def differences(ours: Path, theirs: Path) -> dict[str, float]:
    """The largest difference of each tensor that the peer saved (of some, the first rows or
    columns), relative to its largest entry."""
    import numpy as np
    from safetensors import safe_open

    worst: dict[str, float] = {}
    wanted = np.load(theirs)
    with safe_open(ours, framework="numpy") as file:
        for name in wanted:
            part = tuple(slice(size) for size in wanted[name].shape)
            mine = file.get_slice(name)[part]
            scale = np.abs(wanted[name]).max()
            worst[name] = float(np.abs(mine - wanted[name]).max() / scale)
    return worst


def middle(runs: list[Result]) -> Result:
    """The median by wall time, with the memory of the run that took most."""
    ranked = sorted(runs, key=lambda run: run["seconds"])
    peaks = {key: max(run[key] for run in runs) for key in ("peak_bytes", "peak_anonymous_bytes")}
    return ranked[len(ranked) // 2] | peaks


def table(runs: dict[str, list[Result]]) -> str:
    """What was measured, as markdown; each ratio is the peer's over ours."""
    one = {name: middle(results) for name, results in runs.items()}
    imports = one["peer"]["seconds_by_phase"]["import"]

    def line(title: str, value: Any, unit: str) -> str:
        n, f, p = (value(one[name]) for name in ("number", "fold", "peer"))
        return (
            f"| {title} | {n:.3g} {unit} | {f:.3g} {unit} | {p:.3g} {unit} | "
            f"{p / n:.0f} | {p / f:.1f} |"
        )

    n, f, p = (one[name]["seconds"] for name in ("number", "fold", "peer"))
    p -= imports
    lines = [
        "| | first number: heads | whole fold to disk: convert | peer | ratio | ratio |",
        "|---|---|---|---|---|---|",
        line("wall time, whole process", lambda r: r["seconds"], "s"),
        f"| without the peer's imports | {n:.3g} s | {f:.3g} s | {p:.3g} s | "
        f"{p / n:.0f} | {p / f:.1f} |",
        line("processor time", lambda r: r["cpu_seconds"], "s"),
        line("peak memory, mapped pages included", lambda r: r["peak_bytes"] / 1e6, "MB"),
        line("of it anonymous (sampled)", lambda r: r["peak_anonymous_bytes"] / 1e6, "MB"),
        "",
    ]
    for name, results in runs.items():
        lines.append(f"All runs, {name}: " + ", ".join(f"{r['seconds']:.2f} s" for r in results))
    phases = one["peer"]["seconds_by_phase"]
    lines.append("Peer by phase: " + ", ".join(f"{k} {v:.2f} s" for k, v in phases.items()))
    return "\n".join(lines)


def shortfalls(runs: dict[str, list[Result]]) -> list[str]:
    """Of the first number: a tenth of the time and a quarter of the memory are wanted."""
    ours, theirs = middle(runs["number"]), middle(runs["peer"])
    imports = theirs["seconds_by_phase"]["import"]
    out = []
    if ours["seconds"] * TIMES > theirs["seconds"] - imports:
        out.append(f"first number: expected {TIMES} times less time")
    for name in ("number", "fold"):
        if middle(runs[name])["peak_bytes"] * SHARE > theirs["peak_bytes"]:
            out.append(f"{name}: expected {SHARE} times less memory")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otimes", default=os.environ.get("OTIMES", "build/otimes"))
    parser.add_argument("--shape", default="xl", help="of make_gpt2.py (default: xl)")
    parser.add_argument("--checkpoint", type=Path, help="made when it is not there, and kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    checkpoint = arguments.checkpoint or (
        Path(tempfile.gettempdir()) / f"otimes-gpt2-{arguments.shape}"
    )
    if not (checkpoint / "config.json").is_file():
        maker = [sys.executable, str(HERE / "make_gpt2.py"), arguments.shape, str(checkpoint)]
        subprocess.run(maker, check=True)
    program = [arguments.otimes, "--quiet", "--threads", str(arguments.threads)]
    runs: dict[str, list[Result]] = {"number": [], "fold": [], "peer": []}
    scratch = Path(tempfile.mkdtemp(dir=checkpoint))  # a disk with room, not a small /tmp
    try:
        out, saved = scratch / "folded.safetensors", scratch / "peer.npz"
        peer(str(checkpoint), arguments.threads, "--save", str(saved))
        for _ in range(arguments.repeat):
            warm(checkpoint)
            runs["number"].append(first_number(program, str(checkpoint)))
            warm(checkpoint)
            runs["peer"].append(peer(str(checkpoint), arguments.threads))
            warm(checkpoint)
            runs["fold"].append(fold(program, str(checkpoint), out))
        worst = differences(out, saved)
    finally:
        shutil.rmtree(scratch)
    numbers = {name: runs[name][0]["OV_norm"] for name in ("number", "peer")}
    worst["OV_norm"] = abs(numbers["number"] / numbers["peer"] - 1)
    print(table(runs))
    print(f"First number: {numbers['number']:.9g}, the peer's {numbers['peer']:.9g}")
    print("Largest differences: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()) + ".")
    bad = [f"{k} differs by {v:.1e}" for k, v in worst.items() if not v <= TOLERANCE]
    if bad or shortfalls(runs):
        raise SystemExit("; ".join(bad + shortfalls(runs)))


if __name__ == "__main__":
    main()
