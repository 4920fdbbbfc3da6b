# SPDX-License-Identifier: MIT
"""``otimes heads`` beside the same quantities by TransformerLens and torch, in one run.

``run_heads.py --otimes build/otimes [--checkpoint FOLDER] [--threads N] [--repeat 3]``. Makes the
checkpoint when it is not there, times both programs with the same number of threads, and this
machine's SGEMM rate beside them, checks that they agree, and prints a markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import measure, measure_text

HERE = Path(__file__).parent
SINGULAR, RATIO = 5e-5, 1e-4  # float32 on the peer's side: relative to sigma_1, and absolute


def sgemm_rate(size: int = 2048) -> float:
    """Floating-point operations a second of a float32 matrix product, the best of five."""
    import numpy as np

    rng = np.random.default_rng(0)
    A = rng.standard_normal((size, size), dtype=np.float32)
    B = rng.standard_normal((size, size), dtype=np.float32)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        A @ B
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def set_threads(count: int) -> None:
    """For every BLAS that a child, or NumPy once it is imported, may use."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)


def run_otimes(
    program: str, checkpoint: Path, out: Path, threads: int, repeat: int
) -> dict[str, Any]:
    """The median run of several."""
    command = [
        program,
        "heads",
        str(checkpoint),
        "-o",
        str(out),
        "--threads",
        str(threads),
        "--quiet",
    ]
    runs = []
    for _ in range(repeat):
        out.unlink(missing_ok=True)
        runs.append(measure(command))
    middle = sorted(runs, key=lambda r: r["seconds"])[len(runs) // 2]
    return middle | {"all_seconds": [round(r["seconds"], 3) for r in runs]}


def run_peer(checkpoint: Path, save: Path, threads: int) -> dict[str, Any]:
    """One run of the peer; it reports its phases itself."""
    command = [
        sys.executable,
        str(HERE / "peer_heads.py"),
        str(checkpoint),
        "--threads",
        str(threads),
        "--save",
        str(save),
    ]
    result, report = measure_text(command)
    return result | {"report": json.loads(report.splitlines()[-1])}


def compare(ours: Path, theirs: Path) -> dict[str, float]:
    """The largest difference of each quantity: values relative to the circuit's largest singular
    value or norm, ratios as they are."""
    import h5py
    import numpy as np

    worst: dict[str, float] = {}
    peer = np.load(theirs)
    with h5py.File(ours) as file:
        for prefix in ("OV_", "QK_", "full_OV_", "full_QK_"):
            sigma = peer[prefix + "singular_values"]
            top = sigma[..., :1]

            def note(key: str, difference: np.ndarray, prefix: str = prefix) -> None:
                worst[prefix + key] = float(np.abs(difference).max())

            mine = file[prefix + "singular_values"][...]
            note("singular_values", (mine - sigma[..., : mine.shape[-1]]) / top)
            for key in ("norm", "trace"):
                note(key, (file[prefix + key][...] - peer[prefix + key]) / peer[prefix + "norm"])
            note(
                "effective_rank",
                file[prefix + "effective_rank"][...] / peer[prefix + "effective_rank"] - 1,
            )
            name = "copying" if prefix.endswith("OV_") else "positivity"
            note(name, file[prefix + name][...] - peer[prefix + "positivity"])
            mine = np.abs(
                file[prefix + "eigenvalues_real"][...] + 1j * file[prefix + "eigenvalues_imag"][...]
            )
            values = -np.sort(-np.abs(peer[prefix + "eigenvalues"]), axis=-1)
            note("eigenvalue_moduli", (mine - values[..., : mine.shape[-1]]) / top)
        for name in ("token_position", "position_token", "position_position"):
            norm = peer[f"QK_position_{name}"]
            worst[f"QK_position_{name}"] = float(
                np.abs(file[f"QK_position_{name}"][...] / norm - 1).max()
            )
    return worst


def check(worst: dict[str, float]) -> None:
    """Ends with the names of those that differ too much."""
    ratios = ("copying", "positivity", "effective_rank")
    bad = {k: v for k, v in worst.items() if not v <= (RATIO if k.endswith(ratios) else SINGULAR)}
    if bad:
        raise SystemExit(f"results differ: {bad}")


def table(ours: dict[str, Any], peer: dict[str, Any], rate: float, threads: int, heads: int) -> str:
    """What was measured, as markdown."""
    report = peer["report"]

    def line(title: str, mine: float, theirs: float, unit: str) -> str:
        return f"| {title} | {mine:.2f} {unit} | {theirs:.2f} {unit} | {theirs / mine:.1f} |"

    lines = [
        f"{heads} heads, {threads} thread(s), SGEMM of this machine {rate / 1e9:.0f} GFLOP/s",
        "",
        "| | otimes heads | TransformerLens, torch | ratio |",
        "|---|---|---|---|",
        line("wall time, whole process", ours["seconds"], peer["seconds"], "s"),
        line("without the peer's imports", ours["seconds"], report["total_seconds"], "s"),
        line("processor time", ours["cpu_seconds"], peer["cpu_seconds"], "s"),
    ]
    for key, title in (
        ("peak_bytes", "peak memory, mapped file pages included"),
        ("peak_anonymous_bytes", "peak anonymous memory (sampled)"),
    ):
        lines.append(line(title, ours[key] / 1e6, peer[key] / 1e6, "MB"))
    phases = ", ".join(f"{k} {v:.1f} s" for k, v in report["seconds"].items())
    lines += [
        "",
        f"Peer by phase: {phases}.",
        f"otimes, all runs: {ours['all_seconds']} s, median taken.",
    ]
    lines.append(f"Equivalent in SGEMM time: {ours['seconds'] * rate / 1e9:.0f} GFLOP.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otimes", default=os.environ.get("OTIMES", "build/otimes"))
    parser.add_argument(
        "--checkpoint", type=Path, default=Path(tempfile.gettempdir()) / "otimes-gpt2-small"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    if not (arguments.checkpoint / "config.json").is_file():
        subprocess.run(
            [sys.executable, str(HERE / "make_gpt2.py"), "small", str(arguments.checkpoint)],
            check=True,
        )
    config = json.loads((arguments.checkpoint / "config.json").read_text())
    with tempfile.TemporaryDirectory() as scratch:
        out, save = Path(scratch) / "heads.h5", Path(scratch) / "peer.npz"
        before = sgemm_rate()
        ours = run_otimes(
            arguments.otimes, arguments.checkpoint, out, arguments.threads, arguments.repeat
        )
        peer = run_peer(arguments.checkpoint, save, arguments.threads)
        rate = statistics.mean([before, sgemm_rate()])
        worst = compare(out, save)
    print(table(ours, peer, rate, arguments.threads, config["n_layer"] * config["n_head"]))
    print("\nLargest differences: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()) + ".")
    check(worst)


if __name__ == "__main__":
    main()
