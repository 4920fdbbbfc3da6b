# SPDX-License-Identifier: MIT
"""``otimes neurons`` beside torch and beside bare matrix products, in one run.

``run_neurons.py --otimes build/otimes [--checkpoint FOLDER] [--threads N] [--layers N]
[--repeat 3]``. Makes the checkpoint when it is not there (GPT-2 small's shape). torch does what one
writes by hand: products by blocks of neurons, moments, topk at both ends; it also times the products
alone. Raw weights on both sides; checks that they agree, and prints a markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import measure, measure_text

HERE = Path(__file__).parent
TOP, BLOCK = 5, 512
VARIANTS = {
    "w_out W_U": ["--no-reads", "--composition=none"],
    "and W_E w_in": ["--composition=none"],
    "and heads": [],
}


def peer(checkpoint: Path, layers: int, save: Path) -> dict[str, float]:
    """The same in torch: seconds of the products alone, of all for w_out, of all for both."""
    import numpy as np
    import torch
    from safetensors.torch import load_file

    torch.set_grad_enabled(False)
    files = load_file(checkpoint / "model.safetensors")
    t = {k.removeprefix("transformer."): v for k, v in files.items()}
    W_U = t["wte.weight"].T
    seconds = {"product": 0.0, "w_out W_U": 0.0, "and W_E w_in": 0.0}
    kept: dict[str, list[torch.Tensor]] = {"kurtosis": [], "skew": [], "top": []}

    def statistics(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = x - x.mean(dim=1, keepdim=True)
        m2 = (y**2).mean(dim=1)
        top, bottom = (x.topk(TOP, dim=1, largest=end).values for end in (True, False))
        return (y**3).mean(dim=1) / m2**1.5, (y**4).mean(dim=1) / m2**2 - 3, top, bottom

    for layer in range(layers):
        rows = {
            "w_out W_U": t[f"h.{layer}.mlp.c_proj.weight"],
            "and W_E w_in": t[f"h.{layer}.mlp.c_fc.weight"].T.contiguous(),
        }
        for side, w in rows.items():
            for at in range(0, len(w), BLOCK):
                start = time.perf_counter()
                x = w[at : at + BLOCK] @ W_U
                middle = time.perf_counter()
                skew, kurtosis, top, _ = statistics(x)
                seconds[side] += time.perf_counter() - start
                if side == "w_out W_U":
                    seconds["product"] += middle - start
                    for key, value in (("kurtosis", kurtosis), ("skew", skew), ("top", top)):
                        kept[key].append(value)
    seconds["and W_E w_in"] += seconds["w_out W_U"]
    np.savez(save, **{k: torch.cat(v).numpy() for k, v in kept.items()})
    return seconds


def compare(ours: Path, theirs: Path) -> None:
    """float32 products on both sides, moments in float32 there: 1e-3 of those, 1e-5 of entries."""
    import h5py
    import numpy as np

    want = np.load(theirs)
    with h5py.File(ours) as file:
        count = len(want["kurtosis"])
        for name, key, close in (
            ("out_kurtosis", "kurtosis", 1e-3),
            ("out_skew", "skew", 1e-3),
            ("out_top_value", "top", 1e-5),
        ):
            got = file[name][...].reshape(count, -1)
            gap = np.abs(got - want[key].reshape(count, -1))
            worst = float((gap / (1 + np.abs(got))).max())
            print(f"largest difference of {name}: {worst:.2g}", file=sys.stderr)
            if not worst <= close:
                raise SystemExit(f"results differ: {name}, {worst}")


def run(program: str, arguments: list[str], repeat: int) -> dict[str, Any]:
    """The median run of several."""
    runs = [measure([program, "neurons", *arguments, "--quiet"]) for _ in range(repeat)]
    return sorted(runs, key=lambda r: r["seconds"])[len(runs) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otimes", default=os.environ.get("OTIMES", "build/otimes"))
    parser.add_argument(
        "--checkpoint", type=Path, default=Path(tempfile.gettempdir()) / "otimes-gpt2-small"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=12, help="only the first so many")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(a.threads)
    if a.peer:
        print(json.dumps(peer(a.checkpoint, a.layers, a.peer)))
        return
    if not (a.checkpoint / "config.json").is_file():
        command = [sys.executable, str(HERE / "make_gpt2.py"), "small", str(a.checkpoint)]
        subprocess.run(command, check=True)
    with tempfile.TemporaryDirectory() as folder:
        out, save = Path(folder) / "ours.h5", Path(folder) / "theirs.npz"
        common = [str(a.checkpoint), "--raw", "--threads", str(a.threads)]
        common += ["--layers", f"0-{a.layers - 1}"]
        ours = {
            k: run(a.otimes, [*common, *v, "--format", "null"], a.repeat)
            for k, v in VARIANTS.items()
        }
        command = [sys.executable, __file__, "--peer", str(save), "--checkpoint", str(a.checkpoint)]
        command += ["--threads", str(a.threads), "--layers", str(a.layers)]
        result, text = measure_text(command)
        theirs = json.loads(text.splitlines()[-1])
        command = [a.otimes, "neurons", *common, *VARIANTS["w_out W_U"], "-o", str(out), "-q"]
        subprocess.run(command, check=True)
        compare(out, save)
    product = theirs["product"]
    print(f"{a.layers} layers of 3072 neurons, {a.threads} thread(s)")
    print(f"the product w_out W_U alone, by torch: {product:.1f} s\n")
    print("| | otimes neurons | torch | ratio | over the product alone |")
    print("|---|---|---|---|---|")
    for key, mine in ours.items():
        seconds = mine["seconds"]
        beside = f"{theirs[key]:.1f} s | {theirs[key] / seconds:.1f}" if key in theirs else "- | -"
        print(f"| {key} | {seconds:.1f} s | {beside} | {seconds / product:.2f} |")
    memory = [r["peak_anonymous_bytes"] / 1e6 for r in (ours["and heads"], result)]
    print(f"\nPeak anonymous memory: {memory[0]:.0f} MB, torch {memory[1]:.0f} MB.")


if __name__ == "__main__":
    main()
