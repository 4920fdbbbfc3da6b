# SPDX-License-Identifier: MIT
"""Results of commands that run a model on texts: held against the schema pages, the goldens' logits
and each other."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from conftest import GOLDEN, PROGRAM, SOURCE, Run
from schema import read_schema
from outputs import MODELS, assert_array

Weights = Callable[[str], Path]
BUNDLED = SOURCE / "notebooks-data" / "induction-2l"
CLOSE = 4e-6  # float32 products, relative to the largest logit


def page(command: str) -> Path:
    return SOURCE / "tools" / "schema" / f"{command}.md"


def golden_tokens(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The two texts of a golden model and Hugging Face's logits of them."""
    expected = load_file(GOLDEN / name / "expected.safetensors")
    return expected["tokens"].astype(int), expected["logits"]


def ids(tokens: np.ndarray) -> str:
    return ",".join(map(str, tokens))


@pytest.mark.parametrize("name", MODELS)
def test_logits(run: Run, name: str) -> None:
    """Everything on the page and nothing else; logits, and what follows from them."""
    schema = read_schema(page("logits"))
    tokens, expected = golden_tokens(name)
    data = run("logits", GOLDEN / name, "--raw", "--full", "--top", "3", "--tokens", ids(tokens[0]))
    assert not {a for a in schema.attributes if a not in data.attrs}
    assert {k for k, rule in schema.arrays.items() if rule.must} <= set(map(str, data.data_vars))
    for key, variable in data.data_vars.items():
        assert_array(variable, schema.arrays[str(key)])
    row = expected[0]
    scale = max(np.abs(row).max(), 1)
    assert np.abs(data["logits"].values[0] - row).max() <= CLOSE * scale
    lse = np.log(np.exp(row).sum(-1))
    assert np.abs(data["logsumexp"].values[0] - lse).max() <= CLOSE * scale
    order = -np.sort(-row, axis=-1)[:, :3]
    assert np.abs(data["top_value"].values[0] - order).max() <= CLOSE * scale
    assert data.attrs["next_token"] == int("next_log_prob" in data)
    if "next_log_prob" in data:
        chosen = np.take_along_axis(row[:-1], tokens[0][1:, None], -1)[:, 0] - lse[:-1]
        assert np.abs(data["next_log_prob"].values[0, :-1] - chosen).max() <= CLOSE * scale
        assert np.isnan(data["next_log_prob"].values[0, -1])
        assert abs(float(data["loss"][0]) + chosen.mean()) <= CLOSE * scale
        assert int(data["predicted_tokens"][0]) == len(chosen)


@pytest.mark.parametrize("name", MODELS)
def test_activations(run: Run, name: str) -> None:
    """All points are on the page with the page's axes; the stream adds up."""
    schema = read_schema(page("activations"))
    tokens, _ = golden_tokens(name)
    data = run("activations", GOLDEN / name, "--names", "*", "--tokens", ids(tokens[0]))
    assert not {a for a in schema.attributes if a not in data.attrs}
    assert {k for k, rule in schema.arrays.items() if rule.must} <= set(map(str, data.data_vars))
    for key, variable in data.data_vars.items():
        assert_array(variable, schema.arrays[re.sub(r"^blocks\.\d+\.", "blocks.{l}.", str(key))])
    layer = 0
    while f"blocks.{layer}.hook_resid_pre" in data:
        block = {k: data[k].values for k in data.data_vars if str(k).startswith(f"blocks.{layer}.")}
        pre, post = (block[f"blocks.{layer}.hook_resid_{w}"] for w in ("pre", "post"))
        out = block[f"blocks.{layer}.hook_attn_out"] + block.get(f"blocks.{layer}.hook_mlp_out", 0)
        assert np.abs(pre + out - post).max() <= 1e-6 * max(np.abs(post).max(), 1)
        assert np.isfinite(block[f"blocks.{layer}.attn.hook_pattern"]).all()
        layer += 1
    assert layer == data.attrs["n_layers"]


