# SPDX-License-Identifier: MIT
"""TransformerLens' models handed over: logits, OV and QK are its own, and what was done to the weights
is known. HookedTransformer is in TransformerLens before 4, TransformerBridge from 3 on; each part runs
where its class is.
"""

from __future__ import annotations

import copy
import dataclasses
import unittest.mock
from typing import Any

import numpy as np
import pytest

import otimes
from test_torch import MAKERS, assert_same, built

torch = pytest.importorskip("torch")
lens = pytest.importorskip("transformer_lens")


def has(name: str) -> bool:
    try:
        return hasattr(lens, name)
    except ImportError:  # what was removed says where it went
        return False


hooked = pytest.mark.skipif(not has("HookedTransformer"), reason="it is in TransformerLens before 4")
bridge = pytest.mark.skipif(not has("TransformerBridge") or not MAKERS, reason="TransformerBridge: from 3 on")
RELATIVE = 1e-5  # float32 on both sides, in another order of sums
EPS32 = float(np.finfo(np.float32).eps)
STEPS = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
N_CTX, D_VOCAB = 16, 50
SIZES: dict[str, Any] = {"n_layers": 2, "d_model": 24, "n_ctx": N_CTX, "d_head": 6, "n_heads": 4,
                         "d_vocab": D_VOCAB, "seed": 1, "device": "cpu"}
PLAIN: dict[str, Any] = {"act_fn": "gelu_new", "d_mlp": 40, "normalization_type": "LN"}
GATED: dict[str, Any] = {"act_fn": "silu", "d_mlp": 40, "normalization_type": "RMS", "gated_mlp": True,
                         "positional_embedding_type": "rotary", "rotary_dim": 6}
LLAMA3: dict[str, Any] = {"use_NTK_by_parts_rope": True, "NTK_original_ctx_len": 64,
                          "NTK_by_parts_factor": 4.0, "NTK_by_parts_low_freq_factor": 1.0,
                          "NTK_by_parts_high_freq_factor": 3.0}
KINDS: dict[str, dict[str, Any]] = {
    "attn_only": {"attn_only": True, "normalization_type": "LN"},
    "mlp": PLAIN,
    "no_norm": {**PLAIN, "act_fn": "relu", "normalization_type": None},
    "grouped": {**GATED, "n_key_value_heads": 2, "final_rms": True},
    "adjacent": {**PLAIN, "positional_embedding_type": "rotary", "rotary_dim": 4,
                 "rotary_adjacent_pairs": True, "parallel_attn_mlp": True},
    "shortformer": {**PLAIN, "positional_embedding_type": "shortformer"},
    "alibi": {**PLAIN, "positional_embedding_type": "alibi", "post_embedding_ln": True},
    "local": {**PLAIN, "use_local_attn": True, "window_size": 3, "attn_types": ["global", "local"],
              "use_attn_scale": False},
    "not_local": {**PLAIN, "window_size": 3},
    "soft_caps": {**PLAIN, "attn_scores_soft_cap": 2.0, "output_logits_soft_cap": 3.0, "attn_scale": 3.0},
    "bidirectional": {**PLAIN, "attention_dir": "bidirectional"},
    "other_outputs": {**PLAIN, "d_vocab_out": 31},
    "llama3": {**GATED, **LLAMA3, "rotary_base": 500},
    "sandwich": {**GATED, "act_fn": "gelu_pytorch_tanh", "use_normalization_before_and_after": True},
    "experts": {**GATED, "num_experts": 4, "experts_per_token": 2},
    "head_norms": {**GATED, "use_qk_norm": True},
}


