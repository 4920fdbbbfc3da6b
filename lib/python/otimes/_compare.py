# SPDX-License-Identifier: MIT
"""What takes several models, or results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import xarray

from otimes._call import said
from otimes._diff import diff
from otimes._errors import ArgumentError
from otimes._otimes import ffi, lib
from otimes._results import Progress, Sink
from otimes._runs import Runs
from otimes._settings import Filled, Indices, c_text, choice, choices, flag, shown, texts_of

__all__ = ["compare", "diff"]

MEASURES = {"cosine": lib.OTIMES_COMPARE_COSINE, "cka": lib.OTIMES_COMPARE_CKA,
            "procrustes": lib.OTIMES_COMPARE_PROCRUSTES, "kernel": lib.OTIMES_COMPARE_KERNEL,
            "angles": lib.OTIMES_COMPARE_ANGLES, "all": lib.OTIMES_COMPARE_ALL}
SPACES = {"auto": lib.OTIMES_COMPARE_AUTO, "stream": lib.OTIMES_COMPARE_STREAM, "vocab": lib.OTIMES_COMPARE_VOCAB}
MATCHES = {"heads": lib.OTIMES_COMPARE_MATCH_HEADS, "layers": lib.OTIMES_COMPARE_MATCH_LAYERS,
           "none": lib.OTIMES_COMPARE_MATCH_NONE}
SIMILARITIES = {"cka": lib.OTIMES_COMPARE_BY_CKA, "cosine": lib.OTIMES_COMPARE_BY_COSINE,
                "procrustes": lib.OTIMES_COMPARE_BY_PROCRUSTES, "kernel": lib.OTIMES_COMPARE_BY_KERNEL}


def compare(models: Runs | Sequence[Runs], *, layers: Indices | None = None, heads: Indices | None = None,
            measures: str | Sequence[str] = "all", space: str = "auto", match: str = "heads",
            similarity: str = "cka", top: int = 3, cosines: bool = False, same_vocab: bool = False,
            labels: Sequence[str] | None = None, progress: Progress = False) -> xarray.Dataset:
    """Heads against heads: of one model each with each, of several the first's with those of the others.

    measures: "cosine", "cka", "procrustes" of W_OV and W_QK, "kernel" and "angles" of what Q, K, V
    read and O writes. space: the "stream" or the "vocab" ("auto": the stream where all have one
    d_model). match: heads one to one, "heads", within "layers", or "none", by `similarity`. top:
    nearest heads of each. cosines: of all principal angles. labels: names of the models.
    """
    given = locals()
    opened = [models] if isinstance(models, Runs) else list(models) if isinstance(models, Iterable) else []
    if not opened or not all(isinstance(m, Runs) for m in opened):
        raise ArgumentError(f"models: expected an open model or several, got {shown(models)}")
    names = None if labels is None else texts_of(labels, "labels")
    if names is not None and len(names) != len(opened):
        raise ArgumentError(f"labels: expected {len(opened)}, one for each model, got {len(names)}")
    first = opened[0]
    values = {"layers": first._layers_of(layers), "heads": first._heads_of(heads),
              "measures": choices(measures, MEASURES, "measures"), "space": choice(space, SPACES, "space"),
              "match": choice(match, MATCHES, "match"), "top": top, "cosines": flag(cosines, "cosines"),
              "similarity": choice(similarity, SIMILARITIES, "similarity"), "same_vocab": flag(same_vocab, "same_vocab"),
              "labels": None if names is None else [c_text(text, "labels") for text in names]}
    handles = [m._open_handle() for m in opened]  # held until the end
    array = ffi.new("otimes_model *[]", [h.pointer for h in handles])
    settings, sink = Filled("otimes_compare_settings", values), Sink("compare", progress)
    sink.run(lambda to, err: lib.otimes_compare(array, len(opened), settings.struct, to, err))
    words = said(compare, {**given, "models": None})
    line = f"otimes.compare([{', '.join(m._opened for m in opened)}]{', ' if words else ''}{words})"
    last = first._last_facts()
    if len(opened) > 1 and first._hash:
        others = [f"{m.cfg.path}: {line}" for m in opened[1:] for line in m.sha256.splitlines()]
        last["other_model_sha256"] = "\n".join(others)
    return sink.dataset(first._first_facts("compare", line), last)
