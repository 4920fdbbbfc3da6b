# SPDX-License-Identifier: MIT
"""Makes the golden models: tiny seeded checkpoints and what otimes must compute from them.

Run in an environment with requirements.txt: ``python tests/golden/make_golden.py [NAME ...]``.
Every expected value comes from reference.py (float64) and is held here against Hugging Face
transformers (or a small torch model where that has none) and TransformerLens before it is written;
the largest differences are printed. Running it again gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file as save_torch

import reference as ref
import golden_experts
import golden_gemma
import golden_gpt
import golden_lens
import golden_llama
import golden_small
from checkpoint import load
from compare import Checks, check_all, tokens_of
from golden_models import OFFSETS, Golden

MAKERS = (
    golden_gpt.MAKERS
    | golden_llama.MAKERS
    | golden_gemma.MAKERS
    | golden_experts.MAKERS
    | golden_small.MAKERS
    | golden_lens.MAKERS
)
MOST_BYTES = 100_000  # of one directory

# ------------------------------------------------------------------------------- writing


def write_weights(golden: Golden, folder: Path) -> None:
    """config.json and the weights, in one file or in shards with their index."""
    dump(folder / "config.json", golden.config)
    tensors = {k: golden.tensors[k].contiguous() for k in sorted(golden.tensors)}
    meta = {"format": "pt"}
    if golden.shards == 1:
        save_torch(tensors, folder / "model.safetensors", metadata=meta)
        return
    names = list(tensors)
    place = {
        k: f"model-{1 + i * golden.shards // len(names):05d}-of-{golden.shards:05d}.safetensors"
        for i, k in enumerate(names)
    }
    for file in sorted(set(place.values())):
        save_torch(
            {k: v for k, v in tensors.items() if place[k] == file}, folder / file, metadata=meta
        )
    total = sum(v.numel() * v.element_size() for v in tensors.values())
    dump(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": place},
    )


def dump(path: Path, value: Any) -> None:
    """JSON with sorted keys, as bytes that do not depend on the machine."""
    path.write_text(
        json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def make(golden: Golden, folder: Path) -> Checks:
    """Writes one directory after all checks of it."""
    folder.mkdir(parents=True)
    write_weights(golden, folder)
    for name, value in (golden.extra or {}).items():
        dump(folder / name, value)
    raw = load(folder)
    done = ref.process(raw)
    checks, logits = check_all(golden, raw, done)
    values = ref.expected(raw, done, OFFSETS)
    values |= {"tokens": tokens_of(raw.cfg).astype(np.float64), "logits": logits}
    save_numpy({k: values[k] for k in sorted(values)}, folder / "expected.safetensors")
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="goldens to make; all of them")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(MAKERS)
    if unknown:
        parser.error(f"no golden of the name {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    for name in arguments.names or sorted(MAKERS):
        golden = MAKERS[name]()
        with tempfile.TemporaryDirectory() as scratch:
            checks = make(golden, Path(scratch) / golden.name)
            target = arguments.output / golden.name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(Path(scratch) / golden.name, target, copy_function=shutil.copyfile)
        size = sum(f.stat().st_size for f in target.iterdir())
        assert size < MOST_BYTES, (golden.name, size)
        print(f"{golden.name}: {size} bytes")
        for what, worst in checks.worst.items():
            print(f"  {what:45s} {worst:.2g}")


if __name__ == "__main__":
    main()
