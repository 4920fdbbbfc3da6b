# SPDX-License-Identifier: MIT
"""Texts and tokens under TransformerLens' names; text is data, whatever stands in it."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import BUNDLED, GOLDEN, ROOT

import otimes

TEXT = "Once upon a time"
STORIES = ROOT.parent / "shared" / "weights" / "stories260K" / "tinyllamas-stories-260k-f32.gguf"
HOSTILE = ["</script><b>", "\"'`\\", "a\0b", "\x1b[31mred\x07", "\u202eevil\u202c", "\ufeffbom", "\U0001f600\u0301",
           "line\nbreak\ttab\r", "é" * 3]


def test_there_and_back(model: otimes.Model) -> None:
    ids = model.to_tokens(TEXT)
    assert ids.dtype == np.int64 and ids.ndim == 2
    assert model.to_string(ids[0]) == TEXT
    assert model.to_string(ids) == [TEXT]
    pieces = model.to_str_tokens(TEXT)
    assert pieces == model.to_str_tokens(ids[0]) == [model.to_single_str_token(i) for i in ids[0]]
    assert "".join(pieces) == TEXT
    assert list(model.tokens_text[ids[0]]) == pieces
    single = model.to_single_token(pieces[1])
    assert single == ids[0][1]
    with pytest.raises(otimes.ArgumentError, match="expected one token of the vocabulary, got"):
        model.to_single_token(TEXT)
    two = model.to_tokens([TEXT, TEXT])
    assert two.shape == (2, ids.shape[1])
    with pytest.raises(otimes.ArgumentError, match="one number of tokens"):
        model.to_tokens([TEXT, "a"])
    with pytest.raises(otimes.ArgumentError, match="token: expected 0 to 1023, got 1024"):
        model.to_single_str_token(1024)


def test_bos() -> None:
    with otimes.open(GOLDEN / "llama") as model:
        if model._tokenizer_or_none() is not None:
            pytest.skip("this one has a tokenizer now")
        with pytest.raises((otimes.FileError, otimes.FormatError)):
            model.to_tokens(TEXT)
        assert model.logits(tokens=[1, 2])["loss"].shape == (1,)


def test_prepend_bos(model: otimes.Model) -> None:
    with pytest.raises(otimes.UnsupportedError, match="no token that begins a text"):
        model.to_tokens(TEXT, prepend_bos=True)
    if not STORIES.exists():
        pytest.skip(f"{STORIES} is not here")
    with otimes.open(STORIES) as other:
        plain, begun = other.to_tokens(TEXT, prepend_bos=False), other.to_tokens(TEXT, prepend_bos=True)
        assert begun.shape[1] == plain.shape[1] + 1 and begun[0, 0] == other.tokenizer.bos
        assert other.logits(TEXT, prepend_bos=False)["length"] == plain.shape[1]
        assert other.logits(TEXT)["length"] == begun.shape[1]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_texts(text: str, model: otimes.Model) -> None:
    ids = model.to_tokens(text, prepend_bos=False)
    assert model.to_string(ids[0]) == text
    result = model.tokens(text, prepend_bos=False)
    np.testing.assert_array_equal(result["id"], ids[0])
    size = len(text.encode())
    begin, end = result["begin"].values, result["end"].values  # whole characters, which tokens may share
    assert begin[0] == 0 and end[-1] == size and (begin[1:] <= end[:-1]).all() and (begin < end).all()
    assert model.logits(text, top=1)["loss"].shape == (1,)


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb", "\ud83d\ude00", "\ude00\ud83d!"], ids=ascii)
def test_lone_surrogates_are_read_as_unknown(text: str, model: otimes.Model) -> None:
    replaced = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    np.testing.assert_array_equal(model.to_tokens(text), model.to_tokens(replaced))
    result = model.tokens(text)
    assert str(result["text"].values[0]) == replaced
    result.attrs["command_line"].encode()  # can be written to a file
    model.logits(text).attrs["command_line"].encode()


def test_labels_are_the_results(model: otimes.Model) -> None:
    data = model.bigram(top=1)
    np.testing.assert_array_equal(data["token"].values, model.tokens_text)


def test_tokens_without_a_model() -> None:
    with otimes.open(BUNDLED) as model:
        ours = otimes.tokens(BUNDLED, TEXT)
        np.testing.assert_array_equal(ours["id"], model.to_tokens(TEXT)[0])
        back = otimes.tokens(BUNDLED, ids=model.to_tokens(TEXT)[0])
        assert back["decoded"].values[0] == TEXT
    for given in ({}, {"text": "a", "ids": [1]}, {"ids": [1], "prepend_bos": True}, {"ids": [99999]}):
        with pytest.raises(otimes.ArgumentError):
            otimes.tokens(BUNDLED, **given)  # type: ignore[arg-type]


def test_targets_by_text_or_id(model: otimes.Model) -> None:
    token = model.to_single_token(" time")
    for target in (" time", token, f"#{token}", str(token), [" time"], np.int64(token)):
        found = model.decompose(TEXT, target=target, positions=[-1])
        assert found["target_id"].values[0, -1, 0] == token
