# SPDX-License-Identifier: MIT
"""reference.py against itself, against Hugging Face transformers and against TransformerLens."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

import numpy as np
import torch
from transformer_lens import FactoredMatrix, TransformerBridge, TransformerBridgeConfig
from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint
from transformer_lens.weight_processing import ProcessWeights
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

import reference as ref
from checkpoint import Config, Model, is_norm
from golden_models import OFFSETS, Golden, in_float64

TOLERANCE = 1e-11  # float64 against float64, relative to the largest entry
SINGLE = 2e-6  # where the other side computes in float32

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
    tokens = rng.integers(0, raw.cfg.d_vocab, raw.cfg.n_ctx)
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
    """score = (x_q W_Q R(q)).(x_k W_K R(k)) is x_q W_Q R(q - k) W_K^T x_k^T, with R as Hugging Face
    applies it."""
    if model.cfg.positions != "rotary":
        return
    x_q, x_k = rng.standard_normal((2, model.cfg.d_model))
    A, B = ref.qk(model, 0, 1)
    for at_q, at_k in ((0, 0), (5, 4), (9, 1), (2, 6)):
        angle = torch.tensor([at_q, at_k], dtype=torch.float64)[:, None]
        angle = angle * torch.from_numpy(ref.frequencies(model.cfg))
        angle = torch.cat([angle, angle], dim=-1)[None]
        both = torch.from_numpy(np.stack([x_q @ A, x_k @ B.T]))[None, None]
        q, k = apply_rotary_pos_emb(both, both, angle.cos(), angle.sin())
        theirs = float(q[0, 0, 0] @ k[0, 0, 1])
        C, D = ref.qk_rotary(model, 0, 1, at_q - at_k)
        checks.close("RoPE form = HF scores", x_q @ C @ D @ x_k, theirs)


def check_hf(
    golden: Golden, raw: Model, done: Model, checks: Checks, rng: np.random.Generator
) -> None:
    """Our forward pass, on raw and on processed weights, against Hugging Face's own."""
    if golden.hf is None:
        return
    tokens = rng.integers(0, raw.cfg.d_vocab, raw.cfg.n_ctx)
    with in_float64(), torch.no_grad():
        theirs = to_numpy(golden.hf(torch.from_numpy(tokens)[None]).logits[0])
    checks.close("raw logits = HF", ref.logits(raw, tokens), theirs)
    checks.close(
        "processed log-probabilities = HF",
        ref.log_softmax(ref.logits(done, tokens)),
        ref.log_softmax(theirs),
    )


def tl_config(cfg: Config) -> TransformerBridgeConfig:
    """The same configuration for TransformerLens' functions."""
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
        n_key_value_heads=grouped,
        gated_mlp=cfg.norm == "RMS",
        final_rms=cfg.norm == "RMS",
        positional_embedding_type="rotary" if cfg.positions == "rotary" else "standard",
    )


def tl_process(raw: Model) -> dict[str, np.ndarray]:
    """TransformerLens' weight processing, its four steps called one by one in float64 (its
    process_weights does the same but rounds to float32 first)."""
    cfg = tl_config(raw.cfg)
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
    if raw.cfg.norm == "LN":  # it folds ln_final.b only into a b_U that is there
        state.setdefault("unembed.b_U", torch.zeros(raw.cfg.d_vocab_out, dtype=torch.float64))
    if raw.cfg.norm is not None:
        layer_norm = raw.cfg.norm == "LN"
        state = ProcessWeights.fold_layer_norm(
            state, cfg, fold_biases=layer_norm, center_weights=layer_norm
        )
        if layer_norm:
            state = ProcessWeights.center_writing_weights(state, cfg)
    state = ProcessWeights.center_unembed(state, cfg)
    state = ProcessWeights.fold_value_biases(state, cfg)
    return {k.replace("attn._", "attn."): to_numpy(v) for k, v in state.items() if not is_norm(k)}


def check_tl(raw: Model, done: Model, checks: Checks) -> None:
    """Processed weights and the quantities of OV and QK against TransformerLens."""
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
                check_factored(prefix, pair(done, layer, head), done, checks)


def check_factored(
    prefix: str, pair: tuple[np.ndarray, np.ndarray], model: Model, checks: Checks
) -> None:
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
    compatibility mode (which goes through float32)."""
    if golden.hf is None:
        return
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


def check_bridge_native(
    golden: Golden, raw: Model, checks: Checks, rng: np.random.Generator
) -> None:
    """Logits of TransformerLens' own model on a checkpoint of its own names."""
    if raw.cfg.architecture != "transformer_lens" or raw.cfg.d_vocab != raw.cfg.d_vocab_out:
        return
    bridge = TransformerBridge.boot_native(tl_config(raw.cfg))
    state = {k: torch.from_numpy(v.copy()) for k, v in raw.tensors.items()}
    left = bridge.load_state_dict(convert_tl_checkpoint(state, bridge.cfg), strict=False)
    assert not left.missing_keys and not left.unexpected_keys, left
    bridge.double()
    tokens = rng.integers(0, raw.cfg.d_vocab, raw.cfg.n_ctx)
    with in_float64(), torch.no_grad():
        theirs = to_numpy(bridge(torch.from_numpy(tokens)[None])[0])
    checks.close("raw logits = TL's model", ref.logits(raw, tokens), theirs)


def check_all(golden: Golden, raw: Model, done: Model) -> Checks:
    """Every comparison that applies to one golden model."""
    checks, rng = Checks(), np.random.default_rng(0)
    check_invariants(raw, done, checks, rng)
    check_hf(golden, raw, done, checks, rng)
    check_tl(raw, done, checks)
    check_bridge_hf(golden, raw, done, checks)
    check_bridge_native(golden, raw, checks, rng)
    return checks
