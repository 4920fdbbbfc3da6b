# SPDX-License-Identifier: MIT
"""reference.py against itself, against Hugging Face transformers and against TransformerLens."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from transformer_lens import FactoredMatrix, TransformerBridge, TransformerBridgeConfig
from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint
from transformer_lens.weight_processing import ProcessWeights

import reference as ref
from canonical import Config, Model, is_norm
from golden_models import OFFSETS, Golden, in_float64

TOLERANCE = 1e-11  # float64 against float64, relative to the largest entry
SINGLE = 2e-6  # where the other side computes in float32
VISIBLE = 1e-5  # what leaving out a feature changes at least

ATTENTION = ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O")
MLP = ("W_in", "W_gate", "W_out", "b_in", "b_gate", "b_out")


# ----------------------------------------------------------------------------- checking


class Checks:
    """The largest relative difference seen under each heading; a difference too large ends it."""

    def __init__(self) -> None:
        self.worst: dict[str, float] = {}

    def close(self, what: str, ours: Any, theirs: Any, tolerance: float = TOLERANCE) -> None:
        """|ours - theirs| / max |theirs|."""
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
        scale = max(float(np.abs(theirs).max(initial=0)), 1e-300)
        gap = float(np.abs(ours - theirs).max(initial=0))
        error = gap / scale if gap else 0.0
        assert error <= tolerance, f"{what}: relative difference {error:.3g} > {tolerance:.3g}"
        self.worst[what] = max(self.worst.get(what, 0.0), error)


def to_numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().to(torch.float64).numpy()


# ------------------------------------------------------------------- against other software


def check_invariants(raw: Model, done: Model, checks: Checks, rng: np.random.Generator) -> None:
    """Invariants 3, 6 and 7 of the formulas, within reference.py itself."""
    tokens = rng.integers(0, raw.cfg.d_vocab, min(raw.cfg.n_ctx, 12))
    before, after = ref.logits(raw, tokens), ref.logits(done, tokens)
    checks.close("folded = raw log-probabilities", ref.log_softmax(after), ref.log_softmax(before))
    same_logits = ref.process(raw, center_unembed=False)
    checks.close("folded = raw logits", ref.logits(same_logits, tokens), before)
    for step in ref.STEPS:
        one = ref.process(raw, **{s: s == step for s in ref.STEPS})
        checks.close(
            f"{step} alone", ref.log_softmax(ref.logits(one, tokens)), ref.log_softmax(before)
        )
    checks.close("grouped = expanded heads", ref.logits(ref.expand_kv(done), tokens), after)
    dense, factored = ref.heads(done, OFFSETS), ref.heads(done, OFFSETS, dense=False)
    for key in dense:
        checks.close("factored = dense", factored[key], dense[key])
    check_rotation(done, checks, rng)


def check_rotation(model: Model, checks: Checks, rng: np.random.Generator) -> None:
    """score = (x_q W_Q R(q)).(x_k W_K R(k)) is x_q W_Q R(q - k) W_K^T x_k^T in every layer, R(p)
    multiplying complex numbers made of pairs of entries."""
    cfg = model.cfg
    if cfg.positions != "rotary":
        return
    for layer in range(cfg.n_layers):
        x_q, x_k = rng.standard_normal((2, cfg.d_model))
        A, B = ref.qk(model, layer, 1)
        for at_q, at_k in ((0, 0), (5, 4), (9, 1), (2, 6)):
            theirs = turned(x_q @ A, at_q, cfg, layer) @ turned(x_k @ B.T, at_k, cfg, layer)
            C, D = ref.qk_rotary(model, layer, 1, at_q - at_k)
            checks.close("RoPE form = scores", x_q @ C @ D @ x_k, theirs)


def turned(x: np.ndarray, position: int, cfg: Config, layer: int) -> np.ndarray:
    """One vector of a head at a position: entries a, b of a pair become (a + i b) e^(i p f)."""
    if cfg.rope(layer) is None:
        return x
    f, magnitude = ref.frequencies(cfg, layer)
    dim = 2 * len(f)
    pairs = x[:dim].reshape(-1, 2) if cfg.rotary_adjacent else x[:dim].reshape(2, -1).T
    z = magnitude * (pairs[:, 0] + 1j * pairs[:, 1]) * np.exp(1j * position * f)
    pairs = np.stack([z.real, z.imag], axis=1 if cfg.rotary_adjacent else 0)
    return np.concatenate([pairs.reshape(-1), x[dim:]])


def check_logits(golden: Golden, raw: Model, done: Model, checks: Checks) -> np.ndarray:
    """Our forward pass, on raw and on processed weights, against another implementation's, whose
    logits are returned."""
    theirs = to_numpy(golden.logits(torch.from_numpy(tokens_of(raw.cfg))))
    for tokens, row in zip(tokens_of(raw.cfg), theirs, strict=True):
        checks.close("raw logits = theirs", ref.logits(raw, tokens), row)
        checks.close(
            "processed log-probabilities = theirs",
            ref.log_softmax(ref.logits(done, tokens)),
            ref.log_softmax(row),
        )
    return theirs


def altered(cfg: Config) -> dict[str, dict[str, Any]]:
    """For everything about a model that its weights do not show: the configuration without it."""
    out: dict[str, dict[str, Any]] = {
        "attn_scale": {"attn_scale": 1.1 * cfg.attn_scale},
        "causal": {"causal": not cfg.causal},
    }
    if cfg.norm:
        out["eps"] = {"eps": 3 * cfg.eps}
    if cfg.d_mlp:
        out["parallel"] = {"parallel": not cfg.parallel}
    if cfg.d_mlp and not (cfg.experts and cfg.experts.limit):
        tanh = cfg.activation.startswith("gelu_")
        out["activation"] = {"activation": "gelu" if tanh else "gelu_new"}
    if cfg.positions == "alibi":
        out["alibi_scale"] = {"alibi_scale": 1.1 * cfg.alibi_scale}
    if cfg.positions == "rotary":
        out["rotary_adjacent"] = {"rotary_adjacent": not cfg.rotary_adjacent}
    if cfg.layer_rope:
        for i, rope in enumerate(cfg.layer_rope):
            other = {"rope_theta": 2 * rope["rope_theta"]} if rope else {"rope_theta": 100.0}
            ropes = [*cfg.layer_rope[:i], (rope or {}) | other, *cfg.layer_rope[i + 1 :]]
            out[f"rope of layer {i}"] = {"layer_rope": tuple(ropes)}
    elif cfg.positions == "rotary":
        out["rope_theta"] = {"rope_theta": 2 * cfg.rope_theta}
        if (cfg.rope_scaling or {}).get("rope_type", "default") != "default":
            out["rope_scaling"] = {"rope_scaling": None}
    if cfg.rotary_dim not in (0, cfg.d_head):
        out["rotary_dim"] = {"rotary_dim": cfg.rotary_dim - 2}
    if cfg.qk_norm_joint:
        out["qk_norm_joint"] = {"qk_norm_joint": False}
    if cfg.experts:
        experts = cfg.experts
        out["active"] = {"experts": replace(experts, active=1)}
        out["normalise"] = {"experts": replace(experts, normalise=not experts.normalise)}
        if experts.limit:
            out["limit"] = {"experts": replace(experts, limit=1.1 * experts.limit)}
            out["alpha"] = {"experts": replace(experts, alpha=1.1 * experts.alpha)}
    for name in ("sliding_window", "attn_cap", "logit_cap", "clip_qkv"):
        if getattr(cfg, name):
            out[name] = {name: 0}
    for i, window in enumerate(cfg.layer_windows):
        windows = [*cfg.layer_windows[:i], 0 if window else 3, *cfg.layer_windows[i + 1 :]]
        out[f"window of layer {i}"] = {"layer_windows": tuple(windows)}
    return out


def check_everything_shows(raw: Model) -> None:
    """No feature of the model can be forgotten without other logits: a golden that a reader passes
    who ignores its window, base or cap would be worth nothing."""
    tokens = tokens_of(raw.cfg)[0]
    right = ref.logits(raw, tokens)
    for what, change in altered(raw.cfg).items():
        wrong = ref.logits(replace(raw, cfg=replace(raw.cfg, **change)), tokens)
        gap = np.abs(wrong - right).max() / np.abs(right).max()
        assert gap > VISIBLE, f"{what} does not show: {gap:.2g}"


def tokens_of(cfg: Config) -> np.ndarray:
    """The two sequences whose logits a golden holds."""
    return np.random.default_rng(1).integers(0, cfg.d_vocab, (2, min(cfg.n_ctx, 8)))


def tl_config(raw: Model) -> TransformerBridgeConfig:
    """The same configuration for TransformerLens' functions."""
    cfg = raw.cfg
    grouped = cfg.n_kv_heads if cfg.n_kv_heads != cfg.n_heads else None
    return TransformerBridgeConfig(
        d_model=cfg.d_model,
        d_head=cfg.d_head,
        n_layers=cfg.n_layers,
        n_ctx=cfg.n_ctx,
        n_heads=cfg.n_heads,
        d_vocab=cfg.d_vocab,
        d_vocab_out=cfg.d_vocab_out,
        d_mlp=cfg.d_mlp or None,
        act_fn=cfg.activation or "relu",
        eps=cfg.eps,
        normalization_type=cfg.norm,
        attn_only=not cfg.d_mlp,
        attention_dir="causal" if cfg.causal else "bidirectional",
        n_key_value_heads=grouped,
        gated_mlp="blocks.0.mlp.W_gate" in raw.tensors,
        final_rms=cfg.norm == "RMS",
        positional_embedding_type="standard" if "pos_embed.W_pos" in raw.tensors else cfg.positions,
    )


