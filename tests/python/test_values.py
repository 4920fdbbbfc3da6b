# SPDX-License-Identifier: MIT
"""Values in results of heads, bigram and info, held against reference.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray

import reference as ref
from checkpoint import Model, load, read_safetensors, read_weights
from conftest import GOLDEN, Run
from outputs import (
    ALL_MODELS,
    CLOSE,
    MODELS,
    OFFSETS,
    Weights,
    assert_close,
    assert_schema,
    heads_options,
)

# ------------------------------------------------------------------------ comparing values


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


@pytest.mark.parametrize("exact", [False, True])
def test_bigram_corpus(run: Run, tmp_path: Path, exact: bool) -> None:
    """The corpus' arrays and totals, from the table and the counts."""
    model = ref.process(load(GOLDEN / "llama"))
    table = ref.exact_logits(model) if exact else ref.bigram(model)
    texts = [[3, 1, 4, 1, 5, 9, 2, 6], [5], [3, 5, 8, 9, 7, 9, 3, 1, 4]]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"tokens": ids}) + "\n" for ids in texts))
    options = ["--exact"] if exact else []
    data = run("bigram", GOLDEN / "llama", "--no-statistics", "--corpus", str(corpus), *options)
    kinds = ["count", "top_id", "entropy", "cross_entropy", "kl", "rank_correlation"]
    assert_schema(data, "bigram", {f"corpus_{kind}" for kind in [*kinds, "log_correlation"]})
    n = np.zeros_like(table)
    for ids in texts:
        np.add.at(n, (ids[:-1], ids[1:]), 1)
    total = n.sum(1)
    assert list(data["corpus_count"].values) == list(total)
    assert list(data["corpus_top_id"].values) == list(np.where(total > 0, n.argmax(1), -1))
    seen = total > 0
    assert (np.isnan(data["corpus_entropy"].values) == ~seen).all()
    log_q = table - np.log(np.exp(table).sum(1, keepdims=True))
    p = n[seen] / total[seen, None]
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(1)
    for kind, want in {"entropy": entropy, "cross_entropy": -(p * log_q[seen]).sum(1)}.items():
        assert_close(data[f"corpus_{kind}"][seen], want, kind)
        mean = (total[seen] * want).sum() / total.sum()
        assert data.attrs[f"corpus_total_{kind}"] == pytest.approx(mean, rel=1e-5)
    kl = data["corpus_cross_entropy"] - data["corpus_entropy"]
    np.testing.assert_array_equal(data["corpus_kl"].values, kl.values)
    unigram = np.bincount(sum(texts, []), minlength=len(table)) / sum(map(len, texts))
    pairs = [(s, o) for s, o in zip(*np.nonzero(n), strict=True)]
    want = -sum(n[s, o] * np.log(unigram[o]) for s, o in pairs) / total.sum()
    assert data.attrs["corpus_unigram_cross_entropy"] == pytest.approx(want, rel=1e-12)
    counts = ("corpus_tokens", "corpus_pairs", "corpus_distinct_pairs")
    assert [data.attrs[name] for name in counts] == [18, 15, len(pairs)]


def test_bigram_extremes_alone(run: Run) -> None:
    """Without statistics the extremes are the same, and the smallest have an axis of their own."""
    whole = run("bigram", GOLDEN / "gpt2", "--top", "4")
    part = run("bigram", GOLDEN / "gpt2", "--top", "4", "--bottom", "2", "--no-statistics")
    assert part["bottom_value"].dims == part["bottom_id"].dims == ("token", "bottom_rank")
    assert set(whole.data_vars) - set(part.data_vars) == {
        "top_log_prob",
        "row_mean",
        "row_std",
        "row_logsumexp",
        "diagonal_rank",
    }
    for name in ("top_value", "top_id", "diagonal_value"):
        assert (part[name].values == whole[name].values).all()
    for name in ("bottom_value", "bottom_id"):
        assert (part[name].values == whole[name].values[:, :2]).all()


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
