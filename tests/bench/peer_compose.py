# SPDX-License-Identifier: MIT
"""All composition scores of a GPT-2 by TransformerLens' own all_composition_scores.

``peer_compose.py CHECKPOINT [--threads N] [--layers N] [--save OUT.npz]``. CHECKPOINT is a local
folder under Hugging Face's names, processed as TransformerLens does by default. In an environment
of its own, since HookedTransformer was removed in TransformerLens 4: transformer_lens==2.16.1,
transformers<5, datasets<4, numpy>=2. Prints seconds by phase and peak memory as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

START = time.perf_counter()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import GPT2LMHeadModel


def opened(checkpoint: Path, layers: int | None) -> HookedTransformer:
    config = json.loads((checkpoint / "config.json").read_text())
    cfg = HookedTransformerConfig(
        n_layers=config["n_layer"],
        d_model=config["n_embd"],
        d_head=config["n_embd"] // config["n_head"],
        n_heads=config["n_head"],
        n_ctx=config["n_positions"],
        d_vocab=config["vocab_size"],
        act_fn="gelu_new",
        normalization_type="LN",
        device="cpu",
        dtype=torch.float32,
    )
    source = GPT2LMHeadModel.from_pretrained(checkpoint, torch_dtype=torch.float32)
    if layers:
        cfg.n_layers = layers
    model = HookedTransformer(cfg)
    model.load_and_process_state_dict(convert_gpt2_weights(source, cfg))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, help="only the first so many")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    at = time.perf_counter()
    seconds = {"import": at - START}
    model = opened(arguments.checkpoint, arguments.layers)
    seconds["load and process"] = time.perf_counter() - at
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    scores = {}
    for mode in "QKV":
        at = time.perf_counter()
        scores[mode] = model.all_composition_scores(mode).numpy()
        seconds[mode] = time.perf_counter() - at
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "loaded_bytes": held, "peak_bytes": peak}), flush=True)
    if arguments.save:
        np.savez(arguments.save, **scores)


if __name__ == "__main__":
    main()
