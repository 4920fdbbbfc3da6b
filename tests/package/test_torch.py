# SPDX-License-Identifier: MIT
"""Models handed over from torch: the same as from their files, number by number; what is changed in
place is seen; nothing is kept once a model is closed; what cannot be taken is one clear error.

HookedTransformer and TransformerBridge are in test_torch_lens.py, tokenizers in test_torch_tokens.py.
"""

from __future__ import annotations

import copy
import gc
import hashlib
import importlib.metadata
import json
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

import otimes

torch = pytest.importorskip("torch")
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
WHERE = ("date", "command_line", "model_path", "model_sha256", "model_format")
TOKENS = [[1, 4, 2, 0, 5, 6], [3, 3, 1]]
REFUSED = "stablelm_qk_norm"  # by otimes.open too


def goldens() -> list[str]:
    return sorted({path.parent.name for path in GOLDEN.glob("*/model.safetensors")} - {REFUSED})


def read(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and configuration of a golden."""
    safetensors = pytest.importorskip("safetensors.torch")
    config = json.loads((GOLDEN / name / "config.json").read_text(encoding="utf-8"))
    return safetensors.load_file(GOLDEN / name / "model.safetensors"), config


def assert_same(ours: xarray.Dataset, theirs: xarray.Dataset) -> None:
    """The same bits under the same names, with the same facts but for where the weights were."""
    assert set(ours.variables) == set(theirs.variables)
    for name, array in theirs.variables.items():
        assert ours[name].dims == array.dims
        np.testing.assert_array_equal(ours[name].values, array.values, err_msg=str(name))
        assert ours[name].attrs == array.attrs
    for name in set(ours.attrs) | set(theirs.attrs):
        if name not in WHERE:
            assert ours.attrs[name] == theirs.attrs[name], name


def assert_same_model(memory: otimes.Model, file: otimes.Model) -> None:
    assert_same(memory.heads(), file.heads())
    assert_same(memory.convert(), file.convert())
    if file.cfg.n_layers > 1:
        assert_same(memory.compose(), file.compose())
    tokens = [[token % file.cfg.d_vocab for token in row] for row in TOKENS]
    assert_same(memory.logits(tokens=tokens, full=True), file.logits(tokens=tokens, full=True))
    assert list(memory.tokens_text) == list(file.tokens_text)
    for name in ("W_E", "W_U", "W_Q", "W_O"):
        np.testing.assert_array_equal(np.asarray(getattr(memory, name)), np.asarray(getattr(file, name)))


# ---- the same model ----


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("name", goldens())
def test_state_dict_with_config(name: str, raw: bool) -> None:
    tensors, config = read(name)
    memory = otimes.from_torch(tensors, config=config, raw=raw)
    with otimes.open(GOLDEN / name, raw=raw) as file, memory:
        assert memory.cfg.path == "<torch: dict>"
        for sink in ("heads", "convert"):
            assert_same(getattr(memory, sink)(), getattr(file, sink)())


def makers() -> dict[str, Any]:
    """The goldens that transformers builds, by name; empty where what makes them is not installed."""
    sys.path.insert(0, str(GOLDEN))
    found: dict[str, Any] = {}
    try:
        for module in ("experts", "gemma", "gpt", "llama", "small"):
            found |= importlib.import_module(f"golden_{module}").MAKERS
    except ImportError:
        return {}
    finally:
        sys.path.remove(str(GOLDEN))
    return found


MAKERS = makers()
# Made by keys of transformers 5, which 4 has no word for.
FROM_5 = ("gpt_neox", "gpt_neox_sequential", "stablelm", "stablelm_parallel", "stablelm_qk_norm")


def built(name: str) -> Any:
    """The model of transformers behind a golden, in the type of its file."""
    if name in FROM_5 and importlib.metadata.version("transformers").startswith("4."):
        pytest.skip("transformers before 5")
    golden = MAKERS[name]()
    if golden.hf is None:
        pytest.skip("no class of transformers")
    kind = golden.config.get("dtype", golden.config.get("torch_dtype", "float32"))
    dtype = getattr(torch, str(kind).removeprefix("torch."))
    model = copy.deepcopy(golden.hf).to(dtype).eval()
    model.config.dtype = dtype
    return model


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_transformers(name: str, tmp_path: Path) -> None:
    model = built(name)
    model.save_pretrained(tmp_path)
    if name == REFUSED:
        with pytest.raises(otimes.UnsupportedError, match="qk_layernorm: expected off"):
            otimes.from_torch(model)
        return
    with otimes.open(tmp_path) as file, otimes.from_torch(model) as memory:
        assert memory.cfg.format == "memory"
        assert memory.cfg.path == f"<torch: {type(model).__name__}>"
        assert_same_model(memory, file)


@pytest.mark.skipif(not MAKERS, reason="transformers is not installed")
def test_every_architecture_is_built() -> None:
    """Of the rows of the table, those that are no family of transformers' own are left."""
    ours = {None, "llama2.c", "mingpt", "nanogpt", "progress_measures", "transformer_lens"}
    assert types(goldens()) - ours <= types(list(MAKERS))


def types(names: list[str]) -> set[str | None]:
    configs = [json.loads((GOLDEN / name / "config.json").read_text(encoding="utf-8")) for name in names]
    return {config.get("model_type") for config in configs}


# ---- how tensors lie ----


def strange(tensor: Any) -> Any:
    """The same numbers with axes the other way round and gaps between them."""
    if not tensor.ndim:
        return tensor
    wide = torch.zeros([*reversed(tensor.shape), 3], dtype=tensor.dtype)
    view = wide[..., 1].permute(*reversed(range(tensor.ndim)))
    view.copy_(tensor)
    return view


@pytest.mark.parametrize("name", ["gpt2", "llama", "transformer_lens_mlp"])
def test_any_strides(name: str) -> None:
    tensors, config = read(name)
    views = {key: strange(tensor) for key, tensor in tensors.items()}
    assert not all(view.is_contiguous() for view in views.values())
    plain = otimes.from_torch(tensors, config=config)
    with otimes.from_torch(views, config=config) as memory:
        assert_same(memory.convert(), plain.convert())
        assert memory.sha256 == plain.sha256


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_any_type(dtype: str) -> None:
    tensors, config = read("gpt2")
    narrow = {key: tensor.to(getattr(torch, dtype)) for key, tensor in tensors.items()}
    wide = {key: tensor.to(torch.float32) for key, tensor in narrow.items()}
    with otimes.from_torch(narrow, config=config) as memory, otimes.from_torch(wide, config=config) as plain:
        for name in ("W_E", "W_Q", "b_in"):
            np.testing.assert_array_equal(np.asarray(getattr(memory, name)), np.asarray(getattr(plain, name)))


def test_digest_by_its_own_words() -> None:
    """As lib/include/otimes/model.h documents it."""
    tensors, config = read("gpt2")
    digest = hashlib.sha256()
    for name in sorted(tensors):
        shape = ",".join(map(str, tensors[name].shape))
        digest.update(f"{name} F32 [{shape}]\n".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    with otimes.from_torch(tensors, config=config, name="<mine>") as memory:
        assert memory.sha256 == f"{digest.hexdigest()}  <mine>"
        assert memory.heads().attrs["model_sha256"] == memory.sha256
        assert memory.heads().attrs["model_path"] == "<mine>"


@pytest.mark.skipif("gpt2" not in MAKERS, reason="transformers is not installed")
def test_both_ends_as_the_module_has_them() -> None:
    """What is tied is the module's to say: a configuration is not asked again when one end was changed."""
    model = built("gpt2")
    with otimes.from_torch(model) as tied:
        assert tied.cfg.tied
    head = torch.nn.Parameter(model.lm_head.weight.detach().clone() + 1)
    model.lm_head.weight = head
    with otimes.from_torch(model, raw=True) as memory:
        assert not memory.cfg.tied
        np.testing.assert_array_equal(np.asarray(memory.W_U), head.detach().numpy().T)


@pytest.mark.skipif("gpt2" not in MAKERS, reason="transformers is not installed")
@pytest.mark.parametrize("wrap", [torch.compile, torch.nn.DataParallel])
def test_wrapped_modules(wrap: Any) -> None:
    model = built("gpt2")
    with otimes.from_torch(model) as plain, otimes.from_torch(wrap(model)) as wrapped:
        assert_same(wrapped.convert(), plain.convert())


# ---- whose memory it is ----


def test_changes_in_place_are_seen() -> None:
    tensors, config = read("gpt2")
    tensors = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    with otimes.from_torch(tensors, config=config, raw=True) as memory:
        digest, before = memory.sha256, memory.W_O[0, 0].copy()
        held, unembed = memory.W_O[0], np.asarray(memory.W_U).copy()
        with torch.no_grad():
            tensors["transformer.h.0.attn.c_proj.weight"].mul_(2)
        tensors["transformer.wte.weight"].data.mul_(4)  # W_U too: they are one
        np.testing.assert_array_equal(memory.W_O[0, 0], 2 * before)
        np.testing.assert_array_equal(held[0], before)  # what was read stays what it was
        np.testing.assert_array_equal(np.asarray(memory.W_U), 4 * unembed)
        np.testing.assert_array_equal(memory.OV(0, 0).B, 2 * before)
        assert memory.sha256 != digest
        fresh = otimes.from_torch(tensors, config=config, raw=True)
        assert_same(memory.heads(), fresh.heads())


def test_processing_follows_changes() -> None:
    """Folding and centring are of the weights as they are when asked for."""
    tensors, config = read("gpt2")
    with otimes.from_torch(tensors, config=config) as memory:
        np.asarray(memory.W_U), memory.W_Q[0]
        tensors["transformer.ln_f.weight"].mul_(3)
        tensors["transformer.h.0.ln_1.weight"].mul_(3)
        with otimes.from_torch(tensors, config=config) as fresh:
            np.testing.assert_array_equal(np.asarray(memory.W_U), np.asarray(fresh.W_U))
            np.testing.assert_array_equal(memory.W_Q[0], fresh.W_Q[0])


def test_weights_are_not_written_to() -> None:
    """Large enough for pages to be let go, were they of a file."""
    config = {"model_type": "gpt2", "n_embd": 128, "n_layer": 1, "n_head": 4, "vocab_size": 3000,
              "n_positions": 64}
    tensors = {name: torch.randn(shape) for name, shape in gpt2_shapes(config).items()}
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    with otimes.from_torch(tensors, config=config) as memory:
        memory.heads(), memory.bigram(), memory.logits(tokens=[[1, 2, 3]])
    for name, tensor in tensors.items():
        assert torch.equal(tensor, before[name]), name


def gpt2_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    d, v = config["n_embd"], config["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (v, d), "wpe.weight": (config["n_positions"], d),
                                          "ln_f.weight": (d,), "ln_f.bias": (d,)}
    for layer in range(config["n_layer"]):
        for name, shape in {"ln_1.weight": (d,), "ln_1.bias": (d,), "ln_2.weight": (d,), "ln_2.bias": (d,),
                            "attn.c_attn.weight": (d, 3 * d), "attn.c_attn.bias": (3 * d,),
                            "attn.c_proj.weight": (d, d), "attn.c_proj.bias": (d,),
                            "mlp.c_fc.weight": (d, 4 * d), "mlp.c_fc.bias": (4 * d,),
                            "mlp.c_proj.weight": (4 * d, d), "mlp.c_proj.bias": (d,)}.items():
            shapes[f"h.{layer}.{name}"] = shape
    return shapes


@pytest.mark.parametrize("by", ["close", "with", "reference"])
def test_tensors_are_let_go(by: str) -> None:
    tensors, config = read("gpt2")
    memory = otimes.from_torch(tensors, config=config)
    held = memory.W_Q[0]
    alive = [weakref.ref(tensor) for tensor in tensors.values()]
    del tensors
    gc.collect()
    assert all(ref() is not None for ref in alive)
    if by == "close":
        memory.close()
    elif by == "with":
        with memory:
            pass
    del memory
    gc.collect()
    assert not any(ref() is not None for ref in alive)
    assert np.isfinite(held).all()  # memory of the library's, which it keeps by itself


@pytest.mark.skipif("gpt2" not in MAKERS, reason="transformers is not installed")
def test_module_is_not_kept() -> None:
    """The parameters' memory is, their module is not."""
    model = built("gpt2")
    memory, module = otimes.from_torch(model), weakref.ref(model)
    expected = memory.heads()
    del model
    gc.collect()
    assert module() is None
    assert_same(memory.heads(), expected)


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def test_a_thousand_times() -> None:
    tensors, config = read("gpt2")

    def cycle(count: int) -> None:
        for _ in range(count):
            with otimes.from_torch(tensors, config=config) as memory:
                memory.W_Q[0]
        gc.collect()

    cycle(200)
    before = resident()
    cycle(1000)
    assert resident() - before < 4 << 20  # 4 KB a model would show


# ---- what is wrong ----


def refused(kind: type[otimes.Error], words: str, model: Any, *args: Any, **settings: Any) -> None:
    with pytest.raises(kind, match=words) as caught:
        otimes.from_torch(model, *args, **settings)
    assert "\n" not in str(caught.value)


Tensor: Any = torch.Tensor


class Elsewhere(Tensor):  # type: ignore[misc]
    """A tensor in name only, as quantised and distributed ones are."""

    @staticmethod
    def __new__(cls, like: Any) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, like.shape, dtype=like.dtype)

    @classmethod
    def __torch_dispatch__(cls, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError(str(call))


def test_tensors_that_cannot_be_read() -> None:
    tensors, config = read("gpt2")
    name = "transformer.wte.weight"
    weight = tensors[name]
    argument, model = otimes.ArgumentError, otimes.ModelError
    for bad, kind, words in [
        (weight.to("meta"), argument, r"in the CPU's memory, got one on meta: model.cpu\(\)"),
        (weight.to_sparse(), argument, "expected a dense tensor, got sparse_coo"),
        (weight.to(torch.complex64), argument, "dtype: expected a known type, got complex64"),
        (weight.to(torch.complex64).conj(), argument, "expected a dense tensor, got conjugated"),
        (weight.to(torch.float8_e4m3fn), model, "unreadable type of transformer.wte.weight"),
        (weight.to(torch.int32), model, "unreadable type of transformer.wte.weight"),
        (weight[:, 1:], model, "wrong shape of transformer.wte.weight"),
        (weight.reshape([1] * 5 + list(weight.shape)), argument, "expected at most 6 axes, got 7"),
        (weight.numpy(), argument, "expected a tensor of torch, got array"),
        (None, argument, "expected a tensor of torch, got None"),
        (Elsewhere(weight), argument, "expected a tensor with memory of its own, got a Elsewhere"),
    ]:
        refused(kind, words, {**tensors, name: bad}, config=config)
    refused(argument, "tensors: expected names, got 3", {**tensors, 3: weight}, config=config)
    refused(argument, "name: expected text without NUL", {**tensors, "a\0b": weight}, config=config)
    refused(model, "unexpected other; absent", {"other" if k == name else k: t for k, t in tensors.items()},
            config=config)


def test_models_that_are_none() -> None:
    tensors, config = read("gpt2")
    refused(otimes.ArgumentError, "model: expected a module of torch or a state dict, got 7", 7)
    refused(otimes.ArgumentError, "model: expected a module of torch or a state dict, got 'gpt2'", "gpt2")
    refused(otimes.ModelError, "no tensors in it", {}, config=config)
    refused(otimes.ModelError, "unknown architecture", torch.nn.Linear(3, 3))
    refused(otimes.ModelError, "unknown architecture.*got bert", tensors,
            config={**config, "model_type": "bert"})
    refused(otimes.ModelError, "<mine>: config: n_embd: expected an integer", tensors, name="<mine>",
            config={**config, "n_embd": "x"})
    refused(otimes.ArgumentError, "tokenizer: expected one of transformers, got 5", tensors, 5, config=config)
    refused(otimes.ArgumentError, "threads: expected an integer", tensors, config=config, threads="many")


def test_a_name_stays_text() -> None:
    tensors, config = read("gpt2")
    name = '</script> \u202e\u0007 "\ud800"'
    with otimes.from_torch(tensors, config=config, name="</script> \u202e \"") as memory:
        assert memory.heads().attrs["model_path"] == '</script> \u202e "'
    with otimes.from_torch(tensors, config={**config, "_name_or_path": name}) as memory:
        assert "</script>" in memory.cfg.path and "\ud800" not in memory.cfg.path


def test_without_a_tokenizer() -> None:
    tensors, config = read("gpt2")
    with otimes.from_torch(tensors, config=config) as memory:
        assert memory.tokens_text[0] == ""
        with pytest.raises(otimes.ArgumentError, match="expected a tokenizer, got none: from_torch"):
            memory.to_tokens("text")
        with pytest.raises(otimes.ArgumentError, match="expected a tokenizer, got none: from_torch"):
            memory.logits(text="text")
        memory.logits(tokens=[[1, 2]])


def test_numbers_that_are_none() -> None:
    tensors, config = read("gpt2")
    with otimes.from_torch(tensors, config=config) as memory:
        tensors["transformer.wte.weight"][1, 2] = float("nan")
        with pytest.raises(otimes.WeightError, match="transformer.wte.weight: expected finite numbers"):
            np.asarray(memory.W_E)
