# SPDX-License-Identifier: MIT
"""The forward pass of every architecture in plain NumPy float64, on canonical weights.

Nothing here is clever: one sequence, one head at a time. It shows that canonical weights are right:
its logits are Hugging Face's own, on raw and (up to the constant that center_unembed removes) on
processed weights.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from canonical import Array, Config, Experts, Model

# ---------------------------------------------------------------------------- norms


def standardise(kind: str, eps: float, x: Array) -> Array:
    """LN: (x - mean) / sqrt(var + eps); RMS: x / sqrt(mean x^2 + eps), over the last axis."""
    if kind == "LN":
        x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)


def normalise(model: Model, name: str, x: Array) -> Array:
    """The model's norm, with w and b if they exist and are not folded."""
    if model.cfg.norm is None:
        return x
    x = standardise(model.cfg.norm, model.cfg.eps, x)
    w, b = model.get(name + ".w"), model.get(name + ".b")
    x = x if w is None else x * w
    return x if b is None else x + b


def pre_norm(model: Model, name: str, x: Array) -> Array:
    """What a block reads."""
    return normalise(model, name, x) if model.cfg.pre_norm else x


def post_norm(model: Model, name: str, x: Array) -> Array:
    """What a block writes: normalised where a post-norm exists."""
    return normalise(model, name, x) if name + ".w" in model.tensors else x


# ---------------------------------------------------------------------------- positions


def rescale_llama3(f: Array, rule: dict[str, Any]) -> Array:
    """Divides frequencies with a wavelength above context / low_freq_factor, and blends down to
    context / high_freq_factor."""
    low, high = rule["low_freq_factor"], rule["high_freq_factor"]
    turns = rule["original_max_position_embeddings"] * f / (2 * math.pi)
    blend = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - blend) * f / rule["factor"] + blend * f


def rescale_yarn(f: Array, rule: dict[str, Any]) -> tuple[Array, float]:
    """YaRN (arXiv 2309.00071): frequency i is kept below the index whose wavelength fits beta_fast
    times into the context, divided above the one for beta_slow, blended between; queries and keys
    are multiplied by 0.1 ln(factor) + 1."""
    base, factor = rule["rope_theta"], rule["factor"]
    context, dim = rule["original_max_position_embeddings"], 2 * len(f)

    def index(turns: float) -> float:
        return dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = index(rule.get("beta_fast") or 32), index(rule.get("beta_slow") or 1)
    if rule.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    blend = np.clip((np.arange(len(f)) - low) / max(high - low, 1e-3), 0, 1)
    magnitude = rule.get("attention_factor") or 0.1 * math.log(factor) + 1
    return f / factor * blend + f * (1 - blend), magnitude


def frequencies(cfg: Config, layer: int = 0) -> tuple[Array, float]:
    """theta^(-2i/d), rescaled as config.json says (`linear` divides all by the factor), and what
    queries and keys are multiplied by."""
    rule = cfg.rope(layer)
    assert rule is not None
    dim = cfg.rotary_dim or cfg.d_head
    f = rule["rope_theta"] ** (-np.arange(0, dim, 2) / dim)
    kind = rule.get("rope_type", rule.get("type", "default"))
    if kind == "default":
        return f, 1.0
    if kind == "linear":
        return f / rule["factor"], 1.0
    if kind == "llama3":
        return rescale_llama3(f, rule), 1.0
    if kind == "yarn":
        return rescale_yarn(f, rule)
    raise ValueError(f"rope_type {kind}")


def rotate(x: Array, positions: Array, cfg: Config, layer: int = 0) -> Array:
    """RoPE on x [position, d_head]: with angle p f_i, x1' = x1 cos - x2 sin, x2' = x2 cos + x1 sin,
    where x1, x2 are the first and second half of the first rotary_dim entries, or the even and odd
    ones. A layer without rotation leaves x as it is."""
    if cfg.rope(layer) is None:
        return x
    f, magnitude = frequencies(cfg, layer)
    half = len(f)
    first = np.arange(half) * 2 if cfg.rotary_adjacent else np.arange(half)
    second = first + (1 if cfg.rotary_adjacent else half)
    angle = positions[:, None] * f
    c, s = magnitude * np.cos(angle), magnitude * np.sin(angle)
    out = x.copy()
    out[..., first] = x[..., first] * c - x[..., second] * s
    out[..., second] = x[..., second] * c + x[..., first] * s
    return out


