#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random blocks of every quantised type and their values by the `gguf` package's own decoders:
tests/data/quant/blocks.safetensors. Running it again gives the same bytes.

usage: make_quant.py [FOLDER]   (requirements.txt)
"""
import sys
from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.numpy import save_file

# Where the half-precision scales stand in a block, and how many blocks are kept. MXFP4 has a byte
# that is an exponent instead.
TYPES = {
    "Q4_0": ([0], 8),
    "Q4_1": ([0, 2], 8),
    "Q5_0": ([0], 8),
    "Q5_1": ([0, 2], 8),
    "Q8_0": ([0], 8),
    "Q2_K": ([80, 82], 4),
    "Q3_K": ([108], 4),
    "Q4_K": ([0, 2], 4),
    "Q5_K": ([0, 2], 4),
    "Q6_K": ([208], 4),
    "MXFP4": ([], 16),
}
EXPONENTS = [0, 1, 2, 252, 126, 127, 128]  # from subnormal results to the largest finite ones


def make(rng, name, scale_at, count):
    _, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in scale_at:
        scales = rng.standard_normal(count) * 10.0 ** rng.uniform(-3, 1, count)
        scales[1] = 2.0**-24 * rng.integers(1, 1024)  # subnormal as a half
        blocks[:, at:at + 2] = scales.astype(np.float16).view(np.uint8).reshape(count, 2)
    if name == "MXFP4":
        blocks[:, 0] = rng.integers(110, 140, count)
        blocks[-len(EXPONENTS):, 0] = EXPONENTS
        return blocks
    blocks[2] = np.where(np.isin(np.arange(size), [a + i for a in scale_at for i in (0, 1)]),
                         blocks[2], rng.choice(np.array([0, 255], dtype=np.uint8), size))
    return blocks


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "data/quant"
    rng = np.random.default_rng(20)
    tensors = {}
    for name, (scale_at, count) in TYPES.items():
        blocks = make(rng, name, scale_at, count)
        tensors[f"{name}/blocks"] = blocks
        tensors[f"{name}/values"] = dequantize(blocks, GGMLQuantizationType[name])
        assert np.isfinite(tensors[f"{name}/values"]).all()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "blocks.safetensors")


if __name__ == "__main__":
    main()
