# SPDX-License-Identifier: MIT
"""Every analysis as a method against the file that the program writes: names, axes, labels, values, facts."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from conftest import BUNDLED, GOLDEN, ROOT, as_filed

import otimes

TEXT = "Once upon a time there was a little girl. Once upon a time"
TEXTS = [TEXT, "The cat sat on the mat.", "a"]
LLAMA = GOLDEN / "llama"
GPT2 = GOLDEN / "gpt2"
MOE = GOLDEN / "mixtral"
IDS = "5,3,9,5,3,9,7"
IDS_LIST = [5, 3, 9, 5, 3, 9, 7]

# Command line, method and its arguments; None: the bundled model.
CASES: list[tuple[str, Path | None, list[str], dict[str, Any]]] = [
    ("info", None, [], {}),
    ("info", MOE, [], {}),
    ("convert", None, ["--format", "hdf5"], {}),
    ("bigram", None, ["--top", "20"], {"top": 20}),
    ("bigram", None, ["--rows", "0-9", "--columns", "1,5-7", "--exact", "--position", "3", "--full"],
     {"rows": range(10), "columns": "1,5-7", "exact": True, "position": 3, "full": True}),
    ("bigram", None, ["--no-statistics", "--bottom", "2", "--full=float16"],
     {"statistics": False, "bottom": 2, "full": "float16"}),
    ("circuit", None, ["--head", "1.0,0.3"], {"heads": "1.0,0.3"}),
    ("circuit", None, ["--head", "1.0", "--which", "kcomp:0.3", "--side", "both", "--largest", "7", "--statistics",
                       "--histogram=-5:5:10", "--threshold", "3"],
     {"heads": "L1H0", "which": "kcomp", "earlier": (0, 3), "sides": "both", "largest": 7, "statistics": True,
      "low": -5, "high": 5, "bins": 10, "threshold": 3.0}),
    ("circuit", LLAMA, ["--which", "qk", "--offset", "2", "--rows", "1-9", "--columns", "2-4", "--full",
                        "--top", "2", "--bottom", "0", "--way", "blocks"],
     {"which": "qk", "offset": 2, "rows": "1-9", "columns": [4, 3, 2], "full": "float32", "top": 2, "bottom": 0,
      "way": "blocks"}),
    ("compose", None, [], {}),
    ("compose", None, ["--ends", "--set", "0.0,0.3", "--components", "2", "--route", "grams"],
     {"ends": True, "sets": ["0.0,0.3"], "components": 2, "route": "grams"}),
    ("compose", LLAMA, ["--offsets", "0,3", "--heads", "0-1"], {"offsets": [0, 3], "heads": [0, 1]}),
    ("heads", None, ["--top", "3", "--components", "2", "--tokens", "1-50", "--matrices", "factors,products"],
     {"top": 3, "components": 2, "tokens": range(1, 51), "matrices": ["factors", "products"]}),
    ("heads", LLAMA, ["--offsets", "1,2", "--biases", "--layers", "1", "--no-vocab"],
     {"offsets": [1, 2], "biases": True, "layers": 1, "vocab": False}),
    ("neurons", GPT2, ["--composition=full", "--null", "2", "--top", "2"],
     {"heads": "full", "null_directions": 2, "top": 2}),
    ("neurons", MOE, ["--neurons", "0-3", "--no-reads"], {"neurons": slice(0, 4), "reads": False}),
    ("qk", None, ["--top", "2", "--entries", "3"], {"top": 2, "entries": 3}),
    ("qk", LLAMA, ["--offsets", "0,1", "--tokens", "0-9"], {"offsets": [0, 1], "tokens": "0-9"}),
    ("trigrams", None, ["--head", "1.0", "--top", "5", "--per-source", "1", "--source", "#17", "--source", "#20",
                        "--positions", "5,2"],
     {"heads": [(1, 0)], "top": 5, "per_source": 1, "sources": [20, 17], "query_position": 5, "key_position": 2}),
    ("trigrams", LLAMA, ["--offsets", "0,1", "--raw-embedding"], {"offsets": [0, 1], "raw_embedding": True}),
    ("virtual", None, ["--entries", "2", "--strength", "norm"], {"entries": 2, "order": "norm"}),
    ("virtual", None, ["--chain", "0.3,1.0", "--no-vocab"], {"chains": ["0.3,1.0"], "vocab": False}),
    ("roles", None, [], {}),
    ("roles", None, ["--text", TEXT, "--repeated", "0", "--row-count", "9"],
     {"text": TEXT, "repeated": 0, "row_count": 9}),
    ("logits", None, ["--text", TEXT, "--full"], {"text": TEXT, "full": True}),
    ("logits", None, ["--text", TEXT, "--positions=-1,0", "--top", "3"],
     {"text": TEXT, "positions": [-1, 0], "top": 3}),
    ("logits", None, ["--text", TEXT, "--generate", "5", "--temperature", "0.7", "--top-k", "20", "--seed", "3"],
     {"texts": [TEXT], "generate": 5, "temperature": 0.7, "top_k": 20, "seed": 3}),
    ("activations", None, ["--text", TEXT, "--names", "blocks.*.attn.hook_pattern,*hook_resid_*"],
     {"text": TEXT, "names": ["blocks.*.attn.hook_pattern", "*hook_resid_*"]}),
    ("activations", MOE, ["--tokens", IDS, "--names", "*"], {"tokens": IDS_LIST, "names": "*"}),
    ("decompose", None, ["--text", TEXT, "--predicted", "--lens", "--sources"],
     {"text": TEXT, "predicted": True, "lens": True, "sources": True}),
    ("decompose", GPT2, ["--tokens", IDS, "--target", "#4", "--target", "#5", "--against", "#6", "--at", "1.mid",
                         "--components", "all", "--positions=-1", "--no-norms", "--full"],
     {"tokens": np.array(IDS_LIST), "target": [4, 5], "against": 6, "layer": 1, "mid": True, "parts": "all",
      "positions": "last", "norms": False, "full": True}),
    ("paths", None, ["--text", TEXT], {"text": TEXT}),
    ("paths", GPT2, ["--tokens", IDS, "--loss", "--mlp", "frozen", "--order", "1", "--positions=-2", "--no-flows"],
     {"tokens": IDS_LIST, "loss": True, "mlp": "frozen", "order": 1, "positions": [-2], "flows": False}),
    ("paths", None, ["--text", TEXT, "--target", " time", "--against", "#20", "--top", "4", "--carriers", "1"],
     {"text": TEXT, "target": " time", "against": 20, "top": 4, "carriers": 1}),
    ("patterns", None, ["--text", TEXT, "--offsets", "1,2", "--top", "2", "--full", "--repeated", "10"],
     {"text": TEXT, "offsets": [1, 2], "top": 2, "full": True, "repeated": 10}),
    ("ablate", None, ["--text", TEXT, "--target", " time", "--full"],
     {"text": TEXT, "target": " time", "full": True}),
    ("ablate", GPT2, ["--tokens", IDS, "--set", "0.0-1,1.mlp,0.n3,1.attn", "--components", "heads,mlps", "--method",
                      "mean", "--mean", "position"],
     {"tokens": [IDS_LIST], "sets": ["0.0-1,1.mlp,0.n3,1.attn"], "components": "heads,mlps", "method": "mean",
      "mean": "position"}),
    ("orders", None, ["--text", TEXT, "--full", "--from", "2"], {"text": TEXT, "full": True, "first": 2}),
    ("orders", GPT2, ["--tokens", IDS, "--mlp", "frozen", "--norms", "recomputed", "--no-shares"],
     {"tokens": IDS_LIST, "mlp_links": True, "recompute_norm": True, "shares": False}),
    ("tokens", None, ["--text", TEXT], {"text": TEXT}),
    ("tokens", None, ["--tokens", IDS], {"ids": IDS_LIST}),
]


def same(ours: xarray.Dataset, theirs: xarray.Dataset) -> None:
    """Identical but for how the result was asked for, types included."""
    for data in (ours, theirs):
        data.attrs.pop("command_line")
    xarray.testing.assert_identical(ours, theirs)
    for name, variable in theirs.variables.items():
        kinds = {"text" if d.kind in "OU" else d.str for d in (ours[name].dtype, variable.dtype)}
        assert len(kinds) == 1, f"{name}: {ours[name].dtype}, {variable.dtype}"


@pytest.mark.parametrize("case", CASES, ids=lambda c: " ".join([c[0], *c[2]])[:60])
def test_same_as_file(case: tuple[str, Path | None, list[str], dict[str, Any]], program: Callable[..., Path]) -> None:
    command, path, words, arguments = case
    path = path or BUNDLED
    with otimes.open(path) as model:
        ours = getattr(model, command)(**arguments)
        assert ours.attrs["command_line"].startswith(f"otimes.open('{path}').{command}(")
        same(ours, as_filed(program(command, path, *words)))


def test_command_line_reproduces(model: otimes.Model) -> None:
    first = model.circuit("1.0", which="kcomp:0.3", top=3)
    line = first.attrs["command_line"]
    assert line == f"otimes.open('{BUNDLED}').circuit(heads='1.0', which='kcomp:0.3', top=3)"
    xarray.testing.assert_identical(first, eval(line, {"otimes": otimes}))


def test_several_texts(model: otimes.Model, program: Callable[..., Path], tmp_path: Path) -> None:
    lines = tmp_path / "texts.txt"
    lines.write_text("\n".join(TEXTS) + "\n")
    for command, arguments in (("logits", {}), ("ablate", {"method": "resample", "seed": 3}), ("orders", {})):
        words = [w for k, v in arguments.items() for w in (f"--{k}", v)]
        same(getattr(model, command)(texts=TEXTS, **arguments),
             as_filed(program(command, BUNDLED, "--text-file", lines, *words)))


def test_decompose_with_a_target_each(model: otimes.Model, program: Callable[..., Path], tmp_path: Path) -> None:
    lines = tmp_path / "texts.jsonl"
    rows = [{"text": TEXTS[0], "good": [5], "bad": [6]}, {"text": TEXTS[1], "good": [7], "bad": [8]}]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    same(model.decompose(TEXTS[:2], text_target=[5, 7], text_against=[6, 8]),
         as_filed(program("decompose", BUNDLED, "--text-file", lines, "--target-field", "good", "--against-field", "bad")))


def test_bigram_against_a_corpus(model: otimes.Model, program: Callable[..., Path], tmp_path: Path) -> None:
    lines = tmp_path / "corpus.txt"
    lines.write_text("\n".join([*TEXTS, "", TEXT]) + "\n")
    filed = as_filed(program("bigram", BUNDLED, "--corpus", lines))
    for corpus in (lines, [*TEXTS, TEXT], [model.to_tokens(t)[0] for t in [*TEXTS, TEXT]]):
        same(model.bigram(corpus=corpus), filed.copy())


def test_compare(model: otimes.Model, program: Callable[..., Path]) -> None:
    other = BUNDLED / "checkpoints"
    steps = sorted(p for p in other.iterdir() if p.suffix == ".safetensors" or p.is_dir())[:2]
    same(otimes.compare(model, measures="cka,kernel", top=2),
         as_filed(program("compare", BUNDLED, "--measures", "cka,kernel", "--top", "2")))
    opened = [model, *(otimes.open(s) for s in steps)]
    names = ["end", *(f"s{i}" for i in range(len(steps)))]
    same(otimes.compare(opened, labels=names, cosines=True, space="vocab", same_vocab=True),
         as_filed(program("compare", BUNDLED, *steps, "--labels", ",".join(names), "--angles", "--through", "vocab",
                          "--same-vocab")))


def test_diff(model: otimes.Model, program: Callable[..., Path], tmp_path: Path) -> None:
    a, b = program("heads", BUNDLED).rename(tmp_path / "a.h5"), program("heads", BUNDLED, "--raw").rename(tmp_path / "b.h5")
    same(otimes.diff(a, b, any_processing=True, rtol=1e-3),
         as_filed(program("diff", a, b, "--any-processing", "--rtol", "1e-3")))
    equal = otimes.diff(model.heads(), a)
    assert equal.attrs["equal"] == 1
    with pytest.raises(otimes.UnsupportedError, match="fold_ln"):
        otimes.diff(a, b)
    assert otimes.diff(model.heads(), model.heads(layers=[0])).attrs["equal"] == 0
    with otimes.read(a) as joined:  # complex numbers are two arrays in the file
        assert any(array.dtype.kind == "c" for array in joined.data_vars.values())
        assert otimes.diff(joined, a).attrs["equal"] == otimes.diff(a, joined).attrs["equal"] == 1


@pytest.mark.parametrize("data, text", [
    (xarray.Dataset({"x": ("a", [1.0])}, attrs={"n": [1, 2]}), "n: expected a text or a number, got [1, 2]"),
    (xarray.Dataset({"x": ("a", [1.0])}, attrs={"n": {}}), "n: expected a text or a number, got {}"),
    (xarray.Dataset({"x": (list("abcdefg"), np.zeros((1,) * 7))}), "x: expected at most 6 axes, got 7"),
    (xarray.Dataset({"x": ("a", [True])}), "x: expected a result's type, got bool"),
])
def test_diff_of_no_results(data: xarray.Dataset, text: str) -> None:
    with pytest.raises(otimes.ArgumentError, match=re.escape(text)):
        otimes.diff(data, xarray.Dataset())


def analyses() -> list[str]:
    found = re.search(r"analyses = \[(.*?)\]", (ROOT / "meson.build").read_text(), re.S)
    assert found
    return re.findall(r"'(\w+)'", found[1])


def test_all_analyses_are_there() -> None:
    tried = {case[0] for case in CASES} | {"compare", "diff"}
    for name in analyses():
        home = otimes if name in ("compare", "diff") else otimes.Model
        assert callable(getattr(home, name)), name
        assert getattr(home, name).__doc__, name
        assert name in tried, f"{name}: no case here holds it against the program"
        hints = inspect.get_annotations(getattr(home, name))
        assert hints["return"] == "xarray.Dataset"
