# SPDX-License-Identifier: MIT
"""README's table "Coming from TransformerLens": every line runs, and its figures are TransformerLens' own, as
tests/golden/golden_lens_table.py took them from a HookedTransformer in float64 (and takes them again here
where it is installed). A line that is not compared says why."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import xarray
from conftest import BUNDLED, GOLDEN, PROGRAM, ROOT

import otimes

WITH_MLP = GOLDEN / "transformer_lens_mlp"
TEXT = "def area(self, width): self.width = width; return self.height * self."
EPS = float(np.finfo(np.float32).eps)
Pick = Callable[[Any], Any]


def same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Check:
    """What a line's figures are held against."""

    figure: str = ""  # in lens_table.npz
    python: Pick = same  # from the value of the Python cell
    command: Pick | None = None  # from the command's arrays; None: as from the Python cell's Dataset
    theirs: Pick = same  # their figure in our form
    steps: float = 16  # float32 roundings of the largest entry that may lie between the two
    why: str = ""  # why a line is not compared


# Sums of 25 positions, two layers and 128 features in float32: what a pass may be off by.
PASS = 256
LAST = {"text": 0, "position": -1}
MINUS_TOKEN_LOSS: Pick = lambda d: -d["next_log_prob"][0, :-1]  # noqa: E731


def head_of(name: str) -> Pick:
    return lambda d: d[name][1, 0]


def complex_of(name: str) -> Pick:
    return lambda d: d[f"{name}_real"][1, 0] + 1j * d[f"{name}_imag"][1, 0]


def weight_of(name: str, *index: Any) -> Pick:
    return lambda d: d[name].values[index]


def corner(matrix: Any) -> Any:
    return matrix[..., :16, :16]


def pairs(score: Any) -> Any:
    """Entries of a later layer's heads over an earlier's; ours are undefined elsewhere."""
    found = np.asarray(score)
    assert all(np.isnan(found[earlier, :, later]).all() for earlier, later in ((0, 0), (1, 0), (1, 1)))
    return found[0, :, 1]


def composed(mode: str) -> Check:
    by_name: Pick = lambda d: pairs(d["score"].sel(circuit=mode))  # noqa: E731
    return Check(f"composition_{mode}", pairs, by_name, lambda t: t[0, :, 1])


def detected(kind: str, name: str, has_key: Callable[[list[int], int], bool]) -> Check:
    """Theirs is a sum over all positions divided by their number, ours a mean over those with such a key."""

    def mean(theirs: Any) -> Any:
        ids = FIGURES["tokens"].tolist()
        count = sum(has_key(ids, q) for q in range(len(ids)))
        assert count
        return theirs * len(ids) / count

    return Check(kind, lambda a: a[0], lambda d: d[name][0], mean, steps=PASS)


def parts(attribution: Any) -> Any:
    """Heads, embeddings and all biases of W_O together: how TransformerLens lists them."""
    last = attribution.isel(LAST).squeeze("target")
    biases = last.sel(component=["L0 attn bias", "L1 attn bias"]).sum("component")
    return np.append(last.sel(component=[*HEADS, "embed", "pos_embed"]).values, biases.values)


def layers(attribution: Any) -> Any:
    """Embeddings and attention of each layer; whole layers hold their bias."""
    last = attribution.isel(LAST).squeeze("target")
    return last.sel(component=["embed", "pos_embed", "L0 attn", "L1 attn"]).values


def head_norms(norms: Any) -> Any:
    return norms.isel(LAST).sel(component=[*HEADS, "embed", "pos_embed"]).values


def results(d: Any) -> Any:
    return np.concatenate([d[f"blocks.{layer}.attn.hook_result"].values[0, -1, :, :8] for layer in (0, 1)])


def largest_written(value: Any) -> Any:
    """Moduli at both ends of the three leading directions, the five largest of each."""
    ends = np.abs(np.asarray(value)[1, 0]).reshape(3, -1)
    return -np.sort(-ends, -1)[:, :5].T


HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
FIGURES: dict[str, Any] = dict(np.load(ROOT / "tests" / "data" / "lens_table.npz"))
CONFIG = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab", "n_ctx")
NOT_THERE = "we have none, and the line says so"
CHECKS: dict[str, Check] = {
    "HookedTransformer.from_pretrained(path)": Check(
        "cfg", lambda m: [getattr(m.cfg, n) for n in CONFIG], lambda d: [d.attrs[n] for n in CONFIG], steps=0
    ),
    "HookedTransformer.from_pretrained_no_processing(path)": Check(
        "raw", command=weight_of("blocks.1.attn.W_V", 0), steps=0
    ),
    "model.cfg": Check(
        "cfg", lambda c: [getattr(c, n) for n in CONFIG], lambda d: [d.attrs[n] for n in CONFIG], steps=0
    ),
    "model.W_E[500:504]": Check("W_E", command=weight_of("embed.W_E", slice(500, 504)), steps=4),
    "model.W_U[:, 500:504]": Check(
        "W_U", command=weight_of("unembed.W_U", slice(None), slice(500, 504)), steps=4
    ),
    "model.W_Q[1, 0]": Check("W_Q", command=weight_of("blocks.1.attn.W_Q", 0), steps=4),
    "model.W_K[0, 2]": Check("W_K", command=weight_of("blocks.0.attn.W_K", 2), steps=4),
    "model.b_O[1]": Check("b_O", command=weight_of("blocks.1.attn.b_O"), steps=64),
    "model.OV[1, 0].AB": Check("OV", corner, lambda d: corner(d["OV"].values[1, 0])),
    "model.QK[1, 0].AB": Check("QK", corner, lambda d: corner(d["QK"].values[1, 0])),
    "model.OV.norm()": Check("OV_norm", command=lambda d: d["OV_norm"]),
    "model.QK[1, 0].S": Check("QK_S", command=head_of("QK_singular_values")),
    "model.OV[1, 0].eigenvalues": Check("OV_eigenvalues", command=complex_of("OV_eigenvalues"), steps=64),
    "(model.W_E @ model.OV[1, 0] @ model.W_U).eigenvalues": Check(
        "full_OV_eigenvalues", command=complex_of("full_OV_eigenvalues"), steps=64
    ),
    "e.sum().real / e.abs().sum()": Check("copying", lambda a: a[1, 0], head_of("full_OV_copying"), steps=64),
    "FactoredMatrix(A, B)": Check("collapse_l", lambda a: np.abs(a)[:4, :16], steps=512),
    "model.OV[1, 0] @ vector": Check("vector"),
    "refactor_factored_attn_matrices=True": Check("even", lambda a: np.sum(a.astype(np.float64) ** 2, 0)),
    **{f'model.all_composition_scores("{mode}")': composed(mode) for mode in "QKV"},
    'SVDInterpreter(model).get_singular_vectors("OV", 1, head_index=0)': Check(
        "svd_size", largest_written, lambda d: largest_written(d["OV_write_value"]), steps=512
    ),
    "model.to_tokens(text)": Check("tokens", lambda a: a[0], lambda d: d["id"], steps=0),
    "model.to_str_tokens(text)": Check("str_tokens", command=lambda d: d["token"]),
    "model.to_string(tokens)": Check("string", lambda s: s[0], lambda d: d["decoded"][0]),
    'model.to_single_token("w")': Check("single_token", command=lambda d: d["id"][0], steps=0),
    "model(tokens)": Check("logits", lambda a: a[0, -2:], lambda d: d["logits"][0, -2:], steps=PASS),
    'model(tokens, return_type="loss")': Check("loss", lambda a: a[0], lambda d: d["loss"][0], steps=PASS),
    "loss_per_token=True": Check("token_loss", lambda a: a[0, :-1], MINUS_TOKEN_LOSS, steps=PASS),
    "model.generate(tokens, max_new_tokens=12, do_sample=False)": Check(
        "generated", lambda a: a[0], lambda d: d["generated_id"][0], steps=0
    ),
    'test_prompt(text, "w", model)': Check(
        "rank", lambda a: a[0, -1, 0, -1], lambda d: d["lens_rank"][0, -1, 0, -1], steps=0
    ),
    "model.run_with_cache(tokens, names_filter=...)": Check(
        "pattern", lambda d: d["blocks.1.attn.hook_pattern"][0, :, -3:], steps=PASS
    ),
    'cache["resid_post", 0]': Check("resid", lambda d: d["blocks.0.hook_resid_post"][0, -1], steps=PASS),
    "cache.stack_head_results()": Check("head_results", results, steps=PASS),
    "cache.get_full_resid_decomposition()": Check(
        "decomposition_norm",
        head_norms,
        lambda d: head_norms(d["component_norm"]),
        lambda theirs: theirs[:-1],  # their biases are one part, ours one for each layer
        steps=PASS,
    ),
    'cache.logit_attrs(cache.stack_head_results(), "w")': Check(
        "attribution", parts, lambda d: parts(d["attribution"]), steps=PASS
    ),
    'cache.logit_attrs(cache.decompose_resid(mode="attn"), "w")': Check(
        "layer_attribution", layers, lambda d: layers(d["attribution"]), steps=PASS
    ),
    "model.unembed(model.ln_final(cache.accumulated_resid()))": Check(
        "logit_lens", lambda a: a[0, -1, 0], lambda d: d["logit_lens"][0, -1, 0], steps=PASS
    ),
    "cache.apply_ln_to_stack(...)": Check("scale", lambda a: a[0], lambda d: d["norm_scale"][0], steps=PASS),
    'model.tokens_to_residual_directions("w")': Check("direction", steps=4),
    "cache.logit_attrs(cache.stack_neuron_results(), 2)": Check(
        "neuron_attribution",
        lambda a: np.ravel(a[0, -1, 0]),
        lambda d: np.ravel(d["neuron_attribution"][0, -1, 0]),
        steps=PASS,
    ),
    "model.run_with_hooks(...)": Check(
        "ablation", lambda a: a[0], lambda d: d["head_loss_change"][0], steps=PASS
    ),
    'detect_head(model, text, "previous_token_head")': detected(
        "previous_token_head", "previous_token", lambda ids, q: q > 0
    ),
    'detect_head(model, text, "duplicate_token_head")': detected(
        "duplicate_token_head", "duplicate_token", lambda ids, q: ids[q] in ids[:q]
    ),
    'detect_head(model, text, "induction_head")': detected(
        "induction_head", "induction", lambda ids, q: ids[q] in ids[: max(q - 1, 0)]
    ),
    "folded weights on disk": Check(
        "W_Q", lambda d: d["blocks.1.attn.W_Q"][0], lambda d: d["blocks.1.attn.W_Q"][0], steps=4
    ),
    "a model that is in torch already": Check(why="test_torch.py and test_torch_lens.py do nothing else"),
    "model.run_with_hooks(...) of your own": Check(why=NOT_THERE),
    "patching.get_act_patch_*": Check(why=NOT_THERE),
    "gradients, backward hooks, training": Check(why=NOT_THERE),
}


