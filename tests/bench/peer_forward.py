# SPDX-License-Identifier: MIT
"""One side of the forward pass' benchmark: Hugging Face transformers or TransformerLens, float32.

``peer_forward.py SIDE WHAT CHECKPOINT TOKENS [--threads 2] [--repeat 3] [--positions 8]
[--save FILE]``. CHECKPOINT is a GPT-2 under Hugging Face's names, TOKENS has {"tokens": [...]} a
line, all equally long. SIDE is ``hf-eager`` or ``hf-sdpa`` (GPT2LMHeadModel), ``hooked``
(HookedTransformer: TransformerLens 2, in an environment of its own) or ``bridge``
(TransformerBridge: TransformerLens 3 and later); the last two after their default processing of
weights. WHAT is one of

- ``logits``;
- ``activations``: logits, all patterns and the residuals the library gives;
- ``attribution``: of every head and every neuron to the difference of two logits at every position,
  the final norm frozen, as TransformerLens documents it: ``stack_head_results`` for the heads,
  ``get_full_resid_decomposition(expand_neurons=True)`` for both, ``logit_attrs``. The latter makes
  [components, texts, positions, d_model], 37,000 times the residual stream, so it goes position by
  position; ``--positions`` of them are timed and the rest taken to be the same (0: all are run);
- ``attribution-direct``: the same numbers from the same cache by products with the direction, which
  a user has to write;
- ``ablation``: the change of loss without each head in turn, ``run_with_hooks`` once a head.

Prints one line of JSON: seconds (median, weights in memory) and peak memory above what weights and
inputs take, and what run_forward.py compares; FILE gets the values themselves, float32.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
from measure import status_bytes
from transformers import GPT2LMHeadModel

TOKEN, OTHER = 1000, 2000  # the logits whose difference is attributed
HEAD, NEURON = (9, 6), (11, 100)
LAYER, PATTERN = 6, (5, 3)  # a residual and a pattern that are compared
Result = tuple[dict[str, Any], torch.Tensor]


class Meter:
    """Seconds of calls, and how far memory rises above what is in use when this is made."""

    def __init__(self) -> None:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.held = status_bytes(os.getpid(), "VmRSS")
        self.seconds: list[float] = []

    def run(self, call: Callable[[], Any], repeat: int = 1) -> Any:
        """The last run's result; none is alive while the next is made."""
        out = None
        for _ in range(repeat):
            out = None
            start = time.perf_counter()
            out = call()
            self.seconds.append(time.perf_counter() - start)
        return out

    def report(self) -> dict[str, Any]:
        """Call it before anything is made of the result."""
        return {
            "seconds": statistics.median(self.seconds),
            "all_seconds": self.seconds,
            "peak_extra_bytes": status_bytes(os.getpid(), "VmHWM") - self.held,
        }


def load_hf(checkpoint: Path, attention: str) -> GPT2LMHeadModel:
    model = GPT2LMHeadModel.from_pretrained(
        str(checkpoint), dtype=torch.float32, attn_implementation=attention
    )
    return model.eval()


def load_hooked(checkpoint: Path) -> Any:
    """As ``HookedTransformer.from_pretrained`` does it, which wants the network for a folder."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    hf = load_hf(checkpoint, "eager")
    config = HookedTransformerConfig(
        n_layers=hf.config.n_layer,
        n_heads=hf.config.n_head,
        d_model=hf.config.n_embd,
        d_head=hf.config.n_embd // hf.config.n_head,
        n_ctx=hf.config.n_positions,
        d_vocab=hf.config.vocab_size,
        eps=hf.config.layer_norm_epsilon,
        act_fn=hf.config.activation_function,
        normalization_type="LNPre",
        original_architecture="GPT2LMHeadModel",
        init_weights=False,
        device="cpu",
    )
    model = HookedTransformer(config)
    model.load_and_process_state_dict(convert_gpt2_weights(hf, config))
    return model.eval()


def load_bridge(checkpoint: Path) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(
        str(checkpoint), hf_model=load_hf(checkpoint, "eager"), device="cpu"
    )
    model.enable_compatibility_mode(disable_warnings=True)
    return model.eval()


def load(side: str, checkpoint: Path) -> Any:
    """The model, its weights in memory of its own: pages of a mapped file come and go."""
    if side.startswith("hf-"):
        model = load_hf(checkpoint, side.removeprefix("hf-"))
    else:
        model = {"hooked": load_hooked, "bridge": load_bridge}[side](checkpoint)
    for weight in model.parameters():
        weight.data = weight.data.clone()
    return model


def mean_loss(logits: torch.Tensor, tokens: torch.Tensor) -> float:
    """Nats a predicted token; text by text, so that nothing of the logits' size is made."""
    losses = [
        torch.nn.functional.cross_entropy(row[:-1], text[1:], reduction="none").double()
        for row, text in zip(logits, tokens, strict=True)
    ]
    return torch.stack(losses).mean().item()


