# SPDX-License-Identifier: MIT
"""TransformerLens' own all_composition_scores, in float64, of goldens that it can run: what
`otimes compose` is held against. The raw weights as `otimes convert` writes them, processed by
TransformerLens. The same environment as check_convert.py.

usage: python tests/golden/make_composition.py [--otimes build/otimes]
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

from check_convert import TREE, load

NAMES = ("gpt2", "gpt_neox", "llama", "qwen2", "transformer_lens_mlp")
OUT = TREE / "tests" / "data" / "composition.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otimes", default=str(TREE / "build" / "otimes"))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    found = {}
    for name in NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "out.safetensors"
            folder = TREE / "tests" / "golden" / name
            line = [arguments.otimes, "convert", str(folder), "-q", "-o", str(out), "--raw"]
            subprocess.run(line, check=True)
            model = load(out).double()
        with torch.no_grad():
            model.process_weights_()
            for mode in "QKV":
                found[f"{name}.{mode}"] = model.all_composition_scores(mode).contiguous()
    save_file(found, OUT)


if __name__ == "__main__":
    main()
