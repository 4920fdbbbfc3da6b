# SPDX-License-Identifier: MIT
"""What TransformerLens says to each line of README's table "Coming from TransformerLens": the bundled model
in a HookedTransformer in float64, and `transformer_lens_mlp` where MLPs are asked for. In an environment of
its own, as check_convert.py: transformer_lens==2.16.1, transformers<5, datasets<4, numpy>=2.

usage: python tests/golden/golden_lens_table.py    writes tests/data/lens_table.npz
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TREE = Path(__file__).resolve().parents[2]
OUT = TREE / "tests" / "data" / "lens_table.npz"
BUNDLED = TREE / "notebooks-data" / "induction-2l"
WITH_MLP = TREE / "tests" / "golden" / "transformer_lens_mlp"
TEXT = "def area(self, width): self.width = width; return self.height * self."
MLP_TOKENS = [3, 1, 4, 1, 5]
TARGET = "w"
CONFIG = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab", "n_ctx")
STEPS = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")


def load(folder: Path, **steps: bool) -> Any:
    """A HookedTransformer in float64 with the weights of a folder, processed as from_pretrained does."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from safetensors.torch import load_file
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    settings = json.loads((folder / "config.json").read_text())
    names = HookedTransformerConfig.__dataclass_fields__
    chosen = {key: value for key, value in settings.items() if key in names and key != "attn_scale"}
    chosen |= {"device": "cpu", "dtype": torch.float64, "default_prepend_bos": False}
    config = HookedTransformerConfig(**({"act_fn": "gelu"} | chosen))
    tokenizer = None
    if (folder / "tokenizer.json").exists():
        from transformers import PreTrainedTokenizerFast

        end = "<|endoftext|>"
        # add_bos_token: else it is looked up by its name and loaded again. Padding is not token 0: generate()
        # makes its mask from zeros, and would hide every position.
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), bos_token=end, eos_token=end, pad_token="eno",
            add_bos_token=True, name_or_path=str(folder),
        )  # fmt: skip
    model = HookedTransformer(config, tokenizer=tokenizer, default_padding_side="right")
    state = {key: value.double() for key, value in load_file(folder / "model.safetensors").items()}
    for key, value in model.state_dict().items():
        state.setdefault(key, value if "mask" in key or "IGNORE" in key else torch.zeros_like(value))
    model.load_and_process_state_dict(state, **(dict.fromkeys(STEPS, True) | steps))
    return model


def weights(model: Any) -> dict[str, Any]:
    ov, qk = model.OV[1, 0], model.QK[1, 0]
    whole = (model.W_E @ ov @ model.W_U).eigenvalues
    moduli = [eigenvalues_by_size(values) for values in (ov.eigenvalues, whole)]
    return {
        "cfg": [getattr(model.cfg, name) for name in CONFIG],
        "raw": load(BUNDLED, **dict.fromkeys(STEPS, False)).W_V[1, 0],
        "W_E": model.W_E[500:504],
        "W_U": model.W_U[:, 500:504],
        "W_Q": model.W_Q[1, 0],
        "W_K": model.W_K[0, 2],
        "b_O": model.b_O[1],
        "OV": ov.get_corner(16),
        "QK": qk.get_corner(16),
        "OV_norm": model.OV.norm(),
        "QK_S": qk.S,
        "OV_eigenvalues": moduli[0],
        "full_OV_eigenvalues": moduli[1],
        "copying": np.array(whole.sum().real / whole.abs().sum()),
        "even": ov.make_even().A.pow(2).sum(0),
        "collapse_l": ov.collapse_l().abs()[:4, :16],
        "vector": ov @ model.W_U[:, 87],
        **{f"composition_{mode}": model.all_composition_scores(mode) for mode in "QKV"},
        "direction": model.tokens_to_residual_directions(TARGET),
    }


def eigenvalues_by_size(values: Any) -> Any:
    """By falling modulus, of a pair the one above the real axis first."""
    array = values.numpy()
    return array[np.lexsort((-array.imag, -np.abs(array)))]