def logits_and_check(logits: torch.Tensor, tokens: torch.Tensor) -> Result:
    """Logits less their mean over the vocabulary, which is what center_unembed leaves of them."""
    rows = logits[:, -1] - logits[:, -1].mean(-1, keepdim=True)
    checks = {"loss": mean_loss(logits, tokens), "logit": rows[0, TOKEN].item()}
    return {"value": checks["loss"], "checks": checks}, rows


def run_logits(side: str, model: Any, tokens: torch.Tensor, options: argparse.Namespace) -> Result:
    meter = Meter()
    if side.startswith("hf-"):
        logits = meter.run(lambda: model(tokens, use_cache=False).logits, options.repeat)
    else:
        logits = meter.run(lambda: model(tokens), options.repeat)
    report = meter.report()
    checks, rows = logits_and_check(logits, tokens)
    return report | checks, rows


def run_activations(
    side: str, model: Any, tokens: torch.Tensor, options: argparse.Namespace
) -> Result:
    """Hugging Face: the input of every block and the normed output. TransformerLens: the input and
    the output of every block."""
    names = ("attn.hook_pattern", "hook_resid_pre", "hook_resid_post")

    def hugging_face() -> Any:
        return model(tokens, use_cache=False, output_attentions=True, output_hidden_states=True)

    def lens() -> Any:
        return model.run_with_cache(tokens, names_filter=lambda name: name.endswith(names))

    meter = Meter()
    if side.startswith("hf-"):
        out = meter.run(hugging_face, options.repeat)
        report = meter.report()
        logits, kept = out.logits, [*out.attentions, *out.hidden_states]
        pattern, residual = out.attentions[PATTERN[0]], out.hidden_states[LAYER]
    else:
        logits, cache = meter.run(lens, options.repeat)
        report = meter.report()
        kept = list(cache.values())
        pattern = cache["pattern", PATTERN[0]]
        residual = cache["resid_pre", LAYER]
    checks, _ = logits_and_check(logits, tokens)
    sizes = {t.data_ptr(): t.numel() * t.element_size() for t in kept}
    last = residual[0, -1] - residual[0, -1].mean()
    values = torch.cat([last / last.norm(), pattern[0, PATTERN[1], -1]])
    checks["checks"] |= {"residual_norm": last.norm().item(), "pattern": values[-1].item()}
    return report | checks | {"kept_bytes": sum(sizes.values())}, values


def cache_for_attribution(model: Any, tokens: torch.Tensor) -> Any:
    """Only what the decomposition reads; no logits."""
    ends = ("attn.hook_z", "mlp.hook_post", "ln_final.hook_scale", "hook_embed", "hook_pos_embed")
    _, cache = model.run_with_cache(
        tokens, return_type=None, names_filter=lambda name: name.endswith(ends)
    )
    return cache


def attribution_checks(heads: torch.Tensor, neurons: torch.Tensor, model: Any) -> Result:
    """Of the last position of text 0, in order of layers."""
    head = heads[HEAD[0] * model.cfg.n_heads + HEAD[1]].item()
    checks = {
        "head_9_6": head,
        "neuron_11_100": neurons[NEURON[0] * model.cfg.d_mlp + NEURON[1]].item(),
        "heads_sum": heads.double().sum().item(),
        "neurons_sum": neurons.double().sum().item(),
    }
    return {"value": head, "checks": checks}, torch.cat([heads, neurons])


