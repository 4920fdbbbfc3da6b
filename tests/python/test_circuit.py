# SPDX-License-Identifier: MIT
"""Full circuits over the vocabulary, held against reference.py's products in float64."""

from __future__ import annotations

import numpy as np
import pytest
import xarray

import reference as ref
from checkpoint import Model, load
from conftest import GOLDEN, Run
from outputs import assert_close, rotary

ALL = ("--top", "4", "--bottom", "3", "--side", "both", "--statistics", "--full", "--largest", "5")
HISTOGRAM = "--histogram=-0.1:0.1:8"


def circuit_table(model: Model, which: str, layer: int, head: int, offset: int) -> np.ndarray:
    if which == "ov":
        A, B = ref.full_ov(model, layer, head)
        return A @ B
    W_E = model["embed.W_E"]
    turned = rotary(model)
    A, B = ref.qk_rotary(model, layer, head, offset) if turned else ref.qk(model, layer, head)
    if which.startswith("kcomp:"):
        earlier = tuple(int(i) for i in which.partition(":")[2].split("."))
        V, out = ref.ov(model, *earlier)
        _, B = ref.qk(model, layer, head)
        B = B @ (V @ out).T
    return W_E @ A @ B @ W_E.T / model.cfg.attn_scale


def assert_lists(data: xarray.Dataset, prefix: str, at: int, table: np.ndarray) -> None:
    """Both ends of every row of the table: values in order, each where its id says."""
    scale = np.abs(table).max()
    for end, ordered in (("top", -np.sort(-table, axis=1)), ("bottom", np.sort(table, axis=1))):
        value = data[f"{prefix}{end}_value"].values[at]
        ids = data[f"{prefix}{end}_id"].values[at]
        assert_close(value, ordered[:, : value.shape[1]], f"{prefix}{end}_value", scale)
        assert_close(np.take_along_axis(table, ids, 1), value, f"{prefix}{end}_id", scale)


def assert_circuit(data: xarray.Dataset, at: int, table: np.ndarray, one_vocabulary: bool) -> None:
    scale = np.abs(table).max()
    assert_close(data.table.values[at], table, "table", scale)
    assert_lists(data, "", at, table)
    assert_lists(data, "column_", at, table.T)
    for name, expected in (
        ("row_mean", table.mean(1)),
        ("row_std", table.std(1)),
        ("row_max", table.max(1)),
        ("row_min", table.min(1)),
        ("row_logsumexp", np.log(np.exp(table).sum(1))),
    ):
        assert_close(data[name].values[at], expected, name, max(scale, 1))
    if one_vocabulary:
        assert_close(data.diagonal_value.values[at], np.diag(table), "diagonal_value", scale)
    else:
        assert np.isnan(data.diagonal_value.values[at]).all()
        assert (data.diagonal_rank.values[at] == -1).all()
    for name, ordered in (("largest", -np.sort(-table, None)), ("smallest", np.sort(table, None))):
        value = data[f"{name}_value"].values[at]
        assert_close(value, ordered[: len(value)], name, scale)
        place = data[f"{name}_row"].values[at], data[f"{name}_column"].values[at]
        assert_close(table[place], value, f"places of {name}", scale)
    counts = data.histogram.values[at].sum()
    outside = data.histogram_below.values[at] + data.histogram_above.values[at]
    assert counts + outside == table.size
    assert abs(int(data.histogram_below.values[at]) - int((table < -0.1).sum())) <= 1


@pytest.mark.parametrize("which", ["ov", "qk", "kcomp:0.1"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gptj", "qwen2", "transformer_lens_none"])
def test_circuit(run: Run, name: str, which: str) -> None:
    """Every array of the last layer's heads."""
    model = load(GOLDEN / name)
    done = ref.process(model)
    layer = model.cfg.n_layers - 1
    chosen = [(layer, head) for head in range(0, model.cfg.n_heads, 2)]
    heads = ",".join(f"{la}.{h}" for la, h in chosen)
    data = run("circuit", GOLDEN / name, "--head", heads, "--which", which, HISTOGRAM, *ALL)
    assert list(data["head"].values) == heads.split(",")
    one = which != "ov" or model.cfg.d_vocab == model.cfg.d_vocab_out
    for at, (la, head) in enumerate(chosen):
        assert_circuit(data, at, circuit_table(done, which, la, head, 0), one)


@pytest.mark.parametrize("name", ["llama_scaled", "gptj"])
def test_offset(run: Run, name: str) -> None:
    """QK under rotary positions, with what is beyond a threshold of either sign."""
    model = load(GOLDEN / name)
    table = circuit_table(ref.process(model), "qk", 0, 1, 6)
    for sign in (1, -1):
        least = sign * np.abs(table).max() / 3
        beyond = f"--threshold={float(least)!r}"
        options = ("--head", "0.1", "--which", "qk", "--offset", "6", "--top", "2")
        data = run("circuit", GOLDEN / name, *options, beyond)
        rows, columns = np.nonzero(sign * table >= sign * least)
        assert list(data.entry_row.values) == list(rows)
        assert list(data.entry_column.values) == list(columns)
        assert_close(data.entry_value.values, table[rows, columns], "entry_value")
        assert (data.entry_head.values == 0).all() and data.attrs["offset"] == 6
