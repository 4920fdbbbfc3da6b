# SPDX-License-Identifier: MIT
"""Writes a seeded random checkpoint that is little more than its embedding and unembedding.

``make_vocabulary.py FOLDER --vocab N --rank D [--kind gaussian|trained] [--dtype F32|BF16]
[--untied] [--seed 0]``. A LlamaForCausalLM with one layer of one head of two dimensions, so that
any width costs next to nothing besides. By tiles of rows, so it takes little memory.

Kind `gaussian`: independent entries of deviation 0.14. Kind `trained`, after what the embeddings of
small trained models measure (the bundled one, stories260K, tinystories656k: exponents of 0.26 to
0.40, lengths with a deviation of 0.09 to 0.18 of their logarithm, up to 0.37 of the mean square in
the mean) and after the outlier features of large ones (Dettmers et al. 2022, "LLM.int8()"):
singular values fall as k^-0.35 in a random basis, a quarter of the mean square is a vector that all
rows share, lengths are log-normal with sigma 0.15, and then six dimensions are 20 to 50 times as
large, the same ones at both ends.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

KINDS = ("gaussian", "trained")
TILE = 8192
DEVIATION, EXPONENT, MEAN_SHARE, LENGTHS, OUTLIERS = 0.14, 0.35, 0.25, 0.15, 6


def vectors(rng: np.random.Generator, kind: str, count: int, size: int) -> Iterator[np.ndarray]:
    """Rows [count, size] of one of the kinds, tile by tile."""
    if kind == "trained":
        frame, _ = np.linalg.qr(rng.standard_normal((size, size), dtype=np.float32))
        spectrum = np.arange(1, size + 1, dtype=np.float32) ** -EXPONENT
        spectrum *= np.sqrt(size * (1 - MEAN_SHARE)) / np.linalg.norm(spectrum)
        frame = spectrum[:, None] * frame.T
        mean = rng.standard_normal(size, dtype=np.float32)
        mean *= np.sqrt(size * MEAN_SHARE) / np.linalg.norm(mean)
        fixed = np.random.default_rng(size)  # both ends of a stream share its outliers
        wide = np.full(size, DEVIATION, np.float32)
        places = fixed.choice(size, min(OUTLIERS, size // 8), replace=False)
        wide[places] *= fixed.uniform(20, 50, len(places)).astype(np.float32)
    for first in range(0, count, TILE):
        rows = min(TILE, count - first)
        out = rng.standard_normal((rows, size), dtype=np.float32)
        if kind == "trained":
            lengths = np.exp(LENGTHS * rng.standard_normal((rows, 1), dtype=np.float32))
            yield (out @ frame + mean) * lengths * wide
        else:
            yield out * np.float32(DEVIATION)


def bfloat16(x: np.ndarray) -> np.ndarray:
    """Its bits, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def shapes(vocab: int, rank: int, tied: bool) -> dict[str, tuple[int, ...]]:
    """Tensors as LlamaForCausalLM names them, matrices [out, in]."""
    at = "model.layers.0."
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, rank)}
    if not tied:
        out["lm_head.weight"] = (vocab, rank)
    out |= {at + f"self_attn.{p}_proj.weight": (2, rank) for p in "qkv"}
    out |= {
        at + "self_attn.o_proj.weight": (rank, 2),
        at + "mlp.gate_proj.weight": (1, rank),
        at + "mlp.up_proj.weight": (1, rank),
        at + "mlp.down_proj.weight": (rank, 1),
        at + "input_layernorm.weight": (rank,),
        at + "post_attention_layernorm.weight": (rank,),
        "model.norm.weight": (rank,),
    }
    return out


def header(tensors: dict[str, tuple[int, ...]], dtype: str) -> bytes:
    """Of the safetensors file, padded to 8 bytes."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in tensors.items():
        end = at + {"F32": 4, "BF16": 2}[dtype] * int(np.prod(shape))
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def config(vocab: int, rank: int, tied: bool) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "head_dim": 2,
        "hidden_act": "silu",
        "hidden_size": rank,
        "intermediate_size": 1,
        "max_position_embeddings": 1024,
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        "vocab_size": vocab,
    }


def make(
    folder: Path,
    vocab: int,
    rank: int,
    kind: str = "gaussian",
    dtype: str = "F32",
    tied: bool = True,
    seed: int = 0,
) -> None:
    """Writes model.safetensors and config.json; the latter last, so that it marks a whole one."""
    rng = np.random.default_rng(seed)
    tensors = shapes(vocab, rank, tied)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header(tensors, dtype))
        for shape in tensors.values():
            if len(shape) == 1:
                tiles = iter([(1 + 0.1 * rng.standard_normal(shape)).astype(np.float32)])
            else:
                tiles = vectors(rng, kind if shape[0] == vocab else "gaussian", *shape)
            for tile in tiles:
                bits = bfloat16(tile) if dtype == "BF16" else tile.astype("<f4", copy=False)
                file.write(memoryview(np.ascontiguousarray(bits)).cast("B"))
    (folder / "config.json").write_text(json.dumps(config(vocab, rank, tied), indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vocab", type=int, required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0])
    parser.add_argument("--dtype", choices=("F32", "BF16"), default="F32")
    parser.add_argument("--untied", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    make(a.folder, a.vocab, a.rank, a.kind, a.dtype, not a.untied, a.seed)


if __name__ == "__main__":
    main()