def run_attribution(
    side: str, model: Any, tokens: torch.Tensor, options: argparse.Namespace
) -> Result:
    length = tokens.shape[1]
    count = min(options.positions or length, length)
    chosen = [length - 1 - i * length // count for i in range(count)]  # the last one first
    meter = Meter()
    cache = meter.run(lambda: cache_for_attribution(model, tokens))

    def attribute(stack: torch.Tensor, **where: int) -> torch.Tensor:
        return cache.logit_attrs(stack, TOKEN, OTHER, **where)

    def at_position(place: int) -> torch.Tensor:
        stack = cache.get_full_resid_decomposition(expand_neurons=True, pos_slice=place)
        return attribute(stack, pos_slice=place)

    heads = meter.run(lambda: attribute(cache.stack_head_results()))[:, 0, -1].clone()
    heads_peak = meter.report()["peak_extra_bytes"]
    first = meter.run(lambda: at_position(chosen[0]))[:, 0].clone()
    for place in chosen[1:]:
        meter.run(lambda place=place: at_position(place))
    seconds = meter.seconds
    each = statistics.mean(seconds[2:])
    n_heads = model.cfg.n_layers * model.cfg.n_heads
    n_neurons = model.cfg.n_layers * model.cfg.d_mlp
    checks, values = attribution_checks(first[:n_heads], first[n_heads:][:n_neurons], model)
    checks["checks"]["head_9_6_stacked"] = heads[HEAD[0] * model.cfg.n_heads + HEAD[1]].item()
    phases = {"cache": seconds[0], "heads": seconds[1], "a position": each}
    return meter.report() | checks | {
        "seconds": seconds[0] + each * length,  # the decomposition holds the heads
        "all_seconds": seconds,
        "once_seconds": seconds[0] + each * length,
        "heads_seconds": seconds[0] + seconds[1],
        "heads_peak_extra_bytes": heads_peak,
        "phases": phases,
        "positions_run": count,
        "positions": length,
    }, values


def direct(model: Any, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Heads [text, position, head] and neurons [text, position, neuron] of every layer."""
    cache = cache_for_attribution(model, tokens)
    direction = model.W_U[:, TOKEN] - model.W_U[:, OTHER]
    direction = direction - direction.mean()  # the norm takes the mean off what is written
    scale = cache["ln_final.hook_scale"]
    out = []
    for layer, block in enumerate(model.blocks):
        z, post = cache["z", layer], cache["post", layer]
        heads = torch.einsum("bphd,hd->bph", z, block.attn.W_O @ direction) / scale
        out.append((heads, post * (block.mlp.W_out @ direction) / scale))
    return out


def run_direct(side: str, model: Any, tokens: torch.Tensor, options: argparse.Namespace) -> Result:
    meter = Meter()
    layers = meter.run(lambda: direct(model, tokens), options.repeat)
    report = meter.report()
    heads, neurons = (torch.cat([part[i][0, -1] for part in layers]) for i in (0, 1))
    checks, values = attribution_checks(heads, neurons, model)
    return report | checks, values


def run_ablation(
    side: str, model: Any, tokens: torch.Tensor, options: argparse.Namespace
) -> Result:
    """What a head writes is put to zero; its value bias is in b_O after the default processing."""
    plain = Meter()
    base = plain.run(lambda: model(tokens, return_type="loss"), max(options.repeat, 3)).item()
    forward = plain.report()["seconds"]

    def without(layer: int, head: int) -> float:
        def zero(z: torch.Tensor, hook: Any) -> torch.Tensor:
            z[:, :, head] = 0
            return z

        hooks = [(f"blocks.{layer}.attn.hook_z", zero)]
        return model.run_with_hooks(tokens, return_type="loss", fwd_hooks=hooks).item()

    pairs = [(l, h) for l in range(model.cfg.n_layers) for h in range(model.cfg.n_heads)]
    meter = Meter()
    changes = meter.run(lambda: [without(l, h) - base for l, h in pairs])
    index = pairs.index(HEAD)
    return meter.report() | {
        "forward_seconds": forward,
        "value": changes[index],
        "checks": {"loss": base, "change_9_6": changes[index], "changes_sum": sum(changes)},
    }, torch.tensor(changes)


RUNS = {
    "logits": run_logits,
    "activations": run_activations,
    "attribution": run_attribution,
    "attribution-direct": run_direct,
    "ablation": run_ablation,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", choices=("hf-eager", "hf-sdpa", "hooked", "bridge"))
    parser.add_argument("what", choices=RUNS)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--positions", type=int, default=8, help="0: all")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    known = {"hf-eager": ("logits", "activations"), "hf-sdpa": ("logits",)}  # sdpa has no patterns
    if options.what not in known.get(options.side, RUNS):
        parser.error(f"{options.side} has no {options.what}")
    if options.repeat < 1 or options.positions < 0:
        parser.error("--repeat is 1 or more, --positions 0 or more")
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    lines = options.tokens.read_text().splitlines()
    tokens = torch.tensor([json.loads(line)["tokens"] for line in lines])
    with contextlib.redirect_stdout(sys.stderr):  # libraries talk
        model = load(options.side, options.checkpoint)
        report, values = RUNS[options.what](options.side, model, tokens, options)
    if options.save:
        np.ascontiguousarray(values.float().numpy(), "<f4").tofile(options.save)
    library = "transformers" if options.side.startswith("hf-") else "transformer-lens"
    about = {"side": options.side, "library": f"{library} {version(library)}"}
    shape = "x".join(str(n) for n in tokens.shape)
    about |= {"what": options.what, "shape": shape, "threads": torch.get_num_threads()}
    print(json.dumps(about | report))


if __name__ == "__main__":
    main()
