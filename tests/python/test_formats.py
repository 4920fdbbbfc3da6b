# SPDX-License-Identifier: MIT
"""Golden models in every form, the README's table of them, and what `convert` writes as HDF5."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN, PROGRAM, SOURCE, Run
from formats import FORMS, check, facts, in_readme, models, table, write_nested
from safetensors import safe_open
from schema import read_schema

SEEN: dict[str, set[str]] = {}


@pytest.mark.parametrize("name", models())
def test_forms(name: str, tmp_path: Path) -> None:
    """The same canonical weights in every form a golden has."""
    row = facts(GOLDEN / name)["architecture"]
    for i, form in enumerate(FORMS):
        folder = tmp_path / str(i)
        folder.mkdir()
        if check(name, form, folder):
            SEEN.setdefault(row, set()).add(form)


def test_table() -> None:
    """README.md has the table that what was seen above makes."""
    if len(SEEN) < 2:
        pytest.skip("needs test_forms before it, of all models")
    assert in_readme() == table(SEEN), "run: python tests/python/formats.py --write"


def run_info(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    line = [PROGRAM, "info", str(path), *options]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_state_dict(tmp_path: Path) -> None:
    """A dictionary of a nested checkpoint by its name; a name that is not there is one error."""
    path = write_nested("gpt2", tmp_path)
    assert run_info(path).returncode == 0
    assert run_info(path, "--state-dict", "model").returncode == 0
    wrong = run_info(path, "--state-dict", "ema")
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1
    assert 'no state dictionary "ema": expected one of "model", "optimizer.state.0"' in wrong.stderr
    other = run_info(path, "--state-dict", "optimizer.state.0")
    assert other.returncode == 1 and "expected tensors for 2 layers, got 1" in other.stderr


STEPS = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")

# Goldens that between them have every array of the schema page.
WANTED = ("gpt2", "qwen2", "bloom", "gemma2", "gpt_oss", "qwen2_moe", "cohere_qk_norm", "qwen3")


@pytest.mark.parametrize("name", WANTED)
def test_convert_schema(run: Run, name: str) -> None:
    """Arrays of the HDF5 form are those of the page, {l} and {x} standing for numbers."""
    schema = read_schema(SOURCE / "tools" / "schema" / "convert.md")
    for options in ((), ("--raw",)):
        data = run("convert", GOLDEN / name, *options)
        assert not {a for a in schema.attributes if a not in data.attrs}
        found = set()
        for key, variable in data.data_vars.items():
            pattern = re.sub(r"experts\.\d+", "experts.{x}", re.sub(r"s\.\d+\.", "s.{l}.", str(key)))
            pattern = pattern.replace("experts.{l}", "experts.{x}")
            rule = schema.arrays[pattern]
            assert tuple(variable.dims) == rule.axes, key
            assert str(variable.dtype) == rule.type, key
            found.add(pattern)
        assert {k for k, rule in schema.arrays.items() if rule.must} <= found


@pytest.mark.parametrize("name", WANTED)
def test_safetensors_package(run: Run, name: str, tmp_path: Path) -> None:
    """The package safetensors reads the file: the tensors of the HDF5 form to the bit, every root
    attribute as text, the configuration as JSON."""
    path = tmp_path / "x.safetensors"
    line = [PROGRAM, "convert", str(GOLDEN / name), "-q", "-o", str(path)]
    subprocess.run(line, check=True)
    data = run("convert", GOLDEN / name)
    with safe_open(path, framework="numpy") as file:
        about = file.metadata()
        assert set(file.keys()) == {str(key) for key in data.data_vars}
        for key in file.keys():
            tensor = file.get_tensor(key)
            assert tensor.dtype == np.float32
            assert np.array_equal(tensor, data[key].values), key
    schema = read_schema(SOURCE / "tools" / "schema" / "convert.md")
    assert about["format"] == "pt" and schema.attributes <= set(about)
    for key in schema.attributes - {"command_line", "date", "otimes_config"}:
        kind = type(data.attrs[key])
        assert kind(about[key]) == data.attrs[key], key
    config = json.loads(about["otimes_config"])
    assert config == json.loads(data.attrs["otimes_config"])
    assert config["original_architecture"] == about["architecture"]
    grouped = about["n_kv_heads"] != about["n_heads"]
    assert config.get("n_key_value_heads") == (int(about["n_kv_heads"]) if grouped else None)
    steps = {k: v in ("applied", "done in the file") for k, v in about.items() if k in STEPS}
    assert config["otimes_processing"] == steps and len(steps) == 4
