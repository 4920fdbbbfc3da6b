# SPDX-License-Identifier: MIT
"""otimes report as a reader meets it: pages of every architecture held to the contract, and their
numbers to those that the commands write of the same model."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray

import hostile
import page as pages
from conftest import GOLDEN, PROGRAM, SOURCE, Run
from outputs import MODELS
from page import Page, assert_contract

TOKENS = "2,5,2,2,5,1,2"
OF_TENSORS = {
    "tensor_bytes", "tensor_layer", "tensor_part", "tensor_shape", "tensor_dtype", "memory_bytes",
}  # fmt: skip
# What each section is of, and what it leaves out.
COMMANDS = {
    "info": ("info", (), OF_TENSORS),
    "heads": ("heads", (), set()),
    "ov": ("circuit", ("--which", "ov", "--largest", "20", "--top", "0", "--bottom", "0"), set()),
    "qk": ("circuit", ("--which", "qk", "--largest", "20", "--top", "0", "--bottom", "0"), set()),
    "compose": ("compose", (), {"excess"}),
    "roles": ("roles", ("--tokens", TOKENS), {"row_id", "repeated_id"}),
    "bigram": ("bigram", (), {"row_mean", "row_std"}),
    "logits": ("logits", ("--tokens", TOKENS), set()),
    "patterns": ("patterns", ("--tokens", TOKENS, "--full"), set()),
    "decompose": ("decompose", ("--tokens", TOKENS, "--predicted", "--lens", "--sources"), set()),
    "paths": (
        "paths",
        ("--tokens", TOKENS, "--top", "300", "--budget", "20000"),
        {"head_edge", "source_edge", "mlp_edge"},
    ),
}  # fmt: skip
OF_THE_RUN = {"command_line", "date", "model_sha256"}
# Grouped heads, rotary, ALiBi, experts, sinks, post-norms, caps, both directions, no MLP, two
# vocabularies, one layer.
KINDS = [
    "gpt2", "llama", "mpt", "mixtral", "gpt_oss_mxfp4", "gemma2", "olmo_clip", "qwen3_moe",
    "transformer_lens_bidirectional", "transformer_lens_none", "progress_measures",
]  # fmt: skip
NARROW = {np.dtype("f2"), np.dtype("f4")}


def report(model: Path, to: Path, *options: str) -> Page:
    subprocess.run(
        [PROGRAM, "report", str(model), "-q", "-o", str(to), *options],
        check=True,
        capture_output=True,
    )
    return pages.read(to)


@pytest.mark.parametrize("name", MODELS)
def test_contract(name: str, tmp_path: Path) -> None:
    page = report(GOLDEN / name, tmp_path / "x.html", "--tokens", TOKENS)
    assert_contract(page)
    assert "bounded" not in page.data and "text_cut" not in page.data
    assert set(page.data.get("left_out", {})) <= {"compose", "paths"}
    assert page.data["model"] == name
    assert page.values("logits", "token_id").tolist() == [[int(t) for t in TOKENS.split(",")]]


def assert_array(page: Page, section: str, name: str, theirs: xarray.DataArray) -> None:
    about = page.section(section)["arrays"][name]
    ours, values = page.values(section, name), theirs.values
    assert tuple(about["axes"]) == theirs.dims
    for fact in pages.FACTS:
        assert about.get(fact) == theirs.attrs.get(fact), fact
    for axis in theirs.dims:
        assert page.labels(section, str(axis)) == theirs.coords[axis].values.tolist(), axis
    if ours.dtype.kind == "f":
        assert ours.dtype in NARROW
        with np.errstate(over="raise"):
            values = values.astype(ours.dtype)
    np.testing.assert_array_equal(ours, values)


@pytest.mark.parametrize("name", [*KINDS, "induction-2l"])
def test_values(name: str, run: Run, tmp_path: Path) -> None:
    """Every number is that of the command, as near as its type is."""
    model = SOURCE / "notebooks-data" / name if name == "induction-2l" else GOLDEN / name
    page = report(model, tmp_path / "x.html", "--tokens", TOKENS)
    facts = page.section("info")["attributes"]
    for section in page.data["sections"]:
        command, options, without = COMMANDS[section]
        data = run(command, model, *options)
        arrays = page.section(section)["arrays"]
        assert set(arrays) == {str(k) for k in data.data_vars} - without, section
        for key in arrays:
            assert_array(page, section, key, data[key])
        ours = {**facts, **page.section(section)["attributes"]}
        for key, value in data.attrs.items():
            assert key in OF_THE_RUN or ours[key] == value, f"{section}: {key}"
    assert page.data["model_sha256"] == run("info", model).attrs["model_sha256"]


def test_types(tmp_path: Path) -> None:
    """What is looked up is u16, what is looked at is f16, what is read is f32."""
    page = report(SOURCE / "notebooks-data" / "induction-2l", tmp_path / "x.html", "--tokens", TOKENS)
    kinds = {
        f"{section}.{name}": array["type"]
        for section, part in page.data["sections"].items()
        for name, array in part["arrays"].items()
    }
    for name in ("bigram.top_id", "ov.largest_row", "qk.smallest_column", "logits.top_id"):
        assert kinds[name] == "u16", name
    for name in ("bigram.top_value", "patterns.pattern", "compose.score", "decompose.source_attribution"):
        assert kinds[name] == "f16", name
    for name in ("ov.largest_value", "paths.path_value", "decompose.attribution", "heads.OV_norm"):
        assert kinds[name] == "f32", name
    assert kinds["paths.path_label"] == "text"
    vocabularies = (("bigram", "token"), ("ov", "output_token"), ("qk", "token"))
    indices = {page.section(s)["axes"][a]["labels"] for s, a in vocabularies}
    assert len(indices) == 1, "one vocabulary stands there once"


def test_without_a_text(tmp_path: Path) -> None:
    page = report(GOLDEN / "gpt2", tmp_path / "x.html")
    assert_contract(page)
    assert set(page.data["left_out"]) == {"logits", "patterns", "decompose", "paths"}
    assert all("--text" in reason for reason in page.data["left_out"].values())
    assert not any(name.startswith("text_") for name in page.section("roles")["arrays"])


def test_left_out(tmp_path: Path) -> None:
    page = report(GOLDEN / "gpt2", tmp_path / "x.html", "--tokens", TOKENS, "--without", "circuits,roles")
    assert_contract(page)
    assert set(page.data["left_out"]) == {"ov", "qk", "roles"}


def test_without_roles(run: Run, tmp_path: Path) -> None:
    """Scores on repeated tokens then come with the patterns."""
    model = SOURCE / "notebooks-data" / "induction-2l"
    page = report(model, tmp_path / "x.html", "--tokens", TOKENS, "--without", "roles")
    theirs = run("patterns", model, "--tokens", TOKENS, "--full", "--repeated", "32")
    arrays = page.section("patterns")["arrays"]
    assert set(arrays) == {str(k) for k in theirs.data_vars} - {"repeated_id"}
    for key in arrays:
        assert_array(page, "patterns", key, theirs[key])


def test_target(run: Run, tmp_path: Path) -> None:
    model = GOLDEN / "gpt2"
    page = report(model, tmp_path / "x.html", "--tokens", TOKENS, "--target", "#7")
    theirs = run("decompose", model, "--tokens", TOKENS, "--target", "#7", "--lens", "--sources")
    assert_array(page, "decompose", "attribution", theirs["attribution"])
    assert (page.values("decompose", "target_id") == 7).all()
    assert page.values("paths", "target_id").tolist() == [7]


def test_part_of_a_vocabulary(run: Run, tmp_path: Path) -> None:
    """Ids below 4 and the text's 5."""
    model = GOLDEN / "gpt2"
    sizes = ("--vocab", "4", "--top", "3", "--entries", "5")
    page = report(model, tmp_path / "x.html", "--tokens", TOKENS, *sizes)
    assert_contract(page)
    assert set(page.data["bounded"]) == {"ov", "qk", "bigram"}
    part = "0,1,2,3,5"
    for section in ("ov", "qk"):
        theirs = run("circuit", model, "--which", section, "--largest", "5", "--top", "0", "--bottom", "0",
                     "--rows", part, "--columns", part)  # fmt: skip
        for key in ("largest_value", "largest_row", "smallest_column"):
            assert_array(page, section, key, theirs[key])
    theirs = run("bigram", model, "--rows", part, "--top", "3")
    for key in ("token_id", "top_id", "top_value", "diagonal_value"):
        assert_array(page, "bigram", key, theirs[key])


