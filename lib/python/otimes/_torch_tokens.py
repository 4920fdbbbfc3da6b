# SPDX-License-Identifier: MIT
"""Tokenizers of transformers: what their tokens stand for, and encoding through them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from otimes._errors import ArgumentError, UnsupportedError
from otimes._settings import shown, utf8

Ids = npt.NDArray[np.int64]
Pairs = Iterable[tuple[Any, int]]  # of pieces and their ids
METASPACE = "\u2581"
NO_CHARACTER = re.compile("[\0\ud800-\udfff]")
# More than any vocabulary has: an id is a place in a list.
MOST_TOKENS = 1 << 24


# ---- encoding ----


class GivenTokenizer:
    """A tokenizer of transformers, as a Model asks one."""

    def __init__(self, tokenizer: Any) -> None:
        self.given = tokenizer
        self.kind, self.path = type(tokenizer).__name__, ""
        self.bos, self.eos, self.unknown = (special(tokenizer, key) for key in ("bos", "eos", "unk"))
        self.vocab_size = len(tokenizer)
        self.adds_bos = self.bos >= 0 and self.ids("", True)[:1] == [self.bos]

    def ids(self, text: str, special_tokens: bool) -> list[int]:
        found: list[int] = self.given.encode(text, add_special_tokens=special_tokens)
        return found

    def encode(self, text: str, bos: bool | None = None) -> Ids:
        """Ids of a text. bos: whether one stands in front; None: as the tokenizer does by itself."""
        clean = utf8(text, "text").decode()
        ids = self.ids(clean, bos is not False)
        if bos and self.bos < 0:
            raise UnsupportedError(f"{self.kind}: the tokenizer names no token that begins a text (BOS)")
        if bos and ids[:1] != [self.bos]:
            ids = [self.bos, *ids]
        return np.array(ids, np.int64)

    def decode(self, ids: Ids, skip_special: bool = False) -> str:
        text: str = self.given.decode([int(i) for i in ids], skip_special_tokens=skip_special,
                                      clean_up_tokenization_spaces=False)
        return text


class NoTokenizer:
    """In the place of one, for models that came without."""

    bos = eos = unknown = -1
    adds_bos = False
    vocab_size = 0

    def encode(self, text: str, bos: bool | None = None) -> Ids:
        raise ArgumentError("text: expected a tokenizer, got none: from_torch(model, tokenizer), "
                            "or tokens=[...]")

    def decode(self, ids: Ids, skip_special: bool = False) -> str:
        raise ArgumentError("tokens: expected a tokenizer, got none: from_torch(model, tokenizer)")


def special(tokenizer: Any, name: str) -> int:
    value = getattr(tokenizer, f"{name}_token_id", None)
    return value if isinstance(value, int) else -1


# ---- labels ----


def token_labels(tokenizer: Any) -> list[bytes | None]:
    """What each token stands for, by the rules that a tokenizer's file is read by.

    Byte-level pieces are the bytes that they stand for, the metaspace is a blank, added tokens are
    as they are. A byte that is no character, and NUL, is written as <0xHH>; where a piece of text
    itself has NUL or half a surrogate pair, that is <U+0000>, <U+D800>.
    """
    if not hasattr(tokenizer, "get_vocab") or not hasattr(tokenizer, "convert_ids_to_tokens"):
        raise ArgumentError(f"tokenizer: expected one of transformers, got {shown(tokenizer)}")
    pieces, added, byte_level = described(tokenizer)
    labels: list[bytes | None] = []
    for piece, number in pieces:
        put(labels, number, piece_bytes(piece, byte_level))
    for text, number in added:
        put(labels, number, spelt(text).encode())
    return [None if label is None else label.replace(b"\0", b"<0x00>") for label in labels]


def put(labels: list[bytes | None], number: int, label: bytes) -> None:
    if not 0 <= number < MOST_TOKENS:
        raise ArgumentError(f"tokenizer: expected ids from 0 to {MOST_TOKENS - 1}, got {number}")
    labels.extend([None] * (number + 1 - len(labels)))
    labels[number] = label


def described(tokenizer: Any) -> tuple[Pairs, Pairs, bool]:
    """Pieces, added tokens, and whether pieces are bytes in GPT-2's spelling."""
    fast: Any = getattr(tokenizer, "backend_tokenizer", None)
    if hasattr(fast, "to_str"):
        root = json.loads(fast.to_str())
        added = [(entry["content"], entry["id"]) for entry in root.get("added_tokens") or []]
        vocab = root["model"]["vocab"]
        scored = not isinstance(vocab, dict)  # Unigram's [text, score]
        pieces = ((entry[0], i) for i, entry in enumerate(vocab)) if scored else vocab.items()
        byte_level = any(has_step(root.get(key), "ByteLevel") for key in ("decoder", "pre_tokenizer"))
        return pieces, added, byte_level
    added_vocab = tokenizer.get_added_vocab()
    return tokenizer.get_vocab().items(), added_vocab.items(), hasattr(tokenizer, "byte_decoder")


def has_step(step: Any, kind: str) -> bool:
    """Whether a step of that kind occurs in a pre-tokenizer or decoder, which may be a sequence."""
    if not isinstance(step, dict):
        return False
    inner = [*(step.get("pretokenizers") or []), *(step.get("decoders") or [])]
    return step.get("type") == kind or any(entry.get("type") == kind for entry in inner)


def byte_alphabet() -> dict[str, int]:
    """GPT-2's bytes_to_unicode, inverted: printable bytes are themselves, the others follow from
    U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


ALPHABET = byte_alphabet()


def piece_bytes(piece: str | bytes, byte_level: bool) -> bytes:
    if isinstance(piece, bytes):
        return piece
    piece = spelt(piece)
    if not byte_level:
        return piece.replace(METASPACE, " ").encode()
    known = all(character in ALPHABET for character in piece)
    return bytes(ALPHABET[character] for character in piece) if known else piece.encode()


def spelt(text: str) -> str:
    """Text without what is no character."""
    return NO_CHARACTER.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)
