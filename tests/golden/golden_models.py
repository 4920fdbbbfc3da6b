# SPDX-License-Identifier: MIT
"""What every golden checkpoint is made of: seeded weights, a model to compare with, config.json."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

OFFSETS = (0, 1, 2, 8)
NAMES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
Logits = Callable[[torch.Tensor], torch.Tensor]  # tokens [sequence, position] -> float64 logits


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Hugging Face's norms, softmax and rotary angles go through float32 by name; here that name
    means float64, so that a comparison is one of formulas and not of rounding."""
    before = torch.get_default_dtype()
    with (
        mock.patch.object(torch, "float32", torch.float64),
        mock.patch.object(torch, "float", torch.float64),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
    ):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


# ------------------------------------------------------------------------ making weights


def is_norm(name: str) -> bool:
    """Whether a tensor belongs to a norm, in the spelling of any of the sources."""
    return ".ln" in name or "norm" in name or name.startswith("ln_")


def fill(
    shapes: dict[str, tuple[int, ...]], seed: int, dtype: torch.dtype, norms: float = 1.0
) -> dict[str, torch.Tensor]:
    """Seeded values for every tensor: norms about ``norms``, biases about 0, the rest scaled by
    fan-in; the mean is not 0, so that a forgotten centring shows."""
    rng = np.random.default_rng(seed)
    out = {}
    for name in sorted(shapes):
        shape = shapes[name]
        value = rng.standard_normal(shape)
        if is_norm(name):
            bias = name.endswith((".bias", ".b"))
            value = 0.2 * value + (0.05 if bias else norms)
        elif len(shape) == 1 or ".b_" in name or name.endswith("_bias"):
            value = 0.3 * value + 0.1
        else:
            value = (value + 0.2) / math.sqrt(shape[-1])
        out[name] = torch.from_numpy(value).to(torch.float32).to(dtype)
    return out


@dataclass
class Golden:
    """One directory to be written."""

    name: str
    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    logits: Logits  # of an implementation that is not ours
    shards: int = 1
    hf: transformers.PreTrainedModel | None = None  # float64, same weights
    bridge: str = ""  # how far TransformerLens' own reading of ``hf`` agrees: raw, processed
    extra: dict[str, Any] | None = None  # further files, written as JSON


def saved_by_hf(
    model: transformers.PreTrainedModel, dtype: torch.dtype
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and config.json as save_pretrained writes them."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = load_file(Path(folder) / "model.safetensors")
        config = json.loads((Path(folder) / "config.json").read_text())
    config.pop("transformers_version", None)
    config["dtype"] = NAMES[dtype]
    return {k: v.to(dtype) for k, v in tensors.items()}, config


def hf_logits(model: transformers.PreTrainedModel) -> Logits:
    """Logits of a Hugging Face model in float64."""

    def run(tokens: torch.Tensor) -> torch.Tensor:
        with in_float64(), torch.no_grad():
            return model(tokens).logits

    return run


def make_hf(
    name: str,
    config: transformers.PreTrainedConfig,
    seed: int,
    dtype: torch.dtype = torch.float32,
    *,
    norms: float = 1.0,
    bridge: str = "processed",
    attention: str = "eager",
) -> Golden:
    """A checkpoint of a Hugging Face class, and the model itself in float64 for comparison."""
    config._attn_implementation = attention
    config._experts_implementation = "eager"
    with in_float64():
        model = transformers.AutoModelForCausalLM.from_config(config).double().eval()
    parameters = dict(model.named_parameters())
    values = fill({k: tuple(v.shape) for k, v in parameters.items()}, seed, dtype, norms)
    with torch.no_grad():
        for key, value in values.items():
            parameters[key].copy_(value)
    tensors, written = saved_by_hf(model, dtype)
    return Golden(name, written, tensors, hf_logits(model), hf=model, bridge=bridge)


def mask(positions: int) -> torch.Tensor:
    """The causal mask that old files keep for every layer, which is no weight."""
    return torch.tril(torch.ones(positions, positions)).view(1, 1, positions, positions)


def add_buffers(out: Golden, at: str, positions: int = 0, rotary_dim: int = 0) -> None:
    """What modules of transformers 4 kept beside the weights of each layer ``at``: causal mask and
    the score of what it masks, frequencies of the rotation."""
    layers = out.config.get("num_hidden_layers") or out.config.get("num_layers") or 0
    for layer in range(layers or out.config["n_layer"]):
        b = at.format(layer)
        if positions:
            out.tensors[b + "bias"] = mask(positions).to(torch.bool)
            out.tensors[b + "masked_bias"] = torch.tensor(-1e9)
        if rotary_dim:
            exponents = -torch.arange(0, rotary_dim, 2) / rotary_dim
            out.tensors[b + "rotary_emb.inv_freq"] = 10000.0**exponents


def legacy(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """config.json as transformers 4 wrote it: rope_theta and torch_dtype on the top level."""
    out = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype", "layer_types")}
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:
        out |= {"rope_theta": rope["rope_theta"], "rope_scaling": None}
    if "partial_rotary_factor" in rope:
        out["partial_rotary_factor"] = rope["partial_rotary_factor"]
    out["torch_dtype"] = config["dtype"]
    out |= changes
    return {k: v for k, v in out.items() if v is not REMOVED}


REMOVED = object()  # as a change of legacy(): a key that transformers 4 did not write
