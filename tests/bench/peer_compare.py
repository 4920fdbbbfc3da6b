# SPDX-License-Identifier: MIT
"""The measures of ``otimes compare`` by torch and SciPy on whole matrices, the usual way.

``peer_compare.py CHECKPOINT --pairs N --save OUT.npz [--threads N] [--seed 0]``. CHECKPOINT is a GPT-2
under Hugging Face's names; weights as they are. W_OV and W_QK of every head are formed once,
[d_model, d_model] in float32; a pair takes products of those for cosine and CKA, the nuclear norm of
W1^T W2 for Procrustes, and scipy.linalg.subspace_angles of each side. A seeded sample of the pairs is
timed; a pair costs the same whichever it is. Prints seconds by phase as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from safetensors.torch import load_file

SIDES = "QKVO"


def read_heads(folder: Path) -> dict[str, torch.Tensor]:
    """Sides of every head, [heads in all, d_model, d_head]; O transposed."""
    config = json.loads((folder / "config.json").read_text())
    state = load_file(folder / "model.safetensors")
    d, heads = config["n_embd"], config["n_head"]
    sides: dict[str, list[torch.Tensor]] = {s: [] for s in SIDES}
    for layer in range(config["n_layer"]):
        name = f"h.{layer}.attn.c_attn.weight"
        prefix = "" if name in state else "transformer."
        both = state[prefix + name].reshape(d, 3, heads, -1)
        for place, side in enumerate("QKV"):
            sides[side].append(both[:, place].permute(1, 0, 2))
        out = state[f"{prefix}h.{layer}.attn.c_proj.weight"].reshape(heads, -1, d)
        sides["O"].append(out.permute(0, 2, 1))
    return {s: torch.cat(parts).contiguous() for s, parts in sides.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sides = read_heads(arguments.checkpoint)
    seconds = dict.fromkeys(("once", "cosine", "cka", "procrustes", "angles"), 0.0)
    start = time.perf_counter()
    whole = {
        "OV": sides["V"] @ sides["O"].transpose(1, 2),
        "QK": sides["Q"] @ sides["K"].transpose(1, 2),
    }
    norm = {c: torch.linalg.matrix_norm(W) for c, W in whole.items()}
    gram = {
        c: torch.stack([torch.linalg.matrix_norm(w.T @ w) for w in W]) for c, W in whole.items()
    }
    seconds["once"] = time.perf_counter() - start
    count = len(sides["Q"])
    rng = np.random.default_rng(arguments.seed)
    upper = np.stack(np.triu_indices(count, 1), axis=1)
    pairs = upper[np.sort(rng.choice(len(upper), min(arguments.pairs, len(upper)), replace=False))]
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(float(value))

    for i, j in pairs:
        for circuit, W in whole.items():
            scale = norm[circuit][i] * norm[circuit][j]
            start = time.perf_counter()
            note(f"{circuit}_cosine", (W[i] * W[j]).sum() / scale)
            seconds["cosine"] += time.perf_counter() - start
            start = time.perf_counter()
            cross = W[i].T @ W[j]
            note(f"{circuit}_cka", (cross**2).sum() / (gram[circuit][i] * gram[circuit][j]))
            seconds["cka"] += time.perf_counter() - start
            start = time.perf_counter()
            note(f"{circuit}_procrustes", torch.linalg.svdvals(cross).sum() / scale)
            seconds["procrustes"] += time.perf_counter() - start
        for side, X in sides.items():
            start = time.perf_counter()
            cosines = np.cos(scipy.linalg.subspace_angles(X[i].numpy(), X[j].numpy()))
            note(f"{side}_kernel", (cosines**2).mean())
            note(f"{side}_mean_cosine", cosines.mean())
            note(f"{side}_largest_cosine", cosines.max())
            seconds["angles"] += time.perf_counter() - start
    np.savez(arguments.save, pairs=pairs, **{k: np.array(v) for k, v in found.items()})
    print(json.dumps({"seconds": seconds, "pairs": len(pairs), "of": len(upper)}))


if __name__ == "__main__":
    main()
