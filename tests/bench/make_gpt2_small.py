# SPDX-License-Identifier: MIT
"""Writes a seeded random checkpoint of GPT-2 small's shape (Hugging Face names, float32, 0.5 GB).

``make_gpt2_small.py FOLDER [--layers 12]``. The matrices are Gaussian with a spectrum laid over it
that falls as trained ones do: columns scaled by k^-0.3 behind a random reflection. Embeddings share
a common direction, as GPT-2's do.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

D_MODEL, HEADS, VOCAB, N_CTX = 768, 12, 50257, 1024


def matrix(rng: np.random.Generator, rows: int, columns: int, scale: float) -> np.ndarray:
    """Gaussian [rows, columns] whose singular values fall off, in no particular basis."""
    out = rng.standard_normal((rows, columns), dtype=np.float32)
    out *= np.arange(1, columns + 1, dtype=np.float32) ** -0.3
    mirror = rng.standard_normal(columns, dtype=np.float32)
    mirror /= np.linalg.norm(mirror)
    out -= 2 * np.outer(out @ mirror, mirror)  # a reflection keeps the spectrum
    out *= np.float32(scale * np.sqrt(rows * columns) / np.linalg.norm(out))
    return out


def vector(rng: np.random.Generator, size: int, mean: float, spread: float) -> np.ndarray:
    return (mean + spread * rng.standard_normal(size)).astype(np.float32)


def weights(layers: int, seed: int) -> dict[str, np.ndarray]:
    """All tensors under the names GPT2LMHeadModel writes; the unembedding is tied."""
    rng = np.random.default_rng(seed)
    t = {
        "transformer.wte.weight": matrix(rng, VOCAB, D_MODEL, 0.14) + vector(rng, D_MODEL, 0, 0.05),
        "transformer.wpe.weight": matrix(rng, N_CTX, D_MODEL, 0.1),
        "transformer.ln_f.weight": vector(rng, D_MODEL, 1.5, 0.4),
        "transformer.ln_f.bias": vector(rng, D_MODEL, 0, 0.1),
    }
    for layer in range(layers):
        at = f"transformer.h.{layer}."
        for norm in ("ln_1", "ln_2"):
            t[at + norm + ".weight"] = vector(rng, D_MODEL, 0.5, 0.1)
            t[at + norm + ".bias"] = vector(rng, D_MODEL, 0, 0.05)
        for name, rows, columns in (
            ("attn.c_attn", D_MODEL, 3 * D_MODEL),
            ("attn.c_proj", D_MODEL, D_MODEL),
            ("mlp.c_fc", D_MODEL, 4 * D_MODEL),
            ("mlp.c_proj", 4 * D_MODEL, D_MODEL),
        ):
            t[at + name + ".weight"] = matrix(rng, rows, columns, 0.14)
            t[at + name + ".bias"] = vector(rng, columns, 0, 0.1)
    return t


def config(layers: int) -> dict[str, object]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "n_ctx": N_CTX,
        "n_embd": D_MODEL,
        "n_head": HEADS,
        "n_layer": layers,
        "n_positions": N_CTX,
        "vocab_size": VOCAB,
        "tie_word_embeddings": True,
    }


def make(folder: Path, layers: int = 12, seed: int = 0) -> None:
    """Writes config.json and model.safetensors; config.json last, so that it marks a whole one."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(layers, seed), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config(layers), indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make(arguments.folder, arguments.layers, arguments.seed)


if __name__ == "__main__":
    main()
