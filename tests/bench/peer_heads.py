# SPDX-License-Identifier: MIT
"""The quantities of ``otimes heads`` by TransformerLens in torch float32, the usual way.

``peer_heads.py CHECKPOINT [--threads N] [--layers N] [--save OUT.npz]``. CHECKPOINT is a GPT-2
under Hugging Face's names. Weights are processed by TransformerLens' own functions, every circuit
is a FactoredMatrix, head by head (its batched form needs 1.9 GB a factor). Prints seconds by phase
and peak memory as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from safetensors.torch import load_file
from transformer_lens import FactoredMatrix, TransformerBridgeConfig
from transformer_lens.weight_processing import ProcessWeights

State = dict[str, torch.Tensor]


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def convert(files: State, config: dict[str, int]) -> State:
    """Hugging Face's GPT-2 under TransformerLens' names and layout (as its 1.x and 2.x did it)."""
    t = {k.removeprefix("transformer."): v for k, v in files.items()}
    heads, d_model = config["n_head"], config["n_embd"]
    d_head = d_model // heads
    out: State = {
        "embed.W_E": t["wte.weight"],
        "pos_embed.W_pos": t["wpe.weight"],
        "ln_final.w": t["ln_f.weight"],
        "ln_final.b": t["ln_f.bias"],
        "unembed.W_U": t["wte.weight"].T.clone(),
        "unembed.b_U": torch.zeros(config["vocab_size"]),
    }
    for layer in range(config["n_layer"]):
        h, b = f"h.{layer}.", f"blocks.{layer}."
        weights = torch.tensor_split(t[h + "attn.c_attn.weight"], 3, dim=1)
        biases = torch.tensor_split(t[h + "attn.c_attn.bias"], 3)
        for part, W, bias in zip("QKV", weights, biases, strict=True):
            out[b + f"attn.W_{part}"] = (
                W.reshape(d_model, heads, d_head).permute(1, 0, 2).contiguous()
            )
            out[b + f"attn.b_{part}"] = bias.reshape(heads, d_head)
        out[b + "attn.W_O"] = t[h + "attn.c_proj.weight"].reshape(heads, d_head, d_model)
        out[b + "attn.b_O"] = t[h + "attn.c_proj.bias"]
        out[b + "mlp.W_in"], out[b + "mlp.b_in"] = t[h + "mlp.c_fc.weight"], t[h + "mlp.c_fc.bias"]
        out[b + "mlp.W_out"], out[b + "mlp.b_out"] = (
            t[h + "mlp.c_proj.weight"],
            t[h + "mlp.c_proj.bias"],
        )
        for i in (1, 2):
            out[b + f"ln{i}.w"], out[b + f"ln{i}.b"] = (
                t[h + f"ln_{i}.weight"],
                t[h + f"ln_{i}.bias"],
            )
    return out


def process(state: State, config: dict[str, int]) -> State:
    """TransformerLens' default processing, by its own functions."""
    cfg = TransformerBridgeConfig(
        d_model=config["n_embd"],
        d_head=config["n_embd"] // config["n_head"],
        n_layers=config["n_layer"],
        n_ctx=config["n_positions"],
        n_heads=config["n_head"],
        d_vocab=config["vocab_size"],
        d_mlp=4 * config["n_embd"],
        act_fn="gelu_new",
        normalization_type="LN",
    )
    return ProcessWeights.process_weights(state, cfg)


def effective_rank(sigma: torch.Tensor) -> torch.Tensor:
    """exp(entropy(sigma / sum sigma))."""
    p = sigma / sigma.sum()
    return torch.exp(-torch.xlogy(p, p).sum())


def quantities(matrix: FactoredMatrix) -> dict[str, np.ndarray]:
    """Norm, singular values, eigenvalues, trace, positivity and effective rank of one circuit."""
    sigma = matrix.S
    values = matrix.eigenvalues
    return {
        "norm": matrix.norm().numpy(),
        "singular_values": sigma.numpy(),
        "effective_rank": effective_rank(sigma).numpy(),
        "eigenvalues": values.numpy(),
        "trace": values.sum().real.numpy(),
        "positivity": (values.sum().real / values.abs().sum()).numpy(),
    }


def head_quantities(state: State, layer: int, head: int, clock: Clock) -> dict[str, np.ndarray]:
    """Every quantity of one head under otimes' names."""
    W_Q, W_K, W_V, W_O = (state[f"blocks.{layer}.attn.W_{p}"][head] for p in "QKVO")
    W_E, W_U, W_pos = state["embed.W_E"], state["unembed.W_U"], state["pos_embed.W_pos"]
    scale = W_Q.shape[1] ** 0.5
    ov, qk = FactoredMatrix(W_V, W_O), FactoredMatrix(W_Q, W_K.T)
    out: dict[str, np.ndarray] = {}
    with clock.phase("circuits"):
        for name, matrix in (("OV_", ov), ("QK_", qk)):
            out |= {name + k: v for k, v in quantities(matrix).items()}
    with clock.phase("full circuits"):
        tokens = FactoredMatrix(W_E @ W_Q / scale, W_K.T @ W_E.T)
        for name, matrix in (("full_OV_", W_E @ ov @ W_U), ("full_QK_", tokens)):
            out |= {name + k: v for k, v in quantities(matrix).items()}
    with clock.phase("positions"):
        place_q, place_k = W_pos @ W_Q / scale, W_K.T @ W_pos.T
        for name, A, B in (
            ("token_position", tokens.A, place_k),
            ("position_token", place_q, tokens.B),
            ("position_position", place_q, place_k),
        ):
            out[f"QK_position_{name}"] = FactoredMatrix(A, B).norm().numpy()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, help="only the first so many")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    config = json.loads((arguments.checkpoint / "config.json").read_text())
    clock = Clock()
    with clock.phase("load"):
        state = convert(load_file(arguments.checkpoint / "model.safetensors"), config)
    with clock.phase("process"):
        state = process(state, config)
    layers = arguments.layers or config["n_layer"]
    rows = [
        [head_quantities(state, l, h, clock) for h in range(config["n_head"])]
        for l in range(layers)
    ]
    if arguments.save:
        np.savez(
            arguments.save,
            **{k: np.array([[h[k] for h in row] for row in rows]) for k in rows[0][0]},
        )
    print(
        json.dumps(
            {
                "heads": layers * config["n_head"],
                "threads": torch.get_num_threads(),
                "seconds": clock.seconds,
                "total_seconds": sum(clock.seconds.values()),
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
