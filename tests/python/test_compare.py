# SPDX-License-Identifier: MIT
"""otimes compare as a reader meets it: its page, and a few numbers by NumPy and SciPy's conventions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray

from conftest import GOLDEN, Run
from outputs import assert_schema

CIRCUITS = ("OV", "QK")
MAPS = ("cosine", "cosine_z", "cka", "cka_expected", "cka_z", "procrustes", "procrustes_distance")
SUBSPACES = ("kernel", "kernel_z", "largest_cosine", "mean_cosine", "angle_cosines")
EXPECTED = ("kernel", "largest_cosine", "mean_cosine", "procrustes")
PAIRS = (
    {f"{c}_{m}" for c in CIRCUITS for m in MAPS}
    | {f"{s}_{m}" for s in "QKVO" for m in SUBSPACES}
    | {f"{m}_expected" for m in EXPECTED}
)
MATCHED = {"match_layer", "match_head", "match_similarity", "layer_similarity", "matched_layer"}
REFERENCES = ("previous", "first", "last")
DRIFT = (
    {f"{c}_{m}_{r}" for c in CIRCUITS for m in ("cosine", "cka") for r in REFERENCES}
    | {f"{c}_norm_ratio" for c in CIRCUITS}
    | {"k_composition"}
)


def heads_of(run: Run, path: Path) -> dict[str, np.ndarray]:
    """W_OV and W_QK of every head as whole matrices, [heads in all, d_model, d_model]."""
    data = run("heads", path, "--matrices", "products")
    found = {}
    for circuit in CIRCUITS:
        matrix = data[circuit].values.astype(np.float64)
        found[circuit] = matrix.reshape(-1, *matrix.shape[-2:])
    return found


def flat(data: xarray.Dataset, name: str) -> np.ndarray:
    """[other_model, heads, other heads]."""
    values = data[name].values
    return values.reshape(values.shape[0], values.shape[1] * values.shape[2], -1)


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_one_model(run: Run, name: str) -> None:
    """Every array of the page for a model beside itself; CKA and cosine by NumPy."""
    path = GOLDEN / name
    data = run("compare", path, "--angles")
    assert_schema(data, "compare", PAIRS | {"linkage", "cluster_order"})
    assert data.attrs["matching"] == "none"
    for circuit, W in heads_of(run, path).items():
        unit = W / np.linalg.norm(W, axis=(1, 2), keepdims=True)
        cosine = np.einsum("iab,jab->ij", unit, unit)
        cross = np.einsum("iab,jac->ijbc", W, W)
        square = (cross**2).sum(axis=(2, 3))
        cka = square / np.sqrt(np.outer(np.diag(square), np.diag(square)))
        assert np.abs(flat(data, f"{circuit}_cosine")[0] - cosine).max() < 2e-6
        assert np.abs(flat(data, f"{circuit}_cka")[0] - cka).max() < 2e-6
    order = data.cluster_order.values
    assert sorted(order) == list(range(data.sizes["node"]))
    assert data.cluster_order.attrs["labels_of"] == "node" and data.node.values[0] == "L0H0"
    assert (np.diff(data.linkage.values[:, 2]) >= 0).all()


def test_checkpoints(run: Run) -> None:
    """Three models of one shape: matching and drift besides."""
    path = GOLDEN / "llama"
    others = [str(path), str(path)]
    data = run("compare", path, *others, "--angles", "--labels", "a,b,c")
    assert_schema(data, "compare", PAIRS | MATCHED | DRIFT)
    assert list(data.model.values) == ["a", "b", "c"]
    assert list(data.other_model.values) == ["b", "c"]
    heads = np.broadcast_to(data["head"].values, data.match_head.shape)
    assert (data.match_head.values == heads).all()
    assert np.isnan(data.OV_cosine_previous.values[0]).all()
    assert np.abs(data.OV_cosine_previous.values[1:] - 1).max() < 1e-6
    assert (data.matched_layer.values == data.layer.values).all()


def test_two_widths(run: Run) -> None:
    """Vocabularies of one size meet when they are said to be one; nothing about drift."""
    data = run("compare", GOLDEN / "phi", str(GOLDEN / "gpt_neo"), "--same-vocab", "--angles")
    assert_schema(data, "compare", PAIRS | MATCHED)
    assert data.attrs["space"] == "the vocabulary, centred over its tokens"
    assert np.isnan(data.OV_cka_z.values).all() and np.isfinite(data.OV_cka_expected.values).any()
    known = data.similarity.values[np.isfinite(data.similarity.values)]
    assert known.size and (known >= 0).all() and (known <= 1 + 1e-6).all()
