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

from canonical import Array, Config, Model, Tensors, is_norm
from forward import frequencies, log_softmax, logits, normalise, rotate, unembed

__all__ = ["frequencies", "log_softmax", "logits", "rotate"]  # what tests take from here as well

LARGE_EXPERT = 1000  # elements of a matrix

# --------------------------------------------------------------------- weight processing


def readers(model: Model) -> list[tuple[str, str, str]]:
    """(norm, weight, bias) of every matrix that reads a norm's output."""
    out = []
    for layer in range(model.cfg.n_layers if model.cfg.pre_norm else 0):
        b = f"blocks.{layer}."
        m = b + "mlp."
        groups = ["", "shared."] + [f"experts.{i}." for i in range(count_experts(model, layer))]
        out += [(b + "ln1", b + f"attn.W_{p}", b + f"attn.b_{p}") for p in "QKV"]
        out += [(b + "ln2", f"{m}{g}W_{p}", f"{m}{g}b_{p}") for g in groups for p in ("in", "gate")]
        out += [(b + "ln2", m + "router.W", m + "router.b"), (b + "ln2", m + "shared.router", "")]
    out.append(("ln_final", "unembed.W_U", "unembed.b_U"))
    return [entry for entry in out if entry[1] in model.tensors]


def count_experts(model: Model, layer: int) -> int:
    """Experts of a layer; 0 where it is dense."""
    router = model.get(f"blocks.{layer}.mlp.router.W")
    return 0 if router is None else router.shape[1]


def fold_ln(model: Model) -> Model:
    """Step 1: W' = diag(w) W and b' = b_r + b W for every reader, then (LayerNorm) centre the
    reading side: W' -= mean over d_model of each column. RMSNorm: scaling only."""
    t = dict(model.tensors)
    if model.cfg.norm is None:
        return model
    for norm, weight, bias in readers(model):
        W = model[weight] if model[weight].ndim > 1 else model[weight][:, None]
        if model.cfg.norm == "LN" and norm + ".b" in model.tensors:
            b = np.einsum("m,...md->...d", model[norm + ".b"], W)
            t[bias] = t[bias] + b if bias in t else b
        if norm + ".w" in model.tensors:
            W = model[norm + ".w"][:, None] * W
        if model.cfg.norm == "LN":
            W = W - W.mean(axis=-2, keepdims=True)
        t[weight] = W.reshape(model[weight].shape)
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
    """Step 3: W_U minus its mean over d_vocab, b_U minus its mean. Not where logits are capped."""
    if model.cfg.logit_cap:
        return model
    t = dict(model.tensors)
    t["unembed.W_U"] = t["unembed.W_U"] - t["unembed.W_U"].mean(axis=1, keepdims=True)
    if "unembed.b_U" in t:
        t["unembed.b_U"] = t["unembed.b_U"] - t["unembed.b_U"].mean()
    return replace(model, tensors=t)


def fold_value_biases(model: Model) -> Model:
    """Step 4: b_O += sum over query heads h of b_V[kv(h)] W_O[h]; b_V = 0. Not where the rows of a
    pattern do not sum to 1 (sinks), nor where values are clipped with their bias."""
    t = dict(model.tensors)
    for layer in range(model.cfg.n_layers):
        at = f"blocks.{layer}.attn."
        if at + "b_V" not in t or at + "sinks" in t or model.cfg.clip_qkv:
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


# ---------------------------------------------------------------------------- bigram


def bigram(model: Model) -> Array:
    """W_E W_U [source token, output token]."""
    return model["embed.W_E"] @ model["unembed.W_U"]


def exact_logits(model: Model, position: int = -1) -> Array:
    """Logits of the model without layers: LN_f(W_E[t] (+ W_pos[position])) W_U + b_U; a norm that
    follows the embedding is part of it."""
    x = model["embed.W_E"]
    if "embed.ln.w" in model.tensors:
        x = normalise(model, "embed.ln", x)
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


def rotation(offset: int, cfg: Config, layer: int = 0) -> Array:
    """R(offset), so that (q R(p)).(k R(r)) = q R(p - r) k^T: rotate() as a matrix on rows, with
    what YaRN multiplies both queries and keys by."""
    positions = np.full(cfg.d_head, float(offset))
    turned = rotate(np.eye(cfg.d_head), positions, cfg, layer)
    return turned @ rotate(np.eye(cfg.d_head), 0 * positions, cfg, layer)


def qk_rotary(model: Model, layer: int, head: int, offset: int) -> tuple[Array, Array]:
    """W_Q R(offset) W_K^T as two factors; offset = query position - key position."""
    A, B = qk(model, layer, head)
    return A @ rotation(offset, model.cfg, layer), B


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
    if model.cfg.qk_norm is None:  # behind a norm of queries and keys no bilinear form is left
        biased = quantities(*qk_biased(model, layer, head), spectrum=False, dense=dense)
        out |= {f"QK_bias_{k}": biased[k] for k in ("norm", "singular_values")}
    if model.cfg.positions in ("learned", "shortformer"):
        for block, factors in qk_blocks(model, layer, head).items():
            out[f"QK_position_{block}"] = norm_dense(*factors)
    if model.cfg.positions == "rotary" and offsets and model.cfg.qk_norm is None:
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


def expected(raw: Model, done: Model, offsets: tuple[int, ...]) -> Tensors:
    """Everything a golden model is compared by but the logits, float64: canonical weights before
    and after processing, and the quantities of the processed ones. Of large experts it is
    the last one of the last layer, raw, lest files grow."""
    out = {f"raw/{k}": v for k, v in raw.tensors.items()}
    out |= {f"processed/{k}": v for k, v in done.tensors.items()}
    out["bigram"] = bigram(done)
    if "embed.ln.w" not in done.tensors:
        out["exact_logits"] = exact_logits(done)
        if done.cfg.positions == "learned":
            out["exact_logits_pos3"] = exact_logits(done, 3)
    out |= heads(done, offsets)
    last = raw.cfg.n_layers - 1
    kept = f"raw/blocks.{last}.mlp.experts.{count_experts(raw, last) - 1}."
    for key in [k for k in out if ".experts." in k and out[k].size >= LARGE_EXPERT]:
        if not key.startswith(kept):
            del out[key]
    return {k: np.ascontiguousarray(out[k], np.float64) for k in sorted(out)}


def expand_kv(model: Model) -> Model:
    """The same function without grouping: key/value heads copied per query head."""
    t = {}
    group = model.cfg.n_heads // model.cfg.n_kv_heads
    for name, value in model.tensors.items():
        if name.endswith((".W_K", ".W_V", ".b_K", ".b_V", ".k_norm.w")):
            value = np.repeat(value, group, axis=0)
        t[name] = value
    return Model(replace(model.cfg, n_kv_heads=model.cfg.n_heads), t)
