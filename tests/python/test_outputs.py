# SPDX-License-Identifier: MIT
"""Results of the program as a reader meets them: opened with xarray, held against the schema
pages."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from typing import Any

import numpy as np
import pytest

import reference as ref
from checkpoint import Model, load
from conftest import GOLDEN, SOURCE, Run
from outputs import MODELS, assert_array, assert_schema, compose_options, heads_options, rotary
from schema import read_schema

DECOMPOSE_ALL = ("--full", "--sources", "--lens", "--top", "3")


def schema_cases() -> list[Any]:
    """One run of each command on each model, with all it can write."""
    cases = []
    for name in MODELS:
        cases.append(pytest.param("ablate", name, id=f"ablate-{name}"))
        cases.append(pytest.param("info", name, id=f"info-{name}"))
        cases.append(pytest.param("bigram", name, id=f"bigram-{name}"))
        cases.append(pytest.param("circuit", name, id=f"circuit-{name}"))
        cases.append(pytest.param("heads", name, id=f"heads-{name}"))
        if load(GOLDEN / name).cfg.n_layers > 1:
            cases.append(pytest.param("compose", name, id=f"compose-{name}"))
            cases.append(pytest.param("qk", name, id=f"qk-{name}"))
            cases.append(pytest.param("virtual", name, id=f"virtual-{name}"))
        cases.append(pytest.param("decompose", name, id=f"decompose-{name}"))
        if name != "olmo_clip":  # values that are clipped are refused
            cases.append(pytest.param("paths", name, id=f"paths-{name}"))
        cases.append(pytest.param("trigrams", name, id=f"trigrams-{name}"))
        config = load(GOLDEN / name).cfg
        if config.d_vocab == config.d_vocab_out and name != "olmo_clip":  # no paths, see the page
            cases.append(pytest.param("orders", name, id=f"orders-{name}"))
    return cases


def options_for(command: str, model: Model) -> list[str]:
    if command == "heads":
        return heads_options(model)
    if command == "compose":
        return compose_options(model)
    if command == "virtual":
        return ["--length", str(min(3, model.cfg.n_layers))]
    if command == "decompose":
        tokens = ",".join(str(i) for i in range(min(4, model.cfg.n_ctx)))
        return ["--tokens", tokens, "--target", "#1", "--components", "all", *DECOMPOSE_ALL]
    if command == "paths":
        tokens = ",".join(str(i) for i in range(min(4, model.cfg.n_ctx)))
        return ["--tokens", tokens, "--target", "#1", "--mlp", "frozen", "--top", "20"]
    if command == "ablate":
        one = model.cfg.d_vocab == model.cfg.d_vocab_out
        options = ["--tokens", "3,1,4,1,5", "--target", "#1", "--against", "2", "--full"]
        return options + ([] if one else ["--no-loss"])
    if command == "circuit":
        ends = ["--top", "3", "--bottom", "3", "--side", "both", "--largest", "4"]
        whole = ["--statistics", "--histogram=-1:1:5", "--full", "--threshold", "1e-3"]
        return ["--head", "0.0,0.1", *ends, *whole]
    if command == "trigrams":
        return ["--top", "4", *(["--offsets", "0,2"] if rotary(model) else [])]
    if command == "orders":
        return ["--tokens", "3,1,4,1,5", "--full"]
    return ["--top", "4", "--full=float32"] if command == "bigram" else []


@pytest.mark.parametrize(("command", "name"), schema_cases())
def test_schema(run: Run, command: str, name: str) -> None:
    """All the arrays of the page and no other; every root attribute that MUST be there."""
    model = load(GOLDEN / name)
    schema = read_schema(SOURCE / "tools" / "schema" / f"{command}.md")
    assert schema.arrays and schema.attributes
    data = run(command, GOLDEN / name, *options_for(command, model))
    missing = {a for a in schema.attributes if a not in data.attrs}
    assert not missing, f"root attributes: {missing}"
    arrays = {str(k): v for k, v in data.data_vars.items()}
    assert not set(arrays) - set(schema.arrays), (
        f"not in the schema: {set(arrays) - set(schema.arrays)}"
    )
    absent = {k for k, rule in schema.arrays.items() if rule.must and k not in arrays}
    assert not absent, f"MUST be there: {absent}"
    for key, variable in arrays.items():
        assert_array(variable, schema.arrays[key])
        for axis in variable.dims:
            assert axis in data.coords, f"{key}: axis {axis} has no labels"


def test_tokens(run: Run) -> None:
    """Texts as token ids: every array of the page, and what it says."""
    path = SOURCE / "tests" / "data" / "tokens" / "llama3"
    text = "Grüße 12 😀"
    data = run("tokens", path, "--text", text)
    assert_schema(data, "tokens", {"begin", "end", "text"})
    assert data.attrs["bos"] == "as trained" and data.attrs["bos_added"] == 1
    digest = hashlib.sha256((path / "tokenizer.json").read_bytes()).hexdigest()
    assert data.attrs["tokenizer_sha256"] == digest
    assert data.id[0] == data.attrs["bos_id"]
    assert list(data.position.values) == list(range(data.sizes["place"]))
    assert data.text.values[0] == data.decoded.values[0] == text
    assert data.begin[0] == data.end[0] == 0 and data.end[-1] == len(text.encode())
    whole = [
        (int(b), int(e), t)
        for b, e, t in zip(data.begin, data.end, data.token.values, strict=True)
        if not t.startswith("<0x")
    ]
    assert all(text.encode()[b:e].decode() == t for b, e, t in whole[1:])


def test_tokens_of_ids(run: Run) -> None:
    """Ids as text: no ranges, no word about BOS."""
    path = SOURCE / "tests" / "data" / "tokens" / "gpt2"
    data = run("tokens", path, "--tokens", "40,7,40")
    assert_schema(data, "tokens", set())
    assert list(data.id.values) == [40, 7, 40] and "bos" not in data.attrs


@pytest.mark.parametrize(
    "command",
    ["info", "bigram", "circuit", "compare", "compose", "heads", "convert", "qk", "virtual"],
)
def test_attributes(run: Run, command: str) -> None:
    """What the root attributes say of the run and of the model."""
    path = GOLDEN / "qwen2"
    facts = run(command, path).attrs
    cfg = load(path).cfg
    for key in (
        "n_layers",
        "n_heads",
        "n_kv_heads",
        "d_model",
        "d_head",
        "d_vocab",
        "d_vocab_out",
        "n_ctx",
    ):
        assert facts[key] == getattr(cfg, key), key
    assert facts["schema"] == f"otimes-{command}"
    page = (SOURCE / "tools" / "schema" / f"{command}.md").read_text(encoding="utf-8")
    assert f"| `schema` | text | MUST | `otimes-{command}` |" in page
    assert (
        facts["architecture"] == "qwen2"
        and facts["dtype"] == "F16"
        and facts["model_path"] == str(path)
    )
    digest = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    assert facts["model_sha256"].split() == [digest, "model.safetensors"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", facts["date"])
    words = shlex.split(facts["command_line"])
    assert words[1:3] == [command, str(path)]
    steps = {
        "fold_ln": "applied",
        "center_writing_weights": "not applicable",
        "center_unembed": "applied",
        "fold_value_biases": "applied",
    }
    assert {k: facts[k] for k in steps} == steps


STEPS_SEEN = {  # what is said of each step: no norm and no biases, LayerNorm with biases
    "transformer_lens_none": ("not applicable", "not applicable", "applied", "not applicable"),
    "transformer_lens": ("applied", "applied", "applied", "applied"),
    "llama": ("applied", "not applicable", "applied", "not applicable"),
}


@pytest.mark.parametrize("name", STEPS_SEEN)
def test_steps_recorded(run: Run, name: str) -> None:
    """Applied, off, or not applicable, as the model and the options have it."""
    facts = run("info", GOLDEN / name).attrs
    assert tuple(facts[s] for s in ref.STEPS) == STEPS_SEEN[name]
    raw = run("info", GOLDEN / name, "--raw").attrs
    assert tuple(raw[s] for s in ref.STEPS) == tuple(
        s.replace("applied", "off") for s in STEPS_SEEN[name]
    )


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_token_labels(run: Run, name: str) -> None:
    """The texts of vocab.json and tokenizer.json; bytes that form no character as <0xHH>."""
    expected = json.loads((GOLDEN / name / "expected_tokens.json").read_text(encoding="utf-8"))
    data = run("bigram", GOLDEN / name, "--top", "1")
    assert list(data["token"].values) == expected


def test_output_labels(run: Run) -> None:
    """Another output vocabulary has its own axis and texts."""
    config = json.loads((GOLDEN / "transformer_lens_none" / "config.json").read_text())
    data = run("bigram", GOLDEN / "transformer_lens_none", "--top", "1", "--full=float32")
    rows, columns = data["table"].dims
    assert list(data[rows].values) == config["tokens"]
    assert list(data[columns].values) == config["outputs"]


def test_paths_as_tables(run: Run) -> None:
    """Rows of paths and edges of a graph are tables as they are read."""
    text = "def area(self, width): self.width = width; return self.height * self."
    data = run("paths", SOURCE / "notebooks-data" / "induction-2l", "--text", text, "--top", "0")
    names = ["path_label", "path_value", "path_running", "path_left"]
    paths = data[names].to_dataframe()
    assert len(paths) == int(data["path_count"].sum())
    assert paths.path_label.str.match(r"(embed|pos_embed|L\d attn bias|bias)").all()
    assert abs(paths.path_value.sum() - float(data["frozen_value"][0])) < 1e-4
    edges = data[["edge_from", "edge_to", "edge_via", "edge_value"]].to_dataframe()
    table = edges.pivot_table("edge_value", "edge_to", ["edge_from", "edge_via"])
    assert ("L1H1", "out") in table.columns and "target" in table.index
    by_key = data["head_edge"].sel(case=0, via="k")
    assert by_key.dims == ("later_head", "earlier_head")
    assert np.isnan(float(by_key.sel(later_head="L0H1", earlier_head="L1H1")))
