# SPDX-License-Identifier: MIT
"""otimes neurons as a reader meets it: its schema, and every architecture's neurons against products
in float64 of weights that reference.py processed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray

import reference as ref
from canonical import Array, Model
from checkpoint import load
from conftest import GOLDEN, Run
from test_outputs import MODELS, assert_schema

VOCAB = ("mean", "variance", "skew", "kurtosis", "max", "min")
ENDS = ("top_value", "top_id", "bottom_value", "bottom_id")
# test_neurons.c takes all of them; these are every third and each kind of MLP.
KINDS = {"gemma2", "gpt_oss", "olmo2", "qwen2_moe", "qwen2_moe_dense"}
SOME = sorted({*MODELS[::3], *KINDS})
CLOSE = 2e-5  # float32 weights and products of a dozen entries, moments of two dozen tokens


def parts_of(model: Model, layer: int) -> list[str]:
    """Where the layer's MLPs are, in the order of their neurons."""
    at = f"blocks.{layer}.mlp."
    experts = [f"{at}experts.{i}." for i in range(ref.count_experts(model, layer))]
    return [p for p in [at, *experts, at + "shared."] if p + "W_in" in model.tensors]


def expected_arrays(model: Model) -> set[str]:
    """Those beyond the MUST ones, of a run with everything on."""
    gated = "W_gate" in " ".join(model.tensors)
    sides = ("out", "in", "gate") if gated else ("out", "in")
    ways = ("q", "k", "v", "in", "gate") if gated else ("q", "k", "v", "in")
    names = {f"{s}_{what}" for s in sides for what in VOCAB + ENDS}
    names |= {f"{w}_{what}" for w in ways for what in ("score", "head", "table")}
    names |= {"null_share", "unembed_singular_values"}
    names |= {"gate_norm", "b_gate", "cos_gate_out", "cos_in_gate"} if gated else set()
    return names | ({"expert"} if model.cfg.experts else set())


def assert_rows(data: xarray.Dataset, side: str, layer: int, w: Array, x: Array) -> None:
    """Vectors w [neuron, d_model] and their rows x [neuron, token] over the vocabulary."""

    def ours(name: str) -> Any:
        return data[f"{side}_{name}"].values[layer, : len(w)]

    scale = np.abs(x).max() + 1e-30
    assert np.abs(ours("norm") - np.linalg.norm(w, axis=1)).max() <= CLOSE * np.linalg.norm(w)
    y = x - x.mean(axis=1, keepdims=True)
    m2, m3, m4 = ((y**p).mean(axis=1) for p in (2, 3, 4))
    assert np.abs(ours("mean") - x.mean(axis=1)).max() <= CLOSE * scale
    assert np.abs(ours("variance") - m2).max() <= CLOSE * scale**2
    wide = np.sqrt(m2) > 1e-2 * scale
    assert np.abs(ours("skew") - m3 / m2**1.5)[wide].max(initial=0) <= 100 * CLOSE
    assert np.abs(ours("kurtosis") - (m4 / m2**2 - 3))[wide].max(initial=0) <= 1000 * CLOSE
    top, bottom = ours("top_value"), ours("bottom_value")
    order = np.sort(x, axis=1)
    kept = min(top.shape[1], x.shape[1])
    assert np.abs(top[:, :kept] - order[:, ::-1][:, :kept]).max() <= CLOSE * scale
    assert np.abs(bottom[:, :kept] - order[:, :kept]).max() <= CLOSE * scale
    for end, value in (("top_id", top), ("bottom_id", bottom)):
        named = np.take_along_axis(x, ours(end)[:, :kept], axis=1)
        assert np.abs(named - value[:, :kept]).max() <= CLOSE * scale


@pytest.mark.parametrize("name", SOME)
def test_neurons(run: Run, name: str) -> None:
    raw = load(GOLDEN / name)
    if not any(parts_of(raw, layer) for layer in range(raw.cfg.n_layers)):
        pytest.skip("attention alone")
    data = run("neurons", GOLDEN / name, "--composition", "--null", "2", "--top", "4")
    assert_schema(data, "neurons", expected_arrays(raw))
    model = ref.process(raw)
    W_E, W_U = model["embed.W_E"], model["unembed.W_U"]
    sigma = np.linalg.svd(W_U, compute_uv=False)
    ours = data.unembed_singular_values.values[: len(sigma)]
    assert np.allclose(ours, sigma, atol=CLOSE * sigma[0])
    for layer in range(model.cfg.n_layers):
        parts = parts_of(model, layer)
        post = model.get(f"blocks.{layer}.ln2_post.w")
        out = np.concatenate([model[p + "W_out"] for p in parts]) * (1 if post is None else post)
        read = np.concatenate([model[p + "W_in"].T for p in parts])
        assert_rows(data, "out", layer, out, out @ W_U)
        assert_rows(data, "in", layer, read, read @ W_E.T)
        if parts[0] + "W_gate" in model.tensors:
            gate = np.concatenate([model[p + "W_gate"].T for p in parts])
            assert_rows(data, "gate", layer, gate, gate @ W_E.T)
        norms = np.linalg.norm(out, axis=1) * np.linalg.norm(read, axis=1)
        cosine = (out * read).sum(axis=1) / np.where(norms > 0, norms, np.nan)
        ours = data.cos_in_out.values[layer]
        assert np.allclose(ours[: len(out)], cosine, atol=CLOSE, equal_nan=True)
        assert np.isnan(ours[len(out) :]).all()
    assert np.nanmin(data.null_share) >= 0 and np.nanmax(data.null_share) <= 1 + CLOSE


def test_attributes(run: Run) -> None:
    """What is said of neurons of experts, and of raw weights."""
    facts = run("neurons", GOLDEN / "qwen2_moe", "--experts", "3", "--raw").attrs
    assert facts["n_experts"] == 3 and facts["neurons_of"].startswith("experts")
    assert facts["reading_side"] == "weights without the weights and the centring of their norm"
