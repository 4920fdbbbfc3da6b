# SPDX-License-Identifier: MIT
"""The forward pass and what is read from it, beside Hugging Face transformers and TransformerLens,
in one run: the same seeded random ids, the same threads, float32.

``run_forward.py [--bench build/tests/bench_forward] [--hooked PYTHON] [--threads 2] ...``. Every
measurement is a process of its own, peer_forward.py or bench_forward; each prints one line of JSON
(its last), by this call:

    bench_forward CHECKPOINT TOKENS WHAT THREADS REPEATS SAVE

TOKENS has {"tokens": [...]} a line. WHAT, after the default processing of weights:

- ``logits``, also ``activations``: with all patterns and residuals kept;
- ``attribution``: of all heads and all neurons to logit 1000 less logit 2000, at every position;
- ``ablation``: the change of mean loss without each head in turn.

The line: "seconds" with the weights in memory, the median of "all_seconds"; "peak_extra_bytes", by
how much memory rose above weights and inputs; "value" and "checks", numbers of the same names as
the peers print. SAVE gets the values that are compared, float32, all of text 0 at its last position
where nothing else is said:

- logits: of every text's last position, less their mean over the vocabulary, [texts, d_vocab];
- activations: the residual before block 6, less its mean, over its norm; the pattern of head 5.3;
- attribution: heads by layer, then neurons by layer;
- ablation: the changes by layer and head, over the one text.

Sides whose program or environment is not there are left out. TransformerLens 2 needs an environment
of its own, --hooked names its interpreter: transformer_lens==2.16.1, transformers<5, datasets<4,
numpy>=2.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import measure_text
from run_heads import set_threads

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
SHAPES = ((8, 256), (1, 1024))
VOCAB = 50257
# What is measured: the sides, and what each is asked for. The first that runs is the reference.
LENS = ("hooked", "bridge")
CASES = {
    "logits": [(side, "logits") for side in ("hf-eager", "hf-sdpa", *LENS)],
    "activations": [(side, "activations") for side in ("hf-eager", *LENS)],
    "attribution": [(s, w) for w in ("attribution", "attribution-direct") for s in LENS],
    "ablation": [(side, "ablation") for side in LENS],
}
TITLES = {
    "logits": "logits",
    "activations": "logits, patterns, residuals",
    "attribution": "attribution of heads and neurons",
    "ablation": "loss without each head in turn",
}
NAMES = {
    "otimes": "otimes",
    "hf-eager": "transformers, eager",
    "hf-sdpa": "transformers, sdpa",
    "hooked": "HookedTransformer",
    "bridge": "TransformerBridge",
}
# Float32 through twelve layers, 1e-6 a layer, of the largest value (of the loss where it changes).
TOLERANCE = 2e-5
Row = dict[str, Any]


def write_tokens(path: Path, ids: np.ndarray) -> None:
    path.write_text("".join(json.dumps({"tokens": row}) + "\n" for row in ids.tolist()))


def make_tokens(folder: Path, seed: int) -> dict[str, Path]:
    """A file for every shape; ablation has the first text of the first."""
    rng = np.random.default_rng(seed)
    out = {}
    for texts, length in SHAPES:
        ids = rng.integers(0, VOCAB, (texts, length))
        for count in {texts, 1}:
            name = f"{count}x{length}"
            out[name] = folder / f"{name}.jsonl"
            write_tokens(out[name], ids[:count])
    return out


def forward_flops(shape: str, config: dict[str, int]) -> float:
    """Of the products: whole squares of scores, as the peers make them."""
    texts, length = map(int, shape.split("x"))
    d, rows = config["n_embd"], texts * length
    layer = 2 * rows * 12 * d * d + 4 * texts * length * length * d
    return config["n_layer"] * layer + 2 * rows * d * config["vocab_size"]


def command(side: str, what: str, tokens: Path, save: Path, a: argparse.Namespace) -> list[str]:
    repeat = str(a.repeat if what in ("logits", "activations", "attribution-direct") else 1)
    if side == "otimes":
        return [*map(str, (a.bench, a.checkpoint, tokens, what, a.threads, repeat, save))]
    line = [a.hooked if side == "hooked" else sys.executable, str(HERE / "peer_forward.py")]
    line += [side, what, str(a.checkpoint), str(tokens), "--save", str(save)]
    line += ["--threads", str(a.threads), "--repeat", repeat, "--positions", str(a.positions)]
    return line


def run_side(side: str, what: str, tokens: Path, save: Path, a: argparse.Namespace) -> Row:
    """One process; "whole_seconds" is what it had taken with one repeat."""
    result, text = measure_text(command(side, what, tokens, save, a))
    report = json.loads(text.splitlines()[-1])
    every = report.get("all_seconds", [report["seconds"]])
    whole = result["seconds"] - sum(every) + report.get("once_seconds", every[0])
    return report | {
        "side": side,
        "what": what,
        "whole_seconds": whole,
        "cpu_seconds": result["cpu_seconds"],
        "process_peak_bytes": result["peak_bytes"],
        "process_anonymous_bytes": result["peak_anonymous_bytes"],
        "saved": np.fromfile(save, "<f4"),
    }


def present(side: str, a: argparse.Namespace) -> bool:
    if side == "otimes":
        return a.bench.is_file()
    return side != "hooked" or bool(a.hooked)


def run_case(case: str, shape: str, tokens: Path, a: argparse.Namespace) -> list[Row]:
    """All sides that are there, otimes last. Each is told of, and kept, as soon as it is done."""
    rows = []
    for side, what in [*CASES[case], ("otimes", case)]:
        if present(side, a):
            with tempfile.NamedTemporaryFile() as save:
                row = run_side(side, what, tokens, Path(save.name), a)
            rows.append(row | {"case": case, "shape": shape})
            if a.json:
                kept = {k: v for k, v in rows[-1].items() if k != "saved"}
                with a.json.open("a") as file:
                    file.write(json.dumps(kept | {"load": os.getloadavg()[0]}) + "\n")
            print(f"{case} {shape} {side} {what}: {row['seconds']:.3f} s", file=sys.stderr)
    return rows


def difference(row: Row, first: Row) -> float:
    """The largest, of values and of what was printed, by the scale that TOLERANCE is for."""
    mine, theirs = row["saved"], first["saved"]
    if mine.shape != theirs.shape:
        return float("inf")
    scale = first["checks"]["loss"] if row["case"] == "ablation" else np.abs(theirs).max()
    worst = np.abs(mine - theirs).max() / scale
    for key in first["checks"].keys() & row.get("checks", {}).keys():
        here, there = row["checks"][key], first["checks"][key]
        floor = scale * mine.size if key.endswith("_sum") else max(scale, abs(there))
        worst = np.maximum(worst, abs(here - there) / floor)  # a NaN stays
    return float(worst)


def differences(rows: list[Row]) -> tuple[list[str], bool]:
    """Each side against the first of its case, for the reader; and whether all agree."""
    first: dict[tuple[str, str], Row] = {}
    lines, agree = [], True
    for row in rows:
        title = f"{row['case']} {row['shape']}"
        there = first.setdefault(title, row)
        if there is row:
            continue
        worst = difference(row, there)
        agree = agree and worst <= TOLERANCE
        sides = f"{row['side']} {row['what']} and {there['side']}"
        lines.append(f"{title}, {sides}: {worst:.1e} over {row['saved'].size} values.")
    return lines, agree


def table(rows: list[Row], rates: dict[str, float], config: dict[str, int]) -> str:
    """What was measured, as markdown. Ratios to otimes, or to the fastest where it is not there."""
    lines = [
        "| | | seconds | GFLOP/s (of SGEMM) | extra memory | whole process | its peak, anonymous"
        " | times otimes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        group = [r for r in rows if (r["case"], r["shape"]) == (row["case"], row["shape"])]
        ours = [r["seconds"] for r in group if r["side"] == "otimes"]
        base = ours[0] if ours else min(r["seconds"] for r in group)
        rate = ""
        if row["case"] in ("logits", "activations"):
            each = forward_flops(row["shape"], config) / row["seconds"] / 1e9
            rate = f"{each:.0f} ({100 * each / rates[row['shape']]:.0f} %)"
        about = "about " if row.get("positions_run", 0) < row.get("positions", 0) else ""
        name = NAMES[row["side"]] + (", by hand" if row["what"].endswith("-direct") else "")
        cells = [
            f"{TITLES[row['case']]}, {row['shape'].replace('x', ' x ')}",
            name,
            f"{about}{row['seconds']:.3f}",
            rate,
            f"{row['peak_extra_bytes'] / 1e6:.0f} MB",
            f"{about}{row['whole_seconds']:.1f} s",
            f"{row['process_peak_bytes'] / 1e6:.0f}, {row['process_anonymous_bytes'] / 1e6:.0f} MB",
            f"{row['seconds'] / base:.1f}" + ("" if ours else " (of the fastest)"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def notes(rows: list[Row]) -> list[str]:
    """What the table has no column for."""
    lines = []
    for row in rows:
        title = f"{row['case']} {row['shape']}, {NAMES[row['side']]}"
        if "phases" in row:
            parts = ", ".join(f"{k} {v:.2f} s" for k, v in row["phases"].items())
            lines.append(
                f"{title}: {parts}; {row['positions_run']} of {row['positions']} positions run."
                f" Heads alone {row['heads_seconds']:.2f} s,"
                f" {row['heads_peak_extra_bytes'] / 1e6:.0f} MB."
            )
        if "forward_seconds" in row:
            count = row["saved"].size
            plain = count * row["forward_seconds"]
            lines.append(f"{title}: {count} plain forward passes take {plain:.1f} s.")
        if "kept_bytes" in row:
            lines.append(f"{title}: {row['kept_bytes'] / 1e6:.0f} MB of activations kept.")
    return lines


def sgemm(shape: str, a: argparse.Namespace) -> float:
    """GFLOP/s of the products of one forward pass of this shape."""
    line = [str(a.sgemm), *shape.split("x"), str(a.threads), str(a.repeat)]
    return json.loads(subprocess.run(line, stdout=subprocess.PIPE, check=True).stdout)["gflops"]


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "processor unknown"


def parse() -> argparse.Namespace:
    build = TREE / "build" / "tests"
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bench", type=Path, default=build / "bench_forward")
    parser.add_argument("--sgemm", type=Path, default=build / "bench_sgemm")
    parser.add_argument("--hooked", help="the interpreter that has TransformerLens 2")
    parser.add_argument(
        "--checkpoint", type=Path, default=Path(tempfile.gettempdir()) / "otimes-gpt2-small"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--positions", type=int, default=8, help="of attribution, 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", choices=CASES, action="append", help="only these")
    parser.add_argument("--json", type=Path, help="gets every measurement, a line each")
    arguments = parser.parse_args()
    if arguments.repeat < 1 or arguments.threads < 1 or arguments.positions < 0:
        parser.error("--repeat and --threads are 1 or more, --positions 0 or more")
    return arguments


def main() -> None:
    a = parse()
    set_threads(a.threads)
    if not (a.checkpoint / "config.json").is_file():
        make = [sys.executable, str(HERE / "make_gpt2.py"), "small", str(a.checkpoint)]
        subprocess.run(make, check=True)
    config = json.loads((a.checkpoint / "config.json").read_text())
    shapes = [f"{texts}x{length}" for texts, length in SHAPES]
    load = [os.getloadavg()]
    rates = {shape: [sgemm(shape, a)] for shape in shapes}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        tokens = make_tokens(Path(scratch), a.seed)
        for case in a.case or CASES:
            for shape in [f"1x{SHAPES[0][1]}"] if case == "ablation" else shapes:
                rows += run_case(case, shape, tokens[shape], a)
    for shape in shapes:
        rates[shape].append(sgemm(shape, a))
    load.append(os.getloadavg())
    mean = {shape: statistics.mean(both) for shape, both in rates.items()}
    print(f"{processor()}, {a.threads} thread(s), medians of {a.repeat}.")
    print(f"Load of the machine {load[0][0]:.2f} before, {load[1][0]:.2f} after.")
    print("SGEMM of the same products, before and after, GFLOP/s: ", end="")
    print("; ".join(f"{s} {b[0]:.0f}, {b[1]:.0f}" for s, b in rates.items()) + ".")
    libraries = {NAMES[r["side"]]: r["library"] for r in rows if "library" in r}
    print("; ".join(f"{side}: {library}" for side, library in libraries.items()) + ".\n")
    print(table(rows, mean, config) + "\n")
    lines, agree = differences(rows)
    print("\n".join([*notes(rows), "", "Largest differences, of the largest value:", *lines]))
    if not agree:
        raise SystemExit(f"results differ by more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
