# SPDX-License-Identifier: MIT
"""Order totals, flows and the largest paths, in units of a frozen pass, beside PyTorch.

``run_paths.py [--gpt2 CHECKPOINT] [--threads 2] [--count 1000] [--seconds 60]``. bench_paths runs on
a seeded GPT-2-small-shaped checkpoint (make_gpt2.py) with 256 random tokens, and on the trained
models that are there with a text of theirs; peer_paths.py on the first alone, with SECONDS to list
paths in. Both sides print the target's value and the totals of each order, which must agree; the
ratios are of times of this one run. Prints a table for the README and, with --json, everything.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
STORY = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the "
         "park. One day, she saw a big red ball. Lily wanted to play with the ball. ")
SORTED = "A sorted list is easy to search, and a sorted list is easy to merge. "
TRAINED = (("bundled induction-2l", TREE / "notebooks-data/induction-2l", SORTED),
           ("stories260K", TREE / "../shared/weights/stories260K/tinyllamas-stories-260k-f32.gguf", STORY),
           ("tinystories656k", TREE / "../shared/weights/tinystories656k", STORY))


def last_line(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def ids_of_text(otimes: str, model: Path, text: str, into: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tokens.h5"
        subprocess.run([otimes, "tokens", str(model), "--text", text, "-o", str(out)], check=True,
                       stdout=subprocess.DEVNULL)
        with h5py.File(out) as file:
            ids = file["id"][...].ravel()
    into.write_text(" ".join(str(i) for i in ids if i >= 0))


def report(name: str, b: dict[str, Any]) -> str:
    exact = "exact" if b["complete"] else f"no unlisted path above {b['bound']:.3g}"
    return (f"| {name}, {b['tokens']} tokens | {b['frozen_pass'] * 1e3:.1f} ms | "
            f"{b['orders_in_passes']:.1f} | {b['flows_in_passes']:.1f} | "
            f"{b['search_in_passes']:.1f} | {b['paths']} of {b['of_paths']:.3g}: {exact}, "
            f"{b['expanded']} chains expanded; largest {b['largest']:.3g}, last "
            f"{b['smallest_listed']:.3g} |")


def compare(b: dict[str, Any], peer: dict[str, Any], seconds: float) -> list[str]:
    listed, rate = peer["paths"], peer["paths"]["paths"] / peer["paths"]["seconds"]
    gap = max(abs(x - y) for x, y in zip(b["order_totals"], peer["orders"]["totals"]))
    counts = listed["counts"]
    return [
        f"Beside PyTorch: the value differs by {abs(b['value'] - peer['value']):.1e}, order totals "
        f"by at most {gap:.1e}, of {peer['value']:.4g}.",
        f"Listing paths one by one, PyTorch finished orders 0 to {len(counts) - 1} "
        f"({sum(counts)} paths) within {seconds:.0f} s, at {rate:.0f} paths a second; all "
        f"{b['of_paths']:.3g} would take {b['of_paths'] / rate / 31557600:.3g} years, the search "
        f"took {b['search']:.3g} s.",
        f"Order totals with a stream each: {peer['orders']['seconds']:.3g} s against "
        f"{b['orders']:.3g} s ({peer['orders']['seconds'] / b['orders']:.2f}x). Head edges by values "
        f"alone: {peer['edges']['seconds']:.3g} s against {b['flows']:.3g} s of queries, keys and "
        f"values ({peer['edges']['seconds'] / b['flows']:.2f}x).",
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bench", default=str(TREE / "build/tests/bench_paths"))
    parser.add_argument("--otimes", default=str(TREE / "build/otimes"))
    parser.add_argument("--gpt2", help="a checkpoint of make_gpt2.py")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    lines = ["| model, text | frozen pass | order totals, passes | flows, passes | "
             f"{args.count} largest paths, passes | of them |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        ids = Path(folder) / "ids"

        def bench(name: str, model: Path) -> None:
            results[name] = last_line([args.bench, str(model), str(ids), str(args.count),
                                       str(args.threads)])
            lines.append(report(name, results[name]))
            print(lines[-1], file=sys.stderr, flush=True)

        if args.gpt2:
            draw = random.Random(3)
            ids.write_text(" ".join(str(draw.randrange(50257)) for _ in range(256)))
            bench("GPT-2-small shape, random", Path(args.gpt2))
            results["peer"] = last_line([sys.executable, str(HERE / "peer_paths.py"), args.gpt2,
                                         str(ids), str(args.seconds), str(args.threads)])
        for name, home, text in TRAINED:
            if home.exists():
                ids_of_text(args.otimes, home, text, ids)
                bench(name, home)
    if "peer" in results:
        lines += ["", *compare(results["GPT-2-small shape, random"], results["peer"],
                               args.seconds)]
    print("\n".join(lines))
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
