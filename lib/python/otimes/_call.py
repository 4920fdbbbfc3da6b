# SPDX-License-Identifier: MIT
"""One analysis of a model: settings, the library's call, the result with what names it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray

from otimes._otimes import lib
from otimes._results import SCHEMA_VERSION, Progress, Sink, date
from otimes._settings import Filled, Heads, Indices, flag, head, heads, indices
from otimes._tokens import Ids, Tokens, shown_long

FORWARD_ROWS = 2048  # tokens of a batch, as the library has it
NOT_SAID = ("self", "progress")


def said(function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """A call as one would write it: the arguments that are not the defaults."""
    words = []
    for name, parameter in inspect.signature(function).parameters.items():
        value = given[name]
        if name in NOT_SAID or value is None or (value is parameter.default):
            continue
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if isinstance(value, (bool, int, float, str)) and value == parameter.default:
            continue
        words.append(shown_long(f"{name}={value!r}"))
    return ", ".join(words)


def resident(sequences: list[Ids], chunk_rows: int) -> bool:
    """Whether weights are read more than once: whole texts go together while they fit into a batch."""
    batches, rows = 0, 0
    for ids in sequences:
        begins = not batches or len(ids) > chunk_rows - rows
        rows = len(ids) if begins else rows + len(ids)
        batches += begins
    return batches > 1


def forward(given: bool | None, chunk_rows: int, memory: int, sequences: list[Ids] | None,
            again: bool = False) -> dict[str, Any]:
    """otimes_forward_settings. again: layers are read more than once whatever the texts."""
    kept = again or resident(sequences or [], chunk_rows or FORWARD_ROWS) if given is None else (
        flag(given, "resident"))
    return {"resident": kept, "chunk_rows": chunk_rows, "memory": memory}


def sequences_struct(sequences: list[Ids]) -> dict[str, Any]:
    """otimes_sequences."""
    return {"count": len(sequences), "length": [len(ids) for ids in sequences], "id": sequences}


class Calls(Tokens):
    """The part of a Model that runs analyses."""

    def _layers_of(self, layers: Indices | None) -> Any:
        return None if layers is None else indices(layers, self._cfg.n_layers, "layers")

    def _heads_of(self, chosen: Indices | None) -> Any:
        """Heads of every layer, by number."""
        return None if chosen is None else indices(chosen, self._cfg.n_heads, "heads")

    def _vocabulary(self, tokens: Indices | None, what: str, output: bool = False) -> Any:
        """Tokens by id, ascending, each once; texts in a sequence are looked up."""
        if tokens is None:
            return None
        if not isinstance(tokens, (str, slice, np.ndarray)) and np.ndim(tokens) == 1:
            tokens = self._token_list(tokens, what, output)
        return indices(tokens, self._cfg.d_vocab_out if output else self._cfg.d_vocab, what)

    def _places(self, chosen: Heads | None, what: str = "heads") -> list[dict[str, int]] | None:
        """Heads by layer and number, in the order given."""
        if chosen is None:
            return None
        found = heads(chosen, self._cfg.n_layers, self._cfg.n_heads, what)
        return [{"layer": layer, "head": number} for layer, number in found]

    def _place(self, chosen: Any, what: str) -> dict[str, int] | None:
        if chosen is None:
            return None
        layer, number = head(chosen, self._cfg.n_layers, self._cfg.n_heads, what)
        return {"layer": layer, "head": number}

    def _first_facts(self, name: str, line: str) -> dict[str, Any]:
        return {"schema": f"otimes-{name}", "schema_version": np.int64(SCHEMA_VERSION), "command_line": line,
                "date": date()}

    def _last_facts(self) -> dict[str, Any]:
        return {"model_sha256": self.sha256} if self._hash else {}

    def _analyse(self, function: Callable[..., Any], given: Mapping[str, Any], values: Mapping[str, Any],
                 progress: Progress) -> xarray.Dataset:
        """Runs lib.otimes_NAME with its settings filled; NAME is the method's."""
        name = function.__name__
        handle, settings = self._open_handle(), Filled(f"otimes_{name}_settings", values)
        call, sink = getattr(lib, f"otimes_{name}"), Sink(name, progress)
        sink.run(lambda to, err: call(handle.pointer, settings.struct, to, err))
        line = f"{self._opened}.{name}({said(function, given)})"
        return sink.dataset(self._first_facts(name, line), self._last_facts())
