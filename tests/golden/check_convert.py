# SPDX-License-Identifier: MIT
"""TransformerLens on what `otimes convert` wrote: its own model, the file's configuration, the file's
tensors as a state dict, its logits beside those of the golden. For models whose forward pass it has. In an
environment of its own, since HookedTransformer was removed in TransformerLens 4: transformer_lens==2.16.1,
transformers<5, datasets<4, numpy>=2.

usage: python tests/golden/check_convert.py [--otimes build/otimes] [NAME ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformer_lens import HookedTransformer, HookedTransformerConfig

TREE = Path(__file__).resolve().parents[2]
NAMES = (
    "gpt2",
    "gpt_neox",
    "gptj",
    "llama",
    "llama_scaled",
    "mistral",
    "qwen2",
    "opt",
    "phi",
    "mixtral",
    "transformer_lens_mlp",
)


def load(path: Path) -> HookedTransformer:
    """TransformerLens' model with every tensor of the file in it."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["otimes_config"])
    known = {field.name for field in dataclasses.fields(HookedTransformerConfig)}
    chosen = {k: v for k, v in config.items() if k in known}
    chosen |= {"final_rms": config["normalization_type"].startswith("RMS"), "device": "cpu"}
    model = HookedTransformer(HookedTransformerConfig(**chosen, dtype=torch.float32))
    result = model.load_state_dict(load_file(path), strict=False)
    assert not result.unexpected_keys, result.unexpected_keys
    for key in result.missing_keys:  # buffers, and biases that are zero
        assert key.endswith(("mask", "IGNORE", "rotary_sin", "rotary_cos")) or ".b_" in key or (
            "._b_" in key or key.endswith("b_U")
        ), key
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otimes", default=str(TREE / "build" / "otimes"))
    parser.add_argument("names", nargs="*", default=NAMES)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in arguments.names:
        folder = TREE / "tests" / "golden" / name
        golden = load_file(folder / "expected.safetensors")
        tokens, logits = golden["tokens"].long(), golden["logits"]
        for options in ([], ["--raw"]):
            with tempfile.TemporaryDirectory() as scratch:
                out = Path(scratch) / "out.safetensors"
                line = [arguments.otimes, "convert", str(folder), "-q", "-o", str(out), *options]
                subprocess.run(line, check=True)
                model = load(out)
            with torch.no_grad():
                ours = model(tokens).double()
            theirs = logits
            if not options:  # centring the unembedding changes logits by a constant
                ours, theirs = ours.log_softmax(-1), theirs.log_softmax(-1)
            worst = float((ours - theirs).abs().max())
            print(f"{name:24s} {'raw' if options else 'processed':10s} {worst:.2g}")
            assert worst < 1e-4, "not the same model"


if __name__ == "__main__":
    main()
