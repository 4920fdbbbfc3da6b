# SPDX-License-Identifier: MIT
"""Writes a checkpoint with the attention of Llama 3 8B: seeded random bfloat16 in one file, 2.7 GB.

``make_llama_8b.py FOLDER [--layers 32] [--seed 0]``. Attention and norms have their size; the MLPs
and the vocabulary, which heads do not need, are small. Matrices are those of make_gpt2.py, turned.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from make_gpt2 import matrix, vector
from make_vocabulary import bfloat16

D_MODEL, HEADS, KV_HEADS, D_HEAD = 4096, 32, 8, 128
D_MLP, VOCAB, N_CTX = 64, 256, 8192  # 14336 and 128256 in Llama 3 8B


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Tensors as LlamaForCausalLM names them, matrices [out, in]."""
    out: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCAB, D_MODEL),
        "lm_head.weight": (VOCAB, D_MODEL),
        "model.norm.weight": (D_MODEL,),
    }
    for layer in range(layers):
        at = f"model.layers.{layer}."
        out |= {
            at + "self_attn.q_proj.weight": (HEADS * D_HEAD, D_MODEL),
            at + "self_attn.k_proj.weight": (KV_HEADS * D_HEAD, D_MODEL),
            at + "self_attn.v_proj.weight": (KV_HEADS * D_HEAD, D_MODEL),
            at + "self_attn.o_proj.weight": (D_MODEL, HEADS * D_HEAD),
            at + "mlp.gate_proj.weight": (D_MLP, D_MODEL),
            at + "mlp.up_proj.weight": (D_MLP, D_MODEL),
            at + "mlp.down_proj.weight": (D_MODEL, D_MLP),
            at + "input_layernorm.weight": (D_MODEL,),
            at + "post_attention_layernorm.weight": (D_MODEL,),
        }
    return out


def header(tensors: dict[str, tuple[int, ...]]) -> bytes:
    """Of the safetensors file, padded to 8 bytes."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in tensors.items():
        end = at + 2 * int(np.prod(shape))
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def config(layers: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": D_MODEL,
        "intermediate_size": D_MLP,
        "max_position_embeddings": N_CTX,
        "num_attention_heads": HEADS,
        "num_hidden_layers": layers,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "vocab_size": VOCAB,
    }


def make(folder: Path, layers: int = 32, seed: int = 0) -> None:
    """Writes model.safetensors and config.json; the latter last, so that it marks a whole one."""
    rng = np.random.default_rng(seed)
    tensors = shapes(layers)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header(tensors))
        for shape in tensors.values():
            numbers = matrix(rng, *shape, 0.02) if len(shape) == 2 else vector(rng, *shape, 0.4, 0.1)
            file.write(memoryview(bfloat16(numbers)).cast("B"))
    (folder / "config.json").write_text(json.dumps(config(layers), indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make(arguments.folder, arguments.layers, arguments.seed)


if __name__ == "__main__":
    main()
