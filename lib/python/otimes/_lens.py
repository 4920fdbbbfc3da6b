# SPDX-License-Identifier: MIT
"""HookedTransformer's configuration as its weights' reader takes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from otimes._errors import UnsupportedError

# What the library reads of a HookedTransformerConfig; numbers below 0 say that there is none.
KEYS = (
    "d_model", "n_layers", "n_heads", "n_key_value_heads", "d_head", "d_mlp", "d_vocab", "d_vocab_out",
    "n_ctx", "num_experts", "experts_per_token", "eps", "attn_scores_soft_cap", "output_logits_soft_cap",
    "act_fn", "attention_dir", "positional_embedding_type", "attn_only", "gated_mlp", "parallel_attn_mlp",
    "post_embedding_ln", "use_normalization_before_and_after", "use_qk_norm", "use_attn_scale", "attn_scale",
)
ROTARY_KEYS = ("rotary_dim", "rotary_base", "rotary_base_local", "rotary_adjacent_pairs")
LOCAL_KEYS = ("window_size", "attn_types")
# Half the spacing of numbers about 1, by the type that weights were rounded to after processing.
ROUNDING = {"torch.float64": 2.0**-53, "torch.float32": 2.0**-24, "torch.float16": 2.0**-11,
            "torch.bfloat16": 2.0**-8}


def lens_tensors(cfg: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Its state dict without what its forward pass never reads."""
    unread = {"pos_embed.W_pos"} if cfg.positional_embedding_type == "alibi" else set()
    return {name: tensor for name, tensor in tensors.items() if name not in unread}


def check(cfg: Any, tensors: Mapping[str, Any]) -> None:
    """Refuses what its forward pass does and the library's does not."""
    if getattr(cfg, "scale_attn_by_inverse_layer_idx", False):
        raise UnsupportedError("HookedTransformer: scale_attn_by_inverse_layer_idx: expected off, which is "
                               "all that is known")
    if getattr(cfg, "final_rms", False) and cfg.normalization_type in ("LN", "LNPre"):
        raise UnsupportedError("HookedTransformer: final_rms: expected off beside "
                               f"{cfg.normalization_type}: the norms of a model are of one kind")
    for name, tensor in tensors.items():
        if getattr(cfg, "gated_mlp", False) and name.endswith(".mlp.b_in") and bool(tensor.any()):
            raise UnsupportedError(f"HookedTransformer: {name}: expected zeros: its gated MLP adds b_in "
                                   "behind the gate, where no known model has a bias")


def lens_config(cfg: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.json beside this state dict would say."""
    check(cfg, tensors)
    keys = KEYS + (ROTARY_KEYS if cfg.positional_embedding_type == "rotary" else ())
    keys += LOCAL_KEYS if getattr(cfg, "use_local_attn", False) else ()
    found: dict[str, Any] = {"model_type": "transformer_lens", "normalization_type": cfg.normalization_type}
    for key in keys:
        value = getattr(cfg, key, None)
        if value is not None and not (isinstance(value, (int, float)) and value < 0):
            found[key] = value
    if getattr(cfg, "use_NTK_by_parts_rope", False):
        found["rope_scaling"] = {
            "rope_type": "llama3",
            "factor": cfg.NTK_by_parts_factor,
            "low_freq_factor": cfg.NTK_by_parts_low_freq_factor,
            "high_freq_factor": cfg.NTK_by_parts_high_freq_factor,
            "original_max_position_embeddings": getattr(cfg, "NTK_original_ctx_len", 8192),
        }
    record = steps_done(cfg, tensors)
    if any(record.values()):
        found["otimes_processing"] = record
    return found


def steps_done(cfg: Any, tensors: Mapping[str, Any]) -> dict[str, bool]:
    """Which steps the weights have been through, as far as they show it."""
    kind = cfg.normalization_type
    by_name: dict[str, list[Any]] = {}
    for name, tensor in tensors.items():
        by_name.setdefault(name.rsplit(".", 1)[-1], []).append(tensor)
    writing = ["W_E", "W_O", "b_O", "W_out", "b_out"]
    writing += ["W_pos"] if cfg.positional_embedding_type == "standard" else []
    writers = [tensor for key in writing for tensor in by_name.get(key, [])]
    values, outputs = by_name.get("b_V", []) + by_name.get("_b_V", []), by_name.get("b_O", [])
    folded = any(bool(b.any()) for b in outputs) and not any(bool(b.any()) for b in values)
    return {
        "fold_ln": kind in ("LNPre", "RMSPre"),
        "center_writing_weights": kind in ("LN", "LNPre") and all(is_centred(t, -1) for t in writers),
        "center_unembed": all(is_centred(t, -1) for t in by_name.get("W_U", [])),
        "fold_value_biases": bool(values) and folded,
    }


def is_centred(tensor: Any, axis: int) -> bool:
    """Whether rows have mean 0 but for rounding.

    The root mean square, over rows, of mean / root mean square of the row: about 1 / sqrt(n) or more
    for weights that nobody centred, and rounding / sqrt(n) for those that were, beside what the
    centring's own float32 arithmetic leaves. A row of zeros says nothing.
    """
    dtype, n = str(tensor.dtype), tensor.shape[axis]
    rows = tensor.double()
    size = rows.square().mean(axis).sqrt()
    known = size > 0
    if not bool(known.any()):
        return True
    ratio = float((rows.mean(axis)[known] / size[known]).square().mean().sqrt())
    rounding = ROUNDING.get(dtype, 2.0**-3)
    return ratio <= max(4 * rounding / math.sqrt(n), 64 * ROUNDING["torch.float32"])
