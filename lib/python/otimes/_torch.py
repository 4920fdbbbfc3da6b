# SPDX-License-Identifier: MIT
"""Models that are in torch already, opened without a file.

Nothing here imports torch: what is handed over brings it along.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping
from typing import Any

from otimes._errors import ArgumentError, Failure, UnsupportedError
from otimes._lens import lens_config, lens_tensors
from otimes._model import Model
from otimes._otimes import ffi, lib
from otimes._settings import Filled, c_text, file_name, flag, shown, utf8
from otimes._torch_tokens import GivenTokenizer, NoTokenizer, token_labels

# safetensors' words for torch's types; of others the library says that it does not know them.
DTYPES = {
    "float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}
MOST_AXES = 6
# Modules around the model itself.
WRAPPERS = ("_orig_mod", "module")
INNER = "._original_component"


def from_torch(model: Any, tokenizer: Any = None, *, config: Mapping[str, Any] | None = None,
               raw: bool = False, fold_ln: bool | None = None, center_writing_weights: bool | None = None,
               center_unembed: bool | None = None, fold_value_biases: bool | None = None, threads: int = 0,
               name: str | None = None, sha256: bool = True) -> Model:
    """Opens a model that is in torch, without a file and without a copy of its weights.

    model: a model of transformers, of an architecture that `otimes.open` knows; TransformerLens'
    HookedTransformer, or its TransformerBridge before its weights are processed; any other module
    or a state dict together with `config`, which says what a config.json would say. tokenizer: one
    of transformers, for labels and for encoding texts; None: HookedTransformer's own, of others
    none; False: none. raw, fold_ln ... sha256: as in `otimes.open`. name: what errors and results
    call the model.

    The parameters are shown where they lie. What is changed in place (an optimizer's step,
    `p.data.add_(...)`) is what later calls see; what is put in their place (`p.data = ...`, `.to`) is
    not. They are not to change while a call runs, and stay referenced until the model is closed or
    the last reference to it is gone. Only the CPU's memory can be read: `model.cpu()` first. Since
    they may change, each result takes the sha256 anew (a pass over all weights); sha256=False leaves
    it out.

    HookedTransformer does not say which steps its weights went through. Folding shows in its
    configuration (LNPre, RMSPre); whether they are centred and value biases are folded is measured
    when the model is handed over, and such steps are reported as "done in the file". Otherwise they
    are the library's to take, as for any other model.

    Raises ArgumentError, ModelError, UnsupportedError, each with one line that says why.
    """
    model = unwrapped(model)
    tensors, found = taken(model)
    if config is not None:
        found = dict(config)
    if tokenizer is None and is_hooked(model):
        tokenizer = model.tokenizer
    if tokenizer is False:
        tokenizer = None
    steps = {"fold_ln": fold_ln, "center_writing_weights": center_writing_weights,
             "center_unembed": center_unembed, "fold_value_biases": fold_value_biases}
    values: dict[str, Any] = {key: not flag(raw, "raw") if value is None else flag(value, key) for key, value in steps.items()}
    title = name if name is not None else f"<torch: {called(model, found)}>"
    labels = None if tokenizer is None else token_labels(tokenizer)
    pointer = opened(tensors, found, labels, title, {**values, "threads": threads})
    given = {"raw": raw or None, **steps, "threads": threads or None}
    words = [title, *(f"{key}={value!r}" for key, value in given.items() if value is not None)]
    encoder = NoTokenizer() if tokenizer is None else GivenTokenizer(tokenizer)
    return Model._from_handle(pointer, keep=tensors, tokenizer=encoder,
                              opened=f"otimes.from_torch({', '.join(words)})", sha256=flag(sha256, "sha256"), changing=True)


def opened(tensors: Mapping[str, Any], config: Mapping[str, Any] | None, labels: list[bytes | None] | None,
           title: str, settings: Mapping[str, Any]) -> Any:
    """The library's model over these tensors, the caller's to close."""
    source, keep = ffi.new("otimes_memory_model *"), [file_name(title, "name")]
    source.name = kept(keep, ffi.new("char[]", keep[0]))
    views = ffi.new("otimes_memory_tensor[]", len(tensors))
    for view, (name, tensor) in zip(views, tensors.items()):
        fill(view, name, tensor, keep)
    source.tensor, source.tensor_count = views, len(tensors)
    if config is not None:
        source.config = kept(keep, ffi.new("char[]", c_text(json_text(config), "config")))
    if labels is not None:
        texts = kept(keep, ffi.new("char *[]", len(labels)))
        for place, label in enumerate(labels):
            if label is not None:
                texts[place] = kept(keep, ffi.new("char[]", label))
        source.token, source.token_count = texts, len(labels)
    filled, failure, box = Filled("otimes_model_settings", settings), Failure(), ffi.new("otimes_model **")
    failure.check(lib.otimes_model_open_memory(box, source, filled.struct, failure.err))
    return box[0]


def kept(keep: list[Any], memory: Any) -> Any:
    keep.append(memory)
    return memory


# ---- tensors ----


def fill(view: Any, name: Any, tensor: Any, keep: list[Any]) -> None:
    """One tensor where it lies."""
    if not isinstance(name, str):
        raise ArgumentError(f"tensors: expected names, got {shown(name)}")
    if not hasattr(tensor, "data_ptr"):
        raise ArgumentError(f"{name}: expected a tensor of torch, got {shown(tensor)}")
    if tensor.device.type != "cpu":
        raise ArgumentError(f"{name}: expected a tensor in the CPU's memory, got one on {tensor.device}: "
                            "model.cpu() brings it there")
    if layout_of(tensor) != "strided":
        raise ArgumentError(f"{name}: expected a dense tensor, got {layout_of(tensor)}")
    if tensor.ndim > MOST_AXES:
        raise ArgumentError(f"{name}: expected at most {MOST_AXES} axes, got {tensor.ndim}")
    dtype = str(tensor.dtype).removeprefix("torch.")
    view.name = kept(keep, ffi.new("char[]", c_text(name, "name")))
    view.dtype = kept(keep, ffi.new("char[]", DTYPES.get(dtype, dtype).encode()))
    view.ndim = tensor.ndim
    for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride())):
        view.dim[axis], view.stride[axis] = size, stride
    view.data = ffi.cast("void *", address(name, tensor))
    view.bytes = tensor.untyped_storage().nbytes() - tensor.storage_offset() * tensor.element_size()


def address(name: str, tensor: Any) -> int:
    """Where its numbers are; tensors that stand for others, or for shapes alone, have none."""
    try:
        found: int = tensor.data_ptr()
    except (RuntimeError, NotImplementedError):
        found = 0
    if not found and tensor.numel():
        kind = type(tensor).__name__
        raise ArgumentError(f"{name}: expected a tensor with memory of its own, got a {kind}")
    return found


def layout_of(tensor: Any) -> str:
    """"strided", or what else lies between its memory and its numbers."""
    lazy = "conjugated" if tensor.is_conj() else "negated" if tensor.is_neg() else ""
    return lazy or str(tensor.layout).removeprefix("torch.")


def unwrapped(model: Any) -> Any:
    """What torch.compile and DataParallel wrap."""
    for name in WRAPPERS:
        inner = getattr(model, "_modules", {}).get(name)
        if inner is not None and len(model._modules) == 1:
            return unwrapped(inner)
    return model


def is_hooked(model: Any) -> bool:
    return hasattr(model, "cfg") and hasattr(model, "hook_dict") and not hasattr(model, "original_model")


def taken(model: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Tensors by the names that checkpoints have, and the configuration."""
    if isinstance(model, Mapping):
        return dict(model), None
    if not hasattr(model, "state_dict"):
        raise ArgumentError(f"model: expected a module of torch or a state dict, got {shown(model)}")
    if hasattr(model, "original_model") and hasattr(model, "cfg"):
        return bridged(model)
    tensors = dict(model.state_dict())
    if is_hooked(model):
        tensors = lens_tensors(model.cfg, tensors)
        return tensors, lens_config(model.cfg, tensors)
    config = getattr(model, "config", None)
    return tensors, transformers_config(model, config) if hasattr(config, "to_dict") else None


