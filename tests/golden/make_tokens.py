# SPDX-License-Identifier: MIT
"""Makes the golden tokenizers under tests/data/tokens: small trained ones of every kind, and what
they must make of the shared strings.

Run in an environment with tokenizers and sentencepiece: ``python tests/golden/make_tokens.py``.
Ids, offsets and decoded text are those of Hugging Face tokenizers for a tokenizer.json, of
sentencepiece for a .model, and of from_llama2c below for a vocabulary of llama2.c. Running it again
gives the same bytes.

strings.bin: varint number of strings; each a varint length and its bytes (not all are UTF-8).

<kind>/expected.bin: "OTK1"; varints: number of strings, special tokens in front and behind, id of
the first one in front + 1 (0: none), ids of the vocabulary. For each string: number of tokens with
special ones; of each its id, twice its length in bytes of the string, plus 1 where it does not
begin at the end of the one before and the zigzag distance follows. Then the decoded text with
special tokens and the one without, each 0: not given; 1: the string, with U+FFFD for what is no
UTF-8; 2: the first of the two; 3: bytes (varint length) and then the string; 4 + length: bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import sentencepiece
from tokenizers import Tokenizer
from tokenizers.normalizers import Sequence

from token_kinds import KINDS, Made
from token_strings import test_strings, training_text

# Tokenizers of trained checkpoints, beside the tree; only what must come out is stored here.
TRAINED = {
    "neox": "tokenizers/neox_20B_tokenizer.json",
    "tinystories656k": "tinystories656k/tokenizer.json",
}


# ------------------------------------------------------------------------------- writing


@dataclass
class Writer:
    out: bytearray = field(default_factory=bytearray)

    def number(self, value: int) -> None:
        assert value >= 0
        while value > 127:
            self.out.append(value & 127 | 128)
            value >>= 7
        self.out.append(value)

    def signed(self, value: int) -> None:
        self.number(value * 2 if value >= 0 else -2 * value - 1)

    def data(self, value: bytes) -> None:
        self.number(len(value))
        self.out += value


@dataclass
class Text:
    """A string as tokenizers see it, and where each of its characters lies in the bytes."""

    raw: bytes
    text: str = ""
    at: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        where = 0
        while where < len(self.raw):
            try:
                good, bad = self.raw[where:].decode(), 0
            except UnicodeDecodeError as error:
                good = self.raw[where : where + error.start].decode()
                bad = error.end - error.start
            for c in good:
                self.at.append(where)
                where += len(c.encode())
            self.text += good
            if bad:
                self.at.append(where)
                self.text += "\ufffd"
                where += bad
        self.at.append(where)
        assert self.text == self.raw.decode(errors="replace")


@dataclass
class Expected:
    """Ids with special tokens, their ranges in characters, decoded text with and without them."""

    ids: list[int]
    ranges: list[tuple[int, int]]
    decoded: str | None
    plain: str


def write_text(to: Writer, string: str, value: str | None, first: str | None) -> None:
    if value is None:
        to.number(0)
    elif value == string:
        to.number(1)
    elif value == first:
        to.number(2)
    elif value.endswith(string):
        to.number(3)
        to.data(value[: len(value) - len(string)].encode())
    else:
        to.number(4 + len(value.encode()))
        to.out += value.encode()


def write(
    path: Path,
    texts: list[Text],
    expected: list[Expected],
    front: list[int],
    behind: int,
    size: int,
) -> None:
    to = Writer(bytearray(b"OTK1"))
    for value in (len(texts), len(front), behind, front[0] + 1 if front else 0, size):
        to.number(value)
    for text, e in zip(texts, expected, strict=True):
        to.number(len(e.ids))
        last = 0
        for index, (begin, end) in zip(e.ids, e.ranges, strict=True):
            first, beyond = text.at[begin], text.at[end]
            to.number(index)
            to.number(2 * (beyond - first) + (first != last))
            if first != last:
                to.signed(first - last)
            last = beyond
        write_text(to, text.text, e.decoded, None)
        write_text(to, text.text, e.plain, e.decoded)
    path.write_bytes(bytes(to.out))


# ------------------------------------------------------------------------------ expecting


def dropped_in_front(tok: Tokenizer, text: str) -> int:
    """Characters at the start that Precompiled drops: tokenizers 0.23 then counts all offsets from
    behind them; expected are those of the rest, moved."""
    if not isinstance(tok.normalizer, Sequence) or '"Precompiled"' not in tok.to_str():
        return 0
    kept = (i for i, c in enumerate(text) if tok.normalizer.normalize_str(f"x{c}x") != "xx")
    return next(kept, 0)


def normalizes_special(tok: Tokenizer) -> bool:
    """Whether special tokens are normalized: tokenizers 0.23 then decodes them to normalized text
    and leaves none out."""
    added = tok.get_added_tokens_decoder().values()
    return tok.normalizer is not None and any(t.special and t.normalized for t in added)


def without_special(tok: Tokenizer, ids: list[int]) -> str:
    """Decoded text without special tokens; that they are special is what counts."""
    added = tok.get_added_tokens_decoder()
    left = [i for i in ids if i not in added or not added[i].special]
    out = tok.decode(left, skip_special_tokens=False)
    assert normalizes_special(tok) or out == tok.decode(ids, skip_special_tokens=True)
    return out


def from_tokenizers(tok: Tokenizer, texts: list[Text]) -> tuple[list[Expected], list[int], int]:
    empty = tok.encode("").ids
    single = tok.encode("x").ids
    bare = tok.encode("x", add_special_tokens=False).ids
    at = next(i for i in range(len(single)) if single[i : i + len(bare)] == bare)
    front, behind = single[:at], len(single) - at - len(bare)
    assert empty == front + single[len(single) - behind :]
    strange = normalizes_special(tok)
    out = []
    for text in texts:
        dropped = dropped_in_front(tok, text.text)
        whole = tok.encode(text.text)
        alone = tok.encode(text.text, add_special_tokens=False)
        inner = slice(len(front), len(whole.ids) - behind)
        assert whole.ids[: len(front)] == front and whole.ids[inner] == alone.ids
        assert whole.offsets[inner] == alone.offsets
        offsets = whole.offsets
        if dropped:
            rest = tok.encode(text.text[dropped:])
            assert rest.ids == whole.ids
            offsets = [(b + dropped, e + dropped) if e > b else (b, e) for b, e in rest.offsets]
        out.append(
            Expected(
                whole.ids,
                offsets,
                None if strange else tok.decode(whole.ids, skip_special_tokens=False),
                without_special(tok, whole.ids),
            )
        )
    return out, front, behind


def from_sentencepiece(
    model: sentencepiece.SentencePieceProcessor, texts: list[Text]
) -> tuple[list[Expected], list[int], int]:
    """BOS in front, as the models that come with a .model are trained."""
    out = []
    for text in texts:
        pieces = model.encode(text.text, out_type="proto").pieces
        spans = [(0, 0), *whole_characters(model, text.text, pieces)]
        ids = [model.bos_id(), *(p.id for p in pieces)]
        out.append(Expected(ids, spans, None, model.decode(ids)))
    return out, [model.bos_id()], 0


def whole_characters(
    model: sentencepiece.SentencePieceProcessor, text: str, pieces: Any
) -> list[tuple[int, int]]:
    """Ranges of pieces in characters. Where a character of the text is several pieces, bytes or
    what it is normalized to, sentencepiece gives all of it to the last of them; here each has its
    whole range, as in tokenizers."""
    normal, origin = model.normalize(text, with_offsets=True)
    out: list[tuple[int, int]] = []
    at, left = 0, 0
    for piece in pieces:
        if left:  # a further byte of a character
            left -= 1
            out.append(out[-1])
            continue
        size = len(piece.piece)
        if model.is_byte(piece.id):
            size, left = 1, len(normal[at].encode()) - 1
        begin, last = origin[at], origin[at + size - 1]
        at += size
        # The blank that is put in front of a text stands for nothing but what was dropped there.
        out.append((begin, origin[1] if at == 1 else next(o for o in origin[at:] if o > last)))
    assert at == len(normal) and not left
    ends = {len(text[:i].encode()): i for i in range(len(text) + 1)}
    for piece, (begin, end) in zip(pieces, out, strict=True):
        assert model.is_byte(piece.id) or ends[piece.begin] == begin
        assert ends[piece.end] in (begin, end) or ends[piece.end] < end
    return out


class Llama2c:
    """A vocabulary file of llama2.c: the length of the longest piece, then score, length and bytes
    of each piece, little-endian."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        at = 4
        self.pieces: list[bytes] = []
        self.scores: list[float] = []
        while at < len(raw):
            score, length = struct.unpack_from("<fi", raw, at)
            self.scores.append(score)
            self.pieces.append(raw[at + 8 : at + 8 + length])
            at += 8 + length
        self.ids: dict[bytes, int] = {}
        for index, piece in enumerate(self.pieces):
            self.ids.setdefault(piece, index)

    def encode(self, text: str) -> list[int]:
        """BOS; a blank in front; characters, or their bytes + 3; the best pair first."""
        ids = [self.ids[b" "]] if text else []
        for c in text:
            raw = c.encode()
            ids += [self.ids[raw]] if raw in self.ids else [b + 3 for b in raw]
        while True:
            best, where = float("-inf"), -1
            for i in range(len(ids) - 1):
                index = self.ids.get(self.pieces[ids[i]] + self.pieces[ids[i + 1]])
                if index is not None and self.scores[index] > best:
                    best, where, merged = self.scores[index], i, index
            if where < 0:
                return [1, *ids]
            ids[where : where + 2] = [merged]


