# SPDX-License-Identifier: MIT
"""Tables over vocabulary by otimes beside bare matrix products, torch and NumPy, in one run.

``run_tables.py [--otimes build/otimes] [--bench build/tests/bench_table] [--parts
bigram,ov,llama,growth] [--threads 2] [--repeat 3] [--folder /tmp] [--json tables.json] [--quick]``.

bigram: the direct path of GPT-2's shape, top 20 of each row, with and without statistics of the
rows, on Gaussian and on trained-like embeddings (make_vocabulary.py). ov: the full OV circuit of
one head and of all heads, top 20; torch runs some of the heads and is scaled. llama: the shape of
Llama 3 8B's vocabulary in bfloat16; the bare product runs a share of the rows and is scaled.
growth: time over vocabulary, rank, entries kept and threads. otimes is timed as a whole process,
reading, hashing and HDF5 included; peers without start and loading. Runs alternate, medians are
taken; torch's entries are held against ours. Checkpoints are made in FOLDER where they are not
there (7 GB, and 4 GB of them once more while llama is checked); the whole takes about an hour.
plot_tables.py turns the JSON into tables and a picture; --quick is a smoke test.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from check_tables import check
from measure import measure, measure_text
from plot_tables import text
from run_heads import set_threads

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
TOP = ["--top", "20", "--bottom", "0"]
KINDS = ("gaussian", "trained")
BLOCKS = "64,256,1024"
TRIAL_ROWS = 2048
LONG = 5e12  # flops from which one run has to do
Result = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Of one whole run."""

    vocab: int  # of GPT-2
    layers: int
    heads: int  # of a layer
    head: str
    peer_heads: int  # of all heads, that torch runs
    llama: tuple[int, int]  # vocabulary and rank
    vocabs: tuple[int, ...]  # at rank
    ranks: tuple[int, ...]  # at base
    tops: tuple[int, ...]
    rank: int
    base: int
    product_flops: float  # of the rows that the bare product runs, where it is scaled


FULL = Sizes(
    vocab=50257,
    layers=12,
    heads=12,
    head="5.1",
    peer_heads=6,
    llama=(128256, 4096),
    vocabs=tuple(8192 << i for i in range(5)),
    ranks=tuple(32 << i for i in range(8)),
    tops=(1, 5, 10, 20, 50, 100),
    rank=768,
    base=32768,
    product_flops=4e11,
)
QUICK = Sizes(3000, 2, 12, "1.1", 2, (2048, 256), (512, 1024), (32,), (1,), 64, 1024, 1e9)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Bench:
    """Where things are, and how each side is run once."""

    def __init__(self, arguments: argparse.Namespace, scratch: Path) -> None:
        self.otimes, self.bench = str(arguments.otimes), str(arguments.bench)
        self.folder, self.scratch = arguments.folder, scratch
        self.threads, self.repeat = arguments.threads, arguments.repeat

    def checkpoint(self, name: str, script: str, *words: object) -> Path:
        """Where it is; made where it is not."""
        path = self.folder / f"otimes-tables-{name}"
        if not (path / "config.json").is_file():
            note(f"making {path}")
            fixed = [str(w) for w in words]
            at = fixed.index("FOLDER")
            fixed[at] = str(path)
            subprocess.run([sys.executable, str(HERE / script), *fixed], check=True)
        return path

    def vocabulary(self, vocab: int, rank: int, *words: str) -> Path:
        name = "-".join([str(vocab), str(rank), *(w.strip("-") for w in words)])
        size = ("--vocab", vocab, "--rank", rank)
        return self.checkpoint(name, "make_vocabulary.py", "FOLDER", *size, *words)

    def converted(self, path: Path) -> Path:
        """Its processed weights in float32, which peers read."""
        out = path / "processed.safetensors"
        if not out.is_file():
            subprocess.run([self.otimes, "convert", str(path), "-o", str(out), "-q"], check=True)
        return out

    def run(self, words: list[str], out: Path, threads: int) -> Result:
        out.unlink(missing_ok=True)
        line = [self.otimes, *words, "-o", str(out), "--threads", str(threads), "--quiet"]
        return measure(line)

    def bigram(self, path: Path, out: Path, threads: int, top: int = 20) -> Result:
        words = ["bigram", str(path), "--top", str(top), *TOP[2:], "--no-statistics"]
        return self.run(words, out, threads)

    def product(
        self, vocab: int, rank: int, threads: int, flops: float, tile: list[int] | None = None
    ) -> Result:
        """The bare product of as many rows as `flops` allows, scaled to all."""
        rows = min(vocab, max(1024, round(flops / (2 * vocab * rank))))
        line = [self.bench, "product", str(rows), str(vocab), str(rank), str(threads)]
        out = json.loads(self.output([*line, *(str(t) for t in tile or [])]))
        return out | {"seconds": out["seconds"] * vocab / rows, "share": rows / vocab}

    def peer(self, engine: str, weights: Path, words: list[str], blocks: str) -> Result:
        line = [sys.executable, str(HERE / "peer_tables.py"), engine, str(weights), *words]
        line += ["--threads", str(self.threads), "--blocks", blocks]
        result, report = measure_text(line)
        return json.loads(report.splitlines()[-1]) | {"process_seconds": result["seconds"]}

    def output(self, line: list[str]) -> str:
        return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout


