# SPDX-License-Identifier: MIT
"""Writes a checkpoint of Llama 7B's shape: 13.5 GB of random bfloat16 in shards with their index.

``make_llama_7b.py FOLDER [--layers 32]``. One block of random values is made once and written again
and again from changing offsets, so that it takes as long as the disk does; headers by hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

D_MODEL, HEADS, D_MLP, VOCAB, N_CTX = 4096, 32, 11008, 32000, 2048
BLOCK = 16 * 1024 * 1024  # values
STRIDE = 1048583  # a prime: no two tensors begin alike


def shapes(layers: int) -> list[dict[str, tuple[int, ...]]]:
    """Tensors by shard: the ends in the first, then four layers a shard."""
    shards: list[dict[str, tuple[int, ...]]] = [
        {
            "model.embed_tokens.weight": (VOCAB, D_MODEL),
            "lm_head.weight": (VOCAB, D_MODEL),
            "model.norm.weight": (D_MODEL,),
        }
    ]
    for layer in range(layers):
        if layer % 4 == 0:
            shards.append({})
        at = f"model.layers.{layer}."
        shards[-1] |= {at + f"self_attn.{p}_proj.weight": (D_MODEL, D_MODEL) for p in "qkvo"}
        shards[-1] |= {at + f"mlp.{p}_proj.weight": (D_MLP, D_MODEL) for p in ("gate", "up")}
        shards[-1][at + "mlp.down_proj.weight"] = (D_MODEL, D_MLP)
        shards[-1] |= {
            at + f"{p}_layernorm.weight": (D_MODEL,) for p in ("input", "post_attention")
        }
    return shards


def bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper half of float32, which is bfloat16 cut off."""
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2")


def header(tensors: dict[str, tuple[int, ...]]) -> tuple[bytes, int]:
    """A safetensors header, padded to 8 bytes, and the bytes of data behind it."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in tensors.items():
        end = at + 2 * int(np.prod(shape))
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, at


def write_shard(
    path: Path, tensors: dict[str, tuple[int, ...]], block: np.ndarray, start: int
) -> int:
    """One file; norm weights all one, the rest from the block. Returns where the next starts."""
    head, _ = header(tensors)
    with path.open("wb") as file:
        file.write(head)
        for shape in tensors.values():
            left = int(np.prod(shape))
            if len(shape) == 1:
                file.write(bfloat16(np.ones(left)).tobytes())
                continue
            start = (start + STRIDE) % len(block)
            at = start
            while left:
                run = min(left, len(block) - at)
                file.write(memoryview(block[at : at + run]))
                left, at = left - run, 0
    return start


def make(folder: Path, layers: int = 32, seed: int = 0) -> None:
    """Writes the shards, their index and, last, config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    block = bfloat16(rng.standard_normal(BLOCK, dtype=np.float32) * np.float32(0.02))
    shards = shapes(layers)
    place: dict[str, str] = {}
    total = start = 0
    for i, tensors in enumerate(shards):
        name = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        start = write_shard(folder / name, tensors, block, start)
        total += header(tensors)[1]
        place |= {k: name for k in tensors}
    index = {"metadata": {"total_size": total}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": D_MODEL,
        "intermediate_size": D_MLP,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": N_CTX,
        "vocab_size": VOCAB,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make(arguments.folder, arguments.layers, arguments.seed)


if __name__ == "__main__":
    main()
