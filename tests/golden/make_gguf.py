# SPDX-License-Identifier: MIT
"""Writes golden models as GGUF, as llama.cpp's conversion would: ``make_gguf.py [NAME ...]``.

``tests/data/gguf/NAME/model.gguf`` holds the weights of ``tests/golden/NAME`` in float32, so that
``raw/`` of its expected.safetensors is what a reader must find. Names come from the package gguf;
rules of conversion from github.com/ggml-org/llama.cpp (conversion of Hugging Face's files). Each
file is read back, by checkpoint_gguf.py and, where Hugging Face transformers reads GGUF of the
architecture, by it, which must find the tensors of the golden.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gguf
import numpy as np
import torch
import transformers
from gguf import MODEL_ARCH, GGUFWriter
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

import checkpoint_gguf
from canonical import Array, Config, Tensors
from checkpoint import load, read_safetensors, read_weights
from compare import Checks
from forward import frequencies

GOLDEN = Path(__file__).parent
ROWS = {
    "bloom": MODEL_ARCH.BLOOM,
    "cohere": MODEL_ARCH.COMMAND_R,
    "cohere_qk_norm": MODEL_ARCH.COMMAND_R,
    "falcon": MODEL_ARCH.FALCON,
    "falcon_new": MODEL_ARCH.FALCON,
    "gemma": MODEL_ARCH.GEMMA,
    "gemma2": MODEL_ARCH.GEMMA2,
    "gemma3_text": MODEL_ARCH.GEMMA3,
    "gpt2": MODEL_ARCH.GPT2,
    "gpt_bigcode": MODEL_ARCH.STARCODER,
    "gpt_neox": MODEL_ARCH.GPTNEOX,
    "gpt_oss": MODEL_ARCH.GPT_OSS,
    "granite": MODEL_ARCH.GRANITE,
    "llama": MODEL_ARCH.LLAMA,
    "llama_scaled": MODEL_ARCH.LLAMA,
    "mistral": MODEL_ARCH.LLAMA,
    "mixtral": MODEL_ARCH.LLAMA,
    "mpt": MODEL_ARCH.MPT,
    "mpt_learned": MODEL_ARCH.MPT,
    "olmo": MODEL_ARCH.OLMO,
    "olmo2": MODEL_ARCH.OLMO2,
    "phi": MODEL_ARCH.PHI2,
    "phi3": MODEL_ARCH.PHI3,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen2_moe": MODEL_ARCH.QWEN2MOE,
    "qwen3": MODEL_ARCH.QWEN3,
    "qwen3_moe": MODEL_ARCH.QWEN3MOE,
    "smollm3": MODEL_ARCH.SMOLLM3,
    "stablelm": MODEL_ARCH.STABLELM,
    "starcoder2": MODEL_ARCH.STARCODER2,
}
READ_BY_HF = (
    "bloom",
    "falcon",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "llama",
    "llama_scaled",
    "mistral",
    "phi3",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "stablelm",
    "starcoder2",
)
EXACT, ROUNDED = 0.0, 1e-6  # Gemma's norms w + 1 are rounded to float32

# ------------------------------------------------------------------------------ tensors


def adjacent(rows: Array, heads: int) -> Array:
    """Rows of rotary pairs (i, i + half) of each head, brought to pairs (2i, 2i + 1)."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def apart(rows: Array, cfg: Config) -> Array:
    """Rows (group, its queries | key | value, d_head) of a weight or bias, brought to q, k, v."""
    each = cfg.n_heads // cfg.n_kv_heads
    grouped = rows.reshape(cfg.n_kv_heads, each + 2, cfg.d_head, *rows.shape[1:])
    parts = (grouped[:, :each], grouped[:, each], grouped[:, each + 1])
    return np.concatenate([p.reshape(-1, *rows.shape[1:]) for p in parts])


def change(name: str, value: Array, arch: MODEL_ARCH, cfg: Config) -> tuple[str, Array]:
    """What one tensor becomes, still under its own name."""
    part = name.rsplit(".", 2)[-2] if "." in name else name
    permuted = gguf.MODEL_ARCH_NAMES[arch] in checkpoint_gguf.PERMUTED
    if permuted and part in ("q_proj", "k_proj"):
        value = adjacent(value, cfg.n_heads if part == "q_proj" else cfg.n_kv_heads)
    fused = cfg.architecture in ("bloom", "gpt_neox", "falcon") and part == "query_key_value"
    if fused:  # of one key/value head the rows are q, k, v already
        value = apart(value, cfg)
    if arch == MODEL_ARCH.GPT2 and part in ("c_attn", "c_fc", "c_proj") and value.ndim == 2:
        value = value.T
    if cfg.architecture.startswith("gemma") and name.endswith("norm.weight"):
        value = value + 1
    if part == "shared_expert_gate":
        value = value[0]
    if name.endswith("sinks"):
        name += ".weight"
    if cfg.architecture == "bloom":
        name = name.removeprefix("transformer.")
    return name, value