def tl_process(raw: Model) -> dict[str, np.ndarray]:
    """TransformerLens' weight processing, its four steps called one by one in float64 (its
    process_weights does the same but rounds to float32 first)."""
    cfg = tl_config(raw)
    state = {k: torch.from_numpy(v.copy()) for k, v in raw.tensors.items()}
    if cfg.n_key_value_heads is not None:  # its spelling of grouped keys and values
        state = {k: state[k] for k in state} | {
            f"{k.rsplit('.', 1)[0]}._{k.rsplit('.', 1)[1]}": v
            for k, v in state.items()
            if k.split(".")[-1] in ("W_K", "W_V", "b_K", "b_V")
        }
        state = {
            k: v for k, v in state.items() if k.split(".")[-1] not in ("W_K", "W_V", "b_K", "b_V")
        }
    if raw.cfg.norm == "LN":
        state = with_everything(state, raw.cfg)
    if raw.cfg.norm is not None:
        layer_norm = raw.cfg.norm == "LN"
        state = ProcessWeights.fold_layer_norm(
            state, cfg, fold_biases=layer_norm, center_weights=layer_norm
        )
        if layer_norm:
            state = center_gates(ProcessWeights.center_writing_weights(state, cfg))
    if not raw.cfg.logit_cap:
        state = ProcessWeights.center_unembed(state, cfg)
    state = ProcessWeights.fold_value_biases(state, cfg)
    return {k.replace("attn._", "attn."): to_numpy(v) for k, v in state.items() if not is_norm(k)}