# The table


@dataclass(frozen=True)
class Line:
    lens: str
    command: str  # "": none
    arrays: tuple[str, ...]
    python: str  # "": none


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def read_table() -> list[Line]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("<!-- lens: begin -->")[2].partition("<!-- lens: end -->")[0]
    lines = []
    for row in table.strip().splitlines()[2:]:
        lens, command, python = (cell.strip() for cell in row.strip("|").split(" | "))
        commands = [c for c in code(command) if c.startswith("otimes ")] if command[:4] != "none" else []
        arrays = [c for c in code(command.split(": ", 1)[-1].split("; ")[0]) if re.fullmatch(r"[\w.]+", c)]
        lines.append(
            Line(lens, (commands or [""])[0], tuple(arrays) if commands else (),
                 "" if python[:4] == "none" else code(python)[0])
        )  # fmt: skip
    return lines


TABLE = read_table()


def check_of(line: Line) -> Check:
    """By the first call in a line's first cell, or by its words."""
    if "of your own" in line.lens:
        return CHECKS["model.run_with_hooks(...) of your own"]
    found = [name for name in CHECKS if name in [*code(line.lens), *line.lens.split(" (")]]
    found += [name for name in CHECKS if line.lens.startswith(name)]
    assert len(set(found)) == 1, f"{line.lens}: checks {found}"
    return CHECKS[found[0]]


@pytest.fixture(scope="module")
def names() -> Iterator[dict[str, Any]]:
    """What the Python column may use."""
    with otimes.open(BUNDLED) as model, otimes.open(WITH_MLP) as mlp_model:
        known = {"otimes": otimes, "np": np, "path": BUNDLED, "text": TEXT}
        yield known | {"model": model, "mlp_model": mlp_model}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], xarray.Dataset]:
    """run(command): its result, each command once; words of the table replaced by what they stand for."""
    folder = tmp_path_factory.mktemp("table")
    done: dict[str, xarray.Dataset] = {}
    words = {"MODEL": str(BUNDLED), "MODEL_WITH_MLP": str(WITH_MLP), "TEXT": TEXT}

    def once(command: str) -> xarray.Dataset:
        if command not in done:
            out = folder / f"{len(done)}.h5"
            line = [words.get(word, word) for word in shlex.split(command)][1:]
            if "-o" in line:
                line = [str(folder / word) if word.startswith("FILE") else word for word in line]
                subprocess.run([str(PROGRAM), *line, "--quiet"], check=True)
                line = ["convert", line[line.index("-o") + 1]]  # what it wrote is a model again
            subprocess.run([str(PROGRAM), *line, "-o", str(out), "--quiet"], check=True)
            done[command] = otimes.read(out, complex=False).load()
            done[command].close()
        return done[command]

    return once


