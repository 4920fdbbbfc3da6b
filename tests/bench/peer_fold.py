# SPDX-License-Identifier: MIT
"""Opens and folds a GPT-2 by transformers and TransformerLens, up to the first number.

``peer_fold.py CHECKPOINT [--threads N] [--save OUT.npz]``. CHECKPOINT is a local folder, loaded by
``GPT2LMHeadModel.from_pretrained`` and handed to ``TransformerBridge`` (what replaced
``HookedTransformer.from_pretrained(hf_model=...)`` in TransformerLens 4), processed by its
``enable_compatibility_mode``. The first number is the Frobenius norm of W_OV of head 0.0. Prints it
with seconds by phase as one JSON object. --save keeps some folded tensors to compare, afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from unittest import mock

START = time.perf_counter()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from transformer_lens import FactoredMatrix
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2LMHeadModel

TOKENIZER = "transformer_lens.model_bridge.sources.transformers.source.configure_tokenizer"
ROWS = 64  # of the embedding, and as many columns of the unembedding


def opened(checkpoint: Path) -> TransformerBridge:
    """The model as it is in the file. Nothing is tokenized here, and no tokenizer is loaded."""
    model = GPT2LMHeadModel.from_pretrained(checkpoint, dtype=torch.float32)
    with mock.patch(TOKENIZER, lambda tokenizer, _: tokenizer):
        return TransformerBridge.boot_transformers(
            "gpt2", hf_model=model, tokenizer=mock.MagicMock(), dtype=torch.float32, device="cpu"
        )


def sample(bridge: TransformerBridge, layers: list[int]) -> dict[str, np.ndarray]:
    """Folded tensors under TransformerLens' names: whole layers, and a little of both ends."""
    out = {
        "embed.W_E": bridge.W_E[:ROWS],
        "pos_embed.W_pos": bridge.W_pos[:ROWS],
        "unembed.W_U": bridge.W_U[:, :ROWS],
        "unembed.b_U": bridge.b_U,
    }
    for layer in layers:
        block, at = bridge.blocks[layer], f"blocks.{layer}."
        out |= {at + f"attn.{k}": getattr(block.attn, k) for k in ("W_Q", "W_K", "W_V", "W_O")}
        out |= {at + f"attn.{k}": getattr(block.attn, k) for k in ("b_Q", "b_K", "b_O")}
        out |= {at + f"mlp.{k}": getattr(block.mlp, k) for k in ("W_in", "b_in", "W_out", "b_out")}
    return {k: v.numpy() for k, v in out.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    at = [("import", START, time.perf_counter())]
    bridge = opened(arguments.checkpoint)
    at.append(("load", at[-1][2], time.perf_counter()))
    bridge.enable_compatibility_mode(disable_warnings=True)
    at.append(("process", at[-1][2], time.perf_counter()))
    attention = bridge.blocks[0].attn
    number = float(FactoredMatrix(attention.W_V[0], attention.W_O[0]).norm())
    at.append(("number", at[-1][2], time.perf_counter()))
    print(json.dumps({"OV_norm": number, "seconds_by_phase": {k: b - a for k, a, b in at}}), flush=True)
    if arguments.save:
        np.savez(arguments.save, **sample(bridge, [0, bridge.cfg.n_layers - 1]))


if __name__ == "__main__":
    main()
