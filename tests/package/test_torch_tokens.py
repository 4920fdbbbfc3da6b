# SPDX-License-Identifier: MIT
"""Tokenizers of transformers beside a model in torch: labels are those that the tokenizer's file gives,
texts go through the tokenizer itself, and whatever a vocabulary holds stays text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import otimes
from otimes._tokens import Tokenizer
from test_torch import gpt2_shapes

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
save_file = pytest.importorskip("safetensors.torch").save_file
KINDS = Path(__file__).resolve().parents[1] / "data" / "tokens"
BUNDLED = Path(__file__).resolve().parents[2] / "notebooks-data" / "induction-2l"
TEXTS = ["Hello world", " It's 12\n\tcaf\u00e9 \u2581 ", "", "\U0001f600 e\u0301 \u202eabc",
         "<s> <|endoftext|> [CLS]"]


def tiny(d_vocab: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The smallest model with that vocabulary."""
    config = {"model_type": "gpt2", "n_embd": 2, "n_layer": 1, "n_head": 1, "vocab_size": d_vocab,
              "n_positions": 64}
    return {name: torch.ones(shape) for name, shape in gpt2_shapes(config).items()}, config


def with_tokenizer(tokenizer: Any, d_vocab: int) -> otimes.Model:
    tensors, config = tiny(d_vocab)
    return otimes.from_torch(tensors, tokenizer, config=config)


def files() -> list[str]:
    return sorted(path.parent.name for path in KINDS.glob("*/tokenizer.json"))


@pytest.mark.parametrize("kind", files())
def test_labels_and_ids_are_the_files(kind: str, tmp_path: Path) -> None:
    path = KINDS / kind / "tokenizer.json"
    given = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    own, d_vocab = Tokenizer(path), len(given) + 3  # three that nothing names
    tensors, config = tiny(d_vocab)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "tokenizer.json").write_bytes(path.read_bytes())
    with otimes.open(tmp_path) as file, otimes.from_torch(tensors, given, config=config) as memory:
        assert list(memory.tokens_text) == list(file.tokens_text)
        assert memory.tokens_text[-1] == f"[{d_vocab - 1}]"
        texts = (given.backend_tokenizer.to_str(), path.read_text(encoding="utf-8"))
        steps = [json.loads(text)["pre_tokenizer"] for text in texts]
        for text in TEXTS:
            for bos in (None, False):
                ids = memory.tokenizer.encode(text, bos)
                assert ids.tolist() == given.encode(text, add_special_tokens=bos is None)
                if steps[0] == steps[1]:  # transformers 4 sets add_prefix_space by its own default
                    np.testing.assert_array_equal(ids, own.encode(text, bos))
            ids = own.encode(text)
            theirs = given.decode(ids, clean_up_tokenization_spaces=False)
            assert memory.tokenizer.decode(ids, False) == theirs


def test_bundled_model_with_its_tokenizer() -> None:
    """Every way that a text comes in."""
    tensors = pytest.importorskip("safetensors.torch").load_file(BUNDLED / "model.safetensors")
    config = json.loads((BUNDLED / "config.json").read_text(encoding="utf-8"))
    given = transformers.PreTrainedTokenizerFast(tokenizer_file=str(BUNDLED / "tokenizer.json"))
    text = "def f(self, width): self.width = width; return self."
    with otimes.open(BUNDLED) as file, otimes.from_torch(tensors, given, config=config) as memory:
        np.testing.assert_array_equal(memory.to_tokens(text), file.to_tokens(text))
        assert memory.to_str_tokens(text) == file.to_str_tokens(text)
        assert memory.to_string(file.to_tokens(text)[0]) == file.to_string(file.to_tokens(text)[0])
        assert memory.to_single_token(" self") == file.to_single_token(" self")
        ours, theirs = memory.logits(text=text, top=3), file.logits(text=text, top=3)
        np.testing.assert_array_equal(ours.top_value.values, theirs.top_value.values)
        assert ours.token.values.tolist() == theirs.token.values.tolist()
        ours, theirs = memory.bigram(top=2), file.bigram(top=2)
        assert ours.output_token.values.tolist() == theirs.output_token.values.tolist()


def test_bos() -> None:
    tokens = {"<s>": 0, "a": 1, "b": 2, "[UNK]": 3}
    core = __import__("tokenizers")
    fast = core.Tokenizer(core.models.WordLevel(tokens, unk_token="[UNK]"))
    fast.pre_tokenizer = core.pre_tokenizers.Whitespace()
    plain = transformers.PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>", unk_token="[UNK]")
    none = transformers.PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="[UNK]")
    with with_tokenizer(plain, 4) as memory:
        assert (memory.tokenizer.bos, memory.tokenizer.eos, memory.tokenizer.unknown) == (0, -1, 3)
        assert not memory.tokenizer.adds_bos
        assert memory.to_tokens("a b").tolist() == [[1, 2]]
        assert memory.to_tokens("a b", prepend_bos=True).tolist() == [[0, 1, 2]]
        assert memory.to_tokens("<s> a", prepend_bos=True).tolist() == [[0, 1]]
    with with_tokenizer(none, 4) as memory:
        with pytest.raises(otimes.UnsupportedError, match="names no token that begins a text"):
            memory.to_tokens("a b", prepend_bos=True)
    fast.post_processor = core.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    adds = transformers.PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>", unk_token="[UNK]")
    with with_tokenizer(adds, 4) as memory:
        assert memory.tokenizer.adds_bos
        assert memory.to_tokens("a b").tolist() == [[0, 1, 2]]
        assert memory.to_tokens("a b", prepend_bos=False).tolist() == [[1, 2]]