def with_everything(state: dict[str, torch.Tensor], cfg: Config) -> dict[str, torch.Tensor]:
    """Zero biases and norm weights of 1 where a LayerNorm model has none: TransformerLens folds
    into biases that are there, and centres behind norms that have weights."""

    def full(value: float, *shape: int) -> torch.Tensor:
        return torch.full(shape, value, dtype=torch.float64)

    d = cfg.d_model
    kv, under = (cfg.n_heads, "") if cfg.n_kv_heads == cfg.n_heads else (cfg.n_kv_heads, "_")
    added = {"ln_final.w": full(1, d), "unembed.b_U": full(0, cfg.d_vocab_out)}
    for layer in range(cfg.n_layers):
        b = f"blocks.{layer}."
        added |= {b + "attn.b_Q": full(0, cfg.n_heads, cfg.d_head), b + "attn.b_O": full(0, d)}
        added |= {f"{b}attn.{under}b_{part}": full(0, kv, cfg.d_head) for part in "KV"}
        added |= {b + "ln1.w": full(1, d)} | ({b + "ln2.w": full(1, d)} if cfg.d_mlp else {})
    return added | state


def center_gates(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """W_gate centred on its reading side like every other reader, which TransformerLens leaves out
    (behind a norm that subtracts the mean it makes no difference)."""
    return {
        k: v - v.mean(dim=0, keepdim=True) if k.endswith("W_gate") else v for k, v in state.items()
    }


def check_tl(raw: Model, done: Model, checks: Checks) -> None:
    """Processed weights (where every layer has the one MLP that TransformerLens expects) and the
    quantities of OV and QK against TransformerLens."""
    if done.cfg.experts is None:
        theirs = tl_process(raw)
        extra = set(theirs) - set(done.tensors)
        assert set(done.tensors) <= set(theirs) and all(not theirs[k].any() for k in extra), extra
        for key, value in done.tensors.items():
            checks.close("processed weights = TL", value, theirs[key])
    for layer in range(done.cfg.n_layers):
        for head in range(done.cfg.n_heads):
            for prefix, pair in (
                ("OV_", ref.ov),
                ("QK_", ref.qk),
                ("full_OV_", ref.full_ov),
                ("full_QK_", ref.full_qk),
            ):
                check_factored(prefix, pair(done, layer, head), checks)


def check_factored(prefix: str, pair: tuple[np.ndarray, np.ndarray], checks: Checks) -> None:
    """One factored matrix: norm, svd and eigenvalues as TL's FactoredMatrix has them."""
    A, B = pair
    theirs = FactoredMatrix(torch.from_numpy(A.copy()), torch.from_numpy(B.copy()))
    square = A.shape[0] == B.shape[1]
    ours = ref.quantities(A, B, spectrum=square)
    checks.close(prefix + "norm = TL", ours["norm"], to_numpy(theirs.norm()))
    checks.close(
        prefix + "singular values = TL",
        ours["singular_values"],
        ref.pad(to_numpy(theirs.S), A.shape[1]),
    )
    if square:
        values = ref.sort_eigenvalues(theirs.eigenvalues.numpy())
        mine = ours["eigenvalues_real"] + 1j * ours["eigenvalues_imag"]
        checks.close(prefix + "eigenvalues = TL", mine, values)
        checks.close(
            prefix + "positivity = TL",
            ours["positivity"],
            float(values.sum().real / np.abs(values).sum()),
        )


def check_bridge_hf(golden: Golden, raw: Model, done: Model, checks: Checks) -> None:
    """TransformerLens' own reading of the Hugging Face model, raw and processed by its
    compatibility mode (which goes through float32). Its processing leaves gates and what stands
    behind norms without weights uncentred; its raw weights are without multipliers."""
    assert golden.hf is not None
    model = copy.deepcopy(golden.hf).float().eval()
    source = "transformer_lens.model_bridge.sources.transformers.source.configure_tokenizer"
    with mock.patch(source, lambda tokenizer, _: tokenizer):  # nothing here is tokenized
        bridge = TransformerBridge.boot_transformers(
            golden.config["model_type"],
            hf_model=model,
            tokenizer=mock.MagicMock(),
            dtype=torch.float32,
        )
    compare_bridge("raw weights = TL's reading", bridge, raw, checks)
    if golden.bridge == "raw":
        return
    bridge.enable_compatibility_mode(disable_warnings=True)
    compare_bridge("processed weights = TL's own model", bridge, done, checks)


def compare_bridge(what: str, bridge: TransformerBridge, model: Model, checks: Checks) -> None:
    """Every stacked weight of a bridge against ours."""
    checks.close(what, model["embed.W_E"], to_numpy(bridge.W_E), SINGLE)
    checks.close(what, model["unembed.W_U"], to_numpy(bridge.W_U), SINGLE)
    if model.cfg.positions == "learned":
        checks.close(what, model["pos_embed.W_pos"], to_numpy(bridge.W_pos), SINGLE)
    for name in ATTENTION + MLP:
        part = "attn" if name in ATTENTION else "mlp"
        if f"blocks.0.{part}.{name}" not in model.tensors or name in ("b_gate",):
            continue
        ours = np.stack([model[f"blocks.{l}.{part}.{name}"] for l in range(model.cfg.n_layers)])
        theirs = to_numpy(getattr(bridge, name))
        if name == "b_V" and not ours.any():
            assert np.abs(theirs).max(initial=0) < 1e-6
            continue
        checks.close(what, ours, theirs.reshape(ours.shape), SINGLE)


def check_bridge_native(raw: Model, checks: Checks, rng: np.random.Generator) -> None:
    """Logits of TransformerLens' own model on a checkpoint of its own names; it has neither
    shortformer nor parallel blocks, and its rotation is of adjacent pairs."""
    cfg = raw.cfg
    own = cfg.architecture == "transformer_lens" and cfg.d_vocab == cfg.d_vocab_out
    if not own or cfg.parallel or cfg.positions not in ("learned", "none"):
        return
    bridge = TransformerBridge.boot_native(tl_config(raw))
    state = {k: torch.from_numpy(v.copy()) for k, v in raw.tensors.items()}
    left = bridge.load_state_dict(convert_tl_checkpoint(state, bridge.cfg), strict=False)
    assert not left.missing_keys and not left.unexpected_keys, left
    bridge.double()
    tokens = rng.integers(0, raw.cfg.d_vocab, raw.cfg.n_ctx)
    with in_float64(), torch.no_grad():
        theirs = to_numpy(bridge(torch.from_numpy(tokens)[None])[0])
    checks.close("raw logits = TL's model", ref.logits(raw, tokens), theirs)


def check_all(golden: Golden, raw: Model, done: Model) -> tuple[Checks, np.ndarray]:
    """Every comparison that applies to one golden model, and the logits of the other side."""
    checks, rng = Checks(), np.random.default_rng(0)
    check_invariants(raw, done, checks, rng)
    logits = check_logits(golden, raw, done, checks)
    check_everything_shows(raw)
    check_tl(raw, done, checks)
    if golden.bridge:
        check_bridge_hf(golden, raw, done, checks)
    check_bridge_native(raw, checks, rng)
    return checks, logits
