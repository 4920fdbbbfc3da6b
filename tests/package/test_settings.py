# SPDX-License-Identifier: MIT
"""Every field of every settings struct has a parameter, with the library's default."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from test_analyses import analyses

import otimes
from otimes._otimes import ffi, lib
from otimes._settings import count_of

# Fields that have parameters of other names, or are filled from others.
ELSEWHERE = {
    "sequences": {"text", "texts", "tokens"},
    "forward": {"chunk_rows", "memory", "resident"},
    "mean_sequences": {"mean_texts"},
    "generate": {"generate", "temperature", "top_k", "top_p", "seed", "stop"},
    "bos": {"prepend_bos"},
    "id": {"ids"},
    "bytes": {"text"},
    "reserved": set(),
}
# Parameters that say with a word, or None, what the struct says with a number.
WORDS = {"sides", "which", "way", "route", "parts", "method", "measures", "space", "match", "similarity", "order",
         "heads", "matrices", "components", "mlp", "whose", "full", "earlier"}
NOT_FIELDS = {"self", "progress", "models", "truncate", "prepend_bos", "mean", "a", "b"}
# Fields of the structs within, which belong to the caller's words above.
WITHIN = {"otimes_forward_settings": {"weights", "reserved"},
          "otimes_generate_settings": {"count", "tokenizer", "reserved"}}


def fields_of(kind: str) -> dict[str, Any]:
    return {name: field.type for name, field in ffi.typeof(kind).fields}


def parameters_of(name: str) -> dict[str, inspect.Parameter]:
    home: Any = otimes if name in ("compare", "diff") else otimes.Model
    return dict(inspect.signature(getattr(home, name)).parameters)


def counters(fields: dict[str, Any]) -> set[str]:
    found = {count_of(f, fields) for f, kind in fields.items() if kind.kind == "pointer"}
    return {c for c in found if c}


@pytest.mark.parametrize("name", analyses())
def test_every_field_has_a_parameter(name: str) -> None:
    fields, parameters = fields_of(f"otimes_{name}_settings"), parameters_of(name)
    spoken_for = counters(fields) - set(parameters)
    for field in set(fields) - spoken_for:
        wanted = ELSEWHERE.get(field, {field})
        assert wanted <= set(parameters), f"otimes_{name}_settings.{field}: no parameter {wanted}"
    known = set(fields) | NOT_FIELDS | set().union(*(ELSEWHERE[f] for f in fields if f in ELSEWHERE))
    assert set(parameters) <= known, f"{name}: of no field: {set(parameters) - known}"


@pytest.mark.parametrize("name", analyses())
def test_defaults_are_the_librarys(name: str) -> None:
    kind = f"otimes_{name}_settings"
    struct, parameters = ffi.new(f"{kind} *"), parameters_of(name)
    getattr(lib, f"{kind}_default")(struct)
    for field, kind_of in fields_of(kind).items():
        if field in WORDS or field in ELSEWHERE or field not in parameters:
            continue
        default = parameters[field].default
        if kind_of.kind == "pointer":
            assert default is None or default is inspect.Parameter.empty, field
        elif default is not None:
            assert getattr(struct, field) == default, f"{name}: {field}"


@pytest.mark.parametrize("kind, within", [("otimes_forward_settings", "forward"),
                                          ("otimes_generate_settings", "generate")])
def test_structs_within(kind: str, within: str) -> None:
    assert set(fields_of(kind)) - WITHIN[kind] <= ELSEWHERE[within]


def test_no_settings_struct_is_forgotten() -> None:
    structs = {t for kind in ffi.list_types() for t in kind if t.endswith("_settings")}
    known = {f"otimes_{name}_settings" for name in analyses()} | set(WITHIN) | {"otimes_model_settings"}
    assert structs == known


def test_open_has_every_setting() -> None:
    fields = set(fields_of("otimes_model_settings")) - {"reserved", "token_text"}
    names = {"config_path" if p == "config" else p for p in inspect.signature(otimes.open).parameters}
    assert fields <= names


def test_words_have_the_librarys_defaults() -> None:
    """Each word that a parameter defaults to is what the struct defaults to."""
    from otimes import _analyses, _compare, _runs

    words = {("circuit", "which"): _analyses.CIRCUITS, ("circuit", "sides"): _analyses.SIDES,
             ("circuit", "way"): _analyses.WAYS, ("compose", "route"): _analyses.ROUTES,
             ("neurons", "heads"): _analyses.NEURON_HEADS, ("virtual", "order"): _analyses.ORDERS,
             ("decompose", "parts"): _runs.PARTS, ("paths", "mlp"): _runs.MLP_LINKS,
             ("ablate", "method"): _runs.METHODS, ("compare", "measures"): _compare.MEASURES,
             ("compare", "space"): _compare.SPACES, ("compare", "match"): _compare.MATCHES,
             ("compare", "similarity"): _compare.SIMILARITIES}
    for (name, field), table in words.items():
        struct = ffi.new(f"otimes_{name}_settings *")
        getattr(lib, f"otimes_{name}_settings_default")(struct)
        assert getattr(struct, field) == table[parameters_of(name)[field].default], f"{name}: {field}"


def test_every_enum_value_has_a_word() -> None:
    """A new value of an enum that settings take needs a word."""
    from otimes import _analyses, _compare, _runs

    tables = {"otimes_circuit_which": _analyses.CIRCUITS, "otimes_circuit_way": _analyses.WAYS,
              "otimes_compose_route": _analyses.ROUTES, "otimes_neurons_heads": _analyses.NEURON_HEADS,
              "otimes_virtual_order": _analyses.ORDERS, "otimes_decompose_parts": _runs.PARTS,
              "otimes_paths_target": _runs.TARGETS, "otimes_ablate_method": _runs.METHODS | _runs.MEANS,
              "otimes_compare_space": _compare.SPACES, "otimes_compare_match": _compare.MATCHES,
              "otimes_compare_similarity": _compare.SIMILARITIES,
              "otimes_bigram_full": {"none": 0, **_analyses.FULL}, "otimes_circuit_full": {"none": 0, **_analyses.FULL}}
    for kind, table in tables.items():
        if kind == "otimes_ablate_method":
            table = {word: value for word, value in _runs.METHODS.items()} | {f"mean {k}": v for k, v in _runs.MEANS.items()}
        assert set(ffi.typeof(kind).elements) == set(table.values()), kind
