# SPDX-License-Identifier: MIT
"""Models: weights against the converted ones, names, heads by label, errors, pickling."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import BUNDLED, GOLDEN, PROGRAM

import otimes

# A model of each mechanism that weights differ by.
KINDS = ["gpt2", "gpt_neox", "llama", "gemma2", "mixtral", "qwen3_moe", "bloom", "falcon", "opt", "olmo2"]
ATTENTION = {"W_Q": "attn.W_Q", "W_O": "attn.W_O", "b_Q": "attn.b_Q", "b_O": "attn.b_O"}
MLP = {"W_in": "mlp.W_in", "W_out": "mlp.W_out", "b_in": "mlp.b_in", "b_out": "mlp.b_out", "W_gate": "mlp.W_gate"}


@pytest.mark.parametrize("kind", [k for k in KINDS if (GOLDEN / k).is_dir()])
def test_weights_are_those_of_convert(kind: str) -> None:
    with otimes.open(GOLDEN / kind) as model:
        filed = model.convert()
        c = model.cfg
        grouped = c.n_kv_heads != c.n_heads
        names = {**ATTENTION, **MLP, **{n: f"attn.{'_' if grouped else ''}{n}" for n in ("W_K", "W_V", "b_K", "b_V")}}
        found = 0
        for layer in range(c.n_layers):
            for name, place in names.items():
                expected = filed.get(f"blocks.{layer}.{place}")
                try:
                    ours = model._layer_weight(name)[layer]
                except otimes.UnsupportedError:
                    assert expected is None, name
                    continue
                if expected is None:  # a bias that the file has not
                    assert not ours.any()
                else:
                    np.testing.assert_array_equal(ours, expected.values.reshape(ours.shape), name)
                    found += 1
        assert found >= 4 * c.n_layers
        np.testing.assert_array_equal(model.W_E, filed["embed.W_E"])
        np.testing.assert_array_equal(model.W_U, filed["unembed.W_U"])
        if "unembed.b_U" in filed:
            np.testing.assert_array_equal(model.b_U, filed["unembed.b_U"])


def test_experts() -> None:
    with otimes.open(GOLDEN / "mixtral") as model:
        filed = model.convert()
        expert = model.expert(1, 2)
        assert model.layer_info(1)["experts"]
        for name in ("W_in", "W_gate", "W_out"):
            np.testing.assert_array_equal(expert[name], filed[f"blocks.1.mlp.experts.2.{name}.weight"].T, name)
        with pytest.raises(otimes.ArgumentError, match="expert: expected one of"):
            model.expert(0, 99)
        with pytest.raises(otimes.UnsupportedError, match="W_in: layer 0 of this mixtral model has none"):
            model.W_in[0]


def test_indexing_is_numpys(model: otimes.Model) -> None:
    for weight in (model.W_Q, model.W_E, model.W_U, model.W_pos, model.b_O):
        whole = np.asarray(weight)
        assert whole.shape == weight.shape and weight.ndim == whole.ndim and weight.size == whole.size
        assert len(weight) == len(whole)
        keys = [0, -1, slice(0, 2), slice(None, None, -1), Ellipsis, None, [1, 0], np.array([0, 1]), np.int64(1),
                (slice(None), 0), (slice(None), -1), (slice(None), slice(3, 5)), (slice(1, 2), 1), (slice(None), [2, 0]),
                (1, 2), (-1, slice(1, 3)), (..., 0), (slice(None), None), ()]
        for key in keys:
            np.testing.assert_array_equal(weight[key], whole[key], f"{weight}[{key}]")
        for bad in (len(whole), -len(whole) - 1, (0, 10**6)):
            with pytest.raises(IndexError):
                weight[bad]
        np.testing.assert_array_equal(weight.T, whole.T)
        np.testing.assert_array_equal(weight + 1, whole + 1)
        np.testing.assert_array_equal(list(weight)[1], whole[1])
    np.testing.assert_array_equal(model.W_E[[3, 1, 3]], np.asarray(model.W_E)[[3, 1, 3]])
    mask = np.arange(model.cfg.d_vocab) % 2 == 0
    np.testing.assert_array_equal(model.W_E[mask], np.asarray(model.W_E)[mask])
    np.testing.assert_allclose(model.W_E @ model.W_U, np.asarray(model.W_E) @ np.asarray(model.W_U))
    assert np.asarray(model.W_E, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="W_Q: expected copy=None or True"):
        np.array(model.W_Q, copy=False)


def test_heads_by_any_name(model: otimes.Model) -> None:
    expected = model.W_Q[1, 2]
    for name in (("1.2",), ("L1H2",), (1, 2), (np.int64(1), np.int32(2))):
        np.testing.assert_array_equal(model.Q(*name), expected)
    ov = model.OV(1, 2)
    np.testing.assert_array_equal(ov.A, model.W_V[1, 2])
    np.testing.assert_array_equal(ov.B, model.W_O[1, 2])
    norms = model.heads()
    np.testing.assert_allclose(ov.norm(), norms["OV_norm"].values[1, 2], rtol=1e-5)
    np.testing.assert_allclose(model.QK("L1H2").norm(), norms["QK_norm"].values[1, 2], rtol=1e-5)
    for bad in ("1", "1.2.3", "L1", "1.x", "-1.0", "1.99", "9.0", (1,), (1, 2, 3), 1.5, None, "1.2\0"):
        with pytest.raises(otimes.ArgumentError, match="head: "):
            model.OV(bad)  # type: ignore[arg-type]
    with pytest.raises(otimes.ArgumentError, match="head: layer: expected 0 to 1, got 2"):
        model.OV(2, 0)


def test_grouped_heads_find_theirs() -> None:
    with otimes.open(GOLDEN / "llama") as model:
        group = model.cfg.n_heads // model.cfg.n_kv_heads
        assert group > 1
        assert model.W_K.shape[1] == model.cfg.n_kv_heads
        for h in range(model.cfg.n_heads):
            assert model.kv_head(h) == h // group
            np.testing.assert_array_equal(model.K(0, h), model.W_K[0, h // group])
            np.testing.assert_array_equal(model.OV(0, h).A, model.W_V[0, h // group])


def test_configuration(model: otimes.Model) -> None:
    c = model.cfg
    assert (c.n_layers, c.n_heads, c.d_model, c.d_head, c.d_vocab) == (2, 4, 128, 32, 1024)
    assert c.normalization_type == "LNPre" and c.positional_embedding_type == "standard" and c.attn_only
    with pytest.raises(AttributeError):
        c.n_layers = 3  # type: ignore[misc]
    with otimes.open(BUNDLED, raw=True) as raw:
        assert raw.cfg.fold_ln == "off" and raw.cfg.normalization_type == "LN"
    with otimes.open(BUNDLED, raw=True, center_unembed=True, fold_ln=False) as some:
        assert some.cfg.center_unembed == "applied" and some.cfg.fold_ln == "off"


def test_norm_weights_where_they_are_not_folded() -> None:
    with otimes.open(GOLDEN / "gpt2", raw=True) as raw, otimes.open(GOLDEN / "gpt2") as folded:
        assert raw.ln1_w[0].shape == (raw.cfg.d_model,) and raw.ln_final_w.shape == (raw.cfg.d_model,)
        with pytest.raises(otimes.UnsupportedError, match="ln1_w: .*folded"):
            folded.ln1_w[0]
        with pytest.raises(otimes.UnsupportedError, match="ln_final_w: .*folded"):
            folded.ln_final_w  # noqa: B018


def test_close(model: otimes.Model) -> None:
    weight, rows = model.W_Q, model.W_E
    assert not model.closed
    model.close()
    model.close()
    assert model.closed and "closed" in repr(model)
    assert model.cfg.n_layers == 2
    uses = [lambda: model.W_Q, lambda: weight[0], lambda: rows[0], lambda: model.heads(), lambda: model.OV(0, 0),
            lambda: model.to_tokens("a"), lambda: model.b_U, lambda: model.sha256, lambda: otimes.compare(model),
            lambda: model.__enter__(), lambda: model.tensors(), lambda: model.tokens_text, lambda: model.neurons()]
    for use in uses:
        with pytest.raises(otimes.ArgumentError, match="expected an open model, got one that was closed"):
            use()


def test_a_weight_keeps_its_model() -> None:
    """Nobody needs a name for the model to read one weight."""
    weights = [otimes.open(BUNDLED).W_Q, otimes.open(BUNDLED).W_E, otimes.open(BUNDLED).W_U]
    assert all(np.asarray(w[0]).size for w in weights)
    assert otimes.open(BUNDLED).W_E[3].shape == (128,)


def test_opened_by_a_relative_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process goes later does not matter to what was opened before."""
    monkeypatch.chdir(BUNDLED.parent)
    with otimes.open(BUNDLED.name) as model:
        expected = model.logits("def f(self").attrs["command_line"]
        assert BUNDLED.parent.name not in expected
    with otimes.open(BUNDLED.name) as model:
        monkeypatch.chdir("/")
        assert model.to_tokens("def f").shape == (1, 2) and model.sha256 and model.W_Q[0].size
        assert model.tokens("def f").sizes["place"] == 2


