# SPDX-License-Identifier: MIT
"""The quantities of otimes in plain NumPy float64, written to be read.

Nothing here is clever: dense matrices, one formula a function. It is what the C library is held
against, and is itself held against Hugging Face transformers and TransformerLens by
make_golden.py. Row vectors throughout (``x @ W``), names and shapes as TransformerLens has them;
key/value weights keep their own number of heads.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from checkpoint import Array, Config, Model, Tensors, is_norm

# --------------------------------------------------------------------- weight processing


def readers(model: Model) -> list[tuple[str, str, str]]:
    """(norm, weight, bias) of every matrix that reads a norm's output."""
    out = []
    for layer in range(model.cfg.n_layers):
        b = f"blocks.{layer}."
        out += [(b + "ln1", b + f"attn.W_{p}", b + f"attn.b_{p}") for p in "QKV"]
        out += [(b + "ln2", b + f"mlp.W_{p}", b + f"mlp.b_{p}") for p in ("in", "gate")]
    out.append(("ln_final", "unembed.W_U", "unembed.b_U"))
    return [entry for entry in out if entry[1] in model.tensors]


def fold_ln(model: Model) -> Model:
    """Step 1: W' = diag(w) W and b' = b_r + b W for every reader, then (LayerNorm) centre the
    reading side: W' -= mean over d_model of each column. RMSNorm: scaling only."""
    t = dict(model.tensors)
    if model.cfg.norm is None:
        return model
    for norm, weight, bias in readers(model):
        W = model[weight]
        if model.cfg.norm == "LN" and norm + ".b" in model.tensors:
            b = np.einsum("m,...md->...d", model[norm + ".b"], W)
            t[bias] = t[bias] + b if bias in t else b
        if norm + ".w" in model.tensors:
            W = model[norm + ".w"][:, None] * W
        if model.cfg.norm == "LN":
            W = W - W.mean(axis=-2, keepdims=True)
        t[weight] = W
    return replace(model, tensors={k: v for k, v in t.items() if not is_norm(k)})


def center_writing_weights(model: Model) -> Model:
    """Step 2, LayerNorm only: every row written to the stream minus its mean over d_model."""
    if model.cfg.norm != "LN":
        return model
    writes = ("W_E", "W_pos", "W_O", "W_out", "b_O", "b_out")
    return replace(
        model,
        tensors={
            k: v - v.mean(axis=-1, keepdims=True) if k.split(".")[-1] in writes else v
            for k, v in model.tensors.items()
        },
    )


def center_unembed(model: Model) -> Model:
    """Step 3: W_U minus its mean over d_vocab, b_U minus its mean."""
    t = dict(model.tensors)
    t["unembed.W_U"] = t["unembed.W_U"] - t["unembed.W_U"].mean(axis=1, keepdims=True)
    if "unembed.b_U" in t:
        t["unembed.b_U"] = t["unembed.b_U"] - t["unembed.b_U"].mean()
    return replace(model, tensors=t)


def fold_value_biases(model: Model) -> Model:
    """Step 4: b_O += sum over query heads h of b_V[kv(h)] W_O[h]; b_V = 0."""
    t = dict(model.tensors)
    for layer in range(model.cfg.n_layers):
        at = f"blocks.{layer}.attn."
        if at + "b_V" not in t:
            continue
        b_O = t.get(at + "b_O", np.zeros(model.cfg.d_model)).copy()
        for h in range(model.cfg.n_heads):
            b_O += t[at + "b_V"][model.cfg.kv(h)] @ t[at + "W_O"][h]
        t[at + "b_O"] = b_O
        t[at + "b_V"] = np.zeros_like(t[at + "b_V"])
    return replace(model, tensors=t)


STEPS = {
    "fold_ln": fold_ln,
    "center_writing_weights": center_writing_weights,
    "center_unembed": center_unembed,
    "fold_value_biases": fold_value_biases,
}


def process(model: Model, **switches: bool) -> Model:
    """The steps in their order, each on unless switched off by name."""
    assert not set(switches) - set(STEPS), switches
    for name, step in STEPS.items():
        if switches.get(name, True):
            model = step(model)
    return model


# --------------------------------------------------------------------------- forward pass


def normalise(model: Model, name: str, x: Array) -> Array:
    """LN: (x - mean) / sqrt(var + eps); RMS: x / sqrt(mean x^2 + eps); w and b if not folded."""
    if model.cfg.norm is None:
        return x
    if model.cfg.norm == "LN":
        x = x - x.mean(axis=-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + model.cfg.eps)
    w, b = model.get(name + ".w"), model.get(name + ".b")
    x = x if w is None else x * w
    return x if b is None else x + b


