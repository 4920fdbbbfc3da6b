# SPDX-License-Identifier: MIT
"""Whether ``otimes bigram`` or ``otimes circuit`` and a peer found the same top entries.

A peer's float32 product may order what lies closer than its rounding the other way round. Where it
lists other ids, both lists' entries are computed in double, and those of otimes have to be the
largest of them, one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from peer_tables import sides

UNIT = 2.0**-24  # rounding of float32, relative
CLOSE = 1e-4  # values, relative to the row's largest: the peer's float32 sums


def exact_rows(X: np.ndarray, Y: np.ndarray, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Entries [row, place] of X Y in double."""
    picked = Y.T[ids].astype(np.float64)  # [row, place, rank]
    return np.einsum("rk,rpk->rp", X[rows].astype(np.float64), picked)


def disagreements(
    X: np.ndarray, Y: np.ndarray, ours: np.ndarray, theirs: np.ndarray, allowed: float
) -> tuple[int, int]:
    """Rows where ids differ, and rows of them where ours are not the largest ones by more than
    `allowed` times the length of the row's vector."""
    rows = np.flatnonzero((ours != theirs).any(axis=1))
    wrong = 0
    for at in range(0, len(rows), 256):
        part = rows[at : at + 256]
        mine = exact_rows(X, Y, part, ours[part])
        other = exact_rows(X, Y, part, theirs[part])
        for i, row in enumerate(part):
            union = dict(zip(theirs[row], other[i], strict=True))
            union |= dict(zip(ours[row], mine[i], strict=True))
            best = np.sort(np.array(list(union.values())))[::-1][: len(mine[i])]
            close = allowed * np.linalg.norm(X[row].astype(np.float64)) + UNIT * np.abs(best)
            wrong += bool((np.abs(mine[i] - best) > close).any())
    return len(rows), wrong


def check(
    result: Path, peer: Path, weights: Path, table: str, heads: list[str]
) -> dict[str, Any]:
    """Compares the rows that the peer ran; ends the program where otimes is wrong."""
    import h5py
    from safetensors.numpy import load_file

    loaded = load_file(weights)
    rows = differing = wrong = 0
    worst = 0.0
    with h5py.File(result) as file, np.load(peer) as theirs:
        labels = [str(h) for h in file["head"].asstr()[...]] if "head" in file else heads
        for i, head in enumerate(heads):
            ids, values = theirs["id"][i], theirs["value"][i]
            count, top = ids.shape
            place = (labels.index(head),) if file["top_id"].ndim == 3 else ()
            mine = file["top_id"][(*place, slice(count), slice(top))]
            value = file["top_value"][(*place, slice(count), slice(top))]
            X, Y = sides(loaded, table, head)
            allowed = 0.0
            if table != "bigram":  # its sides are products themselves, and rounded to float32
                X, Y = sides({k: v.astype(np.float64) for k, v in loaded.items()}, table, head)
                allowed = 4 * UNIT * float(np.linalg.norm(Y, axis=0).max())
            d, w = disagreements(X, Y, mine, ids, allowed)
            scale = np.abs(value).max(axis=1, keepdims=True)
            worst = max(worst, float((np.abs(value - values) / scale).max()))
            rows, differing, wrong = rows + count, differing + d, wrong + w
    if wrong or not worst <= CLOSE:
        raise SystemExit(f"results differ: {wrong} of {rows} rows of {result}, values by {worst}")
    return {"rows": rows, "rows_differing": differing, "largest_difference": worst}