@pytest.mark.parametrize("steps", [{"raw": "x"}, {"fold_ln": "no"}, {"sha256": 1}, {"center_unembed": 0}])
def test_steps_are_true_or_false(steps: dict[str, object]) -> None:
    with pytest.raises(otimes.ArgumentError, match=f"{next(iter(steps))}: expected True or False, got "):
        otimes.open(BUNDLED, **steps)  # type: ignore[arg-type]


def test_what_the_model_has_none_of(model: otimes.Model) -> None:
    for name in ("W_in", "W_out", "b_in", "W_gate", "W_router"):
        with pytest.raises(otimes.UnsupportedError, match=f"^{name}: this transformer_lens model has none: it has no MLPs$"):
            getattr(model, name)


def test_weights_are_not_pickled(model: otimes.Model) -> None:
    for weight in (model.W_Q, model.W_E):
        with pytest.raises(TypeError, match=f"{weight.name}: cannot be pickled"):
            pickle.dumps(weight)
        assert copy.copy(weight) is weight and copy.deepcopy([weight])[0] is weight
        assert pickle.loads(pickle.dumps(np.asarray(weight))).shape == weight.shape
    with pytest.raises(TypeError, match="W_E: expected an array to write to"):
        np.add(model.W_E, 1, out=model.W_E)