def frequencies(cfg: Config) -> Array:
    """theta^(-2i/d), rescaled as config.json says: `linear` divides all by the factor; `llama3`
    those with a wavelength above context / low_freq_factor, and blends down to
    context / high_freq_factor."""
    f = cfg.rope_theta ** (-np.arange(0, cfg.d_head, 2) / cfg.d_head)
    rule = cfg.rope_scaling or {}
    kind = rule.get("rope_type", rule.get("type", "default"))
    if kind == "default":
        return f
    if kind == "linear":
        return f / rule["factor"]
    if kind != "llama3":
        raise ValueError(f"rope_type {kind}")
    low, high = rule["low_freq_factor"], rule["high_freq_factor"]
    turns = rule["original_max_position_embeddings"] * f / (2 * math.pi)
    blend = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - blend) * f / rule["factor"] + blend * f


def rotate(x: Array, positions: Array, f: Array) -> Array:
    """RoPE, half-split: with angle p f_i, x1' = x1 cos - x2 sin, x2' = x2 cos + x1 sin, where
    x1, x2 are the first and second half of x [position, d]."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * f
    c, s = np.cos(angle), np.sin(angle)
    x1, x2 = x[..., :half], x[..., half:]
    return np.concatenate([x1 * c - x2 * s, x2 * c + x1 * s], axis=-1)


def activate(name: str, x: Array) -> Array:
    """relu, silu, gelu_new (tanh) and gelu (erf)."""
    if name == "relu":
        return np.maximum(x, 0)
    if name == "silu":
        return x / (1 + np.exp(-x))
    if name == "gelu_new":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if name == "gelu":
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    raise ValueError(f"activation {name}")


def attention(model: Model, layer: int, x: Array) -> Array:
    """sum_h softmax(score) (x W_V + b_V) W_O + b_O, with
    score[q, k] = (x_q W_Q + b_Q).(x_k W_K + b_K) / attn_scale, q and k rotated by position."""
    cfg, n = model.cfg, len(x)
    ahead = np.arange(n)[:, None] - np.arange(n)[None, :]
    masked = ahead < 0
    if cfg.sliding_window:
        masked |= ahead >= cfg.sliding_window
    out = np.zeros((n, cfg.d_model))
    for h in range(cfg.n_heads):
        g = cfg.kv(h)
        q = x @ model.attn(layer, "W_Q")[h] + model.bias(layer, "b_Q")[h]
        k = x @ model.attn(layer, "W_K")[g] + model.bias(layer, "b_K")[g]
        v = x @ model.attn(layer, "W_V")[g] + model.bias(layer, "b_V")[g]
        if cfg.positions == "rotary":
            q, k = (rotate(y, np.arange(n), frequencies(cfg)) for y in (q, k))
        score = np.where(masked, -np.inf, q @ k.T / cfg.attn_scale)
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        out += weight / weight.sum(axis=1, keepdims=True) @ v @ model.attn(layer, "W_O")[h]
    b_O = model.get(f"blocks.{layer}.attn.b_O")
    return out if b_O is None else out + b_O


def mlp(model: Model, layer: int, x: Array) -> Array:
    """act(x W_in + b_in) W_out + b_out, or with a gate
    (act(x W_gate + b_gate) * (x W_in + b_in)) W_out + b_out."""

    def linear(y: Array, part: str) -> Array:
        b = model.get(f"blocks.{layer}.mlp.b_{part}")
        y = y @ model[f"blocks.{layer}.mlp.W_{part}"]
        return y if b is None else y + b

    gate = f"blocks.{layer}.mlp.W_gate" in model.tensors
    inner = linear(x, "in")
    act = model.cfg.activation
    inner = activate(act, linear(x, "gate")) * inner if gate else activate(act, inner)
    return linear(inner, "out")


def logits(model: Model, tokens: Array) -> Array:
    """Logits [position, d_vocab_out] of one sequence."""
    x = model["embed.W_E"][tokens]
    if model.cfg.positions == "learned":
        x = x + model["pos_embed.W_pos"][: len(tokens)]
    for layer in range(model.cfg.n_layers):
        x = x + attention(model, layer, normalise(model, f"blocks.{layer}.ln1", x))
        if f"blocks.{layer}.mlp.W_in" in model.tensors:
            x = x + mlp(model, layer, normalise(model, f"blocks.{layer}.ln2", x))
    return unembed(model, x)


def unembed(model: Model, x: Array) -> Array:
    """LN_f(x) W_U + b_U."""
    out = normalise(model, "ln_final", x) @ model["unembed.W_U"]
    b_U = model.get("unembed.b_U")
    return out if b_U is None else out + b_U


def log_softmax(x: Array) -> Array:
    """log softmax over the last axis."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


