# SPDX-License-Identifier: MIT
"""Whose memory arrays show, how long it lives, and that all of it is given back."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

import numpy as np
import pytest
from conftest import BUNDLED, GOLDEN

import otimes
from otimes._otimes import ffi
from otimes._weights import LAYER_WEIGHTS, LayerMemory

PAGE = os.sysconf("SC_PAGE_SIZE")


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def layer_of(array: np.ndarray) -> LayerMemory:
    """The layer that an array shows a part of."""
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base.owner  # type: ignore[union-attr]


def test_weights_are_the_librarys_memory(model: otimes.Model) -> None:
    w = model.W_Q[1, 2]
    memory = layer_of(w)
    tensor = memory.layer.W_Q
    begin = int(ffi.cast("uintptr_t", tensor.data))
    assert address(w) == begin + 4 * 2 * tensor.stride[0]
    assert w.shape == (tensor.dim[1], tensor.dim[2])
    tensor.data[2 * tensor.stride[0] + 5] = 1234.5  # seen through, since it is the same memory
    assert w[0, 5] == 1234.5


def test_heads_are_views_of_one_layer(model: otimes.Model) -> None:
    whole, part = model.W_O[0], model.W_O[0, 3]
    assert np.shares_memory(whole, part)
    assert address(part) == address(whole[3])
    assert np.shares_memory(model.OV(0, 3).B, whole)
    assert np.shares_memory(model.QK("0.1").B, model.W_K[0])


def test_views_are_read_only(model: otimes.Model) -> None:
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(model.W_E)[0] = 0
    for array in (model.W_Q[0], model.W_Q[0, 0], model.b_U, model.heads()["OV_norm"].values):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError):
            array.flags.writeable = True


def test_what_is_shown_is_not_read_again(model: otimes.Model) -> None:
    first = model.W_in[0] if model.cfg.mlp != "none" else model.W_Q[0]
    memory = layer_of(first)
    for layer in range(model.cfg.n_layers):  # pushes it out of what stays read anyway
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            assert model._layer_weight(name)[layer] is not None
    second = model.W_in[0] if model.cfg.mlp != "none" else model.W_Q[0]
    assert layer_of(second) is memory


def test_a_layer_goes_with_its_last_view() -> None:
    with otimes.open(GOLDEN / "llama") as model:
        view = model.W_in[0]
        name = (0, LAYER_WEIGHTS["W_in"][0])
        assert name in model._layers.shown
        row = view[3]
        del view
        assert name in model._layers.shown
        del row
        assert name not in model._layers.shown


def test_views_outlive_the_model() -> None:
    with otimes.open(BUNDLED) as model:
        w, e, result, bias = model.W_Q[1, 0], model.W_E[3], model.heads()["OV_singular_values"], model.b_U
        copies = [np.array(a, copy=True) for a in (w, e, result.values, bias)]
    del model
    gc.collect()
    otimes.open(BUNDLED).heads()  # others take memory that would have been freed
    for array, copy in zip((w, e, result.values, bias), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_results_are_the_sinks_memory(model: otimes.Model) -> None:
    values = model.bigram(top=3)["top_value"].values
    assert not values.flags.owndata
    kept = values[5:7, 1:]
    expected = kept.copy()
    del values
    gc.collect()
    model.bigram(top=3)
    np.testing.assert_array_equal(kept, expected)


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE


TINY = GOLDEN / "gpt2"


def everything() -> None:
    model = otimes.open(TINY)
    assert model.W_Q[1, 0].size and model.W_in[0].size and model.W_E[3].size and model.W_U[:, 5].size
    assert model.OV(1, 0).norm() > 0 and model.b_U.size
    pytest.raises(otimes.ArgumentError, model.qk, top=-1)
    pytest.raises(otimes.FileError, otimes.open, "/nowhere")


CYCLES: dict[str, Callable[[], object]] = {
    "open and close": lambda: otimes.open(BUNDLED).close(),
    "layers, factors, rows, errors": everything,
    "tokenizer": lambda: otimes.open(BUNDLED).to_tokens("Once upon a time"),
}


@pytest.mark.parametrize("name", CYCLES)
def test_a_thousand_cycles_take_no_memory(name: str) -> None:
    """A cycle that loses 4 KiB would be seen four times over; what allocators keep to themselves is less."""
    cycle = CYCLES[name]
    for _ in range(30):
        cycle()
    gc.collect()
    before, files = resident(), len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        cycle()
    gc.collect()
    assert resident() - before < 1 << 20
    assert len(os.listdir("/proc/self/fd")) == files


def test_a_thousand_results_take_no_memory() -> None:
    with otimes.open(TINY, sha256=False) as model:
        for _ in range(30):
            model.info()
        gc.collect()
        before = resident()
        for _ in range(1000):
            model.info()
            assert model.logits(tokens=[1, 2, 3], top=2)["top_value"].values.base is not None
        gc.collect()
        assert resident() - before < 2 << 20


def test_no_circles() -> None:
    """Everything goes by reference counts: large memory never waits for the collector."""
    gc.collect()
    gc.disable()
    try:
        import weakref

        model = otimes.open(BUNDLED)
        gone = weakref.ref(model)
        result = model.heads()
        sink = result["OV_norm"].values.base
        held = weakref.ref(sink.owner)
        assert model.W_Q[0] is not None and model.W_E[0] is not None and model.W_U[:, 0] is not None
        del model
        assert gone() is None
        del result, sink
        if held() is not None:  # xarray's own objects may be in circles; ours may not
            referrers = [type(r).__module__ for r in gc.get_referrers(held())]
            assert not any(module.startswith("otimes.") and "_results" not in module for module in referrers)
    finally:
        gc.enable()