def test_cut(run: Run, tmp_path: Path) -> None:
    model = GOLDEN / "gpt2"  # takes 9 tokens
    for options, length in ((("--max-tokens", "4"), 4), ((), 9)):
        page = report(model, tmp_path / "x.html", "--tokens", TOKENS + ",1,2,3,4", *options)
        assert_contract(page)
        assert page.data["text_cut"] == 11 - length
        assert page.values("patterns", "pattern").shape[-1] == length
    theirs = run("logits", model, "--tokens", ",".join((TOKENS + ",1,2").split(",")[:9]))
    np.testing.assert_array_equal(page.values("logits", "top_id"), theirs["top_id"].values)


def test_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the threads; nothing depends on the time but the date."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.chdir(tmp_path)
    os.symlink(GOLDEN / "llama", "model")
    data = []
    for threads in ("1", "3"):
        report(Path("model"), tmp_path / "x.html", "--tokens", TOKENS, "--threads", threads)
        text = (tmp_path / "x.html").read_bytes()
        data.append(text.replace(b"--threads " + threads.encode(), b"--threads N"))
    assert data[0] == data[1]


def test_hostile_tokens(run: Run, tmp_path: Path) -> None:
    """A token is text, whatever it says: in the page, in HDF5, in TSV."""
    model = hostile.make(tmp_path / "hostile")
    page = report(model, tmp_path / "x.html", "--tokens", "0,5,8,10,12,13,17,18,9")
    assert_contract(page)
    for section, axis in (("bigram", "token"), ("bigram", "output_token"), ("qk", "token")):
        assert page.labels(section, axis) == hostile.LABELS
    shown = [hostile.LABELS[i] for i in (0, 5, 8, 10, 12, 13, 17, 18, 9)]
    assert page.values("logits", "token").tolist() == [shown]
    table = run("bigram", model, "--top", "2")
    assert table.coords["token"].values.tolist() == hostile.LABELS
    lines = subprocess.run(
        [PROGRAM, "bigram", str(model), "--top", "1"], check=True, capture_output=True
    ).stdout.decode("utf-8")
    fields = [line.split("\t") for line in lines.split("\n")]
    rows = [hostile.unescaped(f[1]) for f in fields if f[0] == "token_id"]
    assert rows == hostile.LABELS
    found = [hostile.unescaped(f[4]) for f in fields if f[0] == "top_id"]
    assert found == [hostile.LABELS[i] for i in table["top_id"].values[:, 0]]
    assert not hostile.ACTS.search(lines)