def test_ragged(run: Run, tmp_path: Path) -> None:
    """Texts of different length: undefined beyond, and each as it is alone."""
    lines = ["def f(self, x):", "import os", "    return self.x + self.y if x else None"]
    texts = tmp_path / "texts"
    texts.write_text("\n".join(lines) + "\n")
    data = run("logits", BUNDLED, "--text-file", str(texts))
    names = ("--names", "*pattern,*.hook_q")
    patterns = run("activations", BUNDLED, "--text-file", str(texts), *names)
    lengths = data["length"].values
    assert len(set(lengths)) == 3 and data.sizes["position"] == lengths.max()
    for t, length in enumerate(lengths):
        assert (data["mask"].values[t] == (np.arange(data.sizes["position"]) < length)).all()
        assert np.isnan(data["logsumexp"].values[t, length:]).all()
        assert (data["top_id"].values[t, length:] == -1).all()
        assert (data["token_id"].values[t, length:] == -1).all()
        pattern = patterns["blocks.1.attn.hook_pattern"].values[t]
        assert np.isnan(pattern[:, length:]).all() and np.isnan(pattern[:, :, length:]).all()
        assert np.allclose(pattern[:, :length, :length].sum(-1), 1, atol=1e-5)
        assert np.isnan(patterns["blocks.0.attn.hook_q"].values[t, length:]).all()
        alone = run("logits", BUNDLED, "--text", lines[t])
        ours = data["logsumexp"].values[t, :length]
        assert np.abs(ours - alone["logsumexp"].values[0]).max() < 1e-4
        assert abs(float(data["loss"][t] - alone["loss"][0])) < 1e-5
    assert (data["predicted_tokens"].values == lengths - 1).all()


def test_places(run: Run) -> None:
    """Chosen positions are those rows of the whole."""
    line = ("logits", BUNDLED, "--text", "def f(self, x):", "--full")
    whole, part = run(*line), run(*line, "--positions", "2,-1")
    last = run(*line, "--positions", "last")
    assert part["logits"].dims == ("text", "place", "output_token")
    assert list(part["place"].values) == [2, -1]
    n = int(whole["length"][0])
    assert list(part["place_position"].values[0]) == [2, n - 1]
    rows = whole["logits"].values[0, [2, n - 1]]
    assert np.abs(part["logits"].values[0] - rows).max() < 1e-4
    assert np.abs(last["logits"].values[0, 0] - rows[1]).max() < 1e-4


def test_generation(run: Run, weights: Weights) -> None:
    """A story is continued as greedy steps would, and drawn anew from the same seed alike."""
    path = weights("tinystories656k")
    schema = read_schema(page("logits"))
    line = ("logits", path, "--text", "Once upon a time", "--generate", "20")
    data = run(*line)
    for key, variable in data.data_vars.items():
        assert_array(variable, schema.arrays[str(key)])
    text = str(data["completion"].values[0])
    assert text.startswith("Once upon a time") and int(data["generated_length"][0]) == 20
    n = data.sizes["position"]
    whole = np.concatenate([data["token_id"].values[0], data["generated_id"].values[0]])
    again = run("logits", path, "--tokens", ids(whole))
    assert (again["top_id"].values[0, n - 1 : -1, 0] == data["generated_id"].values[0]).all()
    gap = again["top_log_prob"].values[0, n - 1 : -1, 0] - data["generated_log_prob"].values[0]
    assert np.abs(gap).max() < 1e-4
    drawn = [
        run(*line, "--temperature", "1", "--seed", seed, "--threads", threads)
        for seed, threads in (("1", "1"), ("1", "2"), ("2", "1"))
    ]
    draws = [result["generated_id"].values for result in drawn]
    assert (draws[0] == draws[1]).all() and (draws[0] != draws[2]).any()


def test_refused(tmp_path: Path) -> None:
    """What does not fit is refused before it starts and leaves no file."""
    out = tmp_path / "x.h5"
    done = subprocess.run(
        [PROGRAM, "logits", str(BUNDLED), "--text", "x", "--memory", "1", "-o", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "memory: expected at most 1 bytes" in done.stderr
    assert not out.exists()
