# SPDX-License-Identifier: MIT
"""Results of the program as a reader meets them: opened with xarray, held against the schema pages
and against reference.py."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

import reference as ref
from checkpoint import Model, is_norm, load, read_safetensors, read_weights
from conftest import GOLDEN, SOURCE, Run
from schema import ArrayRule, read_schema

ALL_MODELS = sorted(p.parent.name for p in GOLDEN.glob("*/expected.safetensors"))
LISTED = (SOURCE / "tests" / "support.c").read_text().partition("golden_names[] = {")[2]
MODELS = re.findall(r'"([^"]+)"', LISTED.partition("NULL")[0])  # those the C tests open
OFFSETS = (0, 1, 2, 8)
DECOMPOSE_ALL = ("--full", "--sources", "--lens", "--top", "3")
EPS = float(np.finfo(np.float32).eps)
CLOSE = 1e-5  # relative to the largest entry: weights are float32, sums float64
TYPES = {
    "float64": "f8",
    "double": "f8",
    "f64": "f8",
    "float32": "f4",
    "f32": "f4",
    "float": "f4",
    "float16": "f2",
    "f16": "f2",
    "int64": "i8",
    "i64": "i8",
    "int32": "i4",
    "i32": "i4",
    "text": "O",
    "string": "O",
}
Weights = Callable[[str], Path]

# ------------------------------------------------------------------------------ options


def rotary(model: Model) -> bool:
    return model.cfg.positions == "rotary"


def heads_options(model: Model) -> list[str]:
    """Everything heads can do with this model."""
    matrices = "factors,products" + (",positions" if model.cfg.positions == "learned" else "")
    options = ["--top", "3", "--components", "2", "--biases", "--matrices", matrices]
    if rotary(model):
        options += ["--offsets", ",".join(map(str, OFFSETS))]
    return options


# ------------------------------------------------------------------------ comparing values


def assert_close(
    ours: Any, theirs: Any, what: str, scale: Any = None, tolerance: float = CLOSE
) -> None:
    """|ours - theirs| <= tolerance * scale; scale is the largest entry unless given."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, expected {theirs.shape}"
    assert np.isfinite(ours).all(), f"{what}: not finite"
    scale = np.abs(theirs).max(initial=0) if scale is None else scale
    gap = np.abs(ours - theirs) / np.maximum(scale, 1e-300)
    worst = float(gap.max(initial=0)) if np.abs(ours - theirs).max(initial=0) > 0 else 0.0
    assert worst <= tolerance, f"{what}: relative difference {worst:.3g} > {tolerance:.3g}"