def middle(runs: list[Result]) -> Result:
    """The median run, with the seconds of all."""
    chosen = sorted(runs, key=lambda r: r["seconds"])[len(runs) // 2]
    return chosen | {"all_seconds": [round(r["seconds"], 3) for r in runs]}


def alternate(sides: dict[str, Callable[[], Result]], repeat: int) -> dict[str, Result]:
    """Every side once a round, each round beginning with another one; medians."""
    runs: dict[str, list[Result]] = {name: [] for name in sides}
    names = list(sides)
    for i in range(repeat):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            runs[name].append(sides[name]())
            note(f"  {name}: {runs[name][-1]['seconds']:.3f} s")
    return {name: middle(r) for name, r in runs.items()}


def part_bigram(b: Bench, s: Sizes) -> Result:
    out: Result = {}
    for kind in KINDS:
        note(f"bigram, {kind}")
        words = ("small", "FOLDER", "--layers", 1, "--vocab", s.vocab, "--embedding", kind)
        path = b.checkpoint(f"gpt2-{s.vocab}-{kind}", "make_gpt2.py", *words)
        weights, found, save = b.converted(path), b.scratch / "found.h5", b.scratch / "peer.npz"
        tile = b.product(s.vocab, 768, b.threads, 0)["tile"]
        trial = ["--rows", str(TRIAL_ROWS)]
        sizes = {e: b.peer(e, weights, trial, BLOCKS)["block"] for e in ("torch", "numpy")}
        whole = ["bigram", str(path), *TOP]
        sides = {
            "otimes": lambda: b.bigram(path, found, b.threads),
            "statistics": lambda: b.run(whole, b.scratch / "whole.h5", b.threads),
            "product": lambda: b.product(s.vocab, 768, b.threads, 1e15, tile),
            "torch": lambda: b.peer("torch", weights, ["--save", str(save)], str(sizes["torch"])),
            "numpy": lambda: b.peer("numpy", weights, [], str(sizes["numpy"])),
        }
        result = alternate(sides, b.repeat)
        out[kind] = result | {"check": check(found, save, weights, "bigram", [""])}
    return out | {"vocab": s.vocab, "rank": 768}


def part_ov(b: Bench, s: Sizes) -> Result:
    note("ov")
    words = ("small", "FOLDER", "--layers", s.layers, "--vocab", s.vocab, "--embedding", "trained")
    path = b.checkpoint(f"gpt2-{s.vocab}-{s.layers}", "make_gpt2.py", *words)
    weights, found, save = b.converted(path), b.scratch / "found.h5", b.scratch / "peer.npz"
    tile = b.product(s.vocab, 64, b.threads, 0)["tile"]
    ov = ["--table", "ov", "--heads"]
    trial = [*ov, s.head, "--rows", str(TRIAL_ROWS)]
    block = str(b.peer("torch", weights, trial, BLOCKS)["block"])

    def circuit(head: str, out: Path) -> Result:
        line = ["circuit", str(path), "--head", head, "--which", "ov", *TOP]
        return b.run(line, out, b.threads)

    def peer(heads: list[str]) -> Result:
        words = [*ov, ",".join(heads), "--save", str(save)]
        return b.peer("torch", weights, words, block)

    one = alternate(
        {
            "otimes": lambda: circuit(s.head, found),
            "product": lambda: b.product(s.vocab, 64, b.threads, 1e15, tile),
            "torch": lambda: peer([s.head]),
        },
        b.repeat,
    )
    one["check"] = check(found, save, weights, "ov", [s.head])
    count = s.layers * s.heads
    some = [f"{i // s.heads}.{i % s.heads}" for i in range(0, count, count // s.peer_heads)]

    def scaled() -> Result:
        result = peer(some)
        times = count / len(some)
        return result | {"seconds": result["seconds"] * times, "share": 1 / times}

    found = b.scratch / "all.h5"
    every = alternate({"otimes": lambda: circuit("all", found), "torch": scaled}, 1)
    every["check"] = check(found, save, weights, "ov", some)
    found.unlink()
    return {"one": one, "all": every, "heads": count, "vocab": s.vocab, "rank": 64}


def part_llama(b: Bench, s: Sizes) -> Result:
    note("llama")
    vocab, rank = s.llama
    path = b.vocabulary(vocab, rank, "--untied", "--kind", "trained", "--dtype", "BF16")
    found, save = b.scratch / "found.h5", b.scratch / "peer.npz"
    product = [b.product(vocab, rank, b.threads, 3 * s.product_flops)]
    result = {"otimes": b.bigram(path, found, b.threads)}
    note(f"  otimes: {result['otimes']['seconds']:.1f} s")
    product.append(b.product(vocab, rank, b.threads, 3 * s.product_flops, product[0]["tile"]))
    weights = b.converted(path)
    b.peer("torch", weights, ["--rows", "64", "--save", str(save)], "64")
    result |= {"product": middle(product), "check": check(found, save, weights, "bigram", [""])}
    weights.unlink()
    return result | {"vocab": vocab, "rank": rank}


def point(b: Bench, s: Sizes, vocab: int, rank: int, top: int, threads: int) -> Result:
    note(f"{vocab} x {rank}, top {top}, {threads} thread(s)")
    path, found = b.vocabulary(vocab, rank), b.scratch / "found.h5"
    tile = b.product(vocab, rank, threads, 0)["tile"]
    sides = {
        "otimes": lambda: b.bigram(path, found, threads, top),
        "product": lambda: b.product(vocab, rank, threads, s.product_flops, tile),
    }
    long = 2 * vocab**2 * rank > LONG
    return alternate(sides, 1 if long else b.repeat)


def part_growth(b: Bench, s: Sizes) -> Result:
    points = [("vocab", v, s.rank, 20) for v in s.vocabs]
    points += [("rank", s.base, r, 20) for r in s.ranks]
    points += [("top", s.base, s.rank, k) for k in s.tops]
    measured: dict[tuple[int, ...], Result] = {}
    out = []
    for threads in sorted({1, b.threads}):
        for series, vocab, rank, top in points:
            key = (vocab, rank, top, threads)
            if key not in measured:
                measured[key] = point(b, s, *key)
            place = {"vocab": vocab, "rank": rank, "top": top, "threads": threads}
            out.append({"series": series} | place | measured[key])
    return {"points": out, "rank": s.rank, "base": s.base, "top": 20}


PARTS: dict[str, Callable[[Bench, Sizes], Result]] = {
    "bigram": part_bigram,
    "ov": part_ov,
    "llama": part_llama,
    "growth": part_growth,
}


def machine(b: Bench) -> Result:
    """Its name, and GB/s of its memory by threads."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    counts = [str(t) for t in sorted({1, b.threads})]
    rates = {t: json.loads(b.output([b.bench, "memory", t])) for t in counts}
    return {"cpu": cpu[0].split(":")[1].strip() if cpu else "", "memory": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otimes", type=Path, default=TREE / "build/otimes")
    parser.add_argument("--bench", type=Path, help="default: tests/bench_table beside otimes")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, help="default 3; with --quick 1")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", type=Path, help="parts that are there already and not run stay")
    parser.add_argument("--quick", action="store_true")
    a = parser.parse_args()
    unknown = set(a.parts.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"--parts: expected some of {','.join(PARTS)}, got {','.join(unknown)}")
    a.repeat = a.repeat or (1 if a.quick else 3)
    a.bench = a.bench or a.otimes.parent / "tests/bench_table"
    if not a.bench.is_file():
        subprocess.run(["ninja", "-C", str(a.otimes.parent), "tests/bench_table"], check=True)
    set_threads(a.threads)
    results: Result = json.loads(a.json.read_text()) if a.json and a.json.is_file() else {}
    with tempfile.TemporaryDirectory(dir=a.folder) as scratch:
        b = Bench(a, Path(scratch))
        results |= {"machine": machine(b), "threads": a.threads, "repeat": a.repeat}
        for part in a.parts.split(","):
            results[part] = PARTS[part](b, QUICK if a.quick else FULL)
            if a.json:
                a.json.write_text(json.dumps(results, indent=1) + "\n")
    print(text(results))


if __name__ == "__main__":
    main()
