# SPDX-License-Identifier: MIT
"""Writes a seeded random checkpoint of GPT-2's shape: Hugging Face names, float32, one file.

``make_gpt2.py SHAPE FOLDER [--layers N] [--seed 0] [--vocab N] [--embedding KIND]``, SHAPE being
small (0.5 GB), medium (1.4 GB), large (3.1 GB) or xl (6.2 GB). One tensor at a time, so it takes a
few times the embedding's memory. The matrices are Gaussian with a spectrum laid over it that falls
as trained ones do: columns scaled by k^-0.3 behind a random reflection. Embeddings share a common
direction, as GPT-2's do; with KIND gaussian or trained they are those of make_vocabulary.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from make_vocabulary import KINDS, vectors

VOCAB, N_CTX = 50257, 1024


@dataclass(frozen=True)
class Shape:
    layers: int
    d_model: int
    heads: int
    vocab: int = VOCAB


SHAPES = {
    "small": Shape(12, 768, 12),
    "medium": Shape(24, 1024, 16),
    "large": Shape(36, 1280, 20),
    "xl": Shape(48, 1600, 25),
}

Make = Callable[[np.random.Generator], np.ndarray]


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


def weights(
    shape: Shape, layers: int, kind: str | None = None
) -> Iterator[tuple[str, tuple[int, ...], Make]]:
    """All tensors under the names GPT2LMHeadModel writes; the unembedding is tied."""
    d = shape.d_model

    def dense(name: str, rows: int, columns: int, scale: float) -> tuple[str, tuple[int, int], Make]:
        return name, (rows, columns), lambda rng: matrix(rng, rows, columns, scale)

    def line(name: str, size: int, mean: float, spread: float) -> tuple[str, tuple[int], Make]:
        return name, (size,), lambda rng: vector(rng, size, mean, spread)

    def embedding(rng: np.random.Generator) -> np.ndarray:
        if kind:
            return np.concatenate(list(vectors(rng, kind, shape.vocab, d)))
        out = matrix(rng, shape.vocab, d, 0.14)
        out += vector(rng, d, 0, 0.05)
        return out

    yield "transformer.wte.weight", (shape.vocab, d), embedding
    yield dense("transformer.wpe.weight", N_CTX, d, 0.1)
    yield line("transformer.ln_f.weight", d, 1.5, 0.4)
    yield line("transformer.ln_f.bias", d, 0, 0.1)
    for layer in range(layers):
        at = f"transformer.h.{layer}."
        for norm in ("ln_1", "ln_2"):
            yield line(at + norm + ".weight", d, 0.5, 0.1)
            yield line(at + norm + ".bias", d, 0, 0.05)
        for name, rows, columns in (
            ("attn.c_attn", d, 3 * d),
            ("attn.c_proj", d, d),
            ("mlp.c_fc", d, 4 * d),
            ("mlp.c_proj", 4 * d, d),
        ):
            yield dense(at + name + ".weight", rows, columns, 0.14)
            yield line(at + name + ".bias", columns, 0, 0.1)


def header(shape: Shape, layers: int) -> bytes:
    """Of the safetensors file, padded to 8 bytes."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, dims, _ in weights(shape, layers):
        end = at + 4 * int(np.prod(dims))
        entries[name] = {"dtype": "F32", "shape": list(dims), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def config(shape: Shape, layers: int) -> dict[str, object]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "n_ctx": N_CTX,
        "n_embd": shape.d_model,
        "n_head": shape.heads,
        "n_layer": layers,
        "n_positions": N_CTX,
        "vocab_size": shape.vocab,
        "tie_word_embeddings": True,
    }


def make(
    name: str,
    folder: Path,
    layers: int | None = None,
    seed: int = 0,
    vocab: int = VOCAB,
    kind: str | None = None,
) -> None:
    """Writes model.safetensors and config.json; the latter last, so that it marks a whole one."""
    shape = replace(SHAPES[name], vocab=vocab)
    count = shape.layers if layers is None else layers
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header(shape, count))
        for _, _, numbers in weights(shape, count, kind):
            file.write(memoryview(numbers(rng).astype("<f4", copy=False)).cast("B"))
    (folder / "config.json").write_text(json.dumps(config(shape, count), indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocab", type=int, default=VOCAB)
    parser.add_argument("--embedding", choices=KINDS)
    a = parser.parse_args()
    make(a.shape, a.folder, a.layers, a.seed, a.vocab, a.embedding)


if __name__ == "__main__":
    main()
