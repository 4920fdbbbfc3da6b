# SPDX-License-Identifier: MIT
"""The analyses that run the model on texts.

Texts are given as text="..." or a list of them (texts=[...] is the same), or as ids: tokens=[...] of
one text, [[...], ...] or an array [text, pos] of several. prepend_bos: None as the model was trained.
truncate: to n_ctx. chunk_rows: tokens of a batch (0: 2048). memory: bytes that a pass may take (0:
any). resident: weights stay in memory between batches (None: where they are read more than once).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray

from otimes._call import Calls, forward, sequences_struct
from otimes._errors import ArgumentError, UnsupportedError
from otimes._otimes import ffi, lib
from otimes._results import Progress, text_of
from otimes._settings import Indices, choice, choices, flag, indices, integer, listed_values, shown
from otimes._tokens import Ids, Texts, Tokenizer, Tokens_

Positions = int | str | Sequence[int] | Ids
COMPONENTS = {"heads": lib.OTIMES_ABLATE_HEADS, "layers": lib.OTIMES_ABLATE_LAYERS,
              "mlps": lib.OTIMES_ABLATE_MLPS, "neurons": lib.OTIMES_ABLATE_NEURONS}
METHODS = {"zero": lib.OTIMES_ABLATE_ZERO, "mean": lib.OTIMES_ABLATE_MEAN, "resample": lib.OTIMES_ABLATE_RESAMPLE}
MEANS = {"all": lib.OTIMES_ABLATE_MEAN, "position": lib.OTIMES_ABLATE_MEAN_POSITION}
PARTS = {"heads": lib.OTIMES_DECOMPOSE_HEADS, "layers": lib.OTIMES_DECOMPOSE_LAYERS,
         "neurons": lib.OTIMES_DECOMPOSE_NEURONS, "all": lib.OTIMES_DECOMPOSE_ALL}
MLP_LINKS = {"source": 0, "frozen": 1}
TARGETS = {"predicted": lib.OTIMES_PATHS_PREDICTED, "next": lib.OTIMES_PATHS_NEXT, "given": lib.OTIMES_PATHS_GIVEN}
LARGEST = 2**62


def places(positions: Positions | None) -> Any:
    """Positions in the order given, negative ones from the end; "last" is -1."""
    if positions is None:
        return None
    if isinstance(positions, str):
        parts = ["-1"] if positions == "last" else positions.split(",")
        if not all(p.strip("-").isdigit() and p.isascii() for p in parts):
            raise ArgumentError(f"positions: expected last or numbers as 4,5,-1, got {shown(positions)}")
        positions = [int(p) for p in parts]
    return indices(positions, LARGEST, "positions", ordered=False)


class Runs(Calls):
    """The analyses of runs on texts."""

    def _texts(self, text: Any, texts: Any, tokens: Any, prepend_bos: bool | None, truncate: bool) -> list[Ids]:
        found = self._sequences(text, texts, tokens, prepend_bos, truncate)
        if found is None:
            raise ArgumentError("text: expected a text, texts or tokens, got none")
        return found

    def _texts_alone(self, text: Any, texts: Any, tokens: Any, prepend_bos: bool | None, truncate: bool) -> list[Ids]:
        """The same where prepend_bos has nothing else to say: ids are taken as they are."""
        if tokens is not None and prepend_bos is not None:
            raise ArgumentError("prepend_bos: cannot stand beside tokens")
        return self._texts(text, texts, tokens, prepend_bos, truncate)

    def logits(self, text: Texts | None = None, *, texts: Sequence[str] | None = None,
               tokens: Tokens_ | None = None, top: int = 10, full: bool = False,
               positions: Positions | None = None, generate: int = 0, temperature: float = 0.0, top_k: int = 0,
               top_p: float = 1.0, seed: int = 0, stop: int | str | None = None, prepend_bos: bool | None = None,
               truncate: bool = False, chunk_rows: int = 0, memory: int = 0, resident: bool | None = None,
               progress: Progress = False) -> xarray.Dataset:
        """What the model says comes next at every token, losses included, or how texts go on.

        top: largest logits kept; full: all of them, `logits` [text, position, output_token].
        generate: tokens to add to each text (then these alone are written), drawn with temperature,
        top_k, top_p and seed, up to the token `stop` (None: the tokenizer's end of text; -1: none).
        """
        given = locals()
        sequences = self._texts_alone(text, texts, tokens, prepend_bos, truncate)
        values = {"sequences": sequences_struct(sequences), "forward": forward(resident, chunk_rows, memory, sequences),
                  "top": top, "full": flag(full, "full"), "positions": places(positions)}
        check_generate(generate, {"stop": stop is not None, "temperature": temperature != 0},
                       {"top_k": top_k != 0, "top_p": top_p != 1, "seed": seed != 0}, bool(temperature),
                       {"full": bool(full), "positions": positions is not None})
        if generate:
            values["generate"] = {"count": generate, "temperature": temperature, "top_k": top_k, "top_p": top_p,
                                  "seed": seed, **self._ending(stop, tokens is None)}
        return self._analyse(Runs.logits, given, values, progress)

    def _ending(self, stop: int | str | None, needed: bool) -> dict[str, Any]:
        """The token that ends a text, and the tokenizer that decodes it."""
        tokenizer = self.tokenizer if needed else self._tokenizer_or_none()
        end = -1 if tokenizer is None else tokenizer.eos
        if stop is not None:
            end = -1 if stop == -1 else self._token(stop, "stop")
        return {"stop": end, "tokenizer": tokenizer.pointer if isinstance(tokenizer, Tokenizer) else None}

    def activations(self, text: Texts | None = None, *, names: str | Sequence[str],
                    texts: Sequence[str] | None = None, tokens: Tokens_ | None = None,
                    prepend_bos: bool | None = None, truncate: bool = False, chunk_rows: int = 0, memory: int = 0,
                    resident: bool | None = None, progress: Progress = False) -> xarray.Dataset:
        """What the model computes on its way, by TransformerLens' names.

        names: patterns with * and ?, parted by commas or in a list: "blocks.*.attn.hook_pattern".
        `activation_names()` lists them. Entries beyond a text are NaN.
        """
        given = locals()
        sequences = self._texts_alone(text, texts, tokens, prepend_bos, truncate)
        values = {"sequences": sequences_struct(sequences), "forward": forward(resident, chunk_rows, memory, sequences),
                  "names": patterns_of(names)}
        return self._analyse(Runs.activations, given, values, progress)

    def activation_names(self) -> list[str]:
        """Names of all activations that this model has, in the order of a pass."""
        pointer, name, out = self._open_handle().pointer, ffi.new("char[128]"), []
        for layer in [*range(self._cfg.n_layers), -1]:
            for hook in range(lib.OTIMES_HOOK_COUNT):
                if lib.otimes_hook_reached(pointer, hook, layer):
                    lib.otimes_activations_name(hook, layer, name, len(name))
                    out.append((hook, layer, text_of(name) or ""))
        last, n_layers = lib.OTIMES_HOOK_LN_FINAL_SCALE, self._cfg.n_layers
        def order(entry: tuple[int, int, str]) -> tuple[int, int]:
            hook, layer, _ = entry
            return (layer if layer >= 0 else n_layers if hook >= last else -1, hook)

        return [name for _, _, name in sorted(out, key=order)]

    def decompose(self, text: Texts | None = None, *, texts: Sequence[str] | None = None,
                  tokens: Tokens_ | None = None, target: Any = None, against: Any = None,
                  text_target: Any = None, text_against: Any = None, predicted: bool = False, layer: int = -1,
                  mid: bool = False, parts: str = "heads", positions: Positions | None = None, norms: bool = True,
                  lens: bool = False, sources: bool = False, full: bool = False, top: int = 10,
                  prepend_bos: bool | None = None, truncate: bool = False, chunk_rows: int = 0, memory: int = 0,
                  resident: bool | None = None, progress: Progress = False) -> xarray.Dataset:
        """The residual stream as a sum of parts, and what each adds to a logit: direct logit attribution.

        target: output tokens by id or text (None: the one that follows in the text; predicted: the one
        with the largest logit); against: subtracted, one for all or one each. text_target,
        text_against: one for each text. layer, mid: the stream before that layer, or behind its
        attention (-1: the end). parts: "heads", "layers", "neurons" or "all". norms of the parts;
        lens: rank and log-probability at every point; sources: what heads moved from where; full: all
        neurons, else the `top`.
        """
        given = locals()
        sequences = self._texts_alone(text, texts, tokens, prepend_bos, truncate)
        targets = None if target is None else self._token_list(target, "target")
        values = {"sequences": sequences_struct(sequences), "forward": forward(resident, chunk_rows, memory, sequences),
                  "layer": layer, "mid": flag(mid, "mid"), "parts": choice(parts, PARTS, "parts"), "target": targets,
                  "against": self._against(against, targets), "predicted": flag(predicted, "predicted"),
                  "text_target": self._one_each(text_target, "text_target", len(sequences)),
                  "text_against": self._one_each(text_against, "text_against", len(sequences)),
                  "positions": places(positions), "norms": flag(norms, "norms"), "lens": flag(lens, "lens"),
                  "sources": flag(sources, "sources"), "full": flag(full, "full"), "top": top}
        if predicted and targets:
            raise ArgumentError("predicted: cannot stand beside target")
        if values["text_against"] and not values["text_target"]:
            raise ArgumentError("text_against: expected text_target beside it")
        return self._analyse(Runs.decompose, given, values, progress)

    def _against(self, against: Any, targets: list[int] | None) -> list[int] | None:
        if against is None:
            return None
        if targets is None:
            raise ArgumentError("against: expected a target beside it, got none")
        found = self._token_list(against, "against")
        if len(found) not in (1, len(targets)):
            raise ArgumentError(f"against: expected one for all or one for each target ({len(targets)}), "
                                f"got {len(found)}")
        return found * len(targets) if len(found) == 1 else found

    def _one_each(self, wanted: Any, what: str, count: int) -> list[int] | None:
        """A token of each text's own."""
        if wanted is None:
            return None
        single = isinstance(wanted, (str, int, np.integer))
        each = [wanted] if single else listed_values(wanted, what, "tokens")
        found = [-1 if t is None else self._token(t, what) for t in each]
        if len(found) != count:
            raise ArgumentError(f"{what}: expected one for each text ({count}), got {len(found)}")
        return found

    def paths(self, text: Texts | None = None, *, texts: Sequence[str] | None = None,
              tokens: Tokens_ | None = None, target: int | str | None = None, against: int | str | None = None,
              whose: str | None = None, loss: bool = False, positions: Positions | None = None,
              mlp: str = "source", layers: Indices | None = None, order: int = -1, top: int | None = None,
              limit: int = 1000000, budget: int = 0, seconds: float = 0.0, subsets: int = -1, carriers: int = 3,
              flows: bool = True, edges: int = 100, prepend_bos: bool | None = None, truncate: bool = False,
              chunk_rows: int = 0, memory: int = 0, resident: bool | None = None,
              progress: Progress = False) -> xarray.Dataset:
        """A logit, a difference of logits or the loss as a sum over paths through heads, the largest listed.

        whose: "predicted", "next" or "given", the target itself (None: given with `target`, next with
        `loss`, else predicted). mlp: "source" of paths, or "frozen" links of them. order: paths
        through at most so many heads (-1: any). top: the largest of each position (None: 1000, with
        `order` all; 0: all, at most `limit`). budget, seconds: of the search (0: until exact).
        subsets: layer sets of at most so many layers with totals. flows: through heads and edges.
        """
        given = locals()
        if loss and (against is not None or whose == "predicted"):
            raise ArgumentError(f"{'against' if against is not None else 'whose'}: cannot stand beside loss")
        if (whose == "given") != (target is not None) and whose is not None:
            raise ArgumentError(f"target: expected {'one' if target is None else 'none'} beside whose={whose!r}")
        word = whose or ("given" if target is not None else "next" if loss else "predicted")
        sequences = self._texts_alone(text, texts, tokens, prepend_bos, truncate)
        values = {"sequences": sequences_struct(sequences),
                  "forward": forward(resident, chunk_rows, memory, sequences, again=True),
                  "whose": choice(word, TARGETS, "whose"), "loss": flag(loss, "loss"),
                  "target": None if target is None else self._token(target, "target"),
                  "against": None if against is None else self._token(against, "against"),
                  "positions": places(positions), "mlp": choice(mlp, MLP_LINKS, "mlp"),
                  "layers": self._layers_of(layers), "order": order,
                  "top": top if top is not None else 1000 if order < 0 else 0, "limit": limit, "budget": budget,
                  "seconds": seconds, "subsets": subsets, "carriers": carriers, "flows": flag(flows, "flows"),
                  "edges": edges}
        return self._analyse(Runs.paths, given, values, progress)

    def patterns(self, text: Texts | None = None, *, texts: Sequence[str] | None = None,
                 tokens: Tokens_ | None = None, layers: Indices | None = None, heads: Indices | None = None,
                 positions: Indices | None = None, offsets: Sequence[int] | Ids | None = None,
                 pattern: Any = None, top: int = 0, full: bool = False, repeated: int = 0,
                 repeated_count: int = 16, seed: int = 0, random_tokens: Indices | None = None,
                 prepend_bos: bool | None = None, truncate: bool = False, chunk_rows: int = 0, memory: int = 0,
                 resident: bool | None = None, progress: Progress = False) -> xarray.Dataset:
        """Where every head attends: scores of known roles, diagonals, patterns themselves.

        offsets: diagonals query - key. pattern: a matrix [query, key] to compare with. top: strongest keys of each query; full: `pattern`, all of them. repeated: so
        many random tokens written twice, `repeated_count` times, from random_tokens (None: all but
        special ones). Needs texts, or repeated.
        """
        given = locals()
        sequences = self._sequences(text, texts, tokens, prepend_bos, truncate)
        if sequences is None and not repeated:
            raise ArgumentError("text: expected a text, texts, tokens or repeated, got none")
        longest = max((len(ids) for ids in sequences or []), default=1)
        values = {"layers": self._layers_of(layers), "heads": self._heads_of(heads),
                  "positions": None if positions is None else indices(positions, longest, "positions"),
                  "offsets": offsets, "pattern": None if pattern is None else pattern_entries(pattern), "top": top,
                  "full": flag(full, "full"), "repeated": repeated, "repeated_count": repeated_count, "seed": seed,
                  "forward": forward(resident, chunk_rows, memory, sequences, again=bool(repeated and sequences)),
                  **self._random_tokens(random_tokens, prepend_bos, bool(repeated))}
        if sequences is not None:
            values["sequences"] = sequences_struct(sequences)
        return self._analyse(Runs.patterns, given, values, progress)

    def roles(self, text: Texts | None = None, *, texts: Sequence[str] | None = None,
              tokens: Tokens_ | None = None, layers: Indices | None = None, heads: Indices | None = None,
              rows: Indices | None = None, row_count: int = 512, repeated: int = -1, repeated_count: int = 16,
              seed: int = 0, random_tokens: Indices | None = None, prepend_bos: bool | None = None,
              truncate: bool = False, chunk_rows: int = 0, memory: int = 0, resident: bool | None = None,
              progress: Progress = False) -> xarray.Dataset:
        """What every head is for, by its weights and by where it attends, side by side.

        rows: source tokens of copy suppression (None: row_count of them). repeated: random tokens
        written twice (-1: 32, or what fits into the model's positions; 0: nothing runs but the texts).
        """
        given = locals()
        sequences = self._sequences(text, texts, tokens, prepend_bos, truncate)
        chosen = self._vocabulary(rows, "rows")
        values = {"layers": self._layers_of(layers), "heads": self._heads_of(heads), "rows": chosen,
                  "row_count": row_count if chosen is None else None, "repeated": repeated,
                  "repeated_count": repeated_count, "seed": seed,
                  "forward": forward(resident, chunk_rows, memory, sequences, again=bool(repeated and sequences)),
                  **self._random_tokens(random_tokens, prepend_bos, bool(repeated))}
        if sequences is not None:
            values["sequences"] = sequences_struct(sequences)
        return self._analyse(Runs.roles, given, values, progress)

    def _random_tokens(self, chosen: Indices | None, prepend_bos: bool | None, runs: bool) -> dict[str, Any]:
        """The ids that random tokens are drawn from, and the BOS before them."""
        values: dict[str, Any] = {"random_tokens": self._vocabulary(chosen, "random_tokens")}
        tokenizer = None
        if runs:
            tokenizer = self.tokenizer if prepend_bos else self._tokenizer_or_none()
        if tokenizer is None:
            return values
        if tokenizer.adds_bos if prepend_bos is None else flag(prepend_bos, "prepend_bos"):
            if not 0 <= tokenizer.bos < self._cfg.d_vocab:
                raise UnsupportedError(f"prepend_bos: the tokenizer of {self._cfg.path} has no BOS token")
            values["bos"] = tokenizer.bos
        if chosen is None:
            special = [tokenizer.bos, tokenizer.eos, tokenizer.unknown]
            ids = np.arange(self._cfg.d_vocab, dtype=np.int64)
            plain = ids[~np.isin(ids, special)]
            values["random_tokens"] = plain if plain.size else None
        return values

    def ablate(self, text: Texts | None = None, *, texts: Sequence[str] | None = None,
               tokens: Tokens_ | None = None, components: str | Sequence[str] | None = None,
               layers: Indices | None = None, heads: Indices | None = None, sets: Sequence[Any] | None = None,
               method: str = "zero", mean: str = "all", mean_texts: Sequence[str] | None = None, seed: int = -1,
               positions: Positions | None = None, target: int | str | None = None,
               against: int | str | None = None, loss: bool | None = None, full: bool = False,
               prepend_bos: bool | None = None, truncate: bool = False, chunk_rows: int = 0, memory: int = 0,
               resident: bool | None = None, progress: Progress = False) -> xarray.Dataset:
        """What the loss, or a logit, loses without each head, MLP or neuron.

        components: "heads" (the default without sets), "layers" (their attention), "mlps", "neurons".
        sets: each one ablation of several at once: "0.3,0.7,1.mlp,2.attn,3.n512". method: "zero",
        "mean" (over "all" positions or each "position", of mean_texts or the texts), "resample" (from
        another text; drawn by seed, -1: the next one). target, against: the logit measured. loss:
        None: wherever the model has one vocabulary. full: also the change at each position.
        """
        given = locals()
        alone = self._texts_alone if mean_texts is None else self._texts
        sequences = alone(text, texts, tokens, prepend_bos, truncate)
        if method != "resample" and seed != -1:
            raise ArgumentError('seed: expected method="resample" beside it')
        if method != "mean" and (mean != "all" or mean_texts is not None):
            raise ArgumentError(f'{"mean" if mean != "all" else "mean_texts"}: expected method="mean" beside it')
        if against is not None and target is None:
            raise ArgumentError("against: expected a target beside it, got none")
        how = choice(mean, MEANS, "mean") if method == "mean" else choice(method, METHODS, "method")
        one = self._cfg.d_vocab == self._cfg.d_vocab_out
        count = len(sequences)
        values = {"sequences": sequences_struct(sequences),
                  "forward": forward(resident, chunk_rows, memory, sequences, again=True),
                  "components": self._families(components, layers, heads, sets),
                  "layers": self._layers_of(layers), "heads": self._heads_of(heads),
                  "sets": None if sets is None else [
                      {"member": self._members(s)} for s in listed_values(sets, "sets", "sets of components")],
                  "method": how, "seed": seed, "positions": places(positions),
                  "target": None if target is None else [self._token(target, "target")] * count,
                  "against": None if against is None else [self._token(against, "against")] * count,
                  "loss": flag(loss, "loss") if loss is not None else target is None or one, "full": flag(full, "full")}
        if mean_texts is not None:
            values["mean_sequences"] = sequences_struct(self._texts(None, mean_texts, None, prepend_bos, truncate))
        return self._analyse(Runs.ablate, given, values, progress)

    def _families(self, components: Any, layers: Any, heads: Any, sets: Any) -> int:
        bits = choices(components, COMPONENTS, "components") if components is not None else (
            lib.OTIMES_ABLATE_HEADS if not sets else 0)
        if heads is not None and not bits & lib.OTIMES_ABLATE_HEADS:
            raise ArgumentError("heads: expected heads among components")
        if layers is not None and not bits:
            raise ArgumentError("layers: expected components beside it")
        if bits & lib.OTIMES_ABLATE_NEURONS and layers is None:
            raise ArgumentError("components: neurons expect layers beside them")
        return bits

    def _members(self, chosen: Any) -> list[dict[str, int]]:
        """Members of one ablation: "0.3,0.7", "1.mlp", "2.attn", "3.n512", "3.n0-11"."""
        items = chosen.split(",") if isinstance(chosen, str) else list(chosen) if isinstance(chosen, Iterable) else []
        found = [member for item in items for member in members_of(item)]
        if not found:
            raise ArgumentError(f"sets: expected LAYER.HEAD, LAYER.attn, LAYER.mlp or LAYER.nNEURON, "
                                f"got {shown(chosen)}")
        return found

    def orders(self, text: Texts | None = None, *, texts: Sequence[str] | None = None,
               tokens: Tokens_ | None = None, mlp_links: bool = False, recompute_norm: bool = False,
               shares: bool = True, full: bool = False, first: int = 0, prepend_bos: bool | None = None,
               truncate: bool = False, chunk_rows: int = 0, memory: int = 0, resident: bool | None = None,
               progress: Progress = False) -> xarray.Dataset:
        """What the loss owes to paths through no head, one head, two heads, and to each layer of heads.

        mlp_links: MLPs with frozen gates are links of paths, not sources. recompute_norm: partial
        streams take their own final norm. shares: of layers. full: at each position. first: positions
        before it are not measured.
        """
        given = locals()
        sequences = self._texts_alone(text, texts, tokens, prepend_bos, truncate)
        values = {"sequences": sequences_struct(sequences),
                  "forward": forward(resident, chunk_rows, memory, sequences, again=True),
                  "mlp_links": flag(mlp_links, "mlp_links"), "recompute_norm": flag(recompute_norm, "recompute_norm"), "shares": flag(shares, "shares"),
                  "full": flag(full, "full"), "first": first}
        return self._analyse(Runs.orders, given, values, progress)


def members_of(item: Any) -> list[dict[str, int]]:
    """One item of a set."""
    what = "sets"
    if not isinstance(item, str):
        pair = list(item) if isinstance(item, Iterable) else []
        if len(pair) != 2:
            raise ArgumentError(f"{what}: expected LAYER.HEAD or (layer, head), got {shown(item)}")
        layer, number = (integer(p, what) for p in pair)
        return [{"kind": lib.OTIMES_ABLATE_HEAD, "layer": layer, "index": number}]
    layer_text, _, rest = item.strip().partition(".")
    kind = {"attn": lib.OTIMES_ABLATE_ATTENTION, "mlp": lib.OTIMES_ABLATE_MLP}.get(rest)
    span = rest.removeprefix("n").split("-")
    digits = [layer_text, *([] if kind is not None else span)]
    if len(span) > 2 or not all(d.isascii() and d.isdigit() and len(d) < 10 for d in digits):
        raise ArgumentError(f"{what}: expected LAYER.HEAD, LAYER.FIRST-LAST, LAYER.attn, LAYER.mlp or LAYER.nNEURON, "
                            f"got {shown(item)}")
    if kind is not None:
        return [{"kind": kind, "layer": int(layer_text), "index": 0}]
    kind = lib.OTIMES_ABLATE_NEURON if rest.startswith("n") else lib.OTIMES_ABLATE_HEAD
    return [{"kind": kind, "layer": int(layer_text), "index": i} for i in range(int(span[0]), int(span[-1]) + 1)]


def patterns_of(names: Any) -> str:
    """Names of activations as the library takes them."""
    parts = [names] if isinstance(names, str) else listed_values(names, "names", "names")
    for part in parts:
        if not isinstance(part, str):
            raise ArgumentError(f"names: expected text, got {shown(part)}")
    return ",".join(parts)


def check_generate(count: Any, growing: dict[str, bool], drawing: dict[str, bool], drawn: bool,
                   looking: dict[str, bool]) -> None:
    """Refuses what would have no effect, as the command line does."""
    for name, given in {**growing, **drawing}.items():
        if given and not count:
            raise ArgumentError(f"{name}: expected generate beside it")
        if given and name in drawing and not drawn:
            raise ArgumentError(f"{name}: expected a temperature beside it")
    for name, given in looking.items():
        if given and count:
            raise ArgumentError(f"{name}: cannot stand beside generate")


def pattern_entries(pattern: Any) -> list[dict[str, Any]]:
    """Entries by ascending query: of a matrix [query, key] those that are not 0."""
    try:
        array = np.asarray(pattern, np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"pattern: expected a matrix [query, key], got {shown(pattern)}") from None
    if array.ndim != 2 or not array.size:
        raise ArgumentError(f"pattern: expected a matrix [query, key], got shape {list(array.shape)}")
    queries, keys = np.nonzero(array)
    return [{"query": q, "key": k, "weight": array[q, k]} for q, k in zip(queries, keys, strict=True)]