def alibi_slopes(heads: int) -> Array:
    """ALiBi (arXiv 2108.12409): 2^(-8/n), 2^(-16/n), ... for n a power of 2; otherwise those of the
    power of 2 below, then every other one of the power of 2 above."""
    below = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * (i + 1) / below) for i in range(below)]
    slopes += [2.0 ** (-4 * (i + 1) / below) for i in range(0, 2 * (heads - below), 2)]
    return np.array(slopes)


# ---------------------------------------------------------------------------- blocks


def activate(name: str, x: Array) -> Array:
    """relu, silu, gelu_new (tanh) and gelu (erf), under the names of config.json. BLOOM's gelu_new
    has sqrt(2 / pi) to eight digits."""
    if name == "relu":
        return np.maximum(x, 0)
    if name in ("silu", "swish"):
        return x / (1 + np.exp(-x))
    if name in ("gelu_new", "gelu_pytorch_tanh", "gelu_bloom"):
        slope = 0.79788456 if name == "gelu_bloom" else math.sqrt(2 / math.pi)
        return 0.5 * x * (1 + np.tanh(slope * (x + 0.044715 * x**3)))
    if name == "gelu":
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    raise ValueError(f"activation {name}")


def heads_of(model: Model, layer: int, part: str, x: Array) -> Array:
    """Queries, keys or values [head, position, d_head]: x W + b, clipped, normalised."""
    cfg = model.cfg
    out = np.stack([x @ W for W in model.attn(layer, "W_" + part)])
    out = out + model.bias(layer, "b_" + part)[:, None]
    if cfg.clip_qkv:
        out = np.clip(out, -cfg.clip_qkv, cfg.clip_qkv)
    if cfg.qk_norm and part != "V":
        if cfg.qk_norm_joint:
            joint = standardise(cfg.qk_norm, cfg.eps, np.concatenate(list(out), axis=-1))
            out = np.stack(np.split(joint, len(out), axis=-1))
        else:
            out = standardise(cfg.qk_norm, cfg.eps, out)
        out = out * model.attn(layer, part.lower() + "_norm.w")[:, None]
    return out


def pattern(model: Model, layer: int, head: int, q: Array, k: Array) -> Array:
    """softmax of q k^T / attn_scale, capped, with ALiBi, masked; a sink takes its share of each
    row."""
    cfg, n = model.cfg, len(q)
    ahead = np.arange(n)[:, None] - np.arange(n)[None, :]
    masked = ahead < 0 if cfg.causal else np.zeros((n, n), bool)
    if cfg.window(layer):
        masked |= ahead >= cfg.window(layer)
    score = q @ k.T / cfg.attn_scale
    if cfg.attn_cap:
        score = cfg.attn_cap * np.tanh(score / cfg.attn_cap)
    if cfg.positions == "alibi":
        score = score - cfg.alibi_scale * alibi_slopes(cfg.n_heads)[head] * ahead
    score = np.where(masked, -np.inf, score)
    sinks = model.get(f"blocks.{layer}.attn.sinks")
    if sinks is not None:
        score = np.hstack([score, np.full((n, 1), sinks[head])])
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return (weight / weight.sum(axis=1, keepdims=True))[:, :n]


def attention(model: Model, layer: int, x: Array, positional: Array | float = 0.0) -> Array:
    """sum_h pattern v W_O + b_O; ``positional`` is added to what queries and keys read."""
    cfg, at = model.cfg, np.arange(len(x))
    q = heads_of(model, layer, "Q", x + positional)
    k = heads_of(model, layer, "K", x + positional)
    v = heads_of(model, layer, "V", x)
    out = np.zeros((len(x), cfg.d_model))
    for h in range(cfg.n_heads):
        g = cfg.kv(h)
        turned = [rotate(y, at, cfg, layer) for y in (q[h], k[g])]
        out += pattern(model, layer, h, *turned) @ v[g] @ model.attn(layer, "W_O")[h]
    b_O = model.get(f"blocks.{layer}.attn.b_O")
    return out if b_O is None else out + b_O


