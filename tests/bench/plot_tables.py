# SPDX-License-Identifier: MIT
"""What run_tables.py measured as markdown and as a picture.

``plot_tables.py tables.json [--picture tables.png] [--readme tests/bench/README.md]``; tables and picture stand
between two marks of the README.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

Result = dict[str, Any]
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
SIDES = {
    "otimes": "otimes bigram",
    "statistics": "and statistics of the rows",
    "product": "bare SGEMM",
    "torch": "torch, matmul and topk",
    "numpy": "NumPy, matmul and argpartition",
}
NAMES = {"gaussian": "Gaussian", "trained": "trained-like"}
AXES = {"vocab": "vocabulary", "rank": "rank", "top": "entries kept of a row"}


def seconds(value: float) -> str:
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f} s"


def megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f} MB"


def rates(results: Result) -> list[float]:
    """GFLOP/s of bare products with all threads, where the rank does not hold them back."""
    bigram = results.get("bigram", {})
    found = [bigram[kind]["product"]["gflops"] for kind in NAMES if kind in bigram]
    for point in results.get("growth", {}).get("points", []):
        if point["threads"] == results["threads"] and point["rank"] == results["growth"]["rank"]:
            found.append(point["product"]["gflops"])
    return found


def memory_of(result: Result) -> float:
    """Beside weights: anonymous memory of a process, or what a peer says."""
    return result.get("peak_anonymous_bytes") or result["extra_bytes"]


def machine_line(results: Result) -> str:
    memory = results["machine"]["memory"]
    parts = [f"{r['read']:.0f} and {r['copy']:.0f} GB/s with {t}" for t, r in memory.items()]
    found = sorted(rates(results))
    line = f"{results['machine']['cpu']}, {results['threads']} threads; memory read and copied at "
    line += ", ".join(parts) + " threads"
    return line + (f"; bare SGEMM {found[0]:.0f} to {found[-1]:.0f} GFLOP/s" if found else "")


def bigram_lines(part: Result) -> list[str]:
    """A line a kind of data: seconds with their ratio, and memory beside the weights."""
    vocab, kinds = part["vocab"], [kind for kind in NAMES if kind in part]
    lines = [
        f"Top 20 of each row, {vocab:,} x {vocab:,} of rank {part['rank']}:",
        "",
        "| embeddings | " + " | ".join(SIDES.values()) + " |",
        "|---|" + "---|" * len(SIDES),
    ]
    for kind in kinds:
        result = part[kind]
        ours, bare = result["otimes"]["seconds"], result["product"]["seconds"]
        cells = []
        for name in SIDES:
            took = result[name]["seconds"]
            ratio = f", {took / ours:.1f} times ours"
            if "peak_anonymous_bytes" in result[name]:
                ratio = f", {took / bare:.2f} of SGEMM"
            cells.append(seconds(took) + ratio)
        lines.append(f"| {NAMES[kind]} | " + " | ".join(cells) + " |")
        memory = ["" if name == "product" else megabytes(memory_of(result[name])) for name in SIDES]
        lines.append("| memory beside the weights | " + " | ".join(memory) + " |")
    lines.append("")
    for kind in kinds:
        blocks = [f"{part[kind][n]['block']} rows ({n})" for n in ("torch", "numpy")]
        tile = " x ".join(str(t) for t in part[kind]["product"]["tile"][:2])
        lines.append(
            f"{NAMES[kind]}: blocks of {', '.join(blocks)}, SGEMM's tile {tile}; "
            f"{agreement(part[kind])}"
        )
    return lines


def agreement(result: Result) -> str:
    """With torch, as check_tables.py found it; it would have ended the run otherwise."""
    c = result["check"]
    same = f"torch lists the same ids in all {c['rows']:,} rows"
    if c["rows_differing"]:
        same = f"torch orders near ties of {c['rows_differing']:,} in {c['rows']:,} rows "
        same += "otherwise, and in double precision ours is right in each"
    return f"{same}; values differ by at most {c['largest_difference']:.0e} of the row's largest."


def ov_lines(part: Result) -> list[str]:
    lines = [
        f"Full OV, top 20 of each row, {part['vocab']:,} x {part['vocab']:,} of rank "
        f"{part['rank']}; SGEMM of all heads is that of one, times their number:",
        "",
        "| heads | otimes circuit | bare SGEMM | torch by blocks | ratio | memory of both |",
        "|---|---|---|---|---|---|",
    ]
    for key, title in (("one", "one"), ("all", f"all {part['heads']}")):
        ours, torch = part[key]["otimes"], part[key]["torch"]
        product = part["one"]["product"]["seconds"] * (1 if key == "one" else part["heads"])
        memory = [megabytes(memory_of(ours)), megabytes(memory_of(torch))]
        share = f" ({torch['share']:.1%} run, scaled)" if "share" in torch else ""
        lines.append(
            f"| {title} | {seconds(ours['seconds'])} | {seconds(product)} | "
            f"{seconds(torch['seconds'])}{share} | {torch['seconds'] / ours['seconds']:.1f} | "
            f"{', '.join(memory)} |"
        )
    return [*lines, "", f"One: {agreement(part['one'])}", f"All: {agreement(part['all'])}"]


def llama_lines(part: Result) -> list[str]:
    ours, product = part["otimes"], part["product"]
    return [
        f"{part['vocab']:,} x {part['vocab']:,} of rank {part['rank']:,} from bfloat16: "
        f"{seconds(ours['seconds'])}, {ours['seconds'] / product['seconds']:.2f} of SGEMM's "
        f"{seconds(product['seconds'])} ({product['share']:.1%} of the rows run, scaled), "
        f"{megabytes(memory_of(ours))} beside the page cache; {agreement(part)}"
    ]


def growth_lines(part: Result, threads: int) -> list[str]:
    counts = sorted({1, threads})
    heads = [f"{t} thread{'s' if t > 1 else ''}{w}" for t in counts for w in ("", ": over SGEMM")]
    lines = [
        "| vocabulary | rank | kept | " + " | ".join(heads) + " | memory | SGEMM |",
        "|---|---|---|" + "---|" * (2 * len(counts) + 2),
    ]
    shapes: dict[tuple[int, ...], dict[int, Result]] = {}
    for p in part["points"]:
        shapes.setdefault((p["vocab"], p["rank"], p["top"]), {})[p["threads"]] = p
    for (vocab, rank, top), found in shapes.items():
        cells = []
        for p in (found[t] for t in counts):
            ratio = p["otimes"]["seconds"] / p["product"]["seconds"]
            cells += [seconds(p["otimes"]["seconds"]), f"{ratio:.2f}"]
        last = found[counts[-1]]
        cells.append(megabytes(memory_of(last["otimes"])))
        cells.append(f"{last['product']['gflops']:.0f} GFLOP/s")
        lines.append(f"| {vocab:,} | {rank:,} | {top} | " + " | ".join(cells) + " |")
    return lines


def text(results: Result) -> str:
    lines = [machine_line(results) + ".", ""]
    for name, write in (("bigram", bigram_lines), ("ov", ov_lines), ("llama", llama_lines)):
        if name in results:
            lines += [*write(results[name]), ""]
    if "growth" in results:
        lines += growth_lines(results["growth"], results["threads"])
    return "\n".join(lines)


def picture(results: Result, path: Path) -> None:
    """Above seconds, below the ratio to the bare product; a column for each thing that grows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    part = results["growth"]
    held = {
        "vocab": f"rank {part['rank']}, top {part['top']}",
        "rank": f"vocabulary {part['base']:,}, top {part['top']}",
        "top": f"vocabulary {part['base']:,}, rank {part['rank']}",
    }
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.5), sharex="col", layout="constrained")
    for column, (series, title) in enumerate(AXES.items()):
        above, below = axes[:, column]
        for i, threads in enumerate(sorted({1, results["threads"]})):
            found = [
                p for p in part["points"] if p["series"] == series and p["threads"] == threads
            ]
            x = [p[series] for p in found]
            ours = [p["otimes"]["seconds"] for p in found]
            bare = [p["product"]["seconds"] for p in found]
            label = f"{threads} thread{'s' if threads > 1 else ''}"
            above.plot(x, ours, "o-", color=f"C{i}", label=f"otimes bigram, {label}")
            above.plot(x, bare, "--", color=f"C{i}", label=f"bare SGEMM, {label}")
            ratio = [a / b for a, b in zip(ours, bare, strict=True)]
            below.plot(x, ratio, "o-", color=f"C{i}", label=label)
        above.set(xscale="log", yscale="log", title=held[series])
        below.set(xscale="log", xlabel=title)
        ticks = sorted({p[series] for p in part["points"] if p["series"] == series})
        below.set_xticks(ticks, [f"{t // 1024}k" if t >= 8192 else str(t) for t in ticks])
        below.minorticks_off()
        below.axhline(1, color="0.6", linestyle="--", linewidth=1)
        below.set_ylim(bottom=0)
        above.grid(color="0.9")
        below.grid(color="0.9")
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("time over that of bare SGEMM")
    axes[0, 0].legend(fontsize=8)
    figure.suptitle(machine_line(results), fontsize=10)
    figure.savefig(path, dpi=110)


def fill(readme: Path, lines: str, picture: Path | None) -> None:
    if picture:
        place = os.path.relpath(picture, readme.parent)
        lines += f"\n\n![Time over vocabulary, rank, entries kept and threads]({place})"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{lines}\n{END}{rest.split(END)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--readme", type=Path)
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text())
    print(text(results))
    if arguments.picture:
        picture(results, arguments.picture)
    if arguments.readme:
        fill(arguments.readme, text(results), arguments.picture)


if __name__ == "__main__":
    main()
