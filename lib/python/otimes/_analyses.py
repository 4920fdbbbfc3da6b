# SPDX-License-Identifier: MIT
"""Every analysis as a method: what the program's commands write, as an xarray Dataset.

Names of arguments are those of the library's settings; words are the command line's. Datasets have
the names, axes, labels and attributes of the HDF5 file that the command would write, and their
numbers are views of the memory the analysis wrote into. What each array is: `tools/schema/`.

Everywhere: `layers`, `heads`, `tokens` and their like take a number, "0,3-5", a sequence or a slice;
`progress=True` shows a bar, a function is called with (done, total). What it raises stops the run
and is raised here; so does Ctrl-C.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from otimes._errors import ArgumentError, Failure, UnsupportedError
from otimes._otimes import ffi, lib
from otimes._results import Progress
from otimes._runs import Runs
from otimes._settings import (
    Heads,
    Indices,
    choice,
    choices,
    flag,
    heads,
    indices,
    integer,
    integers,
    listed_values,
    shown,
)
from otimes._tokens import Ids, Texts, Tokenizer, tokens_of

Offsets = Sequence[int] | Ids
FULL = {"float32": 1, "float16": 2}
CIRCUITS = {"ov": lib.OTIMES_CIRCUIT_OV, "qk": lib.OTIMES_CIRCUIT_QK, "kcomp": lib.OTIMES_CIRCUIT_K_COMPOSED}
SIDES = {"row": lib.OTIMES_CIRCUIT_ROWS, "column": lib.OTIMES_CIRCUIT_COLUMNS,
         "both": lib.OTIMES_CIRCUIT_ROWS | lib.OTIMES_CIRCUIT_COLUMNS}
WAYS = {"auto": lib.OTIMES_CIRCUIT_FASTEST, "blocks": lib.OTIMES_CIRCUIT_BLOCKS,
        "screen": lib.OTIMES_CIRCUIT_SCREEN}
ROUTES = {"auto": lib.OTIMES_COMPOSE_CHEAPEST, "cores": lib.OTIMES_COMPOSE_BY_CORES,
          "grams": lib.OTIMES_COMPOSE_BY_GRAMS}
MATRICES = {"factors": lib.OTIMES_HEADS_FACTORS, "products": lib.OTIMES_HEADS_PRODUCTS,
            "positions": lib.OTIMES_HEADS_POSITIONS}
NEURON_HEADS = {"none": lib.OTIMES_NEURONS_HEADS_NONE, "strongest": lib.OTIMES_NEURONS_HEADS_STRONGEST,
                "full": lib.OTIMES_NEURONS_HEADS_FULL}
ORDERS = {"ratio": lib.OTIMES_VIRTUAL_BY_RATIO, "norm": lib.OTIMES_VIRTUAL_BY_NORM}


def full_of(full: bool | str) -> int:
    """Whether, and in which type, a whole table is written."""
    if isinstance(full, str):
        return choice(full, FULL, "full")
    return int(flag(full, "full"))


class Analyses(Runs):
    """The analyses of weights alone."""

    def info(self, *, progress: Progress = False) -> xarray.Dataset:
        """What the checkpoint holds: parameters of each part, every tensor, memory of analyses."""
        return self._analyse(Analyses.info, locals(), {}, progress)

    def convert(self, *, progress: Progress = False) -> xarray.Dataset:
        """All weights as processed, under TransformerLens' state dict names: all in memory at once."""
        return self._analyse(Analyses.convert, locals(), {}, progress)

    def bigram(self, top: int = 10, *, bottom: int = -1, rows: Indices | None = None, columns: Indices | None = None,
               exact: bool = False, position: int = -1, full: bool | str = False, statistics: bool = True,
               corpus: os.PathLike[str] | Iterable[str] | Iterable[Sequence[int]] | None = None,
               prepend_bos: bool | None = None, progress: Progress = False) -> xarray.Dataset:
        """The direct path W_E W_U [d_vocab, d_vocab_out]: what each token alone makes likely next.

        top, bottom: entries kept at either end of each row (bottom -1: as many as top). rows, columns:
        tokens it is restricted to. exact: behind the final norm and with b_U (and W_pos[position]):
        the logits of the model without its layers. full: also the table, True, "float32" or
        "float16". statistics: what only whole rows tell; without it several times faster. corpus:
        texts, sequences of ids, or a path to texts, a line each, held against the table.
        """
        given = locals()
        values = {"top": top, "bottom": bottom, "exact": flag(exact, "exact"), "position": position, "full": full_of(full),
                  "rows": self._vocabulary(rows, "rows"), "columns": self._vocabulary(columns, "columns", True),
                  "statistics": flag(statistics, "statistics")}
        if corpus is None and prepend_bos is not None:
            raise ArgumentError("prepend_bos: expected a corpus beside it, got none")
        if corpus is not None:
            values["corpus"] = self._bigram_counts(corpus, prepend_bos)
        return self._analyse(Analyses.bigram, given, values, progress)

    def _bigram_counts(self, corpus: Any, prepend_bos: bool | None) -> Any:
        """otimes_bigram_counts of texts as they come by."""
        if isinstance(corpus, (str, bytes, Mapping, Set)) or not isinstance(corpus, (os.PathLike, Iterable)):
            raise ArgumentError(f"corpus: expected texts, sequences of ids or a Path, got {shown(corpus)}")
        failure, box, pairs = Failure(), ffi.new("otimes_bigram_counts **"), 0
        failure.check(lib.otimes_bigram_counts_new(box, failure.err))
        counts = ffi.gc(box[0], free_counts)
        for text in lines_of(corpus) if isinstance(corpus, os.PathLike) else corpus:
            if isinstance(text, str) and not text:
                continue
            ids = self._encode(text, prepend_bos) if isinstance(text, str) else integers(text, "corpus")
            beyond = ids[(ids < 0) | (ids >= self._cfg.d_vocab)]
            if beyond.size:
                raise ArgumentError(f"corpus: expected ids from 0 to {self._cfg.d_vocab - 1}, got {beyond[0]}")
            data = ffi.from_buffer("int64_t[]", ids) if ids.size else ffi.NULL
            failure.check(lib.otimes_bigram_counts_add(counts, data, ids.size, failure.err))
            pairs += max(len(ids) - 1, 0)
        if not pairs:
            raise ArgumentError("corpus: expected two tokens in a row, got none")
        return counts

    def circuit(self, heads: Heads | None = None, *, which: str = "ov", earlier: Any = None, offset: int = 0,
                top: int = 10, bottom: int = 10, sides: str = "row", threshold: float = 0.0, largest: int = 0,
                statistics: bool = False, bins: int = 0, low: float = 0.0, high: float = 0.0,
                full: bool | str = False, way: str = "auto", rows: Indices | None = None,
                columns: Indices | None = None, progress: Progress = False) -> xarray.Dataset:
        """The full circuits of heads, tables of vocabulary by vocabulary.

        which: "ov", W_E W_V W_O W_U (row = source, column = output); "qk", W_E W_QK W_E^T / attn_scale
        (row = destination, column = source), at a rotary `offset`; "kcomp" with `earlier`, or
        "kcomp:LAYER.HEAD": the QK whose keys that earlier head wrote. top, bottom: entries kept of
        each row (or column: sides "column", "both"). threshold: list all entries of at least it
        (negative: at most). largest: also so many of the whole table at both ends. statistics of
        rows; bins, low, high: a histogram; full: the table itself.
        """
        given = locals()
        word, _, place = which.partition(":") if isinstance(which, str) else (which, "", "")
        values = {"heads": self._places(heads), "which": choice(word, CIRCUITS, "which"),
                  "earlier": self._place(place or earlier, "earlier") if place or earlier is not None else None,
                  "offset": offset, "top": top, "bottom": bottom, "sides": choice(sides, SIDES, "sides"),
                  "threshold": threshold, "largest": largest, "statistics": flag(statistics, "statistics"), "bins": bins,
                  "low": low, "high": high, "full": full_of(full), "way": choice(way, WAYS, "way"),
                  "rows": self._vocabulary(rows, "rows"),
                  "columns": self._vocabulary(columns, "columns", word == "ov")}
        if word == "kcomp" and values["earlier"] is None:
            raise ArgumentError('earlier: expected a head beside which="kcomp", got none')
        if word != "kcomp" and values["earlier"] is not None:
            raise ArgumentError(f'earlier: expected which="kcomp" beside it, got {shown(which)}')
        if not bins and (low or high):
            raise ArgumentError(f"{'low' if low else 'high'}: expected bins beside it")
        return self._analyse(Analyses.circuit, given, values, progress)

    def compose(self, *, layers: Indices | None = None, heads: Indices | None = None,
                sets: Sequence[Heads] | None = None, offsets: Offsets | None = None, components: int = 0,
                ends: bool = False, route: str = "auto", memory: int = 0,
                progress: Progress = False) -> xarray.Dataset:
        """Which heads read what earlier heads wrote: Q-, K- and V-composition of all pairs.

        score = |W_OV R| / (|W_OV| |R|) with R = W_QK, W_QK^T, W_OV of the later head; excess over
        random subspaces, z in deviations. sets: heads of one layer taken together, e.g.
        ["0.3,0.7"]. offsets: Q and K also under rotation. components: leading singular directions
        paired. ends: also embedding, positions, MLPs and unembedding.
        """
        given = locals()
        values = {"layers": self._layers_of(layers), "heads": self._heads_of(heads), "offsets": offsets,
                  "components": components, "ends": flag(ends, "ends"), "route": choice(route, ROUTES, "route"),
                  "memory": memory,
                  "sets": None if sets is None else [
                      self._head_set(s) for s in listed_values(sets, "sets", "sets of heads")]}
        return self._analyse(Analyses.compose, given, values, progress)

    def _head_set(self, chosen: Heads) -> dict[str, Any]:
        found = heads(chosen, self._cfg.n_layers, self._cfg.n_heads, "sets")
        if len({layer for layer, _ in found}) != 1 or len(set(found)) != len(found):
            raise ArgumentError(f"sets: expected different heads of one layer, got {shown(chosen)}")
        return {"layer": found[0][0], "heads": sorted(number for _, number in found)}

    def heads(self, *, layers: Indices | None = None, heads: Indices | None = None, vocab: bool = True,
              top: int = 0, components: int = 1, tokens: Indices | None = None, offsets: Offsets | None = None,
              biases: bool = False, matrices: str | Sequence[str] = (),
              progress: Progress = False) -> xarray.Dataset:
        """The OV and QK circuit of every head: norms, singular values, eigenvalues, copying scores.

        vocab: also of the full circuits over the vocabulary. top: tokens read at both ends of the
        leading `components` singular directions, among `tokens`. offsets: QK under rotation.
        biases: QK with biases as one more row. matrices: "factors", "products", "positions".
        """
        given = locals()
        values = {"layers": self._layers_of(layers), "heads": self._heads_of(heads), "vocab": flag(vocab, "vocab"),
                  "top": top, "components": components, "tokens": self._vocabulary(tokens, "tokens"),
                  "offsets": offsets, "biases": flag(biases, "biases"), "matrices": choices(matrices, MATRICES, "matrices")}
        return self._analyse(Analyses.heads, given, values, progress)

    def neurons(self, *, layers: Indices | None = None, neurons: Indices | None = None, top: int = 5,
                vocab: bool = True, reads: bool = True, heads: str = "strongest", null_directions: int = 0,
                progress: Progress = False) -> xarray.Dataset:
        """Every MLP neuron from weights: w_out W_U and W_E w_in, their moments and tokens, and heads.

        neurons: of each layer (experts counted through). vocab, reads: what they write and read over
        the vocabulary. heads: "strongest", "full" (all pairs) or "none". null_directions: share of
        w_out in so many smallest singular directions of W_U.
        """
        given = locals()
        most = lib.otimes_neurons_most(self._open_handle().pointer)
        values = {"layers": self._layers_of(layers), "top": top, "vocab": flag(vocab, "vocab"), "reads": flag(reads, "reads"),
                  "neurons": None if neurons is None else indices(neurons, most, "neurons"),
                  "heads": choice(heads, NEURON_HEADS, "heads"), "null_directions": null_directions}
        return self._analyse(Analyses.neurons, given, values, progress)

    def qk(self, *, layers: Indices | None = None, heads: Indices | None = None, offsets: Offsets | None = None,
           top: int = 10, entries: int = 5, tokens: Indices | None = None,
           progress: Progress = False) -> xarray.Dataset:
        """QK of every pair of heads expanded by the earlier head on either side; finds induction pairs.

        Forms direct, Q-composed, K-composed, both; pairs by falling induction score. top: pairs whose
        `entries` strongest entries over `tokens` are listed. offsets: rotary models, query - key.
        """
        given = locals()
        values = {"layers": self._layers_of(layers), "heads": self._heads_of(heads), "offsets": offsets, "top": top,
                  "entries": entries, "tokens": self._vocabulary(tokens, "tokens")}
        return self._analyse(Analyses.qk, given, values, progress)

    def trigrams(self, heads: Heads | None = None, *, top: int = 10, per_source: int = 0, sources: Any = None,
                 destinations: Any = None, outs: Any = None, offsets: Offsets | None = None,
                 query_position: int = -1, key_position: int = -1, raw_embedding: bool = False,
                 progress: Progress = False) -> xarray.Dataset:
        """Skip-trigrams [source] ... [destination] -> [out] of heads, the strongest over the vocabulary.

        strength = score(destination, source) effect(source, out). sources, destinations, outs: tokens
        by id or text. per_source: at most so many of one source (0: any). query_position,
        key_position: with these rows of W_pos. raw_embedding: tokens are bare rows of W_E.
        """
        given = locals()
        chosen = {name: (value, name == "outs") for name, value in
                  (("sources", sources), ("destinations", destinations), ("outs", outs)) if value is not None}
        values: dict[str, Any] = {name: np.unique(self._token_list(value, name, output))
                                  for name, (value, output) in chosen.items()}
        values |= {"heads": self._places(heads), "top": top, "per_source": per_source, "offsets": offsets,
                   "query_position": query_position, "key_position": key_position,
                   "raw_embedding": flag(raw_embedding, "raw_embedding")}
        return self._analyse(Analyses.trigrams, given, values, progress)

    def virtual(self, *, layers: Indices | None = None, heads: Indices | None = None, length: int = 2,
                top: int = 10, order: str = "ratio", budget: int = 2000000, chains: Sequence[Heads] | None = None,
                vocab: bool = True, entries: int = 5, tokens: Indices | None = None,
                progress: Progress = False) -> xarray.Dataset:
        """Virtual heads W_OV(h1) W_OV(h2) ...: the strongest chains of 2 to `length` heads.

        order: "ratio" over random subspaces, or "norm". chains: these instead, e.g. ["0.3,1.5"].
        vocab: also W_E (chain) W_U, with its `entries` largest entries among `tokens`.
        """
        given = locals()
        links = None if chains is None else [
            self._places(chain, "chains") or [] for chain in listed_values(chains, "chains", "chains of heads")]
        values = {"layers": self._layers_of(layers), "heads": self._heads_of(heads), "length": length, "top": top,
                  "order": choice(order, ORDERS, "order"), "budget": budget, "vocab": flag(vocab, "vocab"),
                  "entries": entries, "tokens": self._vocabulary(tokens, "tokens"),
                  "chains": None if links is None else [{"link": link, "length": len(link)} for link in links]}
        return self._analyse(Analyses.virtual, given, values, progress)

    def tokens(self, text: Texts | None = None, *, ids: Sequence[int] | Ids | None = None,
               prepend_bos: bool | None = None, progress: Progress = False) -> xarray.Dataset:
        """What the model's tokenizer makes of texts, or ids of text, place by place."""
        tokenizer = self.tokenizer
        if not isinstance(tokenizer, Tokenizer):
            raise UnsupportedError("tokens: expected the library's own tokenizer, got one that was handed over")
        return tokens_of(tokenizer, text, ids, prepend_bos, progress, f"{self._opened}.tokens(")

    def neurons_of(self, layer: int) -> int:
        """How many neurons a layer has, those of experts counted through."""
        failure, count = Failure(), ffi.new("int64_t *")
        failure.check(lib.otimes_neurons_of(self._open_handle().pointer, integer(layer, "layer"), count, failure.err))
        return int(count[0])


def free_counts(counts: Any, free: Any = lib.otimes_bigram_counts_free, new: Any = ffi.new) -> None:
    free(new("otimes_bigram_counts **", counts))


def lines_of(path: os.PathLike[str]) -> Iterable[str]:
    """Texts of a file, a line each, as the command line reads them."""
    with builtins.open(Path(path), encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.removesuffix("\n")