def test_errors_of_indexing_name_the_weight(model: otimes.Model) -> None:
    for use, text in ((lambda: model.W_Q[1.5], "W_Q: layer: expected an integer, a slice"),
                      (lambda: model.W_Q["a"], "W_Q: layer: expected an integer, a slice"),
                      (lambda: model.W_Q[0, 4], r"W_Q: entries of \[4, 128, 32\]: index 4 is out of bounds"),
                      (lambda: model.W_Q[:, 4], r"W_Q: entries of \[2, 4, 128, 32\]: index 4"),
                      (lambda: model.W_E[0, 999], "W_E: entries of .*index 999"),
                      (lambda: model.W_U[:, 9999], "W_U: expected -1024 to 1023, got 9999")):
        with pytest.raises(IndexError, match=text):
            use()


def test_pairs_of_arrays_pick_entries(model: otimes.Model) -> None:
    whole = np.asarray(model.W_E)
    for key in (([1, 2], [3, 4]), ([1], [[3, 4]]), ([[1, 2], [3, 4]], 3), (slice(1, 3), [3, 4]), (3, [1, 2])):
        np.testing.assert_array_equal(model.W_E[key], whole[key], str(key))
    np.testing.assert_array_equal(model.W_U[[1, 2], [3, 4]], np.asarray(model.W_U)[[1, 2], [3, 4]])


def test_no_pickling_no_copies(model: otimes.Model) -> None:
    for use in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="otimes.Model: cannot be pickled or copied"):
            use(model)
    with pytest.raises(TypeError, match="made by otimes.open"):
        otimes.Model()