def texts(model: Any) -> dict[str, Any]:
    import torch
    from transformer_lens.utils import test_prompt

    tokens = model.to_tokens(TEXT, prepend_bos=False)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        test_prompt(TEXT, TARGET, model, prepend_space_to_answer=False, prepend_bos=False)
    rank = re.search(r"Rank: (\d+)", re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue()))
    assert rank, said.getvalue()
    greedy = model.generate(tokens, max_new_tokens=12, do_sample=False, prepend_bos=False, verbose=False)
    logits, cache = model.run_with_cache(tokens)
    return {
        "tokens": tokens[0],
        "str_tokens": np.array(model.to_str_tokens(TEXT, prepend_bos=False)),
        "string": np.array(model.to_string(tokens[0])),
        "single_token": np.array(model.to_single_token(TARGET)),
        "logits": logits[0, -2:],
        "loss": model(tokens, return_type="loss"),
        "token_loss": model(tokens, return_type="loss", loss_per_token=True)[0],
        "rank": np.array(int(rank[1])),
        "generated": greedy[0, tokens.shape[1] :],
        "pattern": cache["pattern", 1][0, :, -3:],
        **streams(model, cache, int(model.to_single_token(TARGET))),
        **interventions(model, tokens, torch.zeros),
    }


def streams(model: Any, cache: Any, target: int) -> dict[str, Any]:
    parts = cache.get_full_resid_decomposition(expand_neurons=False, apply_ln=False)
    attributions = cache.logit_attrs(parts, tokens=target, incorrect_tokens=None)
    heads = cache.stack_head_results(layer=-1)
    lens = model.unembed(model.ln_final(cache.accumulated_resid()[:, 0]))
    stack = cache.apply_ln_to_stack(heads, layer=-1)
    return {
        "decomposition_norm": parts[:, 0, -1].norm(dim=-1),
        "attribution": attributions[:, 0, -1],
        "head_results": heads[:, 0, -1, :8],
        "head_attribution": cache.logit_attrs(heads, tokens=target)[:, 0],
        "layer_attribution": cache.logit_attrs(cache.decompose_resid(mode="attn"), tokens=target)[:, 0, -1],
        "logit_lens": lens[:, -1, target],
        "scaled": stack[:, 0, -1] @ model.W_U[:, target],
        "scale": cache["ln_final.hook_scale"][0, :, 0],
        "resid": cache["resid_post", 0][0, -1],
    }


def interventions(model: Any, tokens: Any, zeros: Callable[..., Any]) -> dict[str, Any]:
    from transformer_lens.head_detector import detect_head

    def without(head: int) -> Callable[..., Any]:
        def hook(z: Any, hook: Any) -> Any:
            z[:, :, head] = 0
            return z

        return hook

    clean = model(tokens, return_type="loss")
    places = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    changes = [
        model.run_with_hooks(
            tokens, return_type="loss", fwd_hooks=[(f"blocks.{layer}.attn.hook_z", without(head))]
        )
        - clean
        for layer, head in places
    ]
    shape = (model.cfg.n_layers, model.cfg.n_heads)
    kinds = ("previous_token_head", "duplicate_token_head", "induction_head")
    return {
        "ablation": np.array([float(change) for change in changes]).reshape(shape),
        **{kind: detect_head(model, TEXT, kind, error_measure="mul") for kind in kinds},
    }


def singular_tokens() -> dict[str, Any]:
    from transformer_lens import SVDInterpreter

    model = load(BUNDLED).float()  # it works in float32 alone
    values = SVDInterpreter(model).get_singular_vectors("OV", 1, num_vectors=3, head_index=0)[:, 0]
    order = values.abs().topk(5, dim=0)
    return {"svd_size": order.values, "svd_id": order.indices}


def neurons() -> dict[str, Any]:
    import torch

    model = load(WITH_MLP)
    _, cache = model.run_with_cache(torch.tensor([MLP_TOKENS]))
    stack = cache.stack_neuron_results(layer=-1)
    return {"neuron_attribution": cache.logit_attrs(stack, tokens=2)[:, 0, -1]}


def figures() -> dict[str, np.ndarray[Any, Any]]:
    """Every figure by name; TransformerLens must be there."""
    import torch

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load(BUNDLED)
        model.set_use_attn_result(True)
        found = weights(model) | texts(model) | singular_tokens() | neurons()
    return {
        name: np.asarray(value.detach() if isinstance(value, torch.Tensor) else value)
        for name, value in found.items()
    }


def main() -> None:
    found = figures()
    np.savez_compressed(OUT, **found)
    print(f"{OUT}: {len(found)} figures, {OUT.stat().st_size} bytes")
    for name, value in found.items():
        print(f"  {name:22} {value.dtype.str:6} {list(value.shape)}")


if __name__ == "__main__":
    main()