def made(kind: str, **changes: Any) -> Any:
    """A seeded model whose norms, biases and means are none of them trivial."""
    model = lens.HookedTransformer(lens.HookedTransformerConfig(**SIZES, **KINDS[kind], **changes))
    torch.manual_seed(7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".ln" in name or "ln_final" in name or "_norm" in name:
                weight.add_(0.2 * torch.randn_like(weight))
            elif KINDS[kind].get("gated_mlp") and name.endswith("mlp.b_in"):
                weight.zero_()
            else:
                size = 0.1 if ".b_" in name else 0.3
                weight.copy_(size * (torch.randn_like(weight) + 0.2))
    return model.eval()


def tokens() -> Any:
    return torch.randint(0, D_VOCAB, (2, N_CTX), generator=torch.Generator().manual_seed(3))


def logits(model: Any) -> Any:
    with torch.no_grad():
        return model(tokens()).double().numpy()


def our_logits(memory: otimes.Model) -> Any:
    return memory.logits(tokens=tokens().numpy(), full=True).logits.values.astype(np.float64)


def log_softmax(values: Any) -> Any:
    moved = values - values.max(-1, keepdims=True)
    return moved - np.log(np.exp(moved).sum(-1, keepdims=True))


def assert_close(ours: Any, theirs: Any, relative: float = RELATIVE) -> None:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max(initial=0) <= relative * np.abs(theirs).max(initial=0)


def steps(memory: otimes.Model) -> dict[str, str]:
    return {step: getattr(memory.cfg, step) for step in STEPS}


# ---- HookedTransformer ----


@hooked
@pytest.mark.parametrize("kind", KINDS)
def test_raw_logits(kind: str) -> None:
    model = made(kind)
    with otimes.from_torch(model, raw=True) as memory:
        assert_close(our_logits(memory), logits(model))
        assert "done in the file" not in steps(memory).values()
        assert memory.cfg.path == "<torch: HookedTransformer>"


@hooked
@pytest.mark.parametrize("kind", KINDS)
def test_what_we_process_says_the_same(kind: str) -> None:
    """Log-probabilities: centring moves all logits by one number."""
    model = made(kind)
    with otimes.from_torch(model) as memory:
        ours = our_logits(memory)
        assert np.abs(log_softmax(ours) - log_softmax(logits(model))).max() <= RELATIVE * np.abs(ours).max()


@hooked
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_processed_weights(kind: str, raw: bool) -> None:
    """Weights that TransformerLens processed are never processed again, and are known as what they are."""
    model = made(kind)
    experts = KINDS[kind].get("num_experts")
    model.process_weights_()
    with otimes.from_torch(model, raw=raw) as memory:
        done, norm = "done in the file", KINDS[kind]["normalization_type"]
        expected = {
            "fold_ln": "not applicable" if not norm else done if not experts else "off" if raw else "applied",
            "center_writing_weights": done if norm == "LN" else "not applicable",
            "center_unembed": done,
            "fold_value_biases": done,
        }
        assert steps(memory) == expected
        if not experts or raw:  # where all is done, nothing is left to do
            assert_close(our_logits(memory), logits(model))
            for name in ("W_E", "W_U", "W_Q", "W_O", "b_O"):
                np.testing.assert_array_equal(np.asarray(getattr(memory, name)),
                                              getattr(model, name).detach().numpy(), err_msg=name)


@hooked
@pytest.mark.parametrize("kind", ["attn_only", "mlp", "adjacent", "local", "soft_caps", "bidirectional"])
def test_our_processing_is_its_own(kind: str) -> None:
    """The raw model processed by the library, and the same one by TransformerLens."""
    model = made(kind)
    raw = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = copy.deepcopy(model.cfg)
    model.process_weights_()
    again = lens.HookedTransformer(config)
    again.load_state_dict(raw)
    with otimes.from_torch(again) as memory:
        names = ["W_E", "W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_O"]
        names += [] if KINDS[kind].get("attn_only") else ["W_in", "b_in", "W_out", "b_out"]
        names += [] if kind == "soft_caps" else ["W_U"]  # centring before a soft cap is no change of nothing
        for name in names:
            assert_close(getattr(memory, name), getattr(model, name).detach().numpy())


@hooked
@pytest.mark.parametrize("kind", ["attn_only", "mlp", "adjacent"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("step", ["center_writing_weights", "center_unembed"])
def test_one_step_is_told_from_none(kind: str, dtype: str, step: str) -> None:
    """Whatever type the weights were rounded to after they were processed."""
    model = made(kind)
    centrings = ("center_writing_weights", "center_unembed")
    model.process_weights_(fold_ln=False, **{other: other == step for other in centrings})
    model = model.to(getattr(torch, dtype))
    with otimes.from_torch(model, raw=True) as memory:
        for other in centrings:
            assert getattr(memory.cfg, other) == ("done in the file" if other == step else "off")
        assert memory.cfg.fold_ln == "off"
    with otimes.from_torch(made(kind).to(getattr(torch, dtype)), raw=True) as memory:
        assert set(steps(memory).values()) == {"off"}


@hooked
@pytest.mark.parametrize("processed", [False, True])
@pytest.mark.parametrize("kind", ["attn_only", "grouped", "adjacent"])
def test_ov_and_qk(kind: str, processed: bool) -> None:
    model = made(kind)
    if processed:
        model.process_weights_()
    group = SIZES["n_heads"] // (KINDS[kind].get("n_key_value_heads") or SIZES["n_heads"])
    with otimes.from_torch(model, raw=True) as memory:
        for layer in range(2):
            for head in range(4):
                attention, of = model.blocks[layer].attn, head // group
                pairs = [(memory.OV(layer, head), attention.W_V[head], attention.W_O[head]),
                         (memory.QK(layer, head), attention.W_Q[head], attention.W_K[head].T)]
                for ours, left, right in pairs:
                    theirs = lens.FactoredMatrix(left.detach(), right.detach())
                    np.testing.assert_array_equal(ours.A, theirs.A.numpy())
                    np.testing.assert_array_equal(ours.B, theirs.B.numpy())
                    assert_close(ours.AB, theirs.AB.numpy())
                    assert_close(ours.norm(), theirs.norm().numpy())
                    assert_close(np.sort(ours.svd()[1]), np.sort(theirs.svd()[1].numpy()))
                np.testing.assert_array_equal(memory.W_V[layer, of], attention.W_V[head].detach().numpy())


@hooked
def test_heads_say_what_the_model_says() -> None:
    """A figure of an analysis, by TransformerLens' own matrices."""
    model = made("attn_only")
    model.process_weights_()
    full = model.W_E @ model.OV.AB[1, 2] @ model.W_U
    values = np.linalg.eigvals(full.detach().double().numpy())
    with otimes.from_torch(model) as memory:
        copying = float(memory.heads().full_OV_copying.sel(layer=1, head=2))
        assert copying == pytest.approx(values.sum().real / np.abs(values).sum(), abs=1e-5)


@hooked
def test_an_optimizers_step_is_seen() -> None:
    model = made("mlp")
    memory = otimes.from_torch(model, raw=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    before = our_logits(memory)
    model(tokens(), return_type="loss").backward()
    optimizer.step()
    assert_close(our_logits(memory), logits(model))
    assert np.abs(our_logits(memory) - before).max() > 1e-3


@hooked
def test_what_its_pass_does_and_ours_does_not() -> None:
    for kind, changes, words in [
        ("mlp", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx: expected off"),
        ("mlp", {"final_rms": True}, "final_rms: expected off beside LN"),
    ]:
        with pytest.raises(otimes.UnsupportedError, match=words):
            otimes.from_torch(made(kind, **changes))
    model = made("grouped")
    with torch.no_grad():
        model.blocks[1].mlp.b_in[3] = 0.5
    with pytest.raises(otimes.UnsupportedError, match=r"blocks.1.mlp.b_in: expected zeros"):
        otimes.from_torch(model)


@hooked
def test_every_known_field_of_its_configuration_is_looked_at() -> None:
    """A new field may be a new mechanism: it is put into one of the lists when it has been looked at."""
    from otimes._lens import KEYS, LOCAL_KEYS, ROTARY_KEYS

    read = {*KEYS, *LOCAL_KEYS, *ROTARY_KEYS, "normalization_type", "use_local_attn", "final_rms",
            "scale_attn_by_inverse_layer_idx", *LLAMA3}
    no_matter = {"checkpoint_index", "checkpoint_label_type", "checkpoint_value", "default_prepend_bos",
                 "decoder_start_token_id", "device", "dtype", "from_checkpoint", "init_mode", "init_weights",
                 "initializer_range", "load_in_4bit", "model_name", "n_devices", "n_params",
                 "original_architecture", "relative_attention_max_distance", "relative_attention_num_buckets",
                 "seed", "tie_word_embeddings", "tokenizer_name", "tokenizer_prepends_bos",
                 "trust_remote_code", "ungroup_grouped_query_attention", "use_attn_in", "use_attn_result",
                 "use_hook_mlp_in", "use_hook_tokens", "use_split_qkv_input"}
    assert {field.name for field in dataclasses.fields(lens.HookedTransformerConfig)} <= read | no_matter


# ---- TransformerBridge ----


def bridged(name: str) -> Any:
    model = built(name).float()
    source = "transformer_lens.model_bridge.sources.transformers.source.configure_tokenizer"
    with unittest.mock.patch(source, lambda tokenizer, _: tokenizer):  # nothing here is tokenized
        return lens.TransformerBridge.boot_transformers(
            model.config.model_type, hf_model=model, tokenizer=unittest.mock.MagicMock(), dtype=torch.float32)


# Of each family one that it can be built around.
BRIDGES = ["bloom", "cohere", "falcon", "gemma2", "gpt2", "gpt_neo", "gpt_neox", "gptj", "llama", "mixtral",
           "mpt", "olmo2", "opt", "phi3", "qwen3", "qwen3_moe"]


@bridge
@pytest.mark.parametrize("name", BRIDGES)
def test_bridge(name: str) -> None:
    """The model inside, under its own names."""
    plain = otimes.from_torch(built(name).float())
    with otimes.from_torch(bridged(name), tokenizer=False) as memory:
        assert_same(memory.convert(), plain.convert())
        assert_same(memory.heads(), plain.heads())


@bridge
def test_bridge_with_processed_weights() -> None:
    model = bridged("gpt2")
    model.enable_compatibility_mode(disable_warnings=True)
    words = "hand it over before enable_compatibility_mode"
    with pytest.raises(otimes.UnsupportedError, match=words) as caught:
        otimes.from_torch(model, tokenizer=False)
    assert "\n" not in str(caught.value)