# ---------------------------------------------------------------------------- bigram


def bigram(model: Model) -> Array:
    """W_E W_U [source token, output token]."""
    return model["embed.W_E"] @ model["unembed.W_U"]


def exact_logits(model: Model, position: int = -1) -> Array:
    """Logits of the model without layers: LN_f(W_E[t] (+ W_pos[position])) W_U + b_U."""
    x = model["embed.W_E"]
    if position >= 0:
        x = x + model["pos_embed.W_pos"][position]
    return unembed(model, x)


# ------------------------------------------------------------------ quantities of a matrix


def sort_eigenvalues(values: Array) -> Array:
    """By falling modulus, then larger real, then larger imaginary part."""
    values = np.asarray(values, dtype=np.complex128)
    return values[np.lexsort((-values.imag, -values.real, -np.abs(values)))]


def pad(values: Array, count: int) -> Array:
    """The first ``count`` entries, zeros where there are fewer."""
    out = np.zeros(count, dtype=values.dtype)
    out[: min(count, len(values))] = values[:count]
    return out


def norm_dense(A: Array, B: Array) -> float:
    """Frobenius norm of A B."""
    return float(np.linalg.norm(A @ B))


def singular_values_dense(A: Array, B: Array) -> Array:
    """Singular values of A B that can be non-zero, descending."""
    return pad(np.linalg.svd(A @ B, compute_uv=False), A.shape[1])


def singular_values_factored(A: Array, B: Array) -> Array:
    """The same by QR of both factors: A = Q_a R_a, B^T = Q_b R_b, core R_a R_b^T."""
    core = np.linalg.qr(A, mode="r") @ np.linalg.qr(B.T, mode="r").T
    return pad(np.linalg.svd(core, compute_uv=False), A.shape[1])


def eigenvalues_dense(A: Array, B: Array) -> Array:
    """Eigenvalues of A B that can be non-zero, as sort_eigenvalues orders them."""
    return pad(sort_eigenvalues(np.linalg.eigvals(A @ B)), A.shape[1])


def eigenvalues_factored(A: Array, B: Array) -> Array:
    """The same from the small product B A."""
    return sort_eigenvalues(np.linalg.eigvals(B @ A))


def positivity(values: Array) -> float:
    """Re(sum lambda) / sum |lambda|; NaN when all are zero."""
    total = np.abs(values).sum()
    return float(values.sum().real / total) if total > 0 else math.nan


def effective_rank(sigma: Array) -> float:
    """exp(entropy(sigma / sum sigma)); NaN when all are zero."""
    if not sigma.sum() > 0:
        return math.nan
    p = sigma / sigma.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def quantities(A: Array, B: Array, spectrum: bool = True, dense: bool = True) -> dict[str, Any]:
    """What heads reports of A B; eigenvalues (``spectrum``) only where rows and columns are one
    space. ``dense`` forms the product; otherwise it is never formed."""
    sigma = singular_values_dense(A, B) if dense else singular_values_factored(A, B)
    out: dict[str, Any] = {
        "norm": norm_dense(A, B) if dense else float(np.linalg.norm(sigma)),
        "singular_values": sigma,
        "effective_rank": effective_rank(sigma),
    }
    if spectrum:
        values = eigenvalues_dense(A, B) if dense else eigenvalues_factored(A, B)
        out["eigenvalues_real"], out["eigenvalues_imag"] = values.real, values.imag
        out["trace"] = float(np.trace(A @ B)) if dense else float(np.einsum("ij,ji->", A, B))
        out["positivity"] = positivity(values)
    return out


# -------------------------------------------------------------------------- circuits of a head


def ov(model: Model, layer: int, head: int) -> tuple[Array, Array]:
    """W_OV = W_V W_O as its two factors; row = source residual, column = what is written."""
    return model.attn(layer, "W_V")[model.cfg.kv(head)], model.attn(layer, "W_O")[head]


def qk(model: Model, layer: int, head: int) -> tuple[Array, Array]:
    """W_QK = W_Q W_K^T as its two factors; row = destination (query), column = source (key)."""
    return model.attn(layer, "W_Q")[head], model.attn(layer, "W_K")[model.cfg.kv(head)].T