def transformers_config(model: Any, config: Any) -> dict[str, Any]:
    """config.json, with what the module itself knows better: whether both ends are one matrix."""
    found: dict[str, Any] = config.to_dict()
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    embed, unembed = (getattr(end, "weight", None) for end in ends)
    if embed is not None and unembed is not None:
        found["tie_word_embeddings"] = embed.data_ptr() == unembed.data_ptr()
    return found


def bridged(bridge: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model of transformers that a TransformerBridge is built around, under its own names."""
    inner, title = bridge.original_model, type(bridge).__name__
    if getattr(bridge, "_weights_processed", False):
        raise UnsupportedError(f"{title}: expected weights as they were loaded, got processed ones: hand it "
                               "over before enable_compatibility_mode; otimes takes the same steps by itself")
    if not hasattr(getattr(inner, "config", None), "to_dict"):
        got = type(inner).__name__
        raise UnsupportedError(f"{title}: expected a model of transformers inside, got {got}")
    torch: Any = importlib.import_module("torch")  # what is handed over has it already
    with torch.device("meta"):
        names = list(type(inner)(inner.config).state_dict())
    found = {key.replace(INNER, ""): tensor for key, tensor in inner.state_dict().items()}
    lacking = [key for key in names if key not in found]
    if lacking:
        raise UnsupportedError(f"{title}: expected a tensor {lacking[0]}, got none")
    return {key: found[key] for key in names}, transformers_config(inner, inner.config)


def called(model: Any, config: Mapping[str, Any] | None) -> str:
    """A name that tells models apart; no path is ever looked up under it."""
    given = getattr(getattr(model, "cfg", None), "model_name", None) or (config or {}).get("_name_or_path")
    given = given or getattr(getattr(model, "config", None), "_name_or_path", None)
    title = given if isinstance(given, str) and given not in ("", "custom") else type(model).__name__
    return utf8(title, "name").decode().replace("\0", "")


# ---- configuration ----


def json_text(config: Mapping[str, Any]) -> str:
    """As JSON; what has no place in it (types of torch, infinities) is text or null."""
    return json.dumps(plain(config), ensure_ascii=False)


def plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