def stack_experts(t: Tensors, cfg: Config) -> Tensors:
    """Experts one above the other in one tensor of their layer; gpt-oss' gate and up apart."""
    out: Tensors = {}
    for name, value in t.items():
        at, _, rest = name.partition(".experts.")
        if not rest:
            out[name] = value
        elif cfg.architecture == "gpt_oss":
            part = "bias" if rest.endswith("_bias") else "weight"
            value = value if part == "bias" else value.swapaxes(1, 2)
            if rest.startswith("down"):
                out[f"{at}.experts.down_proj.{part}"] = value
            else:
                out[f"{at}.experts.gate_proj.{part}"] = value[:, ::2]
                out[f"{at}.experts.up_proj.{part}"] = value[:, 1::2]
        elif rest.startswith("0."):
            count = sum(k.startswith(f"{at}.experts.") and k.endswith(rest[1:]) for k in t)
            each = [t[f"{at}.experts.{i}.{rest[2:]}"] for i in range(count)]
            out[f"{at}.experts.{rest[2:]}"] = np.stack(each)
    return out


def convert(name: str, arch: MODEL_ARCH, cfg: Config) -> Tensors:
    """All tensors of a golden under GGUF's names, with what `llama3` divides frequencies by."""
    names = gguf.get_tensor_name_map(arch, cfg.n_layers)
    out: Tensors = {}
    for key, value in stack_experts(read_weights(GOLDEN / name), cfg).items():
        key, value = change(key, value, arch, cfg)
        mapped = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert mapped is not None, f"{name}: no name for {key}"
        out[mapped] = np.ascontiguousarray(value, np.float32)
    if (cfg.rope_scaling or {}).get("rope_type") == "llama3":
        f = cfg.rope_theta ** (-np.arange(0, cfg.d_head, 2) / cfg.d_head)
        out["rope_freqs.weight"] = np.float32(f / frequencies(cfg)[0])
    return out


# ------------------------------------------------------------------------------ metadata


def multipliers(config: dict[str, Any]) -> dict[str, float]:
    """Multipliers of embedding, residual and logits, apart from GGUF's weights."""
    gemma = config["model_type"].startswith("gemma")
    return {
        "embed": math.sqrt(config["hidden_size"])
        if gemma
        else config.get("embedding_multiplier", 1.0),
        "residual": config.get("residual_multiplier", 1.0),
        "unembed": (config.get("logit_scale") or 1.0) / config.get("logits_scaling", 1.0),
    }


def add_sizes(w: GGUFWriter, cfg: Config, config: dict[str, Any]) -> None:
    """What every model has."""
    w.add_context_length(cfg.n_ctx)
    w.add_embedding_length(cfg.d_model)
    w.add_block_count(cfg.n_layers)
    w.add_feed_forward_length(cfg.d_mlp)
    w.add_head_count(cfg.n_heads)
    w.add_head_count_kv(cfg.n_kv_heads)
    w.add_vocab_size(cfg.d_vocab)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    if config.get("head_dim"):
        w.add_key_length(cfg.d_head)
        w.add_value_length(cfg.d_head)
    (w.add_layer_norm_eps if cfg.norm == "LN" else w.add_layer_norm_rms_eps)(cfg.eps)


def add_rope(w: GGUFWriter, cfg: Config, config: dict[str, Any]) -> None:
    """Base, rotated part and rescaling; `llama3` is in rope_freqs.weight instead."""
    if cfg.positions != "rotary":
        return
    w.add_rope_dimension_count(cfg.rotary_dim or cfg.d_head)
    rule = cfg.rope(cfg.n_layers - 1)
    if cfg.layer_rope:
        rule = next(r for r, window in zip(cfg.layer_rope, windows(cfg), strict=True) if not window)
    assert rule is not None
    w.add_rope_freq_base(rule["rope_theta"])
    if config["model_type"] == "gemma3_text":
        w.add_rope_freq_base_swa(config["rope_local_base_freq"])
    kind = rule.get("rope_type")
    if kind in ("linear", "yarn"):
        w.add_rope_scaling_type(gguf.RopeScalingType(kind))
        w.add_rope_scaling_factor(rule["factor"])
    if kind == "yarn":
        w.add_rope_scaling_orig_ctx_len(rule["original_max_position_embeddings"])


def windows(cfg: Config) -> list[int]:
    """The sliding window of every layer."""
    return [cfg.window(layer) for layer in range(cfg.n_layers)]