def full_ov(model: Model, layer: int, head: int) -> tuple[Array, Array]:
    """W_E W_V W_O W_U as two factors; row = source token, column = output token."""
    A, B = ov(model, layer, head)
    return model["embed.W_E"] @ A, B @ model["unembed.W_U"]


def full_qk(model: Model, layer: int, head: int) -> tuple[Array, Array]:
    """W_E W_QK W_E^T / attn_scale as two factors; row = destination token, column = source."""
    A, B = qk(model, layer, head)
    return model["embed.W_E"] @ A / model.cfg.attn_scale, B @ model["embed.W_E"].T


def qk_blocks(model: Model, layer: int, head: int) -> dict[str, tuple[Array, Array]]:
    """The blocks of (W_E; W_pos) W_QK (W_E; W_pos)^T / attn_scale, named destination_source."""
    A, B = qk(model, layer, head)
    ends = {"token": model["embed.W_E"], "position": model["pos_embed.W_pos"]}
    return {
        f"{q}_{k}": (ends[q] @ A / model.cfg.attn_scale, B @ ends[k].T) for q in ends for k in ends
    }


def rotation(offset: int, cfg: Config) -> Array:
    """R(offset), so that (q R(p)).(k R(r)) = q R(p - r) k^T: rotate() as a matrix on rows."""
    return rotate(np.eye(cfg.d_head), np.full(cfg.d_head, float(offset)), frequencies(cfg))


def qk_rotary(model: Model, layer: int, head: int, offset: int) -> tuple[Array, Array]:
    """W_Q R(offset) W_K^T as two factors; offset = query position - key position."""
    A, B = qk(model, layer, head)
    return A @ rotation(offset, model.cfg), B


def qk_biased(model: Model, layer: int, head: int) -> tuple[Array, Array]:
    """(W_Q; b_Q) (W_K; b_K)^T: the biases as row d_model + 1 of each factor."""
    A, B = qk(model, layer, head)
    b_Q = model.bias(layer, "b_Q")[head]
    b_K = model.bias(layer, "b_K")[model.cfg.kv(head)]
    return np.vstack([A, b_Q]), np.hstack([B, b_K[:, None]])


def named(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    """Array names of heads.h; the positivity of OV is its copying score."""
    copying = prefix.endswith("OV_")
    return {
        prefix + ("copying" if copying and k == "positivity" else k): v for k, v in values.items()
    }


def head_quantities(
    model: Model, layer: int, head: int, offsets: tuple[int, ...] = (), dense: bool = True
) -> dict[str, Any]:
    """Every quantity of one head under the array names of heads.h."""
    same = model.cfg.d_vocab == model.cfg.d_vocab_out
    out = named("OV_", quantities(*ov(model, layer, head), dense=dense))
    out |= named("QK_", quantities(*qk(model, layer, head), dense=dense))
    out |= named("full_OV_", quantities(*full_ov(model, layer, head), spectrum=same, dense=dense))
    out |= named("full_QK_", quantities(*full_qk(model, layer, head), dense=dense))
    biased = quantities(*qk_biased(model, layer, head), spectrum=False, dense=dense)
    out |= {f"QK_bias_{k}": biased[k] for k in ("norm", "singular_values")}
    if model.cfg.positions == "learned":
        for block, factors in qk_blocks(model, layer, head).items():
            out[f"QK_position_{block}"] = norm_dense(*factors)
    if model.cfg.positions == "rotary" and offsets:
        each = [quantities(*qk_rotary(model, layer, head, d), dense=dense) for d in offsets]
        for k in ("norm", "trace", "singular_values"):
            out[f"QK_offset_{k}"] = np.array([q[k] for q in each])
    return out


def heads(model: Model, offsets: tuple[int, ...] = (), dense: bool = True) -> Tensors:
    """head_quantities of all heads, stacked as [layer, head, ...]."""
    cfg = model.cfg
    each = [
        [head_quantities(model, l, h, offsets, dense) for h in range(cfg.n_heads)]
        for l in range(cfg.n_layers)
    ]
    return {k: np.array([[h[k] for h in row] for row in each], np.float64) for k in each[0][0]}


def expand_kv(model: Model) -> Model:
    """The same function without grouping: key/value heads copied per query head."""
    t = {}
    group = model.cfg.n_heads // model.cfg.n_kv_heads
    for name, value in model.tensors.items():
        if name.split(".")[-1] in ("W_K", "W_V", "b_K", "b_V"):
            value = np.repeat(value, group, axis=0)
        t[name] = value
    return Model(replace(model.cfg, n_kv_heads=model.cfg.n_heads), t)