@pytest.mark.parametrize("path, kind, text", [
    ("/nowhere/at/all", otimes.FileError, "/nowhere/at/all"),
    ("a\0b", otimes.ArgumentError, "path: expected a path without NUL"),
    (7, otimes.ArgumentError, "path: expected a path, got 7"),
    ("\ud800", otimes.ArgumentError, "path: expected a path"),
])
def test_errors_of_open(path: object, kind: type[otimes.Error], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        otimes.open(path)  # type: ignore[arg-type]
    assert caught.value.code < 0 and caught.value.name
    assert "\n" not in str(caught.value)


def test_errors_have_the_librarys_text(tmp_path: Path) -> None:
    bad = tmp_path / "model.safetensors"
    bad.write_bytes(b"\xff" * 100)
    done = subprocess.run([PROGRAM, "info", str(bad)], capture_output=True, text=True, check=False)
    with pytest.raises(otimes.FormatError) as caught:
        otimes.open(bad)
    assert done.stderr == f"otimes info: {caught.value}\n"
    assert isinstance(caught.value, ValueError)
    assert issubclass(otimes.FileError, OSError) and issubclass(otimes.OutOfMemoryError, MemoryError)


BAD_ARGUMENTS: list[tuple[str, dict[str, object], str]] = [
    ("bigram", {"top": -1}, "top"),
    ("bigram", {"top": "many"}, "top: expected an integer, got 'many'"),
    ("bigram", {"top": 2**70}, "top: expected an integer of 64 bits"),
    ("bigram", {"rows": []}, "rows: expected at least one"),
    ("bigram", {"rows": [0, 5000]}, "rows: expected 0 to 1023, got 5000"),
    ("bigram", {"rows": "0-x"}, "rows"),
    ("bigram", {"rows": 1.5}, "rows: expected an integer"),
    ("bigram", {"full": "float64"}, "full: expected float32 or float16, got 'float64'"),
    ("bigram", {"corpus": "a text"}, "corpus: expected texts"),
    ("bigram", {"corpus": []}, "corpus: expected two tokens in a row"),
    ("bigram", {"corpus": [[1, -2]]}, "corpus: expected ids from 0 to 1023"),
    ("circuit", {"which": "vo"}, "which: expected ov, qk or kcomp, got 'vo'"),
    ("circuit", {"which": "kcomp"}, "earlier: expected a head"),
    ("circuit", {"which": "kcomp:0.9"}, "earlier: head: expected 0 to 3, got 9"),
    ("circuit", {"heads": "0.0,0.0"}, "heads: expected each head once, got 0.0 again"),
    ("circuit", {"threshold": "high"}, "threshold: expected a number"),
    ("compose", {"sets": ["0.1,1.1"]}, "sets: expected different heads of one layer"),
    ("heads", {"layers": "0,7"}, "layers"),
    ("heads", {"matrices": "all"}, "matrices: expected factors, products or positions, got 'all'"),
    ("heads", {"offsets": [1]}, "offset"),
    ("heads", {"offsets": "1"}, "offsets: expected a sequence of integers"),
    ("trigrams", {"sources": ["no such token"]}, "sources: 'no such token': expected one token of"),
    ("virtual", {"chains": ["0.1"]}, "chain"),
    ("logits", {}, "text: expected a text, texts or tokens, got none"),
    ("logits", {"text": "a", "tokens": [1]}, "text: cannot stand beside tokens"),
    ("logits", {"tokens": [[1, 2], []]}, "tokens: expected at least one token, got none"),
    ("logits", {"tokens": [1024]}, "1024"),
    ("logits", {"tokens": [-1]}, "-1"),
    ("logits", {"tokens": "1,2"}, "tokens: expected ids"),
    ("logits", {"tokens": np.zeros((1, 1, 1), int)}, "tokens: expected integers"),
    ("logits", {"tokens": [1.5]}, "tokens: expected an integer"),
    ("logits", {"tokens": list(range(500))}, "tokens: expected at most 128 tokens"),
    ("logits", {"text": 5}, "text: expected text, got 5"),
    ("logits", {"texts": ["a", b"b"]}, "text: expected text, got b'b'"),
    ("logits", {"text": "a", "positions": [99]}, "position"),
    ("logits", {"text": "a", "memory": 10}, "memory"),
    ("activations", {"text": "a", "names": "no.such"}, "no.such"),
    ("decompose", {"text": "a", "against": 3}, "against: expected a target beside it"),
    ("decompose", {"text": "a", "target": [1, 2], "against": [1, 2, 3]}, "against: expected one for all"),
    ("decompose", {"text": "a", "text_target": [1, 2]}, "text_target: expected one for each text"),
    ("decompose", {"text": "a", "parts": "some"}, "parts: expected heads, layers, neurons or all"),
    ("paths", {"text": "a", "whose": "given"}, "target: expected one"),
    ("paths", {"text": "a", "loss": True, "against": 1}, "against: cannot stand beside loss"),
    ("ablate", {"text": "a", "sets": ["0.x"]}, "sets: expected LAYER.HEAD"),
    ("ablate", {"text": "a", "mean": "position"}, 'mean: expected method="mean"'),
    ("ablate", {"text": "a", "components": "neurons"}, "components: neurons expect layers"),
    ("neurons", {}, ""),
    ("patterns", {}, "text: expected a text"),
    ("patterns", {"text": "a", "pattern": [1, 2]}, "pattern: expected a matrix"),
    ("patterns", {"text": "a", "pattern": "x"}, "pattern: expected a matrix"),
    ("patterns", {"text": "a", "pattern": [[1], [2, 3]]}, "pattern: expected a matrix"),
    # What is true of its kind is no True, and True is no number.
    ("bigram", {"top": True}, "top: expected an integer, got True"),
    ("bigram", {"exact": "no"}, "exact: expected True or False, got 'no'"),
    ("bigram", {"full": 1}, "full: expected True or False, got 1"),
    ("bigram", {"prepend_bos": True}, "prepend_bos: expected a corpus beside it"),
    ("bigram", {"corpus": {"a b": 1}}, "corpus: expected texts"),
    ("bigram", {"corpus": [3]}, "corpus: expected a sequence of integers, got 3"),
    ("info", {"progress": 3}, "progress: expected True, False or a function, got 3"),
    ("heads", {"layers": True}, "layers: expected an integer, got True"),
    ("logits", {"text": {"a": 1}}, "text: expected text, got {'a': 1}"),
    ("logits", {"text": {"a"}}, "text: expected text, got {'a'}"),
    ("logits", {"tokens": [True]}, "tokens: expected an integer, got True"),
    ("logits", {"tokens": {3: 1}}, "tokens: expected a sequence of ids"),
    ("logits", {"text": "a", "full": "x"}, "full: expected True or False, got 'x'"),
    ("logits", {"text": "a", "resident": "no"}, "resident: expected True or False"),
    ("logits", {"text": "a", "truncate": "no"}, "truncate: expected True or False"),
    ("logits", {"text": "a", "prepend_bos": "no"}, "prepend_bos: expected True or False"),
    ("decompose", {"text": "a", "target": True}, "target: expected an integer, got True"),
    # What would have no effect.
    ("logits", {"tokens": [1], "prepend_bos": False}, "prepend_bos: cannot stand beside tokens"),
    ("logits", {"text": "a", "stop": "b"}, "stop: expected generate beside it"),
    ("logits", {"text": "a", "temperature": 0.5}, "temperature: expected generate beside it"),
    ("logits", {"text": "a", "generate": 2, "top_k": 3}, "top_k: expected a temperature beside it"),
    ("logits", {"text": "a", "generate": 2, "full": True}, "full: cannot stand beside generate"),
    ("ablate", {"text": "a", "seed": 3}, 'seed: expected method="resample"'),
    ("circuit", {"earlier": "0.1"}, 'earlier: expected which="kcomp" beside it'),
    ("circuit", {"low": 1.0}, "low: expected bins beside it"),
    # Not of the kind.
    ("activations", {"text": "a", "names": 3}, "names: expected a sequence of names, got 3"),
    ("activations", {"text": "a", "names": None}, "names: expected a sequence of names, got None"),
    ("activations", {"text": "a", "names": [3]}, "names: expected text, got 3"),
    ("ablate", {"text": "a", "sets": 3}, "sets: expected a sequence of sets"),
    ("ablate", {"text": "a", "sets": [[(0.7, 1)]]}, "sets: expected an integer, got 0.7"),
    ("ablate", {"text": "a", "sets": [[(0, 1, 2)]]}, "sets: expected LAYER.HEAD or (layer, head)"),
    ("compose", {"sets": 3}, "sets: expected a sequence of sets of heads, got 3"),
    ("virtual", {"chains": 3}, "chains: expected a sequence of chains of heads, got 3"),
    ("tokens", {"text": 3}, "text: expected text, got 3"),
    ("kv_head", {"number": 99}, "head: expected 0 to 3, got 99"),
    ("to_str_tokens", {"text": np.array([[1, 2], [3, 4]])}, "tokens: expected the ids of one text, got those of 2"),
]


@pytest.mark.parametrize("name, arguments, text", BAD_ARGUMENTS, ids=lambda v: str(v)[:30])
def test_bad_arguments(name: str, arguments: dict[str, object], text: str, model: otimes.Model) -> None:
    with pytest.raises(otimes.Error) as caught:
        getattr(model, name)(**arguments)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tensors_and_hash(model: otimes.Model) -> None:
    assert len(model.tensors()) == model.cfg.tensor_count
    assert {t["part"] for t in model.tensors()} >= {"W_E", "W_U"}
    assert model.heads().attrs["model_sha256"] == model.sha256
    with otimes.open(BUNDLED, sha256=False) as quick:
        assert "model_sha256" not in quick.heads().attrs


def test_shows_results_without_the_compiled_module(tmp_path: Path) -> None:
    """`otimes.read` and `otimes.plot` must not need it."""
    code = ("import sys; sys.modules['otimes._otimes'] = None\n"
            "import otimes; assert 'read' in dir(otimes)\n"
            "try: otimes.open('x')\n"
            "except ImportError: print('fine')\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout == "fine\n", done.stderr


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        otimes.nothing  # noqa: B018
    assert otimes.__version__ == otimes.version()
    assert set(otimes.__all__) <= set(dir(otimes))


READS = {
    "heads": lambda model: model.heads(),
    "layer": lambda model: model.W_Q[1],
    "embedding": lambda model: model.W_E[0],
    "unembedding": lambda model: model.W_U[:, 0],
    "sha256": lambda model: model.sha256,
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("size", [0, 100000])
def test_a_checkpoint_that_is_cut_short_is_an_error(read: str, size: int, tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "m", ignore=shutil.ignore_patterns("checkpoints"))
    with otimes.open(tmp_path / "m") as model, otimes.open(BUNDLED) as other:
        kept = model.W_Q[0]
        before = kept.copy()
        with open(tmp_path / "m" / "model.safetensors", "r+b") as file:
            file.truncate(size)
        with pytest.raises(otimes.FileError, match=r"model.safetensors: changed while it was read: expected \d+ bytes"):
            READS[read](model)
        np.testing.assert_array_equal(kept, before)
        READS[read](other)


def test_a_checkpoint_that_is_replaced_is_read_to_its_end(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "m", ignore=shutil.ignore_patterns("checkpoints"))
    with otimes.open(tmp_path / "m") as model, otimes.open(BUNDLED) as other:
        (tmp_path / "new").write_bytes(b"other weights")
        (tmp_path / "new").rename(tmp_path / "m" / "model.safetensors")
        np.testing.assert_array_equal(model.W_E[:], other.W_E[:])


def test_a_fault_that_is_not_ours_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10000)
    code = f"""if 1:
        import mmap
        import otimes
        model = otimes.open({str(BUNDLED)!r})
        file = open({str(tmp_path / 'file')!r}, "r+b")
        view = mmap.mmap(file.fileno(), 0)
        file.truncate(0)
        print(view[5000])
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -7, (done.returncode, done.stderr)
