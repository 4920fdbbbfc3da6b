# SPDX-License-Identifier: MIT
"""Composition scores in plain NumPy float64: dense matrices, one pair at a time.

Beside reference.py, from which W_OV and W_QK come; the whole is one symmetric form for each writer
and each reader of the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import reference as ref
from canonical import Array, Model


@dataclass(frozen=True)
class End:
    """A writer [., d_model] or, turned, a reader, and its place: a writer is read from greater
    ones."""

    matrix: Array
    place: float


Measure = Callable[[End, End], float]


def score(writer: End, reader: End) -> float:
    """|L R| / (|L| |R|); NaN where the writer does not stand before the reader."""
    L, R = writer.matrix, reader.matrix
    if writer.place >= reader.place or not L.any() or not R.any():
        return np.nan
    return float(np.linalg.norm(L @ R) / (np.linalg.norm(L) * np.linalg.norm(R)))


def z(writer: End, reader: End, dimension: int) -> float:
    """score^2 less its mean 1/D over Haar-random directions, over its deviation there."""

    def spread(form: Array) -> float:
        form = form / np.trace(form)
        return float(np.sum(form * form) - 1 / dimension) ** 0.5

    D, L, R = dimension, writer.matrix, reader.matrix
    found = score(writer, reader)
    if np.isnan(found):
        return np.nan
    deviation = spread(L.T @ L) * spread(R @ R.T) * (2 / ((D - 1) * (D + 2))) ** 0.5
    return (found * found - 1 / D) / deviation


def dimension(model: Model, processed: bool) -> int:
    """Of the space that the writers and readers of a stream live in."""
    return model.cfg.d_model - (processed and model.cfg.norm == "LN")


# ------------------------------------------------------------------------------------- ends


def written(model: Model, name: str, W: Array) -> Array:
    """What the stream receives of rows W: through the norm behind them, up to its scale."""
    weight = model.get(name + ".w")
    if weight is None:
        return W
    if model.cfg.norm == "LN":
        W = W - W.mean(axis=-1, keepdims=True)
    return W * weight


def head_writer(model: Model, layer: int, heads: tuple[int, ...]) -> End:
    """W_OV of heads of a layer, added."""
    factors = (ref.ov(model, layer, head) for head in heads)
    W = sum(A @ written(model, f"blocks.{layer}.ln1_post", B) for A, B in factors)
    return End(np.asarray(W), 2 * layer)


def head_readers(model: Model, layer: int, head: int) -> tuple[End, End, End]:
    """W_QK, its transpose and W_OV."""
    A, B = ref.qk(model, layer, head)
    turned = End(A @ B, 2 * layer), End((A @ B).T, 2 * layer)
    return *turned, head_writer(model, layer, (head,))


def turned_readers(model: Model, layer: int, head: int, offset: int) -> tuple[End, End]:
    """The same at a rotary offset, of queries and keys."""
    A, B = ref.qk_rotary(model, layer, head, offset)
    return End(A @ B, 2 * layer), End((A @ B).T, 2 * layer)


def mlp_place(model: Model, layer: int) -> float:
    return 2 * layer + (not model.cfg.parallel)


def writers(model: Model, sets: dict[str, tuple[int, tuple[int, ...]]]) -> dict[str, End]:
    """Parts that are no head, by the names they have."""
    out = {"embedding": End(model["embed.W_E"], -1)}
    if model.cfg.positions == "learned":
        out["positions"] = End(model["pos_embed.W_pos"], -1)
    for layer in range(model.cfg.n_layers):
        b = f"blocks.{layer}."
        W = model.get(b + "mlp.W_out")
        if W is not None:
            out[f"L{layer} mlp"] = End(written(model, b + "ln2_post", W), mlp_place(model, layer))
    return out | {name: head_writer(model, layer, h) for name, (layer, h) in sets.items()}


def readers(model: Model, sets: dict[str, tuple[int, tuple[int, ...]]]) -> dict[str, End]:
    out = {}
    for layer in range(model.cfg.n_layers):
        for part in ("in", "gate"):
            W = model.get(f"blocks.{layer}.mlp.W_{part}")
            if W is not None:
                out[f"L{layer} mlp {part}"] = End(W, mlp_place(model, layer))
    out["unembedding"] = End(model["unembed.W_U"], 2 * model.cfg.n_layers)
    return out | {name: head_writer(model, layer, h) for name, (layer, h) in sets.items()}


# ----------------------------------------------------------------------------------- tables


def of_heads(model: Model, measure: Measure) -> Array:
    """[layer, head, circuit, later_layer, later_head]"""
    L, H = model.cfg.n_layers, model.cfg.n_heads
    out = np.full((L, H, 3, L, H), np.nan)
    for l, h, m, g in np.ndindex(L, H, L, H):
        for circuit, reader in enumerate(head_readers(model, m, g)):
            out[l, h, circuit, m, g] = measure(head_writer(model, l, (h,)), reader)
    return out


def at_offsets(
    model: Model, offsets: tuple[int, ...], measure: Measure
) -> Array:
    """[offset, layer, head, rotated_circuit, later_layer, later_head]"""
    L, H = model.cfg.n_layers, model.cfg.n_heads
    out = np.full((len(offsets), L, H, 2, L, H), np.nan)
    for o, l, h, m, g in np.ndindex(len(offsets), L, H, L, H):
        for circuit, reader in enumerate(turned_readers(model, m, g, offsets[o])):
            out[o, l, h, circuit, m, g] = measure(head_writer(model, l, (h,)), reader)
    return out


def of_components(model: Model, count: int) -> tuple[Array, Array, Array]:
    """[circuit, layer, head, later_layer, later_head, component, later_component] and the shares of
    OV and QK [layer, head, component]."""
    L, H = model.cfg.n_layers, model.cfg.n_heads
    out = np.full((3, L, H, L, H, count, count), np.nan)
    shares = np.empty((2, L, H, count))
    for l, h in np.ndindex(L, H):
        _, sigma, write = np.linalg.svd(head_writer(model, l, (h,)).matrix)
        shares[0, l, h] = (sigma / np.linalg.norm(sigma))[:count]
        for m, g in np.ndindex(L, H):
            for circuit, reader in enumerate(head_readers(model, m, g)):
                read, sigma, _ = np.linalg.svd(reader.matrix)
                if circuit == 0:
                    shares[1, m, g] = (sigma / np.linalg.norm(sigma))[:count]
                if l < m:
                    out[circuit, l, h, m, g] = np.abs(write[:count] @ read[:, :count])
    return out, shares[0], shares[1]
