# SPDX-License-Identifier: MIT
"""``otimes compose`` beside TransformerLens' all_composition_scores and beside SGEMM, in one run.

``run_compose.py [--otimes build/otimes] [--threads 2] [--folder /tmp] [--peer PYTHON] [--shapes
small,xl,llama] [--layers N] [--repeat 3]``. Checkpoints (make_gpt2.py small and xl, make_llama_8b.py)
are made in FOLDER where they are not there: 0.5, 6.2 and 2.7 GB. PYTHON is that of peer_compose.py's
environment; without it there is no peer. What is timed is the whole process. Prints a table for the
README and, with --json, everything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import measure, measure_text
from run_heads import set_threads, sgemm_rate

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
CLOSE = 1e-5  # of scores, float32 on the peer's side
MAKE = {
    "small": ["make_gpt2.py", "small"],
    "xl": ["make_gpt2.py", "xl"],
    "llama": ["make_llama_8b.py"],
}


def checkpoint(shape: str, folder: Path, layers: int | None) -> Path:
    """Where it is; made where it is not."""
    path = folder / (f"otimes-compose-{shape}" + (f"-{layers}" if layers else ""))
    if not (path / "config.json").is_file():
        script, *words = MAKE[shape]
        line = [sys.executable, str(HERE / script), *words, str(path)]
        subprocess.run(line + (["--layers", str(layers)] if layers else []), check=True)
    return path


def facts(path: Path) -> tuple[int, int, int]:
    """Heads, pairs of heads and d_model."""
    c = json.loads((path / "config.json").read_text())
    layers = c.get("n_layer") or c["num_hidden_layers"]
    heads = c.get("n_head") or c["num_attention_heads"]
    pairs = layers * (layers - 1) // 2 * heads**2
    return layers * heads, pairs, c.get("n_embd") or c["hidden_size"]


def timed(arguments: argparse.Namespace, path: Path, repeat: int) -> dict[str, Any]:
    """The median run of several, with the rate of SGEMM before and after."""
    line = [arguments.otimes, "compose", str(path), "--format", "null", "--quiet"]
    line += ["--threads", str(arguments.threads)]
    rates = [sgemm_rate(4096)]
    runs = [measure(line) for _ in range(repeat)]
    rates.append(sgemm_rate(4096))
    middle = sorted(runs, key=lambda r: r["seconds"])[len(runs) // 2]
    heads, pairs, d_model = facts(path)
    flops = 3.0 * pairs * d_model**2  # a pair and circuit: half of two symmetric matrices, 2 flops
    sgemm = flops / statistics.mean(rates)
    more = {"all_seconds": [r["seconds"] for r in runs], "sgemm_rates": rates, "heads": heads}
    more |= {"pairs": pairs, "gram_flops": flops, "sgemm_seconds": sgemm}
    return middle | more


def run_peer(arguments: argparse.Namespace, path: Path, scratch: Path) -> dict[str, Any]:
    """One run of the peer, and how far its scores are from ours."""
    import h5py
    import numpy as np

    ours, theirs = scratch / "compose.h5", scratch / "peer.npz"
    line = [arguments.peer, str(HERE / "peer_compose.py"), str(path), "--save", str(theirs)]
    result, text = measure_text([*line, "--threads", str(arguments.threads)])
    subprocess.run([arguments.otimes, "compose", str(path), "-q", "-o", str(ours)], check=True)
    worst = 0.0
    with h5py.File(ours) as file, np.load(theirs) as peer:
        score = file["score"][...]
        for i, mode in enumerate("QKV"):
            gap = np.where(np.isnan(score[:, :, i]), 0, score[:, :, i]) - peer[mode]
            worst = max(worst, float(np.abs(gap).max()))
    return result | json.loads(text.splitlines()[-1]) | {"difference": worst}


def row(shape: str, r: dict[str, Any]) -> str:
    ratio = r["seconds"] / r["sgemm_seconds"]
    return (
        f"| {shape}: {r['heads']} heads, {r['pairs']} pairs | {r['seconds']:.2f} s | "
        f"{r['peak_anonymous_bytes'] / 1e6:.0f} MB | {r['peak_bytes'] / 1e6:.0f} MB | "
        f"{r['gram_flops'] / 1e12:.2f} TFlop, {r['sgemm_seconds']:.2f} s | {ratio:.2f} |"
    )


def beside(ours: dict[str, Any], peer: dict[str, Any]) -> str:
    modes = sum(peer["seconds"][mode] for mode in "QKV")
    return (
        f"TransformerLens' all_composition_scores: {modes:.1f} s for the three modes, without "
        f"import, loading and processing ({peer['seconds']['load and process']:.1f} s), at a peak "
        f"of {peer['peak_bytes'] / 1e9:.1f} GB. Ratio {modes / ours['seconds']:.0f}. Scores differ "
        f"by at most {peer['difference']:.1e}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otimes", default=str(TREE / "build/otimes"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--peer", help="the Python of an environment with TransformerLens 2.16.1")
    parser.add_argument("--shapes", default="small,xl,llama")
    parser.add_argument("--layers", type=int, help="only the first so many")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    results: dict[str, Any] = {}
    lines = [
        f"| {arguments.threads} threads | wall time | beside the weights | with their pages | "
        "SGEMM for the Grams | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for shape in arguments.shapes.split(","):
        path = checkpoint(shape, arguments.folder, arguments.layers)
        results[shape] = timed(arguments, path, arguments.repeat if shape == "small" else 1)
        lines.append(row(shape, results[shape]))
        print(lines[-1], file=sys.stderr, flush=True)
        if shape == "small" and arguments.peer:
            with tempfile.TemporaryDirectory() as scratch:
                results["peer"] = run_peer(arguments, path, Path(scratch))
    if "peer" in results:
        lines += ["", beside(results["small"], results["peer"])]
    print("\n".join(lines))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    if results.get("peer", {}).get("difference", 0) > CLOSE:
        raise SystemExit("results differ")


if __name__ == "__main__":
    main()