def from_llama2c(model: Llama2c, texts: list[Text]) -> tuple[list[Expected], list[int], int]:
    """Ids as llama2.c has them; it knows no ranges (written as empty) and its decoder undoes what
    its encoder does."""
    out = []
    for text in texts:
        ids = model.encode(text.text)
        out.append(Expected(ids, [(0, 0)] * len(ids), None, text.text))
    return out, [1], 0


def make(kind: str, made: Made, folder: Path, texts: list[Text]) -> None:
    folder.mkdir()
    if isinstance(made, bytes):
        (folder / "tokenizer.model").write_bytes(made)
        model = sentencepiece.SentencePieceProcessor(model_proto=made)
        size = model.get_piece_size()
        expected, front, behind = from_sentencepiece(model, texts)
    else:
        written = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
        (folder / "tokenizer.json").write_text(written + "\n", encoding="utf-8")
        tok = Tokenizer.from_str(written)
        size = max(tok.get_vocab().values()) + 1
        expected, front, behind = from_tokenizers(tok, texts)
    write(folder / "expected.bin", texts, expected, front, behind, size)


def write_files(source: Path, folder: Path) -> None:
    """The same tokenizer as vocab.json and merges.txt; what must come out is the same."""
    model = json.loads(source.read_text(encoding="utf-8"))["model"]
    folder.mkdir(exist_ok=True)
    vocab = json.dumps(model["vocab"], ensure_ascii=False)
    merges = "\n".join(["#version: 0.2", *model["merges"], ""])
    (folder / "vocab.json").write_text(vocab, encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")


def report(folder: Path) -> None:
    sizes = ", ".join(f"{f.name} {f.stat().st_size}" for f in sorted(folder.iterdir()))
    print(f"{folder.name}: {sizes}")


def main() -> None:
    tree = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=tree / "tests" / "data" / "tokens")
    parser.add_argument("--weights", type=Path, default=tree.parent / "shared" / "weights")
    parser.add_argument("kinds", nargs="*", help="default: all")
    arguments = parser.parse_args()
    sentencepiece.set_random_generator_seed(1)
    texts = [Text(s) for s in test_strings()]
    training = training_text()
    arguments.output.mkdir(parents=True, exist_ok=True)
    strings = Writer()
    strings.number(len(texts))
    for text in texts:
        strings.data(text.raw)
    (arguments.output / "strings.bin").write_bytes(bytes(strings.out))
    for kind, maker in KINDS.items():
        if arguments.kinds and kind not in arguments.kinds:
            continue
        folder = arguments.output / kind
        shutil.rmtree(folder, ignore_errors=True)
        make(kind, maker(training), folder, texts)
        report(folder)
        if kind == "gpt2":
            write_files(folder / "tokenizer.json", arguments.output / "gpt2_files")
    if not arguments.kinds or "tok512" in arguments.kinds:
        model = Llama2c(arguments.weights / "stories260K" / "tok512.bin")
        folder = arguments.output / "tok512"
        folder.mkdir(exist_ok=True)
        expected, front, behind = from_llama2c(model, texts)
        write(folder / "expected.bin", texts, expected, front, behind, len(model.pieces))
        report(folder)
    for kind, where in TRAINED.items():
        if arguments.kinds and kind not in arguments.kinds:
            continue
        tok = Tokenizer.from_file(str(arguments.weights / where))
        folder = arguments.output / kind
        folder.mkdir(exist_ok=True)
        expected, front, behind = from_tokenizers(tok, texts)
        size = max(tok.get_vocab().values()) + 1
        write(folder / "expected.bin", texts, expected, front, behind, size)
        report(folder)


if __name__ == "__main__":
    main()
