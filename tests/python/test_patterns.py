# SPDX-License-Identifier: MIT
"""otimes patterns as a reader meets it: every architecture's patterns against forward.py, and the
scores that follow from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray

import forward
import reference as ref
from canonical import Array, Model
from checkpoint import load
from conftest import GOLDEN, Run
from outputs import MODELS, assert_schema

TEXT = (2, 5, 2, 2, 5, 1, 2, 5)
TOKENS = ",".join(map(str, TEXT))
SCORES = {
    "previous_token",
    "current_token",
    "first_token",
    "duplicate_token",
    "induction",
    "entropy",
    "entropy_share",
}
TEXTS = {"token_id", "mask", "length", "query_count"} | SCORES
REPEATED = {
    "repeated_id",
    "repeated_previous_token",
    "repeated_duplicate_token",
    "repeated_induction",
}


def patterns_of(model: Model, monkeypatch: pytest.MonkeyPatch) -> Array:
    """[layer, head, query, key] in float64: what forward.py makes on its way to the logits."""
    found: dict[tuple[int, int], Array] = {}
    inner = forward.pattern

    def keep(model: Model, layer: int, head: int, q: Array, k: Array) -> Array:
        found[layer, head] = inner(model, layer, head, q, k)
        return found[layer, head]

    monkeypatch.setattr(forward, "pattern", keep)
    forward.logits(model, np.array(TEXT))
    shape = (model.cfg.n_layers, model.cfg.n_heads, len(TEXT), len(TEXT))
    return np.array([found[place] for place in sorted(found)]).reshape(shape)


def expected_sometimes(model: Model, data: xarray.Dataset) -> set[str]:
    """Arrays that this model has beyond those of every text."""
    out = {"token"} if "token" in data else set()
    if model.get("blocks.0.attn.sinks") is not None:
        out.add("sink")
    return out | (set() if model.cfg.causal else {"next_token"})


@pytest.mark.parametrize("raw", [False, True], ids=["processed", "raw"])
@pytest.mark.parametrize("name", MODELS)
def test_patterns(run: Run, name: str, raw: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 softmaxes of float32 scores: entries are at most 1, scores of goldens at most tens."""
    model = load(GOLDEN / name)
    options = ["--tokens", TOKENS, "--full", "--top", "2", "--offsets", "0,1", "--repeated", "2"]
    data = run("patterns", GOLDEN / name, *options, *(["--raw"] if raw else []))
    sometimes = TEXTS | REPEATED | {"pattern", "top_key", "top_weight", "offset_score"}
    assert_schema(data, "patterns", sometimes | expected_sometimes(model, data))
    theirs = patterns_of(model if raw else ref.process(model), monkeypatch)
    ours = data.pattern.values[0]
    assert np.abs(ours - theirs).max() < 2e-5
    diagonal = np.diagonal(theirs, axis1=2, axis2=3).mean(axis=-1)
    below = np.diagonal(theirs, -1, 2, 3).mean(axis=-1)
    assert np.abs(data.current_token.values[0] - diagonal).max() < 2e-5
    assert np.abs(data.previous_token.values[0] - below).max() < 2e-5
    assert np.allclose(data.offset_score.values[0, ..., 0], data.current_token.values[0], 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(theirs > 0, theirs * np.log(theirs), 0).sum(-1).mean(-1)
    assert np.abs(data.entropy.values[0] - entropy).max() < 1e-4


def test_texts_of_different_length(run: Run, tmp_path: Path) -> None:
    """What is beyond a text is NaN or -1, and a mean over texts is weighted by query_count."""
    lines = tmp_path / "lines"
    lines.write_text("self.x = self.x\nself\n")
    path = GOLDEN.parents[1] / "notebooks-data" / "induction-2l"
    data = run("patterns", path, "--text-file", str(lines), "--full", "--top", "3")
    assert_schema(data, "patterns", TEXTS | {"token", "pattern", "top_key", "top_weight"})
    n, m = data.length.values
    assert n > m >= 1 and data.sizes["key_position"] == n
    pattern = data.pattern.values
    assert np.isnan(pattern[1, :, :, m:]).all() and np.isnan(pattern[1, :, :, :, m:]).all()
    assert np.allclose(pattern[0].sum(-1), 1, atol=1e-6)
    assert (data.top_key.values[1, :, :, m:] == -1).all()
    weight = data.query_count.sel(score="current_token")
    mean = data.current_token.fillna(0).weighted(weight).mean("text")
    both = [np.diagonal(pattern[t, :, :, :k, :k], axis1=2, axis2=3) for t, k in ((0, n), (1, m))]
    assert np.allclose(mean, np.concatenate(both, axis=-1).mean(-1), atol=1e-6)


def test_repeated_alone(run: Run) -> None:
    """No text, no array of texts."""
    data = run("patterns", GOLDEN / "gpt2", "--repeated", "3", "--count", "2", "--seed", "7")
    assert_schema(data, "patterns", REPEATED)
    assert data.attrs["repeated"] == 3 and data.attrs["seed"] == 7
    ids = data.repeated_id.values
    assert ids.shape == (2, 6 + (data.attrs["repeated_bos"] >= 0))
    assert (ids[:, -3:] == ids[:, -6:-3]).all()


def test_positions(run: Run) -> None:
    """Queries that were asked for, under their numbers."""
    options = ["--tokens", TOKENS, "--positions", "2,5-6", "--full"]
    data = run("patterns", GOLDEN / "gpt2", *options)
    whole = run("patterns", GOLDEN / "gpt2", "--tokens", TOKENS, "--full")
    assert list(data.query_position.values) == [2, 5, 6]
    assert (data.pattern.values == whole.pattern.values[..., [2, 5, 6], :]).all()
    current = np.diagonal(whole.pattern.values, axis1=3, axis2=4)[..., [2, 5, 6]].mean(-1)
    assert np.allclose(data.current_token, current, atol=1e-7)
