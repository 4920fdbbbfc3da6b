# SPDX-License-Identifier: MIT
"""Makes tests/data/torch: small files of the real torch.save for tests/test_torch.c.

Run where torch and numpy are installed: ``python tests/golden/make_torch.py``. Numbers are small
multiples of 1/4, exact in every type, so the test computes them by itself. Storage keys of the
legacy form are addresses: running it again gives other bytes there and the same content.
"""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent.parent / "data" / "torch"


def quarters(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """0, 1/4, 2/4 ... in row-major order."""
    count = int(np.prod(shape))
    return (torch.arange(count, dtype=torch.float64) / 4).reshape(shape).to(dtype)


def integers(count: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(count).to(dtype)


def plain() -> collections.OrderedDict:
    """Every kind of tensor, as a module's state dict with its _metadata."""
    base = quarters(4, 6)
    embed = quarters(3, 4)
    noted = quarters(2)
    noted.note = "an attribute makes torch write _rebuild_from_type_v2"
    state = collections.OrderedDict(
        {
            "embed.weight": embed,
            "unembed.weight": embed,  # tied
            "view.transposed": base.t(),
            "view.slice": base[1:, 1::2],
            "view.expanded": quarters(3)[None].expand(2, 3),
            "view.permuted": quarters(2, 3, 4).permute(2, 0, 1),
            "type.float64": quarters(3, dtype=torch.float64),
            "type.float16": quarters(3, dtype=torch.float16),
            "type.bfloat16": quarters(3, dtype=torch.bfloat16),
            "type.int64": integers(3, torch.int64),
            "type.int32": integers(3, torch.int32),
            "type.int16": integers(3, torch.int16),
            "type.int8": integers(3, torch.int8),
            "type.uint8": integers(3, torch.uint8),
            "type.bool": integers(3, torch.bool),
            "type.complex64": quarters(3).to(torch.complex64),  # left out
            "shape.scalar": torch.tensor(2.5),
            "shape.empty": torch.zeros(0, 3),
            "shape.ones": quarters(1, 2, 1),
            "parameter": torch.nn.Parameter(quarters(2, 2)),
            "noted": noted,
        }
    )
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    return state


def float8() -> dict:
    """Types without a storage class of their own: _rebuild_tensor_v3."""
    return {
        "e4m3": quarters(3, dtype=torch.float8_e4m3fn),
        "e5m2": quarters(3, dtype=torch.float8_e5m2),
        "uint16": integers(3, torch.uint16),
        "uint32": integers(3, torch.uint32)[1:],
    }


def nested() -> dict:
    """A checkpoint of a training script."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(quarters(2, 3))
        model.bias.copy_(quarters(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        model.weight.copy_(quarters(2, 3))
        model.bias.copy_(quarters(2))
    losses = collections.defaultdict(list)
    losses["train"].extend([1.5, 1.25])
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "model_args": {"n_layer": 2, "n_head": 4, "bias": False, "name": "café"},
        "iter_num": 5,
        "best_val_loss": torch.tensor(2.5),
        "config": {
            "none": None,
            "float": 0.1,
            "nan": float("nan"),
            "infinity": float("-inf"),
            "negative": -7,
            "wide": 2**40,
            "beyond": 2**70,
            "tuple": (1, "two", 3.0),
            "set": {3},
            "dtype": torch.bfloat16,
            "device": torch.device("cpu"),
            "size": torch.Size([2, 3]),
            "numpy": {
                "f8": np.float64(0.25),
                "f4": np.float32(0.5),
                "f2": np.float16(0.75),
                "i8": np.int64(-3),
                "u1": np.uint8(200),
                "b1": np.bool_(True),
                "text": np.str_("left out"),
                "array": np.arange(3),
            },
            "bytes": b"\x00\xff",
            "empty_list": [],
            "empty_dict": {},
            "mixed": [1, float("nan"), torch.zeros(1)],
            0: "zero",
        },
        "losses": losses,
        "history": [0] * 4097,
        "counter": collections.Counter("aab"),
        "blocks": [{"w": quarters(2)}, {"w": quarters(3)}],
    }


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(quarters(2))


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    legacy = {"_use_new_zipfile_serialization": False}
    torch.save(plain(), FOLDER / "zip.pt")
    torch.save(plain(), FOLDER / "zip_protocol5.pt", pickle_protocol=5)
    torch.save(plain(), FOLDER / "legacy.pt", **legacy)
    torch.save(plain(), FOLDER / "legacy_protocol1.pt", pickle_protocol=1, **legacy)
    torch.save(plain(), FOLDER / "legacy_protocol4.pt", pickle_protocol=4, **legacy)
    torch.save(float8(), FOLDER / "float8.pt")
    torch.save(float8(), FOLDER / "float8_legacy.pt", **legacy)
    torch.save(nested(), FOLDER / "nested.pt")
    torch.save({k: v for k, v in nested().items() if k != "history"},
               FOLDER / "nested_protocol4.pt", pickle_protocol=4)
    torch.save([quarters(2), {"a": quarters(3)}], FOLDER / "list.pt")
    torch.save(quarters(2), FOLDER / "tensor.pt")
    torch.save(Model(), FOLDER / "module.pt")
    torch.save(Model(), FOLDER / "module_legacy.pt", **legacy)
    torch.save({"a": torch._neg_view(quarters(2))}, FOLDER / "negated.pt")
    torch.save({"a": torch.quantize_per_tensor(quarters(2), 1.0, 0, torch.qint8)},
               FOLDER / "quantized.pt")
    torch.jit.save(torch.jit.script(Model()), FOLDER / "script.pt")
    (FOLDER / "plain.pkl").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    np.savez(FOLDER / "arrays.npz", a=np.arange(3))
    total = 0
    for path in sorted(FOLDER.iterdir()):
        total += os.path.getsize(path)
        print(f"{os.path.getsize(path):7d} {path.name}")
    print(f"{total:7d} in all")


if __name__ == "__main__":
    main()