def match_eigenvalues(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest distance after pairing each of ours with the nearest of theirs that is left; two
    of nearly one modulus may stand in either order."""
    left = list(theirs)
    worst = 0.0
    for value in ours:
        distances = [abs(value - other) for other in left]
        best = int(np.argmin(distances))
        worst = max(worst, distances[best])
        left.pop(best)
    return worst


def assert_circuit(data: xarray.Dataset, expected: dict[str, np.ndarray], prefix: str) -> None:
    """Norm, singular values, eigenvalues and what follows from them, of all heads of a circuit."""
    sigma = expected[prefix + "singular_values"]
    top = sigma[..., 0]
    assert_close(data[prefix + "norm"], expected[prefix + "norm"], prefix + "norm", top)
    assert_close(
        data[prefix + "singular_values"], sigma, prefix + "singular_values", top[..., None]
    )
    assert_close(
        data[prefix + "effective_rank"],
        expected[prefix + "effective_rank"],
        prefix + "effective_rank",
        sigma.shape[-1],
        2e-5,
    )
    if prefix + "trace" not in expected:
        assert prefix + "eigenvalues_real" not in data
        return
    assert_close(data[prefix + "trace"], expected[prefix + "trace"], prefix + "trace", top)
    ours = data[prefix + "eigenvalues_real"].values + 1j * data[prefix + "eigenvalues_imag"].values
    theirs = expected[prefix + "eigenvalues_real"] + 1j * expected[prefix + "eigenvalues_imag"]
    assert ours.shape == theirs.shape
    moduli = np.abs(ours)
    assert (np.diff(moduli, axis=-1) <= CLOSE * top[..., None]).all(), (
        prefix + "eigenvalues: not by falling modulus"
    )
    for where in np.ndindex(top.shape):
        gap = match_eigenvalues(ours[where], theirs[where]) / top[where]
        assert gap <= 5 * CLOSE, f"{prefix}eigenvalues {where}: {gap:.3g} of sigma_1"
    name = prefix + ("copying" if prefix.endswith("OV_") else "positivity")
    spread = top * sigma.shape[-1] / np.maximum(np.abs(theirs).sum(axis=-1), 1e-300)
    assert_close(data[name], expected[name], name, np.maximum(spread, 1), 2 * CLOSE)


def assert_heads(data: xarray.Dataset, expected: dict[str, np.ndarray]) -> None:
    """Every quantity of heads that both sides have."""
    for prefix in ("OV_", "QK_", "full_OV_", "full_QK_"):
        assert_circuit(data, expected, prefix)
    others = [k for k in expected if k.startswith(("QK_bias_", "QK_position_", "QK_offset_"))]
    for key in others:
        stem = (
            "QK_offset_" if key.startswith("QK_offset_") else "QK_bias_" if "bias" in key else None
        )
        scale = expected[stem + "singular_values"][..., 0] if stem else None
        if key.endswith("singular_values"):
            scale = scale[..., None]
        assert_close(data[key], expected[key], key, scale)


# -------------------------------------------------------------------------------- schema


def schema_cases() -> list[Any]:
    """One run of each command on each model, with all it can write."""
    cases = []
    for name in MODELS:
        cases.append(pytest.param("ablate", name, id=f"ablate-{name}"))
        cases.append(pytest.param("info", name, id=f"info-{name}"))
        cases.append(pytest.param("bigram", name, id=f"bigram-{name}"))
        cases.append(pytest.param("heads", name, id=f"heads-{name}"))
        if load(GOLDEN / name).cfg.n_layers > 1:
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
    if command == "trigrams":
        return ["--top", "4", *(["--offsets", "0,2"] if rotary(model) else [])]
    if command == "orders":
        return ["--tokens", "3,1,4,1,5", "--full"]
    return ["--top", "4", "--full=float32"] if command == "bigram" else []


def assert_array(variable: xarray.DataArray, rule: ArrayRule) -> None:
    """Type, axes and facts of one array as its schema has them."""
    if rule.type:
        kinds = {TYPES[w] for w in re.findall(r"[a-z0-9]+", rule.type.lower()) if w in TYPES}
        assert kinds, f"schema: {rule.name}: type {rule.type}"
        kind = "O" if variable.dtype.kind in "OUST" else variable.dtype.str[1:]
        assert kind in kinds, f"{rule.name}: {variable.dtype}, schema {rule.type}"
    assert variable.dims == rule.axes, f"{rule.name}: {variable.dims}, schema {rule.axes}"
    for fact in ("long_name", "units", "formula", "orientation"):
        assert variable.attrs.get(fact), f"{rule.name}: no {fact}"
    assert variable.attrs["units"] == rule.units, f"{rule.name}: units {variable.attrs['units']}"
    if variable.dtype.kind == "f":
        assert np.isnan(variable.attrs["_FillValue"]), f"{rule.name}: _FillValue"
    elif variable.dtype.kind == "i":
        assert variable.attrs["undefined"] == -1, f"{rule.name}: undefined"
    if rule.name.endswith("_id"):
        assert variable.attrs.get("labels_of", "token") in ("token", "output_token"), (
            f"{rule.name}: labels_of"
        )


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


def assert_schema(data: xarray.Dataset, command: str, sometimes: set[str]) -> None:
    """A result against its page: `sometimes` are the arrays that this one has beyond the MUST."""
    schema = read_schema(SOURCE / "tools" / "schema" / f"{command}.md")
    missing = {a for a in schema.attributes if a not in data.attrs}
    assert not missing, f"root attributes: {missing}"
    must = {name for name, rule in schema.arrays.items() if rule.must}
    assert {str(k) for k in data.data_vars} == must | sometimes
    for key, variable in data.data_vars.items():
        assert_array(variable, schema.arrays[str(key)])
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


@pytest.mark.parametrize("command", ["info", "bigram", "heads", "convert", "qk", "virtual"])
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


# --------------------------------------------------------------------------------- values


@pytest.mark.parametrize("name", ALL_MODELS)
def test_reference(name: str) -> None:
    """The committed values are those that reference.py gives today."""
    committed = read_safetensors(GOLDEN / name / "expected.safetensors")
    raw = load(GOLDEN / name)
    done = ref.process(raw)
    today = ref.expected(raw, done, OFFSETS)
    tokens, logits = committed.pop("tokens").astype(int), committed.pop("logits")
    for sequence, theirs in zip(tokens, logits, strict=True):
        assert_close(ref.logits(raw, sequence), theirs, "logits", tolerance=1e-10)
    assert set(today) == set(committed)
    for key, value in today.items():
        assert_close(value, committed[key], key, tolerance=1e-10)


@pytest.mark.parametrize("raw", [False, True], ids=["processed", "raw"])
@pytest.mark.parametrize("name", MODELS)
def test_heads(run: Run, name: str, raw: bool) -> None:
    """All quantities of all heads."""
    model = load(GOLDEN / name)
    data = run("heads", GOLDEN / name, *heads_options(model), *(["--raw"] if raw else []))
    done = model if raw else ref.process(model)
    assert_heads(data, ref.heads(done, OFFSETS))
    assert_matrices(data, done)


@pytest.mark.parametrize("name", ["transformer_lens_mlp", "qwen2"])
@pytest.mark.parametrize("step", list(ref.STEPS))
def test_one_step_off(run: Run, name: str, step: str) -> None:
    """Each step can be left out alone, and taken alone."""
    model = load(GOLDEN / name)
    option = step.replace("_", "-")
    left_out = run("heads", GOLDEN / name, "--biases", f"--no-{option}")
    assert_heads(left_out, ref.heads(ref.process(model, **{step: False})))
    alone = run("heads", GOLDEN / name, "--biases", "--raw", f"--{option}")
    assert_heads(alone, ref.heads(ref.process(model, **{s: s == step for s in ref.STEPS})))
    table = run("bigram", GOLDEN / name, "--exact", "--top", "4", f"--no-{option}")
    assert_bigram(table, ref.exact_logits(ref.process(model, **{step: False})), 4)


def assert_matrices(data: xarray.Dataset, model: Model) -> None:
    """--matrices: factors, products and position forms."""
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            for prefix, (A, B) in (
                ("OV", ref.ov(model, layer, head)),
                ("QK", ref.qk(model, layer, head)),
            ):
                at = f"{prefix} {layer}.{head}"
                assert_close(data[prefix].values[layer, head], A @ B, at)
                assert_close(data[prefix + "_A"].values[layer, head], A, at + " A")
                assert_close(data[prefix + "_B"].values[layer, head], B, at + " B")
            if model.cfg.positions == "learned":
                A, B = ref.qk_blocks(model, layer, head)["position_position"]
                assert_close(
                    data["QK_positions"].values[layer, head], A @ B, f"QK_positions {layer}.{head}"
                )


@pytest.mark.parametrize("name", ["gpt2", "llama", "transformer_lens_none"])
def test_directions(run: Run, name: str) -> None:
    """Tokens at both ends of singular directions: W_E u and v^T W_U, signs by the stated rule."""
    model = load(GOLDEN / name)
    data = run("heads", GOLDEN / name, *heads_options(model))
    done = ref.process(model)
    W_E, W_U = done["embed.W_E"], done["unembed.W_U"]
    for layer, head in np.ndindex(done.cfg.n_layers, done.cfg.n_heads):
        for prefix, pair, names, reads in (
            ("OV", ref.ov, ("read", "write"), (W_E, W_U.T)),
            ("QK", ref.qk, ("query", "key"), (W_E, W_E)),
        ):
            A, B = pair(done, layer, head)
            U, _, Vh = np.linalg.svd(A @ B)
            for component in range(2):
                u, v = U[:, component], Vh[component]
                sign = np.sign(u[np.argmax(np.abs(u))])
                for name_, reader, direction in zip(names, reads, (u, v), strict=True):
                    values = reader @ (sign * direction)
                    ours = data[f"{prefix}_{name_}_value"].values[layer, head, component]
                    ids = data[f"{prefix}_{name_}_id"].values[layer, head, component]
                    ends = np.stack([np.sort(values)[::-1][:3], np.sort(values)[:3]])
                    what = f"{prefix} {name_} {layer}.{head}.{component}"
                    assert_close(ours, ends, what, np.abs(values).max(), 100 * CLOSE)
                    assert_close(
                        values[ids], ours, what + " ids", np.abs(values).max(), 100 * CLOSE
                    )


def expected_bigram(model: Model, exact: bool, position: int) -> np.ndarray:
    return ref.exact_logits(model, position) if exact else ref.bigram(model)


def bigram_cases(model: Model) -> list[tuple[bool, int, list[str]]]:
    """(exact, position, options) that apply."""
    cases: list[tuple[bool, int, list[str]]] = [(False, -1, []), (True, -1, ["--exact"])]
    if model.cfg.positions == "learned":
        cases.append((True, 3, ["--exact", "--position", "3"]))
    return cases


@pytest.mark.parametrize("raw", [False, True], ids=["processed", "raw"])
@pytest.mark.parametrize("name", MODELS)
def test_bigram(run: Run, name: str, raw: bool) -> None:
    """The table and everything that is computed from it."""
    model = load(GOLDEN / name)
    done = model if raw else ref.process(model)
    for exact, position, options in bigram_cases(model):
        data = run(
            "bigram",
            GOLDEN / name,
            "--top",
            "4",
            "--full=float32",
            *options,
            *(["--raw"] if raw else []),
        )
        assert_bigram(data, expected_bigram(done, exact, position), 4)


def assert_bigram(data: xarray.Dataset, table: np.ndarray, top: int) -> None:
    """Every array of bigram for the rows and columns of ``table``."""
    scale = np.abs(table).max()
    if "table" in data:
        assert_close(data["table"], table, "table")
    order = np.sort(table, axis=1)
    assert_close(data["top_value"], order[:, ::-1][:, :top], "top_value", scale)
    assert_close(data["bottom_value"], order[:, :top], "bottom_value", scale)
    for end in ("top", "bottom"):
        picked = np.take_along_axis(table, data[f"{end}_id"].values.astype(np.int64), axis=1)
        assert_close(picked, data[f"{end}_value"], f"{end}_id", scale)
    sums = np.log(np.exp(table - table.max(1, keepdims=True)).sum(1)) + table.max(1)
    assert_close(data["row_logsumexp"], sums, "row_logsumexp", max(scale, 1))
    assert_close(data["row_mean"], table.mean(1), "row_mean", scale)
    assert_close(data["row_std"], table.std(1), "row_std", scale)
    expected = order[:, ::-1][:, :top] - sums[:, None]
    assert_close(data["top_log_prob"], expected, "top_log_prob", max(scale, 1))
    if table.shape[0] != table.shape[1]:
        assert np.isnan(data["diagonal_value"].values).all()
        assert (data["diagonal_rank"].values == -1).all()
        return
    diagonal = np.diag(table)
    assert_close(data["diagonal_value"], diagonal, "diagonal_value", scale)
    slack = CLOSE * scale
    rank = data["diagonal_rank"].values
    assert (rank >= (table > diagonal[:, None] + slack).sum(1)).all()
    assert (rank <= (table > diagonal[:, None] - slack).sum(1)).all()


def test_bigram_subset(run: Run) -> None:
    """Rows and columns chosen: statistics are of the restricted row."""
    table = ref.bigram(ref.process(load(GOLDEN / "llama")))
    rows, columns = [1, 4, 7], [0, 1, 2, 9, 18]
    data = run(
        "bigram",
        GOLDEN / "llama",
        "--top",
        "2",
        "--full=float16",
        "--rows",
        ",".join(map(str, rows)),
        "--columns",
        ",".join(map(str, columns)),
    )
    part = table[np.ix_(rows, columns)]
    assert data["table"].dtype == np.float16
    assert_close(data["table"], part, "table", tolerance=1e-3)
    assert_close(data["row_mean"], part.mean(1), "row_mean", np.abs(part).max())
    assert_close(data["row_std"], part.std(1), "row_std", np.abs(part).max())
    assert set(data["top_id"].values.ravel()) <= set(columns)
    picked = table[np.array(rows)[:, None], data["top_id"].values]
    assert_close(data["top_value"], picked, "top_value", np.abs(part).max())
    diagonal = [table[r, r] if r in columns else np.nan for r in rows]
    np.testing.assert_allclose(data["diagonal_value"].values, diagonal, rtol=1e-5)
    assert list(data["diagonal_rank"].values[1:]) == [-1, -1]


def test_layers_and_heads(run: Run) -> None:
    """A choice of layers and heads is that part of the whole."""
    whole = run("heads", GOLDEN / "transformer_lens")
    part = run("heads", GOLDEN / "transformer_lens", "--layers", "0,2", "--heads", "1,2")
    assert list(part["layer"].values) == [0, 2] and list(part["head"].values) == [1, 2]
    for key, variable in part.data_vars.items():
        if variable.dims[:2] == ("layer", "head"):
            np.testing.assert_array_equal(
                variable.values, whole[key].values[[0, 2]][:, [1, 2]], str(key)
            )


def test_sharded_is_whole(run: Run) -> None:
    """Two shards give the same bits as one file."""
    options = heads_options(load(GOLDEN / "llama"))
    one, two = (run("heads", GOLDEN / name, *options) for name in ("llama", "llama_sharded"))
    for key in one.data_vars:
        np.testing.assert_array_equal(one[key].values, two[key].values, str(key))


def test_old_names_are_new(run: Run) -> None:
    """GPT-2 without the prefix and with mask buffers is the same model."""
    one, two = (run("heads", GOLDEN / name) for name in ("gpt2", "gpt2_old"))
    for key in one.data_vars:
        np.testing.assert_array_equal(one[key].values, two[key].values, str(key))


@pytest.mark.parametrize("name", MODELS)
def test_info(run: Run, name: str) -> None:
    """Parameters by part, and every tensor of the files."""
    files = read_weights(GOLDEN / name)
    model = load(GOLDEN / name)
    data = run("info", GOLDEN / name)
    counted = dict(zip(data["part"].values, data["parameters"].values, strict=True))
    assert counted == expected_parameters(model, files), name
    assert list(data["tensor"].values) == sorted(files)
    texts = [re.sub(r"[^0-9]+", " ", s).split() for s in data["tensor_shape"].values]
    assert texts == [[str(n) for n in files[k].shape] for k in sorted(files)]
    claimed = [part != "ignored" for part in data["tensor_part"].values]
    assert claimed == [not BUFFER.search(k) for k in sorted(files)]
    for name_, layer in zip(sorted(files), data["tensor_layer"].values, strict=True):
        number = re.search(r"(?:^|\.)(\d+)\.", name_)
        if not BUFFER.search(name_):  # ignored: no layer's own
            assert layer == (int(number[1]) if number else -1), name_


BUFFER = re.compile(
    r"\b(attn|attention|self_attn)\.(bias|masked_bias|mask|IGNORE|rotary_(cos|sin|emb\.inv_freq))$"
)


PARTS = (  # by names of tensors in files, the first that matches
    ("norms", r"norm|\bln|ln_|_ln\b"),
    ("embedding", r"(wte|embed_tokens|word_embeddings|embed_in|tok_embeddings)\.weight$|W_E$"),
    ("positions", r"(wpe|embed_positions)\.weight$|W_pos$"),
    ("unembedding", r"(^|\.)(lm_head|embed_out|output|unembed)\."),
    ("attention", r"attn|attention"),
    ("mlp", r""),
)


def expected_parameters(model: Model, files: dict[str, np.ndarray]) -> dict[str, int]:
    """Every weight of the files once: a tied unembedding counts 0, and so do buffers and OPT's two
    rows before the first position."""
    parts = dict.fromkeys((part for part, _ in PARTS), 0)
    embed, unembed = model["embed.W_E"], model["unembed.W_U"]
    tied = embed.shape[0] == unembed.shape[1] and (
        np.linalg.matrix_rank(np.stack([embed.ravel(), unembed.T.ravel()])) == 1
    )
    for key, value in files.items():
        part = next(part for part, pattern in PARTS if re.search(pattern, key))
        if BUFFER.search(key) or (part == "unembedding" and tied and value.ndim == 2):
            continue
        parts[part] += model["pos_embed.W_pos"].size if part == "positions" else value.size
    if tied and not parts["embedding"]:
        parts["embedding"] = embed.size
    return parts


# -------------------------------------------------------------------- trained checkpoints


def test_tinystories_bigram(run: Run, weights: Weights) -> None:
    """Every entry of a real model's table to 1e-5."""
    path = weights("tinystories656k")
    done = ref.process(load(path))
    for exact, options in ((False, []), (True, ["--exact"])):
        data = run("bigram", path, "--top", "20", "--full=float32", *options)
        assert_bigram(data, expected_bigram(done, exact, -1), 20)


def test_tinystories_heads(run: Run, weights: Weights) -> None:
    """All quantities, and every entry of the full OV circuit from the products; grouped heads."""
    path = weights("tinystories656k")
    done = ref.process(load(path))
    data = run("heads", path, *heads_options(done))
    assert_heads(data, ref.heads(done, OFFSETS, dense=False))
    W_E, W_U = done["embed.W_E"], done["unembed.W_U"]
    for layer, head in ((0, 0), (0, 3), (1, 6), (1, 7)):
        ours = W_E @ data["OV"].values[layer, head].astype(np.float64) @ W_U
        A, B = ref.full_ov(done, layer, head)
        assert_close(ours, A @ B, f"full OV {layer}.{head}")
        assert_close(
            data["full_OV_norm"].values[layer, head], np.linalg.norm(A @ B), "full_OV_norm"
        )


def test_gpt_nano_sort(run: Run, weights: Weights) -> None:
    """Three tokens, fewer than d_head: the rest of each spectrum is zero."""
    path = weights("gpt_nano_sort")
    done = ref.process(load(path))
    data = run("heads", path, *heads_options(done))
    for prefix in ("OV_", "QK_"):
        assert_circuit(data, ref.heads(done), prefix)
    expected = ref.heads(done)
    for prefix in ("full_OV_", "full_QK_"):
        assert_close(data[prefix + "norm"], expected[prefix + "norm"], prefix + "norm")
        ours, theirs = data[prefix + "singular_values"].values, expected[prefix + "singular_values"]
        count = min(ours.shape[-1], theirs.shape[-1])
        assert_close(
            np.nan_to_num(ours[..., :count]), theirs[..., :count], prefix + "singular_values"
        )
        name = prefix + ("copying" if "OV" in prefix else "positivity")
        assert_close(data[name], expected[name], name, 1)
    table = run("bigram", path, "--top", "2", "--full=float32", "--exact", "--position", "0")
    assert_bigram(table, ref.exact_logits(done, 0), 2)


@pytest.mark.parametrize("which", ["infinite", "finite"])
def test_grokking_induction(run: Run, weights: Weights, which: str) -> None:
    """Published copying scores of raw weights, one file with its configuration beside it."""
    path = weights(f"grokking_induction/induction_head_{which}.tl.safetensors")
    computed = json.loads((path.parent / "computed.json").read_text())[f"induction_head_{which}"]
    scores = next(v for k, v in computed.items() if k.startswith("OV copying score"))
    data = run("heads", path, "--raw")
    for at, score in scores.items():
        layer, head = map(int, at.split("."))
        assert abs(float(data["full_OV_copying"].values[layer, head]) - score) < 1e-5, at
    expected = ref.heads(load(path), dense=False)
    for key in ("OV_norm", "QK_norm", "full_OV_norm", "full_QK_norm"):
        assert_close(data[key], expected[key], key)


def test_tracr_induction(run: Run, weights: Weights) -> None:
    """A compiled model whose output vocabulary is smaller than its input's."""
    path = weights("tracr_induction")
    data = run("heads", path, "--raw", "--biases")
    expected = ref.heads(load(path))
    assert "full_OV_eigenvalues_real" not in data and "full_OV_copying" not in data
    for key in ("OV_norm", "QK_norm", "full_OV_norm", "full_QK_norm", "QK_bias_norm"):
        assert_close(data[key], expected[key], key)
    for key in ("OV_singular_values", "full_OV_singular_values"):
        assert_close(data[key], expected[key], key)
    table = run("bigram", path, "--raw", "--top", "2", "--full=float32")
    assert_bigram(table, ref.bigram(load(path)), 2)


# --------------------------------------------------------------------------------- paths


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
