# SPDX-License-Identifier: MIT
"""Reads the checkpoints that otimes reads into canonical float64 weights, in plain NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import checkpoint_gpt
import checkpoint_lens
import checkpoint_llama
from canonical import Array, Config, Model, Tensors, is_norm

__all__ = ["Array", "Config", "Model", "Tensors", "is_norm", "load", "read_safetensors"]

READERS = checkpoint_gpt.READERS | checkpoint_lens.READERS | checkpoint_llama.READERS


# ----------------------------------------------------------------------------- files


def read_safetensors(path: Path) -> Tensors:
    """Every tensor of one file, exactly as float64 (bf16 is the upper half of a float32)."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    body = memoryview(data)[8 + size :]
    tensors: Tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw, kind = body[begin:end], entry["dtype"]
        if kind == "BF16":
            bits = np.frombuffer(raw, "<u2").astype("<u4") << 16
            values = bits.view("<f4")
        elif kind in ("F16", "F32", "F64"):
            values = np.frombuffer(raw, "<f" + str(int(kind[1:]) // 8))
        elif kind in ("BOOL", "U8", "I8", "I64", "I32"):
            code = {"BOOL": "?", "U8": "u1", "I8": "i1", "I64": "<i8", "I32": "<i4"}[kind]
            values = np.frombuffer(raw, code)
        else:
            raise ValueError(f"{path}: {name}: dtype {kind}")
        tensors[name] = values.astype(np.float64).reshape(entry["shape"])
    return tensors


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def mxfp4(blocks: Array, scales: Array) -> Array:
    """Four-bit numbers, sign above, the even ones low in their bytes; a power of two for 32."""
    pairs = blocks.astype(np.uint8)
    codes = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(*scales.shape, 32)
    values = np.where(codes & 8, -1, 1) * E2M1[codes & 7] * 2.0 ** (scales[..., None] - 127)
    return values.reshape(*scales.shape[:-1], -1)


def join_mxfp4(tensors: Tensors) -> Tensors:
    """Blocks and scales are one tensor, under the name of the blocks."""
    for name in [k for k in tensors if k.endswith("_blocks")]:
        scales = tensors.pop(name.removesuffix("blocks") + "scales")
        tensors[name] = mxfp4(tensors[name], scales)
    return tensors


def read_weights(path: Path) -> Tensors:
    """All tensors of a model: one file, or a directory with one file or with shards."""
    if path.is_file():
        return join_mxfp4(read_safetensors(path))
    index = path / "model.safetensors.index.json"
    if index.is_file():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    tensors: Tensors = {}
    for name in files:
        tensors.update(read_safetensors(path / name))
    return join_mxfp4(tensors)


# ------------------------------------------------------------------------ the model


def load(path: str | Path) -> Model:
    """The model at ``path``: a directory, or one .safetensors file with config.json beside it."""
    path = Path(path)
    beside = path.parent if path.is_file() else path
    config = json.loads((beside / "config.json").read_text())
    reader = READERS.get(config.get("model_type"), checkpoint_lens.read_transformer_lens)
    return reader(config, read_weights(path))


# ----------------------------------------------------------------------------- token texts


def byte_of_char() -> dict[str, int]:
    """GPT-2's table read backwards: printable bytes stand for themselves, the others follow 256."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in keep}
    rest = [b for b in range(256) if b not in keep]
    return table | {chr(256 + i): b for i, b in enumerate(rest)}


def bytes_to_text(data: bytes) -> str:
    """UTF-8 as it is; each byte that forms no character, and NUL, as <0xHH>."""
    return "".join(
        f"<0x{ord(c) & 0xFF:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF or c == "\0" else c
        for c in data.decode("utf-8", "surrogateescape")
    )


def byte_level_text(piece: str) -> str:
    """What a byte-level BPE piece stands for; pieces outside the alphabet stay as they are."""
    table = byte_of_char()
    if any(c not in table for c in piece):
        return piece
    return bytes_to_text(bytes(table[c] for c in piece))