class Written:
    """A tokenizer in Python alone, as transformers' slow ones are."""

    bos_token_id = eos_token_id = unk_token_id = None

    def __init__(self, vocab: dict[Any, int], added: dict[str, int] | None = None) -> None:
        self.vocab, self.added = vocab, added or {}

    def __len__(self) -> int:
        return len(self.vocab) + len(self.added)

    def get_vocab(self) -> dict[Any, int]:
        return self.vocab

    def get_added_vocab(self) -> dict[str, int]:
        return self.added

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        names = {number: text for text, number in (self.vocab | self.added).items()}
        return [names[i] for i in ids]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [self.vocab[character] for character in text]

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(self.convert_ids_to_tokens(ids))


def test_any_vocabulary_stays_text() -> None:
    hostile = ["</script>", '"\'`', "\x00", "\x1b[31m", "\u202e\u2066", "\ud800", "a\udfffz", "", "\u2581a",
               "\ufffd", "caf\u00e9", "\U0001f600", "[3]", "line\nbreak"]
    labels = ["</script>", '"\'`', "<U+0000>", "\x1b[31m", "\u202e\u2066", "<U+D800>", "a<U+DFFF>z", "", " a",
              "\ufffd", "caf\u00e9", "\U0001f600", "[3]", "line\nbreak"]
    with with_tokenizer(Written({text: i for i, text in enumerate(hostile)}), len(hostile) + 1) as memory:
        assert memory.tokens_text.tolist() == [*labels, f"[{len(hostile)}]"]
        assert memory.bigram(top=1).output_token.values.tolist() == [*labels, f"[{len(hostile)}]"]


@pytest.mark.parametrize("byte_level", [False, True])
def test_any_vocabulary_is_the_files(byte_level: bool, tmp_path: Path) -> None:
    core = pytest.importorskip("tokenizers")
    texts = ["</script>", "\0", "a\0\u0120", "\u2581a", "\u0120b", "\u0100", "\x7f\u202e", "\u4e00", "[UNK]"]
    fast = core.Tokenizer(core.models.WordLevel({text: i for i, text in enumerate(texts)}, unk_token="[UNK]"))
    if byte_level:
        fast.pre_tokenizer = core.pre_tokenizers.Sequence([core.pre_tokenizers.ByteLevel()])
    fast.add_tokens(["\u0120added\u2581", "</b>\0"])
    given = transformers.PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="[UNK]")
    tensors, config = tiny(len(given))
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(given.backend_tokenizer.to_str(), encoding="utf-8")
    with otimes.open(tmp_path) as file, otimes.from_torch(tensors, given, config=config) as memory:
        assert list(memory.tokens_text) == list(file.tokens_text)
        assert memory.tokens_text[1] == "<U+0000>" and memory.tokens_text[10] == "</b><U+0000>"


def test_vocabularies_of_bytes() -> None:
    """GPT-2's spelling where the tokenizer has it; bytes themselves; added tokens as they are."""
    slow = Written({"\u0120a": 0, "\u00c3": 1, "\u0100": 2, "\u4e00": 3}, {"\u0120added": 4, "<|x|>": 5})
    slow.byte_decoder = {}  # type: ignore[attr-defined]
    with with_tokenizer(slow, 6) as memory:
        assert memory.tokens_text.tolist() == [" a", "<0xC3>", "<0x00>", "\u4e00", "\u0120added", "<|x|>"]
    with with_tokenizer(Written({b" a": 0, b"\xc3": 1, b"\x00": 2, "\u4e00".encode(): 3}), 4) as memory:
        assert memory.tokens_text.tolist() == [" a", "<0xC3>", "<0x00>", "\u4e00"]


def test_surrogates_are_read_as_they_are_elsewhere() -> None:
    with with_tokenizer(Written({"a": 0, "\ufffd": 1}), 2) as memory:
        assert memory.to_tokens("a\ud800").tolist() == [[0, 1]]


def test_ids_that_the_model_has_not() -> None:
    with with_tokenizer(Written({"a": 0, "b": 9}), 5) as memory:
        assert memory.tokens_text.tolist() == ["a", "[1]", "[2]", "[3]", "[4]"]
        with pytest.raises(otimes.UnsupportedError, match="expected ids below 5"):
            memory.to_tokens("ab")
    tensors, config = tiny(5)
    for bad in (-1, 1 << 40):
        with pytest.raises(otimes.ArgumentError, match="tokenizer: expected ids from 0 to 16777215"):
            otimes.from_torch(tensors, Written({"a": bad}), config=config)


def test_a_tokenizer_of_the_model_itself() -> None:
    """HookedTransformer has one; another may be given, or none asked for."""
    try:
        from transformer_lens import HookedTransformer, HookedTransformerConfig
    except ImportError:
        pytest.skip("HookedTransformer: TransformerLens before 4")
    given = transformers.PreTrainedTokenizerFast(tokenizer_file=str(BUNDLED / "tokenizer.json"),
                                                 bos_token="!", eos_token="!", pad_token="!")
    model = HookedTransformer(HookedTransformerConfig(n_layers=1, d_model=4, n_ctx=8, d_head=2, n_heads=2,
                                                      attn_only=True, d_vocab=len(given), device="cpu"))
    model.tokenizer = given
    with otimes.from_torch(model) as memory:
        assert memory.to_str_tokens(" self") == [" self"]
    with otimes.from_torch(model, Written({"x": 0})) as memory:
        assert memory.tokens_text[0] == "x"
    with otimes.from_torch(model, False) as memory:
        assert memory.tokens_text[0] == ""
