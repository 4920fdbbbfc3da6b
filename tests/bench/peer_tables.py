# SPDX-License-Identifier: MIT
"""Top entries of tables over vocabulary as one writes them in torch or NumPy, beside run_tables.

``peer_tables.py torch|numpy WEIGHTS --table bigram|ov [--heads 5.1,...] [--top 20] [--threads N]
[--rows N] [--blocks 64,256,1024] [--save OUT.npz]``. WEIGHTS is what ``otimes convert`` writes, so
both sides read the same numbers. Rows go by blocks: a product of the block with all columns, then
torch's topk, or argpartition and a sort of what it found. Of several sizes of block each runs a
sample first, the fastest one the whole. Prints one JSON object: seconds of products and selection
alone (the weights are loaded), the block, and memory beyond what the process held before.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SAMPLE = 2048  # rows
Select = Callable[[Any, Any, int, int, int], tuple[Any, Any]]


def torch_engine(threads: int) -> tuple[Any, Select]:
    """How to load, and the top entries of X[first:end] @ Y."""
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)

    def select(X: Any, Y: Any, first: int, end: int, top: int) -> tuple[Any, Any]:
        values, ids = (X[first:end] @ Y).topk(top, dim=1)
        return values, ids

    return load_file, select


def numpy_engine(threads: int) -> tuple[Any, Select]:
    """The same; argpartition leaves what it finds unsorted."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # before NumPy is imported
    import numpy as np
    from safetensors.numpy import load_file

    def select(X: Any, Y: Any, first: int, end: int, top: int) -> tuple[Any, Any]:
        table = X[first:end] @ Y
        ids = np.argpartition(table, table.shape[1] - top, axis=1)[:, -top:]
        values = np.take_along_axis(table, ids, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        return np.take_along_axis(values, order, axis=1), np.take_along_axis(ids, order, axis=1)

    return load_file, select


def sides(weights: dict[str, Any], table: str, head: str) -> tuple[Any, Any]:
    """X [d_vocab, rank] and Y [rank, d_vocab_out] of a table."""
    W_E, W_U = weights["embed.W_E"], weights["unembed.W_U"]
    if table == "bigram":
        return W_E, W_U
    layer, index = (int(part) for part in head.split("."))
    at = f"blocks.{layer}.attn."
    W_V, W_O = weights[at + "W_V"], weights[at + "W_O"]
    return W_E @ W_V[index // (len(W_O) // len(W_V))], W_O[index] @ W_U


def run(
    select: Select, X: Any, Y: Any, rows: int, block: int, top: int
) -> tuple[float, tuple[Any, Any]]:
    """Into arrays that are there: small ones kept between large ones would scatter the heap."""
    import numpy as np

    value, index = np.empty((rows, top), np.float32), np.empty((rows, top), np.int64)
    start = time.perf_counter()
    for at in range(0, rows, block):
        end = min(at + block, rows)
        found = select(X, Y, at, end, top)
        value[at:end], index[at:end] = np.asarray(found[0]), np.asarray(found[1])
    return time.perf_counter() - start, (value, index)


def resident(high: bool) -> int:
    if high:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def touch(weights: dict[str, Any]) -> None:
    """Mapped pages are read now, so that neither seconds nor memory hold them later."""
    for value in weights.values():
        value.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=("torch", "numpy"))
    parser.add_argument("weights", type=Path)
    parser.add_argument("--table", choices=("bigram", "ov"), default="bigram")
    parser.add_argument("--heads", default="0.0")
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=0, help="only the first so many; 0: all")
    parser.add_argument("--blocks", default="64,256,1024")
    parser.add_argument("--save", type=Path)
    a = parser.parse_args()
    load, select = (torch_engine if a.engine == "torch" else numpy_engine)(a.threads)
    weights = load(a.weights)
    touch(weights)
    held = resident(high=False)
    block, tried, seconds, results = 0, {}, {}, []
    for head in a.heads.split(","):
        start = time.perf_counter()
        X, Y = sides(weights, a.table, head)
        made = time.perf_counter() - start
        rows = min(a.rows, len(X)) if a.rows else len(X)
        if not block:
            sizes = [int(size) for size in a.blocks.split(",")]
            for size in sizes if len(sizes) > 1 else []:
                tried[size] = run(select, X, Y, min(SAMPLE, rows), size, a.top)[0]
            block = min(sizes, key=lambda size: tried.get(size, 0))
        took, found = run(select, X, Y, rows, block, a.top)
        seconds[head] = made + took
        results.append(found)
    peak = resident(high=True)
    if a.save:
        import numpy as np

        joined = [np.stack([found[i] for found in results]) for i in (0, 1)]
        np.savez(a.save, value=joined[0], id=joined[1])
    report = {
        "seconds": sum(seconds.values()),
        "by_head": seconds,
        "rows": rows,
        "columns": Y.shape[1],
        "block": block,
        "tried": tried,
        "extra_bytes": peak - held,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