class Watched:
    """A result that remembers which of its arrays were asked for."""

    def __init__(self, data: xarray.Dataset) -> None:
        self.data, self.attrs, self.used = data, data.attrs, set[str]()

    def __getitem__(self, name: str) -> xarray.DataArray:
        self.used.add(name)
        return self.data[name]


def assert_near(ours: Any, theirs: Any, steps: float) -> None:
    got, expected = np.asarray(ours), np.asarray(theirs)
    assert got.shape == expected.shape
    if expected.dtype.kind == "U" or steps == 0:
        assert np.array_equal(got.astype(expected.dtype) if expected.dtype.kind == "U" else got, expected)
        return
    gap = np.abs(got - expected)
    assert np.isfinite(got).all() and gap.max() <= steps * EPS * np.abs(expected).max()


def test_table_and_checks_are_one() -> None:
    used = [check_of(line) for line in TABLE]
    assert len(TABLE) >= 25 and {id(check) for check in used} == {id(check) for check in CHECKS.values()}
    for line, check in zip(TABLE, used, strict=True):
        assert bool(check.figure) != bool(check.why), line
        assert check.why or line.python, f"{line.lens}: neither compared nor explained"
        assert bool(line.python) or check.why == NOT_THERE, line
    elsewhere = {"svd_id", "scaled", "head_attribution"}
    assert set(FIGURES) == {check.figure for check in used if check.figure} | elsewhere


COMPARED = [line for line in TABLE if check_of(line).figure]


@pytest.mark.parametrize("line", COMPARED, ids=lambda line: line.lens)
def test_python_column(line: Line, names: dict[str, Any]) -> None:
    check = check_of(line)
    value = eval(line.python, dict(names))
    try:
        assert_near(check.python(value), check.theirs(FIGURES[check.figure]), check.steps)
    finally:
        if isinstance(value, otimes.Model):
            value.close()


@pytest.mark.parametrize("line", [line for line in TABLE if line.command], ids=lambda line: line.lens)
def test_command_column(line: Line, run: Callable[[str], xarray.Dataset]) -> None:
    check, data = check_of(line), Watched(run(line.command))
    for name in line.arrays:
        assert name in data.data, f"{name}: not among {list(data.data)}"
    if check.figure:
        pick = check.command or check.python
        assert_near(pick(data), check.theirs(FIGURES[check.figure]), check.steps)
        assert not line.arrays or data.used == set(line.arrays), "compared is what the line names"


def test_tokens_of_singular_directions(names: dict[str, Any]) -> None:
    """The tokens themselves, which the table's line only has the values of."""
    data = names["model"].heads(top=5, components=3)
    for component in range(3):
        value, ids = (np.ravel(data[f"OV_write_{k}"].values[1, 0, component]) for k in ("value", "id"))
        order = np.argsort(-np.abs(value), kind="stable")[:5]
        assert ids[order].tolist() == FIGURES["svd_id"][:, component].tolist()


def test_heads_at_every_position(names: dict[str, Any]) -> None:
    """logit_attrs at all positions, and apply_ln_to_stack's vectors by what they are worth."""
    found = names["model"].decompose(TEXT, target="w").attribution[0, :, 0].sel(component=HEADS)
    assert_near(found.transpose("component", "position"), FIGURES["head_attribution"], PASS)
    assert_near(found[-1], FIGURES["scaled"], PASS)


def test_transformer_lens_says_so_today() -> None:
    """The figures taken again, where a TransformerLens with HookedTransformer is installed (before 4)."""
    try:
        from transformer_lens import HookedTransformer  # noqa: F401
    except ImportError:
        pytest.skip("no TransformerLens with HookedTransformer")
    sys.path.insert(0, str(GOLDEN))
    import golden_lens_table

    again = golden_lens_table.figures()
    assert set(again) == set(FIGURES)
    for name, value in again.items():
        assert_near(value, FIGURES[name], 0 if value.dtype.kind in "iU" else 4)