def add_rest(w: GGUFWriter, cfg: Config, config: dict[str, Any]) -> None:
    """Windows, caps, experts and scales where the model has them."""
    if any(windows(cfg)):
        w.add_sliding_window(max(windows(cfg)))
    if cfg.attn_cap:
        w.add_attn_logit_softcapping(cfg.attn_cap)
    if cfg.logit_cap:
        w.add_final_logit_softcapping(cfg.logit_cap)
    if cfg.clip_qkv:
        w.add_clamp_kqv(cfg.clip_qkv)
    if cfg.architecture in ("gpt_neox", "stablelm"):
        w.add_parallel_residual(cfg.parallel)
    if cfg.architecture == "mpt" and cfg.positions == "alibi":
        w.add_max_alibi_bias(8.0)
    if cfg.architecture == "cohere":
        w.add_logit_scale(config["logit_scale"])
    if cfg.architecture == "granite":
        w.add_attention_scale(config["attention_multiplier"])
        w.add_embedding_scale(config["embedding_multiplier"])
        w.add_residual_scale(config["residual_multiplier"])
        w.add_logit_scale(config["logits_scaling"])
    if cfg.experts:
        count = config.get("num_experts") or config["num_local_experts"]
        w.add_expert_count(count)
        w.add_expert_used_count(cfg.experts.active)
        each = config.get("moe_intermediate_size")
        if cfg.architecture == "gpt_oss":
            each = config["intermediate_size"]
        if each:
            w.add_expert_feed_forward_length(each)
        if config.get("shared_expert_intermediate_size"):
            w.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])


def add_tokens(w: GGUFWriter, name: str, cfg: Config) -> None:
    """The vocabulary where the golden has one."""
    vocab = GOLDEN / name / "vocab.json"
    tokenizer = GOLDEN / name / "tokenizer.json"
    if vocab.is_file():
        pieces, kind = json.loads(vocab.read_text("utf-8")), "gpt2"
    elif tokenizer.is_file():
        pieces, kind = json.loads(tokenizer.read_text("utf-8"))["model"]["vocab"], "llama"
    else:
        return
    w.add_tokenizer_model(kind)
    w.add_token_list(sorted(pieces, key=pieces.__getitem__))
    if kind == "llama":
        types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
        byte = [p.startswith("<0x") for p in sorted(pieces, key=pieces.__getitem__)[3:]]
        types += [gguf.TokenType.BYTE if it else gguf.TokenType.NORMAL for it in byte]
        w.add_token_scores([-float(i) for i in range(cfg.d_vocab)])
        w.add_token_types(types)


# ------------------------------------------------------------------------------ checking


def check(name: str, path: Path, cfg: Config, config: dict[str, Any]) -> Checks:
    """Canonical weights are the golden's, and the logits of Hugging Face's own reader."""
    checks = Checks()
    expected = read_safetensors(GOLDEN / name / "expected.safetensors")
    ours = checkpoint_gguf.read(path, cfg, multipliers(config))
    raw = {k.removeprefix("raw/"): v for k, v in expected.items() if k.startswith("raw/")}
    assert set(ours) == set(raw), (name, set(ours) ^ set(raw))
    rounded = ROUNDED if cfg.architecture.startswith("gemma") else EXACT
    for key, value in raw.items():
        tolerance = rounded if key.endswith(".w") else EXACT
        checks.close("raw weights", ours[key], value, tolerance)
    if name in READ_BY_HF:
        check_hf(name, path, checks, rounded)
    return checks


def check_hf(name: str, path: Path, checks: Checks, tolerance: float) -> None:
    """The tensors that Hugging Face's reader makes of the file are those of the golden."""
    model = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / name, dtype=torch.float32)
    if name == "mistral":  # GGUF knows it as a llama, and so does the reader
        model.config.model_type = "llama"
    found = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
    state = model.state_dict()
    assert set(state) - {"lm_head.weight"} <= set(found) <= set(state), name
    for key, value in found.items():
        checks.close("tensors of HF's reader", value.numpy(), state[key].numpy(), tolerance)


def write(name: str, arch: MODEL_ARCH, path: Path) -> Checks:
    """One file, checked after it is written."""
    config = json.loads((GOLDEN / name / "config.json").read_text())
    cfg = load(GOLDEN / name).cfg
    path.parent.mkdir(parents=True, exist_ok=True)
    w = GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    add_sizes(w, cfg, config)
    add_rope(w, cfg, config)
    add_rest(w, cfg, config)
    add_tokens(w, name, cfg)
    tensors = convert(name, arch, cfg)
    for key in sorted(tensors):
        w.add_tensor(key, tensors[key])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return check(name, path, cfg, config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="goldens to write; all of them")
    parser.add_argument("--output", type=Path, default=GOLDEN.parent / "data" / "gguf")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    for name in arguments.names or ROWS:
        path = arguments.output / name / "model.gguf"
        checks = write(name, ROWS[name], path)
        print(f"{name}: {path.stat().st_size} bytes, {checks.worst}")


if __name__ == "__main__":
    main()