def linear(model: Model, at: str, part: str, x: Array) -> Array:
    """x W + b, where the bias exists."""
    b = model.get(f"{at}b_{part}")
    y = x @ model[f"{at}W_{part}"]
    return y if b is None else y + b


def gated(inner: Array, gate: Array, act: str, experts: Experts | None) -> Array:
    """act(gate) * inner; gpt-oss clamps both and adds 1 to the second."""
    if experts is None or not experts.limit:
        return activate(act, gate) * inner
    gate = np.minimum(gate, experts.limit)
    inner = np.clip(inner, -experts.limit, experts.limit)
    return gate / (1 + np.exp(-experts.alpha * gate)) * (inner + 1)


def mlp(model: Model, at: str, x: Array) -> Array:
    """act(x W_in + b_in) W_out + b_out, or with a gate
    (act(x W_gate + b_gate) * (x W_in + b_in)) W_out + b_out."""
    inner, act = linear(model, at, "in", x), model.cfg.activation
    if at + "W_gate" in model.tensors:
        inner = gated(inner, linear(model, at, "gate", x), act, model.cfg.experts)
    else:
        inner = activate(act, inner)
    return linear(model, at, "out", inner)


def mixture(model: Model, at: str, x: Array) -> Array:
    """The chosen experts, weighed by the router's softmax over all experts, divided by its sum over
    the chosen where ``normalise`` says so; and the expert that all tokens share."""
    rule = model.cfg.experts
    assert rule is not None
    score = x @ model[at + "router.W"]
    bias = model.get(at + "router.b")
    weight = np.exp(log_softmax(score if bias is None else score + bias))
    left_out = np.argsort(-weight, axis=1, kind="stable")[:, rule.active :]
    np.put_along_axis(weight, left_out, 0.0, axis=1)
    if rule.normalise:
        weight /= weight.sum(axis=1, keepdims=True)
    out = np.zeros_like(x)
    for i in range(weight.shape[1]):
        out += weight[:, i : i + 1] * mlp(model, f"{at}experts.{i}.", x)
    if at + "shared.W_in" in model.tensors:
        gate = 1 / (1 + np.exp(-(x @ model[at + "shared.router"])))
        out += gate[:, None] * mlp(model, at + "shared.", x)
    return out


def feed_forward(model: Model, layer: int, x: Array) -> Array | float:
    """A layer's MLP, dense or of experts; 0 where it has none."""
    at = f"blocks.{layer}.mlp."
    if at + "router.W" in model.tensors:
        return mixture(model, at, x)
    return mlp(model, at, x) if at + "W_in" in model.tensors else 0.0


# ---------------------------------------------------------------------------- the model


def embed(model: Model, tokens: Array) -> Array:
    """The residual before the first block."""
    x = model["embed.W_E"][tokens]
    if model.cfg.positions == "learned":
        x = x + model["pos_embed.W_pos"][: len(tokens)]
    return normalise(model, "embed.ln", x) if "embed.ln.w" in model.tensors else x


def logits(model: Model, tokens: Array) -> Array:
    """Logits [position, d_vocab_out] of one sequence."""
    x = embed(model, tokens)
    positional: Array | float = 0.0
    if model.cfg.positions == "shortformer":
        positional = model["pos_embed.W_pos"][: len(tokens)]
    for layer in range(model.cfg.n_layers):
        b = f"blocks.{layer}."
        before = x
        wrote = attention(model, layer, pre_norm(model, b + "ln1", x), positional)
        x = x + post_norm(model, b + "ln1_post", wrote)
        read = before if model.cfg.parallel else x
        wrote = feed_forward(model, layer, pre_norm(model, b + "ln2", read))
        x = x + post_norm(model, b + "ln2_post", wrote)
    return unembed(model, x)


def unembed(model: Model, x: Array) -> Array:
    """LN_f(x) W_U + b_U, capped where the model caps its logits."""
    out = normalise(model, "ln_final", x) @ model["unembed.W_U"]
    b_U = model.get("unembed.b_U")
    out = out if b_U is None else out + b_U
    cap = model.cfg.logit_cap
    return cap * np.tanh(out / cap) if cap else out


def log_softmax(x: Array) -> Array:
    """log softmax over the last axis."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
