# SPDX-License-Identifier: MIT
"""Results of compose held against composition.py, and against TransformerLens' own
all_composition_scores."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import xarray

import composition as ref
import reference
from checkpoint import Model, load, read_safetensors
from conftest import GOLDEN, SOURCE, Run
from outputs import CLOSE, OFFSETS, SETS, assert_close, compose_options, rotary

LENS = read_safetensors(SOURCE / "tests" / "data" / "composition.safetensors")
# A post-norm, grouped heads, an MLP with a gate and without, parallel, LayerNorm, no norm.
CASES = [
    ("gemma3_text", ()),
    ("llama", ("--route", "grams")),
    ("qwen2", ("--route", "cores")),
    ("gpt2", ()),
    ("gpt2", ("--raw",)),
    ("gpt_neox", ("--route", "grams")),
    ("transformer_lens_none", ()),
]


def assert_table(data: xarray.Dataset, name: str, theirs: np.ndarray) -> None:
    """Entries are there where they should be, and what they should be."""
    ours, there = data[name].values, np.isfinite(theirs)
    assert (np.isfinite(ours) == there).all(), f"{name}: not the same entries"
    assert_close(ours[there], theirs[there], name)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_values(run: Run, name: str, options: tuple[str, ...]) -> None:
    """Scores, excess and z of heads, at offsets, by components and of other parts."""
    model = load(GOLDEN / name)
    data = run("compose", GOLDEN / name, *compose_options(model), *options)
    if "--raw" not in options:
        model = reference.process(model)
    D = ref.dimension(model, "--raw" not in options)
    assert data.attrs["baseline_dimension"] == D
    assert abs(data.attrs["baseline"] - D**-0.5) < 1e-15
    z = partial(ref.z, dimension=D)
    scores = ref.of_heads(model, ref.score)
    assert_table(data, "score", scores)
    assert_table(data, "excess", scores - D**-0.5)
    assert_table(data, "z", ref.of_heads(model, z))
    if rotary(model):
        assert_table(data, "offset_score", ref.at_offsets(model, OFFSETS, ref.score))
        assert_table(data, "offset_z", ref.at_offsets(model, OFFSETS, z))
    pieces, *shares = ref.of_components(model, 2)
    for circuit, theirs in zip("qkv", pieces, strict=True):
        assert_table(data, f"component_score_{circuit}", theirs)
    for what, theirs in zip(("ov", "qk"), shares, strict=True):
        assert_table(data, f"component_share_{what}", theirs)
    for measure, what in ((ref.score, "score"), (z, "z")):
        assert_parts(data, model, measure, what)


def assert_parts(data: xarray.Dataset, model: Model, measure: ref.Measure, what: str) -> None:
    """Of parts to heads, heads to parts and parts to parts, by their names."""
    writers, readers = ref.writers(model, SETS), ref.readers(model, SETS)
    assert list(data["from"].values) == list(writers) and list(data["to"].values) == list(readers)
    heads = list(np.ndindex(model.cfg.n_layers, model.cfg.n_heads))
    shape = (model.cfg.n_layers, model.cfg.n_heads)
    read = [ref.head_readers(model, *at) for at in heads]
    wrote = [ref.head_writer(model, layer, (head,)) for layer, head in heads]
    theirs = [[[measure(w, r[c]) for r in read] for c in range(3)] for w in writers.values()]
    assert_table(data, f"from_{what}", np.reshape(theirs, (len(writers), 3, *shape)))
    theirs = [[measure(w, r) for w in wrote] for r in readers.values()]
    assert_table(data, f"to_{what}", np.reshape(theirs, (len(readers), *shape)))
    theirs = [[measure(w, r) for r in readers.values()] for w in writers.values()]
    assert_table(data, f"between_{what}", np.array(theirs))


@pytest.mark.parametrize("name", sorted({key.split(".")[0] for key in LENS}))
def test_transformer_lens(run: Run, name: str) -> None:
    """Scores are those of TransformerLens, which has 0 where ours have no value."""
    data = run("compose", GOLDEN / name, *compose_options(load(GOLDEN / name)))
    for circuit in "QKV":
        theirs = LENS[f"{name}.{circuit}"]
        ours = data["score"].sel(circuit=circuit).values
        assert (np.isnan(ours) == (theirs == 0)).all(), circuit
        assert np.nanmax(np.abs(ours - theirs)) <= CLOSE, circuit
